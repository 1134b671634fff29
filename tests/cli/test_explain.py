"""`explain` for walls, models and solvers."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from mlsysim_opt.cli.explain_physics import SOLVERS, resolvers

from .conftest import Done

Ask = Callable[..., Done]
Refused = Callable[..., str]


def test_the_table_of_walls(ask: Ask) -> None:
    done = ask("explain", "walls")
    assert done.code == 0
    rows = [line for line in done.out.splitlines() if re.match(r" ?\d+ ", line)]
    assert len(rows) == 22
    assert "transform_time = batch_size / (num_workers * cpu_throughput_per_worker_hz)" in done.out
    found = ask("explain", "walls", "--json").json["walls"]
    assert [wall["number"] for wall in found] == list(range(1, 23))
    assert found[3]["resolver"] == "ServingModel"


@pytest.mark.parametrize("words", [("wall", "4"), ("wall 4",), ("Wall", "4"), ("wall-4",)])
def test_one_wall(ask: Ask, words: tuple[str, ...]) -> None:
    done = ask("explain", *words)
    assert done.code == 0
    for part in ("Wall 4, Serving (node)", "answered by ServingModel", "itl = ", "kv_cache_size = ", "By hand",
                 "by hand 5.07 ms; ServingModel gives 5.0", "arXiv:2211.05102"):  # fmt: skip
        assert part in done.out, part


def test_one_wall_as_latex_and_as_json(ask: Ask) -> None:
    latex = ask("explain", "wall", "16", "--latex").out
    assert latex.startswith("\\begin{align*}")
    assert "\\mathrm{cluster\\_utilization} &=" in latex
    found = ask("explain", "wall", "9", "--json").json
    assert found["number"] == 9
    assert found["example"]["by_hand"] == "735.3 ms"
    assert found["equation"].startswith("transform_time = ")
    assert found["latex"].startswith("\\begin{align*}")


@pytest.mark.parametrize("number", ["0", "23", "999999"])
def test_C_no_such_wall(refused: Refused, number: str) -> None:
    refused("explain", "wall", number, says=("unknown wall", number, "1 to 22"))


def test_C_nearest_names(refused: Refused) -> None:
    refused("explain", "ServingModle", says=("did you mean 'ServingModel'",))
    refused("explain", "wal", "4", says=("did you mean", "'walls'"))


@pytest.mark.parametrize("name", resolvers())
def test_every_model_and_solver_has_a_page(ask: Ask, name: str) -> None:
    done = ask("explain", name)
    assert done.code == 0, done.err
    assert done.out.startswith(name)
    found = ask("explain", name, "--json").json
    assert found["about"]
    assert found["walls"], f"{name} answers no wall"
    if name not in SOLVERS:
        assert found["inputs"]


def test_a_model(ask: Ask) -> None:
    done = ask("explain", "TransformationModel")
    for part in ("wall 9, Transformation", "num_workers", "transform_time", "Equations, for batch_size=",
                 "transform_time = batch_size / (num_workers * cpu_throughput_per_worker_hz)"):  # fmt: skip
        assert part in done.out, part
    outputs = {item["name"]: item["unit"] for item in ask("explain", "TransformationModel", "--json").json["outputs"]}
    assert outputs["transform_time"] is not None
    assert outputs["slowdown_factor"] is None


def test_a_model_as_latex(ask: Ask) -> None:
    done = ask("explain", "ServingModel", "--latex")
    assert done.code == 0
    assert done.out.startswith("\\begin{align*}")
    assert "\\mathrm{itl} &=" in done.out
    assert done.out.count("{") == done.out.count("}")


def test_the_page_of_all_walls(ask: Ask, refused: Refused) -> None:
    page = ask("explain", "walls", "--markdown").out
    assert page.count("\n## ") == 22
    for anchor in re.findall(r"\]\(#([^)]*)\)", page):
        titles = re.findall(r"^## (.*)$", page, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert page.count("$$") == 44
    refused("explain", "wall", "4", "--markdown", code=2, says=("--markdown", "explain walls --markdown"))
    refused("explain", "--markdown", code=2, says=("--markdown",))


def test_what_there_is(ask: Ask) -> None:
    done = ask("explain")
    for part in ("parallelism", "ServingModel", "SynthesisSolver", "explain wall 4"):
        assert part in done.out, part


def test_names_with_blanks_need_no_quotes(ask: Ask) -> None:
    assert ask("explain", "memory", "fits").out == ask("explain", "memory fits").out


@pytest.mark.parametrize("name", ["\x1b[31mwall 4", "[bold]walls", "wall \u202e4", "wall 4; id"])
def test_F05_F08_hostile_names(ask: Ask, name: str) -> None:
    done = ask("explain", name)
    assert done.code == 3
    assert all(char.isprintable() or char == "\n" for char in done.err)
