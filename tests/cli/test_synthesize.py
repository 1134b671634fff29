"""The commands that turn a model around: what they print, for people and for programs, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import mlsysim_opt as mo

from .conftest import Done

Ask = Callable[..., Done]
ASKED = ("--model", "Llama3_70B", "--seq-len", "512", "--batch-size", "4", "--set", "tp_size=2")
TARGETS = ("--target", "itl = 30 ms", "--target", "ttft <= 500 ms")
SYSTEM = (*ASKED, "--hardware", "H100", "--relation", "itl <= 30 ms", "--relation", "ttft <= 500 ms")
UNKNOWN = ("--unknown", "hardware.memory.bandwidth", "--unknown", "hardware.compute.peak.fp16")


def test_the_least_hardware_for_people(ask: Ask) -> None:
    done = ask("synthesize", *ASKED, *TARGETS, "--rank-by", "price_per_hour", "--limit", "1")
    assert done.code == 0
    for part in ("3.17931 TB/s", "503.79 TFLOP/s", "427.071 GB/s", "binds",
                 "bandwidth is settled by itl = 30 ms", "keys and values",
                 "USD/h", "1 of ", "Meet it, and cannot be ranked", "no 'on-demand price'", "like"):  # fmt: skip
        assert part in done.out, part


def test_the_command_and_the_library_agree(ask: Ask) -> None:
    done = ask("synthesize", *ASKED, *TARGETS, "--json")
    specs = mo.SynthesisSolver().solve(
        "Llama3_70B", targets=["itl = 30 ms", "ttft <= 500 ms"], seq_len=512, batch_size=4, tp_size=2
    )
    assert done.json["required_bandwidth"] == specs.as_dict()["required_bandwidth"]
    assert [item["accelerator"] for item in done.json["matching"]["ranked"]] == [item.name for item in specs.matching()]
    assert all(item["relative_slack"] < 1e-9 for item in done.json["targets"])
    assert all(item["reason"] for item in done.json["matching"]["missed"])


def test_a_system_for_people_and_programs(ask: Ask) -> None:
    costs = (
        "--cost",
        "hardware.memory.bandwidth=2 USD per GB/s",
        "--cost",
        "hardware.compute.peak.fp16=10 USD per TFLOP/s",
    )
    done = ask("solve-system", *SYSTEM, *UNKNOWN, *costs, "--points", "3")
    assert done.code == 0
    for part in ("optimal: 11,386.8 USD", "252.6 USD per ms", "nothing can be taken", "memory.bandwidth"):
        assert part in done.out, part
    found = ask("solve-system", *SYSTEM, *UNKNOWN, *costs, "--json").json
    assert found["cheapest"]["gap"] < 1e-9
    assert found["exact"]
    narrow = ask("solve-system", *SYSTEM, *UNKNOWN, "--range", "hardware.memory.bandwidth=4 TB/s,5 TB/s", "--json").json
    assert all(4e12 <= item["values"]["hardware.memory.bandwidth"]["value"] <= 5e12 for item in narrow["frontier"])


def test_wrong_questions(refused: Callable[..., str]) -> None:
    refused("synthesize", *ASKED, code=2, says=("--target", "for example"))
    refused("synthesize", "--target", "itl = 3 ms", code=2, says=("--model",))
    refused("synthesize", *ASKED, "--target", "itll = 3 ms", says=("did you mean 'itl'",))
    refused("synthesize", *ASKED, "--target", "itl = 1 ms", code=5, says=("no hardware meets",))
    refused("synthesize", *ASKED, *TARGETS, "--rank-by", "price_per_our", says=("price_per_hour",))
    refused("synthesize", *ASKED, *TARGETS, "--set", "seq_len=3", code=2, says=("given twice",))
    refused("solve-system", *SYSTEM, code=2, says=("--unknown",))
    refused("solve-system", *ASKED, *UNKNOWN, code=2, says=("--relation",))
    refused("solve-system", *SYSTEM, *UNKNOWN, "--range", "hardware.memory.bandwidth=4", code=2, says=("--range",))
    refused(
        "solve-system", *SYSTEM, *UNKNOWN, "--cost", "hardware.memory.bandwidth=2 USD per GB/s", says=("is missing",)
    )
    refused("solve-system", *SYSTEM, *UNKNOWN, "--using", "ServingModl", says=("ServingModel",))
    refused("solve-system", *SYSTEM, "--relation", "itl <= 1 ms", *UNKNOWN, code=5, says=("itl is 5.437 ms",))
