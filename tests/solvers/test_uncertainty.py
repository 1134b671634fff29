"""Uncertain givens: bounds that nothing escapes, quantiles and indices by hand, and nothing that is silently wrong."""

from __future__ import annotations

import json
import math
import pickle
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt import physics
from mlsysim_opt.errors import (
    DimensionError,
    InputError,
    MlsysimError,
    ParseError,
    SolverMissingError,
    UnitError,
    UnknownNameError,
)
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.inputs import Given, Number
from mlsysim_opt.registry import Hardware
from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.solvers.sampling import OLDEST
from mlsysim_opt.solvers.uncertain_question import UncertainQuestion
from mlsysim_opt.solvers.uncertain_values import sample
from mlsysim_opt.units import BANDWIDTH, BYTE, TIME

from .unsure import MODELS, Two, nearby, numbers

SERVING: dict[str, Any] = {"using": mo.ServingModel, **physics.ServingModel.example}
BANDWIDTH_OF = "hardware.memory.bandwidth"


# a model small enough to work out by hand (`Two` is another) ----------------------------------------------------------
class CopyResult(Result):
    time: Any


class Copy(Model):
    """A time whose bandwidth follows from its size, as data parallelism follows from a fleet."""

    inputs = (
        Number("size", of=BYTE, unit="GB", open_low=True),
        Given("hardware", kind="accelerator"),
        Number("rate", default=None, of=BANDWIDTH, unit="GB/s", open_low=True),
        Number("wait", default="1 s", of=TIME, unit="s"),
    )
    example: ClassVar[dict[str, Any]] = {"size": "10 GB", "hardware": "H100"}

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        if values["rate"] is None:
            fast = values["hardware"].memory.bandwidth.to("byte/s").magnitude
            values = {**values, "rate": fast / (2 if values["size"] > 5e9 else 1)}
        return values

    def equations(self, **leaves: Any) -> CopyResult:
        return CopyResult(
            time=leaves["size"] / leaves["rate"] + leaves["wait"] * (leaves["hardware"].tdp / leaves["hardware"].tdp)
        )


# text -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2.9..3.4 TB/s", mo.Between("2.9 TB/s", "3.4 TB/s")),
        ("2900 GB/s .. 3.4 TB/s", mo.Between("2900 GB/s", "3.4 TB/s")),
        ("0.4 .. 0.6", mo.Between(0.4, 0.6)),
        ("3.2 +- 0.1 TB/s", mo.Normal("3.2 TB/s", "0.1 TB/s")),
        ("3.2 TB/s ± 3 percent", mo.Normal("3.2 TB/s", "3 percent")),
        ("50 +/- 5 percent", mo.Normal("50 percent", "5 percent")),
        ("uniform(0.4, 0.6)", mo.Uniform(0.4, 0.6)),
        ("Triangular(1, 2, 4 ms)", mo.Triangular("1 ms", "2 ms", "4 ms")),
        ("lognormal(0.5 ms, 1.2)", mo.LogNormal("0.5 ms", 1.2)),
        ("discrete(1: 0.5, 2: 0.5)", mo.Discrete({1: 0.5, 2: 0.5})),
        ("discrete(1: 1, 2 GB: 3)", mo.Discrete({"1 GB": 1, "2 GB": 3})),
    ],
)
def test_text_means_what_people_mean(text: str, meant: Any) -> None:
    assert mo.uncertain_number(text) == meant
    assert mo.uncertain_number(str(meant)) == meant


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.sampled_from(["", " TB/s", " ms", " USD/h"]))
def test_what_is_shown_reads_back(first: float, second: float, unit: str) -> None:
    low, high = sorted((first, second))
    for what in (mo.Between(f"{low!r}{unit}", f"{high!r}{unit}"), mo.Normal(f"{low!r}{unit}", f"{high!r}{unit}")):
        assert mo.uncertain_number(str(what)) == what


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: mo.uncertain_number("2 ... 3 x"), ParseError, "expected|number"),
        (lambda: mo.uncertain_number("3 GB/s"), ParseError, "expected an uncertain number"),
        (lambda: mo.uncertain_number("normale(1, 2)"), UnknownNameError, "did you mean 'normal'"),
        (lambda: mo.uncertain_number("uniform(1)"), ParseError, r"uniform takes 2 numbers: uniform\(low, high\)"),
        (lambda: mo.uncertain_number("discrete(1, 2)"), ParseError, "value: weight"),
        (lambda: mo.uncertain_number("1 .. 2 TBs"), UnitError, "unknown unit"),
        (lambda: mo.Between("3 TB/s", "2 TB/s"), InputError, "3 TB/s is above 2 TB/s"),
        (lambda: mo.Between("3 TB/s", "2 TB"), DimensionError, "byte/s"),
        (lambda: mo.Normal(0.5, "5 percent"), InputError, "two ways"),
        (lambda: mo.Normal("1 ms", "0 ms"), InputError, "not above zero"),
        (lambda: mo.LogNormal("1 ms", 0.9), InputError, "not above 1"),
        (lambda: mo.LogNormal("1 ms", "2 ms"), DimensionError, "dimensionless"),
        (lambda: mo.Discrete({}), InputError, "weight of each value"),
        (lambda: mo.Discrete({1: 0}), InputError, "not above zero"),
    ],
)
def test_what_cannot_be_an_uncertain_number(make: Any, error: type[MlsysimError], said: str) -> None:
    with pytest.raises(error, match=said):
        make()


