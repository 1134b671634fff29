"""What a user asks of a plan, as sums of amounts: the degree test.

Objectives and constraints are expressions of metrics, each of which is a sum. They must be affine in them, or a ratio
of two such (exact by Dinkelbach's iteration), or the largest of several (exact by one more amount; the smallest is the
largest of their negatives, negated). Anything else is refused with the part that is to blame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlsysim_opt.algebra.derive import gradient
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import (
    Choice,
    Expression,
    Operation,
    Symbol,
    constant,
    short,
    substitute,
    symbols,
)
from mlsysim_opt.algebra.fold import folded
from mlsysim_opt.errors import InputError, ScaleError
from mlsysim_opt.optimize.coupled.problem import Coupled, CoupledProblem, Largest
from mlsysim_opt.optimize.coupled.totals import Family, Total
from mlsysim_opt.optimize.problem import Constraint

LARGEST = "#largest"
"""How the symbol of an amount that stands for the largest of something ends."""
LARGEST_FACTOR = 1e250
"""Sums that are multiplied by more than this, or by less than one over it, may leave the range of numbers."""


@dataclass(frozen=True, eq=False)
class Linear:
    """An objective to minimise: a sum, over another sum where it is a ratio, under relations that it brings along.

    Attributes:
        total: the sum. divisor: what it is divided by; None for no ratio.
        relations: of amounts that stand for the largest of something. helpers: those amounts.
    """

    total: Total
    divisor: Total | None = None
    relations: tuple[Coupled, ...] = ()
    helpers: tuple[Family, ...] = ()


def metric_symbols(problem: CoupledProblem, node: Expression) -> list[Symbol]:
    """Return the symbols in an expression that stand for sums."""
    return [item for item in symbols(node) if problem.is_total(item)]


def linear_objective(problem: CoupledProblem, cost: Expression) -> Linear:
    """Return what is minimised as sums.

    Raises:
        InputError: it is neither affine, nor a ratio, nor a largest of affine sums; names the part that is not.
    """
    if cost.choices or not metric_symbols(problem, cost):
        raise InputError(
            f"{short(cost)} is no sum over the plan",
            path="objective",
            hint="objectives are made of the metrics " + ", ".join(problem.totals),
        )
    ratio = _ratio(problem, cost)
    if ratio is not None:
        made, under = (_affine_in(problem, part, "objective") for part in ratio)
        for part in (made, under):
            if part.relations:
                raise InputError(f"a ratio with a largest in it is not linear: {short(cost)}", path="objective")
        return Linear(made.total, under.total)
    return _affine_in(problem, cost, "objective")


def linear_relations(problem: CoupledProblem, constraint: Constraint) -> list[Coupled]:
    """Return a user's constraint on sums as relations.

    Raises:
        InputError: a side is not affine in the metrics.
    """
    holds = constraint.holds
    if isinstance(holds, Operation) and holds.atom.name == "equal":
        made = _affine_in(problem, holds.args[0] - holds.args[1], constraint.name)
        if made.relations:
            raise InputError("the largest of something cannot be required to be a number", path=constraint.name)
        return [Coupled(constraint.name, made.total.equals(0), given_by_user=constraint.given_by_user)]
    if constraint.sides is None:
        raise InputError(f"{constraint.name!r} is not a comparison of sums", hint="write it with <=, >= or ==")
    small, large, _ = _multiplied_out(problem, *constraint.sides)
    made = _affine_in(problem, small - large, constraint.name)
    relation = Coupled(constraint.name, made.total <= 0, given_by_user=constraint.given_by_user)
    return [relation, *made.relations]


def linear_divisor(problem: CoupledProblem, constraint: Constraint) -> Linear | None:
    """Return what a constraint divides by; None where it is no ratio.

    `linear_relations` multiplies by it, which is right only where it is never negative.
    """
    divisor = None if constraint.sides is None else _multiplied_out(problem, *constraint.sides)[2]
    return None if divisor is None else _affine_in(problem, divisor, constraint.name)


def summed(problem: CoupledProblem, name: str, total: Total, each: Sequence[Choice]) -> Total:
    """Return a sum of amounts and metrics as one of amounts alone.

    Args:
        name: of what it is for. each: the axes of the rows that it is for.
    Raises:
        InputError: it is not linear in the metrics; the largest of something is among them; or it is for several rows.
    """
    for term in total.terms:
        if metric_symbols(problem, term.coefficient):
            raise InputError(f"{short(term.coefficient)} times an amount is a product of sums, which is not linear",
                             path=name)  # fmt: skip
    if each:
        held = metric_symbols(problem, total.offset)[0].name
        raise InputError(f"{held} is a sum over the whole plan, but this is asked for each {each[0].name}", path=name,
                         hint="write the sum for one of them with amounts")  # fmt: skip
    made = _affine_in(problem, total.offset, name)
    if made.relations:
        raise InputError("the largest of something is no part of a sum of amounts", path=name,
                         hint="measure the rest, and ask for both: 'a + b'")  # fmt: skip
    return Total((*total.terms, *made.total.terms), made.total.offset)


def _multiplied_out(
    problem: CoupledProblem, small: Expression, large: Expression
) -> tuple[Expression, Expression, Expression | None]:
    """Return ``a / b <= c`` as ``a <= c b``, with the divisor; sides without a ratio as they are."""
    left, right = _ratio(problem, small), _ratio(problem, large)
    if left is not None and right is None:
        return left[0], large * left[1], left[1]
    if right is not None and left is None:
        return small * right[1], right[0], right[1]
    return small, large, None


def _ratio(problem: CoupledProblem, node: Expression) -> tuple[Expression, Expression] | None:
    """Return numerator and denominator where an expression is a ratio with sums below; factors and signs go above."""
    if not isinstance(node, Operation):
        return None
    if node.atom.name == "negate":
        inner = _ratio(problem, node.args[0])
        return None if inner is None else (-inner[0], inner[1])
    if node.atom.name == "divide" and metric_symbols(problem, node.args[1]):
        return node.args[0], node.args[1]
    if node.atom.name in ("multiply", "divide"):
        first, second = node.args
        inner = _ratio(problem, first)
        if inner is not None and not metric_symbols(problem, second):
            return (inner[0] * second if node.atom.name == "multiply" else inner[0] / second), inner[1]
        if node.atom.name == "multiply":
            inner = _ratio(problem, second)
            if inner is not None and not metric_symbols(problem, first):
                return first * inner[0], inner[1]
    return None


def _affine_in(problem: CoupledProblem, node: Expression, path: str) -> Linear:
    """Return an affine expression as a sum; what is wrong with it is said of the place where the user wrote it."""
    try:
        return _affine(problem, node)
    except InputError as error:
        error.path = error.path or path
        raise


def _affine(problem: CoupledProblem, node: Expression) -> Linear:
    """Return an affine expression of metrics as a sum, each largest in it as an amount of its own."""
    replaced: dict[Expression, Expression] = {}
    families: dict[Symbol, Family] = {}
    smallest: set[Symbol] = set()
    relations: list[Coupled] = []
    for part in _largest_parts(problem, node):
        symbol, family, mine = _stand_in(problem, part, len(families))
        replaced[part] = symbol
        if _is(part, "minimum"):
            replaced[part] = -symbol
            smallest.add(symbol)
        families[symbol] = family
        relations += mine
    flat = substitute(node, replaced) if replaced else node
    held = [*metric_symbols(problem, flat), *families]
    slopes = gradient(flat, held) if held else []
    parts: list[Total] = []
    for symbol, slope in zip(held, slopes, strict=True):
        known = folded(slope, problem.values)
        if metric_symbols(problem, slope) or any(item in families for item in symbols(slope)) or known.choices:
            raise InputError(
                f"{short(node)} is not linear in {symbol.name.removesuffix(LARGEST)}",
                hint="sums may be added, multiplied by numbers, and one sum divided by another",
            )
        factor = _within_range(problem, slope, node, symbol.name.removesuffix(LARGEST))
        if symbol in families:
            if factor < 0:
                name = symbol.name.removesuffix(LARGEST)
                told = "largest of something ({}) can be made small, or be limited from above"
                if symbol in smallest:
                    told = "smallest of something ({}) can be made large, or be limited from below"
                raise InputError(f"the {told.format(name)}, not the other way round")
            parts.append(families[symbol].total() * slope)
        else:
            parts.append(_sum_behind(problem, symbol) * slope)
    total = Total((), _rest(problem, flat, held))
    for item in parts:
        total = total + item
    return Linear(total, None, tuple(relations), tuple(families.values()))


def _within_range(problem: CoupledProblem, slope: Expression, node: Expression, name: str) -> float:
    """Return what a sum is multiplied by.

    Raises:
        ScaleError: floating-point numbers leave no room for it.
    """
    factor: float = ScalarProgram([slope]).run_named(problem.values)[0]
    if factor and not 1 / LARGEST_FACTOR <= abs(factor) <= LARGEST_FACTOR:
        raise ScaleError(
            f"{short(node)} multiplies {name} by {factor:.3g}: that may leave the range of numbers, 1e-308 to 1e308",
            hint="use other units, or a factor nearer to one",
        )
    return factor


def _sum_behind(problem: CoupledProblem, symbol: Symbol) -> Total:
    found = problem.total(symbol)
    assert isinstance(found, Total)
    return found


def _rest(problem: CoupledProblem, node: Expression, held: Sequence[Symbol]) -> Expression:
    """Return what is left of an affine expression when all sums are zero."""
    rest = folded(substitute(node, {symbol: constant(0, symbol.dimension) for symbol in held}), {})
    if not rest.choices and not math.isfinite(ScalarProgram([rest]).run_named(problem.values)[0]):
        raise ScaleError(f"{short(node)} is not a finite number where all sums are zero",
                         hint="a number in it is too large, or divided by zero")  # fmt: skip
    return rest


def _largest_parts(problem: CoupledProblem, node: Expression) -> list[Expression]:
    """Return the outermost parts of an expression that are the largest of sums, ``max(a, b)`` or metrics declared so,
    or the smallest."""
    found: list[Expression] = []
    waiting, seen = [node], {node}
    while waiting:
        item = waiting.pop()
        declared = isinstance(item, Symbol) and problem.is_total(item) and isinstance(problem.total(item), Largest)
        extreme = _is(item, "maximum") or _is(item, "minimum")
        if declared or (extreme and metric_symbols(problem, item)):
            found.append(item)
            continue
        fresh = [part for part in reversed(item.args) if part not in seen]
        seen.update(fresh)
        waiting.extend(fresh)
    return found


def _is(node: Expression, atom: str) -> bool:
    return isinstance(node, Operation) and node.atom.name == atom


def _arguments(node: Expression, atom: str) -> list[Expression]:
    """Return what a maximum (or minimum) of any number of things is the largest (or smallest) of."""
    found, waiting = [], [node]
    while waiting:
        part = waiting.pop()
        if _is(part, atom):
            waiting.extend(reversed(part.args))
        else:
            found.append(part)
    return found


def _stand_in(problem: CoupledProblem, part: Expression, number: int) -> tuple[Symbol, Family, list[Coupled]]:
    """Return an amount that is at least everything a largest is the largest of; of a smallest, their negatives."""
    smallest = _is(part, "minimum")
    name = part.name if isinstance(part, Symbol) else f"{'min' if smallest else 'max'}_{number + 1}"
    symbol = Symbol(name + LARGEST, part.dimension, low=float("-inf"))
    family = Family(f"{name} at its largest", (), dimension=part.dimension)
    amount = family.total()
    if isinstance(part, Symbol):
        found = problem.total(part)
        assert isinstance(found, Largest)
        return (
            symbol,
            family,
            [Coupled(f"{name} at its largest", found.total - amount <= 0, found.each, structural=True)],
        )
    relations: list[Coupled] = []
    for at, argument in enumerate(_arguments(part, "minimum" if smallest else "maximum")):
        inner = _affine(problem, -argument if smallest else argument)
        relations += inner.relations
        relations.append(Coupled(f"{name} at its largest, {at + 1}", inner.total - amount <= 0, structural=True))
    return symbol, family, relations
