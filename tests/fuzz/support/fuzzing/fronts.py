"""Fronts of random small problems against trying everything: of designs, of whole plans, of plans with divisible parts.

A front of whole plans is held against all of its plans. Where amounts are divisible it is a cover, and what that
promises is asked of every selection of whole amounts by SciPy: no plan is better than the points that stand for it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fuzzing.oracle import Oracle
from fuzzing.plans import Form, Instance, Limit, Plan, _Plan, add, combined, slack
from fuzzing.puzzles import puzzle
from mlsysim_opt.errors import InfeasibleError, InputError, ScaleError, UnboundedError
from mlsysim_opt.optimize import Front, Task
from mlsysim_opt.optimize.coupled.front import coupled_front
from mlsysim_opt.optimize.front_designs import front
from mlsysim_opt.units import parse_unit

Point = tuple[float, ...]
NOTHING: Form = ({}, 0.0)
MOST = 2000
"""Selections of whole amounts that are tried."""


@dataclass
class Goal:
    """An objective twice: as it is asked, and as the largest of forms (over another one) that is minimised."""

    text: str
    forms: list[Form]
    divisor: Form | None = None
    sign: float = 1.0

    def value(self, plan: Plan) -> float:
        """What is minimised at a plan, NaN where the ratio does not exist."""
        value = max(add(form, plan)[0] for form in self.forms)
        if self.divisor is None:
            return value
        below = add(self.divisor, plan)[0]
        return value / below if below > 0 else math.nan

    def below(self, value: float) -> list[Form]:
        """The forms that are at most zero where the objective is at most a value."""
        if self.divisor is None:
            return [(form[0], form[1] - value) for form in self.forms]
        return [combined(form, self.divisor, -value) for form in self.forms]


@dataclass
class Question:
    """An instance with several objectives."""

    instance: Instance
    goals: list[Goal]

    def room(self, at: int, value: float) -> float:
        """By how much an objective has to differ for SciPy to tell: its tolerances are absolute."""
        return 1e-6 * max(abs(value), 1.0 if self.goals[at].divisor is not None else self.instance.scale)

    def rounding(self, at: int, value: float) -> float:
        """By how much an objective differs from itself."""
        return 1e-9 * max(abs(value), 1e-3 * (1.0 if self.goals[at].divisor is not None else self.instance.scale))

    def points(self) -> list[Point]:
        """The objectives of every plan of whole amounts."""
        plans = [plan for plan in self.instance.selections() if self.instance.value(plan) is not None]
        values = [tuple(goal.value(plan) for goal in self.goals) for plan in plans]
        return [item for item in values if not any(math.isnan(value) for value in item)]

    def possible(self, value: float, limits: Sequence[float]) -> bool:
        """Whether some plan has the first objective below a value (by more than rounding), the others at limits."""
        first = self.goals[0]
        rows = [row for goal, limit in zip(self.goals[1:], limits, strict=True) if math.isfinite(limit)
                for row in goal.below(limit)]  # fmt: skip
        rows += [({at: -number for at, number in goal.divisor[0].items()}, -goal.divisor[1]) for goal in self.goals
                 if goal.divisor is not None]  # fmt: skip
        asked = replace(
            self.instance,
            limits=[*self.instance.limits, Limit("held", "<=", rows)],
            goal=first.below(value) if math.isfinite(value) else [NOTHING],
        )
        room = slack(value) * 10 if math.isfinite(value) else 0.0
        return any(self._below(asked, plan, room) for plan in asked.selections())

    def _below(self, asked: Instance, plan: Plan, room: float) -> bool:
        for goal in self.goals:
            if goal.divisor is not None and not goal.divisor[1] and not add(goal.divisor, plan)[0] > 0:
                return False
        for limit in asked.limits:
            for form in limit.rows:
                low, high = reach(asked, form, plan)
                size = 1e-6 * max(1e-12, add(form, plan)[1])
                if (limit.sense != ">=" and low > size) or (limit.sense != "<=" and high < -size):
                    return False
        if max(reach(asked, form, plan)[0] for form in asked.goal) >= -room and asked.goal != [NOTHING]:
            return False
        least = asked._least(plan)
        if least is None:
            return False
        divided = self.goals[0].divisor
        size = 1.0 if divided is None else max(abs(reach(asked, divided, plan)[1]), 1e-9)
        return asked.goal == [NOTHING] or least[0] < -room * size


def reach(instance: Instance, form: Form, plan: Plan) -> tuple[float, float]:
    """Between what a sum is with these whole amounts, whatever the divisible ones are."""
    low = high = add(form, plan)[0]
    for at, (least, most) in instance.flows.items():
        number = form[0].get(at, 0.0)
        low += min(number * least, number * most)
        high += max(number * least, number * most)
    return low, high


class _Front(_Plan):
    """An instance with two to four objectives."""

    goals: list[Goal]

    def _goal(self, continuous: bool) -> Any:
        forms = self.forms
        cost, carbon, units = (forms[name] for name in ("cost", "carbon", "units"))
        kinds = [
            Goal("min_cost", [cost]),
            Goal("min_carbon", [carbon]),
            Goal("max_units", [combined(NOTHING, units, -1.0)], sign=-1.0),
            Goal("min_peak", self.peaks),
            Goal("cost + 0.7 * carbon", [combined(cost, carbon, 0.7)]),
            Goal("max(cost, 2 * carbon)", [cost, combined(NOTHING, carbon, 2.0)]),
            Goal("cost / units", [cost], units),
            Goal("carbon / units", [carbon], units),
        ]
        if continuous:
            drawn = self.form([("flow", lambda at: 1.0)], self.scale)
            self.problem.measure("drawn", self.objects["flow"] + self.scale)
            kinds += [
                Goal("min_drawn", [drawn]),
                Goal("cost / drawn", [cost], drawn),
                Goal("maximize units / drawn", [combined(NOTHING, units, -1.0)], drawn, -1.0),
            ]
        self.goals = self.dice.sample(kinds, self.dice.choice([2, 2, 3, 3, 4]))
        if any("cost" in goal.text for goal in self.goals):
            self.gone |= self.unpriced
        self.instance.goal = [NOTHING]
        return [goal.text for goal in self.goals]


def question(seed: int) -> Question:
    """The question of a seed: the first of its instances whose selections are few, and that mostly has plans."""
    for again in itertools.count():
        maker = _Front(f"{seed}.{again}" if again else seed)
        asked = Question(maker.made(), maker.goals)
        few = sum(1 for _ in itertools.islice(asked.instance.selections(), MOST)) < MOST
        if few and (seed % 4 == 0 or not asked.instance.integral or asked.points()):
            return asked
    raise AssertionError


# against trying everything --------------------------------------------------------------------------------------------
def by_counting(points: Iterable[Sequence[float]]) -> list[Point]:
    """The points that no other one beats, equal ones once: each against each. What differs by rounding is equal."""
    unique = sorted({tuple(float(f"{value:.9g}") + 0.0 for value in point) for point in points})
    return [
        one for one in unique
        if not any(other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in unique)
    ]  # fmt: skip


def costs(found: Front, signs: Sequence[float]) -> list[Point]:
    """The values of a front as what is minimised, in base units."""
    factors = [parse_unit(item.unit).factor if item.unit else 1.0 for item in found.objectives]
    return [tuple(s * value * f for s, value, f in zip(signs, row, factors, strict=True)) for row in found.values]


def widths(found: Front, count: int) -> list[float]:
    """The steps of a front in base units, zeros for none."""
    factors = [parse_unit(item.unit).factor if item.unit else 1.0 for item in found.objectives]
    return [step * factor for step, factor in zip(found.steps or [0.0] * count, factors, strict=True)]


def same(one: Sequence[float], two: Sequence[float], room: float = 1e-8) -> bool:
    """Whether two points differ by rounding only."""
    return all(abs(a - b) <= room * max(abs(a), abs(b), 1e-9) for a, b in zip(one, two, strict=True))


def agree(found: Front, every: list[Point], signs: Sequence[float], where: str) -> None:
    """Hold a complete front against all points there are."""
    assert found.complete, f"{where}: {found.guarantee}"
    expected, values = by_counting(every), costs(found, signs)
    for one in expected:
        assert any(same(one, other) for other in values), f"{where}: lacks {one}, has {values}"
    for one in values:
        assert any(same(one, other) for other in expected), f"{where}: has {one}, expected {expected}"
    assert len(values) == len(expected), f"{where}: {len(values)} points for {len(expected)}"


def covers(found: Front, every: list[Point], signs: Sequence[float], where: str) -> None:
    """Hold a cover against all points there are: each is an undominated one, and together they keep the promise."""
    expected, values = by_counting(every), costs(found, signs)
    steps = widths(found, len(signs))
    assert all(any(same(one, other) for other in expected) for one in values), f"{where}: {values} of {expected}"
    for one in expected:
        assert any(stands_for(point, one, steps) for point in values), f"{where}: nothing stands for {one}"


def stands_for(point: Point, other: Point, steps: Sequence[float], room: float = 1e-8) -> bool:
    """Whether a point is worse than another by no more than steps, and rounding."""
    return all(a <= b + step + room * max(abs(a), abs(b), 1e-9) for a, b, step in zip(point, other, steps, strict=True))


def promised(asked: Question, found: Front, signs: Sequence[float], where: str) -> None:
    """Hold a front of divisible plans against SciPy: each point is the best of its kind, and no plan lies between."""
    values = costs(found, signs)
    steps = widths(found, len(signs))
    held = asked.instance.task.problem.families
    for plan, point in zip(found, values, strict=True):
        amounts = {(name, tuple(row[axis.name] for axis in held[name].over)): row["amount"]
                   for name, rows in plan.amounts.items() for row in rows}  # fmt: skip
        assert asked.instance.value(amounts, room=1e-6) is not None, f"{where}: a plan does not hold"
        assert same([goal.value(amounts) for goal in asked.goals], point, 1e-6), f"{where}: {point} is something else"
    chosen = range(0, len(values), max(1, len(values) // 2))
    for at in chosen:
        point = values[at]
        limits = [value + asked.rounding(other, value) for other, value in enumerate(point[1:], 1)]
        value = point[0] - asked.room(0, point[0])
        assert not asked.possible(value, limits), f"{where}: point {at}, {point}, is beaten"
        for other in range(1, len(point)):
            width = steps[other] * (1 + 1e-6) + asked.room(other, point[other])
            beyond = [math.inf] * (len(point) - 1)
            beyond[other - 1] = point[other] - width
            beside = [item[0] for item in values if item[other] <= point[other] - width + steps[other]]
            least = min(beside, default=math.inf)
            least -= asked.room(0, least) if beside else 0.0
            assert not asked.possible(least, beyond), f"{where}: a plan {width} before point {at}, {point}, is missing"


def examine_plans(seed: int, *, every: bool = False) -> str:
    """Hold the front of a coupled instance against everything it might be; return what kind it was."""
    asked = question(seed)
    signs = [goal.sign for goal in asked.goals]
    whole = asked.instance.integral
    points = asked.points() if whole else []
    exists = bool(points) if whole else asked.possible(math.inf, [math.inf] * (len(signs) - 1))
    for prune, count in [(True, None), (False, 4)] if every else [(seed % 2 == 0, 4 if seed % 3 == 0 else None)]:
        where = f"prune={prune}, points={count}, {[goal.text for goal in asked.goals]}"
        asked_for = count if whole or count is not None else 6
        try:
            found = coupled_front(asked.instance.task, asked_for, prune=prune)
        except InfeasibleError:
            assert not exists, f"{where}: says that there is no plan"
            continue
        except InputError as error:
            if "zero in every plan" not in str(error):
                raise
            assert not exists, where
            continue
        except ScaleError:  # numbers so far apart that a solver would take some for nothing: told, not guessed
            return "refused"
        assert exists, f"{where}: found a front where there is no plan"
        assert all(plan.status == "optimal" for plan in found), where
        if not whole:
            promised(asked, found, signs, where)
        elif count is None:
            agree(found, points, signs, where)
        else:
            covers(found, points, signs, where)
        for plan in found[:: max(1, len(found) // 3)] if every else found.points[:1]:
            plan.verify()
    return "infeasible" if not exists else "whole" if whole else "divisible"


def examine_designs(seed: int) -> str:
    """Hold the front of an uncoupled puzzle against all its designs."""
    base = puzzle(seed)
    texts = ["min_m0", "max_m1", "min_m2", "m0 + 2 * m1"][: 2 + seed % 3]
    asked = Task.of(base.problem, texts, [])
    signs = [1.0, -1.0, 1.0, 1.0][: len(texts)]
    points = [(point.cost, *point.then) for point in Oracle(asked).satisfying()]
    every = [point for point in points if all(math.isfinite(value) for value in point)]
    where = f"{texts}"
    try:
        found = front(asked)
    except InfeasibleError:
        assert not every, where
        return "infeasible"
    except InputError as error:
        if "given twice" not in str(error):
            raise
        return "refused"
    except UnboundedError:
        assert any(value == -math.inf for point in points for value in point), where
        return "unbounded"
    agree(found, every, signs, where)
    few = front(asked, 3)
    assert len(few) <= 3
    covers(few, every, signs, where)
    return "whole"


def examine_seed(examine: Any, seed: int, **how: Any) -> str:
    """Examine the instance of a seed; the seed stands in the message of a failure."""
    try:
        return str(examine(seed, **how))
    except Exception as error:
        error.add_note(f"instance: {examine.__name__}({seed})")
        raise