def test_percentiles_are_those_given() -> None:
    for kind in (mo.Normal, mo.LogNormal):
        what = kind.from_percentiles("2 ms", "5 ms")
        found = mo.uncertain(using=Copy, outputs="time", size="1 B", hardware="H100", rate="1 B/s", wait=what,
                             sampling="sobol", quantiles=(0.05, 0.95))["time"]  # fmt: skip
        low, high = found.quantiles.values()  # the copy takes one second
        assert low.to("s").magnitude - 1 == pytest.approx(2e-3, rel=5e-3)
        assert high.to("s").magnitude - 1 == pytest.approx(5e-3, rel=5e-3)


# bounds ---------------------------------------------------------------------------------------------------------------
def test_bounds_by_hand() -> None:
    # a in 1..3, b in 2..4: the product is 2 to 12; 2a + b is 4 to 10; a/(a+b) is 1/5 to 3/5.
    found = mo.uncertain(using=Two, outputs=["product", "weighted", "share"], a="1 .. 3", b="2 .. 4",
                         constraints=["product <= 13", "product > 12.5", "share > 0.5"])  # fmt: skip
    assert found.kind == "bounds"
    for name, low, high in (("product", 2, 12), ("weighted", 4, 10), ("share", 0.2, 0.6)):
        assert found[name].low == pytest.approx(low, rel=1e-6)
        assert found[name].high == pytest.approx(high, rel=1e-6)
        assert found[name].low <= low
        assert found[name].high >= high
    assert found["product"].method == "corners"
    assert found["product"].at_high == {"a": "3", "b": "4"}
    held = {"a below b": None, "product <= 13": True, "product > 12.5": False, "share > 0.5": None}
    assert found.constraints == held
    assert not found.unproven
    assert "attained at corners" in str(found)
    assert json.loads(json.dumps(found.as_dict()))["outputs"]["product"]["guaranteed"] is True


