"""How far a sensitivity holds: every statement about another value of a number is checked by evaluating there."""

from __future__ import annotations

import inspect
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt import physics
from mlsysim_opt.algebra.atoms import maximum, minimum
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import labels_of
from mlsysim_opt.algebra.regimes import BRANCH, Regimes
from mlsysim_opt.errors import FileError, InputError, LibraryMissingError, UnknownNameError
from mlsysim_opt.physics import DistributedModel, ServingModel, SingleNodeModel, TailLatencyModel, TransformationModel
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.solvers import SensitivitySolver
from mlsysim_opt.solvers.changes import Changes, limited_by, sides
from mlsysim_opt.solvers.point import Point, number_outputs

ALL = [
    kind
    for name in physics.__all__
    if inspect.isclass(kind := getattr(physics, name)) and issubclass(kind, Model)
]  # fmt: skip
DECODE = {"using": ServingModel, "output": "itl", "precision": "fp8", "seq_len": 1024}


def solve(*args: Any, **given: Any) -> Any:
    return SensitivitySolver().solve(*(args or ("Llama3_70B", "H200")), **given)


class RooflineResult(Result):
    time: Any
    cost: Any


class Roofline(Model):
    """Work and traffic at two rates, the slower one counts; a fee up to a limit."""

    inputs = (
        Number("work"), Number("rate"), Number("traffic"), Number("bandwidth"),
        Number("fee", default=1.0), Number("share", default=0.95, high=1.0),
    )  # fmt: skip

    def equations(self, **leaves: Any) -> RooflineResult:
        time = maximum(leaves["work"] / leaves["rate"], leaves["traffic"] / leaves["bandwidth"])
        return RooflineResult(
            time=time,
            cost=time * leaves["share"] + minimum(leaves["fee"], 3),
            constraints={"in time": time <= 4, "cheap": leaves["fee"] * 2 < 5},
        )


ROOF = {"using": Roofline, "output": "time", "work": 8.0, "rate": 2.0, "traffic": 6.0, "bandwidth": 2.0}


def roofline(**given: Any) -> Any:
    return SensitivitySolver().solve(**{**ROOF, **given})


# exactness --------------------------------------------------------------------------------------------------------
@settings(max_examples=120)
@given(data=st.data())
def test_elasticities_of_every_model_are_central_differences(data: st.DataObject) -> None:
    """Around the example of each model: any output, any continuous number, at a random point near it."""
    kind = data.draw(st.sampled_from([item for item in ALL if item.__name__ != "ResponsibleEngineeringModel"]))
    model = kind()
    values = model.check(**kind.example)
    output = data.draw(st.sampled_from(number_outputs(model.trace(values).expressions)))
    point = Point(model, values, output)
    assume(point.leaves and point.base)
    for name, leaf in point.leaves.items():
        scaled = point.named[name] * data.draw(st.floats(0.85, 1.15))
        point.named[name] = min(max(scaled, leaf.low), leaf.high * 0.999)
    name = data.draw(st.sampled_from(list(point.leaves)))
    step = 1e-5
    nearby = Regimes(point.root).edges(point.named, [point.leaves[name]], reach=1 + 2 * step)
    assume(not any(BRANCH in found for found in nearby.values()))
    base, above, below = point.value({}), point.value({name: 1 + step}), point.value({name: 1 - step})
    assume(base and math.isfinite(base))
    by_difference = (above - below) / (2 * step * base)
    exact = point.elasticities()[name]
    assert exact is not None
    assert exact == pytest.approx(by_difference, rel=2e-6, abs=2e-6)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_elasticity_of_every_example(kind: type[Model]) -> None:
    """All outputs and all numbers; at a kink, the central difference is the mean of both one-sided elasticities."""
    model = kind()
    values = model.check(**kind.example)
    for output in number_outputs(model.trace(values).expressions):
        point = Point(model, values, output)
        if not point.base:
            continue
        kinked = Regimes(point.root).kinks(point.named, list(point.leaves.values()))
        both = sides(point, dict.fromkeys(kinked, ""))
        for name, exact in point.elasticities().items():
            assert exact is not None
            below, above = both.get(name, (exact, exact))
            by_difference = (point.value({name: 1 + 1e-6}) - point.value({name: 1 - 1e-6})) / (2e-6 * point.base)
            # at the kink of a queue the slope above changes with the square root of the distance: 1e-3 at 1e-6
            near = 3e-3 if name in kinked else 1e-5
            assert (below + above) / 2 == pytest.approx(by_difference, rel=near, abs=1e-6), (output, name)


