"""The columns of `placement` that are demands: ways to serve each of them that keep what is promised, by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from mlsysim_opt.formulations.fleet_givens import UTILIZATION, round_trip_times
from mlsysim_opt.formulations.placement_designs import may_use
from mlsysim_opt.formulations.placement_givens import Array, parts_of
from mlsysim_opt.formulations.placement_numbers import several
from mlsysim_opt.formulations.serving_columns import PROMISES, ServingWays, measured_ways, serving_ways

from mlsysim_opt.algebra.expression import Choice, Expression, expression
from mlsysim_opt.errors import InfeasibleError, InputError, MlsysimError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.solution import Relaxation
from mlsysim_opt.registry.entry import Entry

if TYPE_CHECKING:
    from mlsysim_opt.formulations.placement_plan import Plan


@dataclass(frozen=True, eq=False)
class Serving:
    """Ways to serve the demands of a plan.

    Attributes:
        labels: of ways. rate, load, busy: of each demand, accelerator and way; NaN where there is none.
        kept: whether a way keeps what is promised to a demand, by demand, accelerator, way and region.
    """

    labels: tuple[str, ...]
    rate: Array
    load: Array
    busy: Array
    kept: Array


def serving_of(plan: Plan) -> Serving:
    """Return the ways to serve each demand on each accelerator that keep what is promised, by region.

    Raises:
        InfeasibleError: none that a demand may use has the memory for it, or keeps what is promised.
        InputError: what is given of a demand is not enough, or wrong.
    """
    found: dict[tuple[int, int], tuple[ServingWays, Array]] = {}
    for row, item in enumerate(plan.demands):
        promised = {name: item[name] for name in PROMISES if item[name] is not None}
        where = np.flatnonzero(may_use(item, "regions", plan.regions))
        trips = _trips(plan, item, [plan.regions[place].name for place in where])
        reasons: list[MlsysimError] = []
        for column in np.flatnonzero(may_use(item, "accelerators", plan.accelerators)).tolist():
            accelerator = plan.accelerators[column]
            note = f"{item['name']} on {accelerator.name}"
            try:
                ways = _serving(plan, item, accelerator, promised)
                kept = np.zeros((len(ways.labels), len(plan.regions)), dtype=bool)
                for trip in set(trips):
                    there = where[np.equal(trips, trip)]
                    kept[:, there] = ways.keep(promised, trip)[:, None]
                if not kept.any():
                    raise _broken(item["name"], accelerator.name, ways, promised, min(trips))
            except MlsysimError as error:
                reasons.append(error)
                plan.problem.assumptions[note] = f"left out: {error.message}"
                continue
            found[row, column] = ways, kept
            plan.problem.assumptions[note] = _told(ways, kept, [plan.regions[place].name for place in where], where)
        if not any(mine == row for mine, _ in found):
            raise _refusal(item["name"], reasons)
    _tell_power(plan, found)
    return _tables(plan, found)


def peaks_of(plan: Plan, demand: Choice, rates: Array) -> Expression:
    """Return the peak of each demand in each period over its mean there, and say what stands for its values.

    In groups of periods it is the least of them, so that what no plan is below holds for all of them.

    Args:
        demand: the choice. rates: means of the requests of each demand in each period.
    """
    most = np.array([parts_of(item["rate"], plan.every).max(axis=1) for item in plan.demands])
    peaks = np.where(most > rates, most / np.where(rates > 0, rates, 1), 1.0)
    for item, above in zip(plan.demands, (most - rates).max(axis=1), strict=True):
        if above > 0:
            needs = "capacity and held nodes are there for it" if plan.shared else "nothing here limits that"
            if plan.values["hold"] == "reserved":
                needs += ", and what is rented beside them is paid for it in the whole period"
            if plan.decides:
                needs += ", and what is rented is paid for the mean"
            plan.problem.assumptions[f"rate of {item['name']} in a period"] = (
                f"the mean of its values, which has all requests in it; one is {above:.3g} request/s above it at most: "
                f"{needs}"
            )
    if not (peaks > 1).any():
        return expression(1)
    if plan.grouping is not None:
        peaks = plan.grouping.least(peaks)
    rows = (demand, plan.period) if plan.period is not None else (demand,)
    found: Expression = plan.problem.table("peak over mean", rows, peaks if plan.period is not None else peaks[:, 0])
    return found


def _tell_power(plan: Plan, found: Mapping[tuple[int, int], tuple[ServingWays, Array]]) -> None:
    """Say what the energy of servers rests on: when they work, and parts of replicas."""
    measured = [item["name"] for item in plan.demands if item["requests_per_device"] is not None]
    if measured:
        plan.problem.assumptions["power of servers"] = (
            f"busy power all the time, at whatever load: measured rates do not say when {several(measured)} has no "
            "request in a server"
        )
    sizes = [
        (float(ways.devices[at]), column) for (row, column), (ways, kept) in found.items()
        for at in np.flatnonzero(kept.any(axis=1)) if plan.demands[row]["requests_per_device"] is None
    ]  # fmt: skip
    if sizes:
        devices, column = max(sizes)
        node = plan.node.entries[column]
        busy = node.__dict__["busy_power"]
        power = "" if busy is None else f" and {devices / node.accelerators_per_node * busy.si / 1000:.3g} kW"
        plan.problem.assumptions["replicas"] = (
            f"divisible: whole ones are less than one more for each demand, region and period, of {devices:g} "
            f"accelerators{power} at most"
        )


def _broken(
    name: str, accelerator: str, ways: ServingWays, promised: Mapping[str, float], trip: float
) -> InfeasibleError:
    """Return that an accelerator keeps what is promised nowhere, with what it could keep."""
    reach = []
    for times in ways.within_reach(promised, trip):
        parts = []
        for promise, needed in times.items():
            limit, enough = 1000 * promised[promise], np.ceil(1e5 * needed) / 100
            amount = Value(enough - limit, "ms")
            parts.append(
                f"'{promise} of {name}' by {amount}: a limit of {Value(enough, 'ms')} instead of {limit:.6g} ms"
            )
        alone = amount if len(times) == 1 else None
        told = f"{' together with '.join(parts)} ({accelerator})"
        reach.append(Relaxation(" and ".join(f"{promise} of {name}" for promise in times), told, alone, {}))
    return InfeasibleError(
        f"{accelerator} cannot serve {name}: {ways.shortfall(promised, trip)}",
        conflict=[f"{promise} of {name}" for promise in ways.conflict(promised, trip)], relaxations=reach,
    )  # fmt: skip


def _refusal(name: str, reasons: Sequence[MlsysimError]) -> MlsysimError:
    """Return the error of a demand that no accelerator serves, with the reason of each of them.

    Where one of them could be asked and is not enough, no plan is possible; else what is given is wrong.
    """
    told = several([reason.message for reason in reasons], "; ")
    tried = [reason for reason in reasons if isinstance(reason, InfeasibleError)]
    if tried:
        ways = [way for reason in tried for way in reason.relaxations]
        nearest: dict[str, Relaxation] = {}
        for way in sorted(ways, key=lambda way: np.inf if way.amount is None else way.amount.value):
            nearest.setdefault(way.constraint, way)
        conflict = list(dict.fromkeys(item for reason in tried for item in reason.conflict))
        hint = "ways out: " + " | ".join(str(way) for way in nearest.values()) if nearest else None
        return InfeasibleError(f"no plan is possible: {told}", conflict=conflict, relaxations=list(nearest.values()),
                               hint=hint)  # fmt: skip
    if len(reasons) == 1:
        return reasons[0]
    return InputError(told, path=f"demands.{name}", hint="a longer time promised, or other accelerators")


def _tables(plan: Plan, found: Mapping[tuple[int, int], tuple[ServingWays, Array]]) -> Serving:
    """Return the ways that some region keeps as tables, by the position of demand and accelerator."""
    used = [
        (key, at, ways.labels[at]) for key, (ways, kept) in found.items() for at in np.flatnonzero(kept.any(axis=1))
    ]
    labels = tuple(dict.fromkeys(label for _, _, label in used))
    shape = (len(plan.demands), len(plan.accelerators), len(labels))
    rate, load, busy = (np.full(shape, np.nan) for _ in range(3))
    keeps = np.zeros((*shape, len(plan.regions)), dtype=bool)
    for key, at, label in used:
        ways, kept = found[key]
        place = (*key, labels.index(label))
        rate[place], load[place], busy[place], keeps[place] = ways.rate[at], ways.load[at], ways.busy[at], kept[at]
    return Serving(labels, rate, load, busy, keeps)


def _trips(plan: Plan, item: Mapping[str, Any], sites: Sequence[str]) -> list[float]:
    """Return the network time between those who ask and each site; none where nobody says where they are."""
    if item["origin"] is None:
        return [0.0] * len(sites)
    times = round_trip_times(plan.values["round_trip"], [(item["origin"], site) for site in sites])
    return [times[item["origin"], site] for site in sites]


def _serving(plan: Plan, item: Mapping[str, Any], accelerator: Entry, promised: Mapping[str, float]) -> ServingWays:
    loads = plan.values["serving_utilization"]
    if item["requests_per_device"] is None:
        return serving_ways(item, accelerator, loads or UTILIZATION)
    if promised:
        raise InputError(
            f"{' and '.join(promised)} cannot be promised: requests_per_device says nothing of latencies",
            path=f"demands.{item['name']}", hint="give model, input_len and output_len instead",
        )  # fmt: skip
    if loads is None:
        raise InputError("not given, and requests_per_device is that of full load", path="serving_utilization",
                         hint="the share of it that servers are loaded to, such as 0.7")  # fmt: skip
    return measured_ways(float(item["requests_per_device"]), loads)


def _told(ways: ServingWays, kept: Array, sites: Sequence[str], where: Array) -> str:
    """Return what was found, in words."""
    those = np.flatnonzero(kept.any(axis=1))
    best = those[np.argmax((ways.rate * ways.load)[those])]
    told = f"{(ways.rate * ways.load)[best]:.4g} requests/s an accelerator ({ways.labels[best]})"
    told += f" at best, {len(those)} ways of {len(ways.labels)} kept" if len(those) > 1 else ""
    beyond = [site for site, some in zip(sites, kept.any(axis=0)[where].tolist(), strict=True) if not some]
    return told + (f"; not as promised from {several(beyond)}" if beyond else "")
