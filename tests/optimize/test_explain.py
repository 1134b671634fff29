"""Ways out of infeasibility: every one is tried, and a little less of it is not enough."""

from __future__ import annotations

from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.errors import InfeasibleError

LARGE: dict[str, Any] = {"model": "Llama3_405B", "fleet": "One_DGX_H100", "global_batch_size": 64, "seq_len": 8192}


def asked(**changes: Any) -> Any:
    return mo.optimize("parallelism", explain=False, **{**LARGE, **changes})


def ways(**changes: Any) -> dict[str, Any]:
    with pytest.raises(InfeasibleError) as caught:
        asked(**changes)
    assert caught.value.conflict
    return {item.constraint: item for item in caught.value.relaxations}


def test_a_large_model_on_one_node_says_how_many_nodes_it_takes() -> None:
    found = ways()
    nodes = int(found["nodes"].amount.value)
    assert asked(nodes=nodes).status == "optimal"
    for fewer in (nodes - 1, nodes // 2):
        with pytest.raises(InfeasibleError):
            asked(nodes=fewer)


def test_a_limit_of_the_user_gives_way_by_the_amount_named_and_no_less() -> None:
    given = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 128}
    found = ways(**given, constraints=["step_time <= 1 ms"])
    (way,) = (item for item in found.values() if item.constraint == "step_time <= 1 ms")
    more = way.amount.quantity.to("ms").magnitude
    assert asked(**given, constraints=[f"step_time <= {1 + more * (1 + 1e-9)!r} ms"]).status == "optimal"
    assert ways(**given, constraints=[f"step_time <= {1 + more * 0.99!r} ms"])


def test_two_limits_that_fight_are_both_named() -> None:
    given = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 128}
    both = ["memory <= 4 GiB", "step_time <= 3 s", "pp_size >= 1"]
    for one in both[:2]:
        assert asked(**given, constraints=[one, both[2]]).status == "optimal"
    with pytest.raises(InfeasibleError) as caught:
        asked(**given, constraints=both)
    assert set(caught.value.conflict) == set(both[:2])


def test_a_split_that_no_number_of_devices_allows_is_a_structural_conflict() -> None:
    with pytest.raises(InfeasibleError) as caught:
        asked(choices={"tp_size": 2, "pp_size": 2, "cp_size": 1, "dp_size": 4})
    assert caught.value.conflict == ("tp x pp x dp x cp = devices",)


def test_why_not_says_what_rejects_a_design_and_by_how_much() -> None:
    best = mo.optimize("parallelism", model="Llama3_70B", fleet="Lab_64_H100", global_batch_size=128, seq_len=4096)
    other = best.why_not(tp_size=1, pp_size=1, zero_stage=0)
    assert not other.possible
    assert other.conflict == ("memory fits",)
    (item,) = other.rejected_by
    assert item.amount.quantity.to("GiB").magnitude > 0
    assert best.why_not(**best.design).best.worse_by == 0
    assert best.why_not(tp_size=best.design["tp_size"]).best.objective == best.objective
