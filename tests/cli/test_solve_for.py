"""The command that inverts a model: what it prints, for people and for programs, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable

import mlsysim_opt as mo

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


def test_values_between_commas_are_axes(ask: Ask) -> None:
    inputs = ("--using", "ServingModel", "--unknown", "batch_size", "--hardware", "H200", "--seq-len", "1024,4096")
    question = ("solve-for", "itl <= 20 ms, 1 ms", *inputs, "--model", "Llama3_8B,Mistral_7B")
    done = ask(*question)
    assert done.code == 0
    for part in ("batch_size for itl <=", "none", "4 of 8 points have no answer; the first, itl <= 1 ms"):
        assert part in done.out, part
    found = ask(*question, "--json").json
    library = mo.solve_for(
        "itl", ["<= 20 ms", "<= 1 ms"], unknown="batch_size", using=mo.ServingModel, hardware="H200",
        seq_len=[1024, 4096], model=["Llama3_8B", "Mistral_7B"],
    )  # fmt: skip
    rows = {(row["itl"], row["seq_len"], row["model"]): row["batch_size"] for row in library.rows()}
    assert len(found["points"]) == 8
    for point in found["points"]:
        single = rows[point["itl"], point["seq_len"], point["model"]]
        assert point["batch_size"] == (None if math.isnan(single) else single)


def test_wrong_questions(refused: Callable[..., str]) -> None:
    refused("solve-for", "itl", *ASKED, says=("not of the form output = value",))
    refused("solve-for", "itl <= 30 ms,", *ASKED, says=("stand in one list",))
    refused("solve-for", "itl <= 30 ms", *ASKED, "--tp-size", "1,", says=("tp_size", "whole number"))
    refused("solve-for", "itl <= 1 ms, 2 us", *ASKED, code=5, says=("no point has an answer", "attainable is"))


def test_a_formulation_is_asked_by_name(ask: Ask, refused: Callable[..., str]) -> None:
    job = ("--using", "parallelism", "--model", "Llama3_8B", "--fleet", "Lab_64_H100", "--global-batch-size", "512",
           "--seq-len", "8192", "--objective", "min_step_time")  # fmt: skip
    done = ask("solve-for", "step_time <= 7 s", *job, "--unknown", "gemm_efficiency", "--tp-size", "2")
    assert done.code == 0
    assert "calibration.gemm_efficiency at least" in done.out
    refused(
        "solve-for", "step_time <= 7 s", *job, "--unknown", "gemm_efficiency", "--tp-sise", "2", says=("'tp_size'",)
    )
    refused("solve-for", "itl <= 7 s", "--using", "Serving", "--unknown", "x", says=("--using", "ServingModel"))


def test_a_formula_without_the_unknown_is_none(ask: Ask) -> None:
    # the number of replicas follows from the load: traced at one load, it is a number and no formula
    done = ask("solve-for", "required_replicas <= 10", "--using", "ServingCapacityModel", "--unknown", "qps", "--model",
               "Llama3_8B", "--hardware", "H100", "--target-p99-latency-ms", "20 s")  # fmt: skip
    assert "at most 108.9" in done.out
    assert "formula" not in done.out