@pytest.mark.parametrize("output", ["noise_multiplier", "private_data_factor", "gaussian_mu", "epsilon"])
def test_elasticities_of_privacy_are_central_differences(output: str) -> None:
    model = physics.ResponsibleEngineeringModel()
    values = model.check(**model.example)
    point = Point(model, values, output)
    for name, exact in point.elasticities().items():
        by_difference = (point.value({name: 1 + 1e-5}) - point.value({name: 1 - 1e-5})) / (2e-5 * point.base)
        assert exact == pytest.approx(by_difference, rel=1e-4, abs=1e-5), name


def test_trap_fixed_service_times_have_elasticities() -> None:
    # requests of one length: the means of the exponential parts of the service are zero, and nothing is undefined
    model = physics.ServingCapacityModel()
    point = Point(model, model.check(**model.example), "estimated_p99_latency")
    found = point.elasticities()
    assert None not in found.values()
    for name in ("hardware.memory.bandwidth", "hardware.compute.peak.fp16", "qps"):
        by_difference = (point.value({name: 1 + 1e-5}) - point.value({name: 1 - 1e-5})) / (2e-5 * point.base)
        assert found[name] == pytest.approx(by_difference, abs=1e-6)
        assert found[name] != 0


def test_a_roofline_by_hand() -> None:
    # 8/2 = 4 s of work against 6/2 = 3 s of traffic: work binds. Rate x 4/3: 3 s, from there traffic binds.
    found = roofline()
    assert found.elasticities == {"work": 1.0, "rate": -1.0}
    assert found.change("rate") == pytest.approx(1 / 1.1 - 1)
    assert found.change("rate", 100) == pytest.approx(3 / 4 - 1)  # not 1/2: traffic takes over on the way
    rate = found.numbers["rate"]
    assert rate.holds_between == (0, pytest.approx(4 / 3, rel=1e-14))
    (kink,) = [item for item in rate.regimes if item.kind == "kink"]
    assert kink.elasticity == 0
    assert kink.jump == 0
    assert kink.regime == "traffic / bandwidth takes over from work / rate"
    bandwidth = found.numbers["bandwidth"]
    assert bandwidth.elasticity == 0
    assert bandwidth.holds_between == (pytest.approx(3 / 4, rel=1e-14), math.inf)
    assert bandwidth.regimes[0].elasticity == pytest.approx(-1)


def test_at_a_kink_there_are_two_elasticities() -> None:
    # 8/2 = 4 and 8/2 = 4: more rate brings nothing, less costs in proportion
    found = roofline(traffic=8.0)
    for name, below, above in (("rate", -1, 0), ("bandwidth", -1, 0), ("work", 0, 1), ("traffic", 0, 1)):
        number = found.numbers[name]
        assert (number.below, number.above) == (pytest.approx(below), pytest.approx(above)), name
        assert number.kink is not None
    assert found.numbers["rate"].up == 0
    assert found.numbers["rate"].down == pytest.approx(1 / 0.9 - 1)
    assert "here: traffic / bandwidth takes over from work / rate" in str(found)


def test_the_kink_of_a_queue_at_exponential_service() -> None:
    # at one server the time is exponential: one-sided differences by evaluation, on both sides of cv = 1
    given_ = {**TailLatencyModel.example, "num_replicas": 1}
    found = SensitivitySolver().solve(using=TailLatencyModel, output="p99_latency", **given_)
    number = found.numbers["service_time_cv"]
    model, base = TailLatencyModel(), TailLatencyModel().solve(**given_).si("p99_latency")
    for side, factor in ((number.above, 1 + 1e-6), (number.below, 1 - 1e-6)):
        there = model.solve(**given_, service_time_cv=factor).si("p99_latency")
        assert side == pytest.approx((there / base - 1) / (factor - 1), abs=2e-3)
    assert number.above - number.below > 0.05


# regimes ----------------------------------------------------------------------------------------------------------
def test_the_next_limit_is_named() -> None:
    found = solve(**DECODE, batch_size=64)
    assert found.limits == {"decode_bottleneck": "Memory"}
    change = next(item for item in found.numbers["hardware.memory.bandwidth"].regimes if item.kind == "limit")
    assert change.regime == "decode compute-bound"
    assert change.factor > 1
    assert "decode compute-bound beyond" in str(change)
    assert found.limits == {"decode_bottleneck": found._point.traced.read("decode_bottleneck", 1)}


