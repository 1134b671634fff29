"""Questions over several scenarios: in plan files and by options."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import mlsysim_opt as mo

from .conftest import Done

Ask = Callable[..., Done]
Refused = Callable[..., str]
Plan = Callable[[str], str]

FLEET = """
formulation: serving_fleet
given:
  measured: [{accelerator: H100, name: chat, request_rate: 4}]
  offers: [{accelerator: H100, price: 3 USD/h}]
  traffic: [{name: chat, request_rate: 20 request/s}]
"""
DEMANDS = """
scenarios:
  - {}
  - traffic: [{name: chat, request_rate: 100 request/s}]
"""
COMPRESSED = ("compression", "--model", "Llama3_70B", "--set", "hardware=H200", "--seq-len", "4096", "--set",
              "output_len=512", "--objective", "min_itl")  # fmt: skip


def test_scenarios_of_a_plan_file(ask: Ask, plan: Plan) -> None:
    # 25 replicas serve 100 request/s at 4 each; 5 would do for 20
    file = plan(FLEET + DEMANDS + "robust: worst_case\n")
    found = ask("optimize", "--plan", file, "--json")
    assert found.code == 0
    assert found.json["objective"]["value"] == pytest.approx(75)
    assert found.json["robustness"]["price"]["value"] == pytest.approx(60)
    assert mo.PlanSolution.from_json(found.out).what_if().objective.value == pytest.approx(75)
    shown = ask("optimize", "--plan", file)
    assert "the price of robustness is 60 USD/h" in shown.out
    assert "served [scenario 2]" in shown.out
    # the regret: 25 replicas are 20 too many for 20 request/s, and none too many for 100
    assert ask("optimize", "--plan", file, "--robust", "regret", "--json").json["objective"]["value"] == pytest.approx(
        60
    )


def test_scenarios_of_the_command_line(ask: Ask) -> None:
    given = ("--scenario", "as given", "--scenario", "seq_len=8192; output_len=1024")
    found = ask("optimize", *COMPRESSED, *given, "--json")
    again = mo.optimize("compression", model="Llama3_70B", hardware="H200", seq_len=4096, output_len=512,
                        objective="min_itl", scenarios=[{}, {"seq_len": 8192, "output_len": 1024}])  # fmt: skip
    assert found.json["design"] == again.design
    assert again.robustness is not None
    assert found.json["robustness"]["values"] == [item.as_dict() for item in again.robustness.values]
    assert "worst_case" in ask("optimize", *COMPRESSED, *given).out


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("scenarios: 3\n", "list of scenarios"),
        ("scenarios: [{}]\nrobust: worst\n", "robust"),
        ("scenarios: [{price: 3}]\n", "price"),
        ("scenarios: [{}, {}]\nrobust: expected\nshares: [1]\n", "probabilities"),
        ("robust: regret\n", "none are given"),
        ("scenarois: [{}]\n", "scenarios"),
    ],
)
def test_faults_are_named_with_their_place(refused: Refused, plan: Plan, added: str, says: str) -> None:
    told = refused("optimize", "--plan", plan(FLEET + added), says=(says,))
    assert ":8:" in told or ":9:" in told or ":10:" in told or "line " in told


def test_faults_of_options_are_named(refused: Refused) -> None:
    refused("optimize", *COMPRESSED, "--scenario", "seq_len", code=2, says=("--scenario",))
    refused("optimize", *COMPRESSED, "--scenario", "lenght=3", says=("--scenario", "lenght"))
    refused("optimize", *COMPRESSED, "--robust", "regret", says=("--robust",))


def test_other_commands_say_that_they_do_not_answer_over_scenarios(refused: Refused, plan: Plan) -> None:
    refused("pareto", "--plan", plan(FLEET + DEMANDS), "--objective", "min_cost", "--objective", "min_power",
            says=("only optimize answers over several scenarios",))  # fmt: skip
