"""The command that says what an output answers to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DECODE = (
    "sensitivity", "--using", "ServingModel", "--output", "itl", "--model", "Llama3_70B", "--hardware", "H200",
    "--precision", "fp8", "--seq-len", "1024", "--batch-size", "64",
)  # fmt: skip


def test_people_see_levers_bars_regimes_and_slack(ask: Callable[..., Any]) -> None:
    done = ask(*DECODE)
    assert done.code == 0
    for said in ("itl = ", "decode_bottleneck = Memory", "memory_bandwidth", "█", "decode compute-bound", "memory fits",
                 "Assumptions", "calibrated"):  # fmt: skip
        assert said in done.out


def test_programs_get_one_object(ask: Callable[..., Any]) -> None:
    found = ask(*DECODE, "--json").json
    assert found["status"] == "ok"
    number = found["numbers"]["hardware.memory.bandwidth"]
    assert -1 < number["elasticity"] < 0
    assert number["up"] == pytest.approx(found["levers"]["memory_bandwidth"]["up"])
    assert {item["kind"] for item in number["regimes"]} == {"limit"}
    twice = ask(*DECODE, "--percent", "20", "--json").json
    assert twice["levers"]["memory_bandwidth"]["up"] < found["levers"]["memory_bandwidth"]["up"]


def test_what_does_not_fit_is_answered_with_what_must_change(ask: Callable[..., Any]) -> None:
    asked = ("sensitivity", "--using", "SingleNodeModel", "--output", "latency", "--model", "Llama3_70B")
    done = ask(*asked, "--hardware", "A100", "--set", "batch_size=1")
    assert done.code == 0
    assert "infeasible: memory first" in done.out
    assert "hardware.memory.capacity 131.4 GiB instead of 80 GiB" in done.out
    assert ask(*asked, "--hardware", "A100", "--json").json["status"] == "infeasible"


def test_a_model_without_hardware(ask: Callable[..., Any]) -> None:
    done = ask("sensitivity", "--using", "TailLatencyModel", "--output", "p99_latency", "--set", "arrival_rate=50 1/s",
               "--set", "service_latency=10 ms", "--set", "num_replicas=4")  # fmt: skip
    assert done.code == 0
    assert "Levers" not in done.out
    assert "service_time_cv" in done.out


def test_the_tornado_is_drawn(ask: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "t.svg"
    assert str(path) in ask(*DECODE, "--plot", str(path)).out
    assert path.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("sensitivity",), 2, ("--using", "ServingModel")),
        (("sensitivity", "--using", "ServngModel"), 3, ("ServngModel", "did you mean 'ServingModel'")),
        (("sensitivity", "--using", "ServingModel"), 2, ("--output", "itl")),
        (("sensitivity", "--using", "ServingModel", "--output", "itl"), 3, ("model",)),
        ((*DECODE, "--output", "itll"), 3, ("itll", "did you mean 'itl'")),
        ((*DECODE, "--percent", "-100"), 3, ("no change",)),
        ((*DECODE, "--set", "seq_len=4"), 2, ("given twice",)),
        ((*DECODE, "--set", "seqlen=4"), 3, ("seqlen", "seq_len")),
        ((*DECODE, "--plot", "tornado.xyz"), 3, ("tornado.xyz", "png")),
    ],
)
def test_wrong_questions(refused: Callable[..., str], arguments: tuple[str, ...], code: int, says: Any) -> None:
    refused(*arguments, code=code, says=says)