@pytest.mark.parametrize(
    ("using", "output"),
    [(ServingModel, "itl"), (ServingModel, "ttft"), (SingleNodeModel, "latency"), (DistributedModel, "step_time"),
     (physics.ContinuousBatchingModel, "itl"), (physics.WeightStreamingModel, "step_time"),
     (physics.TransformationModel, "transform_time"), (physics.CompressionModel, "compressed_latency"),
     (physics.TopologyModel, "effective_bw"), (physics.OrchestrationModel, "avg_wait_time_days")],
)  # fmt: skip
def test_labels_and_constraints_change_where_it_is_said(using: type[Model], output: str) -> None:
    """By the scalar path: just inside everything is as now, just beyond the named label or constraint is another."""
    found = SensitivitySolver().solve(using=using, output=output, **using.example)
    point = found._point
    rules = point.traced.result.constraints
    labels = {name: point.traced.expressions[name] for name in found.limits}
    for change in found.regimes:
        inside, beyond = (1 - 1e-9, 1 + 1e-9) if change.factor > 1 else (1 + 1e-9, 1 - 1e-9)
        there = [point.scaled({change.number: change.factor * side}) for side in (inside, beyond)]
        if change.kind == "constraint":
            truths = [ScalarProgram(list(rules.values())).run_named(item) for item in there]
            flipped = [name for name, a, b in zip(rules, *truths, strict=True) if a != b]
            assert any(repr(name) in change.regime for name in flipped), change
        elif change.kind == "limit":
            said = [ScalarProgram(list(labels.values())).run_named(item) for item in there]
            now = [labels_of(node).index(found.limits[name]) for name, node in labels.items()]
            changed = [
                limited_by(name, labels_of(node)[int(after)])
                for (name, node), first, before, after in zip(labels.items(), now, *said, strict=True)
                if before != after and before == first
            ]
            assert change.regime in changed, change


@pytest.mark.parametrize("kind", [physics.CheckpointModel, physics.ContinuousBatchingModel, SingleNodeModel])
def test_a_kink_is_one_that_the_output_feels(kind: type[Model]) -> None:
    """Branches that change without effect (one more writer where the file system is the limit) are passed over."""
    model = kind()
    values = model.check(**kind.example)
    for output in number_outputs(model.trace(values).expressions):
        point = Point(model, values, output)
        if not point.base:
            continue
        for found in Changes(point).all().values():
            for change in found:
                if change.kind == "kink":
                    inside = change.factor * (1 - 1e-9 if change.factor > 1 else 1 + 1e-9)
                    slope = point.elasticities({change.number: inside})[change.number]
                    assert change.jump or abs(slope - change.elasticity) > 1e-9, change


def test_whole_numbers_jump() -> None:
    # 40,000 samples at 850 a worker are 47.06 workers: 48. At 40,000 / 47 = 851.06 a worker they are 47, 2.1 % fewer;
    # at 40,000 / 48 = 833.3 still 48, and 49 below.
    found = SensitivitySolver().solve(
        using=TransformationModel, output="required_workers", batch_size=40_000, num_workers=64,
        cpu_throughput_per_worker_hz=850,
    )  # fmt: skip
    number = found.numbers["cpu_throughput_per_worker_hz"]
    assert number.elasticity == 0
    up, down = (next(item for item in number.regimes if (item.factor > 1) is up) for up in (True, False))
    assert up.factor == pytest.approx(40_000 / 47 / 850, rel=1e-14)
    assert up.jump == pytest.approx(47 / 48 - 1)
    assert up.regime == "required_workers becomes 47"
    assert down.factor == pytest.approx(40_000 / 48 / 850, rel=1e-14)
    assert down.jump == pytest.approx(49 / 48 - 1)
    assert number.up == pytest.approx(43 / 48 - 1)  # 40,000 / 935 = 42.8


# what binds -------------------------------------------------------------------------------------------------------
def test_constraints_have_their_slack() -> None:
    found = roofline(fee=2.0)  # 4 s of 4 s, and 4 of 5
    assert found.constraints["in time"].slack == 0
    assert found.constraints["in time"].holds
    assert found.constraints["cheap"].slack == pytest.approx(1)
    assert found.constraints["cheap"].relative == pytest.approx(0.2)
    assert found.tightest.name == "in time"
    assert found.ways_out == ()


