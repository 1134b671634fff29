"""The inverse of any model: what it returns gives the target, and nothing that gives it is left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mlsysim_opt import solve_for
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import symbols
from mlsysim_opt.errors import DimensionError, InputError, MlsysimError, NotInvertibleError, UnknownNameError
from mlsysim_opt.physics import (
    CheckpointModel,
    DistributedModel,
    ReliabilityModel,
    ScalingModel,
    ServingCapacityModel,
    ServingModel,
    SustainabilityModel,
    TailLatencyModel,
    TrainingMemoryModel,
)
from mlsysim_opt.physics.inputs import check_all
from mlsysim_opt.registry import default_catalog

BANDWIDTH = "hardware.memory.bandwidth"
ASKED: dict[str, Any] = {
    "using": ServingModel,
    "model": "Llama3_70B",
    "hardware": "H200",
    "seq_len": 4096,
    "tp_size": 2,
}


def serve(**given: Any) -> Any:
    return ServingModel().solve(**{name: value for name, value in {**ASKED, **given}.items() if name != "using"})


def test_the_answer_put_into_the_model_gives_the_target() -> None:
    found = solve_for("itl", "20 ms", unknown=BANDWIDTH, **ASKED)
    assert found.result().si("itl") == pytest.approx(0.020, rel=1e-9)
    assert found.complete
    assert found.residual < 1e-9
    assert not found.violated
    device = default_catalog().find("accelerator", "H200")
    faster = device.replacing("memory.bandwidth", device.parameter("memory.bandwidth").changed(found.value, "test"))
    assert serve(hardware=faster).si("itl") == pytest.approx(0.020, rel=1e-9)


def test_at_most_and_at_least_are_regions() -> None:
    enough = solve_for("itl <= 20 ms", unknown=BANDWIDTH, **ASKED)
    short = solve_for("itl", ">= 20 ms", unknown=BANDWIDTH, **ASKED)
    assert enough.region[0].high == math.inf
    assert short.region[0].high == pytest.approx(enough.region[0].low)
    assert str(enough).startswith(f"{BANDWIDTH} at least 5.349")
    # What holds for any bandwidth that serves at all has no boundary to report but the end of the box.
    always = solve_for("itl <= 1 h", unknown=BANDWIDTH, box=("1 TB/s", "9 TB/s"), **ASKED)
    assert tuple(always.region[0]) == (1e12, 9e12)
    assert always.complete
    assert always.method == "holds everywhere"


def test_a_whole_unknown_is_given_with_the_neighbour_that_fails() -> None:
    most = solve_for("itl <= 60 ms", unknown="batch_size", **ASKED)
    assert serve(batch_size=int(most.value)).si("itl") <= 0.060 < serve(batch_size=int(most.value) + 1).si("itl")
    assert most.fails_at == (int(most.value) + 1,)
    assert "memory fits" in most.violated  # 112 requests of 4,096 tokens: the target is met, the memory is not
    longest = solve_for("ttft <= 500 ms", unknown="seq_len", **{k: v for k, v in ASKED.items() if k != "seq_len"})
    edge = int(longest.region[0].high)
    assert serve(seq_len=edge).si("ttft") <= 0.5 < serve(seq_len=edge + 1).si("ttft")


def test_whole_numbers_that_others_follow_from_are_all_asked_about() -> None:
    # Tensor parallelism over 8 of a node leaves as many replicas as nodes, which have to divide 1,024 sequences.
    job = {"using": DistributedModel, "model": "Llama3_8B", "fleet": "Research_256", "tp_size": 8, "seq_len": 4096}
    found = solve_for("step_time <= 20 s", unknown="fleet.size", batch_size=1024, **job)
    assert found.unknown == "fleet.node_count"
    assert all(1024 % int(nodes) == 0 for nodes in found.values)
    assert found.result().si("step_time") <= 20


def test_the_catalog_is_asked_which_entries_meet_it() -> None:
    found = solve_for("itl <= 20 ms", unknown=BANDWIDTH, **ASKED)
    fitting = {entry.name: output for entry, output in found.matching()}
    assert "B200" in fitting
    assert "H100" not in fitting
    for name, output in fitting.items():
        assert serve(hardware=name).si("itl") == pytest.approx(output)
        assert output <= 0.020 * (1 + 1e-9)
    with pytest.raises(InputError, match="batch_size is no number of an entry"):
        solve_for("itl <= 60 ms", unknown="batch_size", **ASKED).matching()


@pytest.mark.parametrize(
    ("target", "unknown", "error", "message"),
    [
        ("itl <= 30 GB", BANDWIDTH, DimensionError, "30 GB is byte, but s is expected"),
        ("itl <= 0.1 ms", BANDWIDTH, NotInvertibleError, "no hardware.memory.bandwidth makes itl <= 100 us"),
        ("itl = 1 us", BANDWIDTH, NotInvertibleError, "between 0 byte/s and +inf gives itl the value 1 us"),
        ("itl = 60 ms", "batch_size", NotInvertibleError, "no whole batch_size from 1 up gives itl = 60 ms"),
        ("itl = 60 ms", "hardware.memory.bandwith", UnknownNameError, "did you mean 'hardware.memory.bandwidth'"),
        ("kv_cache_size = 40 GB", BANDWIDTH, NotInvertibleError, "kv_cache_size does not depend on"),
        ("decode_bottleneck = 3", BANDWIDTH, InputError, "is a label, not a number"),
        ("latency = 60 ms", BANDWIDTH, UnknownNameError, "unknown output of ServingModel 'latency'"),
        ("itl", BANDWIDTH, InputError, "not of the form output = value"),
        ("itl = 60 ms", "model", InputError, "model is the unknown, and given"),
    ],
)
def test_bad_questions(target: str, unknown: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        solve_for(target, unknown=unknown, **ASKED)
    assert message in str(caught.value)


def test_a_box_that_ends_between_two_whole_numbers() -> None:
    found = solve_for("itl <= 60 ms", unknown="batch_size", box=(0, 1.5), **ASKED)
    assert tuple(found.region[0]) == (1, 1)
    assert str(found).startswith("batch_size = 1 ")


def test_bad_boxes() -> None:
    with pytest.raises(InputError, match="is not below the upper bound"):
        solve_for("itl = 20 ms", unknown=BANDWIDTH, box=("5 TB/s", "4 TB/s"), **ASKED)
    with pytest.raises(NotInvertibleError, match="attainable is"):
        solve_for("itl = 20 ms", unknown=BANDWIDTH, box=("1 TB/s", "2 TB/s"), **ASKED)
    with pytest.raises(DimensionError):
        solve_for("itl = 20 ms", unknown=BANDWIDTH, box=("1 s", "2 s"), **ASKED)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"target": None, "value": "20 ms"}, "target: expected the name of an output, got NoneType"),
        ({"unknown": 5}, "unknown: expected the name of a number, got int"),
        ({"box": ("1 TB/s",)}, "box: expected a lowest and a highest value"),
        ({"box": "1 TB/s"}, "box: expected a lowest and a highest value"),
        ({"target": "itl", "value": []}, "value: is an axis without values"),
        ({"hardware": []}, "hardware: is an axis without values"),
        ({"unknown": "x" * 5000}, "unknown number that the output depends on 'xxx"),
        ({"box": ("5 TB/s", "4 TB/s")}, "the lower bound 5 TB/s is not below the upper bound 4 TB/s"),
        ({"target": "itl <= 0 s"}, "attainable is 5.7"),
    ],
)
def test_what_is_no_question_is_named(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(MlsysimError) as caught:
        solve_for(**{"target": "itl = 20 ms", "unknown": BANDWIDTH, **ASKED, **asked})
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1000


# limits where other inputs follow from the unknown, or are refused ---------------------------------------------------
POOL = {"model": "Llama3_8B", "hardware": "H100", "target_p99_latency_ms": "20 s"}


def held(found: Any, x: float) -> bool:
    return any(span.low <= x <= span.high for span in found.region)


@pytest.mark.parametrize(("target", "limit"), [("utilization", 0.5), ("required_replicas", 3)])
def test_a_limit_holds_where_the_model_says_so(target: str, limit: float) -> None:
    # Replicas follow from the load, so the utilization falls whenever there is one more.
    found = solve_for(f"{target} <= {limit}", unknown="qps", using=ServingCapacityModel, **POOL)
    assert not found.complete
    loads = [0.1, 5.0, 8.5, 8.7, 10.8, 10.9, 17.0, 17.5, 21.5, 22.0, 25.5, 26.5, 32.0, 33.0, 60.0]
    for load in loads:
        output = getattr(ServingCapacityModel().solve(qps=f"{load} 1/s", **POOL), target)
        assert held(found, load) is (output <= limit), load


def test_a_limit_ends_where_the_model_refuses_the_number() -> None:
    # A loss at or below that of an endless model is refused: 1.8172 nats per token.
    found = solve_for("optimal_parameters >= 1e9", unknown="target_loss", using=ScalingModel)
    assert found.region[0].low == pytest.approx(1.8172, rel=1e-9)
    assert ScalingModel().solve(target_loss=found.region[0].high).optimal_parameters == pytest.approx(1e9, rel=1e-9)
    assert not held(found, found.region[0].high * 1.01)


def test_what_others_follow_from_is_asked_alone_over_axes() -> None:
    given = {"using": ServingCapacityModel, "unknown": "qps", **POOL}
    found = solve_for("utilization", ["0.5", "0.8"], **given)
    assert not found.proven
    for load, wanted in zip(found.si.tolist(), (0.5, 0.8), strict=True):
        again = ServingCapacityModel().solve(qps=f"{load!r} 1/s", **POOL)
        assert again.utilization == pytest.approx(wanted, rel=1e-9)


def test_what_follows_but_plays_no_part_leaves_the_proof() -> None:
    # The step of a full replica does not change with how many replicas there are.
    wanted = ServingCapacityModel().solve(qps="40 1/s", **POOL)
    found = solve_for("decode_step", wanted.decode_step, unknown=BANDWIDTH, using=ServingCapacityModel,
                      qps="40 1/s", **POOL)  # fmt: skip
    assert found.complete
    assert found.value == pytest.approx(default_catalog().find("accelerator", "H100").parameter("memory.bandwidth").si)


@pytest.mark.parametrize("given", [{"qps": "4 1/s"}, {"qps": "40 1/s"}, {"qps": "4e3 1/s", "tp_size": 2}])
def test_only_what_is_declared_is_derived(given: dict[str, Any]) -> None:
    model = ServingCapacityModel()
    checked = check_all(model.inputs, {**POOL, **given}, model.aliases, "test")
    prepared = model.prepare(dict(checked))
    assert {name for name in prepared if prepared[name] is not checked[name]} == model.derived


# ranges -----------------------------------------------------------------------------------------------------------
INTERVAL: dict[str, Any] = {"using": ReliabilityModel, "unknown": "checkpoint_interval",
                            "fleet": "Meta_Llama3_16K_H100", "job_duration_days": 54}  # fmt: skip
PEAK: dict[str, Any] = {"using": ServingModel, "unknown": "hardware.compute.peak.fp8", **ServingModel.example}
SIZE: dict[str, Any] = {"using": ScalingModel, "unknown": "target_model_size", "compute_budget": "5.76e23 FLOP"}


@pytest.mark.parametrize(
    ("target", "given", "reach"),
    [
        # By hand: 0.97342 (t / M) / (e^((t + 60 s) / M) - 1) with M = 11,136 s is 0.97342 x 0.10031 / 0.11148 at its
        # best interval, t = 1,117 s.
        ("goodput = 0.99", INTERVAL, "attainable is 0 to 0.875838"),
        ("goodput = 0.88", INTERVAL, "attainable is 0 to 0.875838"),
        ("goodput = -0.88", INTERVAL, "attainable is 0 to 0.875838"),
        ("goodput >= 0.88", INTERVAL, "attainable is 0 to 0.875838"),
        ("loss = 1.9", SIZE, "attainable is 1.97444 to infinity"),
        ("loss <= 1", SIZE, "attainable is 1.97444 to infinity"),
        ("decode_mfu = 0.5", PEAK, "attainable is 0 to 0.270665"),
        ("decode_mfu = -0.02", PEAK, "attainable is 0 to 0.270665"),
    ],
)
def test_the_attainable_range_is_the_true_one(target: str, given: dict[str, Any], reach: str) -> None:
    with pytest.raises(NotInvertibleError) as caught:
        solve_for(target, **given)
    assert caught.value.hint == reach


def test_the_ends_of_a_range_are_attained() -> None:
    best = solve_for("goodput = 0.8758378", **INTERVAL)
    assert len(best.values) == 2  # beside the best interval
    assert solve_for("loss = 1.974442", **SIZE).complete


@pytest.mark.parametrize("target", ["mfu_penalty <= 0", "mfu_penalty = 0"])
def test_a_penalty_that_only_fades_is_never_zero(target: str) -> None:
    given = {"using": CheckpointModel, "model": "Llama3_70B", "hardware": "H100", "filesystem_bandwidth": "100 GB/s"}
    with pytest.raises(NotInvertibleError, match="attainable is 0 to 1, 0 only in the limit"):
        solve_for(target, unknown="checkpoint_interval", **given)
    always = solve_for("mfu_penalty >= 0", unknown="checkpoint_interval", **given)
    assert str(always) == "checkpoint_interval any value (holds everywhere)"


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (("-1 TB/s", "2 TB/s"), "box: -1 TB/s is below 0 byte/s, the least that hardware.memory.bandwidth can be"),
        (("1 TB/s", "-2 TB/s"), "box: -2 TB/s is below 0 byte/s"),
    ],
)
def test_a_box_of_what_cannot_be_is_refused(box: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve_for("itl = 20 ms", unknown=BANDWIDTH, box=box, **ASKED)
    with pytest.raises(InputError, match=message):
        solve_for("itl", ["20 ms", "30 ms"], unknown=BANDWIDTH, box=box, **ASKED)


def test_a_limit_beyond_the_numbers_that_are_asked_about_first_is_found() -> None:
    # Eight replicas share the batch, and 2,048 numbers are looked at before multiples of eight are.
    job: dict[str, Any] = {name: item for name, item in DistributedModel.example.items() if name != "batch_size"}
    found = solve_for("step_time <= 200 s", unknown="batch_size", using=DistributedModel, **job)
    last = int(found.region[-1].high)
    assert last > 2048
    assert DistributedModel().solve(batch_size=last, **job).si("step_time") <= 200
    assert DistributedModel().solve(batch_size=last + 8, **job).si("step_time") > 200
    assert found.notes == ("above 2,048 only multiples of 8 were looked at",)
    assert not found.complete


def test_where_a_search_ends_is_no_boundary() -> None:
    job: dict[str, Any] = {name: item for name, item in DistributedModel.example.items() if name != "batch_size"}
    cut = solve_for("step_time <= 200 h", unknown="batch_size", using=DistributedModel, **job)
    assert "is where the search ends, not where the target is missed: a box looks farther" in str(cut)
    wide = solve_for("throughput >= 100 token/s", unknown="tp_size", **{**ASKED, "tp_size": None})
    assert "131,072 is where the search ends" in str(wide)
    boxed = solve_for("throughput >= 1 token/s", unknown="tp_size", box=(1, 64), **{**ASKED, "tp_size": None})
    assert str(boxed).startswith("tp_size anything from 1 to 64 ")
    assert not boxed.notes


def test_where_nothing_can_be_computed_is_no_boundary() -> None:
    given: dict[str, Any] = {"unknown": "qps", "using": ServingCapacityModel, **POOL}
    few = solve_for("required_replicas <= 10", **given)
    many = solve_for("required_replicas >= 10", **given)
    assert len(few.region) == 1
    assert few.region[0].high == pytest.approx(109, rel=1e-2)  # ten replicas of 10.9 requests per second
    assert not few.notes
    assert len(many.region) == 1
    assert "it cannot be computed: erlang_c of" in str(many)
    with pytest.raises(NotInvertibleError, match="where it was looked at, required_replicas is 1 to "):
        solve_for("required_replicas <= 0", **given)


# over axes ------------------------------------------------------------------------------------------------------------
def alone(found: Any, **given: Any) -> int:
    """Compare every point with the question asked alone; return how many have an answer."""
    answers = 0
    for row in found.rows():
        point = {name: value for name, value in row.items() if name != found.unknown}
        goal = point.pop(found.target, None)
        wanted = {"target": found.target, "value": goal} if goal is not None else {}
        try:
            single = solve_for(unknown=found.unknown, **{**given, **wanted, **point})
        except NotInvertibleError:
            assert math.isnan(row[found.unknown])
            continue
        assert row[found.unknown] == pytest.approx(single.value, rel=1e-8)
        answers += 1
    return answers


def test_models_by_targets_by_devices_in_one_call() -> None:
    given: dict[str, Any] = {"using": ServingModel, "seq_len": 4096}
    found = solve_for(
        "itl", ["2 ms", "20 ms", "50 ms"], unknown=BANDWIDTH, model=["Llama3_8B", "Llama3_70B", "Mixtral_8x7B"],
        hardware=["H100", "B200"], tp_size=[1, 4], **given,
    )  # fmt: skip
    assert found.si.shape == (3, 3, 2, 2)
    found.axes["itl"] = ("2 ms", "20 ms", "50 ms")
    assert 0 < alone(found, **given) < 36  # overheads alone take 2 ms
    assert found.methods["bracketed root"] == int(np.isfinite(found.si).sum())
    assert found.quantity.to("byte/s").magnitude[0, 0, 0, 0] == pytest.approx(found.si[0, 0, 0, 0])


def test_a_formula_is_evaluated_over_a_million_points() -> None:
    job: dict[str, Any] = {"using": SustainabilityModel, "fleet": "Lab_64_H100", "pue": 1.2}
    days = [1 + step / 100 for step in range(1000)]
    goals = [f"{1000 + step} kgCO2e" for step in range(1000)]
    found = solve_for("carbon_footprint_kg", goals, unknown="carbon_intensity", duration_days=days, **job)
    assert found.methods == {"closed form": 1_000_000}
    # Carbon is energy times intensity, and energy is proportional to the days.
    assert found.si[:, 100] * 2 == pytest.approx(found.si[:, 0])
    assert found.si[1, 0] / found.si[0, 0] == pytest.approx(1001 / 1000)


def test_what_is_not_proven_for_all_points_is_asked_alone() -> None:
    given: dict[str, Any] = {"using": TailLatencyModel, "service_latency": "10 ms", "num_replicas": 4}
    found = solve_for("p99_latency", "50 ms", unknown="service_time_cv", arrival_rate=["150 1/s", "250 1/s"], **given)
    assert found.methods == {"each alone": 2}
    for rate, cv in zip(("150 1/s", "250 1/s"), found.si, strict=True):
        again = TailLatencyModel().solve(service_latency="10 ms", num_replicas=4, arrival_rate=rate, service_time_cv=cv)
        assert again.si("p99_latency") == pytest.approx(0.050, rel=1e-9)


def test_what_is_proven_of_fewer_points_is_answered_for_them_at_once() -> None:
    # Over the box of all lengths bounds cannot tell that the prompt only falls with FLOP/s; over those of few they can.
    given: dict[str, Any] = {"using": ServingModel, "model": "Llama3_8B", "hardware": "H100", "batch_size": [1, 3, 16]}
    lengths = list(range(256, 1256, 7))
    found = solve_for("ttft", "2 s", unknown="hardware.compute.peak.fp16", seq_len=lengths, **given)
    assert found.methods == {"bracketed root": 3 * len(lengths)}
    some = solve_for("ttft", "2 s", unknown="hardware.compute.peak.fp16", seq_len=lengths[::48], **given)
    assert found.axes["seq_len"][::48] == some.axes["seq_len"]
    assert alone(some, target="ttft", value="2 s", **given) == 9
    at = [list(found.axes).index(name) for name in ("seq_len", "batch_size")]
    assert found.si.transpose(at)[::48] == pytest.approx(some.si.transpose(at), rel=1e-12)


@pytest.mark.parametrize(
    ("target", "values", "unknown"),
    [
        ("itl", ["<= 20 ms", "<= 40 ms", "<= 1 us"], "batch_size"),  # rises: the last that meets it
        ("throughput", [">= 500 token/s", ">= 2000 token/s"], "batch_size"),
        ("ttft", ["<= 500 ms", "<= 2 s"], "seq_len"),
        ("itl", ["<= 20 ms", "<= 40 ms"], "tp_size"),  # not proven: every number is looked at
        ("model_weights_size", ["<= 30 GB", "<= 90 GB"], "model.layers"),
    ],
)
def test_whole_numbers_over_axes(target: str, values: list[str], unknown: str) -> None:
    given = {**ASKED, "hardware": ["H100", "B200"], "tp_size": [1, 2]}
    given.pop(unknown, None)
    for value in values:
        found = solve_for(target, value, unknown=unknown, **given) if value != "<= 1 us" else None
        for row in found.rows() if found is not None else ():
            point = {name: item for name, item in row.items() if name != unknown}
            try:
                single = solve_for(target, value, unknown=unknown, **{**given, **point})
            except NotInvertibleError:
                assert math.isnan(row[unknown])
                continue
            assert row[unknown] == single.value


def test_axes_have_clear_errors() -> None:
    with pytest.raises(NotInvertibleError, match="no point has an answer"):
        solve_for("itl", ["1 us", "2 us"], unknown=BANDWIDTH, **ASKED)


def test_a_whole_number_from_which_nothing_follows_is_proven_over_all_it_can_be() -> None:
    # Inputs of the training model follow from each other, but none from the length of a sequence.
    job: dict[str, Any] = {"model": "Llama3_8B", "batch_size": 1, "hardware": "H100"}
    wanted = TrainingMemoryModel().solve(**job, seq_len=8192)
    found = solve_for("activations", wanted.activations, unknown="seq_len", using=TrainingMemoryModel, **job)
    assert tuple(found.region[0]) == (8192, 8192)
    assert found.complete
    assert found.fails_at == (8191, 8193)


def test_a_number_that_others_follow_from_is_confirmed_by_the_model() -> None:
    # How many replicas hold the P99 follows from the load: the same utilization is met with one replica, two, three.
    job = {"model": "Llama3_8B", "hardware": "H100", "target_p99_latency_ms": "20 s"}
    wanted = ServingCapacityModel().solve(qps="42 1/s", **job)
    found = solve_for("utilization", wanted.utilization, unknown="qps", using=ServingCapacityModel, **job)
    assert any(x == pytest.approx(42, rel=1e-9) for x in found.values)
    assert len(found.values) > 1
    assert not found.complete
    replicas = {ServingCapacityModel().solve(qps=f"{x!r} 1/s", **job).required_replicas for x in found.values[:4]}
    assert len(replicas) > 1
    for x in found.values[:4]:
        again = ServingCapacityModel().solve(qps=f"{x!r} 1/s", **job)
        assert again.utilization == pytest.approx(wanted.utilization, rel=1e-9)


def test_a_number_of_the_server_that_a_split_uses() -> None:
    found = solve_for("itl", "25 ms", unknown="hardware.node.scale_up.bandwidth", **ASKED)
    assert found.residual < 1e-9
    assert not found.violated  # the model cannot be asked about a number that is no part of what was given


def test_the_equation_that_was_solved_depends_on_the_unknown_alone() -> None:
    given: dict[str, Any] = {"model": "Llama3_70B", "hardware": "H200", "tp_size": 2, "seq_len": 4096}
    found = solve_for("itl", "30 ms", unknown="hardware.memory.bandwidth", using=ServingModel, **given)
    assert found.formula is None  # it stands in several operators, each with a roof of its own
    assert [leaf.name for leaf in symbols(found.equation)] == ["hardware.memory.bandwidth"]
    assert evaluate(found.equation, {"hardware.memory.bandwidth": found.value}) == pytest.approx(0.030, rel=1e-12)
    assert found.as_dict()["equation"] == str(found.equation)
