"""The top level of the package: every public name is there, is found lazily, and means one thing."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import mlsysim_opt


def test_the_three_lists_agree(root: Path) -> None:
    tree = ast.parse((root / "mlsysim_opt/__init__.py").read_text())
    checked = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = mlsysim_opt._HOMES
    assert checked == homes
    assert sorted({*homes, "__version__"}) == sorted(mlsysim_opt.__all__)


@pytest.mark.parametrize("name", sorted(mlsysim_opt._HOMES))
def test_every_name_resolves(name: str) -> None:
    assert getattr(mlsysim_opt, name) is not None
    assert name in dir(mlsysim_opt)


def test_what_the_package_itself_imports_is_not_listed() -> None:
    assert not {"Any", "TYPE_CHECKING", "ModuleType", "sys", "importlib", "annotations"} & set(dir(mlsysim_opt))


def test_every_error_is_public() -> None:
    errors = importlib.import_module("mlsysim_opt.errors")
    defined = {n for n, o in vars(errors).items() if inspect.isclass(o) and issubclass(o, errors.MlsysimError)}
    assert defined <= set(mlsysim_opt.__all__)


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="did you mean 'optimize'"):
        getattr(mlsysim_opt, "optimise")  # noqa: B009
    with pytest.raises(ImportError):
        exec("from mlsysim_opt import Hardwear")
    assert not hasattr(mlsysim_opt, "__wrapped__")


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import mlsysim_opt.optimize",
        "from mlsysim_opt.optimize import Problem",
        "import mlsysim_opt.optimize.backends._imports as below; assert below.load_highs",
    ],
)
def test_optimize_can_be_called_whatever_was_imported_first(
    before: str, run_python: Callable[..., CompletedProcess[str]]
) -> None:
    run_python(
        f"""
import inspect, pickle
{before}
import mlsysim_opt as mo
from mlsysim_opt import optimize
from mlsysim_opt.optimize import Problem
import mlsysim_opt.optimize as package
assert mo.optimize is optimize is package and callable(optimize)
assert mo.Problem is Problem is mo.optimize.Problem
assert inspect.signature(mo.optimize) == inspect.signature(package.optimize)
assert pickle.loads(pickle.dumps(mo.optimize)) is mo.optimize
"""
    )


def test_errors_survive_a_process_boundary() -> None:
    error = mlsysim_opt.InfeasibleError("none", conflict=["a <= 1", "a >= 2"])
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, mlsysim_opt.InfeasibleError)
    assert again.conflict == ("a <= 1", "a >= 2")


def test_importing_is_quick(run_python: Callable[..., CompletedProcess[str]]) -> None:
    # CPU time of the best of three, of an import whose budget is 0.35 s; it is about 0.01 s.
    code = "import time; start = time.process_time(); import mlsysim_opt; print(time.process_time() - start)"
    best = min(float(run_python(code).stdout) for _ in range(3))
    assert best < 0.35


def test_the_version_is_written_once(root: Path) -> None:
    from importlib.metadata import version

    assert version("mlsysim-opt") == mlsysim_opt.__version__
    assert f"## [{mlsysim_opt.__version__}]" in (root / "CHANGELOG.md").read_text()


def test_every_error_has_its_place_in_the_docs(root: Path) -> None:
    errors = importlib.import_module("mlsysim_opt.errors")
    page = (root / "docs/errors.md").read_text()
    for name in mlsysim_opt._MODULES["mlsysim_opt.errors"]:
        error = getattr(errors, name)
        assert f"\n## {error.code}\n\n`{name}`, status {error.exit_code}. " in page, name
