"""Intervals beside distributions: for each sample bounds that nothing escapes, and quantiles between two values."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt import physics
from mlsysim_opt.errors import InputError
from mlsysim_opt.solvers.uncertain_question import UncertainQuestion
from mlsysim_opt.solvers.uncertain_values import boxes, sample

from .unsure import MODELS, Two, nearby, numbers

SERVING: dict[str, Any] = {"using": mo.ServingModel, **physics.ServingModel.example}
BANDWIDTH = "hardware.memory.bandwidth"
ROUNDING = 1e-12


# properties -----------------------------------------------------------------------------------------------------------
@given(st.data())
def test_no_fixed_point_of_the_intervals_escapes(data: st.DataObject) -> None:
    """Of any model: at any fixed values of the intervals, each sample is between its bounds, and so are quantiles and
    probabilities of constraints."""
    kind = data.draw(st.sampled_from(MODELS))
    every = numbers(kind)
    assume(len(every) > 1)
    names = data.draw(st.lists(st.sampled_from(every), min_size=2, max_size=3, unique=True))
    share = data.draw(st.sampled_from([0.01, 0.1, 0.3]))
    wide, drawn = names[: data.draw(st.integers(1, len(names) - 1))], names
    given_ = {**nearby(kind, drawn, share, False), **{
        name: item for name, item in nearby(kind, wide, share, True).items() if name in wide
    }}  # fmt: skip
    traced = kind().trace(kind().check(**kind.example))
    outputs = data.draw(st.lists(st.sampled_from(list(traced.expressions)), min_size=1, max_size=2, unique=True))
    try:
        question = UncertainQuestion(kind(), outputs, (), given_)
        question.box()
    except InputError as error:  # outside of what it may be, or other inputs follow from it
        assume("is not a" not in str(error) and "follow" not in str(error) and "not use" not in str(error))
        raise
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    points = rng.random((12, len(question.drawn)))
    try:
        found = boxes(question, points)
    except InputError as error:
        assume("do not divide" not in str(error) and "divide" not in str(error))
        raise
    for part in (0.0, float(rng.random()), 1.0):
        held = {item.name: _inside(item.law, part) for item in question.intervals}
        there = sample(question, points, held)
        for name in question.roots:
            _holds(name, question, found.values, there.values[name])


def _inside(law: Any, part: float) -> float:
    value = min(law.low + part * (law.high - law.low), law.high)
    return float(np.clip(round(value), law.low, law.high)) if law.integer else value


def _holds(name: str, question: UncertainQuestion, found: Any, values: Any) -> None:
    kind = question.roots[name].sort
    ok = ~np.isnan(values)
    if kind == "number":
        low, high = (row[ok] for row in found[name][:2])
        margin = ROUNDING * np.maximum(np.abs(values[ok]), 1e-300)
        with np.errstate(invalid="ignore"):
            assert ((low - margin <= values[ok]) | (low == values[ok])).all(), name
            assert ((values[ok] <= high + margin) | (high == values[ok])).all(), name
        for share in (0.05, 0.5, 0.95):
            if ok.all() and np.isfinite(found[name]).all():
                quantile = np.quantile(values, share)
                slack = ROUNDING * abs(quantile)
                assert np.quantile(low, share) - slack <= quantile <= np.quantile(high, share) + slack
    elif kind == "truth":
        always, maybe = found[name]
        assert (always[ok] <= values[ok]).all(), name
        assert (values[ok] <= maybe[ok]).all(), name
    else:
        for at, label in enumerate(question.labels[name]):
            always, maybe = found[name, label]
            assert (always[ok] <= (values[ok] == at)).all(), (name, label)
            assert ((values[ok] == at) <= maybe[ok]).all(), (name, label)


@pytest.mark.parametrize("output", ["itl", "ttft", "energy_per_token"])
def test_an_interval_of_no_width_is_a_known_number(output: str) -> None:
    # as distributions alone, sample by sample to the last digit
    drawn = {
        BANDWIDTH: mo.Normal("4.8 TB/s", "0.1 TB/s"),
        "calibration.memory_bandwidth_efficiency": "uniform(0.8, 0.9)",
    }
    point = {"memory_reserve": mo.Between("2 GiB", "2 GiB"), "efficiency": mo.Between(0.5, 0.5)}
    box = mo.uncertain(outputs=output, samples=300, **SERVING, **drawn, **point)
    alone = mo.uncertain(outputs=output, samples=300, **SERVING, **drawn, efficiency=0.5, memory_reserve="2 GiB")
    assert box.kind == "boxes"
    assert (box[output].low == box[output].high).all()
    assert (box[output].low == alone[output].values).all()
    assert [pair[0] for pair in box[output].quantiles.values()] == list(alone[output].quantiles.values())
    assert box[output].excess == 0
    assert {name: low for name, (low, high) in box.constraints.items() if low == high} == alone.constraints


@pytest.mark.parametrize("output", ["itl", "ttft"])
def test_distributions_of_no_width_leave_the_guaranteed_bounds(output: str) -> None:
    wide = {"efficiency": mo.Between(0.4, 0.6), "batch_size": mo.Between(1, 7)}
    box = mo.uncertain(outputs=output, samples=4, **SERVING | wide, **{BANDWIDTH: "uniform(4.8, 4.8 TB/s)"})[output]
    alone = mo.uncertain(outputs=output, **SERVING | wide)[output]
    for low, high in box.quantiles.values():
        assert low.to("s").magnitude == pytest.approx(alone.low.to("s").magnitude, rel=1e-5)
        assert high.to("s").magnitude == pytest.approx(alone.high.to("s").magnitude, rel=1e-5)


def test_what_was_found_is_attained() -> None:
    """Where bounds are as wide as what was found, each end is the answer of the model at some corner."""
    box = mo.uncertain(outputs="itl", samples=5, **SERVING, efficiency="0.4 .. 0.6", **{BANDWIDTH: "4.8 +- 0.1 TB/s"})
    assert box["itl"].excess == 0
    asked = {"efficiency": mo.Between(0.4, 0.6), BANDWIDTH: mo.Normal("4.8 TB/s", "0.1 TB/s")}
    question = UncertainQuestion(mo.ServingModel(), ["itl"], (), {**physics.ServingModel.example, **asked})
    points = np.random.default_rng(0).random((5, 1))
    for held, ends in ((0.6, box["itl"].low), (0.4, box["itl"].high)):
        assert (sample(question, points, {"efficiency": held}).values["itl"] == ends).all()


# by hand --------------------------------------------------------------------------------------------------------------
def test_boxes_by_hand() -> None:
    # a in 1..3, b 2 or 4 with even odds. 2a + b: 4 to 8 where b = 2, 6 to 10 where b = 4; the quarter quantile (of
    # many samples) is 4 to 8, the three quarter quantile 6 to 10, the mean 5 to 9.
    found = mo.uncertain(
        using=Two, outputs=["weighted", "share"], a="1 .. 3", b="discrete(2: 0.5, 4: 0.5)", quantiles=(0.25, 0.75),
        samples=4096, sampling="sobol",
        constraints=["weighted <= 8", "weighted <= 5", "weighted <= 3", "weighted >= 5 and weighted <= 9"],
    )  # fmt: skip
    box = found["weighted"]
    assert box.quantiles == {0.25: (pytest.approx(4), pytest.approx(8)), 0.75: (pytest.approx(6), pytest.approx(10))}
    assert box.mean == (pytest.approx(5, abs=1e-2), pytest.approx(9, abs=1e-2))
    # a / (a + b) rises with a: 1/3 to 3/5, and 1/5 to 3/7
    assert found["share"].quantiles[0.75] == (pytest.approx(1 / 3), pytest.approx(3 / 5))
    half = pytest.approx(0.5, abs=1e-3)
    assert found.constraints == {
        "a below b": (half, 1.0),  # a < 4 always holds, a < 2 holds somewhere
        "weighted <= 8": (half, 1.0),
        "weighted <= 5": (0.0, half),
        "weighted <= 3": (0.0, 0.0),
        "weighted >= 5 and weighted <= 9": (0.0, 1.0),
    }
    with pytest.raises(InputError, match="do not say how likely") as caught:
        found.probability("weighted <= 8")
    assert "between which bounds its probability lies" in str(caught.value)


def test_a_degree_that_may_be_one_beside_a_distribution() -> None:
    # the bounds of each sample are the least and the greatest over 1, 2, 3 and 4 ranks
    asked = {**physics.ServingModel.example, "tp_size": mo.Between(1, 4), BANDWIDTH: mo.Uniform("4 TB/s", "5 TB/s")}
    found = mo.uncertain(using=mo.ServingModel, outputs="itl", samples=20, **asked)["itl"]
    every = [
        mo.uncertain(using=mo.ServingModel, outputs="itl", samples=20, **{**asked, "tp_size": size})["itl"].values
        for size in (1, 2, 4)
    ]
    assert (found.low <= np.min(every, axis=0) * (1 + 1e-6)).all()
    assert list(found.high) == pytest.approx(list(np.max(every, axis=0)), rel=1e-6)


def test_labels_lie_between_two_shares() -> None:
    given_ = {**physics.ServingModel.example, "batch_size": mo.Between(16, 2048), "seq_len": 256, "output_len": 128,
              BANDWIDTH: mo.Uniform("2 TB/s", "8 TB/s")}  # fmt: skip
    found = mo.uncertain(using=mo.ServingModel, outputs="decode_bottleneck", samples=64, **given_)
    shares = found["decode_bottleneck"].shares
    assert shares["Memory"][0] < 1
    assert all(0 <= low <= high <= 1 for low, high in shares.values())
    assert sum(high for _, high in shares.values()) >= 1
    assert "Memory" in str(found)


# what follows from what -----------------------------------------------------------------------------------------------
def test_samples_checked_one_by_one_have_bounds_too() -> None:
    # microbatches follow from the batch, and a batch of 513 cannot be; the reserve of memory decides nothing else
    name = "fleet.node.accelerator.memory.bandwidth"
    asked = {**physics.DistributedModel.example, "batch_size": mo.Discrete({512: 3, 513: 1})}
    found = mo.uncertain(using=mo.DistributedModel, outputs="step_time", samples=80, **asked, **{name: "3 .. 3.4 TB/s"})
    (reason,) = found.excluded
    assert "do not divide a batch of 513" in reason
    assert found["step_time"].defined == 1
    alone = mo.uncertain(using=mo.DistributedModel, outputs="step_time", **physics.DistributedModel.example,
                         **{name: "3 .. 3.4 TB/s"})["step_time"]  # fmt: skip
    for low, high in found["step_time"].quantiles.values():
        assert low.to("s").magnitude == pytest.approx(alone.low.to("s").magnitude, rel=1e-6)
        assert high.to("s").magnitude == pytest.approx(alone.high.to("s").magnitude, rel=1e-6)
    assert "cannot be" in str(found)


def test_an_interval_that_others_follow_from_is_named() -> None:
    asked = {**physics.DistributedModel.example, "batch_size": mo.Between(512, 1024)}
    with pytest.raises(InputError, match="follow from batch_size, so that no bounds hold") as caught:
        mo.uncertain(using=mo.DistributedModel, outputs="step_time", **asked, memory_reserve="uniform(1, 2 GiB)")
    assert "mo.Uniform" in (caught.value.hint or "")


# what matters ---------------------------------------------------------------------------------------------------------
def test_each_kind_is_ranked_among_its_own() -> None:
    # 2a + b with a in 1..3 and b normal with sd 1: the bounds are 4 apart at every sample, all of it by a; the indices
    # are of b alone, with a held at 2.
    found = mo.rank_uncertainty(using=Two, outputs="weighted", a="1 .. 3", b=mo.Normal(20, 1), samples=1024)
    assert found.held == {"a": "2"}
    (index,) = found["weighted"]
    assert (index.given, index.total) == ("b", pytest.approx(1, abs=0.1))
    left = found.intervals["weighted"]
    assert left.width == pytest.approx(4)
    assert left.sd == pytest.approx(1, rel=0.02)
    assert [(item.given, item.total) for item in left.indices] == [("a", pytest.approx(1))]
    text = str(found)
    assert "Sobol indices of weighted with a = 2" in text
    assert "4 apart in the mean, beside a standard deviation of" in text
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["held"] == {"a": "2"}


def test_what_an_interval_adds_is_the_larger_where_it_is_wider() -> None:
    # a b with a in 1..3, b in 4..5 and no more known: a leaves (3 - 1) b open, b leaves a of 1
    found = mo.rank_uncertainty(
        using=Two, outputs="product", a="1 .. 3", b=mo.Uniform(4, 5), samples=64
    ).intervals["product"]  # fmt: skip
    assert found.width == pytest.approx(2 * 4.5, rel=0.01)
    assert found.sd == pytest.approx(2 / np.sqrt(12), rel=0.05)


# the answer as data ---------------------------------------------------------------------------------------------------
def test_the_answer_is_plain_data_and_the_same_for_the_same_seed() -> None:
    def ask(**more: Any) -> Any:
        return mo.uncertain(using=Two, outputs=["weighted", "share"], a="1 .. 3", b="2 +- 0.1", samples=50, **more)

    found = ask()
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert data["kind"] == "boxes"
    assert (
        data["outputs"]["weighted"]["quantiles"]["0.5"]["low"] < data["outputs"]["weighted"]["quantiles"]["0.5"]["high"]
    )
    assert data["constraints"]["a below b"] == {"at_least": 0.0, "at_most": 1.0}
    assert ask().as_dict() == found.as_dict()
    assert ask(seed=1).as_dict() != found.as_dict()
    again = pickle.loads(pickle.dumps(found))
    assert again.as_dict() == found.as_dict()
    assert str(again) == str(found)
    assert "bounds of quantiles, whatever the intervals are" in str(found)


def test_what_has_no_bound_says_so() -> None:
    # more requests than the servers can take: the wait has no end, at the upper end of the interval alone
    asked = {"using": mo.TailLatencyModel, "outputs": "p99_latency", "num_replicas": 4, "samples": 20,
             "service_latency": mo.Uniform("9 ms", "10 ms")}  # fmt: skip
    found = mo.uncertain(**asked, arrival_rate="300 .. 500 1/s")["p99_latency"]
    low, high = found.quantiles[0.5]
    assert low.to("ms").magnitude > 9
    assert high is None
    with pytest.raises(InputError, match="no finite value"):
        mo.rank_uncertainty(**{**asked, "samples": 16}, arrival_rate="300 .. 500 1/s")
