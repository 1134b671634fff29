"""Files of measurements: every form that is read, and every fault that is named with its place."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mlsysim_opt.errors import InputError
from mlsysim_opt.registry.types import Fleet
from mlsysim_opt.validation import predictors
from mlsysim_opt.validation.entries import fault_of
from mlsysim_opt.validation.predictors import PREDICTORS, Answer, predict, predictor, validate
from mlsysim_opt.validation.rows import Row, Unmodelled, read_rows

from .conftest import row as training_row

GOOD = """
meta: {title: 'Set A: training', rows: 1}
rows:
- id: one
  set: A
  group: g
  inputs: {model: m, gpus: 8}
  measured: {step_time_s: 1.5}
  flags: [read me first]
  source: {title: Paper, locator: Table 1}
"""


def write(folder: Path, text: str, name: str = "rows.yaml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_a_row_is_read_with_all_that_it_states(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    (found,) = read_rows(path)
    assert (found.id, found.group, found.subject) == ("one", "g", "training")
    assert found.inputs == {"model": "m", "gpus": 8}
    assert found.measurement("step_time_s") == 1.5
    assert found.flags == ("read me first",)
    assert found.source == "Paper, Table 1"
    assert found.folder == tmp_path


@pytest.mark.parametrize(
    ("meta", "name", "subject"),
    [
        ("{set: A-memory}", "x.yaml", "memory"),
        ("{subject: energy}", "x.yaml", "energy"),
        ("{title: 'Set C: reliability'}", "x.yaml", "reliability"),
        ("{}", "training_memory.yaml", "memory"),
        ("{}", "training.yaml", "training"),
    ],
)
def test_the_subject_is_what_the_file_says_or_its_name(tmp_path: Path, meta: str, name: str, subject: str) -> None:
    text = f"meta: {meta}\nrows:\n- {{id: a, group: g, inputs: {{}}, measured: {{}}}}\n"
    assert read_rows(write(tmp_path, text, name))[0].subject == subject


def test_every_subject_has_a_predictor_that_can_be_loaded() -> None:
    for subject in PREDICTORS:
        assert callable(predictor(subject)), subject


def test_tables_under_their_own_name_are_rows_too(tmp_path: Path) -> None:
    text = "chinchilla_table3:\n- {params: 4.0e8, flops: 1.92e19, tokens: 8.0e9}\n"
    (found,) = read_rows(write(tmp_path, text))
    assert found.subject == "scaling"
    assert found.inputs == {"params": 4e8, "flops": 1.92e19}
    assert found.measurement("tokens") == 8e9


CSV = """# a comment
id,system,isl,ttft_ms,tpot_ms,measured,score,flags
a,h100,1024,100.5,10,2026-01-01,1,
b,h100,1024,200,20,2026-01-01,0,
c,h100,1024,300,,2026-01-01,1,odd
"""


def test_a_csv_line_is_a_row(tmp_path: Path) -> None:
    one, two, three = read_rows(write(tmp_path, CSV, "x.csv"))
    assert (one.subject, one.id, one.group) == ("silicon", "a", "h100")
    assert one.inputs["isl"] == 1024
    assert one.measured == {"ttft_ms": 100.5, "tpot_ms": 10}
    assert one.flags == ()
    assert two.flags == ("not meant to be scored",)
    assert three.flags == ("odd",)
    assert "tpot_ms" not in three.measured


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("- 1\n", "x.yaml", "expected a mapping"),
        ("rows: 3\n", "x.yaml", "list of rows"),
        ("rows:\n- 7\n", "x.yaml", "expected a mapping of id"),
        ("rows:\n- {id: a, measured: {}}\n", "x.yaml", "'inputs'"),
        ("rows:\n- {id: a, inputs: {}, measured: 3}\n", "x.yaml", "'measured'"),
        ("rows:\n- {id: [1], inputs: {}, measured: {}}\n", "x.yaml", "expected a name"),
        ("other: 1\n", "x.yaml", "holds no rows"),
        ("rows: []\n", "x.yaml", "no rows"),
        ("rows:\n- {id: a, inputs: {}, measured: {}}\n- {id: a, inputs: {}, measured: {}}\n", "x.yaml", "two rows"),
        ("rows: &a [*a]\n", "x.yaml", "not allowed"),
        ("", "x.csv", "empty"),
        ("a,b\n1,2\n", "x.csv", "no column of measurements"),
        ("id,tpot_ms\na,1,2\n", "x.csv", "3 cells"),
    ],
)
def test_a_malformed_file_is_an_error_that_says_where(tmp_path: Path, text: str, name: str, said: str) -> None:
    path = write(tmp_path, text, name)
    with pytest.raises(InputError, match=said) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_rows(tmp_path / "none.yaml")


def test_what_a_row_lacks_is_said_by_name() -> None:
    bare = Row("r", "g", "training", {"gpus": "many", "dp": None}, {"x": 0.0, "y": "two", "z": True})
    with pytest.raises(Unmodelled, match="tp not stated"):
        bare.need("tp")
    with pytest.raises(Unmodelled, match="gpus is no number"):
        bare.number("gpus")
    assert [bare.measurement(name) for name in ("x", "y", "z", "w")] == [None] * 4


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
def test_any_text_is_rows_or_an_error_of_ours(tmp_path: Path, text: str) -> None:
    for name in ("x.yaml", "x.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode("utf-8", "replace"))
        with contextlib.suppress(InputError):
            assert read_rows(path)


# numbers that are none ------------------------------------------------------------------------------------------------
HUGE = 10**21


def reason(changed: Row) -> str:
    (found,) = predict(changed)
    assert isinstance(found.answer, Unmodelled), found.answer
    assert "\n" not in found.answer.reason
    return found.answer.reason


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (HUGE, "beyond"), (-HUGE, "beyond"), (1e300, "beyond"), (10**400, "beyond"), (math.nan, "not finite"),
        (math.inf, "not finite"), (-math.inf, "not finite"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["batch_size", "gpus", "seq_len", "tp", "an_input_that_nobody_knows"])
def test_no_model_sees_a_number_that_is_no_count_of_anything(
    monkeypatch: pytest.MonkeyPatch, name: str, value: float, said: str
) -> None:
    def never(_: str) -> Callable[[Row], Answer]:
        return lambda _: pytest.fail("the predictor was asked")

    monkeypatch.setattr(predictors, "predictor", never)
    found = reason(training_row(**{name: value}))
    assert found.startswith(name)
    assert said in found


def test_amounts_of_work_are_larger_than_counts() -> None:
    Row("r", "g", "scaling", {"flops": 3.8e25, "training_flop": 1e26}, {"tokens": 1.0}).check()
    with pytest.raises(Unmodelled, match="total_flops is beyond"):
        Row("r", "g", "scaling", {"total_flops": 10**400}, {"tokens": 1.0}).check()


def test_trap_the_largest_microbatch_of_an_enormous_batch_is_found_at_once() -> None:
    # 2^53 - 8 sequences on 8 accelerators leave each a number far beyond what can be tried one by one.
    found = predict(training_row(global_batch=2**53 - 8, micro_batch=None, cp=1))
    assert len(found) == 1


@pytest.mark.parametrize("value", [0, -1.5, math.nan, math.inf, -math.inf, 10**400])
def test_a_measurement_is_a_positive_number(value: float) -> None:
    assert reason(training_row({"step_time_s": value})) == "nothing was measured as a positive number"


@pytest.mark.parametrize("name", ["tp", "tp_size", "pp", "gpus", "micro_batch", "layers_override", "gpus_per_node"])
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_a_count_is_a_positive_whole_number(name: str, value: float) -> None:
    given = {"tp": None, name: value} if name == "tp_size" else {name: value}
    assert reason(training_row(**given)) == f"{name.removesuffix('_size')} is no positive whole number: {value}"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recomputation": "banana"}, "recomputation 'banana' is not known"),
        ({"activation_recompute": "banana"}, "recomputation 'banana' is not known"),
        ({"activation_ckpt": "banana"}, "activation_ckpt is neither true nor false: 'banana'"),
        ({"sequence_parallel": "banana", "tp": 2, "cp": 1}, "sequence_parallel is neither true nor false: 'banana'"),
        ({"fsdp": "banana"}, "fsdp 'banana' is not known"),
        ({"zero_stage": 4}, "zero_stage is none of 0 to 3: 4"),
        ({"precision": "banana"}, "precision 'banana' is not known"),
    ],
)
def test_an_unknown_value_of_a_key_that_decides_is_not_taken_as_the_default(changed: dict[str, Any], said: str) -> None:
    assert reason(training_row(**changed)) == said


def test_the_bytes_of_a_collective_are_not_negative() -> None:
    given = {"system": "h100_sxm", "op": "all_reduce", "ranks": 8}
    assert "negative" in reason(Row("r", "g", "network", {**given, "bytes": -1}, {"latency_us": 1.0}))
    assert "negative" in reason(Row("r", "g", "network", {**given, "payload": "-1 GiB"}, {"busbw_gbs": 1.0}))


ODD = st.one_of(
    st.integers(), st.floats(), st.text(max_size=9), st.booleans(), st.none(), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=1), st.sampled_from([2**53, -(2**53), 10**400]),
)  # fmt: skip
INTERNAL = re.compile(r"Error|Traceback|pydantic|NoneType|\n")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["model", "hardware", "gpus", "seq_len", "batch_size", "precision", "tp", "vp", "fsdp", "slices"]),
    ODD,
)
def test_whatever_a_row_says_the_reason_is_one_line_without_our_internals(name: str, value: Any) -> None:
    for outcome in predict(training_row(**{name: value})):
        if isinstance(outcome.answer, Unmodelled):
            assert not INTERNAL.search(outcome.answer.reason)


@pytest.mark.parametrize(
    "problem", [OverflowError("int too large"), ZeroDivisionError("x"), ValueError("NaN"), KeyError("abc")]
)
def test_a_fault_that_nobody_foresaw_names_the_inputs_and_no_class(
    monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fails(_: Row) -> Answer:
        raise problem

    monkeypatch.setattr(predictors, "predictor", lambda _: fails)
    found = reason(training_row(ep=-3))
    assert found == "the row cannot be read: see ep -3"
    assert "tp" in reason(training_row())


def test_a_fault_of_an_entry_names_the_field() -> None:
    with pytest.raises(ValidationError) as caught:
        Fleet.model_validate({"name": "x", "title": "x", "node_count": 0})
    found = fault_of(caught.value)
    assert "\n" not in found
    assert "pydantic" not in found
    assert ":" in found


@pytest.mark.parametrize("text", ["{}", "{arch: dense_decoder}", "7", "{arch: dense_decoder, hidden: 8, heads: 0}"])
def test_facts_that_are_incomplete_are_a_reason(tmp_path: Path, text: str) -> None:
    write(tmp_path, f"models: {{odd: {text}}}\n", "models.yaml")
    write(tmp_path, f"hardware: {{h100-odd: {text}}}\n", "hardware.yaml")
    for found in (training_row(model="odd"), training_row(hardware="h100-odd")):
        assert "odd" in reason(replace(found, file=tmp_path / "rows.yaml"))


def test_a_file_about_nothing_that_is_modelled_names_what_is(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("title: 'Set A: training'", "subject: trainig").replace("  set: A\n", ""))
    with pytest.raises(InputError, match="did you mean 'training'") as caught:
        validate(path)
    for subject in PREDICTORS:
        assert subject in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_documentation_names_every_subject(root: Path) -> None:
    text = (root / "docs/validation.md").read_text("utf-8")
    said = text[text.index("`meta.subject` is one of") :].partition(".\n")[0].partition("Without")[0]
    assert set(re.findall(r"`(\w+)`", said)) == set(PREDICTORS)
