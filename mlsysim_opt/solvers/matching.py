"""Which accelerators keep a promise, and which of them is best by any measure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import Expression, Symbol
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.errors import InputError, MissingFieldError, MlsysimError, UsageError
from mlsysim_opt.physics.base import Model
from mlsysim_opt.physics.candidates import Missed, violations
from mlsysim_opt.physics.traced import Traced
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.catalog import Catalog
from mlsysim_opt.solvers.region import gap
from mlsysim_opt.solvers.relations import Relation
from mlsysim_opt.units import MONEY, NONE, POWER, TIME, TOKEN, Dimension, as_measure, dimension, divide, show

if TYPE_CHECKING:
    from mlsysim_opt.registry.types import Accelerator

TOLERANCE = 1e-9
"""Share by which a target may be missed: what conversions of units round."""
PLAN = "on_demand"
RENT, PER_TOKEN = divide(MONEY, TIME), divide(MONEY, TOKEN)
DEVICE_NUMBERS: dict[str, Dimension] = {
    "price_per_hour": RENT,
    "price_per_million_tokens": PER_TOKEN,
    "tdp": POWER,
    "devices": NONE,
}
"""What can be ranked by beside the outputs of the model: numbers of all accelerators of the replica together."""
ENTRY = "hardware."
"""Where the numbers of one accelerator stand, as for the models."""
MOST = re.compile(r"max_(.+)|-\s*([A-Za-z_][\w.]*)")
"""What is ranked by where the most is best."""
SPELT = {"price": "price_per_hour", "price per hour": "price_per_hour",
         "price per million tokens": "price_per_million_tokens", "energy per token": "energy_per_token"}  # fmt: skip
LARGE_UNITS = {RENT: (3600.0, "USD/h"), PER_TOKEN: (1e6, "USD per million tokens")}

Kept = Callable[[Traced, Mapping[str, Any]], Sequence[Relation]]
"""Makes the targets from equations and the values of their leaves."""
Value = Callable[[Any, Any], float]
"""The number of an accelerator, from the solved question about it and the entry."""


@dataclass(frozen=True)
class Ranked:
    """An accelerator that keeps the promise, with what it is ranked by: in base units, and as text."""

    accelerator: Accelerator
    value: float
    shown: str


@dataclass(frozen=True)
class Ranking:
    """What the best is judged by.

    Attributes:
        text: how it was asked. of: the dimension of the number, None where a function makes it. value: makes it.
        most: whether the most is best, not the least.
    """

    text: str
    of: Dimension | None
    value: Value
    most: bool = False

    @classmethod
    def by(cls, wanted: Any, first: str, model: Model, probe: Mapping[str, Any]) -> Ranking:
        """Return the ranking by a text or by a function of the model's result.

        Args:
            wanted: an output, an expression of outputs, `DEVICE_NUMBERS` and numbers of an accelerator by their path
                (``memory.bandwidth``, ``hardware.tdp``), or a function of a result.
            first: the output that ``latency`` stands for. model, probe: the model, and inputs it can be asked with.
        Raises:
            UnknownNameError: a name is none of these. InputError: the text is no number.
        """
        if callable(wanted):
            return cls(getattr(wanted, "__name__", "function"), None, lambda solved, item: _returned(wanted(solved)))
        if not isinstance(wanted, str):
            raise InputError(f"expected an output, an expression or a function, got {wanted!r}", path="rank_by")
        written = SPELT.get(wanted.strip(), wanted.strip())
        turned = MOST.fullmatch(written)
        written = (turned[1] or turned[2]) if turned else written.removeprefix("min_")
        node = parse(written, _names(first, model, probe), what="ranking")
        if node.sort != "number":
            raise InputError(f"{wanted!r} is a {node.sort}; only numbers can be ranked by", path="rank_by")
        program = ScalarProgram([node])

        def value(solved: Any, item: Any) -> float:
            return float(program.run([_number(leaf.name, solved, item) for leaf in program.leaves])[0])

        return cls(wanted, node.dimension, value, most=turned is not None)

    def show(self, value: float) -> str:
        """Return a value as text."""
        if self.of is None:
            return f"{value:.4g}"
        if self.of in LARGE_UNITS:
            factor, unit = LARGE_UNITS[self.of]
            return f"{value * factor:,.4g} {unit}"
        return show(value, self.of)


def _returned(value: Any) -> float:
    """Return what a function of the user's gave, as a number."""
    try:
        return float(as_measure(value, "rank_by").si)
    except InputError:
        raise UsageError(f"the function returned {value!r}, not a number or a quantity", path="rank_by") from None


def _names(first: str, model: Model, probe: Mapping[str, Any]) -> dict[str, Expression]:
    traced = model.trace(model.check(**probe))
    names: dict[str, Expression] = {}
    for path, of in _paths(default_catalog()).items():
        names[path] = names[f"{ENTRY}{path}"] = Symbol(f"{ENTRY}{path}", of)
    names.update((name, Symbol(name, of)) for name, of in DEVICE_NUMBERS.items())
    for name in traced.result.field_names():
        node, unit = traced.expressions.get(name), traced.result.units.get(name)
        if node is not None and node.sort == "number":
            names[name] = Symbol(name, node.dimension)
        elif node is None and unit:  # a field that the accelerator at hand lacks a number for
            names[name] = Symbol(name, dimension(unit))
    if first in names:
        names["latency"] = names[first]
    return names


