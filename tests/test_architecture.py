"""The shape of the house: imports point one way, heavy libraries stay behind a door, no text is run as code.

All of it is read from the syntax trees, so that an import inside a function counts like any other.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"mlsysim_opt": ROOT / "mlsysim_opt", "mlsysim_opt.formulations": ROOT / "formulations"}
SOURCES["mlsysim_opt.catalog"] = ROOT / "catalog"

# A part may import from its own line and from the lines above it.
LAYERS = [
    {"errors", "catalog"},
    {"units", "files"},
    {"algebra"},
    {"registry"},
    {"physics"},
    {"solvers"},
    {"optimize"},
    {"formulations", "scenarios"},
    {"study", "validation"},
    {"cli", "__main__"},
]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

# Import paths of the seed documents: lazy re-exports, the only exemption; so small that they are no more.
SEED_PATHS = {"core", "hardware", "models"}
SEED_FILES = {"mlsysim_opt", "mlsysim_opt.solvers"}
SEED_STATEMENTS = 40

SOLVERS = ("mlsysim_opt.optimize.backends",)
PLOTS = ("mlsysim_opt.study", "mlsysim_opt.solvers.plots")
HEAVY: dict[str, tuple[str, ...]] = {
    "highspy": SOLVERS,
    "ortools": SOLVERS,
    "pyomo": SOLVERS,
    "matplotlib": PLOTS,
    "plotly": PLOTS,
    "pandas": (),
    "pyarrow": ("mlsysim_opt.optimize.exports",),
    "scipy": ("mlsysim_opt.solvers.sampling",),
    "sympy": (),
}


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def at(self, node: ast.AST) -> str:
        place = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{place}:{getattr(node, 'lineno', 1)}"


def read(name: str, path: Path) -> Module:
    return Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))


@cache
def modules() -> tuple[Module, ...]:
    """Return every module of the package, wherever in the tree it stands."""
    found = []
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found.append(read(".".join([package, *(p for p in parts if p != "__init__")]), path))
    return tuple(found)


@cache
def public_homes() -> dict[str, str]:
    """Return public name -> defining module, from the table in the package's own `__init__`."""
    for node in ast.walk(read("mlsysim_opt", ROOT / "mlsysim_opt/__init__.py").tree):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_MODULES" and node.value is not None:
            table = ast.literal_eval(node.value)
            return {name: home for home, names in table.items() for name in names}
    raise AssertionError("no _MODULES in mlsysim_opt/__init__.py")


