"""Random problems that mean nothing: expressions of every kind over a few choices."""

from __future__ import annotations

import random
from typing import Any

from fuzzing.oracle import Oracle
from mlsysim_opt.algebra import ceil, ceildiv, divides, exp, floor, lookup, maximum, minimum, sqrt, where
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol
from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.optimize import Problem, Task, task
from mlsysim_opt.units import NONE, TIME

LABELS = ("red", "green", "blue", "grey", "black")


def puzzle(seed: int, size: int = 600) -> Task:
    """Return the problem of a seed; its decisions have at most `size` combinations."""
    dice = random.Random(seed)
    while True:
        try:
            return _puzzle(dice, size)
        except MlsysimError as error:  # a random expression may divide by the constant zero, or mix whole and real
            if error.code not in ("bad-input", "dimension-mismatch", "out-of-range"):
                raise


class _Maker:
    """Makes random expressions over choices."""

    def __init__(self, dice: random.Random, problem: Problem) -> None:
        self.dice = dice
        self.problem = problem
        self.whole: list[Expression] = []
        self.real: list[Expression] = []
        self.truths: list[Expression] = []

    def choose(self, index: int, most: int) -> None:
        dice, name = self.dice, f"c{index}"
        kind = dice.random()
        count = dice.randint(2, most)
        if kind < 0.55:
            choice = self.problem.choose(name, dice.sample(range(-2 if dice.random() < 0.2 else 1, 14), count))
            self.whole.append(choice)
        elif kind < 0.75:
            choice = self.problem.choose(name, sorted({round(dice.uniform(-3, 9), 2) for _ in range(count)}))
            self.real.append(choice)
        else:
            choice = self.problem.choose(name, LABELS[:count])
            self.truths.append(choice == dice.choice(choice.values))
        if kind >= 0.4:
            self.real.append(self._table(choice))

    def _table(self, choice: Choice) -> Expression:
        table: dict[Any, float | None] = {value: round(self.dice.uniform(0.1, 20), 3) for value in choice.values}
        if self.dice.random() < 0.4:
            table[self.dice.choice(choice.values)] = None
        return lookup(
            choice, table, reasons={str(value): "it has none" for value, held in table.items() if held is None}
        )

    def number(self, depth: int) -> Expression:
        dice = self.dice
        if depth == 0 or dice.random() < 0.15:
            pool = self.real + self.whole
            return dice.choice(pool) if pool and dice.random() < 0.85 else _constant(dice)
        a, b = self.number(depth - 1), self.number(depth - 1)
        kind = dice.randrange(12)
        if kind < 2:
            return a + b
        if kind < 4:
            return a * b
        if kind == 4:
            return a - b
        if kind == 5:
            return a / b
        if kind == 6:
            return maximum(a, b)
        if kind == 7:
            return minimum(a, b, self.number(depth - 1))
        if kind == 8:
            return where(self.truth(depth - 1), a, b)
        if kind == 9:
            return self.integer(depth - 1)
        if kind == 10:
            return dice.choice((abs(a), a**2, sqrt(abs(a)), -a))
        return dice.choice((exp(minimum(a, 5)), ceil(a), floor(a), a + Symbol("shift", NONE)))

    def integer(self, depth: int) -> Expression:
        dice = self.dice
        pool = self.whole or [_constant(dice, whole=True)]
        if depth == 0:
            return dice.choice(pool)
        a, b = self.integer(depth - 1), self.integer(depth - 1)
        return dice.choice((a + b, a * b, ceildiv(a, maximum(b, 1)), a % maximum(b, 1), maximum(a, b)))

    def truth(self, depth: int) -> Expression:
        dice = self.dice
        if self.truths and dice.random() < 0.3:
            return dice.choice(self.truths)
        kind = dice.randrange(6)
        if kind == 0:
            return divides(maximum(self.integer(0), 1), self.integer(1))
        if kind == 1:
            return self.integer(1) < self.integer(1)
        if kind == 2 and depth > 0:
            return self.truth(depth - 1) & self.truth(depth - 1)
        if kind == 3 and depth > 0:
            return self.truth(depth - 1) | ~self.truth(depth - 1)
        return self.number(max(0, depth - 1)) <= self.number(max(0, depth - 1))


def _constant(dice: random.Random, whole: bool = False) -> Expression:
    from mlsysim_opt.algebra.expression import expression

    return expression(dice.randint(1, 9) if whole or dice.random() < 0.5 else round(dice.uniform(-5, 10), 3))


def _puzzle(dice: random.Random, size: int) -> Task:
    problem = Problem("puzzle", values={"shift": round(dice.uniform(-2, 2), 2), "second": 1.0})
    maker = _Maker(dice, problem)
    for index in range(dice.randint(3, 6)):
        room = size // problem.combinations
        if room >= 2:
            maker.choose(index, min(room, dice.choice((2, 3, 6))))
    for index in range(3):
        value = maker.number(dice.randint(1, 3))
        problem.measure(f"m{index}", value * Symbol("second", TIME) if index == 2 else value)
    for index in range(dice.choice((0, 0, 1, 2))):
        pair = (maker.integer(dice.randint(0, 1)), maker.integer(1))
        holds = dice.choice(
            (pair[0] == pair[1], pair[0] <= pair[1], divides(maximum(pair[0], 1), pair[1]), maker.truth(1))
        )
        problem.require(f"rule {index}", holds, structural=dice.random() < 0.7)
    objective = dice.choice(
        (
            "min_m0",
            "max_m0",
            "min_m1",
            "max_m2",
            "m0 + 2 * m1",
            "maximize m0 * m1 - m1",
            "max(m0, m1)",
            ["min_m0", "max_m1"],
            ["max_m1", "min_m2", "min_m0"],
        )
    )
    constraints = [_limit(dice, maker, problem, objective) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
    return task(problem, objective=objective, constraints=list(dict.fromkeys(constraints)))


def _limit(dice: random.Random, maker: _Maker, problem: Problem, objective: Any) -> Any:
    """Return a constraint: any truth, or a metric limited by a value that it has."""
    if dice.random() < 0.4:
        return maker.truth(1)
    metric = dice.choice(("m0", "m1"))
    points = Oracle(task(problem, objective=f"min_{metric}")).points
    value = dice.choice(points).cost if points else 1.0
    value += dice.choice((0.0, 0.0, dice.uniform(-1, 1), dice.uniform(-20, 20)))
    return f"{metric} {dice.choice(('<=', '>='))} {value!r}"