def test_an_infeasible_point_says_what_must_change_first() -> None:
    # 10/2 = 5 s where 4 are allowed: the rate has to be 2.5
    found = roofline(work=10.0)
    assert not found.feasible
    assert [item.name for item in found.violated] == ["in time"]
    ways = {way.number: way for way in found.ways_out}
    assert set(ways) == {"work", "rate"}  # traffic and its bandwidth do not bind
    assert ways["rate"].needed == pytest.approx(2.5, rel=1e-11)
    assert ways["work"].factor == pytest.approx(0.8, rel=1e-11)
    assert "'in time' first" in found.note
    assert "instead of" in found.note
    assert found.elasticities["rate"] == -1  # those of the equations without the limit


def test_every_way_out_works_and_less_of_it_does_not() -> None:
    found = solve("Llama3_70B", "H100", **{**DECODE, "seq_len": 8192}, batch_size=64)
    assert {way.number for way in found.ways_out} >= {"hardware.memory.capacity", "batch_size", "seq_len"}
    holds = found._point.traced.result.constraints["memory fits"]
    for way in found.ways_out:
        leaf = found._point.named[way.number]
        step = math.copysign(1, way.factor - 1) if way.whole else leaf * (way.factor - 1) * 1e-6
        needed = leaf * way.factor
        for value, expected in ((needed, True), (needed - step, False)):
            assert ScalarProgram([holds]).run_named({**found._point.named, way.number: value})[0] == expected, way
    again = mo.ServingModel().solve("Llama3_70B", "H100", precision="fp8", seq_len=8192, batch_size=2)
    assert again.feasible
    assert not mo.ServingModel().solve("Llama3_70B", "H100", precision="fp8", seq_len=8192, batch_size=3).feasible


def test_memory_that_is_missing_is_named_with_the_capacity_that_would_do() -> None:
    found = solve("Llama3_70B", "A100")
    assert found.output == "latency_resident"
    assert "hardware.memory.capacity 131.4 GiB instead of 80 GiB" in found.note
    # 80 + 51.4 GiB
    assert found.ways_out[0].needed.to("GiB").magnitude == pytest.approx(80 + 51.4176, rel=1e-6)


# finite changes and showing ---------------------------------------------------------------------------------------
def test_changes_are_those_of_the_model_asked_again() -> None:
    found = solve(**DECODE, batch_size=64)
    base = mo.ServingModel().solve("Llama3_70B", "H200", precision="fp8", seq_len=1024, batch_size=64)
    reserve = mo.SensitivitySolver().solve(
        "Llama3_70B", "H200", **{**DECODE, "output": "total_memory_required"}, batch_size=64
    )
    more = mo.ServingModel().solve(
        "Llama3_70B", "H200", precision="fp8", seq_len=1024, batch_size=64, memory_reserve="2.2 GiB"
    )
    exact = more.si("total_memory_required") / base.si("total_memory_required") - 1
    assert reserve.change("memory_reserve") == pytest.approx(exact, rel=1e-9)
    assert found.change("memory_bandwidth") == found.changes["memory_bandwidth"]
    assert found.change("memory_bandwidth") == found.change("hardware.memory.bandwidth")
    assert found.change("memory_bandwidth") == pytest.approx(-0.0496, abs=1e-4)


def test_a_share_is_not_made_larger_than_one() -> None:
    number = roofline(output="cost").numbers["share"]  # 0.95 x 1.1 is more than everything
    assert number.up is None
    assert number.down == pytest.approx(-0.1 * 0.95 * 4 / (0.95 * 4 + 1))
    assert "-" in roofline(output="cost").tornado()


def test_the_tornado_is_sorted_by_swing() -> None:
    found = solve(**DECODE, batch_size=64)
    rows = found.swings()
    swings = [max(up or 0, down or 0, 0) - min(up or 0, down or 0, 0) for _, down, up in rows]
    assert swings == sorted(swings, reverse=True)
    text = found.tornado(most=3)
    assert [line.split()[0] for line in text.splitlines()[2:5]] == [row[0] for row in rows[:3]]
    assert "smaller ones are not shown" in text
    assert "█" in text
    plain = found.tornado("levers", plain=True)
    assert plain.isascii()
    assert "#" in plain
    with pytest.raises(UnknownNameError):
        found.tornado("knobs")