@given(st.data())
def test_no_sample_escapes_the_bounds(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(MODELS))
    names = data.draw(st.lists(st.sampled_from(numbers(kind)), min_size=1, max_size=3, unique=True))
    share = data.draw(st.sampled_from([0.01, 0.1, 0.3]))
    traced = kind().trace(kind().check(**kind.example))
    every = [name for name, node in traced.expressions.items() if node.sort == "number"]
    outputs = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=3, unique=True))
    try:
        bounds = mo.uncertain(using=kind, outputs=outputs, **nearby(kind, names, share, True))
    except InputError as error:  # outside of what it may be, or other inputs follow from it
        assume("is not a" not in str(error) and "follow" not in str(error) and "not use" not in str(error))
        raise
    shown = nearby(kind, names, share, False)
    question = UncertainQuestion(kind(), outputs, (), shown)
    samples = sample(question, np.random.default_rng(data.draw(st.integers(0, 99))).random((100, len(names))))
    for name in outputs:
        values = samples.values[name][~np.isnan(samples.values[name])]
        low, high = bounds[name].si
        assert all(low <= item <= high for item in values), name
    for rule, held in bounds.constraints.items():
        truths = samples.values[rule][~np.isnan(samples.values[rule])]
        assert held is None or bool(np.all(truths == held)), rule


def test_serving_by_its_corners() -> None:
    given = {BANDWIDTH_OF: "4.6 .. 4.9 TB/s", "efficiency": "0.4 .. 0.6"}
    found = mo.uncertain(outputs=["itl", "decode_bottleneck"], constraints="itl <= 15.5 ms", **SERVING, **given)
    slow = mo.ServingModel().solve(
        **physics.ServingModel.example | {"efficiency": 0.4, "hardware": like("H200", 4.6e12)}
    )
    fast = mo.ServingModel().solve(
        **physics.ServingModel.example | {"efficiency": 0.6, "hardware": like("H200", 4.9e12)}
    )
    assert found["itl"].low.to("s").magnitude == pytest.approx(fast.si("itl"), rel=1e-12)
    assert found["itl"].high.to("s").magnitude == pytest.approx(slow.si("itl"), rel=1e-12)
    assert found["itl"].at_high == {"efficiency": "0.4", BANDWIDTH_OF: "4.6 TB/s"}
    assert found["decode_bottleneck"].possible == ("Memory",)
    assert found.constraints["itl <= 15.5 ms"] is True
    assert found.constraints["memory fits"] is True


def like(name: str, bandwidth: float) -> Any:
    """Return an accelerator with another bandwidth, entered as hardware."""
    text = f"{bandwidth!r} byte/s"
    return Hardware[name].replacing("memory.bandwidth", Datum(bandwidth, text, "byte/s", BANDWIDTH, "quantity"))


def test_a_degree_that_may_be_one() -> None:
    # One accelerator has no all-reduce; two and four do. Between whole numbers nothing counts.
    exact = [
        mo.ServingModel().solve(**physics.ServingModel.example | {"tp_size": size}).si("itl") for size in (1, 2, 4)
    ]
    given = physics.ServingModel.example | {"tp_size": mo.Between(1, 4)}
    found = mo.uncertain(using=mo.ServingModel, outputs="itl", **given)["itl"]
    assert found.low.to("s").magnitude <= min(exact)
    assert found.high.to("s").magnitude >= max(exact)
    assert found.high.to("s").magnitude == pytest.approx(exact[0], rel=1e-6)
    given = physics.ServingModel.example | {"tp_size": mo.Discrete({1: 1, 2: 1, 4: 2})}
    seen = mo.uncertain(using=mo.ServingModel, outputs="itl", samples=64, **given)["itl"].values
    assert sorted(set(seen)) == pytest.approx(sorted(exact), rel=1e-12)


