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


def test_the_answer_is_an_answer(table: str) -> None:
    from mlsysim_opt.cli.validate import validate

    assert isinstance(validate(table, None), Answer)
