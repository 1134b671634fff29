"""What could be given otherwise where no cluster is possible: clusters, years, sizes, what a service promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlsysim_opt.formulations.cluster_site import PROMISES

from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.expression import Choice
from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize import optimize
from mlsysim_opt.optimize.coupled.problem import CoupledProblem
from mlsysim_opt.optimize.coupled.totals import Family, Total
from mlsysim_opt.optimize.problem import Lever
from mlsysim_opt.units import as_measure

MOST_CLUSTERS = 100
LARGER = (2, 4, 8, 16)
"""Multiples of the largest size that are tried."""
LONGER = (1.0, 1.25, 1.5, 2.0, 4.0)
"""Multiples of the least time that a service can promise that are tried: it may take too many accelerators."""
YEAR = as_measure("1 year").si
MILLISECOND = as_measure("1 ms").si
Refusals = Mapping[tuple[Any, ...], InfeasibleError]
"""Why workloads do not run, by workload and hardware."""
Rebuild = Callable[[dict[str, Any]], CoupledProblem]


def done(name: str) -> str:
    """Return the name of the relation that all of a workload is done."""
    return f"{name} gets its share"


def share_of(shares: Family, workload: Choice, name: str) -> Total:
    """Return how much of one workload is done."""
    return shares.total(where(workload.is_value(name), 1, 0))


def clusters_lever(problem: CoupledProblem, now: int, bought: Family) -> Lever:
    """Return that more clusters may be bought: the fewest with which all is done."""

    def candidates() -> list[int]:
        made = _otherwise(problem, clusters=MOST_CLUSTERS)
        made.measure("bought", bought)
        try:
            return [round(optimize(made, objective="min_bought").objective.si)]
        except InfeasibleError:
            return []

    return Lever("clusters", now, candidates, lambda count: _otherwise(problem, clusters=count), str)


def years_lever(problem: CoupledProblem, now: float, shares: Family, workload: Choice, trained: Sequence[str]) -> Lever:
    """Return that clusters may stand for longer: as long as the training runs take beside the services.

    How much of the runs is done grows with the time, and what services keep of clusters does not change: with all of
    a share of the runs done by now, it takes the time over that share.

    Args:
        now: the time, in seconds. trained: the workloads that are training runs.
    """

    def candidates() -> list[float]:
        made = _otherwise(problem)
        made.families = dict(problem.families)
        runs = made.amounts("training runs", ())
        names = {done(name): name for name in trained}
        made.couplings = [item for item in problem.couplings if item.name not in names]
        for relation, name in names.items():
            made.require(relation, (share_of(shares, workload, name) - runs).equals(0))
        made.measure("runs", runs)
        try:
            most = optimize(made, objective="max_runs").objective.si
        except InfeasibleError:
            return []
        return [_up(now / YEAR / most)] if most > 0 else []

    def longer(years: float) -> CoupledProblem:
        return _otherwise(problem, years=years * YEAR)

    return Lever("years", f"{now / YEAR:g} year", candidates, longer, lambda years: f"{years:g} year")


def sizes_lever(values: Mapping[str, Any], refused: Refusals, rebuild: Rebuild) -> Lever:
    """Return that a larger cluster may be bought."""
    sizes = values["sizes"]
    ways = [way.amount for error in refused.values() for way in error.relaxations if way.constraint == "nodes"]
    tried = {max(sizes) * larger for larger in LARGER} | {round(item.si) for item in ways if item is not None}
    return Lever(
        "sizes",
        ", ".join(map(str, sizes)),
        lambda: sorted(size for size in tried if size > max(sizes)),
        lambda size: rebuild({**values, "sizes": (*sizes, size)}),
        lambda size: f"{size} nodes",
    )


def promise_levers(values: Mapping[str, Any], refused: Refusals, rebuild: Rebuild) -> Iterator[Lever]:
    """Yield that a service may promise less: what its servers keep at least, somewhat more, or nothing."""
    for row in values["workloads"]:
        for name in PROMISES:
            if row["request_rate"] is not None and row[name] is not None:
                yield _promise_lever(values, row, name, refused, rebuild)


def _promise_lever(
    values: Mapping[str, Any], row: Mapping[str, Any], name: str, refused: Refusals, rebuild: Rebuild
) -> Lever:
    def candidates() -> list[float | None]:
        beyond = [
            way.amount.si
            for place, error in refused.items()
            for way in error.relaxations
            if place[0] == row["name"] and way.constraint == f"{name} as promised" and way.amount is not None
        ]
        least = [row[name] + item for item in beyond] or [row[name]]
        times = {_up(item * longer / MILLISECOND) for item in least for longer in LONGER}
        return [*sorted(item for item in times if item > row[name] / MILLISECOND), None]

    def changed(limit: float | None) -> CoupledProblem:
        kept = {**row, name: None if limit is None else limit * MILLISECOND}
        return rebuild({**values, "workloads": tuple(kept if item is row else item for item in values["workloads"])})

    def told(limit: float | None) -> str:
        return "no limit" if limit is None else f"{limit:g} ms"

    return Lever(f"{name} of {row['name']}", told(row[name] / MILLISECOND), candidates, changed, told)


def _otherwise(problem: CoupledProblem, **numbers: float) -> CoupledProblem:
    """Return a problem with other numbers."""
    made = problem.copy()
    made.values, made.levers, made.recheck = {**problem.values, **numbers}, [], None
    return made


def _up(value: float) -> float:
    """Return a number rounded up to six digits, as it is shown."""
    digits = 5 - math.floor(math.log10(value))
    return float(f"{math.ceil(value * 10.0**digits * (1 - 1e-12)) / 10.0**digits:.6g}")