# samples --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_each_sample_is_the_answer_of_the_model(kind: type[Model]) -> None:
    model = kind()
    usual = {item.name: item for item in kind.inputs if isinstance(item, Number)}
    single = {kind.aliases.get(name, name): value for name, value in kind.example.items()}
    names = [name for name in numbers(kind) if name in usual][:4]
    traced = model.trace(model.check(**kind.example))
    outputs = [name for name, node in traced.expressions.items() if node.sort == "number"]
    for name in names:
        item = usual[name]
        what = nearby(kind, [name], 0.2, False)[name]
        if item.integer and not what.low.si < what.high.si:
            continue
        try:
            question = UncertainQuestion(model, outputs, (), {**single, name: what})
        except InputError:
            continue
        shares = np.random.default_rng(1).random((6, 1))
        found = sample(question, shares)
        column = question.givens[0].law.quantile(shares[:, 0])  # type: ignore[misc]
        for at, value in enumerate(column):
            try:
                alone = model.solved(model.check(**{**single, name: question.givens[0].text_of(float(value))}))
            except InputError:
                assert all(np.isnan(found.values[output][at]) for output in outputs)
                continue
            for output in outputs:
                if output in alone._traced.position:
                    assert found.values[output][at] == pytest.approx(alone.si(output), rel=1e-12, nan_ok=True), output
            for rule, holds in alone.constraints.items():
                if rule in found.values:
                    assert (found.values[rule][at] == 1) == holds, rule


def test_a_number_of_the_catalog_is_what_it_would_be_as_hardware() -> None:
    given = {BANDWIDTH_OF: mo.Uniform("3 TB/s", "5 TB/s")}
    found = mo.uncertain(outputs="itl", samples=5, **SERVING, **given)["itl"].values
    drawn = 3e12 + 2e12 * np.random.default_rng(0).random(5)
    alone = [
        mo.ServingModel().solve(**physics.ServingModel.example | {"hardware": like("H200", rate)}) for rate in drawn
    ]
    assert list(found) == pytest.approx([item.si("itl") for item in alone], rel=1e-12)


@pytest.mark.parametrize("sampling", ["random", "latin", "sobol"])
def test_quantiles_of_a_monotone_function_are_the_function_at_quantiles(sampling: str) -> None:
    # product = 3a, a ~ N(10, 1): p5 = 3 (10 - 1.6449), p95 = 3 (10 + 1.6449); the standard error of a quantile of n
    # samples is sqrt(p (1 - p) / n) / density, with density 0.1031 / 3 at p5: 0.1 for 4096; five of them are allowed.
    bell = NormalDist(10, 1)
    found = mo.uncertain(using=Two, outputs="product", a=mo.Normal(10, 1), b=3, sampling=sampling)["product"]
    for share, value in found.quantiles.items():
        error = math.sqrt(share * (1 - share) / 4096) * 3 / bell.pdf(bell.inv_cdf(share))
        assert abs(value - 3 * bell.inv_cdf(share)) < (5 if sampling == "random" else 1) * error
    assert found.mean == pytest.approx(30, abs=5 * 3 / math.sqrt(4096))
    assert found.sd == pytest.approx(3, rel=0.06)


def test_probabilities_by_hand() -> None:
    # a uniform on 0..1: a b <= 1 with b = 4 holds for a quarter, a < b always.
    found = mo.uncertain(using=Two, outputs=["product", "share"], a=mo.Uniform(1e-9, 1), b=4, sampling="sobol",
                         constraints=["product <= 1", "share <= 1"])  # fmt: skip
    assert found.constraints["product <= 1"] == pytest.approx(0.25, abs=1e-3)
    assert found.constraints["a below b"] == 1
    assert found.probability("product <= 1") == found.constraints["product <= 1"]
    # a / (a + 4) <= 0.02 holds up to a = 4 / 49
    assert found.probability("product <= 1 and share <= 0.02") == pytest.approx(4 / 49, abs=1e-3)
    assert "p95" in str(found)
    with pytest.raises(UnknownNameError, match="weighted"):
        found.probability("weighted <= 1")
    bounds = mo.uncertain(using=Two, outputs="product", a="1 .. 2")
    with pytest.raises(InputError, match="do not say how likely"):
        bounds.probability("product <= 1")


