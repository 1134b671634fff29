"""Scenario files: what they may say, how they are checked before anything runs, and the schema of their form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.cli import main
from mlsysim_opt.registry.kinds import KINDS
from mlsysim_opt.registry.scenario import Limits, ScenarioEntry
from mlsysim_opt.scenarios.schema import catalog_schema, schema_names

from .conftest import GOOD

Write = Callable[..., str]
AS_JSON = {
    "version": 1, "name": "Chat", "workload": "Llama3_8B", "system": "H100", "precision": "fp8", "batch_size": 8,
    "seq_len": 4096, "output_len": 512, "limits": {"itl": "50 ms"},
}  # fmt: skip


def test_yaml_json_and_data_are_one(write: Write) -> None:
    seen = [
        mo.SimulationConfig.from_yaml(write(GOOD)).run(),
        mo.SimulationConfig.from_json(write(json.dumps(AS_JSON), "plan.json")).run(),
        mo.SimulationConfig.from_json(write(json.dumps(AS_JSON, indent="\t"), "tabs.json")).run(),
        mo.SimulationConfig.from_dict(AS_JSON).run(),
        mo.SimulationConfig.from_text(GOOD).run(),
    ]
    levels = [item.to_dict()["levels"] for item in seen]
    assert all(item == levels[0] for item in levels)
    assert seen[0].verdict == "PASS"
    # The file is the scenario: the same asked directly.
    asked = {name: value for name, value in AS_JSON.items() if name != "version"}
    assert mo.Scenario(**asked).evaluate().to_dict()["levels"] == levels[0]


def test_all_faults_at_once_with_their_places(write: Write) -> None:
    content = (
        "version: 1\nname: x\nworkload: Llama3-8Bx\nsystem: H1000\nprecison: fp16\nbatch_size: 2.7\n"
        'limits: {ttft: 500, itl: 50 GB, powr: 3 W, latency: "-5 ms"}\nefficiency: 40\n'
    )
    with pytest.raises(mo.PlanError) as caught:
        mo.SimulationConfig.from_yaml(write(content))
    places = [(str(item.path).rpartition(": ")[2], item.line, item.column) for item in caught.value.errors]
    assert places == [
        ("workload", 3, 11),
        ("system", 4, 9),
        ("precison", 5, 1),
        ("batch_size", 6, 13),
        ("limits.ttft", 7, 16),
        ("limits.itl", 7, 26),
        ("limits.powr", 7, 33),
        ("limits.latency", 7, 53),
        ("efficiency", 8, 13),
    ]
    text = str(caught.value)
    for hint in ("'Llama3_8B'", "'H100'", "'precision'", "'500 s'", "'power'", "40 percent"):
        assert hint in text


@pytest.mark.parametrize(
    ("content", "key", "needs"),
    [
        (GOOD + "split: {tp_size: 1, cp_size: 2}\n", "cp_size", "task training"),
        (GOOD + "split: {zero_stage: 3}\n", "zero_stage", "task training"),
        (GOOD.replace("output_len: 512\n", "split: {tp_size: 3}\n").replace("limits:\n  itl: 50 ms\n", ""), "tp_size",
         "task serving or training"),
    ],
)  # fmt: skip
def test_a_split_that_has_no_effect_is_a_fault(write: Write, content: str, key: str, needs: str) -> None:
    with pytest.raises(mo.PlanError, match=needs) as caught:
        mo.SimulationConfig.from_yaml(write(content))
    line = next(number for number, text in enumerate(content.splitlines(), 1) if "split:" in text)
    assert str(caught.value.path).endswith(f"split.{key}")
    assert (caught.value.line, caught.value.column) == (line, content.splitlines()[line - 1].index(key) + 1)


def test_a_change_cannot_make_a_split_idle() -> None:
    scenario = mo.Scenario(
        "Chat", "Llama3_8B", "H100", batch_size=8, seq_len=4096, output_len=512, split={"tp_size": 2}
    )
    with pytest.raises(mo.InputError, match="no effect on inference") as caught:
        scenario.evaluate(task="inference")
    assert caught.value.path == "split.tp_size"
    assert str(caught.value.hint).endswith("remove it, or give task: serving")  # training needs a fleet


def test_thousands_of_faults_are_counted_not_listed(write: Write) -> None:
    with pytest.raises(mo.PlanError) as caught:
        mo.SimulationConfig.from_yaml(write(GOOD + "".join(f"odd{number}: 1\n" for number in range(2000))))
    assert str(caught.value).count("unknown field") == 20
    assert "and 1980 more" in str(caught.value)
    assert len(caught.value.errors) == 2000


def test_other_names_of_fields(write: Write) -> None:
    other = GOOD.replace("workload:", "model:").replace("system:", "hardware:").replace("limits:", "sla:")
    assert mo.SimulationConfig.from_yaml(write(other)).run().verdict == "PASS"
    with pytest.raises(mo.PlanError, match="given twice"):
        mo.SimulationConfig.from_yaml(write(other + "fleet: H100_256\n"))
    with pytest.raises(mo.PlanError) as caught:
        mo.SimulationConfig.from_yaml(write(other.replace("H100", "H1000")))
    assert str(caught.value.path).endswith("hardware")
    assert caught.value.line == 4


def test_long_form_with_a_source(write: Write) -> None:
    content = GOOD.replace("itl: 50 ms", "itl: {value: 50 ms, estimated: faster than people read}")
    spec = mo.SimulationConfig.from_yaml(write(content)).scenario.spec
    assert spec.limits is not None
    assert spec.limits.given()["itl"].estimated == "faster than people read"


@pytest.mark.parametrize(("version", "ok"), [(1, True), (99, False), ("1", False), ("true", False)])
def test_E20_unsupported_version(write: Write, version: Any, ok: bool) -> None:
    shown = f"'{version}'" if version == "1" else str(version)
    path = write(GOOD.replace("version: 1", f"version: {shown}"))
    if ok:
        mo.SimulationConfig.from_yaml(path)
    else:
        with pytest.raises(mo.PlanError, match="reads version 1") as caught:
            mo.SimulationConfig.from_yaml(path)
        assert (caught.value.errors or (caught.value,))[0].line == 1


# the schema -----------------------------------------------------------------------------------------------------------
def test_schema_of_scenario_files() -> None:
    schema = mo.SimulationConfig.json_schema()
    assert json.loads(json.dumps(schema)) == schema
    known = set(schema["properties"])
    fields = set(ScenarioEntry.model_fields) - {"title", "group", "aliases"}
    assert known == fields | {"version"}
    assert schema["required"] == ["workload", "system"]
    assert not schema["additionalProperties"]
    assert set(schema["properties"]["limits"]["properties"]) == set(Limits.model_fields)
    assert schema["properties"]["batch_size"]["anyOf"][0] == {"type": "integer", "minimum": 1}
    assert schema["properties"]["task"] == {
        "enum": ["inference", "serving", "training"],
        "description": "what is done with the model",
    }
    assert "H100" in schema["properties"]["system"]["examples"] or schema["properties"]["system"]["examples"]
    for name, field in ScenarioEntry.model_fields.items():
        if field.description and name in known:
            assert schema["properties"][name]["description"] == field.description


def test_example_fits_its_schema() -> None:
    assert_fits(AS_JSON, mo.SimulationConfig.json_schema())
    with pytest.raises(AssertionError):
        assert_fits({**AS_JSON, "batchsize": 3}, mo.SimulationConfig.json_schema())
    with pytest.raises(AssertionError):
        assert_fits({**AS_JSON, "batch_size": 2.7}, mo.SimulationConfig.json_schema())


TYPES: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict}


def assert_fits(data: Any, schema: dict[str, Any]) -> None:
    """Check the few keywords that our schemas use."""
    if "anyOf" in schema:
        assert any(_fits(data, option) for option in schema["anyOf"])
    if "const" in schema:
        assert data == schema["const"]
    if "enum" in schema:
        assert data in schema["enum"]
    if isinstance(schema.get("type"), str):
        assert isinstance(data, TYPES[schema["type"]])
    if schema.get("type") == "object":
        assert set(schema.get("required", ())) <= set(data)
        for name, value in data.items():
            assert name in schema["properties"] or schema.get("additionalProperties", True)
            assert_fits(value, schema["properties"].get(name, {}))


def _fits(data: Any, schema: dict[str, Any]) -> bool:
    try:
        assert_fits(data, schema)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("kind", list(KINDS))
def test_schema_of_every_kind(kind: str) -> None:
    schema = catalog_schema(kind)
    assert json.dumps(schema)
    assert schema["properties"]["kind"] == {"const": kind}
    entry = schema["properties"]["entries"]["additionalProperties"]
    assert set(entry["properties"]) == set(KINDS[kind].entry_type.model_fields) - {"name"}


def test_H10_unknown_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "acelerator"]) == 3
    err = capsys.readouterr().err
    assert "acelerator" in err
    assert "'accelerator'" in err
    assert schema_names()[0] == "config"


# the command line -----------------------------------------------------------------------------------------------------
def test_commands(write: Write, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write(GOOD)
    assert main(["config", "check", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "serving"
    page = tmp_path / "card.html"
    assert main(["scenario", "run", path, "--html", str(page)]) == 0
    assert "verdict: PASS" in capsys.readouterr().out
    assert page.read_text().startswith("<!doctype html>")
    assert not list(tmp_path.glob("*.part"))
    assert main(["scenario", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["scenarios"]) == len(mo.Scenarios)
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("https://json-schema.org")


def test_exit_status_says_what_happened(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "run", write(GOOD.replace("50 ms", "1 us"))]) == 5
    assert main(["scenario", "run", write(GOOD.replace("itl: 50 ms", "accuracy: 0.5"))]) == 3
    assert main(["scenario", "run", write(GOOD.replace("Llama3_8B", "Llama3_405B"))]) == 5
    assert main(["scenario", "run", "Dorbell"]) == 3
    assert "'Doorbell'" in capsys.readouterr().err
    assert main(["scenario", "run", "nowhere.yaml"]) == 4
    assert main(["scenario", "run", "Doorbell", "--html", "/nowhere/at/all.html"]) == 4
