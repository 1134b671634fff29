"""The command that inverts a model: what it prints, for people and for programs, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Done

Ask = Callable[..., Done]
ASKED = ("--using", "ServingModel", "--unknown", "hardware.memory.bandwidth", "--model", "Llama3_70B",
         "--hardware", "H200", "--seq-len", "4096")  # fmt: skip


def test_which_entries_meet_it_and_which_cannot_be_used(ask: Ask) -> None:
    done = ask("solve-for", "itl = 30 ms", *ASKED)
    assert done.code == 0
    for part in ("5.84281 TB/s", "each entry as a whole in the place of hardware", "cannot be used", "Groq_LPU",
                 "violates 'memory fits'", "others do not meet it"):  # fmt: skip
        assert part in done.out, part
    found = ask("solve-for", "itl = 30 ms", *ASKED, "--json").json["matching"]
    assert "B200" in [item["entry"] for item in found["met"]]
    assert "Cerebras_CS3" in [item["entry"] for item in found["aside"]]
    assert all(item["reason"] for item in (*found["aside"], *found["missed"]))


def test_an_unknown_that_is_no_number_of_an_entry_matches_none(ask: Ask) -> None:
    inputs = [part for part in ASKED if part != "hardware.memory.bandwidth"]
    inputs.insert(inputs.index("--unknown") + 1, "batch_size")
    assert ask("solve-for", "itl <= 60 ms", *inputs, "--json").json["matching"] is None
