"""What formulations have in common: sets of candidates, prices by accelerator, where the electricity is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mlsysim_opt.algebra.atoms import lookup
from mlsysim_opt.algebra.expression import Expression, Symbol
from mlsysim_opt.errors import InputError, MissingFieldError, UnknownNameError
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.physics.inputs import Given, Input, Number
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.catalog import Catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import CARBON, ENERGY, MONEY, TIME, divide


@dataclass(frozen=True)
class Names(Input):
    """A name, or several: a candidate set from the catalog; `none` is a word that stands for doing without."""

    fixed = False
    kind: str = ""
    none: str | None = None

    def check(self, value: Any) -> tuple[Entry | str, ...]:
        several = [value] if isinstance(value, str | Entry) else list(value)
        if not several:
            raise InputError("the set of candidates is empty", path=self.name)
        known = Given(self.name, kind=self.kind)
        found = (item if item == self.none and self.none is not None else known.check(item) for item in several)
        return tuple(dict.fromkeys(found))

    def plain(self, value: tuple[Entry | str, ...]) -> list[str]:
        return [item.name if isinstance(item, Entry) else item for item in value]


@dataclass(frozen=True)
class Quantile(Number):
    """A share of requests, below all of them: queues have no longest wait."""

    def check(self, value: Any) -> float:
        share = super().check(value)
        if share == 1:
            raise InputError("no time is long enough for all requests", path=self.name, hint="below 1, such as 0.999")
        return share


@dataclass(frozen=True)
class Counts(Input):
    """A count, several counts, or "any"."""

    def check(self, value: Any) -> tuple[int, ...] | str:
        if value == "any":
            return "any"
        several = [value] if isinstance(value, int | float | str) else list(value)
        one = Number(self.name, integer=True, low=1)
        counts = [int(one.check(item)) for item in several]
        if not counts:
            raise InputError("the set of counts is empty", path=self.name)
        return tuple(sorted(set(counts)))

    def plain(self, value: tuple[int, ...] | str) -> list[int] | str:
        return value if isinstance(value, str) else list(value)


@dataclass(frozen=True)
class Prices(Number):
    """One price, or one for each accelerator by name (a mapping, or text ``H100=2 USD/h, B200=4 USD/h``)."""

    def check(self, value: Any) -> Any:
        if isinstance(value, str) and "=" in value:
            value = value.split(",")
        if isinstance(value, list | tuple):
            pairs = [str(item).partition("=") for item in value]
            value = {name.strip(): amount.strip() for name, _, amount in pairs}
        if not isinstance(value, Mapping):
            return super().check(value)
        named = [(Given(self.name, kind="accelerator").check(name), amount) for name, amount in value.items()]
        return {entry.name: super(Prices, self).check(amount) for entry, amount in named}

    def plain(self, value: Any) -> Any:
        one = super().plain
        return {name: one(amount) for name, amount in value.items()} if isinstance(value, dict) else one(value)


PRICE = Prices(
    "price",
    "rent of one accelerator; of several: 'H100=2 USD/h, B200=4 USD/h'",
    default=None,
    unit="USD/h",
    of=divide(MONEY, TIME),
    open_low=True,
)
PLACE: tuple[Input, ...] = (
    Given("grid", "electricity grid", default=None, kind="grid"),
    Given("datacenter", "building: grid and PUE", default=None, kind="datacenter"),
    Number("pue", "facility energy over IT energy", default=None, low=1.0, high=10.0),
    Number("carbon_intensity", "of electricity", default=None, unit="gCO2e/kWh", of=divide(CARBON, ENERGY)),
)
"""Where the electricity is from."""
SHOWN_PRICES = 8


@dataclass(frozen=True)
class Bills:
    """What money, energy and carbon are counted with: prices, PUE and intensity, each an error until it is given.

    Attributes:
        problem: where the numbers are bound. inputs, values: what may be given, and is.
        accelerators: those whose price is asked for; the decision `accelerator` chooses among several.
    """

    problem: Problem
    inputs: Sequence[Input]
    values: Mapping[str, Any]
    accelerators: tuple[Entry, ...]

    def check(self) -> None:
        """Refuse one price for several accelerators, and several sources of one intensity."""
        price = self.values["price"]
        if price is not None and len(self.accelerators) > 1 and not isinstance(price, dict):
            raise InputError(
                "one price cannot hold for several accelerators",
                path="price",
                hint="give one for each: price='"
                + ", ".join(f"{item.name}=... USD/h" for item in self.accelerators)
                + "'",
            )
        places = [name for name in ("grid", "datacenter", "carbon_intensity") if self.values[name] is not None]
        if len(places) > 1:
            raise InputError(f"{' and '.join(places)} both say how clean the electricity is; give one", path=places[1])

    def given(self, name: str, needed_for: str, hint: str) -> Expression:
        """Return a number that was given.

        Raises:
            InputError: it was not.
        """
        if self.values[name] is None:
            raise InputError(f"not given, but {needed_for} needs it", path=name, hint=hint)
        number = next(item for item in self.inputs if item.name == name)
        assert isinstance(number, Number)
        self.problem.values[name] = float(self.values[name])
        return Symbol(name, number.of)

    def price(self, needed_for: str) -> Expression:
        """Return the rent of one accelerator."""
        price = self.values["price"]
        if not isinstance(price, dict):
            return self.given("price", needed_for, self._price_hint() if price is None else "")
        names = list(dict.fromkeys(item.name for item in self.accelerators))
        missing = [name for name in names if name not in price]
        if missing:
            raise MissingFieldError("price", missing[0], needed_for=needed_for, hint=self._price_hint())
        if "accelerator" not in self.problem.decisions:
            self.problem.values["price"] = price[names[0]]
            return Symbol("price", divide(MONEY, TIME))
        per_second = {name: price[name] for name in names}
        return lookup(self.problem.decisions["accelerator"].choice, per_second, unit="USD/s", title="price")

    def pue(self, needed_for: str) -> Expression:
        """Return the facility energy over IT energy."""
        if self.values["pue"] is None and self.values["datacenter"] is not None:
            self.problem.values.update(entry_bindings("datacenter", self.values["datacenter"]))
            return View("datacenter", [self.values["datacenter"]]).pue
        return self.given("pue", needed_for, "give pue, such as 1.1, or a datacenter of the catalog")

    def intensity(self, needed_for: str) -> Expression:
        """Return the carbon intensity of the electricity."""
        if self.values["carbon_intensity"] is not None:
            return self.given("carbon_intensity", needed_for, "")
        for name in ("grid", "datacenter"):
            if self.values[name] is not None:
                self.problem.values.update(entry_bindings(name, self.values[name]))
                return View(name, [self.values[name]]).number("carbon_intensity")
        hint = "give grid or datacenter of the catalog, or carbon_intensity"
        return self.given("carbon_intensity", needed_for, hint)

    def _price_hint(self) -> str:
        return _price_hint(default_catalog(), frozenset(entry.name for entry in self.accelerators))


@lru_cache(maxsize=256)
def _price_hint(catalog: Catalog, wanted: frozenset[str]) -> str:
    found = catalog.naming("price", "accelerator", wanted)
    names = sorted(item.name for item in found if item.plan != "purchase")
    more = f" and {len(names) - SHOWN_PRICES} more" if len(names) > SHOWN_PRICES else ""
    known = ", ".join(names[:SHOWN_PRICES]) + more if names else "none for this accelerator"
    return f"give price, such as '2.50 USD/h' per accelerator (catalog prices: {known})"


def divisors(number: int) -> list[int]:
    """Return the divisors of a whole number, ascending."""
    small = [item for item in range(1, int(number**0.5) + 1) if number % item == 0]
    return sorted({*small, *(number // item for item in small)})


def renamed(narrowed: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Return the values users allow, by the real names of the decisions.

    Raises:
        InputError: one is given under two names.
    """
    names = [aliases.get(name, name) for name in narrowed]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice} is given twice", path=f"choices.{twice}")
    return dict(zip(names, narrowed.values(), strict=True))


def allowed(name: str, given: Any, options: list[Any] | None) -> list[Any]:
    """Return the values a user allows: some of a closed set of options, or else whole numbers from 1."""
    if given is None:
        raise InputError("no value is given", path=f"choices.{name}")
    several = [given] if isinstance(given, str | int | float) else list(given)
    if options is None:
        size = Number(f"choices.{name}", integer=True, low=1)
        return [size.check(item) for item in several]
    values = [int(item) if isinstance(item, bool) else item for item in several]
    for item in values:
        if item not in options:
            raise UnknownNameError(
                f"value of {name}", str(item), [str(option) for option in options], path=f"choices.{name}"
            )
    return values
