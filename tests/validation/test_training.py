"""Training rows: what a row means as a call of the model, and how far the model is from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.physics.training import DistributedModel
from mlsysim_opt.validation.entries import hardware_entry
from mlsysim_opt.validation.fleets import fleet_of
from mlsysim_opt.validation.predictors import predict, validate
from mlsysim_opt.validation.report import Prediction
from mlsysim_opt.validation.rows import Row, Unmodelled
from mlsysim_opt.validation.training import configuration, predict_training, setting

from .conftest import row


def arguments(changed: Row) -> dict[str, Any]:
    return setting(changed).calls[0][1]


# what a row means -----------------------------------------------------------------------------------------------------
def test_the_prediction_is_that_of_the_model_itself() -> None:
    solved = DistributedModel().solve(**arguments(row()))
    found = predict_training(row())
    assert found.value == solved.si("step_time")
    assert found.measured == 12.78
    assert sum(found.parts.values()) == pytest.approx(found.value, rel=1e-12)


def test_our_own_names_of_inputs_mean_the_same() -> None:
    ours = row(gpus=None, accelerators=8, global_batch=None, batch_size=128, tp=None, tp_size=2, cp=None, cp_size=1)
    theirs = row(tp=2, cp=1)
    assert predict_training(ours).value == predict_training(theirs).value


def test_a_stated_input_of_the_model_goes_before_what_the_framework_does() -> None:
    assert arguments(row(tp=2, cp=1))["tp_comm_overlap"] is True
    assert arguments(row(tp=2, cp=1, tp_comm_overlap=False))["tp_comm_overlap"] is False


@pytest.mark.parametrize(
    ("changed", "name", "value"),
    [
        ({"fsdp": "FULL_SHARD"}, "zero_stage", 3),
        ({"fsdp": "SHARD_GRAD_OP"}, "zero_stage", 2),
        ({"fsdp": 64}, "zero_stage", 3),
        ({"fsdp": 0}, "zero_stage", 1),
        ({"precision": "MXFP8"}, "precision", "fp8_zero"),
        ({"precision": "nvfp4"}, "precision", "fp4_zero"),
        ({"activation_ckpt": True}, "recomputation", "full"),
        ({"recomputation": "selective"}, "recomputation", "selective"),
        ({"pp": 2, "cp": 1}, "v_stages", 2),  # 16 layers a stage: the smallest number of chunks that interleaves
        ({"task": "LoRA rank 16 fine-tune"}, "is_lora", True),
    ],
)
def test_what_inputs_mean(changed: dict[str, Any], name: str, value: Any) -> None:
    hardware = {"hardware": "GB200", "gpus": 8} if "nvfp4" in str(changed) else {}
    assert arguments(row(**{**hardware, **changed}))[name] == value


def test_selective_by_operator_is_the_mean_of_none_and_full() -> None:
    mixed = setting(row(group="torchtitan", activation_recompute="selective (every 2nd layer op SAC)"))
    assert [(share, given["recomputation"]) for share, given in mixed.calls] == [(0.5, "none"), (0.5, "full")]
    assert mixed.note
    none, full = (predict_training(row(group="torchtitan", recomputation=how)).value for how in ("none", "full"))
    found = predict_training(row(group="torchtitan", recomputation="selective"))
    assert found.value == pytest.approx((none + full) / 2)


def test_a_split_that_is_not_stated_is_the_fastest_that_fits() -> None:
    open_ = row(group="mlperf-training", tp=None, pp=None, cp=None, micro_batch=None, model="Llama3_70B", gpus=64,
                global_batch=256, hardware="H200")  # fmt: skip
    found = setting(open_)
    best = DistributedModel().solve(**found.calls[0][1])
    assert best.constraints["memory fits"]
    assert "not stated" in found.note
    for tp, pp in ((8, 1), (4, 4), (8, 2)):  # others of the same family are no faster, or do not fit
        other = setting(row(group="mlperf-training", tp=tp, pp=pp, cp=1, model="Llama3_70B", gpus=64, global_batch=256,
                            hardware="H200"))  # fmt: skip
        solved = DistributedModel().solve(**other.calls[0][1])
        assert not solved.constraints["memory fits"] or solved.si("step_time") >= best.si("step_time") * (1 - 1e-9)


@pytest.mark.parametrize(
    ("measured", "seconds"),
    [
        # 128 sequences of 8,192 tokens on 8 accelerators: 131,072 tokens each
        ({"step_time_s": 10.0}, 10.0),
        ({"tokens_per_s_per_gpu": 13107.2}, 10.0),
    ],
)
def test_what_was_measured_becomes_a_step(measured: dict[str, float], seconds: float) -> None:
    assert configuration(row(measured)).measured == pytest.approx(seconds)


def test_a_rate_of_work_is_read_in_the_convention_of_its_source() -> None:
    # One accelerator, one sequence of Llama 3 8B. A layer: 4096 x (4096 + 2 x 1024 + 4096) + 3 x 4096 x 14336 =
    # 218,103,808 weights; 32 layers and head: 7,504,658,432. Attention 12 x 32 x 4096 x 8192 per token, not causal.
    one = row({"achieved_tflops_per_gpu": 400.0}, gpus=1, global_batch=1, cp=1)
    per_token = 6 * 7_504_658_432 + 12 * 32 * 4096 * 8192
    assert configuration(one).measured == pytest.approx(8192 * per_token / 400e12)
    share = row({"mfu_pct": 400.0 / 989.4 * 100}, gpus=1, global_batch=1, cp=1)
    assert configuration(share).measured == pytest.approx(8192 * per_token / 400e12, rel=1e-3)


def test_time_to_train_holds_the_evaluations_of_mlperf() -> None:
    # 288 steps of 2,048 sequences of 2,048 tokens in 49.795 minutes: 10.374 s each, of which an evaluation of 5,760
    # sequences, forward only, after every 24,576 takes 5,760 / 24,576 / 3 = 7.8 percent of a step.
    trained = {"time_to_train_min": 49.795, "samples_or_tokens_trained": 288 * 2048 * 2048}
    long = row(trained, "mlperf-training", model="GPT3", gpus=512, tp=4, pp=8, cp=1, micro_batch=2, global_batch=2048,
               seq_len=2048, precision="fp8 hybrid", task="pretrain (MLPerf)")  # fmt: skip
    case = configuration(long)
    assert case.measured == pytest.approx(49.795 * 60 / 288)
    assert sum(weight for weight, _ in case.calls) == pytest.approx(1 + 5760 / 24576 / 3)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"global_batch": None}, "global_batch not stated"),
        ({"precision": "posit8"}, "precision 'posit8' is not known"),
        ({"tp": "not stated"}, "tp not stated as a number"),
        ({"tp": 3}, "does not divide the accelerators"),
        ({"global_batch": 7}, "replicas do not divide"),
        ({"micro_batch": 5}, "microbatches"),
        ({"gpus": 12}, "whole nodes"),
        ({"model": "no-such-model"}, "neither in the catalog"),
        ({"hardware": "Coral"}, "Coral"),
    ],
)
def test_a_row_that_cannot_be_described_says_why(changed: dict[str, Any], said: str) -> None:
    (found,) = predict(row(**changed))
    assert isinstance(found.answer, Unmodelled)
    assert said in found.answer.reason


def test_whole_runs_are_not_passed_off_as_steps() -> None:
    (found,) = predict(row(group="full-run"))
    assert isinstance(found.answer, Unmodelled)
    assert "downtime" in found.answer.reason


def test_nothing_measured_is_no_prediction() -> None:
    (found,) = predict(row({"loss": 2.0}))
    assert isinstance(found.answer, Unmodelled)
    assert found.answer.reason == "no step time"


@given(
    st.dictionaries(
        st.sampled_from(["gpus", "tp", "pp", "cp", "ep", "global_batch", "micro_batch", "precision", "fsdp", "hardware",
                         "model", "seq_len", "vp", "activation_recompute", "inter_node", "slices"]),
        st.one_of(st.none(), st.integers(-3, 64), st.floats(allow_nan=True), st.text(max_size=8), st.booleans(),
                  st.lists(st.integers(), max_size=2)),
        max_size=4,
    )
)  # fmt: skip
def test_a_damaged_row_is_a_reason_never_a_crash(changes: dict[str, Any]) -> None:
    for outcome in predict(row(**changes)):
        assert isinstance(outcome.answer, Unmodelled) or outcome.answer.value > 0


# fleets ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "gbit"),
    [
        ("8x HDR IB 200 Gb/s per node (Selene)", 200),
        ("4x Omni-Path 100 Gb/s per node", 50),  # 400 Gb/s for eight accelerators
        ("400 Gb/s RDMA per GPU", 400),
        ("DGX-H100 8x NDR400", 400),
        ("MosaicML platform, not stated", 400),  # H100: NDR
    ],
)
def test_a_stated_network_is_read(text: str, gbit: float) -> None:
    fleet = fleet_of(row(inter_node=text, gpus=64), 64)
    assert fleet.fabric.parameter("bandwidth").si == pytest.approx(gbit * 1e9 / 8)


def test_racks_are_domains_of_which_powers_of_two_use_64() -> None:
    assert fleet_of(row(hardware="gb200"), 256).node.scale_up.domain_size == 64
    assert fleet_of(row(hardware="gb200"), 144).node.scale_up.domain_size == 72
    assert hardware_entry("gb300", Path()).generation == "blackwell_ultra"


def test_slices_of_tpus_are_tori_joined_by_the_datacenter_network() -> None:
    fleet = fleet_of(row(hardware="tpu-v5e", slices=2), 512)
    assert fleet.node.accelerators_per_node == 256
    assert fleet.node_count == 2


# how far off ----------------------------------------------------------------------------------------------------------
def test_the_projects_own_table_stands_alone(root: Path) -> None:
    """Acceptance: mean error at most 12 percent, at least 85 percent of the rows modelled."""
    found = validate(root / "benchmarks/validation/training.yaml")
    overall = found.overall
    assert overall.rows >= 50
    assert overall.modelled >= 0.85 * overall.rows
    assert overall.mean_ape is not None
    assert overall.mean_ape <= 0.12
    assert overall.bias is not None
    assert abs(overall.bias) <= 0.05


def test_one_constant_for_each_device_would_do_worse(root: Path) -> None:
    """The trivial rival: one MFU per accelerator and format, fitted on the very rows (the median of each)."""
    found = [item for item in validate(root / "benchmarks/validation/training.yaml").outcomes if item.scored]
    work: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for item in found:
        case = configuration(item.row)
        solved = DistributedModel().solve(**case.calls[0][1])
        ideal = solved.si("mfu") * solved.si("step_time")  # the step at a utilization of one
        key = (case.calls[0][1]["fleet"].node.accelerator.name, case.precision)
        work.setdefault(key, []).append((ideal, case.measured))
    rival = []
    for pairs in work.values():
        mfu = statistics.median(ideal / measured for ideal, measured in pairs)
        rival += [abs(ideal / mfu / measured - 1) for ideal, measured in pairs]
    ours = [abs(item.answer.error) for item in found if isinstance(item.answer, Prediction)]
    assert statistics.fmean(ours) < 0.75 * statistics.fmean(rival)


def test_the_bulk_collection(collection: Callable[[str], Path]) -> None:
    found = validate(collection("training.yaml"))
    unflagged = [item for item in found.outcomes if not item.row.flags]
    modelled = [item for item in unflagged if isinstance(item.answer, Prediction)]
    assert len(modelled) >= 0.85 * len(unflagged)
    assert found.overall.mean_ape is not None
    assert found.overall.mean_ape <= 0.12
