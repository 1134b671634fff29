"""The loaders refuse the versions that give wrong answers or cannot live together, and say so."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mlsysim_opt.errors import SolverMissingError
from mlsysim_opt.optimize.backends import _imports

Pretend = Callable[..., None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Return a function that makes other versions seem installed; None means not installed."""

    def set_versions(**versions: str | None) -> None:
        def version(package: str) -> str:
            found = versions.get(package)
            if found is None:
                raise metadata.PackageNotFoundError(package)
            return found

        monkeypatch.setattr(metadata, "version", version)

    return set_versions


def test_the_installed_versions_are_the_tested_ones() -> None:
    for status in _imports.solver_report():
        assert status.usable, status.problem
        assert status.tested, f"{status.package} {status.version} is not {status.requirement}"


def test_the_requirements_are_those_of_the_package(root: Path) -> None:
    wanted = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    for package, requirement in _imports.REQUIREMENTS.items():
        assert f"{package}{requirement}" in wanted


@pytest.mark.parametrize("highs", ["1.14.0"])
def test_a_highs_with_wrong_optima_is_refused(highs: str, pretend: Pretend) -> None:
    for ortools in ("9.15.6755", None):
        pretend(highspy=highs, ortools=ortools, pyomo="6.10.1")
        with pytest.raises(SolverMissingError, match="wrong optima") as caught:
            _imports.load_highs()
        assert caught.value.hint == "pip install 'highspy>=1.12,<1.14'"


@pytest.mark.parametrize("highs", ["1.15.0", "1.15.1", "1.16.0rc1", "2.0"])
def test_the_clash_is_named(highs: str, pretend: Pretend) -> None:
    pretend(highspy=highs, ortools="9.15.6755", pyomo="6.10.1")
    with pytest.raises(SolverMissingError, match=f"highspy {highs} and ortools 9.15.6755 cannot be loaded in one"):
        _imports.load_highs()


def test_without_ortools_there_is_no_clash(pretend: Pretend) -> None:
    pretend(highspy="1.15.1", ortools=None)
    highs = next(status for status in _imports.solver_report() if status.package == "highspy")
    assert highs.usable
    assert not highs.tested


def test_cpsat_works_beside_a_clashing_highs_until_somebody_loads_it(
    pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(highspy="1.15.1", ortools="9.15.6755")
    monkeypatch.delitem(sys.modules, "highspy", raising=False)
    assert _imports.load_cpsat().__name__ == "ortools.sat.python.cp_model"
    monkeypatch.setitem(sys.modules, "highspy", sys)
    with pytest.raises(SolverMissingError, match="cannot be loaded in one process"):
        _imports.load_cpsat()


@pytest.mark.parametrize(
    ("load", "package"),
    [(_imports.load_highs, "highspy"), (_imports.load_cpsat, "ortools"), (_imports.load_pyomo, "pyomo")],
)
def test_a_missing_solver_says_what_to_install(load: Callable[[], object], package: str, pretend: Pretend) -> None:
    pretend()
    with pytest.raises(SolverMissingError, match="is not installed") as caught:
        load()
    assert f"'{package}{_imports.REQUIREMENTS[package]}'" in (caught.value.hint or "")
    assert caught.value.exit_code == 9


def test_a_linker_error_is_passed_on_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise ImportError("libhighs.so.1: undefined symbol")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(SolverMissingError, match="undefined symbol") as caught:
        _imports.load_highs()
    assert "highspy" in (caught.value.hint or "")
    assert "ortools" in (caught.value.hint or "")


def test_a_report_loads_nothing(run_python: Callable[..., CompletedProcess[str]]) -> None:
    run_python(
        "import sys; from mlsysim_opt.optimize.backends._imports import solver_report; solver_report(); "
        "found = {'highspy', 'ortools', 'pyomo'} & set(sys.modules); assert not found, found"
    )
