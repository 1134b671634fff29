"""A synthesized specification is the inverse of the model: it meets what was asked, and one notch less does not.

Over models, batches, lengths, splits, precisions and targets; entered as hardware into the model itself.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt.errors import (
    DimensionError,
    InfeasibleError,
    InputError,
    NotInvertibleError,
    ParseError,
    UnknownNameError,
)
from mlsysim_opt.physics.serving import ServingModel, home_of
from mlsysim_opt.registry.datum import Datum
from mlsysim_opt.registry.types import Link
from mlsysim_opt.solvers import SynthesisSolver

NOTCH = 1 - 1e-9
NUMBERS = ("memory.bandwidth", "compute.peak", "memory.capacity", "scale_up.bandwidth")
DENSE = ("Llama3_8B", "Llama3_70B", "Qwen2_5_7B", "Gemma2_9B", "Mistral_7B")
EXPERTS = ("Mixtral_8x7B", "DeepSeek_V3")


def less(hardware: Any, number: str, factor: float) -> Any:
    """Return an accelerator with one synthesized number changed; the peaks of all precisions are one."""

    def scaled(old: Datum) -> Datum:
        return Datum(old.si * factor, "", old.unit, old.dimension, old.kind, None, "x")

    part, name = number.split(".")
    old: Any = getattr(hardware, part)
    if name == "peak":
        rates = {key: scaled(old.peak.__dict__[key]) for key in old.peak.precisions}
        new = old.model_copy(update={"peak": old.peak.model_copy(update=rates)})
    else:
        new = old.model_copy(update={name: scaled(old.__dict__[name])})
    return hardware.model_copy(update={part: new})


def missed(inputs: dict[str, Any], hardware: Any, limits: dict[str, float]) -> list[str]:
    """Return what of the targets and the memory an accelerator misses, in the model itself."""
    solved = ServingModel().solve(**inputs, hardware=hardware)
    short = [name for name, limit in limits.items() if solved.si(name) > limit]
    return short + [name for name, holds in solved.constraints.items() if not holds]


@st.composite
def questions(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """Return inputs of the serving model that can be, and an accelerator to be like."""
    experts = draw(st.booleans())
    model = draw(st.sampled_from(EXPERTS if experts else DENSE))
    inputs: dict[str, Any] = {
        "model": model,
        "seq_len": draw(st.integers(16, 4000)),
        "batch_size": draw(st.integers(1, 200)),
        "precision": draw(st.sampled_from(["fp16", "bf16", "fp8"])),
        "tp_size": draw(st.sampled_from([1, 2, 4, 8])),
        "pp_size": draw(st.sampled_from([1, 2, 4])),
    }
    if experts:
        inputs["ep_size"] = draw(st.sampled_from([size for size in (1, 2, 4, 8) if inputs["tp_size"] % size == 0]))
    if draw(st.booleans()):
        inputs["output_len"] = draw(st.integers(1, inputs["seq_len"] - 1))
    if draw(st.booleans()):
        inputs["prefill_chunk_tokens"] = draw(st.integers(16, 2048))
    if draw(st.booleans()):
        inputs["efficiency"] = draw(st.floats(0.05, 1))
    return inputs, draw(st.sampled_from(["H100", "H200", "MI300X", "B200"]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(questions(), st.lists(st.floats(0.3, 3), min_size=3, max_size=3), st.sampled_from([1, 2, 3, 4, 5, 6, 7]))
def test_the_specification_meets_every_target_and_one_notch_less_misses_one(
    question: tuple[dict[str, Any], str], factors: list[float], which: int
) -> None:
    inputs, like = question
    today = ServingModel().solve(**inputs, hardware=like)
    assume(all(holds for name, holds in today.constraints.items() if name != "memory fits"))
    # targets around what the accelerator itself does, some of the three
    names = [name for bit, name in enumerate(("itl", "ttft", "request_latency")) if which >> bit & 1]
    limits = {name: today.si(name) * factor for name, factor in zip(names, factors, strict=False)}
    try:
        specs = SynthesisSolver().solve(**inputs, targets={name: f"{x!r} s" for name, x in limits.items()}, like=like)
    except NotInvertibleError:
        easy: Any = mo.Hardware[like].model_copy(update={"name": "without_end"})
        home: Any = home_of(mo.Hardware[like])
        easy = easy.model_copy(update={"scale_up": Link.model_construct(bandwidth=home.scale_up.__dict__["bandwidth"])})
        for number in NUMBERS:
            easy = less(easy, number, 1e6)
        assert missed(inputs, easy, limits)  # without end of all of them it is missed all the same
        return
    hardware = specs.as_hardware()
    assert missed(inputs, hardware, limits) == []
    solved = ServingModel().solve(**inputs, hardware=hardware)
    assert min(1 - solved.si(name) / limit for name, limit in limits.items()) < 1e-9  # one binds
    assert solved.si("total_memory_required") == pytest.approx(solved.si("available_memory"), rel=1e-9)
    exchanged = inputs["tp_size"] * inputs["pp_size"] > 1
    assert (specs.required_link_bandwidth is not None) == exchanged
    for number in NUMBERS if exchanged else NUMBERS[:3]:
        assert missed(inputs, less(hardware, number, NOTCH), limits), number


# several targets --------------------------------------------------------------------------------------------------
def solve(**given: Any) -> Any:
    return SynthesisSolver().solve("Llama3_70B", **{"seq_len": 512, "batch_size": 4, "tp_size": 2, **given})


def test_two_targets_settle_bandwidth_and_compute() -> None:
    specs = solve(targets=["itl = 30 ms", "ttft <= 500 ms"])
    assert [item.binds for item in specs.targets] == [True, True]
    assert all(item.slack < 1e-9 for item in specs.targets)
    # By hand: the prompts of 4 x 512 tokens are 2 x 70.6 B x 2048 FLOP, on two ranks that reach 674/1000 of their peak,
    # in less than 500 ms: 429 TFLOP/s and more for what else there is. A step reads 141 GB / 2 in less than 30 ms, of
    # which at most 0.9 of the rate are reached: 2.61 TB/s and more.
    assert 429 < specs.required_flops.to("TFLOP/s").magnitude < 1.3 * 429
    assert 2.61 < specs.required_bandwidth.to("TB/s").magnitude < 1.3 * 2.61
    assert "settled" in specs.balance
    assert "compute_share" not in specs.assumptions


def test_a_target_that_another_implies_changes_nothing() -> None:
    alone = solve(target_latency="30 ms")
    both = solve(target_latency="30 ms", targets={"ttft": "1000 s"})
    assert both.required_bandwidth == alone.required_bandwidth
    assert both.required_flops == alone.required_flops
    assert [item.binds for item in both.targets] == [True, False]


def test_equations_bounds_and_mappings_ask_the_same() -> None:
    asked = [{"target_latency": "30 ms"}, {"targets": ["itl <= 30 ms"]}, {"targets": "itl = 30 ms"},
             {"targets": {"itl": mo.Q_("30 ms/token")}}]  # fmt: skip
    assert len({solve(**item).required_bandwidth.magnitude for item in asked}) == 1
    # throughput is batch / itl: at least 4 tokens in 30 ms
    rate = solve(targets={"throughput": mo.Q_(4 / 0.030, "token/s")}, compute_share=0.2)
    assert rate.required_bandwidth.magnitude == pytest.approx(
        solve(target_latency="30 ms").required_bandwidth.magnitude
    )


def test_links_of_the_server_are_those_of_the_specification() -> None:
    # an L40S has no link of its own: two of them talk over the PCIe of their server
    asked = {"like": "L40S", "tp_size": 2, "batch_size": 16}
    specs = SynthesisSolver().solve("Llama3_8B", "30 ms", link_bandwidth="like", **asked)
    assert specs.required_link_bandwidth is None
    there = ServingModel().solve("Llama3_8B", specs.as_hardware(), seq_len=2048, tp_size=2, batch_size=16)
    here = ServingModel().solve("Llama3_8B", "L40S", seq_len=2048, tp_size=2, batch_size=16)
    assert there.feasible
    assert there.si("itl_communication") == here.si("itl_communication") > 0
    # sought, they keep the ratio of 32 GB/s to 864 GB/s
    sought = SynthesisSolver().solve("Llama3_8B", "30 ms", **asked)
    assert sought.required_link_bandwidth.magnitude * 1e9 == pytest.approx(
        32e9 / 864e9 * sought.required_bandwidth.to("byte/s").magnitude, rel=1e-9
    )
    assert sought.as_hardware().scale_up.bandwidth == sought.required_link_bandwidth


def test_links_may_be_given_sought_or_play_no_part() -> None:
    # faster links leave more of the 30 ms to the memory, slower ones less
    every = [solve(target_latency="30 ms", link_bandwidth=text) for text in ("100 GB/s", "450 GB/s", "1.8 TB/s")]
    bandwidths = [item.required_bandwidth.magnitude for item in every]
    assert bandwidths == sorted(bandwidths, reverse=True)
    as_it_is = solve(target_latency="30 ms", link_bandwidth="like")
    assert as_it_is.required_bandwidth.magnitude == bandwidths[1]
    assert as_it_is.assumptions["link_bandwidth"] == "450 GB/s"
    sought = solve(target_latency="30 ms")
    assert sought.as_dict()["required_link_bandwidth"]["unit"] == "GB/s"
    assert "links " in str(sought)
    assert sought.assumptions["link_memory_ratio"] == f"{450 / 3350:.4g}"
    assert "links over memory bandwidth" in sought.balance
    alone = solve(target_latency="60 ms", tp_size=1)
    assert alone.required_link_bandwidth is None
    assert "link_memory_ratio" not in alone.assumptions


# what meets it ----------------------------------------------------------------------------------------------------
def test_what_meets_the_targets_is_ranked_by_anything() -> None:
    specs = solve(target_latency="30 ms", precision="fp8")
    every = specs.matching()
    by_price = specs.matching(rank_by="price_per_hour")
    assert {item.name for item in every} == {
        *(item.name for item in by_price), *(item.accelerator.name for item in by_price.unranked)
    }  # fmt: skip
    assert by_price.unranked  # in the catalog, and without a price
    assert all("price" in item.reason for item in by_price.unranked)
    assert len(every) + len(every.unranked) + len(every.missed) == len(mo.Hardware.all())
    for ranking in (every, by_price, specs.matching(rank_by="energy_per_token"), specs.matching(rank_by="tdp * itl")):
        values = [item.value for item in ranking.ranked]
        assert values == sorted(values)
    # two accelerators, by the lowest on-demand price of the catalog
    cheapest = by_price.ranked[0]
    assert cheapest.value * 3600 == pytest.approx(2 * min_price(cheapest.accelerator.name))
    assert by_price.ranked[0].shown.endswith("USD/h")


def min_price(name: str) -> float:
    from mlsysim_opt.registry import default_catalog

    every: Any = default_catalog().all("price")
    return min(
        p.rate.to("USD/h").magnitude
        for p in every
        if p.plan == "on_demand" and p.rate is not None and p.accelerator is not None and p.accelerator.name == name
    )


def test_rankings_agree_with_each_other() -> None:
    specs = solve(target_latency="30 ms", precision="fp8")
    fastest, function = specs.matching(), specs.matching(rank_by=lambda solved: solved.itl)
    assert fastest == function
    assert specs.matching(rank_by="max_throughput") == specs.matching(rank_by="-throughput") == fastest
    tokens, hour = specs.matching(rank_by="price per million tokens"), specs.matching(rank_by="price")
    by_name = {item.accelerator.name: item.value for item in hour.ranked}
    for item in tokens.ranked:
        rate = ServingModel().solve(
            "Llama3_70B", item.accelerator, seq_len=512, batch_size=4, tp_size=2, precision="fp8"
        ).si("throughput")  # fmt: skip
        assert item.value == pytest.approx(by_name[item.accelerator.name] / rate)


def test_numbers_of_an_accelerator_rank_by_their_path() -> None:
    specs = solve(target_latency="30 ms", precision="fp8")
    for name, path in (("hardware.tdp", "tdp"), ("memory.bandwidth", "memory.bandwidth"), ("embodied_carbon",) * 2):
        found = specs.matching(rank_by=name)
        numbers = [item.accelerator.parameter(path).si for item in found.ranked]
        assert [item.value for item in found.ranked] == numbers == sorted(numbers)
        assert all(f"no '{path}'" in item.reason for item in found.unranked)
    assert specs.matching(rank_by="embodied_carbon").unranked
    # the replica has two accelerators
    both, one = (specs.matching(rank_by=name).ranked[0].value for name in ("tdp", "hardware.tdp"))
    assert both == 2 * one


@pytest.mark.parametrize("ranking", ["max_throughput", "-throughput", "max_throughput / hardware.tdp"])
def test_the_most_is_best_and_keeps_its_sign(ranking: str) -> None:
    found = solve(target_latency="30 ms", precision="fp8").matching(rank_by=ranking)
    values = [item.value for item in found.ranked]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0
    assert "-" not in found.ranked[0].shown


def test_accelerators_may_be_named_and_rankings_must_be_numbers() -> None:
    specs = solve(target_latency="30 ms", precision="fp8")
    assert [item.name for item in specs.matching(["H100", "A100"])] == ["H100"]
    with pytest.raises(UnknownNameError, match="accelerator"):
        specs.matching(["H1000000"])
    with pytest.raises(mo.UsageError, match="not a number"):
        specs.matching(rank_by=lambda solved: "fast")
    with pytest.raises(UnknownNameError, match="price_per_our"):
        specs.matching(rank_by="price_per_our")


def test_where_time_and_memory_go_is_said() -> None:
    said = solve(targets=["itl <= 30 ms", "ttft <= 500 ms"]).explanation
    assert "memory traffic" in said[0]
    assert "exchanges" in said[1]
    # 70.6 B weights of 2 bytes on two ranks: 65.7 GiB each; 4 x 512 tokens of 327,680 bytes, halved: 320 MiB
    assert "65.7 GiB weights, 320 MiB keys and values" in said[-1]


def test_what_is_missed_says_why() -> None:
    found = {
        item.accelerator.name: item.reason for item in solve(target_latency="30 ms", precision="fp8").matching().missed
    }
    assert "no rate for precision 'fp8'" in found["A100"]
    assert "misses itl <= 30 ms" in found["L40S"] or "memory fits" in found["L40S"]


def test_matches_read_well_and_travel() -> None:
    import copy
    import pickle

    found = solve(target_latency="30 ms", precision="fp8").matching(rank_by="price")
    text = str(found)
    assert "meet the targets, by price" in text
    assert "not ranked: MI300X: MI300X has no 'on-demand price'" in text
    for again in (pickle.loads(pickle.dumps(found)), copy.copy(found)):
        assert again == found
        assert again.ranked == found.ranked
    assert found.as_dict()["ranked"][0]["accelerator"] == found[0].name


# wrong questions --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"targets": ["itl < 30 ms"]}, InputError, "excludes its own border"),
        ({"targets": ["itll <= 30 ms"]}, UnknownNameError, "did you mean 'itl'"),
        ({"targets": ["memory fit"]}, UnknownNameError, "did you mean 'memory fits'"),
        ({"targets": ["itl <= 30 GB"]}, DimensionError, "itl is s, 30 GB is byte"),
        ({"targets": ["itl"]}, InputError, "not a relation"),
        ({"targets": []}, InputError, "there is no target"),
        ({"targets": ["memory fits"]}, InputError, "depends neither on bandwidth nor on FLOP/s"),
        ({"targets": ["itl <= 30 ms or ttft <= 3 s"]}, InputError, "no inequality between two numbers"),
        ({"targets": {"latency_per_bit": "3 s"}}, UnknownNameError, "latency_per_bit"),
        ({"target_latency": "30 ms", "tp_size": 3}, InfeasibleError, "tp divides the heads"),
        ({"target_latency": "30 ms", "tp_size": 16}, InfeasibleError, "scale-up domain"),
        ({"target_latency": "30 ms", "seq_len": 10**6}, InfeasibleError, "context"),
        ({"target_latency": "-2 ms"}, InputError, "not above zero"),
        ({"target_latency": "30 ms", "seq_len": 0}, InputError, "at least 1"),
        ({"target_latency": "30 ms", "hardware": "H100"}, InputError, "is what is sought"),
        ({"targets": ["10 ms <= itl <= 30 ms"]}, InputError, "more hardware does not help"),
        ({"targets": ["energy_per_token <= 9 J/token"]}, InputError, "is not proven to help"),
        ({"targets": ["ttft_compute <= 1 s"]}, InputError, "no target depends on the memory bandwidth"),
        ({"targets": {"decode_bottleneck": "3"}}, InputError, "is a label"),
        ({"targets": {"ttft": "1 s", "itl": "30 ms"}, "decode_hardware": "H200"}, InputError, "depends neither"),
        ({"target_latency": "2 ms"}, NotInvertibleError, "even without end of bandwidth, FLOP/s and links"),
        ({"target_latency": "2 ms", "tp_size": 1}, NotInvertibleError, "even without end of bandwidth and FLOP/s"),
        ({"target_latency": "1e30 s"}, NotInvertibleError, "no target binds: hardware 1e-06 times as fast"),
        ({"target_latency": "30 ms", "compute_share": True}, InputError, "True is outside 0 to 10"),
        ({"target_latency": "30 ms", "link_bandwidth": "400 GB"}, DimensionError, "byte/s is expected"),
        ({"target_latency": "30 ms", "link_bandwidth": "0 GB/s"}, InputError, "not above zero"),
        ({"target_latency": "30 ms", "link_bandwidth": "fast"}, ParseError, "fast"),
        (
            {"target_latency": "60 ms", "link_bandwidth": "1 GB/s", "tp_size": 1},
            InputError,
            "no target depends on links",
        ),
    ],
)
def test_wrong_questions_are_answered(given: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        solve(**given)


def test_less_time_needs_no_less() -> None:
    found = [solve(targets=["ttft <= 400 ms", f"itl <= {time} ms"]) for time in (15, 20, 30, 60)]
    for strict, loose in itertools.pairwise(found):
        assert strict.required_bandwidth > loose.required_bandwidth
        assert strict.required_memory == loose.required_memory