def test_the_same_seed_gives_the_same_answer() -> None:
    def ask(**more: Any) -> Any:
        return mo.uncertain(using=Two, outputs="product", a="lognormal(2, 1.5)", b="triangular(1, 2, 4)", **more)

    assert ask().as_dict() == ask().as_dict() == ask(seed=0).as_dict()
    assert ask(seed=1).as_dict() != ask().as_dict()
    first, second = (mo.rank_uncertainty(using=Two, outputs="product", a="lognormal(2, 1.5)", b="uniform(1, 2)",
                                         samples=256, seed=5) for _ in range(2))  # fmt: skip
    assert first.as_dict() == second.as_dict()


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.6), st.integers(0, 9))
def test_a_cut_distribution_stays_inside_and_says_so(mean: float, sd: float, seed: int) -> None:
    cut = 1 - NormalDist(mean, sd).cdf(1) + NormalDist(mean, sd).cdf(0)
    if cut > 0.5:
        return
    given = {"efficiency": mo.Normal(mean, sd)}
    found = mo.uncertain(outputs="itl", samples=200, seed=seed, **SERVING, **given)
    assert np.isfinite(found["itl"].values).all()
    if cut > 1e-4:
        assert "cut off" in found.notes["efficiency"]


def test_whole_numbers_stay_whole() -> None:
    given = physics.ServingModel.example | {"batch_size": mo.Uniform(1, 4)}
    seen = mo.uncertain(using=mo.ServingModel, outputs="kv_cache_size", samples=400, **given)["kv_cache_size"].values
    one = mo.ServingModel().solve(**physics.ServingModel.example | {"batch_size": 1}).si("kv_cache_size")
    sizes, counts = np.unique(np.round(seen / one), return_counts=True)
    assert list(sizes) == [1, 2, 3, 4]
    assert counts.min() > 60
    with pytest.raises(InputError, match="whole number"):
        mo.uncertain(using=mo.ServingModel, outputs="itl", **given | {"batch_size": mo.Normal(4, 1)})


# inputs that follow from others ---------------------------------------------------------------------------------------
def test_what_follows_from_an_uncertain_input_follows_at_each_sample() -> None:
    # Below 5 GB the whole bandwidth of 3.35 TB/s, above it half: 4 GB take 1.19 ms, 6 GB 3.58 ms.
    found = mo.uncertain(using=Copy, outputs="time", size="discrete(4 GB: 1, 6 GB: 1)", hardware="H100", wait="0 s",
                         samples=50)["time"].values  # fmt: skip
    assert sorted(set(found)) == pytest.approx([4e9 / 3.35e12, 12e9 / 3.35e12], rel=1e-12)
    with pytest.raises(InputError, match="follow from size"):
        mo.uncertain(using=Copy, outputs="time", size="4 .. 6 GB", hardware="H100")


def test_what_follows_from_an_uncertain_number_of_the_catalog_is_refused() -> None:
    # `hardware.memory.bandwidth` decides `rate` while inputs are prepared, and is no leaf of the equations; `tdp` is.
    with pytest.raises(InputError, match="equations of Copy do not use"):
        mo.uncertain(using=Copy, outputs="time", size="4 GB", hardware="H100", **{BANDWIDTH_OF: "3 .. 4 TB/s"})
    mo.uncertain(using=Copy, outputs="time", size="4 GB", hardware="H100", **{"hardware.tdp": "600 .. 700 W"})
    given = physics.DistributedModel.example | {"fleet.node_count": mo.Between(30, 32)}
    with pytest.raises(InputError, match=r"follow from fleet\.node_count: dp_size"):
        mo.uncertain(using=mo.DistributedModel, outputs="step_time", **given)
    given = physics.ServingCapacityModel.example | {BANDWIDTH_OF: mo.Uniform("3 TB/s", "4 TB/s")}
    with pytest.raises(InputError, match=r"follow from hardware\.memory\.bandwidth: num_replicas"):
        mo.uncertain(using=mo.ServingCapacityModel, outputs="estimated_p99_latency", **given)
    mo.uncertain(using=mo.ServingCapacityModel, outputs="estimated_p99_latency", num_replicas=8, samples=10, **given)


