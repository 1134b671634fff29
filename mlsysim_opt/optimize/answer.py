"""What every answer of an optimization carries: the question, the objective with its bound, the metrics, the proof."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, localcontext
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mlsysim_opt.algebra.nearly import same
from mlsysim_opt.errors import InputError, LimitReachedError
from mlsysim_opt.units import parse_unit, quantity

if TYPE_CHECKING:
    from mlsysim_opt.optimize.marginal import Marginal
    from mlsysim_opt.optimize.progress import Show
    from mlsysim_opt.optimize.scenarios import Robustness

SCHEMA = 1
DIGITS = 6
"""Digits that a number is shown with; whole ones of more are shown whole."""
READERS = {"plan": "mo.PlanSolution.from_json", "design": "mo.Solution.from_json"}
"""What reads an answer as JSON, by its kind."""
WITHIN_GAP = "within_gap"
"""The status of an answer that is as near to its bound as was asked for, but not proven to be the best."""


@dataclass(frozen=True)
class Value:
    """A number in the unit it is shown in; the unit is empty for plain numbers."""

    value: float | None
    unit: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"value": self.value, "unit": self.unit or None}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Value:
        """Return what `as_dict` wrote."""
        return Value(data["value"], data["unit"] or "")

    @property
    def quantity(self) -> Any:
        """The number as users calculate with it: a pint quantity, or a float where there is no unit."""
        if not self.unit or self.value is None:
            return self.value
        unit = parse_unit(self.unit)
        return quantity(self.value * unit.factor, unit)

    @property
    def si(self) -> float:
        """The number in base units; NaN where it is undefined."""
        if self.value is None:
            return math.nan
        return self.value * (parse_unit(self.unit).factor if self.unit else 1.0)

    def __str__(self) -> str:
        return self.text()

    def text(self, toward: int = 0, digits: int = DIGITS) -> str:
        """Return it with so many digits.

        Args:
            toward: 1 or -1 for the next such number above or below, so that a limit that is written down is enough;
                0 for the nearest.
        """
        if self.value is None:
            return "undefined"
        shown = self.value if toward == 0 else _rounded(self.value, toward, digits)
        whole = math.isfinite(shown) and abs(shown) >= 10 ** (DIGITS - 1)
        text = f"{shown:,.{_decimals(shown, digits)}f}" if whole else f"{shown:.{digits}g}"
        return f"{text} {self.unit}".strip()


def _decimals(value: float, digits: int) -> int:
    """Return how many digits stand after the point of a large number."""
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def _rounded(value: float, toward: int, digits: int) -> float:
    """Return the next number above or below with so many digits; the nearest where it differs by its rounding only."""
    if not math.isfinite(value) or value == 0:
        return value
    first = math.floor(math.log10(abs(value)))
    last = first - digits + 1
    place = Decimal(1).scaleb(min(last, 0) if first >= DIGITS - 1 else last)
    with localcontext(prec=800):
        exact = Decimal(value)
        nearest = float(exact.quantize(place, ROUND_HALF_EVEN))
        if same(nearest, value):
            return nearest
        return float(exact.quantize(place, ROUND_CEILING if toward > 0 else ROUND_FLOOR))


def instead(after: Value, before: Value, toward: int) -> str:
    """Return in words that a limit becomes another one, which as it is written is enough.

    Args:
        toward: 1 where a limit from above has to be larger, -1 where one from below has to be smaller.
    """
    for digits in range(DIGITS, 18):
        told = after.text(toward, digits), before.text(0, digits)
        if told[0] != told[1]:
            break
    return f"{told[0]} instead of {told[1]}"


class Metrics(Mapping[str, Any]):
    """The metrics of a design by name, each a quantity (or float).

    Attributes:
        unavailable: the metrics that could not be computed, each with the reason.
    """

    def __init__(self, values: Mapping[str, Value], unavailable: Mapping[str, str] | None = None) -> None:
        self.values_with_units = dict(values)
        self.unavailable = dict(unavailable or {})

    def __getitem__(self, name: str) -> Any:
        return self.values_with_units[name].quantity

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_with_units)

    def __len__(self) -> int:
        return len(self.values_with_units)

    def __repr__(self) -> str:
        lines = [f"{name} = {value}" for name, value in self.values_with_units.items()]
        return "\n".join([*lines, *(f"not known: {names}: {why}" for names, why in self.not_known())])

    def not_known(self) -> list[tuple[str, str]]:
        """Return the metrics that could not be computed with the reason, those of one reason together."""
        by_reason: dict[str, list[str]] = {}
        for name, why in self.unavailable.items():
            by_reason.setdefault(why, []).append(name)
        return [(", ".join(names), why) for why, names in by_reason.items()]


@dataclass(frozen=True)
class Certificate:
    """Why the answer is to be believed.

    Attributes:
        proof: how optimality is known, in a sentence. kind: enumeration, or solver bound.
        solver: name and version. combinations: of all decisions. details: counts.
        rechecked: what the independent scalar evaluation found: its objective, the largest relative deviation, whether
            every constraint holds.
    """

    kind: str
    proof: str
    solver: str
    combinations: int
    details: dict[str, Any]
    rechecked: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "kind": self.kind,
            "proof": self.proof,
            "solver": self.solver,
            "combinations": self.combinations,
            "details": self.details,
            "rechecked": self.rechecked,
        }


@dataclass(kw_only=True, repr=False)
class Answered(ABC):
    """An answer that knows its question: it can be stored, checked again, and asked what another question would give.

    Attributes:
        status: ``optimal`` (proven: none is better), ``within_gap`` (a gap was asked for, and the bound is as near) or
            ``feasible`` (a limit was reached; see `gap`).
        objective_name, objective: what was asked and its value. bound, gap: no answer is better than the bound.
        metrics: every metric that could be computed, and why others could not. certificate: why it is to be believed.
        robustness: what the answer to several scenarios costs; None where there was one.
    """

    status: str
    problem: str
    objective_name: str
    sense: str
    objective: Value
    bound: Value | None
    gap: float | None
    metrics: Metrics
    certificate: Certificate
    assumptions: dict[str, str]
    backend: str
    seconds: float
    request: dict[str, Any] = field(default_factory=dict)
    robustness: Robustness | None = None
    task: Any = field(default=None, compare=False)

    KIND: ClassVar[str]

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: the compiled task stays here, and is made again from the request."""
        return {**self.__dict__, "task": None}

    @property
    def settled(self) -> bool:
        """Whether what was asked for was reached: the best, or an answer within the gap."""
        return self.status in ("optimal", WITHIN_GAP)

    def refuse_unsettled(self) -> None:
        """Refuse what rests on this being the best, where it was ended before.

        Raises:
            LimitReachedError: by Ctrl-C or a limit.
        """
        if not self.settled:
            raise LimitReachedError(f"no best was proven: {self.certificate.proof}", hint="let it run longer")

    # storing ----------------------------------------------------------------------------------------------------------
    @abstractmethod
    def _own_dict(self) -> dict[str, Any]:
        """Return what only this kind of answer has, as JSON data."""

    @staticmethod
    @abstractmethod
    def _own_fields(data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that `_own_dict` wrote."""

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as strict JSON data."""
        return {
            "schema": SCHEMA,
            "kind": self.KIND,
            "status": self.status,
            "problem": self.problem,
            "objective": {"name": self.objective_name, "sense": self.sense, **self.objective.as_dict()},
            "bound": self.bound.value if self.bound else None,
            "gap": self.gap,
            **self._own_dict(),
            "metrics": {name: value.as_dict() for name, value in self.metrics.values_with_units.items()},
            "unavailable_metrics": self.metrics.unavailable,
            "assumptions": self.assumptions,
            "certificate": self.certificate.as_dict(),
            "backend": self.backend,
            "seconds": self.seconds,
            "request": self.request,
            "robustness": self.robustness.as_dict() if self.robustness else None,
        }

    def to_json(self, indent: int | None = 2) -> str:
        """Return the answer as JSON text, from which `from_json` makes an equal one."""
        return json.dumps(self.as_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the answer a JSON text describes.

        Raises:
            InputError: the text is not an answer of this kind and schema.
        """
        wanted = f"this is not a {cls.KIND} written by this version"
        hint = f"to_json() of an answer that is a {cls.KIND} writes one, and so does 'mlsysim-opt optimize ... --json'"
        try:
            data = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{wanted}: it is no JSON ({error})", path="solution", hint=hint) from error
        if not isinstance(data, dict) or (data.get("schema"), data.get("kind")) != (SCHEMA, cls.KIND):
            kind = data.get("kind") if isinstance(data, dict) else None
            other = READERS.get(str(kind)) if kind != cls.KIND else None
            hint = hint if other is None else f"{other} reads it; {hint}"
            raise InputError(f"{wanted}: it is {described(data)}", path="solution", hint=hint)
        try:
            return cls.from_dict(data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            lacks = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{wanted}: {lacks}", path="solution", hint=hint) from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return what `as_dict` wrote; an error of Python's where it did not."""
        from mlsysim_opt.optimize.scenarios import Robustness
        from mlsysim_opt.optimize.stored import check_form

        if (data["schema"], data["kind"]) != (SCHEMA, cls.KIND):
            raise ValueError(f"it is {described(data)}")
        check_form(data)
        objective = data["objective"]
        unit = objective["unit"] or ""
        return cls(
            status=data["status"],
            problem=data["problem"],
            objective_name=objective["name"],
            sense=objective["sense"],
            objective=Value(objective["value"], unit),
            bound=None if data["bound"] is None else Value(data["bound"], unit),
            gap=data["gap"],
            metrics=Metrics(
                {name: Value.from_dict(item) for name, item in data["metrics"].items()},
                data.get("unavailable_metrics"),
            ),
            certificate=Certificate(**data["certificate"]),
            assumptions=data["assumptions"],
            backend=data["backend"],
            seconds=data["seconds"],
            request=data["request"],
            robustness=Robustness.from_dict(data["robustness"]),
            **cls._own_fields(data),
        )

    # asking -----------------------------------------------------------------------------------------------------------
    def _task(self) -> Any:
        """Return the question; that of a stored answer is made again."""
        if self.task is None:
            from mlsysim_opt.optimize.robust import stored_question

            self.task = stored_question(self.request)
        return self.task

    @abstractmethod
    def _answer(self, task: Any, **settings: Any) -> Self:
        """Return the answer to another question, knowing this one; settings as of `what_if`."""

    @abstractmethod
    def moves(self, other: Self) -> list[str]:
        """Return what is decided otherwise in another answer of this kind, in words."""

    def what_if(
        self,
        *,
        constraints: Sequence[Any] = (),
        without: Sequence[str] = (),
        objective: Any = None,
        choices: dict[str, Any] | None = None,
        time_limit: float | None = None,
        backend: str = "auto",
        gap: float | str = 0.0,
        progress: Show | None = None,
        **given: Any,
    ) -> Self:
        """Return the answer to the same question with some of it changed; a robust answer stays one.

        Args:
            constraints: to be added. without: constraints of the question, by their words, to be left out.
            objective: another one. choices, given: of the formulation, in place of what was given.
            time_limit: seconds after which the best that is found is returned.
            backend, gap, progress: as of `optimize`.
        Raises:
            InfeasibleError, InputError: as `optimize`.
        """
        from mlsysim_opt.optimize.otherwise import asked_otherwise

        task = self._task()
        changed: dict[str, Any] = {
            "constraints": constraints, "without": without, "objective": objective, "choices": choices, "given": given
        }  # fmt: skip
        settings: dict[str, Any] = {
            "time_limit": time_limit, "backend": backend, "gap": gap, "progress": progress
        }  # fmt: skip
        if task.uncertain is not None:  # over the same scenarios
            answer: Self = task.uncertain.otherwise(**changed).answer(**settings)
            return answer
        return self._answer(asked_otherwise(task, **changed), **settings)

    def marginal(
        self, constraint: Any, limits: Sequence[Any] | None = None, *, time_limit: float | None = None
    ) -> Marginal:
        """Return what a limit costs, by solving the same question exactly under other limits.

        Args:
            constraint: such as ``"carbon <= 100 tCO2e"``; one of the question, or a new one.
            limits: such as ``[100, 90, 80]`` or a range, in the unit that the constraint is written in, or with units;
                when None, the limit as it is and the next exact point beyond it.
            time_limit: seconds for each.
        Returns:
            a `Marginal`, readable as text: objective, what is reached, cost and secant of each step.
        """
        from mlsysim_opt.optimize.marginal import marginal

        return marginal(self._task(), constraint, limits, time_limit)

    # showing ----------------------------------------------------------------------------------------------------------
    def _headline(self) -> str:
        gap = "unknown" if self.gap is None else f"{self.gap:.2g}"
        return f"{self.status}: {self.objective_name} = {self.objective} (gap {gap})"

    def _proof(self) -> str:
        return f"proof: {self.certificate.proof} [{self.certificate.solver}]"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def described(data: Any) -> str:
    """Return what JSON data is, in words."""
    if not isinstance(data, dict):
        return f"JSON, but a {type(data).__name__}, not an object"
    kind, schema = data.get("kind"), data.get("schema")
    if isinstance(kind, str):
        return f"a {kind[:40]}" + ("" if schema == SCHEMA else f" of schema {str(schema)[:40]}, not {SCHEMA}")
    if "error" in data:
        return "an error, not an answer"
    names = ", ".join(str(name)[:40] for name in list(data)[:6])
    return f"another JSON object, with {names}" if names else "an empty JSON object"


def relative(value: float, reference: float) -> float:
    """Return how far a value is from a reference, relative to the reference."""
    if value == reference:
        return 0.0
    return (value - reference) / abs(reference) if reference else math.copysign(math.inf, value)
