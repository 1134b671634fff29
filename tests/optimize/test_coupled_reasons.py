"""Why no plan is possible: conflicts against all subsets, ways out against all plans."""

from __future__ import annotations

import itertools
import random
import re
import signal

import pytest
from fuzzing.counted import Shop
from hypothesis import given, settings
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt.errors import InfeasibleError, InputError, UnknownNameError
from mlsysim_opt.optimize import CoupledProblem, task
from mlsysim_opt.optimize.coupled.program import LinearProgram
from mlsysim_opt.optimize.coupled.reasons import infeasible, irreducible
from mlsysim_opt.optimize.coupled.search import Found, HighsBackend, Options
from mlsysim_opt.optimize.stopping import noted_interrupts


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_conflict_is_irreducible_and_found_in_few_tests(data: st.DataObject) -> None:
    names = [f"c{index}" for index in range(data.draw(st.integers(1, 12)))]
    cores = data.draw(st.lists(st.sets(st.sampled_from(names), max_size=4), min_size=1, max_size=3))
    asked: list[list[str]] = []

    def contradictory(kept: list[str]) -> bool:
        asked.append(kept)
        return any(core <= set(kept) for core in cores)

    found = irreducible(names, contradictory)
    tests = len(asked)
    assert contradictory(found)
    assert not any(contradictory([other for other in found if other != name]) for name in found)
    assert tests <= len(names) + 1


def test_one_constraint_among_many_is_found_in_far_fewer_tests() -> None:
    names = [f"c{index}" for index in range(64)]
    asked: list[int] = []

    def contradictory(kept: list[str]) -> bool:
        asked.append(len(kept))
        return {"c60", "c63"} <= set(kept)

    assert sorted(irreducible(names, contradictory)) == ["c60", "c63"]
    assert len(asked) < 16


METRICS = ("cost", "carbon", "energy")


@pytest.mark.parametrize("seed", range(24))
def test_conflicts_and_ways_out_are_those_of_counting(seed: int) -> None:
    shop = Shop.of(seed)
    plans = list(shop.plans())
    if not plans:
        return
    dice = random.Random(seed)
    limits = {name: round(dice.uniform(0.6, 1.15) * min(plan[name] for plan in plans), 3) for name in METRICS}
    texts = {name: f"{name} <= {limit}" for name, limit in limits.items()}

    def possible(kept: tuple[str, ...]) -> bool:
        return any(all(plan[name] <= limits[name] for name in kept) for plan in plans)

    if possible(METRICS):
        assert mo.optimize(shop.problem(), constraints=list(texts.values())).status == "optimal"
        return
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(shop.problem(), constraints=list(texts.values()))
    error = caught.value
    assert error.solves is not None
    assert error.solves <= len(METRICS) + 1
    conflict = tuple(name for name in METRICS if texts[name] in error.conflict)
    assert not possible(conflict)
    for size in range(len(conflict)):
        assert all(possible(fewer) for fewer in itertools.combinations(conflict, size))
    alone = {way.constraint: way for way in error.relaxations if way.amount is not None}
    for name in METRICS:
        others = [other for other in METRICS if other != name]
        left = [plan[name] for plan in plans if all(plan[other] <= limits[other] for other in others)]
        if not left:
            assert texts[name] not in alone
        elif name in conflict:
            assert alone[texts[name]].amount.value == pytest.approx(min(left) - limits[name], rel=1e-6)
            found = re.search(r"a limit of ([\d.]+) instead", str(alone[texts[name]]))
            assert found
            written = [f"{name} <= {found[1]}", *(texts[other] for other in others)]
            assert mo.optimize(shop.problem(), constraints=written).status == "optimal"  # what is told is enough
    together = [way for way in error.relaxations if way.amount is None]
    cheapest = min(
        sum(max(0.0, plan[name] - limits[name]) / limits[name] for name in METRICS) for plan in plans
    )  # what the cheapest combination gives way by, in shares of the limits
    for way in together:
        after = re.findall(r"'(\w+) <= [\d.]+' by [\d.]+: a limit of ([\d.]+)", str(way))
        assert len(after) == len(way.constraint.split(" and ")) > 1
        taken = sum(float(value) / limits[name] - 1 for name, value in after)
        digit = sum(1e-5 * float(value) / limits[name] for name, value in after)  # the last of six, rounded up
        assert cheapest - 1e-9 <= taken <= cheapest + digit


