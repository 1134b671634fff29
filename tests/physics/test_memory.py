"""Memory of a training rank, worked by hand and against published formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlsysim_opt.algebra.expression import expression
from mlsysim_opt.errors import InputError, UnsupportedPrecisionError
from mlsysim_opt.physics import DistributedModel, TrainingMemoryModel
from mlsysim_opt.physics.training_memory import TrainingMemory
from mlsysim_opt.registry import Numerics

GIB = 2**30
KORTHIKANTI = {"22B": "Megatron_22B", "175B": "Megatron_175B", "530B": "Megatron_530B", "1T": "Megatron_1T"}


def solve(**given: Any) -> Any:
    return TrainingMemoryModel().solve(**{"hardware": "A100", "precision": "bf16", **given})


@pytest.mark.parametrize(("p", "v", "m"), [(8, 1, 64), (8, 3, 64), (35, 3, 280), (4, 6, 8)])
def test_first_stage_holds_l_times_1_plus_p_minus_1_over_pv(bench: Any, p: int, v: int, m: int) -> None:
    # Korthikanti et al. 2022, Section 4.2.3: the first stage holds L layers' activations under 1F1B, and
    # L (1 + (p - 1)/(p v)) interleaved; L layers on p stages of v chunks.
    layers = {8: 96, 35: 105, 4: 96}[p]
    name = {96: "Megatron_175B", 105: "Megatron_530B"}[layers]
    rank = bench(name, pp=p, v_stages=v, global_batch_size=m, microbatch_size=1)
    memory = TrainingMemory(rank.job)
    held = rank(memory._in_flight(rank.job.pp, rank.job.first_layers))
    expected = layers if v == 1 else layers * (1 + (p - 1) / (p * v))
    assert held == pytest.approx(expected, rel=1e-12)


def test_last_stage_holds_one_microbatch(bench: Any) -> None:
    rank = bench("Megatron_175B", pp=8, global_batch_size=64)
    memory = TrainingMemory(rank.job)
    assert rank(memory._in_flight(expression(1), rank.job.last_layers)) == 12


def test_never_more_in_flight_than_there_are_microbatches() -> None:
    few = solve(model="Megatron_22B", batch_size=2, microbatch_size=1, pp_size=8)
    many = solve(model="Megatron_22B", batch_size=8, microbatch_size=1, pp_size=8)
    assert few.si("activations") == pytest.approx(many.si("activations") * 2 / 8, rel=0.01)


@pytest.mark.parametrize(("recipe", "total"), [("bf16", 18), ("fp16", 20), ("bf16_zero", 16), ("fp32", 16)])
def test_bytes_per_parameter(recipe: str, total: int) -> None:
    result = solve(model="Llama2_7B", hardware="H200", batch_size=1, precision=recipe)
    states = sum(result.si(part) for part in ("weights", "gradients", "optimizer_state"))
    assert states == total * 6_738_415_616 - total * 4096  # the last norm stands in no stage of ours


def test_zero_stages_by_hand(bench: Any) -> None:
    # Rajbhandari et al. 2020: 7.5 B parameters on 64 ranks, 2 + 2 + 12 bytes: 120 GB; stage 1: 30 + 90/64 = 31.4;
    # stage 2: 15 + 105/64 = 16.6; stage 3: 120/64 = 1.88 GB
    for stage, expected in ((0, 120.0), (1, 31.40625), (2, 16.640625), (3, 1.875)):
        rank = bench("GPT3_6_7B", "bf16_zero", dp=64, zero_stage=stage)
        states = TrainingMemory(rank.job).states(expression(7_500_000_000), expression(0), expression(0))
        assert sum(rank(part) for part in states) == expected * 1e9


def test_gathered_weights_and_travelling_gradients_are_held(bench: Any) -> None:
    # What ZeRO 3 splits is whole for a while: two layers with overlap, and embedding and head, of 7.5 B parameters
    rank = bench("Llama3_8B", "bf16_zero", dp=64, zero_stage=3, overlap=True)
    first, _, _ = TrainingMemory(rank.job).stages
    layer, ends = 218_112_000, 2 * 128_256 * 4096
    split = (8_030_261_248 - 4096) / 64
    assert rank(first.weights) == pytest.approx(2 * (split + 2 * layer + ends), rel=1e-12)


def test_nothing_is_gathered_on_one_rank() -> None:
    whole = solve(model="Llama2_7B", hardware="H200", batch_size=1, zero_stage=0)
    alone = solve(model="Llama2_7B", hardware="H200", batch_size=1, zero_stage=3)
    for part in ("weights", "gradients", "optimizer_state"):
        assert alone.si(part) == whole.si(part)


@pytest.mark.parametrize("sharded", [1, 2, 3])
def test_zero_never_takes_more(sharded: int) -> None:
    given = {"model": "Llama3_70B", "batch_size": 64, "dp_size": 64, "microbatch_size": 1, "recomputation": "full"}
    assert solve(**given, zero_stage=sharded).si("total_memory") < solve(**given, zero_stage=0).si("total_memory")


def test_parts_add_up() -> None:
    result = solve(model="DeepSeek_V3", batch_size=512, dp_size=32, tp_size=2, pp_size=4, ep_size=8, microbatch_size=1,
                   sequence_parallel=True)  # fmt: skip
    parts = ("weights", "gradients", "optimizer_state", "activations", "logits", "buffers")
    assert sum(result.si(part) for part in parts) == pytest.approx(result.si("total_memory"), rel=1e-12)


# the traps of other tools ---------------------------------------------------------------------------------------------
def test_trap_expert_parallelism_splits_experts_only() -> None:
    # Mixtral 8x7B: 45.1 B of its parameters are routed experts (8 x 3 x 4096 x 14336 x 32), 1.6 B are not
    one = solve(model="Mixtral_8x7B", batch_size=8, dp_size=8)
    eight = solve(model="Mixtral_8x7B", batch_size=8, dp_size=8, ep_size=8)
    routed = 8 * 3 * 4096 * 14336 * 32
    assert one.si("weights") - eight.si("weights") == pytest.approx(2 * routed * 7 / 8, rel=1e-12)


def test_trap_in_flight_microbatches_are_counted() -> None:
    # one stage of four holds a quarter of the layers for four microbatches: as much as all layers for one
    alone = solve(model="Megatron_22B", batch_size=8, microbatch_size=1)
    four = solve(model="Megatron_22B", batch_size=8, microbatch_size=1, pp_size=4)
    assert four.si("activations") == pytest.approx(alone.si("activations"), rel=0.01)


def test_trap_logits_and_embeddings_take_memory() -> None:
    # Llama 3 8B, 8192 tokens: 8192 x 128256 x (4 + 2) bytes of logits
    result = solve(model="Llama3_8B", batch_size=1, seq_len=8192)
    assert result.si("logits") == 8192 * 128256 * 6


def test_trap_gradients_are_kept_in_the_recipe_s_format() -> None:
    result = solve(model="Llama2_7B", batch_size=1)
    assert result.si("gradients") == 2 * result.si("weights")  # 4 bytes beside 2


def test_trap_fp8_weights_are_not_one_byte() -> None:
    assert solve(model="Llama2_7B", hardware="H100", batch_size=1, precision="fp8").si("weights") == pytest.approx(
        2 * 6_738_415_616, rel=1e-5
    )


def test_trap_full_recomputation_needs_a_working_layer() -> None:
    # 32 inputs of layers, and one layer whole
    full = solve(model="Llama2_7B", batch_size=1, seq_len=4096, recomputation="full").si("activations")
    none = solve(model="Llama2_7B", batch_size=1, seq_len=4096).si("activations")
    inputs = 32 * 4096 * 4096 * 2
    assert full == pytest.approx(inputs + none / 32, rel=1e-12)


def test_trap_context_parallelism_splits_activations() -> None:
    one = solve(model="Llama2_7B", batch_size=2, seq_len=4096, dp_size=2)
    two = solve(model="Llama2_7B", batch_size=2, seq_len=4096, dp_size=1, cp_size=2, microbatch_size=1)
    assert two.si("activations") == pytest.approx(one.si("activations") / 2, rel=1e-12)


def test_trap_a_reserve_is_kept() -> None:
    free = solve(model="Llama2_7B", batch_size=1)
    reserved = solve(model="Llama2_7B", batch_size=1, memory_reserve="10 GiB")
    assert free.si("available_memory") - reserved.si("available_memory") == 10 * GIB


def test_trap_dropped_samples_are_an_error() -> None:
    with pytest.raises(InputError, match="does not divide"):
        DistributedModel().solve(model="Llama2_7B", fleet="Lab_64_H100", batch_size=100)


def test_trap_a_missing_rate_is_an_error() -> None:
    with pytest.raises(UnsupportedPrecisionError):
        DistributedModel().solve(model="Llama2_7B", fleet="Lab_64_A100", batch_size=64, precision="fp8")


def test_infeasible_memory_says_so() -> None:
    # 70 B parameters of 18 bytes on one accelerator: 1.2 TB
    result = DistributedModel().solve(model="Llama2_70B", fleet="One_DGX_H100", batch_size=8, precision="bf16")
    assert not result.feasible
    assert not result.constraints["memory fits"]
    assert result.si("total_memory") > 1.2e12


# published formulas ---------------------------------------------------------------------------------------------------
def _switches(inputs: Any) -> dict[str, Any]:
    how = str(inputs["activation_recompute"])
    kind = "selective" if "selective" in how else "full" if how == "full" else "none"
    return {"sequence_parallel": inputs["sequence_parallel"], "recomputation": kind, "fused_attention": False,
            "dropout": True}  # fmt: skip


def test_figure_1_of_korthikanti(validation: Callable[[str], Any], bench: Any) -> None:
    rows = [row for row in validation("training_memory.yaml")["rows"] if row["group"] == "korthikanti-fig1"]
    assert rows
    for row in rows:
        inputs, name = row["inputs"], KORTHIKANTI[row["inputs"]["model"].split("-")[1]]
        split = {"tp_size": inputs["tp"], "pp_size": inputs["pp"], "v_stages": inputs["vp"]}
        result = solve(model=name, batch_size=inputs["pp"] * 8, microbatch_size=inputs["micro_batch"], **split,
                       **_switches(inputs))  # fmt: skip
        assert result.si("activations") / GIB == pytest.approx(row["measured"]["activations_gib"], rel=0.005), row["id"]
        # the figure counts 12 L h^2 weights of 18 bytes; embeddings, norms and biases come on top of it in ours
        rank = bench(name, tp=inputs["tp"])
        weights = rank.job.shapes.attention_parameters + rank.job.shapes.ffn_parameters
        states = rank(weights) * int(rank.entry.layers) / inputs["pp"] * 18 / GIB
        assert states == pytest.approx(row["measured"]["params_opt_gib"], rel=0.005), row["id"]
        ours = sum(result.si(part) for part in ("weights", "gradients", "optimizer_state")) / GIB
        assert states <= ours <= 1.12 * states


def test_figure_7_of_korthikanti(validation: Callable[[str], Any], bench: Any) -> None:
    rows = [row for row in validation("training_memory.yaml")["rows"] if row["group"] == "korthikanti-fig7"]
    assert rows
    for row in rows:
        inputs, name = row["inputs"], KORTHIKANTI[row["inputs"]["model"].split("-")[1]]
        given = {"tp": inputs["tp"], "microbatch_size": inputs["micro_batch"], "dropout": True,
                 "unfused_attention": True}  # fmt: skip
        how = _switches(inputs)
        base, rank = bench(name, **given), bench(
            name, **given, sequence_parallel=how["sequence_parallel"], selective=how["recomputation"] == "selective",
            full=how["recomputation"] == "full",
        )  # fmt: skip
        share = rank(TrainingMemory(rank.job).stored_per_layer) / base(TrainingMemory(base.job).stored_per_layer)
        # their baseline also holds the dropout mask of the embedding, one byte of 21 a layer on the deepest pipelines
        assert 100 * share == pytest.approx(row["measured"]["activation_pct_of_baseline"], rel=0.0125), row["id"]


def test_zero_states_of_the_validation_set(validation: Callable[[str], Any], bench: Any) -> None:
    rows = [row for row in validation("training_memory.yaml")["rows"] if row["group"] == "zero-model-states"]
    assert rows
    for row in rows:
        inputs = row["inputs"]
        rank = bench("GPT3_6_7B", "bf16_zero", dp=inputs["dp"], zero_stage=inputs["zero_stage"])
        states = TrainingMemory(rank.job).states(expression(int(inputs["params"])), expression(0), expression(0))
        total = sum(rank(part) for part in states)
        assert total / 1e9 == pytest.approx(row["measured"]["model_states_gb"], rel=0.005)


def test_recipes_are_all_usable() -> None:
    for recipe in Numerics:
        assert solve(model="Llama2_7B", hardware="H200", batch_size=1, precision=recipe.name).si("total_memory") > 0
