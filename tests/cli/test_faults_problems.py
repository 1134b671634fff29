"""Unknown names and ill-posed problems: classes C and D of the fault list, each test named by its id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import mlsysim_opt as mo

from .conftest import DESIGN, JOB, Done

Refused = Callable[..., str]
Ask = Callable[..., Done]
GIVEN: dict[str, Any] = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 512, "seq_len": 8192}
REST = ("--fleet", "Lab_64_H100", "--batch-size", "512", "--seq-len", "8192")


def constrained(*texts: str) -> tuple[str, ...]:
    return ("optimize", *JOB, *(part for text in texts for part in ("--constraint", text)))


def wanting(objective: str) -> tuple[str, ...]:
    return ("optimize", *JOB, "--objective", objective)


# names ----------------------------------------------------------------------------------------------------------------
def test_C01_unknown_hardware(refused: Refused) -> None:
    refused("zoo", "show", "H1000", says=("H1000", "did you mean 'H100'"))
    refused("optimize", *JOB, "--set", "accelerator=H1000", says=("accelerator", "H1000", "did you mean 'H100'"))


def test_C02_wrong_case(ask: Ask) -> None:
    assert ask("zoo", "show", "h100", "--json").json["entries"][0]["name"] == "H100"
    assert ask("optimize", *JOB, "--fleet", "lab-64-h100", "--json").code == 0


def test_C03_unknown_model(ask: Ask, refused: Refused) -> None:
    assert ask("optimize", *REST, "--model", "Llama3-8B", "--json").code == 0
    refused("optimize", *REST, "--model", "Llama3_9B", says=("model", "Llama3_9B", "did you mean 'Llama3_8B'"))


def test_C06_unknown_grid(refused: Refused) -> None:
    refused("optimize", *JOB, "--set", "grid=Atlantis", says=("grid", "Atlantis"))
    refused("optimize", *JOB, "--set", "grid=Quebek", says=("grid", "Quebek", "did you mean 'Quebec'"))


def test_C07_unknown_key(refused: Refused, plan: Callable[[str], str]) -> None:
    refused("optimize", *JOB, "--set", "batchsize=3", says=("batchsize", "did you mean 'batch_size'"))
    says = ("line 1", "column 9", "batchsize", "did you mean 'batch_size'")
    refused("optimize", "--plan", plan("given: {batchsize: 3}\nformulation: parallelism"), says=says)


def test_C08_unknown_metric(refused: Refused) -> None:
    says = ("--constraint", "column 1", "latncy", "did you mean 'latency'")
    refused(*constrained("latncy <= 3 s"), says=says)


def test_C09_unknown_precision(refused: Refused) -> None:
    refused("optimize", *JOB, "--precision", "fp17", says=("precision", "fp17", "did you mean 'fp16'"))


def test_C10_attribute_typo() -> None:
    with pytest.raises(AttributeError, match="did you mean 'H100'"):
        _ = mo.Hardware.Cloud.H1000


@pytest.mark.parametrize("name", ["__class__", "__init__", "model_fields"])
def test_C11_dunder_names(refused: Refused, name: str) -> None:
    refused("zoo", "show", name, says=("unknown name", name))
    refused("optimize", *REST, "--model", name, says=("model", name))


@pytest.mark.parametrize("name", ["list", "all", "names", "find"])
def test_C12_method_names(refused: Refused, name: str) -> None:
    refused("zoo", "show", name, says=("unknown name", name))
    refused("optimize", *REST, "--model", name, says=("model", name))


def test_C13_unknown_objective(refused: Refused) -> None:
    refused(*wanting("min_step_tme"), says=("objective", "min_step_tme", "did you mean 'min_step_time'"))
    refused(*wanting("max_foo"), says=("objective", "max_foo"))


@pytest.mark.parametrize("text", ["laency <= 3 s", "3 s >= laency"])
def test_C14_C15_unknown_metric_in_a_constraint(refused: Refused, text: str) -> None:
    refused(*constrained(text), "--objective", "max_mfu", says=("laency", "did you mean 'latency'"))


def test_C16_unknown_backend(refused: Refused) -> None:
    refused("optimize", *JOB, "--backend", "scipy", says=("backend", "scipy", "auto, cpsat, enumerate, milp"))
    refused("optimize", *JOB, "--backend", "cp-sat", says=("did you mean 'cpsat'",))


def test_unknown_formulation_kind_and_field(refused: Refused) -> None:
    refused("optimize", "paralelism", *JOB, says=("paralelism", "did you mean 'parallelism'"))
    refused("zoo", "list", "nodez", says=("nodez", "did you mean 'node'"))
    refused("zoo", "list", "accelerator", "--sort", "memory.capcity", says=("--sort", "did you mean 'memory.capacity'"))
    refused("explain", "memry", says=("memry", "did you mean 'memory'"))


# problems -------------------------------------------------------------------------------------------------------------
def test_D01_contradiction(ask: Ask) -> None:
    done = ask(*constrained("tp_size > 3", "tp_size < 2"), "--json")
    assert done.code == 5
    assert done.json["status"] == "infeasible"
    assert sorted(done.json["conflict"]) == ["tp_size < 2", "tp_size > 3"]
    assert {item["constraint"] for item in done.json["relaxations"]} >= {"tp_size < 2", "tp_size > 3"}


def test_D02_threshold_is_a_word(refused: Refused) -> None:
    refused(*constrained("step_time <= fast"), says=("--constraint", "column 14", "fast"))


def test_D03_threshold_with_a_unit(ask: Ask, refused: Refused) -> None:
    seconds = ask(*constrained("step_time <= 60 s"), "--json").json
    minutes = ask(*constrained("step_time <= 1 min"), "--json").json
    assert seconds["design"] == minutes["design"]
    assert seconds["constraints"][-1]["slack"] == minutes["constraints"][-1]["slack"]
    limit = minutes["metrics"]["step_time"]  # the best: with "<" it is no longer allowed
    below = ask(*constrained(f"step_time < {limit['value']!r} {limit['unit']}"), "--json").json
    assert below["status"] == "infeasible"
    assert any("by the least bit: a limit above" in item["change"] for item in below["relaxations"])


def test_D04_unknown_operator(refused: Refused) -> None:
    refused(*constrained("tp_size =! 3"), says=("--constraint", "column 10", "'!'"))


def test_D05_compact(ask: Ask) -> None:
    assert ask(*constrained("tp_size>3"), "--json").json["design"]["tp_size"] > 3


def test_D06_other_units(refused: Refused) -> None:
    refused(*constrained("step_time <= 50 GB"), says=("step_time is s", "50 GB is byte"))


def test_D07_empty_choice(refused: Refused, plan: Callable[[str], str]) -> None:
    refused("optimize", *JOB, "--choose", "tp_size=", says=("tp_size", "empty"))
    refused("optimize", *JOB, "--plan", plan("choices: {tp_size: []}"), says=("line 1", "column 20", "empty"))


def test_D08_nothing_to_choose(ask: Ask) -> None:
    narrow = [part for piece in DESIGN.split(",") for part in ("--choose", piece)]
    done = ask("optimize", *JOB, *narrow, "--json")
    assert done.code == 0
    assert done.json["certificate"]["combinations"] == 1
    assert done.json["runner_ups"] == []


def test_D09_G12_gigantic_space(ask: Ask) -> None:
    job = ("--model", "DeepSeek_V3", "--fleet", "Meta_GenAI_H100_24K_RoCE", "--batch-size", "15360")
    done = ask("optimize", *job, "--seq-len", "4096", "--json")
    assert done.code == 0
    assert done.json["certificate"]["combinations"] > 10**10
    assert done.json["gap"] == 0


def test_D10_objective_that_raises() -> None:
    def broken(metrics: Any) -> Any:
        raise ZeroDivisionError("my own fault")

    with pytest.raises(ZeroDivisionError, match="my own fault"):
        mo.optimize("parallelism", objective=broken, **GIVEN)


def test_D11_objective_undefined_for_some(ask: Ask) -> None:
    found = ask(*wanting("step_time / (tp_size - 1)"), "--json").json
    assert found["design"]["tp_size"] > 1
    assert found["certificate"]["details"]["excluded"] > 0, "how many designs have no value is reported"
    assert "left out" in ask(*wanting("step_time / (tp_size - 1)")).out


def test_D12_objective_is_nan() -> None:
    with pytest.raises(mo.InputError, match="nan is not a finite number"):
        mo.optimize("parallelism", objective=lambda m: m.step_time * float("nan"), **GIVEN)


def test_D13_no_design_is_infinitely_good(ask: Ask) -> None:
    found = ask(*wanting("maximize 1 / (tp_size - 1)"), "--json").json
    assert found["design"]["tp_size"] == 2
    assert found["objective"]["value"] == 1


def test_D14_duplicated_values(refused: Refused) -> None:
    refused("optimize", *JOB, "--choose", "tp_size=2,4,2", says=("tp_size", "twice", "2"))


@pytest.mark.parametrize("text", ["make it cheap", "cheap", "", "min", "step_time +"])
def test_D15_nonsense(refused: Refused, text: str) -> None:
    refused(*wanting(text), says=("objective", "min_<metric>"))


def test_D16_direction_typo(ask: Ask, refused: Refused) -> None:
    assert ask(*wanting("minimise: step_time"), "--json").json["design"]
    refused(*wanting("minimze step_time"), says=("minimze", "did you mean 'minimize'"))


def test_D17_D18_infeasible_target(ask: Ask) -> None:
    done = ask(*constrained("step_time <= 1 ms"))
    assert done.code == 5
    assert done.err.startswith("infeasible: ")
    assert "step_time <= 1 ms" in done.err
    assert "ways out:" in done.err


def test_D19_model_too_big(ask: Ask) -> None:
    job = ("--model", "Llama3_405B", "--fleet", "One_DGX_H100", "--batch-size", "64", "--seq-len", "8192")
    done = ask("optimize", *job, "--json")
    assert done.code == 5
    assert done.json["conflict"] == ["memory fits"]
    ways = {item["constraint"]: item for item in done.json["relaxations"]}
    assert ways["memory fits"]["amount"]["unit"].endswith("iB")
    assert ways["nodes"]["amount"]["value"] > 1
    shown = ask("optimize", *job)
    for part in ("memory fits", "GiB instead of 80 GiB", "nodes (", "recomputation="):
        assert part in shown.err, part


def test_D20_no_fleet(refused: Refused) -> None:
    given = ("--model", "Llama3_8B", "--batch-size", "512", "--seq-len", "8192")
    refused("optimize", "parallelism", *given, says=("--fleet", "needs"))
    refused("optimize", *given, says=("formulation", "compression, layerwise, parallelism"))  # either lacks one more


def test_D21_inconsistent_topology(ask: Ask) -> None:
    narrow = ("--choose", "tp_size=3", "--choose", "dp_size=8", "--choose", "pp_size=1", "--choose", "cp_size=1")
    done = ask("optimize", *JOB, *narrow, "--json")
    assert done.code == 5
    assert set(done.json["conflict"]) <= {"tp x pp x dp x cp = devices", "tp divides the heads",
                                          "tp and the kv heads divide"}  # fmt: skip


def test_D22_contradictory_bounds(ask: Ask) -> None:
    done = ask(*constrained("2 s <= step_time <= 1 s"), "--json")
    assert done.code == 5
    assert done.json["conflict"] == ["step_time <= 1 s"]  # impossible alone: the smallest conflict


def test_D23_constraint_without_a_bound(refused: Refused) -> None:
    refused(*constrained("step_time"), says=("--constraint", "'step_time' is not a comparison", "<="))
    refused(*constrained(""), says=("--constraint", "empty"))


def test_D24_violated_assertion(ask: Ask) -> None:
    done = ask("eval", *JOB, "--design", DESIGN, "--constraint", "memory <= 3 GiB")
    assert done.code == 5
    assert "violates memory <= 3 GiB" in done.out
    assert "VIOLATED" in done.out


@pytest.mark.parametrize("value", ["0", "-2", "2.5", "nan", "abc"])
def test_D25_size_zero(refused: Refused, value: str) -> None:
    refused("optimize", *JOB, "--choose", f"tp_size={value}", says=("--choose tp_size", value))


def test_a_stage_that_does_not_exist(refused: Refused) -> None:
    refused("optimize", *JOB, "--choose", "zero_stage=7", says=("--choose zero_stage", "7", "0, 1, 2, 3"))
    refused("optimize", *JOB, "--choose", "recomputation=ful", says=("did you mean 'full'",))
    refused("optimize", *JOB, "--choose", "sequence_parallel=maybe", says=("--choose sequence_parallel", "maybe"))


def test_D26_more_replicas_than_sequences(ask: Ask) -> None:
    job = ("--model", "Llama3_8B", "--fleet", "H100_256", "--batch-size", "1", "--seq-len", "8192")
    done = ask("optimize", *job, "--choose", "dp_size=256", "--json")
    assert done.code == 5
    assert "dp x microbatch divides the batch" in done.json["conflict"]
    assert ask("optimize", *job, "--json").json["design"]["dp_size"] == 1


def test_D27_not_a_power_of_two(ask: Ask) -> None:
    found = ask("optimize", *JOB, "--batch-size", "528", "--set", "nodes=3", "--json").json
    sizes = [found["design"][name] for name in ("tp_size", "pp_size", "dp_size", "cp_size")]
    assert sizes[0] * sizes[1] * sizes[2] * sizes[3] == 24


def test_a_decision_given_as_an_input_is_explained(refused: Refused) -> None:
    refused("optimize", *JOB, "--set", "tp_size=8", says=("tp_size", "--choose tp_size=8"))
    refused("optimize", *JOB, "--choose", "nodes=8", says=("nodes", "--set nodes=8"))


def test_a_number_that_was_not_given_is_never_zero(refused: Refused) -> None:
    refused(*wanting("min_cost"), says=("token_budget", "cost needs", "give token_budget"))
    budget = ("--set", "token_budget=1e12 token")
    refused(*wanting("min_cost"), *budget, says=("price", "cost needs", "USD/h"))
    refused(*wanting("min_carbon"), *budget, says=("carbon needs",))


def test_units_of_an_objective_are_checked(refused: Refused) -> None:
    refused(*wanting("step_time + memory"), says=("column 11", "step_time is s", "memory is byte"))
