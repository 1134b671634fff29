"""What one of many equal replicas does at a utilization, and what replicas draw: the physics of fleets that serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.batching import REQUEST
from mlsysim_opt.physics.capacity import ServingCapacityModel, pool_of
from mlsysim_opt.physics.operations import Energy, node_power
from mlsysim_opt.physics.transformer import ONE
from mlsysim_opt.physics.view import View

TARGET = "P99 within the target"


@dataclass(frozen=True)
class ServedKind:
    """A replica that serves requests of one kind.

    Attributes:
        rate: requests per time at full load. ttft, latency: at a quantile, from the arrival. itl: mean, of the mean
            batch.
        devices: accelerators of the replica. busy: share of the time in which it holds a request. rules: what must hold
            for it to serve them, by name.
    """

    rate: Expression
    ttft: Expression
    itl: Expression
    latency: Expression
    devices: Expression
    busy: Expression
    rules: dict[str, Expression]


def served_kind(leaves: Mapping[str, Any], utilization: Expression, quantile: Expression) -> ServedKind:
    """Return what a replica does for requests of one kind that load it to a share of its full rate.

    The replica has a queue of its own: pooling the queues of several only shortens the wait. The wait therefore does
    not depend on how many replicas there are.

    Args:
        leaves: expressions for the inputs of `ServingCapacityModel` but `qps`, `num_replicas` and the target.
        utilization: arrivals over the rate at full load, below 1. quantile: share of requests that TTFT and latency
            are not exceeded for.
    """
    model = ServingCapacityModel()
    given = {**leaves, "num_replicas": ONE, "target_p99_latency_ms": expression("1 s")}
    full = pool_of({**given, "qps": expression("1 1/s")}).rate
    loaded = {**given, "qps": utilization * full}
    pool, found = pool_of(loaded), model.equations(**loaded)
    return ServedKind(
        rate=full * REQUEST,
        ttft=pool.ttft(quantile),
        itl=found.itl,
        latency=pool.latency(quantile),
        devices=found.required_accelerators,
        busy=pool.busy,
        rules={name: holds for name, holds in found.constraints.items() if name != TARGET},
    )


def replica_power(devices: Expression, node: View, busy: Expression) -> Expression:
    """Return the mean power of replicas: their share of nodes that work while they hold a request, and else are idle.

    It does not follow the load: a decode step of few requests keeps the accelerators at work as one of many does, so
    that a replica at half its full rate holds a request, and draws busy power, nearly all of the time.

    Args:
        devices: accelerators of them. busy: share of the time in which a replica holds a request.
    """
    return devices / node.accelerators_per_node * node_power(node, busy)


def facility_power(power: Expression, pue: Expression) -> Expression:
    """Return the power of the building for that of its IT equipment."""
    return Energy(power, pue).facility


def carbon_rate(power: Expression, pue: Expression, intensity: Expression) -> Expression:
    """Return the operational carbon per time for a power of IT equipment."""
    return Energy(power, pue).carbon(intensity)
