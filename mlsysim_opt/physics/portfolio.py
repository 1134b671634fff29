"""Workloads that share a cluster over years: how long each keeps it, and what that adds to what stands there anyway."""

from __future__ import annotations

from mlsysim_opt.algebra.expression import Expression


def training_time(tokens: Expression, tokens_per_second: Expression, stall: Expression) -> Expression:
    """Return the time in which a cluster trains on so many tokens.

    Args:
        tokens_per_second: of the whole cluster. stall: share of the time that accelerators wait for data.
    """
    return tokens / (tokens_per_second * (1 - stall))


def serving_time(needed: Expression, available: Expression, duration: Expression) -> Expression:
    """Return the time of the whole cluster that is worth what a service keeps of it for a duration.

    Args:
        needed, available: accelerators.
    """
    return duration * needed / available


def added_by_load(idle: Expression, busy: Expression, time: Expression, duration: Expression) -> Expression:
    """Return what work of so much time adds to a quantity that is affine in the share of time at work.

    Args:
        idle, busy: the quantity over the whole duration without any work, and with work all the time.
    """
    return (busy - idle) * time / duration