def fleet(limit: int = 5) -> CoupledProblem:
    """Ten replicas are needed; one takes 1 or 2 slots of `limit`, and costs 5 or 3 USD."""
    made = CoupledProblem("fleet", item="fleet")
    kind = made.choose("kind", [1, 2])
    count = made.amounts("count", [kind], whole=True, high=20)
    made.measure("cost", count * (mo.Q_("7 USD") - mo.Q_("2 USD") * kind), unit="USD")
    made.measure("slots", count * kind)
    made.measure("replicas", count.total())
    made.require("room", count * kind <= limit)
    made.default_objective = "min_cost"
    return made


def test_texts_of_ways_out() -> None:
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(fleet(100), constraints=["cost <= 24 USD", "replicas >= 10", "slots <= 30"])
    error = caught.value
    # ten replicas of kind 2 cost 30 USD; 24 USD buy eight
    assert error.conflict == ("cost <= 24 USD", "replicas >= 10")
    assert [str(way) for way in error.relaxations][:2] == [
        "'cost <= 24 USD' by 6 USD: a limit of 30 USD instead of 24 USD",
        "'replicas >= 10' by 2: a limit of 8 instead of 10",
    ]
    assert error.as_dict()["feasibility_solves"] <= 4


def test_weights_decide_the_cheapest_combination() -> None:
    asked = task(fleet(100), constraints=["cost <= 24 USD", "replicas >= 10"])

    def cheapest(**weights: object) -> str:
        renamed = {{"cost": "cost <= 24 USD", "replicas": "replicas >= 10"}[key]: item for key, item in weights.items()}
        ways = asked.ways_out(renamed)
        assert len({way.constraint for way in ways}) == len(ways)  # each way once, the cheapest one last
        return str(ways[-1])

    assert cheapest(cost=1, replicas=100) == "'cost <= 24 USD' by 6 USD: a limit of 30 USD instead of 24 USD"
    assert cheapest(cost=100, replicas=1) == "'replicas >= 10' by 2: a limit of 8 instead of 10"
    # a quarter of 24 USD against a fifth of 10 replicas: at equal weights the replicas are cheaper, at 0.7 to 1 not
    assert cheapest(cost=1, replicas=1) == "'replicas >= 10' by 2: a limit of 8 instead of 10"
    assert cheapest(cost=0.7, replicas=1) == "'cost <= 24 USD' by 6 USD: a limit of 30 USD instead of 24 USD"
    with pytest.raises(UnknownNameError):
        asked.ways_out({"price <= 1 USD": 1})
    with pytest.raises(InputError, match="not a weight"):
        cheapest(cost=-1, replicas=1)


def test_the_problems_own_constraints_are_named_where_the_users_are_not_to_blame() -> None:
    problem = fleet(5)
    problem.require("demand", problem.families["count"].total() >= 10)
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(problem, constraints=["cost <= 100 USD"])
    error = caught.value
    assert sorted(error.conflict) == ["demand", "room"]
    # ten replicas of one slot take 10; five slots hold five replicas
    assert {way.constraint: way.amount.value for way in error.relaxations} == {"room": 5, "demand": 5}
    assert "even without the constraints of the user" in str(error)


def test_a_truth_about_single_choices_gives_way_to_the_next_value() -> None:
    made = CoupledProblem("sizes")
    job, size = made.choose("job", ["a", "b"]), made.choose("size", [1, 2, 4, 8, 16])
    run = made.picks("run", [job, size], for_each=[job])
    made.measure("speed", run * size)
    made.measure("cost", run.total())
    made.default_objective = "min_cost"
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(made, constraints=["size <= 3", "speed >= 12"])
    # two jobs of 8 do it; one of 4 and one of 8 do too, so 8 is the least limit
    assert [str(way) for way in caught.value.relaxations] == [
        "'size <= 3' by 5: a limit of 8 instead of 3",
        "'speed >= 12' by 8: a limit of 4 instead of 12",
    ]


