"""Scaling laws against the tables of their papers, and the work of published training runs."""

from __future__ import annotations

from mlsysim_opt.physics.scaling import ScalingModel
from mlsysim_opt.validation.report import Prediction
from mlsysim_opt.validation.rows import Row, Unmodelled

LAW_OF_TABLE = "Hoffmann_2022_approach_1"
"""The fit behind Table 3 of Hoffmann et al. 2022."""


def predict_scaling(row: Row) -> Prediction:
    """Return the optimal tokens of a budget, or the work of a run.

    Raises:
        Unmodelled: the row is neither.
    """
    tokens, work = row.measurement("tokens"), row.measurement("flops")
    if tokens is not None:
        solved = ScalingModel().solve(compute_budget=f"{row.number('flops')} FLOP", fit=LAW_OF_TABLE)
        return Prediction(solved.si("optimal_tokens"), "token", tokens, target="optimal tokens")
    if work is not None:
        if row.number("tokens") <= 0:
            raise Unmodelled(f"tokens are not above 0: {row.inputs['tokens']}")
        found = ScalingModel().solve_for(
            "optimal_tokens", f"{row.number('tokens')} token", unknown="compute_budget",
            target_model_size=row.number("params"),
        )  # fmt: skip
        return Prediction(found.values[0], "FLOP", work, target="training work")
    raise Unmodelled("neither optimal tokens nor the work of a run")