def test_a_number_that_nothing_follows_from_has_bounds_where_others_are_derived() -> None:
    given = physics.DistributedModel.example | {"memory_reserve": mo.Between("1 GiB", "2 GiB"),
                                                "fleet.node.accelerator.memory.bandwidth": "3 .. 3.4 TB/s"}  # fmt: skip
    found = mo.uncertain(using=mo.DistributedModel, outputs="step_time", **given)["step_time"]
    middle = mo.DistributedModel().solve(**physics.DistributedModel.example).si("step_time")
    assert found.low.to("s").magnitude < middle < found.high.to("s").magnitude * 1.01


def test_samples_that_cannot_be_are_counted() -> None:
    given = physics.DistributedModel.example | {"batch_size": mo.Discrete({512: 3, 513: 1})}
    found = mo.uncertain(using=mo.DistributedModel, outputs="step_time", samples=400, **given)
    (reason,) = found.excluded
    assert "do not divide a batch of 513" in reason
    assert 60 < found.excluded[reason] < 140
    exact = mo.DistributedModel().solve(**physics.DistributedModel.example).si("step_time")
    assert set(np.unique(found["step_time"].values[~np.isnan(found["step_time"].values)])) == {exact}
    assert "cannot be" in str(found)
    with pytest.raises(InputError, match="no finite value at"):
        mo.rank_uncertainty(using=mo.DistributedModel, outputs="step_time", samples=64, **given)


# what matters ---------------------------------------------------------------------------------------------------------
def test_sobol_indices_of_a_sum_by_hand() -> None:
    # 2a + b with sd 1 and 1: variances 4 and 1, so 0.8 and 0.2, alone as in total.
    found = mo.rank_uncertainty(using=Two, outputs="weighted", a=mo.Normal(20, 1), b=mo.Normal(20, 1), samples=4096)
    a, b = found["weighted"]
    assert (a.given, b.given) == ("a", "b")
    for item, share in ((a, 0.8), (b, 0.2)):
        assert item.total == pytest.approx(share, abs=0.01)
        assert item.first == pytest.approx(share, abs=0.02)
        assert item.total_range is not None
        assert item.total_range[0] < share < item.total_range[1]
    assert "shares of its variance" in str(found)
    assert json.dumps(found.as_dict())


def test_sobol_indices_of_a_product_of_lognormals_by_hand() -> None:
    # With u = exp(s^2) of each: Var/mean^2 = ua ub - 1; alone ua - 1, together with b also (ua - 1) ub.
    ua, ub = math.exp(0.5**2), math.exp(0.25**2)
    found = mo.rank_uncertainty(using=Two, outputs="product", samples=8192,
                                a=mo.LogNormal(3, math.exp(0.5)), b=mo.LogNormal(2, math.exp(0.25)))  # fmt: skip
    a, b = found["product"]
    assert a.first == pytest.approx((ua - 1) / (ua * ub - 1), abs=0.04)
    assert a.total == pytest.approx((ua - 1) * ub / (ua * ub - 1), abs=0.04)
    assert b.total == pytest.approx((ub - 1) * ua / (ua * ub - 1), abs=0.04)


def test_what_does_not_vary_has_no_ranking() -> None:
    found = mo.rank_uncertainty(outputs=["itl", "kv_cache_size"], samples=64, **SERVING, efficiency="uniform(0.4, 0.5)")
    assert found["kv_cache_size"] == ()
    assert found["itl"][0].total == pytest.approx(1, abs=0.2)
    assert "kv_cache_size does not vary" in str(found)


def test_intervals_are_ranked_by_what_is_gone_when_one_is_known() -> None:
    # 2a + b, a in 1..3 (width 4 of 6), b in 2..4 (width 2 of 6).
    found = mo.rank_uncertainty(using=Two, outputs="weighted", a="1 .. 3", b="2 .. 4")
    assert found.by == "width"
    assert [item.given for item in found["weighted"]] == ["a", "b"]
    assert [item.total for item in found["weighted"]] == pytest.approx([4 / 6, 2 / 6])


