"""How an optimum moves, and how far its design stays: by hand, by brute force, and against the explained solution."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt.algebra.atoms import lookup
from mlsysim_opt.algebra.expression import Symbol, constant
from mlsysim_opt.errors import InputError, UnknownNameError
from mlsysim_opt.optimize import Problem, Solution, solve, task
from mlsysim_opt.solvers import SensitivitySolver
from mlsysim_opt.units import MONEY, NONE

LAB = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 512, "seq_len": 8192}


def rent(price: float = 2.0, room: float = 100.0, objective: str = "min_cost", constraints: Any = ()) -> Solution:
    """Machines at a price each, and a penalty of 72 USD over their number; they need room."""
    problem = Problem("rent", values={"price": price, "room": room})
    machines = problem.choose("machines", range(1, 13))
    cost = machines * Symbol("price", MONEY) + constant(72, MONEY) / machines
    problem.measure("cost", cost)
    problem.measure("profit", constant(100, MONEY) - cost)
    problem.require("room for all", machines * 1.0 <= Symbol("room", NONE))
    return solve(task(problem, objective=objective, constraints=constraints))


def test_the_optimum_by_hand() -> None:
    # 6 machines: 12 + 12 = 24 USD, half of it rent. With 5 it is 5p + 14.4, less than 6p + 12 from p = 2.4, 1.2 times
    # as much; with 7 it is 7p + 72/7, less up to p = 12 - 72/7.
    found = rent().sensitivity()
    assert found.design == {"machines": 6}
    price = found.numbers["price"]
    assert (price.below, price.above) == (pytest.approx(0.5), pytest.approx(0.5))
    assert price.high is not None
    assert price.high.factor == pytest.approx(1.2, rel=1e-9)
    assert price.high.changed == {"machines": 5}
    assert price.low is not None
    assert price.low.factor == pytest.approx((12 - 72 / 7) / 2, rel=1e-9)
    assert price.low.changed == {"machines": 7}
    assert price.high.confirmed
    assert price.low.confirmed
    # room: 100 for 6 may shrink to 6, which is beyond the reach; nothing is gained by more
    assert found.numbers["room"].low is found.numbers["room"].high is None
    assert found.elasticities == {"price": price.elasticity, "room": 0}


def test_a_constraint_can_end_it() -> None:
    room = rent(room=6.3).sensitivity().numbers["room"]
    assert room.low is not None
    assert room.low.factor == pytest.approx(6 / 6.3, rel=1e-12)
    assert room.low.because == "'room for all' is violated"
    assert room.low.changed == {"machines": 5}
    # where the constraint binds, more of it brings another design
    bound = rent(room=5.5).sensitivity(["room"]).numbers["room"]
    assert bound.high is not None
    assert bound.high.factor == pytest.approx(6 / 5.5, rel=1e-12)
    assert bound.high.changed == {"machines": 6}


def test_designs_that_tie_have_an_elasticity_on_each_side() -> None:
    # at 2.4 USD, 5 and 6 machines both cost 26.4; when the price falls 6 are better, when it rises 5 are
    solution = rent(price=2.4)
    assert solution.tie_count == 2
    price = solution.sensitivity().numbers["price"]
    assert price.below == pytest.approx(6 * 2.4 / 26.4)
    assert price.above == pytest.approx(5 * 2.4 / 26.4)
    assert solution.design == {"machines": 5}
    assert price.low is not None
    assert price.low.factor == pytest.approx(1, abs=1e-9)
    assert price.high is not None
    assert price.high.factor == pytest.approx((72 / 4 - 72 / 5) / 2.4, rel=1e-9)


def test_what_is_maximised_answers_with_its_own_sign() -> None:
    # profit 76 = 100 - 24, of which 12 are rent: one percent of price is 0.12 of 76
    found = rent(objective="max_profit").sensitivity()
    assert found.numbers["price"].elasticity == pytest.approx(-12 / 76)
    assert found.numbers["price"].high is not None
    assert found.numbers["price"].high.factor == pytest.approx(1.2, rel=1e-9)


@given(
    fixed=st.lists(st.floats(1, 10), min_size=2, max_size=7),
    slopes=st.lists(st.floats(0.1, 5), min_size=7, max_size=7),
    value=st.floats(0.5, 5),
)
def test_within_its_range_the_design_is_optimal_and_beyond_it_is_not(
    fixed: list[float], slopes: list[float], value: float
) -> None:
    problem = Problem("lines", values={"x": value})
    names = [f"plan{at}" for at in range(len(fixed))]
    plan = problem.choose("plan", names)
    a, b = dict(zip(names, fixed, strict=True)), dict(zip(names, slopes, strict=False))
    problem.measure("m", lookup(plan, a) + lookup(plan, b) * Symbol("x", NONE))
    solution = solve(task(problem, objective="min_m"))
    number = solution.sensitivity(reach=8).numbers["x"]
    mine = solution.design["plan"]

    def gap(factor: float) -> float:
        costs = {name: a[name] + b[name] * value * factor for name in names}
        return costs[mine] / min(costs.values()) - 1

    low = number.low.factor if number.low else 1 / 8
    high = number.high.factor if number.high else 8
    for step in range(21):
        assert gap(low * (high / low) ** (step / 20)) <= 1e-9
    for end, beyond in ((number.low, 1 / (1 + 1e-4)), (number.high, 1 + 1e-4)):
        if end:
            assert gap(end.factor * beyond) > 0
            assert end.confirmed


def test_the_best_split_of_a_job() -> None:
    """The range of the memory ends where the explained solution says that more of it first brings a gain."""
    solution = mo.optimize("parallelism", objective="min_step_time", **LAB)
    found = SensitivitySolver().of_optimum(
        solution, numbers=["fleet.node.accelerator.memory.capacity", "fleet.node.accelerator.compute.peak.bf16"]
    )
    capacity = found.numbers["fleet.node.accelerator.memory.capacity"]
    (memory,) = [item for item in solution.constraints if item.name == "memory fits"]
    assert memory.relax_by is not None
    assert capacity.high is not None
    assert capacity.high.factor == pytest.approx(1 + memory.relax_by.value / 80, rel=1e-9)
    assert memory.slack is not None
    assert capacity.low is not None
    assert capacity.low.factor == pytest.approx(1 - memory.slack.value / 80, rel=1e-9)
    assert capacity.low.because == "'memory fits' is violated"
    # rates: just inside the range the whole search finds this design, just beyond another
    peak = found.numbers["fleet.node.accelerator.compute.peak.bf16"]
    assert peak.elasticity == pytest.approx(solution.elasticities[peak.name], rel=1e-9)
    assert peak.high is not None
    for factor, same in ((peak.high.factor * (1 - 1e-6), True), (peak.high.factor * (1 + 1e-6), False)):
        problem = solution._task().problem
        values = {**problem.values, peak.name: problem.values[peak.name] * factor}
        search = solution._task().search(keep=1)
        search.values = values
        assert (solution._task().design_values(search.run().best[0].design) == solution.design) is same


def test_switches_have_no_elasticity() -> None:
    solution = mo.optimize("parallelism", objective="min_step_time", **LAB)
    names = solution.sensitivity(["congestion_factor"]).numbers
    assert set(names) == {"congestion_factor"}
    assert not {"fused_attention", "fused_kernels", "dropout", "tp_comm_overlap"} & set(solution.elasticities)
    with pytest.raises(UnknownNameError, match="fused_attention"):
        solution.sensitivity(["fused_attention"])


def test_it_reads_well_and_is_plain_data() -> None:
    found = rent().sensitivity()
    text = str(found)
    for part in ("min_cost = 24 USD", "machines=6", "1.2x", "machines=5", "the whole space was searched"):
        assert part in text
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert data["numbers"]["price"]["high"]["changed"] == {"machines": 5}
    assert found.searches > 5


def test_a_stored_solution_and_a_question_can_be_asked() -> None:
    solution = mo.optimize("parallelism", objective="min_step_time", **LAB)
    again = Solution.from_json(solution.to_json()).sensitivity(["congestion_factor"])
    asked = task("parallelism", objective="min_step_time", **LAB).sensitivity(["congestion_factor"])
    assert again.as_dict() == asked.as_dict()


def test_wrong_questions() -> None:
    with pytest.raises(UnknownNameError, match="prise") as caught:
        rent().sensitivity(["prise"])
    assert "price" in (caught.value.hint or "")
    for reach in (1, 0.5, math.nan, math.inf):
        with pytest.raises(InputError, match="factor above 1"):
            rent().sensitivity(reach=reach)
    with pytest.raises(InputError, match="expected a solution"):
        SensitivitySolver().of_optimum(3)
