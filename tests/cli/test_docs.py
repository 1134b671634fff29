"""The pages about a formulation and about faults say what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlsysim_opt.cli.explain import sample
from mlsysim_opt.optimize import formulation


def column(page: str, heading: str) -> list[str]:
    """Return the first cells of the table under a heading, without backquotes."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")]
    return [cell.strip("`") for cell in rows[2:]]


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/parallelism.md").read_text()


def test_the_tables_of_parallelism_are_what_runs(page: str) -> None:
    chosen = formulation("parallelism")
    dense, experts = sample(chosen, {}), sample(chosen, {"model": "Mixtral_8x7B"})
    assert column(page, "Given") == [item.name for item in chosen.inputs]
    assert column(page, "Decisions") == list(dense.decisions)
    assert column(page, "Metrics") == list(dense.metrics)
    both = [item.name for problem in (dense, experts) for item in problem.constraints]
    assert set(column(page, "Constraints")) == set(both)


def test_the_tables_of_disaggregated_serving_are_what_runs(root: Path) -> None:
    page = (root / "docs/disaggregated.md").read_text()
    chosen = formulation("disaggregated_serving")
    problem = sample(chosen, {})
    assert column(page, "Given") == [item.name for item in chosen.inputs]
    assert column(page, "Decisions") == list(problem.decisions)
    assert column(page, "Metrics") == list(problem.metrics)


def test_which_constraints_may_give_way(page: str) -> None:
    problem = sample(formulation("parallelism"), {})
    for item in problem.constraints:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{item.name}` |"))
        assert row.split("|")[2].strip().startswith("no" if item.structural or item.lawful else "yes"), item.name


def test_the_tables_of_batching_are_what_runs(root: Path) -> None:
    page, chosen = (root / "docs/batching.md").read_text(), formulation("batching")
    several = {
        "hardware": ["H100", "H200"], "price": "H100=2 USD/h, H200=3 USD/h", "precision": ["fp16", "fp8"], "devices": 8,
        "policy": ["continuous", "static"], "draft_model": ["none", "Llama3_8B"],
    }  # fmt: skip
    every = chosen.problem({**chosen.example, **several})
    experts = chosen.problem({**chosen.example, "model": "Mixtral_8x7B", "devices": 8})
    assert column(page, "Given") == [item.name for item in chosen.inputs]
    assert column(page, "Decisions") == list(every.decisions)
    assert column(page, "Metrics") == list(every.metrics)
    both = {item.name: item for problem in (every, experts) for item in problem.constraints}
    assert set(column(page, "Constraints")) == set(both)
    for name, item in both.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert row.split("|")[2].strip().startswith("no" if item.structural or item.lawful else "yes"), name


def test_every_fault_is_tested_or_deferred(root: Path) -> None:
    deferred = set(re.findall(r"^\| ([A-Z]\d\d)", (root / "docs/faults.md").read_text(), re.MULTILINE))
    names = re.findall(r"def test_(\w+)\(", "\n".join(path.read_text() for path in (root / "tests").rglob("test_*.py")))
    tested = {part for name in names for part in name.split("_") if re.fullmatch(r"[A-Z]\d\d", part)}
    counts = {"A": 14, "B": 22, "C": 16, "D": 27, "E": 22, "F": 8, "G": 13, "H": 12, "I": 10, "K": 20}
    wanted = {f"{letter}{number:02}" for letter, count in counts.items() for number in range(1, count + 1)}
    assert wanted <= tested | deferred, sorted(wanted - tested - deferred)
    assert not deferred - wanted, "deferred, but not in the list of faults"
