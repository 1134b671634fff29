"""Enumeration: every feasible tuple is evaluated or provably excluded; the enumeration is itself the proof."""

from __future__ import annotations

import math

import numpy as np

from mlsysim_opt.optimize.backends.base import Answer
from mlsysim_opt.optimize.search import Search
from mlsysim_opt.optimize.stopping import Halt


class EnumerateBackend:
    """NumPy tables over the joined space, with interval bounds where the space is split."""

    name = "enumerate"

    def solve(self, search: Search, *, prune: bool = True, halt: Halt | None = None) -> Answer:
        """Return the cheapest design of the whole space, or the cheapest one found when it is to stop."""
        halt = halt or Halt()
        outcome = search.run(halt=halt)
        solver = f"numpy {np.__version__}"
        details = {
            "evaluated": outcome.evaluated,
            "feasible": outcome.feasible,
            "excluded": outcome.excluded,
            "structurally_valid": outcome.structural,
            "cut_by_bound": outcome.pruned,
        }
        best = outcome.best[0] if outcome.best else None
        if outcome.stopped:
            proof = f"{halt.why} after {outcome.evaluated:,} designs; the bound is that of interval arithmetic"
            if best is None:
                return Answer("unknown", None, None, None, proof, solver, details)
            low = search.lower_bound()
            bound = low if math.isfinite(low) else None
            return Answer("feasible", best.design, best.cost, bound, proof, solver, details, outcome)
        if best is None:
            proof = f"none of the {outcome.evaluated:,} structurally valid designs satisfies every constraint"
            return Answer("infeasible", None, None, None, proof, solver, details)
        proof = f"all {outcome.evaluated:,} structurally valid designs evaluated"
        if outcome.pruned:
            proof += f", but those of {outcome.pruned:,} combinations that interval bounds exclude"
        return Answer("optimal", best.design, best.cost, best.cost, proof, solver, details, outcome)