def test_a_result_reads_well_and_is_plain_data() -> None:
    found = solve(**DECODE, batch_size=64)
    text = str(found)
    for part in (
        "itl = ",
        "decode_bottleneck = Memory",
        "hardware.memory.bandwidth",
        "decode compute-bound",
        "memory fits",
    ):
        assert part in text
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert data["output"] == "itl"
    assert data["baseline"]["unit"] == "ms"
    assert data["numbers"]["hardware.memory.bandwidth"]["unit"] == "TB/s"
    again = pickle.loads(pickle.dumps(found))
    assert again.as_dict() == found.as_dict()


def test_a_tornado_can_be_drawn(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    found = roofline()
    for ending, head in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        path = found.plot_tornado(tmp_path / f"tornado{ending}", "numbers")
        assert path.read_bytes().startswith(head)
    with pytest.raises(InputError, match="known format"):
        found.plot_tornado(tmp_path / "tornado.xyz")
    with pytest.raises(FileError):
        found.plot_tornado(tmp_path / "no_such_folder" / "tornado.png")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(LibraryMissingError, match="matplotlib") as caught:
        found.plot_tornado(tmp_path / "tornado.png")
    assert "plots" in (caught.value.hint or "")


# every output -----------------------------------------------------------------------------------------------------
def test_every_output_of_every_model() -> None:
    solver = SensitivitySolver()
    table = solver.every_output(ServingModel, **ServingModel.example)
    assert table["available_memory"] == {"hardware.memory.capacity": 1.0}
    assert table["throughput"]["hardware.memory.bandwidth"] == pytest.approx(-table["itl"]["hardware.memory.bandwidth"])
    assert "is 0" in table.without["kv_transfer_time"]
    assert "itl" in str(table)
    with pytest.raises(UnknownNameError):
        table["kv_transfer_time"]


def test_an_infinite_output_says_when_it_is_finite_again() -> None:
    # 500 requests a second of 10 ms are 5 servers of 4: the queue grows until only 400 arrive
    found = SensitivitySolver().solve(
        using=TailLatencyModel, output="p99_latency", arrival_rate="500 1/s", service_latency="10 ms", num_replicas=4
    )
    assert not found.feasible
    assert "arrival_rate 400 1/s instead of 500 1/s (0.8x)" in found.note
    assert "until then p99_latency is inf" in found.note
    kinds = {item.kind: item for item in found.numbers["arrival_rate"].regimes}
    assert kinds["end"].regime == "p99_latency has a value"
    assert kinds["end"].factor == pytest.approx(0.8)
    assert found.numbers["arrival_rate"].up is None
    assert "no number moves p99_latency" in str(found)
    json.dumps(found.as_dict(), allow_nan=False)


# wrong questions --------------------------------------------------------------------------------------------------
def test_wrong_questions_are_answered_with_what_would_be_right() -> None:
    with pytest.raises(UnknownNameError, match="output of ServingModel 'itll'") as caught:
        solve(**{**DECODE, "output": "itll"})
    assert "itl" in (caught.value.hint or "")
    with pytest.raises(InputError, match="is a label, not a number"):
        solve(**{**DECODE, "output": "decode_bottleneck"})
    with pytest.raises(InputError, match="no relative changes"):
        solve(**{**DECODE, "output": "kv_transfer_time"})
    for wrong in ("ServingModel", int, 3, None):
        with pytest.raises(InputError, match="expected a model"):
            solve(using=wrong)
    with pytest.raises(UnknownNameError, match="argument of TailLatencyModel 'hardware'"):
        SensitivitySolver().solve(
            hardware="H100", using=TailLatencyModel, output="p99_latency", **TailLatencyModel.example
        )
    with pytest.raises(InputError, match="name of an output"):
        solve(**{**DECODE, "output": 3})
    with pytest.raises(InputError, match="'10' percent"):
        solve(**DECODE, perturbation_pct="10")
    found = solve(**DECODE)
    with pytest.raises(InputError, match="expected a path"):
        found.plot_tornado(3)
    with pytest.raises(UnknownNameError, match=r"hardware\.memory\.bandwith") as caught:
        found.change("hardware.memory.bandwith")
    assert "hardware.memory.bandwidth" in (caught.value.hint or "")
    with pytest.raises(InputError, match="no change"):
        found.change("memory_bandwidth", -100)
    with pytest.raises(InputError, match=r"optimize\(\)"):
        SensitivitySolver().of_optimum(ServingModel())