@pytest.mark.parametrize("confidence", ["high", 0, 1, True, math.nan])
def test_a_confidence_is_a_share(confidence: Any) -> None:
    with pytest.raises(InputError, match="is not between 0 and 1"):
        mo.rank_uncertainty(using=Two, outputs="product", a="uniform(1, 2)", confidence=confidence)


def test_one_output_of_one_distribution_has_an_index() -> None:
    (index,) = mo.rank_uncertainty(using=Two, outputs="product", a="uniform(1, 2)", samples=256)["product"]
    assert index.total == pytest.approx(1, abs=0.1)


def test_labels_alone_can_be_shown() -> None:
    found = mo.uncertain(outputs="decode_bottleneck", samples=20, **SERVING, efficiency="uniform(0.4, 0.5)")
    assert "Memory 100.00%" in str(found)


# faults ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({}, InputError, "nothing is uncertain"),
        ({"efficiency": mo.Uniform(0.4, 1.6)}, InputError, "efficiency.*1.6 is not above 0 and at most 1"),
        ({"efficiency": mo.Between(0, 0.5)}, InputError, "0 is not above 0"),
        ({"efficiency": mo.Normal(1.2, 0.1)}, InputError, "1.2 is not above 0 and at most 1"),
        ({"efficiency": mo.Normal(0.5, 20)}, InputError, "lie outside of what it may be"),
        ({"efficiency": mo.Uniform("0.4 s", "0.5 s")}, DimensionError, "0.4 s is s"),
        ({"efficiencey": mo.Uniform(0.4, 0.5)}, UnknownNameError, "did you mean 'efficiency'"),
        ({"hardware.memory.bandwith": "3 .. 4 TB/s"}, UnknownNameError, "did you mean 'hardware.memory.bandwidth'"),
        ({"calibration.gemm_efficiency": "0.8 .. 1.2"}, InputError, "1.2 is not above 0 and at most 1"),
        ({"hardware.memory.bandwidth": "0 .. 4 TB/s"}, InputError, "0 TB/s is not above 0 byte/s"),
        ({"hardware.memory.bandwidth": "4 TB/s"}, InputError, "is certain"),
        ({"hardware.memory.bandwidth": "3 +- 0.1 TB"}, DimensionError, "byte/s is expected"),
        ({"precision": mo.Uniform(1, 2)}, InputError, "precision is not a number"),
        ({"efficiency": "0.4 .. 0.5", "constraints": "itl"}, InputError, "not a condition"),
        ({"efficiency": "0.4 .. 0.5", "outputs": "itll"}, UnknownNameError, "did you mean 'itl'"),
        ({"efficiency": "0.4 .. 0.5", "outputs": []}, InputError, "name at least one output"),
        ({"efficiency": "uniform(0.4, 0.5)", "samples": 0}, InputError, "whole number from 2"),
        ({"efficiency": "uniform(0.4, 0.5)", "seed": -1}, InputError, "whole number from 0"),
        ({"efficiency": "uniform(0.4, 0.5)", "sampling": "sobel"}, UnknownNameError, "did you mean 'sobol'"),
        ({"efficiency": "uniform(0.4, 0.5)", "sampling": "sobol", "samples": 1000}, InputError, "512 or 1024"),
        ({"efficiency": "uniform(0.4, 0.5)", "quantiles": [5, 95]}, InputError, "between 0 and 1"),
        ({"efficiency": "uniform(0.4, 0.5)", "quantiles": "median"}, InputError, "between 0 and 1, got 'median'"),
        ({"efficiency": "uniform(0.4, 0.5)", "quantiles": 0.5}, InputError, "between 0 and 1, got 0.5"),
        ({"efficiency": "uniform(0.4, 0.5)", "outputs": [3]}, InputError, "outputs: expected text, got 3"),
        ({"efficiency": "uniform(0.4, 0.5)", "outputs": 3}, InputError, "outputs: expected text, got 3"),
        ({"efficiency": "uniform(0.4, 0.5)", "constraints": [3]}, InputError, "constraints: expected text, got 3"),
        ({"tp": "1 .. 2"}, InputError, "'tp_size' is given twice: as 'tp_size' and as 'tp'"),
        ({"efficiency": "0.6 .. 0.4"}, InputError, "0.6 is above 0.4"),
        ({"efficiency": "nan .. 0.4"}, InputError, "not a finite number"),
        ({"hardware.memory.bandwidth": "uniform(-1, 3 TB/s)"}, InputError, "-1 TB/s is not above 0 byte/s"),
        ({"efficiency": "uniform(0.4, 0.5)", "using": 3}, InputError, "expected a model"),
    ],
)
def test_faults_are_named(more: dict[str, Any], error: type[MlsysimError], said: str) -> None:
    with pytest.raises(error, match=said):
        mo.uncertain(**{"outputs": "itl", **SERVING, **more})


