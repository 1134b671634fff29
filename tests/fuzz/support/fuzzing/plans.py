"""Random small coupled problems, each written twice: as a `CoupledProblem`, and as plain Python that adds up a plan.

The second form knows nothing of the first: it walks over dictionaries of numbers. It tries every selection of whole
amounts; what is left of continuous ones goes to SciPy as a linear program of its own.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fuzzing.agree import amounts_of
from mlsysim_opt.optimize import CoupledProblem, CoupledTask, Largest, PlanSolution
from mlsysim_opt.optimize.coupled.totals import Place

Place_ = tuple[Any, ...]
Plan = dict[str, dict[Place_, float]]
Form = tuple[dict[tuple[str, Place_], float], float]
"""A sum: numbers for each amount, and what is added to them."""


@dataclass
class Limit:
    """Sums that must be at most (``<=``), at least or equal to zero."""

    name: str
    sense: str
    rows: list[Form]


@dataclass
class Instance:
    """One random problem in both forms.

    Attributes:
        task: as it is asked. places: the tuples of each family that there are, for whole ones with the amounts each may
            be. groups: of picks, which tuples, how many at least and at most.
        goal: what is minimised, a form; the largest of several; or a form over another. then: looked at among ties.
    """

    task: CoupledTask
    whole: dict[tuple[str, Place_], list[int]] = field(default_factory=dict)
    groups: list[tuple[list[tuple[str, Place_]], int, int]] = field(default_factory=list)
    flows: dict[tuple[str, Place_], tuple[float, float]] = field(default_factory=dict)
    limits: list[Limit] = field(default_factory=list)
    goal: list[Form] = field(default_factory=list)
    divisor: Form | None = None
    then: Form | None = None
    sign: float = 1.0
    scale: float = 1.0

    @property
    def integral(self) -> bool:
        return not self.flows

    # trying everything ------------------------------------------------------------------------------------------------
    def selections(self) -> Iterator[dict[tuple[str, Place_], float]]:
        """Every way to choose the whole amounts."""
        options: list[list[dict[tuple[str, Place_], float]]] = []
        for members, low, high in self.groups:
            mine = []
            for count in range(low, high + 1):
                for chosen in itertools.combinations_with_replacement(members, count):
                    made: dict[tuple[str, Place_], float] = {}
                    for item in chosen:
                        made[item] = made.get(item, 0.0) + 1
                    mine.append(made)
            options.append(mine)
        options += [[{at: float(amount)} for amount in amounts] for at, amounts in self.whole.items()]
        for parts in itertools.product(*options):
            yield {at: amount for part in parts for at, amount in part.items() if amount}

    @property
    def possible(self) -> bool:
        return self.best is not None

    def check(self, answer: PlanSolution, way: str) -> None:
        """Hold one answer against the best of all plans."""
        best = self.best
        assert best is not None
        value = self.sign * answer.objective.si
        assert abs(value - best[0]) <= slack(best[0]), f"{way}: {value!r} instead of {best[0]!r}"
        amounts = {(name, tuple(place)): amount for (name, *place), amount in amounts_of(answer).items()}
        again = self.value(amounts, room=1e-9)
        assert again is not None, f"{way}: its plan does not hold"
        assert abs(again[0] - best[0]) <= slack(best[0]), way
        if self.then is not None:
            assert again[1] <= best[1] + 10 * slack(best[1]), (
                f"{way}: the second objective is {again[1]}, not {best[1]}"
            )
        for (name, _), amount in amounts.items():
            assert name not in ("run", "mode", "servers") or amount == round(amount), way

    @cached_property
    def best(self) -> tuple[float, float] | None:
        """The least of the goal (and of what comes after it) over all plans, None where there are none."""
        found: tuple[float, float] | None = None
        for plan in self.selections():
            value = self.value(plan) if self.integral else self._least(plan)
            if value is None:
                continue
            if found is None or value[0] < found[0] - slack(found[0]):
                found = value
            elif value[0] <= found[0] + slack(found[0]):
                found = min(found[0], value[0]), min(found[1], value[1])
        return found

    def value(self, plan: dict[tuple[str, Place_], float], room: float = 1e-9) -> tuple[float, float] | None:
        """What the goal of one plan is, None where a limit does not hold."""
        for limit in self.limits:
            for form in limit.rows:
                total, size = add(form, plan)
                far = {"<=": total, ">=": -total, "==": abs(total)}[limit.sense]
                if far > room * max(1e-12, size):
                    return None
        value = max(add(form, plan)[0] for form in self.goal)
        if self.divisor is not None:
            below = add(self.divisor, plan)[0]
            if below <= 0:
                return None
            value /= below
        return value, 0.0 if self.then is None else add(self.then, plan)[0]

    def _least(self, plan: dict[tuple[str, Place_], float]) -> tuple[float, float] | None:
        """The least goal with these whole amounts: a linear program in the others and in the goal, in fitting units."""
        from scipy.optimize import linprog

        names = list(self.flows)
        above: list[list[float]] = []
        ends: list[float] = []
        equal: list[list[float]] = []
        sums: list[float] = []
        for limit in self.limits:
            for form in limit.rows:
                row = [form[0].get(name, 0.0) for name in names]
                rest = add(form, plan)[0]
                if not any(row):
                    size = add(form, plan)[1]
                    if {"<=": rest, ">=": -rest, "==": abs(rest)}[limit.sense] > 1e-9 * max(1e-12, size):
                        return None
                elif limit.sense == "==":
                    equal.append([*row, 0.0])
                    sums.append(-rest / self.scale)
                else:
                    sign = 1.0 if limit.sense == "<=" else -1.0
                    above.append([sign * item for item in row] + [0.0])
                    ends.append(-sign * rest / self.scale)
        for form in self.goal:
            above.append([form[0].get(name, 0.0) for name in names] + [-1.0])
            ends.append(-add(form, plan)[0] / self.scale)
        bounds = [*((low / self.scale, high / self.scale) for low, high in self.flows.values()), (-math.inf, math.inf)]
        found = linprog(
            [0.0] * len(names) + [1.0], above, ends, equal or None, sums or None, bounds=bounds, method="highs"
        )
        if found.status == 2:
            return None
        assert found.status == 0, found.message
        return float(found.fun) * self.scale, 0.0


def add(form: Form, plan: dict[tuple[str, Place_], float]) -> tuple[float, float]:
    """A sum over a plan, and the sum of its parts' sizes."""
    parts = [form[1], *(form[0][at] * amount for at, amount in plan.items() if at in form[0])]
    return math.fsum(parts), math.fsum(abs(part) for part in parts)


