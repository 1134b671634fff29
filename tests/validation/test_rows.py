"""Files of measurements: every form that is read, and every fault that is named with its place."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlsysim_opt.errors import InputError
from mlsysim_opt.validation.predictors import PREDICTORS, predictor
from mlsysim_opt.validation.rows import Row, Unmodelled, read_rows

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
