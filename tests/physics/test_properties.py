"""What must hold for every model on every fleet, whatever the split."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mlsysim_opt.physics import DistributedModel
from mlsysim_opt.registry import Models, Systems
from mlsysim_opt.registry.types import Transformer

MODELS = [entry.name for entry in Models.all() if isinstance(entry, Transformer)]
FLEETS = [entry.name for entry in Systems.Clusters.all()]
PARTS = ("compute_time", "tp_time", "ep_time", "cp_time", "pp_time", "bubble_time", "dp_time", "optimizer_time",
         "straggler_time")  # fmt: skip
MEMORY = ("weights", "gradients", "optimizer_state", "activations", "logits", "buffers")
BETTER = {
    "fleet.node.accelerator.compute.peak.{}": "peak", "fleet.node.accelerator.memory.bandwidth": "memory bandwidth",
    "fleet.node.scale_up.bandwidth": "links in the node", "fleet.fabric.bandwidth": "links between nodes",
}  # fmt: skip
reusing = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def sixteen_bits(fleet: Any) -> str:
    """The 16-bit format that the accelerators of a fleet have a rate for."""
    return "fp16" if "fp16" in fleet.accelerator.precisions else "bf16"


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    """A job that is split validly, whether or not it fits the memory."""
    model = Models[draw(st.sampled_from(MODELS))]
    fleet = Systems.Clusters[draw(st.sampled_from(FLEETS))]
    devices = fleet.accelerators
    widths = [n for n in (1, 2, 4, 8) if devices % n == model.heads % n == model.kv_heads % n == 0]
    tp = draw(st.sampled_from(widths))
    pp = draw(st.sampled_from([n for n in (1, 2, 4, 8, 16) if devices % (n * tp) == 0 and n <= model.layers + 2]))
    cp = draw(st.sampled_from([n for n in (1, 2, 4) if devices % (n * tp * pp) == 0]))
    dp = devices // (tp * pp * cp)
    size = draw(st.sampled_from([1, 2]))
    count = draw(st.sampled_from([1, 2, 4])) * pp
    v = draw(st.sampled_from([n for n in (1, 2, 4) if n == 1 or (pp > 1 and n * pp <= model.layers + 2)]))
    sequence_parallel = tp > 1 and (model.moe is not None or draw(st.booleans()))
    ep = 1
    if model.moe is not None:
        ep = draw(st.sampled_from([n for n in (1, 2, 4, 8) if (tp * cp * dp) % n == 0 and model.moe.experts % n == 0]))
    return {
        "model": model, "fleet": fleet, "batch_size": dp * size * count, "microbatch_size": size, "tp_size": tp,
        "pp_size": pp, "cp_size": cp, "dp_size": dp, "ep_size": ep, "v_stages": v,
        "zero_stage": draw(st.integers(0, 3)), "seq_len": draw(st.sampled_from([512, 2048, 8192])),
        "recomputation": draw(st.sampled_from(["none", "selective", "full"])), "sequence_parallel": sequence_parallel,
        "overlap_comm": draw(st.booleans()), "tp_comm_overlap": draw(st.booleans()),
        "precision": sixteen_bits(fleet),
    }  # fmt: skip


def solve(job: dict[str, Any], **more: Any) -> Any:
    return DistributedModel().solve(**{**job, **more})


@given(jobs())
@reusing
def test_shares_are_shares_and_parts_are_parts(job: dict[str, Any]) -> None:
    result = solve(job)
    wrong = [name for name, ok in result.constraints.items() if not ok and name != "memory fits"]
    assert not wrong
    assert 0 < result.mfu <= result.hfu < 1
    assert 0 <= result.bubble_fraction < 1
    assert 0 < result.busy_fraction <= 1
    assert sum(result.si(part) for part in PARTS) == pytest.approx(result.si("step_time"), rel=1e-9)
    assert min(result.si(part) for part in PARTS) >= -1e-9 * result.si("step_time")
    assert sum(result.si(part) for part in MEMORY) == pytest.approx(result.si("total_memory"), rel=1e-9)
    assert min(result.si(part) for part in MEMORY) >= 0


@given(jobs(), st.sampled_from(sorted(BETTER)), st.floats(1.0, 8.0))
@reusing
def test_better_hardware_is_never_slower(
    changed: Callable[..., Any], job: dict[str, Any], leaf: str, factor: float
) -> None:
    leaf = leaf.format(job["precision"])
    assert changed({leaf: factor}, **job).si("step_time") <= solve(job).si("step_time") * (1 + 1e-9)


@given(jobs(), st.floats(1.0, 8.0))
@reusing
def test_more_memory_is_never_less_feasible(changed: Callable[..., Any], job: dict[str, Any], factor: float) -> None:
    more = changed({"fleet.node.accelerator.memory.capacity": factor}, **job)
    assert more.constraints["memory fits"] or not solve(job).constraints["memory fits"]
    assert more.si("step_time") == solve(job).si("step_time")


@given(jobs())
@reusing
def test_time_scales_with_work(job: dict[str, Any]) -> None:
    # Twice the microbatches cost at most twice the time, and more than once; throughput never falls.
    once, twice = solve(job), solve(job, batch_size=2 * job["batch_size"])
    assert once.si("step_time") < twice.si("step_time") <= 2 * once.si("step_time") * (1 + 1e-9)
    assert twice.mfu >= once.mfu * (1 - 1e-9)


@given(jobs())
@reusing
def test_recomputation_trades_time_for_memory(job: dict[str, Any]) -> None:
    none, full = solve(job, recomputation="none"), solve(job, recomputation="full")
    assert full.mfu <= none.mfu * (1 + 1e-12)  # equal: the last stage, of the head alone, may set the pace
    # the layer at work is held beside the stored inputs, so one in flight of one layer alone gains nothing
    assume(job["microbatch_size"] * int(job["model"].layers) // job["pp_size"] >= 4)
    assert full.si("activations") < none.si("activations")


@given(jobs())
@reusing
def test_overlap_is_never_slower(job: dict[str, Any]) -> None:
    assert solve(job, overlap_comm=True).si("step_time") <= solve(job, overlap_comm=False).si("step_time") * (1 + 1e-9)


@given(jobs())
@reusing
def test_sharding_more_never_takes_more_memory(job: dict[str, Any]) -> None:
    taken = [solve(job, zero_stage=stage).si("total_memory") for stage in range(4)]
    assert all(after <= before * (1 + 1e-9) for before, after in itertools.pairwise(taken))


@pytest.mark.parametrize("model", MODELS)
def test_every_model_on_every_fleet(model: str) -> None:
    for fleet in Systems.Clusters.all():
        job = {"model": model, "fleet": fleet, "batch_size": fleet.accelerators, "zero_stage": 1}
        result = solve({**job, "precision": sixteen_bits(fleet)})
        assert 0 < result.mfu < 1, fleet.name
        assert result.si("step_time") > 0, fleet.name