def test_a_number_that_is_not_used_is_said_to_be() -> None:
    # A given efficiency stands in place of the calibrated one.
    given = {"efficiency": "0.4 .. 0.5", "calibration.gemm_efficiency": "0.5 .. 0.6"}
    with pytest.raises(InputError, match=r"calibration.gemm_efficiency.*do not use it"):
        mo.uncertain(outputs="itl", **SERVING, **given)


def test_an_output_that_does_not_depend_says_so() -> None:
    asked: dict[str, Any] = {"using": mo.ServingModel, "model": "Llama3_8B", "hardware": "H100", "seq_len": 1024}
    sure = mo.ServingModel().solve(**{name: value for name, value in asked.items() if name != "using"}).itl
    bounds = mo.uncertain(outputs=["itl"], **asked, memory_reserve=mo.Between("1 GiB", "3 GiB"))
    row = next(line for line in str(bounds).splitlines() if "does not depend on what is uncertain" in line)
    assert row.split()[:5] == ["itl", *[f"{sure.to('ms').magnitude:.4g}", "ms"] * 2]
    spread = mo.uncertain(outputs=["itl"], **asked, memory_reserve=mo.Uniform("1 GiB", "3 GiB"))
    assert spread["itl"].sd.magnitude == 0
    assert spread["itl"].mean == spread["itl"].quantiles[0.5]
    assert "does not vary" in str(spread)


def test_an_old_scipy_is_named(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    import scipy

    assert f'uncertainty = ["scipy>={".".join(map(str, OLDEST))}"]' in (root / "pyproject.toml").read_text()
    monkeypatch.setattr(scipy, "__version__", "1.9.3")
    with pytest.raises(SolverMissingError, match=r"SciPy 1\.9\.3 is too old, 1\.15 is needed"):
        mo.rank_uncertainty(using=Two, outputs="product", a="uniform(1, 2)")


def test_an_answer_can_be_sent_to_another_process() -> None:
    for asked in ({"a": "1 .. 2"}, {"a": "uniform(1, 2)"}):
        found = mo.uncertain(using=Two, outputs="product", samples=50, **asked)
        again = pickle.loads(pickle.dumps(found))
        assert again.as_dict() == found.as_dict()
        assert str(again) == str(found)


def test_without_scipy_random_samples_work_and_the_rest_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    given = {"a": "uniform(1, 2)", "b": "3 +- 1"}
    assert mo.uncertain(using=Two, outputs="product", samples=100, **given)["product"].mean > 0
    for ask in (
        lambda: mo.uncertain(using=Two, outputs="product", sampling="sobol", **given),
        lambda: mo.rank_uncertainty(using=Two, outputs="product", **given),
    ):
        with pytest.raises(SolverMissingError, match=r"pip install 'mlsysim-opt\[uncertainty\]'"):
            ask()