def _number(name: str, solved: Any, item: Any) -> float:
    """Return a number that is ranked by, in base units.

    Raises:
        MissingFieldError: the catalog does not have what it takes.
    """
    if name.startswith(ENTRY):
        return float(item.parameter(name.removeprefix(ENTRY)).si)
    if name not in DEVICE_NUMBERS:
        getattr(solved, name)  # raises what is missing
        return float(solved.si(name))
    devices = replica_size(solved.__dict__["_values"])
    if name == "devices":
        return float(devices)
    if name == "tdp":
        return devices * float(item.parameter("tdp").si)
    rent = devices * hourly_rate(item)
    return rent if name == "price_per_hour" else rent / float(solved.si("throughput"))


@lru_cache(maxsize=4)
def _paths(catalog: Catalog) -> dict[str, Dimension]:
    """Return the paths of all numbers that some accelerator has, each with its dimension."""
    return {path: datum.dimension for item in catalog.all("accelerator") for path, datum in item.leaves()}


def replica_size(values: Mapping[str, Any]) -> int:
    """Return the accelerators that one question is about, for checked inputs."""
    return math.prod(int(values.get(name, 1)) for name in ("tp_size", "pp_size", "attention_dp"))


def hourly_rate(item: Accelerator) -> float:
    """Return the lowest on-demand rate of the catalog for one accelerator, in USD per second.

    Raises:
        MissingFieldError: the catalog has none.
    """
    found = _rates(default_catalog()).get(item.name)
    if found is None:
        raise MissingFieldError(item.name, "on-demand price", hint="catalog/prices has those of others")
    return found


@lru_cache(maxsize=4)
def _rates(catalog: Catalog) -> dict[str, float]:
    rates: dict[str, float] = {}
    prices: Iterable[Any] = catalog.all("price")
    for price in prices:
        if price.plan == PLAN and price.rate is not None and price.accelerator is not None:
            name, rate = price.accelerator.name, float(price.parameter("rate").si)
            rates[name] = min(rate, rates.get(name, math.inf))
    return rates


class Matches(tuple["Accelerator", ...]):
    """The accelerators that keep a promise, the best first, and what became of all others.

    Attributes:
        ranking: what they are ranked by. ranked: the accelerators again, each with its number.
        unranked: those that keep the promise and lack what the ranking needs. missed: those that do not keep it, or
            cannot be asked (no such number format), each with the reason.
    """

    ranking: str
    ranked: tuple[Ranked, ...]
    unranked: tuple[Missed, ...]
    missed: tuple[Missed, ...]

    @classmethod
    def of(
        cls, ranking: str, ranked: Sequence[Ranked], unranked: Sequence[Missed], missed: Sequence[Missed]
    ) -> Matches:
        """Return the accelerators of `ranked`, which are in order, with all others."""
        made = cls(item.accelerator for item in ranked)
        made.ranking, made.ranked, made.unranked, made.missed = ranking, tuple(ranked), tuple(unranked), tuple(missed)
        return made

    @classmethod
    def among(
        cls,
        accelerators: Sequence[Accelerator],
        model: Model,
        inputs: Mapping[str, Any],
        kept: Kept,
        ranking: Ranking,
    ) -> Matches:
        """Ask the model about each accelerator.

        Args:
            inputs: all inputs but the accelerator. kept: makes the targets from the equations about an accelerator.
        """
        ranked: list[Ranked] = []
        unranked: list[Missed] = []
        missed: list[Missed] = []
        for item in accelerators:
            try:
                values = model.check(**{**inputs, "hardware": item})
                solved = model.solved(values)
                reasons = [*violations(solved), *_short(model, values, kept)]
            except InputError as error:  # no such number format, or a number that is not published
                missed.append(Missed(item, error.message))
                continue
            if reasons:
                missed.append(Missed(item, "; ".join(reasons)))
                continue
            try:
                value = ranking.value(solved, item)
            except UsageError:  # wrong for all of them
                raise
            except MlsysimError as error:
                unranked.append(Missed(item, error.message))
                continue
            if math.isfinite(value):
                ranked.append(Ranked(item, value, ranking.show(value)))
            else:
                unranked.append(Missed(item, f"{ranking.text} is {value}"))
        ranked.sort(key=lambda found: -found.value if ranking.most else found.value)
        return cls.of(ranking.text, ranked, unranked, missed)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Matches.of, (self.ranking, self.ranked, self.unranked, self.missed))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON data."""
        return {
            "ranked_by": self.ranking,
            "ranked": [
                {"accelerator": item.accelerator.name, "value": item.value, "shown": item.shown} for item in self.ranked
            ],
            "unranked": [{"accelerator": item.accelerator.name, "reason": item.reason} for item in self.unranked],
            "missed": [{"accelerator": item.accelerator.name, "reason": item.reason} for item in self.missed],
        }

    def __str__(self) -> str:
        lines = [f"{len(self)} accelerators meet the targets, by {self.ranking}"]
        lines += [f"  {place:3}. {item.accelerator.name}: {item.shown}" for place, item in enumerate(self.ranked, 1)]
        lines += [f"  not ranked: {item.accelerator.name}: {item.reason}" for item in self.unranked]
        return "\n".join([*lines, f"{len(self.missed)} others do not, each with its reason in `missed`"])

    def __repr__(self) -> str:
        return f"<Matches {', '.join(item.name for item in self) or 'none'}>"


def _short(model: Model, values: Mapping[str, Any], kept: Kept) -> list[str]:
    """Return the targets that are missed, with what is reached."""
    named = model.leaf_values(values)
    relations = kept(model.trace(values), named)
    raw = ScalarProgram([side for item in relations for side in (item.left, item.right)]).run_named(named)
    found = []
    for at, item in enumerate(relations):
        left, right = raw[2 * at], raw[2 * at + 1]
        if not gap(left, right) <= TOLERANCE:
            of = item.left.dimension
            found.append(f"misses {item.text}: {show(left, of)} against {show(right, of)}")
    return found
