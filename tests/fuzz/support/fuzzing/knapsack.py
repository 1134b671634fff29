"""A problem whose search lasts, to be ended early."""

from __future__ import annotations

import numpy as np

from mlsysim_opt.optimize import CoupledProblem


def knapsack(size: int = 40) -> CoupledProblem:
    """Return one of several dimensions: feasible at once, proven late; of 40 things a gain of 949 is found late."""
    dice = np.random.default_rng(5)
    made = CoupledProblem("knapsack")
    item, limit = made.choose("item", range(size)), made.choose("limit", range(6))
    taken = made.amounts("taken", [item], whole=True, high=1)
    weights = dice.integers(20, 90, (size, 6)).astype(float)
    weight = made.table("weight", [item, limit], weights)
    made.require("room", taken * weight <= made.table("room", [limit], weights.sum(axis=0) / 3), each=[limit])
    gain = dice.integers(20, 90, size).astype(float)
    made.measure("gain", taken * made.table("gain", [item], gain))
    made.measure("value", taken * made.table("value", [item], gain * 1000, "USD"), unit="kUSD")
    made.measure("weight", taken * made.table("of all", [item], weights.sum(axis=1), "kgCO2e"))
    made.default_objective = "max_gain"
    return made
