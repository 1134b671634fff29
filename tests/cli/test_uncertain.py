"""The command for numbers that are not known exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

ASKED = ("uncertain", "--using", "ServingModel", "--model", "Llama3_8B", "--hardware", "H100", "--seq-len", "2048")
SAMPLED = (*ASKED, "--output", "itl", "--set", "hardware.memory.bandwidth=3.3 +- 0.1 TB/s")


def test_intervals_have_bounds(ask: Callable[..., Any]) -> None:
    options = (*ASKED, "--output", "itl", "--set", "efficiency=0.4 .. 0.6", "--constraint", "itl <= 1 s")
    for said in ("Guaranteed bounds", "attained at corners", "0.4 .. 0.6", "always", "assumed:"):
        assert said in ask(*options).out
    found = ask(*options, "--json").json
    assert found["kind"] == "bounds"
    assert found["outputs"]["itl"]["low"] < found["outputs"]["itl"]["high"]
    assert found["constraints"]["itl <= 1 s"] is True


def test_distributions_have_quantiles(ask: Callable[..., Any]) -> None:
    options = (*SAMPLED, "--samples", "200", "--seed", "7", "--quantiles", "0.1,0.9")
    for said in ("200 random samples, seed 7", "p10", "p90", "3.3 TB/s +- 0.1 TB/s"):
        assert said in ask(*options).out
    first, second = ask(*options, "--json").json, ask(*options, "--json").json
    assert first == second
    assert list(first["outputs"]["itl"]["quantiles"]) == ["0.1", "0.9"]


def test_intervals_beside_distributions_have_bounds_of_quantiles(ask: Callable[..., Any]) -> None:
    options = (*SAMPLED, "--output", "ttft", "--set", "efficiency=0.4 .. 0.6", "--samples", "64")
    for said in ("bounds of quantiles, whatever the intervals are", "at least", "at most", "holds in at least"):
        assert said in ask(*options, "--constraint", "ttft <= 100 ms").out
    found = ask(*options, "--json").json
    assert found["kind"] == "boxes"
    ends = found["outputs"]["ttft"]["quantiles"]["0.5"]
    assert ends["low"] < ends["high"]
    ranked = ask(*options, "--rank")
    assert "with efficiency = 0.5: shares of its variance" in ranked.out
    assert "apart in the mean, beside a standard deviation of" in ranked.out


def test_a_ranking_is_largest_first(ask: Callable[..., Any]) -> None:
    options = (*SAMPLED, "--set", "batch_size=uniform(1, 64)", "--rank", "--samples", "128")
    found = ask(*options, "--json").json["indices"]["itl"]
    assert [item["given"] for item in found] == ["batch_size", "hardware.memory.bandwidth"]
    assert found[0]["total"] > 0.8
    assert "Sobol indices of itl" in ask(*options).out


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (ASKED, 2, "--output"),
        ((*ASKED, "--output", "itl"), 3, "nothing is uncertain"),
        ((*SAMPLED, "--set", "model=GPT2"), 2, "'model' is given twice"),
        ((*SAMPLED, "--quantiles", "5,95"), 2, "--quantiles"),
        ((*SAMPLED, "--rank", "--constraint", "itl <= 1 s"), 2, "a ranking is of outputs"),
        ((*SAMPLED, "--samples", "1"), 3, "whole number from 2"),
        ((*SAMPLED, "--samples", "0"), 3, "whole number from 2"),
        ((*ASKED, "--output", "itl", "--set", "efficiency=0.4 .. 0.6", "--samples", "-3"), 3, "whole number from 2"),
        ((*ASKED, "--output", "itl", "--set", "efficiency=0.4 .. 0.6", "--sampling", "sobel"), 3, "mean 'sobol'"),
        ((*SAMPLED, "--rank", "--samples", "0"), 3, "whole number from 2"),
        (("uncertain", "--using", "ServingModle", "--output", "itl"), 3, "did you mean 'ServingModel'"),
        ((*SAMPLED, "--fleet", "Lab_64_H100"), 3, "unknown argument of ServingModel 'fleet'"),
    ],
)
def test_faults_end_with_their_status(ask: Callable[..., Any], options: tuple[str, ...], code: int, said: str) -> None:
    done = ask(*options)
    assert done.code == code
    assert said in done.err
