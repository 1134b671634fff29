"""What a search for the best amounts of a program is asked, and what it finds; shared by all backends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from mlsysim_opt.errors import ScaleError, VerificationError
from mlsysim_opt.optimize.coupled.program import Array, LinearProgram
from mlsysim_opt.optimize.coupled.prune import undominated
from mlsysim_opt.optimize.coupled.scaling import least_size

if TYPE_CHECKING:
    from mlsysim_opt.optimize.backends.highs import Result
    from mlsysim_opt.optimize.stopping import Watch

EXACT = 1e-9
"""Relative differences below this are rounding: of a value and its bound, of what a row adds up and its limit."""
ASTRAY = 1e-6
"""Share of what a plan's costs add up by which a bound above it is no rounding."""
ROUNDING = 1e-3
"""Sums that cancel are told apart to `EXACT` of this share of what they add up."""
RESOLVED = 2.0**-40
"""Plans whose costs differ by less than this share of what they add up may be one to a solver (see `scaling.LARGE`)."""
DOUBLE = 2.0**-53
"""Whole numbers beyond one over this are not told apart in floating-point numbers."""
ALIKE = 2.0**-20
"""What costs of one pick all have in common is counted apart where they differ by less than this share of it."""

Status = Literal["optimal", "feasible", "infeasible", "unbounded", "unknown"]


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome for one program, in what is minimised.

    Attributes:
        status: ``optimal`` means within the gap that was asked for. x: the amounts. value, bound: of what is minimised.
        proof: how the bound is known. details: counts. duals: of the rows, without whole numbers.
        size: what the value adds up, without signs; of a largest sum, what that one adds up.
        unresolved: by how much values may differ that the solver does not tell apart, where costs are whole numbers;
            0 where it tells all of them apart.
        near: a mask of the columns that a plan as good may have, where that is known.
    """

    status: Status
    x: Array | None
    value: float | None
    bound: float
    proof: str
    solver: str
    details: dict[str, Any] = field(default_factory=dict)
    duals: Array | None = None
    size: float = 0.0
    unresolved: float = 0.0
    near: Array | None = None


@dataclass(frozen=True)
class Options:
    """How to search.

    Attributes:
        gap: relative distance of the plan to its bound at which to stop. time_limit: seconds. prune: leave columns out.
        watch: called with the progress. start: amounts of a known plan. criteria: further costs that pruning respects.
        first: how many columns are first branched over, where there are more than three times as many (several like
            programs, one after the other, are worth that; None: only large programs are). near: so far above the
            relaxation the answer is thought to be, by programs like it. likely: a mask of columns that mattered to one.
    """

    gap: float = 0.0
    time_limit: float | None = None
    prune: bool = True
    watch: Watch | None = None
    start: Array | None = None
    criteria: Sequence[Array] = ()
    first: int | None = None
    near: float = math.inf
    likely: Array | None = None


class ProgramBackend(Protocol):
    """Solves one linear program."""

    name: str
    continuous: bool
    """Whether it knows amounts that are not whole."""

    def solve(self, program: LinearProgram, options: Options) -> Found:
        """Return the best amounts with their proof, or why there are none."""


@dataclass(frozen=True, eq=False)
class Part:
    """A program without the columns that no best plan needs.

    Attributes:
        kept: the columns of the whole that are left. start: amounts of a known plan on them.
        details: counts, for the certificate.
    """

    whole: LinearProgram
    program: LinearProgram
    kept: Array
    options: Options
    start: Array | None
    details: dict[str, Any]


def pruned(program: LinearProgram, options: Options) -> Part:
    """Return a program without its dominated columns, if pruning is asked for; its costs are those of `centred`."""
    details: dict[str, Any] = {"columns": program.columns, "rows": program.rows}
    if not options.prune:
        start = possible(program, options.start)
        return Part(program, centred(program), np.arange(program.columns), options, start, details)
    mask = undominated(program, options.criteria)
    kept = np.flatnonzero(mask)
    details["undominated"] = len(kept)
    known = possible(program, options.start)
    start = None if known is None or np.any(known[~mask] != 0) else known[kept]
    return Part(program, centred(program.only(kept)), kept, options, start, details)


def centred(program: LinearProgram) -> LinearProgram:
    """Return a program with what nearly equal costs of one pick have in common in its offset: solvers see the rest."""
    group, cost = program.group, program.cost
    if group is None or program.group_low is None or program.group_high is None or not len(program.group_low):
        return program
    mine = (group >= 0) & (program.high > 0)
    least = np.full(len(program.group_low), np.inf)
    most = -least
    np.minimum.at(least, group[mine], cost[mine])
    np.maximum.at(most, group[mine], cost[mine])
    with np.errstate(invalid="ignore"):
        alike = (program.group_low == program.group_high) & (most - least <= ALIKE * np.abs(least))
    alike &= np.isfinite(least) & (least != 0)
    if not alike.any():
        return program
    common = np.where(alike, least, 0.0)
    offset = math.fsum([program.offset, *(common[alike] * program.group_low[alike]).tolist()])
    return replace(program, cost=cost - np.where(group >= 0, common[group], 0.0), offset=offset)


def unresolved(program: LinearProgram, x: Array, value: float, share: float) -> float:
    """Return by how much values of whole costs may differ that a solver may take for one; 0 where it tells all apart.

    Args:
        share: of what the costs of a plan add up that it tells apart.
    """
    room, some = max(share * added_up(program, x), DOUBLE * abs(value)), program.cost != 0
    costs = np.unique(np.abs(program.cost[some]))
    if room < 1 or not program.whole[some].all() or np.any(costs % 1):
        return 0.0
    return room if room >= math.gcd(*(int(item) for item in costs)) else 0.0


def possible(program: LinearProgram, start: Array | None) -> Array | None:
    """Return amounts of a known plan, unless they are none of this program."""
    if start is None or np.any(start[program.whole] % 1 != 0):
        return None
    inside = np.all((program.low <= start) & (start <= program.high))
    return start if inside and np.max(program.row_violations(start), initial=0.0) <= EXACT else None


def finished(
    part: Part, result: Result, solver: str, how: str, duals: Array | None = None, *, resolved: float = RESOLVED
) -> Found:
    """Return the outcome for the whole program.

    Args:
        resolved: the share of what costs add up that the solver tells apart.
    Raises:
        VerificationError: with whole numbers made whole, the amounts do not satisfy every row.
        ScaleError: what they cost is no finite number.
    """
    details = {**part.details, "nodes": result.nodes}
    if result.stop == "infeasible":
        return Found("infeasible", None, None, math.inf, f"{how}: infeasible", solver, details)
    if result.stop == "unbounded":
        return Found("unbounded", None, None, -math.inf, f"{how}: unbounded", solver, details)
    if result.x is None:
        why = "was interrupted" if result.stop == "interrupted" else "stopped at its limit"
        return Found("unknown", None, None, result.bound, f"{how} {why}", solver, details)
    program = part.program
    x = settled(program, result.x)
    with np.errstate(over="ignore", invalid="ignore"):
        value = float(program.cost @ x) + program.offset
    if not math.isfinite(value):
        raise ScaleError("the costs of a plan add up to more than numbers can be, 1e308", path="objective",
                         hint="use larger units, or a smaller factor")  # fmt: skip
    full = np.zeros(part.whole.columns)
    full[part.kept] = x
    size = added_up(program, x) + abs(program.offset)
    compared = size + compared_up(program, x)
    bound = result.bound if np.any(program.cost) else value  # without costs, prices say nothing but their rounding
    if bound > value + ASTRAY * max(size, least_size(program)) + 1e-300:
        raise VerificationError(
            f"the solver says that no plan is below {bound!r}, and its own plan is at {value!r}",
            hint="this is a fault of the solver, or a matter of scale: costs are huge or tiny beside one another",
        )
    coarse = unresolved(program, x, value, resolved)
    bound = min(bound, value - coarse)
    exact = within(value, bound, EXACT, compared) or value - bound <= EXACT * least_size(program)
    near = exact or within(value, bound, part.options.gap)
    status: Status = "optimal" if near else "feasible"
    proof = f"{how}: {ending(near, exact, result.stop)}"
    proof += f"; values of whole costs are told apart to {coarse:.2g}" if coarse else ""
    return Found(status, full, value, bound, proof, solver, details, duals, compared, coarse)


def ending(near: bool, exact: bool, stop: str = "stopped") -> str:
    """Return how a search ended, in words.

    Args:
        near: within the gap asked for. exact: within rounding. stop: why it ended where it is neither.
    """
    if exact:
        return "bound reached"
    return "bound within the gap that was asked for" if near else f"bound not reached: {stop}"


def within(value: float, bound: float, gap: float, size: float = 0.0) -> bool:
    """Return whether a value is within a relative gap of its bound, or of the rounding of what it adds up (`size`)."""
    room = max(gap * max(abs(value), abs(bound)), EXACT * ROUNDING * size) + 1e-300
    return math.isfinite(bound) and value - bound <= room


def added_up(program: LinearProgram, x: Array) -> float:
    """Return what the costs of amounts add up to, without signs and offset."""
    return float(np.abs(program.cost) @ np.abs(x))


def compared_up(program: LinearProgram, x: Array) -> float:
    """Return what the sums add up to, without signs, the largest of which is all that costs; 0 where there are none.

    One amount that is not whole stands for that largest one. It is known to the rounding of the rows that hold it.
    """
    costly = np.flatnonzero(program.cost)
    if len(costly) != 1 or program.whole[costly[0]]:
        return 0.0
    column = int(costly[0])
    own = slice(int(program.start[column]), int(program.start[column + 1]))
    rows, share = program.index[own], np.abs(program.value[own])
    size, activity = program.row_sizes(x)[rows], program.activity(x)[rows]
    ends = np.stack([program.row_low[rows], program.row_high[rows]])
    with np.errstate(invalid="ignore"):
        tight = np.min(np.abs(ends - activity), axis=0, initial=math.inf) <= EXACT * size
    units = size[tight & (share > 0)] / share[tight & (share > 0)]
    return float(abs(program.cost[column]) * np.max(units, initial=0.0))


def settled(program: LinearProgram, x: Array) -> Array:
    """Return amounts with whole numbers made whole and the others chosen again for them.

    The others stay as they were where that is nearer to the limits: tolerances of two runs differ in their last digits.

    Raises:
        VerificationError: with whole numbers made whole, no amounts satisfy every row.
    """
    from mlsysim_opt.optimize.backends.highs import HighsProgram

    x = np.where(program.whole, np.round(x), x)
    x = np.clip(x, program.low, program.high)
    worst = _worst(program, x)
    if not program.whole.all() and program.whole.any():
        again = HighsProgram(program.fixed(x, program.whole)).relaxation()
        if again.x is not None and again.stop == "optimal":
            chosen = np.where(program.whole, x, np.clip(again.x, program.low, program.high))
            beside = _worst(program, chosen)
            if beside <= EXACT or not worst < beside:
                x, worst = chosen, beside
    if not worst <= EXACT:  # nor is it a number, where an amount is none
        raise VerificationError(
            f"the solver's plan violates a row by {worst:.2g} of what it adds up once whole numbers are made whole",
            hint="this is a matter of scale: a coefficient is huge or tiny beside the others of its row",
        )
    return x


def _worst(program: LinearProgram, x: Array) -> float:
    """Return by how much the row that is violated most is, relative to what it adds up."""
    return float(np.max(program.row_violations(x), initial=0.0))
