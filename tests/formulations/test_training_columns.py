"""The columns of training jobs: the bounds that leave designs out, and all designs of small spaces looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mlsysim_opt.formulations.training_columns import _least, training_columns

from mlsysim_opt.algebra import GridProgram
from mlsysim_opt.algebra.expression import Choice, Expression
from mlsysim_opt.optimize import formulation
from mlsysim_opt.optimize.problem import Problem
from mlsysim_opt.optimize.space import Domain, spaces

GIVEN: dict[str, dict[str, Any]] = {
    "memory is tight": {"model": "Llama3_8B", "accelerator": ["H100", "A100_40GB"], "nodes": [1, 2]},
    "experts": {"model": "Mixtral_8x7B", "accelerator": ["H100", "H200"], "nodes": [2, 4]},
    "one accelerator, small": {"model": "GPT2_XL", "accelerator": ["MI250X"], "nodes": [1]},
}
COMMON = {"fleet": "Research_256", "global_batch_size": 32, "seq_len": 4096, "precision": "bf16"}


def declared(given: dict[str, Any]) -> Problem:
    problem = formulation("parallelism").problem({**COMMON, **given, "token_budget": "1 token"})
    assert isinstance(problem, Problem)
    return problem


def every_design(problem: Problem, wanted: list[Expression]) -> tuple[list[Choice], Any, list[Any]]:
    """Return all feasible designs, one row of positions each, and what is wanted of them."""
    choices = [item.choice for item in problem.decisions.values()]
    structural = [item.holds for item in problem.constraints if item.structural]
    asked = [item.holds for item in problem.constraints if not item.structural]
    rows, values = [], []
    for axes in spaces(Domain.of(choices), structural, problem.values):
        tables = GridProgram([*wanted, *asked], problem.values, axes).tables()
        good = np.logical_and.reduce([np.isfinite(tables[0]), *tables[len(wanted) :]])
        row, *dense = np.nonzero(good)
        at = dict(zip(axes.dense, dense, strict=True)) | {item: axes.joined[item][row] for item in axes.joined}
        rows.append(np.stack([at[choice] for choice in choices], axis=1))
        values.append([table[good] for table in tables[: len(wanted)]])
    return choices, np.concatenate(rows), [np.concatenate(item) for item in zip(*values, strict=True)]


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_columns_are_the_designs_that_no_other_of_their_size_beats(given: dict[str, Any]) -> None:
    problem = declared(given)
    choices, rows, (time, energy) = every_design(problem, [problem.metric("time"), problem.metric("it_energy")])
    names = [choice.name for choice in choices]
    found = training_columns({**COMMON, **given})
    for place, name in enumerate(given["accelerator"]):
        mine = rows[:, names.index("accelerator")] == place if "accelerator" in names else np.full(len(rows), True)
        for at, nodes in enumerate(given["nodes"]):
            here = np.flatnonzero(mine & (rows[:, names.index("nodes")] == at if "nodes" in names else True))
            order = here[np.lexsort((energy[here], time[here]))]
            best = np.minimum.accumulate(energy[order])
            front = order[np.concatenate([[True], energy[order][1:] < best[:-1]])] if len(order) else order
            columns = [item for item in found[name] if item.nodes == nodes]
            assert [1 / item.speed for item in columns] == pytest.approx(time[front].tolist(), rel=1e-12)
            assert [item.power for item in columns] == pytest.approx((energy[front] / time[front]).tolist(), rel=1e-12)


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_no_design_takes_less_than_what_leaves_it_out(given: dict[str, Any]) -> None:
    problem = declared(given)
    wanted = [problem.metric("time"), problem.metric("it_energy")]
    bounds = _least(problem, wanted)
    assert not {"zero_stage", "overlap_comm"} & {choice.name for item in bounds for choice in item.choices}
    _, rows, values = every_design(problem, [*wanted, *bounds])
    assert len(rows) > 1000
    for exact, bound in zip(values[:2], values[2:], strict=True):
        assert (bound <= exact * (1 + 1e-12)).all()
        assert (bound > 0.5 * exact).any()  # and it is near enough to be of use
