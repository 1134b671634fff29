"""Several unknowns: every point of a frontier is exact, the cheapest is proven, and what cannot be says why."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt.algebra import Symbol, maximum
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.errors import InfeasibleError, InputError, NotInvertibleError, UnknownNameError
from mlsysim_opt.solvers.cheapest import Optimum, cheapest
from mlsysim_opt.solvers.region import Region, Unknown, corners
from mlsysim_opt.solvers.relations import Relation

BANDWIDTH, PEAK, CAPACITY = "hardware.memory.bandwidth", "hardware.compute.peak.fp16", "hardware.memory.capacity"
ALL = (BANDWIDTH, PEAK, CAPACITY)
RELATIONS = ["itl <= 30 ms", "ttft <= 500 ms", "memory fits"]
ASKED: dict[str, Any] = {
    "using": mo.ServingModel, "model": "Llama3_70B", "hardware": "H100", "seq_len": 512, "batch_size": 4, "tp_size": 2,
}  # fmt: skip
COSTS = {BANDWIDTH: "2 USD per GB/s", PEAK: "10 USD per TFLOP/s", CAPACITY: "8 USD per GB"}
EACH = {BANDWIDTH: 2 / 1e9, PEAK: 10 / 1e12, CAPACITY: 8 / 1e9}


def solve(relations: Any = RELATIONS, unknowns: Any = ALL, **more: Any) -> Any:
    return mo.solve_system(relations, unknowns=unknowns, **{**ASKED, **more})


def broken(entered: dict[str, Any]) -> list[str]:
    """Return what the model itself says is not kept."""
    solved = mo.ServingModel().solve(**entered)
    found = [name for name, limit in (("itl", 0.030), ("ttft", 0.500)) if solved.si(name) > limit]
    return found + [name for name, holds in solved.constraints.items() if not holds]


# the frontier ---------------------------------------------------------------------------------------------------------
def test_every_point_entered_as_hardware_meets_all_and_one_notch_less_of_any_number_does_not() -> None:
    solution = solve(points=9)
    assert solution.exact
    assert len(solution.frontier) >= 9
    for point in solution.frontier:
        assert broken(solution.entered(point)) == []
        for name in point.values:
            less = {**point.values, name: point.values[name] * (1 - 1e-6)}
            assert broken(solution._task.entered(less)), name


def test_points_of_a_frontier_trade_one_for_the_other() -> None:
    points = [item.values for item in solve(points=9).frontier]
    for near, far in itertools.pairwise(points):
        assert near[BANDWIDTH] < far[BANDWIDTH]
        assert near[PEAK] > far[PEAK]
        assert near[CAPACITY] == far[CAPACITY]  # a group of its own
    assert solve().groups == ((BANDWIDTH, PEAK), (CAPACITY,))


def test_the_frontier_is_a_curve_with_a_parameter() -> None:
    solution = solve()
    point = solution.at({BANDWIDTH: "5 TB/s"})
    assert point[BANDWIDTH] == mo.Q_("5 TB/s")
    assert broken(solution.entered(point)) == []
    assert "ttft <= 500 ms" in point.binding
    with pytest.raises(NotInvertibleError, match=r"is enough with hardware\.memory\.bandwidth = 1 TB/s"):
        solution.at({BANDWIDTH: "1 TB/s"})
    with pytest.raises(InputError, match="must be given"):
        solution.at()
    with pytest.raises(UnknownNameError):
        solution.at({"bandwidth": "1 TB/s"})
    with pytest.raises(InfeasibleError, match="these values do not meet itl <= 30 ms") as caught:
        solution.at({BANDWIDTH: "1 TB/s", PEAK: "900 TFLOP/s", CAPACITY: "80 GB"})
    assert caught.value.conflict == ("itl <= 30 ms",)


def test_the_corner_is_the_synthesis_of_both_targets() -> None:
    asked = {"seq_len": 512, "batch_size": 4, "tp_size": 2, "link_bandwidth": "like"}
    specs = mo.SynthesisSolver().solve("Llama3_70B", targets=RELATIONS[:2], **asked)
    corner = next(item for item in solve().frontier if set(item.binding) == set(RELATIONS))
    assert corner.values[BANDWIDTH] == pytest.approx(specs.required_bandwidth.to("byte/s").magnitude, rel=1e-12)
    assert corner.values[PEAK] == pytest.approx(specs.required_flops.to("FLOP/s").magnitude, rel=1e-12)
    assert corner.values[CAPACITY] == pytest.approx(specs.required_memory.to("byte").magnitude, rel=1e-12)


def test_three_unknowns_in_one_group_are_a_surface() -> None:
    # FP8 products, attention in 16 bits: two rates and the bandwidth
    unknowns = (BANDWIDTH, "hardware.compute.peak.fp8", "hardware.compute.peak.bf16")
    solution = solve(RELATIONS[:2], unknowns, precision="fp8", points=20)
    assert len(solution.groups) == 1
    assert len(solution.frontier) >= 20
    for point, other in itertools.combinations(solution.frontier, 2):  # none asks for less of everything
        assert not all(point.values[name] <= other.values[name] for name in unknowns)
    assert all(broken({**solution.entered(item), "precision": "fp8"}) in ([], ["memory fits"])
               for item in solution.frontier)  # fmt: skip


def test_inputs_of_the_model_can_be_unknown() -> None:
    solution = solve(["itl <= 30 ms"], [BANDWIDTH, "efficiency"], points=5)
    assert solution.exact
    assert all(0 < item["efficiency"] < 1 for item in solution.frontier)
    assert solution.notes == ("not asked for, and violated: memory fits",) or not solution.notes


def test_of_what_hurts_the_most_is_found() -> None:
    # 141 GiB less weights, cache and workspace of one of two ranks are left for the runtime
    solution = solve(["memory fits"], ["memory_reserve"], hardware="H200")
    assert solution.directions == {"memory_reserve": "most"}
    (point,) = solution.frontier
    entered = solution.entered(point)
    assert mo.ServingModel().solve(**entered).feasible
    entered["memory_reserve"] = point["memory_reserve"] * (1 + 1e-6)
    assert not mo.ServingModel().solve(**entered).feasible


def test_what_is_not_proven_is_searched_and_said() -> None:
    solution = solve(["itl <= 30 ms", "energy_per_token <= 2 J/token"], [BANDWIDTH, PEAK], points=6)
    assert not solution.exact
    assert "not proven to move one way: energy_per_token" in solution.proof
    for point in solution.frontier:
        solved = mo.ServingModel().solve(**solution.entered(point))
        assert solved.si("itl") <= 0.030
        assert solved.si("energy_per_token") <= 2


def test_what_is_searched_and_not_met_at_once_is_no_proof_that_there_is_nothing() -> None:
    # the power may be a millionth of today's, at which any energy per token is met
    solution = solve(["energy_per_token <= 3 J/token", "itl <= 30 ms"], ["hardware.tdp", BANDWIDTH], points=4)
    assert solution.directions["hardware.tdp"] == "most"
    for point in solution.frontier:
        solved = mo.ServingModel().solve(**solution.entered(point))
        assert solved.si("energy_per_token") <= 3
        assert solved.si("itl") <= 0.030


def test_relations_that_pull_apart_are_exact_at_each_point() -> None:
    solution = solve(["29 ms <= itl <= 30 ms"], [BANDWIDTH, PEAK], points=5)
    assert not solution.exact
    assert "helps one relation and hurts another" in solution.proof
    assert len(solution.frontier) >= 4
    for point in solution.frontier:
        entered = solution.entered(point)
        assert 0.029 <= mo.ServingModel().solve(**entered).si("itl") <= 0.030
        less = solution._task.entered({**point.values, BANDWIDTH: point.values[BANDWIDTH] * (1 - 1e-9)})
        assert mo.ServingModel().solve(**less).si("itl") > 0.030


# the cheapest ---------------------------------------------------------------------------------------------------------
def test_the_cheapest_is_proven_to_1e_9() -> None:
    best = solve(costs=COSTS).cheapest
    assert best.status == "optimal"
    assert best.gap <= 1e-9
    assert best.cost.to("USD").magnitude == pytest.approx(
        sum(best.specification.values[name] * each for name, each in EACH.items()), rel=1e-12
    )
    assert best.bound <= best.cost * (1 + 1e-12)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(-3, 3), st.floats(10, 80), st.floats(200, 5000))
def test_nothing_on_the_frontier_is_cheaper(ratio: float, itl: float, ttft: float) -> None:
    costs = {BANDWIDTH: f"{10**ratio!r} USD per GB/s", PEAK: "1 USD per TFLOP/s"}
    solution = solve([f"itl <= {itl!r} ms", f"ttft <= {ttft!r} ms"], [BANDWIDTH, PEAK], costs=costs, points=40)
    best = solution.cheapest

    def cost(values: Any) -> float:
        return float(values[BANDWIDTH] * 10**ratio / 1e9 + values[PEAK] / 1e12)

    assert best.status == "optimal"
    least = cost(best.specification.values)
    assert best.bound.magnitude <= least * (1 + 1e-12)
    assert all(cost(item.values) >= best.bound.magnitude * (1 - 1e-12) for item in solution.frontier)
    low, high = solution.frontier[0].values[BANDWIDTH], solution.frontier[-1].values[BANDWIDTH]
    for step in range(1, 30):
        here = solution.at({BANDWIDTH: f"{low * (high / low) ** (step / 30)!r} byte/s"})
        assert cost(here.values) >= best.bound.magnitude * (1 - 1e-12)


def test_duals_are_what_a_little_more_slack_saves() -> None:
    best = solve(costs=COSTS).cheapest
    duals = {item.relation: item for item in best.duals}
    for relation, looser, step in (
        ("itl <= 30 ms", "itl <= 30.001 ms", 1e-3), ("ttft <= 500 ms", "ttft <= 500.01 ms", 1e-2)
    ):  # fmt: skip
        again = solve([looser if item == relation else item for item in RELATIONS], costs=COSTS).cheapest
        assert (best.cost - again.cost).magnitude / step == pytest.approx(duals[relation].saves, rel=1e-3)
        assert duals[relation].unit == "USD per ms"
    # a byte less is a byte of capacity less: 8 USD per GB are 8.59 per GiB
    assert duals["memory fits"].saves == pytest.approx(8 * 2**30 / 1e9)
    loose = solve([*RELATIONS, "request_latency <= 1 h"], costs=COSTS).cheapest
    assert loose.duals[-1].saves == 0
    assert "does not bind" in loose.duals[-1].text


def test_without_a_proof_boxes_are_divided_and_the_gap_is_said() -> None:
    costs = {name: COSTS[name] for name in (BANDWIDTH, PEAK)}
    best = solve(["itl <= 30 ms", "energy_per_token <= 20 J/token"], [BANDWIDTH, PEAK], costs=costs).cheapest
    assert best.status == "feasible"
    assert best.gap < 1e-5
    assert "boxes were divided" in best.proof
    alone = solve(["itl <= 30 ms"], [BANDWIDTH, PEAK], costs=costs).cheapest  # the energy does not bind here
    assert best.cost.magnitude == pytest.approx(alone.cost.magnitude, rel=1e-6)
    assert best.bound.magnitude <= alone.cost.magnitude * (1 + 1e-12)


def test_costs_may_be_counted_in_anything() -> None:
    watts = solve(costs={BANDWIDTH: "30 W per TB/s", PEAK: "0.2 W per TFLOP/s", CAPACITY: mo.Q_("0.1 W/GB")}).cheapest
    assert watts.cost.units == mo.Q_("1 W").units
    assert watts.gap <= 1e-9


# regions by themselves, against what can be worked out by hand --------------------------------------------------------
X, Y = Symbol("x"), Symbol("y")


def region(*sides: tuple[Expression, Expression], low: float = 1e-3, high: float = 1e3) -> Region:
    relations = [Relation(f"r{at}", left, right) for at, (left, right) in enumerate(sides)]
    return Region(relations, [Unknown(X, low, high), Unknown(Y, low, high)], {})


def test_a_square_root_law_by_hand() -> None:
    # 1/x + 4/y <= 1, x + y least: x = 1 + 2 = 3, y = 4 + 2 = 6, since (1 + 2)^2 = 9 by Cauchy and Schwarz
    found = cheapest(region((1 / X + 4 / Y, expression(1))), [1.0, 1.0])
    assert isinstance(found, Optimum)
    assert found.point == pytest.approx((3, 6), rel=1e-7)
    assert found.cost == pytest.approx(9, rel=1e-12)
    assert found.gap <= 1e-9
    # relaxed to 1 + d, the cost is 9 / (1 + d): 9 are saved at first for each unit of d
    assert found.prices == pytest.approx((9,), rel=1e-6)


def test_a_sharp_roofline_has_its_optimum_in_the_kink() -> None:
    # max(1/x, 2/y) <= 1: the corner (1, 2)
    found = cheapest(region((maximum(1 / X, 2 / Y), expression(1))), [1.0, 1.0])
    assert found is not None
    assert found.point == pytest.approx((1, 2), rel=1e-9)
    assert found.gap <= 1e-6


def test_what_is_not_convex_is_divided() -> None:
    # x * y >= 1 or so: 1 / (x * y + x) <= 1 is no convex set in logarithms by the calculus, yet monotone
    made = region((expression(1), X * Y + X - X / 2))
    assert made.aligned
    found = cheapest(made, [1.0, 1.0])
    assert found is not None
    # x = 1 / (y + 1/2); cost y + 1 / (y + 1/2) is least at y + 1/2 = 1: 1/2 + 1 = 3/2
    assert found.cost == pytest.approx(1.5, rel=1e-5)
    assert found.bound <= 1.5 * (1 + 1e-12)


def test_relations_that_pull_apart() -> None:
    # y >= 4 / x, and y * x^2 <= 8: x is 2 at most, and both relations limit x
    made = region((4 / X, Y), (Y * X**2, expression(8)), low=0.1, high=100)
    assert not made.aligned
    assert not made.unproven
    found = cheapest(made, [1.0, 1.0])
    assert found is not None
    assert found.point == pytest.approx((2, 2), rel=1e-3)  # x + 4/x is least at 2, where the second binds too
    assert found.bound <= 4 + 1e-9
    empty = region((4 / X, Y), (Y * X, expression(3)))
    assert cheapest(empty, [1.0, 1.0]) is None


def test_corners_are_where_relations_change() -> None:
    made = region((1 / X + 0.1 / Y, expression(1)), (0.1 / X + 1 / Y, expression(1)))
    (corner,) = corners(made)
    assert corner.point == pytest.approx((1.1, 1.1), rel=1e-12)  # 1.1 / x = 1
    assert (corner.before, corner.after) == (0, 1)


# what cannot be -------------------------------------------------------------------------------------------------------
def test_what_is_out_of_reach_says_how_far_it_can_go() -> None:
    with pytest.raises(InfeasibleError, match="meet itl <= 1 ms") as caught:
        solve(["itl <= 1 ms", "ttft <= 500 ms"], [BANDWIDTH, PEAK])
    assert caught.value.conflict == ("itl <= 1 ms",)
    assert "itl is 5.437 ms to" in str(caught.value.hint)
    with pytest.raises(InfeasibleError, match="itl <= 30 ms"):
        solve(["itl <= 30 ms"], [BANDWIDTH, PEAK], box={BANDWIDTH: ("1 GB/s", "100 GB/s")})


def test_a_conflict_of_two_is_named_without_the_third() -> None:
    relations = ["itl <= 30 ms", "decode_bandwidth_utilization >= 0.8", "throughput >= 1 token/s"]
    with pytest.raises(InfeasibleError) as caught:
        solve([*relations, "itl >= 40 ms"], [BANDWIDTH])
    assert set(caught.value.conflict) == {"itl <= 30 ms", "itl >= 40 ms"}
    assert "together" in str(caught.value)


def test_what_no_unknown_changes_has_to_hold_already() -> None:
    with pytest.raises(InfeasibleError, match="no unknown changes it"):
        solve(["itl <= 30 ms", "memory fits"], [BANDWIDTH, PEAK], tp_size=1)


@pytest.mark.parametrize(
    ("relations", "unknowns", "more", "error", "said"),
    [
        (RELATIONS, [BANDWIDTH, "hardware.tdp"], {}, InputError, "no relation depends on hardware.tdp"),
        (RELATIONS, ["hardware.memory.bandwith"], {}, UnknownNameError, "did you mean 'hardware.memory.bandwidth'"),
        (RELATIONS, [BANDWIDTH, "batch_size"], {}, InputError, "not a continuous number"),
        (RELATIONS, [BANDWIDTH, "model.layers"], {}, InputError, "whole number"),
        (RELATIONS, [BANDWIDTH, "efficiency"], {"efficiency": 0.5}, InputError, "both given and unknown"),
        (RELATIONS, [BANDWIDTH, BANDWIDTH], {}, InputError, "stands twice"),
        (RELATIONS, [], {}, InputError, "expected names of numbers"),
        (RELATIONS, BANDWIDTH, {}, InputError, "expected names of numbers"),
        ([], [BANDWIDTH], {}, InputError, "no relation"),
        ("itl <= 30 ms", [BANDWIDTH], {}, InputError, "expected a list of relations"),
        (["itl = 30 ms"], [BANDWIDTH], {}, InputError, "is an equation"),
        (["itl < 30 ms"], [BANDWIDTH], {}, InputError, "excludes its own border"),
        (["itl != 30 ms"], [BANDWIDTH], {}, InputError, "excludes one value only"),
        (["memory fit"], [BANDWIDTH], {}, UnknownNameError, "did you mean 'memory fits'"),
        (["not itl <= 30 ms"], [BANDWIDTH], {}, InputError, "no inequality"),
        (RELATIONS, ALL, {"costs": {BANDWIDTH: "2 USD per GB/s"}}, InputError, "is missing"),
        (RELATIONS, ALL, {"costs": {**COSTS, PEAK: "1 W per TFLOP/s"}}, InputError, "several kinds"),
        (RELATIONS, ALL, {"costs": {**COSTS, PEAK: "1 USD per GB"}}, InputError, "a cost per byte"),
        (RELATIONS, ALL, {"costs": {**COSTS, PEAK: "0 USD per TFLOP/s"}}, InputError, "not above zero"),
        (RELATIONS, ALL, {"costs": {**COSTS, "x": "1 USD per GB"}}, UnknownNameError, "sought 'x'"),
        (RELATIONS, ALL, {"costs": {**COSTS, PEAK: 3}}, InputError, "not a cost per FLOP/s"),
        (RELATIONS, ALL, {"costs": "cheap"}, InputError, "expected a cost for each unknown"),
        (RELATIONS, ALL, {"box": {"x": (1, 2)}}, UnknownNameError, "sought 'x'"),
        (RELATIONS, ALL, {"box": {BANDWIDTH: "1 TB/s"}}, InputError, "lowest and the highest"),
        (RELATIONS, ALL, {"box": {BANDWIDTH: ("2 TB/s", "1 TB/s")}}, InputError, "empty"),
        (["memory fits"], ["memory_reserve"], {"hardware": "H200", "costs": {"memory_reserve": "1 USD per GB"}},
         InputError, "only suffer"),
        (RELATIONS, ALL, {"points": 0}, InputError, "points"),
        (RELATIONS, ALL, {"points": 2.5}, InputError, "2.5 points are not between 1 and 10,000"),
        (RELATIONS, ALL, {"points": "3"}, InputError, "'3' points are not between 1 and 10,000"),
        (["memory fits"], [BANDWIDTH], {}, InputError, "also depend on hardware.memory.capacity, memory_reserve"),
    ],
)  # fmt: skip
def test_wrong_questions_are_answered(
    relations: Any, unknowns: Any, more: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        solve(relations, unknowns, **more)


def test_the_answer_reads_well_and_is_plain_data() -> None:
    import json

    solution = solve(costs=COSTS, points=3)
    text = str(solution)
    assert "cheapest (optimal, gap" in text
    assert "relaxing itl <= 30 ms saves" in text
    data = json.loads(json.dumps(solution.as_dict()))
    assert data["cheapest"]["status"] == "optimal"
    assert math.isclose(data["frontier"][0]["values"][CAPACITY]["value"], 68.3474 * 2**30, rel_tol=1e-5)


def test_an_entry_is_asked_about_by_the_name_it_is_given_with() -> None:
    asked: dict[str, Any] = {"using": mo.SustainabilityModel, "fleet": "Research_256", "duration_days": 30}
    relation, box = ["carbon_footprint_kg <= 100 tCO2e"], ("10 gCO2e/kWh", "900 gCO2e/kWh")
    found = [
        mo.solve_system(
            relation, unknowns=[f"{name}.carbon_intensity"], box={f"{name}.carbon_intensity": box},
            **asked, **{name: "Poland"},
        )
        for name in ("grid", "datacenter")
    ]  # fmt: skip
    assert found[0].unknowns == found[1].unknowns
    assert found[0].frontier[0].values == found[1].frontier[0].values
