"""Ways to serve a demand on an accelerator: splits, requests at once and loads of a replica, with their latencies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlsysim_opt.formulations.fleet_replicas import replica_leaves, settled_kind
from mlsysim_opt.formulations.placement_times import fits

from mlsysim_opt.algebra.expression import Choice, expression
from mlsysim_opt.errors import InfeasibleError, InputError
from mlsysim_opt.optimize.answer import Value
from mlsysim_opt.optimize.coupled.columns import over_product
from mlsysim_opt.optimize.coupled.reasons import irreducible
from mlsysim_opt.optimize.solution import Relaxation
from mlsysim_opt.physics.replicas import ServedKind
from mlsysim_opt.physics.serving import REPLICA_INPUTS, home_of
from mlsysim_opt.physics.view import entry_bindings
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry

Array = np.ndarray[Any, Any]
RESERVE = next(float(item.check(item.default)) for item in REPLICA_INPUTS if item.name == "memory_reserve")
CONCURRENCY = tuple(2**power for power in range(10))
GIB = 2.0**30
MOST_MEMORY = 2.0**50
"""Bytes beyond which no more memory is looked for."""
TRIPPING = ("ttft", "latency")
"""Times that a round trip over the network is part of."""
PROMISES = (*TRIPPING, "itl")


@dataclass(frozen=True, eq=False)
class ServingWays:
    """Ways to serve a demand, one number of each.

    Attributes:
        labels: in short. rate: requests per second and accelerator at full load. load: share of it that is used.
        busy: share of the time in which a replica holds a request. devices: accelerators of a replica.
        times: `ttft`, `latency` and `itl` in seconds, without the network; none of them where it was only measured.
    """

    labels: tuple[str, ...]
    rate: Array
    load: Array
    busy: Array
    devices: Array
    times: Mapping[str, Array]

    def keep(self, promised: Mapping[str, float], trip: float) -> Array:
        """Return which ways keep what is promised over a network, and of them those that no other one beats.

        A way beats another that takes no fewer accelerators for a request, nor less time at work of them: that is all
        that rent and energy depend on.
        """
        good = np.logical_and.reduce([np.ones(len(self.labels), dtype=bool), *self._each(promised, trip).values()])
        used = self.rate * self.load
        rate = used / self.busy
        kept = np.zeros(len(good), dtype=bool)
        most = -np.inf
        for at in np.lexsort((-rate, -used)):
            if good[at] and rate[at] > most:
                kept[at], most = True, rate[at]
        return kept

    def _each(self, promised: Mapping[str, float], trip: float) -> dict[str, Array]:
        """Return which ways keep each promise, up to rounding."""
        return {
            name: fits(self.times[name] + _on_network(name, trip), limit) for name, limit in promised.items()
        }  # fmt: skip

    def shortfall(self, promised: Mapping[str, float], trip: float) -> str:
        """Return why no way keeps what is promised: how near the nearest way comes, and which one that is."""
        trips = {name: _on_network(name, trip) for name in promised}
        kept = self._each(promised, trip)
        alone = [name for name in promised if not kept[name].any()]
        for name in alone or promised:
            others = [kept[other] for other in promised if other != name and not alone]
            among = np.flatnonzero(np.logical_and.reduce([np.ones(len(self.labels), dtype=bool), *others]))
            if not len(among):
                continue
            at = int(among[np.argmin(self.times[name][among])])
            least = f"{name} is {1000 * (self.times[name][at] + trips[name]):.4g} ms at least ({self.labels[at]})"
            least += f", {1000 * trip:.4g} ms of it on the network" if trips[name] else ""
            where = "" if alone else ", where all else is kept"
            return f"{least}{where}, and {1000 * promised[name]:.4g} ms is promised"
        return "each of what is promised can be kept, but not all together"

    def conflict(self, promised: Mapping[str, float], trip: float) -> list[str]:
        """Return promises that no way keeps together, none of which can be left out; no way keeps all there are."""
        kept = self._each(promised, trip)
        every = np.ones(len(self.labels), dtype=bool)
        return irreducible(
            list(promised), lambda names: not np.logical_and.reduce([every, *(kept[name] for name in names)]).any()
        )

    def within_reach(self, promised: Mapping[str, float], trip: float) -> list[dict[str, float]]:
        """Return, where no way keeps all that is promised, the least times with which one does, in seconds.

        One promise at a time, all others kept; where that is not enough, those of the way that misses by the smallest
        factors, multiplied.
        """
        least = {name: self.times[name] + _on_network(name, trip) for name in promised}
        kept, found = self._each(promised, trip), []
        for name in promised:
            others = [kept[other] for other in promised if other != name]
            among = np.logical_and.reduce([np.ones(len(self.labels), dtype=bool), *others])
            if among.any():
                found.append({name: float(least[name][among].min())})
        if not found:
            factors = [np.maximum(least[name] / limit, 1.0) for name, limit in promised.items()]
            at = int(np.argmin(np.prod(factors, axis=0)))
            found.append({name: float(least[name][at]) for name in promised if not kept[name][at]})
        return found


def _on_network(promise: str, trip: float) -> float:
    """Return how much of a promised time is a round trip on the network."""
    return trip if promise in TRIPPING else 0.0


def measured_ways(rate: float, loads: Sequence[float]) -> ServingWays:
    """Return the ways of an accelerator of which only the rate at full load is known: it always holds a request."""
    labels, ones = tuple(f"as measured, load {load:g}" for load in loads), np.ones(len(loads))
    return ServingWays(labels, rate * ones, np.array(loads, dtype=float), ones, ones, {})


def serving_ways(demand: Mapping[str, Any], accelerator: Entry, loads: Sequence[float]) -> ServingWays:
    """Return the ways to serve a demand with continuous batching: each replica has a queue of its own.

    Raises:
        InputError: model or lengths are not given. InfeasibleError: no replica has the memory, or can take the load.
    """
    for name in ("model", "input_len", "output_len"):
        if demand[name] is None:
            raise InputError(
                "not given, and the demand states no requests_per_device",
                path=f"demands.{demand['name']}.{name}",
                hint="give model, input_len and output_len, or requests_per_device as measured",
            )
    if max(loads) >= 1:
        raise InputError("a queue before a replica that is always full grows without end", path="serving_utilization",
                         hint="below 1, such as 0.9")  # fmt: skip
    home = home_of(accelerator)
    ranks = 1 if home is None else int(home.scale_up.domain_size)
    sizes = {
        "tp_size": Choice("tp_size", [2**power for power in range(ranks.bit_length()) if 2**power <= ranks]),
        "concurrency": Choice("concurrency", CONCURRENCY),
        "utilization": Choice("utilization", loads),
    }
    model, scheduler = demand["model"], default_catalog().find("scheduler", "continuous")
    prompt, output = (expression(int(demand[name])) for name in ("input_len", "output_len"))
    known = {**entry_bindings("model", model), **entry_bindings("scheduler", scheduler), "memory_reserve": RESERVE}
    leaves = replica_leaves(model, scheduler, sizes, prompt, output)
    level = expression(float(demand["quantile"]))
    kind = settled_kind(known, leaves, accelerator, demand["precision"], sizes["utilization"], level)
    asked = [kind.rate, kind.devices, kind.busy, *(getattr(kind, name) for name in PROMISES)]
    tables, places = over_product([*asked, *kind.rules.values()], known, list(sizes.values()))
    good = np.flatnonzero(np.logical_and.reduce([np.asarray(item, dtype=bool) for item in tables[len(asked) :]]))
    if not len(good):
        open_ = {name: value for name, value in known.items() if name != "memory_reserve"}
        kind = settled_kind(open_, leaves, accelerator, demand["precision"], sizes["utilization"], level)
        raise _unfit(demand["name"], accelerator, kind, known, list(sizes.values()))
    tp, clients, load = (np.array(item.values)[places[item]][good] for item in sizes.values())
    rate, devices, busy, *times = (
        np.broadcast_to(item, places[sizes["tp_size"]].shape)[good] for item in tables[: len(asked)]
    )
    labels = tuple(f"tp{a} concurrency {b} load {c:g}" for a, b, c in zip(tp, clients, load, strict=True))
    return ServingWays(labels, rate / devices, load, busy, devices, dict(zip(PROMISES, times, strict=True)))


def _unfit(
    demand: str, accelerator: Entry, kind: ServedKind, known: Mapping[str, Any], choices: Sequence[Choice]
) -> InfeasibleError:
    """Return that no replica serves a demand, with the least memory with which one does, or the rules that none keeps.

    Args:
        kind: in which the reserve of memory is a symbol yet: more memory is a smaller reserve.
    """

    def kept(more: float) -> dict[str, Array]:
        tables, _ = over_product(list(kind.rules.values()), {**known, "memory_reserve": RESERVE - more}, choices)
        return {name: np.asarray(item, dtype=bool) for name, item in zip(kind.rules, tables, strict=True)}

    def some(more: float) -> bool:
        return bool(np.any(np.logical_and.reduce(list(kept(more).values()))))

    words = f"{accelerator.name} cannot serve {demand}"
    low, high = 0.0, MOST_MEMORY
    if not some(high):
        rules = [name for name, item in kept(high).items() if not item.any()] or list(kind.rules)
        return InfeasibleError(f"{words}: no split and batch keep: {'; '.join(rules)}", conflict=rules)
    while high - low > GIB / 1000:
        middle = (low + high) / 2
        low, high = (low, middle) if some(middle) else (middle, high)
    has = accelerator.parameter("memory.capacity").si / GIB
    more = math.ceil(100 * high / GIB) / 100
    name, amount = f"memory of {accelerator.name}", Value(more, "GiB")
    way = Relaxation(name, f"{name!r} by {amount}: {has + more:.6g} GiB instead of {has:.6g} GiB", amount, {})
    told = f"it takes {has + more:.6g} GiB of memory at least, in any split and batch, and there are {has:.6g} GiB"
    return InfeasibleError(f"{words}: {told}", conflict=[name], relaxations=[way])
