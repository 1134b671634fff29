"""What `solve_for` returns over many points: the unknown as an array, and why points have no answer."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlsysim_opt.errors import MlsysimError, NotInvertibleError
from mlsysim_opt.physics.inverse_answer import SolvedFor, shown
from mlsysim_opt.physics.parts import Array
from mlsysim_opt.units import Dimension, base_unit, quantity, readable_unit, show

FIRST = 10
"""Points without an answer that are asked why, unless more are wanted."""
LOOKED_AT = 1000
"""Points of which the first is looked for at which the target is out of reach."""


class SolvedSweep(Mapping[str, Any]):
    """What `solve_for` returns over many points: ``found.values`` has one axis for each input given as a list.

    Attributes:
        unknown, target, relation: what was asked. goal: the target in base units; None where it is an axis.
        axes: the inputs that were lists, the target first where it was one.
        si: the unknown in base units; NaN where nothing meets the target.
        whole: whether the unknown is a whole number.
        methods: how many points were found how. proven: whether it is proven everywhere that there is no other value.
        excluded: why points have no answer: how many, the first of them and what is attained there, and then one line
            for each other cause. `missing` has the reason of each point.
    """

    def __init__(self, unknown: str, target: str, relation: str, axes: dict[str, tuple[Any, ...]]) -> None:
        self.unknown, self.target, self.relation, self.axes = unknown, target, relation, axes
        self.si: Array = np.full([len(values) for values in axes.values()], np.nan)
        self.methods: Counter[str] = Counter()
        self.proven = True
        self.excluded: list[str] = []
        self.dimension: Dimension = ()
        self.target_dimension: Dimension = ()
        self.goal: float | None = None
        self.whole = False
        self._alone: Callable[[tuple[int, ...]], SolvedFor] | None = None

    @property
    def quantity(self) -> Any:
        """The unknown with its unit; plain numbers where it has none."""
        finite = self.si[np.isfinite(self.si)]
        unit = readable_unit(float(np.median(finite)) if finite.size else 1.0, self.dimension)
        return quantity(self.si, unit) if self.dimension else self.si  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> Any:
        if name != self.unknown:
            raise KeyError(name)
        return self.quantity

    def __iter__(self) -> Any:
        return iter((self.unknown,))

    def __len__(self) -> int:
        return 1

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat record per point: the inputs, then the unknown in base units."""
        flat = self.si.reshape(-1).tolist()
        return [
            {**dict(zip(self.axes, point, strict=True)), self.unknown: value}
            for point, value in zip(itertools.product(*self.axes.values()), flat, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as plain data, in base units; the unknown is None where there is none."""
        points = [{**row, self.unknown: None if math.isnan(row[self.unknown]) else row[self.unknown]}
                  for row in self.rows()]  # fmt: skip
        return {
            "unknown": self.unknown, "target": self.target, "relation": self.relation, "goal": self.goal,
            "unit": base_unit(self.dimension).text, "axes": list(self.axes), "points": points,
            "methods": dict(self.methods), "proven": self.proven, "excluded": list(self.excluded),
        }  # fmt: skip

    def shown(self, value: float) -> str:
        """Return a value of the unknown as text."""
        if math.isnan(value):
            return "none"
        return shown(value, self.dimension, whole=self.whole)

    def missing(self, most: int | None = FIRST) -> list[dict[str, Any]]:
        """Return the points without an answer, as in `rows`, each with the ``reason``: it is asked alone.

        Args:
            most: the first so many of them; None for all.
        """
        found = []
        for at in np.argwhere(np.isnan(self.si))[:most].tolist():
            found.append({**self._point(at), "reason": _whole(self.reason(tuple(at)))})
        return found

    def reason(self, at: tuple[int, ...]) -> MlsysimError:
        """Return the error that the question about one point alone ends in, by the position along each axis."""
        assert self._alone is not None
        try:
            found = self._alone(at)
        except MlsysimError as error:
            return error
        return MlsysimError(f"asked alone, {found}")

    def explain(self) -> None:
        """Put how many points have no answer, with the reason of the first, before the other causes.

        Raises:
            NotInvertibleError: no point has an answer.
        """
        places = np.argwhere(np.isnan(self.si))
        if not len(places):
            return
        first = places[0].tolist()
        error = self.reason(tuple(first))
        if len(places) == self.si.size:
            raise NotInvertibleError(
                f"no point has an answer; the first of {len(places):,}, {self._text(first)}: {error.message}",
                hint=error.hint,
            ) from error
        said = "has no answer" if len(places) == 1 else "have no answer"
        lines = [f"{len(places):,} of {self.si.size:,} points {said}; the first, {self._text(first)}: {_whole(error)}"]
        if not isinstance(error, NotInvertibleError):  # it cannot be asked about; of others, the target may be too far
            for at in places[1:LOOKED_AT].tolist():
                other = self.reason(tuple(at))
                if isinstance(other, NotInvertibleError):
                    lines.append(f"another, {self._text(at)}: {_whole(other)}")
                    break
        self.excluded = [*lines, *(cause for cause in self.excluded if cause != error.message)]

    def _text(self, at: Sequence[int]) -> str:
        """Return a point as text."""
        point = self._point(at)
        if self.target in point:
            point[self.target] = f"{self.relation} {show(point[self.target], self.target_dimension, 6)}"
        return ", ".join(f"{name} {value}" for name, value in point.items())

    def _point(self, at: Sequence[int]) -> dict[str, Any]:
        return {name: values[place] for (name, values), place in zip(self.axes.items(), at, strict=True)}

    def __repr__(self) -> str:
        size = " x ".join(f"{name}: {len(values)}" for name, values in self.axes.items())
        how = ", ".join(f"{count:,} {method}" for method, count in self.methods.items())
        return f"<{self.unknown} for {self.target} {self.relation} over {size}; {how}>"


def _whole(error: MlsysimError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