def test_a_pick_without_anything_to_pick_from_is_named() -> None:
    made = CoupledProblem("nothing")
    job, size = made.choose("job", ["a", "b"]), made.choose("size", [1, 2])
    run = made.picks("run", [job, size], for_each=[job])
    made.measure("cost", run * made.table("price", [job, size], [[1, 2], [float("nan")] * 2]))
    made.require("paid", run * made.table("price", [job, size], [[1, 2], [float("nan")] * 2]) <= 100)
    with pytest.raises(InfeasibleError, match="nothing to pick from"):
        mo.optimize(made, objective="min_cost")


def test_definitions_that_contradict_each_other_are_named_with_the_item() -> None:
    # each shop sells what is asked of it, and none more than it has: b is asked for 5 and has 3
    made = CoupledProblem("shops")
    shop = made.choose("shop", ["a", "b", "c"])
    sold = made.amounts("sold", [shop])
    asked, stock = made.table("asked", [shop], [1, 5, 2]), made.table("stock", [shop], [2, 3, 2])
    made.require("all is sold", sold >= asked, each=[shop], structural=True)
    made.require("there is stock", sold <= stock, each=[shop], structural=True)
    made.require("shops are small", sold <= 9, each=[shop])
    made.measure("cost", sold * 1)
    with pytest.raises(InfeasibleError, match="what defines it contradicts itself") as said:
        mo.optimize(made, objective="min_cost")
    assert set(said.value.conflict) == {"all is sold (shop=b)", "there is stock (shop=b)"}


def impossible_two_ways() -> CoupledProblem:
    """One of two sizes for each of three jobs: at least 3 x 2 USD, at least 3 x 1 MWh, and not both at once."""
    made = CoupledProblem("two ways")
    job, size = made.choose("job", ["a", "b", "c"]), made.choose("size", [1, 2])
    run = made.picks("run", [job, size], for_each=[job])
    made.measure("cost", run * made.table("price", [size], [2.0, 5.0], "USD"), unit="USD")
    made.measure("energy", run * made.table("need", [size], [3.0, 1.0], "MWh"), unit="MWh")
    made.default_objective = "min_cost"
    return made


def test_without_time_nothing_is_claimed_that_was_not_shown() -> None:
    limits = ["cost <= 8 USD", "energy <= 4 MWh", "size <= 2"]
    asked = task(impossible_two_ways(), constraints=limits)
    in_time = infeasible(asked, HighsBackend(), Options())
    assert in_time.conflict == tuple(limits[:2])
    assert [way.constraint for way in in_time.relaxations][:2] == limits[:2]
    late = infeasible(asked, HighsBackend(), Options(time_limit=0.0))
    assert set(late.conflict) >= set(in_time.conflict)
    assert "a limit was reached" in late.message
    assert late.relaxations == ()


def test_ctrl_c_ends_the_whole_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    solved: list[int] = []
    solve = HighsBackend.solve

    def pressed_in_the_first(self: HighsBackend, program: LinearProgram, options: Options) -> Found:
        solved.append(1)
        inner: list[bool] = []
        with noted_interrupts(inner):  # as every run of HiGHS does
            if len(solved) == 1:
                signal.raise_signal(signal.SIGINT)
        assert bool(inner) == (len(solved) == 1)
        return solve(self, program, options)

    monkeypatch.setattr(HighsBackend, "solve", pressed_in_the_first)
    asked = task(impossible_two_ways(), constraints=["cost <= 8 USD", "energy <= 4 MWh"])
    error = infeasible(asked, HighsBackend(), Options())
    assert len(solved) == 1
    assert "a limit was reached" in error.message


def test_why_there_is_no_plan_is_not_asked_without_explaining() -> None:
    asked = ["replicas >= 5", "cost <= 90 USD"]  # 4 slots hold 4 replicas, for 20 USD
    with pytest.raises(InfeasibleError, match="no fleet satisfies every constraint") as caught:
        mo.optimize(fleet(limit=4), constraints=asked, explain=False)
    assert not caught.value.conflict
    assert not caught.value.relaxations
    assert "explain=True" in (caught.value.hint or "")
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(fleet(limit=4), constraints=asked)
    assert list(caught.value.conflict) == ["replicas >= 5"]