def slack(value: float) -> float:
    """Differences that are rounding."""
    return 1e-9 * max(abs(value), 1e-3)


class _Maker:
    """Rolls the dice for one instance."""

    def __init__(self, seed: int | str) -> None:
        self.dice = random.Random(seed)
        self.coarse = self.dice.random() < 0.5
        self.scale = 10.0 ** self.dice.choice([0, 0, 0, -6, 6])

    def number(self, low: float, high: float) -> float:
        """A number, of coarse steps in some instances, so that ties and limits that just hold are common."""
        value = self.dice.uniform(low, high)
        return (round(value * 2) / 2 if self.coarse else value) * self.scale

    def some(self, chance: float) -> bool:
        return self.dice.random() < chance


def plan(seed: int) -> Instance:
    """The instance of a seed."""
    return _Plan(seed).made()


class _Plan(_Maker):
    def made(self) -> Instance:
        dice = self.dice
        continuous = self.some(0.35)
        problem = CoupledProblem(f"plan {self.coarse}")
        self.problem = problem
        jobs = [f"j{at}" for at in range(dice.randint(1, 2 if continuous else 3))]
        sizes = [1, 2, 4][: dice.randint(2, 2 if continuous else 3)]
        sites = ["A", "B"][: dice.randint(1, 2)]
        hours = list(range(dice.randint(2, 3)))
        job, size = problem.choose("job", jobs), problem.choose("size", sizes)
        site, hour = problem.choose("site", sites), problem.choose("hour", hours)
        self.axes = {"job": (job, jobs), "size": (size, sizes), "site": (site, sites), "hour": (hour, hours)}
        self.instance = Instance(task=None, scale=self.scale)  # type: ignore[arg-type]
        self.families: dict[str, tuple[str, ...]] = {}
        self.gone: set[tuple[str, Place_]] = set()
        self.unpriced: set[tuple[str, Place_]] = set()  # left out where costs are asked for
        count = 2 if self.some(0.15) else 1
        optional = self.some(0.3)
        run = problem.picks("run", [job, size, site], for_each=[job], count=count, optional=optional)
        self.families["run"] = ("job", "size", "site")
        self.objects: dict[str, Any] = {"run": run}
        if self.some(0.6):
            high = {at: dice.randint(1, 2) for at in sites}
            self.objects["servers"] = problem.amounts(
                "servers", [site], whole=True, high=self.table("high", "site", high)
            )
            self.families["servers"] = ("site",)
            for at in sites:
                self.instance.whole["servers", (at,)] = list(range(high[at] + 1))
        if self.some(0.3):
            self.objects["mode"] = problem.picks("mode", [site, size], for_each=[site], optional=self.some(0.5))
            self.families["mode"] = ("site", "size")
            modes = problem.families["mode"]
        if continuous:
            top = self.number(4, 12)
            self.objects["flow"] = problem.amounts("flow", [site, hour], high=top)
            self.families["flow"] = ("site", "hour")
            for place in itertools.product(sites, hours):
                self.instance.flows["flow", place] = (0.0, top)
        if self.some(0.3):
            limit = {at: dice.choice(sizes) for at in sites}
            problem.allow("fits", size <= self.table("largest", "site", limit))
            for family in ("run", "mode"):
                for place in self.places(family) if family in self.families else ():
                    at = dict(zip(self.families[family], place, strict=True))
                    if at["size"] > limit[at["site"]]:
                        self.gone.add((family, place))
        self._metrics(continuous)
        self._limits(continuous)
        constraints, objective = self._asked(continuous)
        for item, low in (("run", 0 if optional else count), ("mode", 0)):
            if item not in self.families:
                continue
            key = self.families[item][0]
            for value in self.axes[key][1]:
                mine = [
                    (item, place) for place in self.places(item) if place[0] == value and (item, place) not in self.gone
                ]
                if item == "run":
                    self.instance.groups.append((mine, low, count))
                else:
                    self.instance.groups.append((mine, 0 if modes.optional else 1, 1))
        self.instance.task = CoupledTask.of(problem, objective, constraints)
        return self.instance

    # both forms at once -----------------------------------------------------------------------------------------------
    def table(self, name: str, axes: str, numbers: dict[Any, float]) -> Any:
        """An expression for numbers by value (or tuple of values) of some axes."""
        names = axes.split()
        over = [self.axes[item][0] for item in names]
        values = [self.axes[item][1] for item in names]
        if len(names) == 1:
            return self.problem.table(name, over, [float(numbers[item]) for item in values[0]])
        shape = [len(item) for item in values]
        return self.problem.table(name, over, np.reshape([numbers[at] for at in itertools.product(*values)], shape))

    def rolled(self, name: str, axes: str, low: float, high: float, zero: float = 0.0) -> tuple[Any, dict[Any, float]]:
        """Random numbers over some axes, as an expression and as a dictionary."""
        names = axes.split()
        keys: Any = itertools.product(*(self.axes[item][1] for item in names))
        numbers = {(at if len(names) > 1 else at[0]): 0.0 if self.some(zero) else self.number(low, high) for at in keys}
        return self.table(name, axes, numbers), numbers

    def places(self, family: str) -> list[Place_]:
        return list(itertools.product(*(self.axes[item][1] for item in self.families[family])))

    def form(self, parts: Sequence[tuple[str, Callable[[dict[str, Any]], float | None]]], offset: float = 0.0) -> Form:
        """A sum by plain Python: a function gives the number of each tuple; None says that it does not stand in it."""
        made: dict[tuple[str, Place_], float] = {}
        for family, number in parts:
            for place in self.places(family):
                found = number(dict(zip(self.families[family], place, strict=True)))
                if found:
                    made[family, place] = made.get((family, place), 0.0) + found
        return made, offset

    # what there is ----------------------------------------------------------------------------------------------------
    def _metrics(self, continuous: bool) -> None:
        problem, dice = self.problem, self.dice
        costs, numbers = self.rolled("cost of a run", "job size site", 1, 9)
        if self.some(0.25):
            lost = dice.choice(list(numbers))
            numbers[lost] = math.nan
            costs = self.table("cost of a run", "job size site", numbers)
            self.unpriced = {("run", lost)}
        cost = self.objects["run"] * costs
        parts: list[Any] = [("run", lambda at: numbers[at["job"], at["size"], at["site"]])]
        if "servers" in self.families:
            price, prices = self.rolled("price", "site", 0, 5)
            cost = cost + self.objects["servers"] * price
            parts.append(("servers", lambda at: prices[at["site"]]))
        if "mode" in self.families:
            fee, fees = self.rolled("fee", "site size", -4, 4)
            cost = cost + self.objects["mode"] * fee
            parts.append(("mode", lambda at: fees[at["site"], at["size"]]))
        if continuous:
            tariff, tariffs = self.rolled("tariff", "site hour", 0.1, 2)
            cost = cost + self.objects["flow"] * (tariff / self.scale)
            parts.append(("flow", lambda at: tariffs[at["site"], at["hour"]] / self.scale))
        offset = self.number(0, 3) if self.some(0.3) else 0.0
        problem.measure("cost", cost + offset)
        carbon, carbons = self.rolled("carbon of a run", "job size", 0, 5)
        units, unit = self.rolled("units", "size site", 1, 4)
        load, loads = self.rolled("load", "job size", 1, 4)
        problem.measure("carbon", self.objects["run"] * carbon)
        problem.measure("units", self.objects["run"] * units)
        site = self.axes["site"][0]
        problem.measure("peak", Largest(self.objects["run"] * load, (site,)))
        self.forms = {
            "cost": self.form(parts, offset),
            "carbon": self.form([("run", lambda at: carbons[at["job"], at["size"]])]),
            "units": self.form([("run", lambda at: unit[at["size"], at["site"]])]),
        }
        self.peaks = [
            self.form([("run", lambda at, s=s: loads[at["job"], at["size"]] if at["site"] == s else None)])
            for s in self.axes["site"][1]
        ]

    def _limits(self, continuous: bool) -> None:
        for chance, make in (
            (0.6, self._room), (0.4, self._hourly), (0.3, self._exact), (0.4, self._enough), (0.3, self._elsewhere),
        ):  # fmt: skip
            if self.some(chance):
                make()
        if continuous:
            self._energy()
            if self.some(0.5):
                self._ramp()

    def limit(self, name: str, sense: str, total: Any, rows: list[Form], **how: Any) -> None:
        relation = {"<=": lambda: total <= 0, ">=": lambda: total >= 0, "==": lambda: total.equals(0)}[sense]()
        self.problem.require(name, relation, **how)
        self.instance.limits.append(Limit(name, sense, rows))

    def _room(self) -> None:
        """Per site: what runs there is at most what servers give, and something."""
        weight, weights = self.rolled("weight", "job size", 1, 4)
        have, room = self.rolled("room", "site", 2, 9)
        total = self.objects["run"] * weight - have
        parts: list[Any] = [("run", lambda at: weights[at["job"], at["size"]])]
        if "servers" in self.families:
            total = total - self.objects["servers"] * (2 * self.scale)
            parts.append(("servers", lambda at: -2 * self.scale))
        site, values = self.axes["site"]
        when = None
        if self.some(0.2):
            when, values = site == values[0], values[:1]
        rows = []
        for s in values:
            mine = [(name, lambda at, s=s, of=of: of(at) if at["site"] == s else None) for name, of in parts]
            rows.append(self.form(mine, -room[s]))
        self.limit("room", "<=", total, rows, each=[site], when=when)

    def _hourly(self) -> None:
        """Per hour: a job of a size draws so much in it (numbers over an axis that the family lacks)."""
        draw, draws = self.rolled("draw", "size hour", 0, 3, zero=0.3)
        most, cap = self.rolled("cap", "hour", 3, 9)
        total = self.objects["run"] * draw - most
        parts: list[Any] = [("run", lambda at, h: draws[at["size"], h])]
        if "servers" in self.families and self.some(0.5):
            total = total - self.objects["servers"] * self.scale
            parts.append(("servers", lambda at, h: -self.scale))
        hour, values = self.axes["hour"]
        rows = [self.form([(name, lambda at, h=h, of=of: of(at, h)) for name, of in parts], -cap[h]) for h in values]
        self.limit("hourly", "<=", total, rows, each=[hour])

    def _exact(self) -> None:
        """The whole amounts of all sites together are so many; or so many large runs."""
        if "servers" in self.families and self.some(0.5):
            count = self.dice.randint(1, 2)
            total = self.objects["servers"] - count
            self.limit("as many", "==", total, [self.form([("servers", lambda at: 1.0)], -count)])
        else:
            large = self.axes["size"][1][-1]
            count = self.dice.randint(0, 2)
            truth = {item: float(item == large) for item in self.axes["size"][1]}
            total = self.objects["run"] * self.table("is large", "size", truth) - count
            self.limit("large", "==", total, [self.form([("run", lambda at: truth[at["size"]])], -count)])

    def _enough(self) -> None:
        gain, gains = self.rolled("gain", "job size", 1, 4)
        need = self.number(2, 8)
        total = self.objects["run"] * gain - need
        self.limit("enough", ">=", total, [self.form([("run", lambda at: gains[at["job"], at["size"]])], -need)])

    def _elsewhere(self) -> None:
        """Rows over a further axis, along which a site stands by its position, shifted and as a circle or not."""
        sites = self.axes["site"][1]
        spots = list(range(3))
        spot = self.problem.choose("spot", spots)
        self.axes["spot"] = (spot, spots)
        shift, wrap = self.dice.randint(0, 2), self.some(0.5)
        size, sizes = self.axes["size"][0], self.axes["size"][1]
        most, cap = self.rolled("spot", "spot", 1, 8)
        total = self.objects["run"].total(size * self.scale, at={spot: Place(self.axes["site"][0], shift, wrap)}) - most
        rows = []
        for at_spot in spots:

            def of(at: dict[str, Any], here: int = at_spot) -> float | None:
                position = sites.index(at["site"]) + shift
                return at["size"] * self.scale if (position % 3 if wrap else position) == here else None

            rows.append(self.form([("run", of)], -cap[at_spot]))
        assert sizes
        self.limit("spots", "<=", total, rows, each=[spot])

    def _energy(self) -> None:
        """Per site and hour, flow is at least (or exactly) what runs draw; in all there is so much of it."""
        draw, draws = self.rolled("drawn", "size hour", 0, 2, zero=0.2)
        site, sites = self.axes["site"]
        hour, hours = self.axes["hour"]
        sense = self.dice.choice([">=", ">=", "=="])
        total = self.objects["flow"] - self.objects["run"] * draw
        rows = [
            self.form([
                ("flow", lambda at, s=s, h=h: 1.0 if (at["site"], at["hour"]) == (s, h) else None),
                ("run", lambda at, s=s, h=h: -draws[at["size"], h] if at["site"] == s else None),
            ])
            for s in sites for h in hours
        ]  # fmt: skip
        self.limit("energy", sense, total, rows, each=[site, hour])
        if self.some(0.5):
            need = self.number(1, 4)
            rows = [self.form([("flow", lambda at, h=h: 1.0 if at["hour"] == h else None)], -need) for h in hours]
            self.limit("base load", ">=", self.objects["flow"] - need, rows, each=[hour])

    def _ramp(self) -> None:
        """From hour to hour, flow grows by so much at most."""
        site, sites = self.axes["site"]
        hour, hours = self.axes["hour"]
        wrap = self.some(0.5)
        most = self.number(0.5, 3)
        total = self.objects["flow"] - self.objects["flow"].total().shifted(hour, 1, wrap=wrap) - most
        rows = []
        for s in sites:
            for position, h in enumerate(hours):
                before = hours[position - 1] if position or wrap else None
                rows.append(self.form([
                    ("flow", lambda at, s=s, h=h: 1.0 if (at["site"], at["hour"]) == (s, h) else None),
                    ("flow", lambda at, s=s, b=before: -1.0 if (at["site"], at["hour"]) == (s, b) else None),
                ], -most))  # fmt: skip
        self.limit("ramp", "<=", total, rows, each=[site, hour])

    # what is asked ----------------------------------------------------------------------------------------------------
    def _asked(self, continuous: bool) -> tuple[list[str], Any]:
        found, forms = self.instance, self.forms
        constraints: list[str] = []
        if self.some(0.3):
            most = self.number(2, 9)
            constraints.append(f"carbon <= {most!r}")
            found.limits.append(Limit("carbon", "<=", [(forms["carbon"][0], -most)]))
        if self.some(0.2):
            most = self.number(2, 8)
            constraints.append(f"peak <= {most!r}")
            found.limits.append(Limit("peak", "<=", [(form[0], -most) for form in self.peaks]))
        if self.some(0.15):
            largest = self.dice.choice(self.axes["size"][1])
            constraints.append(f"size <= {largest}")
            for family in ("run", "mode"):
                for place in self.places(family) if family in self.families else ():
                    if dict(zip(self.families[family], place, strict=True))["size"] > largest:
                        self.gone.add((family, place))
        if self.some(0.2):
            most = self.dice.uniform(1, 5)
            constraints.append(f"carbon / units <= {most!r}")
            found.limits.append(Limit("per unit", "<=", [combined(forms["carbon"], forms["units"], -most)]))
        return constraints, self._goal(continuous)

    def _goal(self, continuous: bool) -> Any:
        """What is minimised or maximised, as it is asked; its form stands in the instance."""
        found, forms = self.instance, self.forms
        kinds = ["cost", "weighted", "gain", "peak", "written"]
        if not continuous:
            kinds += ["ratio", "ratio", "then"]
        kind = self.dice.choice(kinds)
        if kind != "peak":
            self.gone |= self.unpriced
        if kind == "cost":
            found.goal = [forms["cost"]]
            return "min_cost"
        if kind == "weighted":
            found.goal = [combined(forms["cost"], forms["carbon"], 0.7)]
            return "cost + 0.7 * carbon"
        if kind == "gain":
            found.goal, found.sign = [combined(forms["cost"], forms["units"], -2.0)], -1.0
            return "maximize 2 * units - cost"
        if kind == "peak":
            found.goal = self.peaks
            return "min_peak"
        if kind == "written":
            found.goal = [forms["cost"], combined(({}, 0.0), forms["carbon"], 2.0)]
            return "max(cost, 2 * carbon)"
        if kind == "ratio":
            found.goal, found.divisor = [forms["cost"]], forms["units"]
            return "cost / units"
        found.goal, found.then = [forms["carbon"]], forms["cost"]
        return ["min_carbon", "min_cost"]


def combined(one: Form, two: Form, weight: float) -> Form:
    """One sum and a multiple of another."""
    made = dict(one[0])
    for at, number in two[0].items():
        made[at] = made.get(at, 0.0) + weight * number
    return made, one[1] + weight * two[1]
