"""The command that measures the models against published measurements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlsysim_opt.cli.output import Answer


@pytest.fixture
def table(root: Path) -> str:
    return str(root / "benchmarks/validation/scaling.yaml")


def test_people_see_groups_errors_and_the_number_of_parameters(ask: Callable[..., Any], table: str) -> None:
    done = ask("validate", table)
    assert done.code == 0
    for said in ("chinchilla-table3", "12 of 12 rows modelled", "Worst rows", "fitted parameters", "taken from tables"):
        assert said in done.out


def test_programs_get_one_object(ask: Callable[..., Any], table: str) -> None:
    found = ask("validate", table, "--json").json
    assert found["overall"]["rows"] == len({item["id"] for item in found["rows"]}) == 12
    assert found["overall"]["mean_ape"] == pytest.approx(
        sum(item["ape"] for item in found["rows"]) / len(found["rows"])
    )
    assert found["fitted_parameters"] > 0


def test_one_group(ask: Callable[..., Any], table: str) -> None:
    found = ask("validate", table, "--group", "trained", "--json").json
    assert list(found["groups"]) == ["trained"]


def test_an_unknown_group_is_told_the_known_ones(refused: Callable[..., str], table: str) -> None:
    refused("validate", table, "--group", "nogroup", says=("nogroup", "trained"))


@pytest.mark.parametrize("text", ["", "rows: 7", "rows:\n- {id: a}", "\0", "rows: [", "a: 1"])
def test_a_bad_file_is_an_error_of_ours(ask: Callable[..., Any], tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text(text)
    done = ask("validate", str(path))
    assert done.code == 3
    assert str(path) in done.err


ROWS = """
meta: {subject: %s}
rows:
- id: mine
  group: ours
  inputs: {model: Llama3_8B, hardware: H100, gpus: 8, seq_len: 8192, batch_size: %s, microbatch_size: 1,
           precision: bf16, tp_size: 1, pp_size: 1, cp_size: 2}
  measured: {step_time_s: 12.78}
"""


def test_a_file_of_ones_own_is_measured(ask: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(ROWS % ("training", 128))
    done = ask("validate", str(path))
    assert done.code == 0
    assert "1 of 1 rows modelled" in done.out


@pytest.mark.parametrize("batch", [10**21, "1" * 6000, ".nan", 0, "banana"])
def test_a_file_of_which_nothing_is_modelled_says_so(ask: Callable[..., Any], tmp_path: Path, batch: object) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(ROWS % ("training", batch))
    done = ask("validate", str(path))
    assert done.code == 3
    if batch != "1" * 6000:  # which is refused when the file is read
        assert "no row is modelled" in done.out
        assert ask("validate", str(path), "--json").code == 3


def test_an_unknown_subject_is_told_the_known_ones(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(ROWS % ("weather", 128))
    refused("validate", str(path), says=("weather", "training", "reliability", "collectives"))
    path.write_text((ROWS % ("x", 128)).replace("meta: {subject: x}", ""))
    refused("validate", str(path), says=("mine", "training", "meta: {subject: training}"))


def test_the_answer_is_an_answer(table: str) -> None:
    from mlsysim_opt.cli.validate import validate

    assert isinstance(validate(table, None), Answer)