def imported(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield every imported module by its full name; a public name counts as the module that defines it."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.package.split(".")[: len(module.package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            if base != "mlsysim_opt":
                yield node, base
                continue
            for alias in node.names:
                if alias.name != "__version__":
                    yield node, public_homes().get(alias.name, f"mlsysim_opt.{alias.name}")


def rank(module: str) -> int | None:
    """Return the layer of a module; the bare package stands for everything that is public there."""
    parts = module.split(".")
    if parts[0] != "mlsysim_opt":
        return None
    if len(parts) == 1:
        return max(rank(home) or 0 for home in public_homes().values())
    assert parts[1] in RANK, f"{module} has no place in LAYERS (tests/test_architecture.py): give it one"
    return RANK[parts[1]]


def is_seed_path(module: Module) -> bool:
    parts = module.name.split(".")
    return module.name in SEED_FILES or (len(parts) > 1 and parts[1] in SEED_PATHS)


def upward(module: Module) -> Iterator[str]:
    own = rank(module.name)
    assert own is not None
    for node, target in imported(module):
        other = rank(target)
        if other is not None and other > own:
            yield f"{module.at(node)}: {module.name} imports {target}, which stands above it"


def test_imports_point_one_way() -> None:
    wrong = [line for module in modules() if not is_seed_path(module) for line in upward(module)]
    assert not wrong, "\n".join(wrong)


def test_exempt_modules_are_only_re_exports() -> None:
    for module in modules():
        if is_seed_path(module) and module.name != "mlsysim_opt":
            count = sum(isinstance(node, ast.stmt) for node in ast.walk(module.tree))
            assert count <= SEED_STATEMENTS, (
                f"{module.at(module.tree)} is exempt from the import rule: {count} statements"
            )


def inside_functions(tree: ast.Module) -> set[ast.AST]:
    """Return the nodes that run only when a function is called, or that only a type checker reads."""
    lazy: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            lazy.update(ast.walk(node))
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            lazy.update(inner for statement in node.body for inner in ast.walk(statement))
    return lazy


def loaded_by_name(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield what `import_module("...")` and `__import__("...")` load, where the name is written out."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ("import_module", "__import__"):
                yield node, str(node.args[0].value)


def heavy(module: Module) -> Iterator[str]:
    lazy = inside_functions(module.tree)
    for node, target in [*imported(module), *loaded_by_name(module)]:
        library = target.split(".")[0]
        if library not in HEAVY:
            continue
        if not any(f"{module.name}.".startswith(f"{place}.") for place in HEAVY[library]):
            allowed = " or ".join(HEAVY[library]) or "no module at all"
            yield f"{module.at(node)}: {library} may be imported in {allowed}"
        elif node not in lazy:
            yield f"{module.at(node)}: {library} must be imported inside a function"


def test_heavy_libraries_stay_behind_their_door() -> None:
    wrong = [line for module in modules() for line in heavy(module)]
    assert not wrong, "\n".join(wrong)


FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "builtins.eval",
    "builtins.exec",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
}
FORBIDDEN_CALLS |= {"os.system", "os.popen"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"}


def text_as_code(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS:
                yield f"{module.at(node)}: {called}() can run what it reads"
            if any(k.arg == "shell" and ast.unparse(k.value) == "True" for k in node.keywords):
                yield f"{module.at(node)}: shell=True"
    for node, target in [*imported(module), *loaded_by_name(module)]:
        if target.split(".")[0] in FORBIDDEN_MODULES:
            yield f"{module.at(node)}: {target} can run what it reads"


def test_no_text_is_run_as_code() -> None:
    wrong = [line for module in modules() for line in text_as_code(module)]
    assert not wrong, "\n".join(wrong)


def test_the_package_list_is_the_tree() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    tree = sorted(module.name for module in modules() if module.path.name == "__init__.py")
    assert listed == tree, f"packages in pyproject.toml should be\n{tree}"


def test_every_folder_with_code_is_a_package() -> None:
    bare = {str(m.path.parent.relative_to(ROOT)) for m in modules() if not (m.path.parent / "__init__.py").exists()}
    assert not bare, f"no __init__.py in {sorted(bare)}"


@pytest.mark.parametrize("loaded", ["mlsysim_opt", "mlsysim_opt.errors"])
def test_importing_loads_nothing_heavy(loaded: str, run_python: Callable[..., CompletedProcess[str]]) -> None:
    never = {*HEAVY, "numpy", "pint", "pydantic", "yaml", "typer", "rich"}
    run_python(f"import sys, {loaded}; found = {never!r} & set(sys.modules); assert not found, found")


# ---- the checks above can fail --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "caught"),
    [
        ("mlsysim_opt.algebra.parse", "from mlsysim_opt.errors import ParseError", False),
        ("mlsysim_opt.algebra.parse", "def f():\n    from mlsysim_opt.physics import node", True),
        ("mlsysim_opt.algebra.parse", "from ..physics.node import X", True),
        ("mlsysim_opt.algebra.parse", "from mlsysim_opt import registry", True),
        ("mlsysim_opt.algebra.parse", "from mlsysim_opt import Q_, __version__", False),
        ("mlsysim_opt.physics.node", "from mlsysim_opt import optimize", True),
        ("mlsysim_opt.physics.node", "import mlsysim_opt", True),
        ("mlsysim_opt.optimize.problem", "import mlsysim_opt.solvers.invert", False),
        ("mlsysim_opt.solvers.invert", "from mlsysim_opt.optimize import Problem", True),
        ("mlsysim_opt.optimize.problem", "import mlsysim_opt.formulations.parallelism", True),
        ("mlsysim_opt.optimize.problem", "import_module('mlsysim_opt.formulations.parallelism')", False),
        ("mlsysim_opt.formulations.parallelism", "import mlsysim_opt as mo", False),
    ],
)
def test_an_upward_import_is_caught(name: str, code: str, caught: bool) -> None:
    assert bool(list(upward(Module(name, Path("x.py"), ast.parse(code))))) is caught


@pytest.mark.parametrize(
    ("name", "code", "caught"),
    [
        ("mlsysim_opt.optimize.backends.milp", "def f():\n    import highspy", False),
        ("mlsysim_opt.optimize.backends.milp", "import highspy", True),
        (
            "mlsysim_opt.optimize.backends.milp",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pyomo",
            False,
        ),
        ("mlsysim_opt.optimize.problem", "def f():\n    import pyomo.environ", True),
        ("mlsysim_opt.optimize.problem", "def f():\n    importlib.import_module('ortools.sat')", True),
        ("mlsysim_opt.algebra.invert", "def f():\n    from scipy import optimize", True),
        ("mlsysim_opt.optimize.backends_other", "def f():\n    import highspy", True),
    ],
)
def test_a_heavy_import_is_caught(name: str, code: str, caught: bool) -> None:
    assert bool(list(heavy(Module(name, Path("x.py"), ast.parse(code))))) is caught


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')",
        "exec('x = 1')",
        "import pickle",
        "yaml.load(text, Loader=L)",
        "subprocess.run('ls', shell=True)",
    ],
)
def test_text_run_as_code_is_caught(code: str) -> None:
    assert list(text_as_code(Module("mlsysim_opt.x", Path("x.py"), ast.parse(code))))
