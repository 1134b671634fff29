"""Pages about the walls and about the classes that answer for them: what they take and give, and what they run."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli.output import Answer, Screen

if TYPE_CHECKING:
    from mlsysim_opt.physics.traced import Traced
    from mlsysim_opt.physics.walls import Wall

SOLVERS = ("SensitivitySolver", "SynthesisSolver")
_WALL = re.compile(r"wall[ _-]*([0-9]{1,6})")


def resolvers() -> list[str]:
    """Return the names of all models and solvers."""
    from mlsysim_opt import physics

    return [*(name for name in physics.__all__ if name.endswith("Model")), *SOLVERS]


def names() -> list[str]:
    """Return every name that has a page here."""
    return [*resolvers(), "walls", "wall 1"]


def topic(name: str, *, as_latex: bool, as_markdown: bool) -> Answer | None:
    """Return the page of this name; None when there is none here.

    Raises:
        UnknownNameError: there is no wall of this number.
    """
    from mlsysim_opt.physics.walls import walls

    if name == "walls":
        if as_markdown:
            from mlsysim_opt.cli.walls_page import page

            return page()
        return _table()
    asked = _WALL.fullmatch(name.lower())
    if asked:
        return _wall(walls(int(asked[1])), as_latex=as_latex)
    if name in SOLVERS:
        return _solver(name)
    return _model(name, as_latex=as_latex) if name in resolvers() else None


def first_line(name: str) -> str:
    """Return what a class says of itself in one line."""
    return (inspect.getdoc(_class(name)) or "").partition("\n")[0]


def _class(name: str) -> Any:
    from mlsysim_opt import physics, solvers

    return getattr(solvers if name in SOLVERS else physics, name)


# walls ----------------------------------------------------------------------------------------------------------------
def _table() -> Answer:
    from mlsysim_opt.physics.walls import walls

    found = walls()
    keys = ("number", "name", "domain", "question", "resolver", "also")
    data = {
        "status": "ok",
        "walls": [{**{key: getattr(wall, key) for key in keys}, "equation": wall.headline} for wall in found],
    }

    def show(screen: Screen) -> None:
        rows = [(wall.number, wall.name, wall.domain, wall.resolver, wall.headline) for wall in found]
        screen.table("", (">", "wall", "domain", "answered by", "equation"), rows)
        screen.line("'mlsysim-opt explain wall 4' shows one: all its equations, a worked example, its sources")

    return Answer(data, show)


def _wall(wall: Wall, *, as_latex: bool) -> Answer:
    data = {"status": "ok", **wall.as_dict(), "symbols": wall.symbols}

    def show(screen: Screen) -> None:
        if as_latex:
            screen.code(wall.latex)
            return
        example = wall.example
        screen.line(f"Wall {wall.number}, {wall.name} ({wall.domain}): {wall.question}", "bold")
        screen.line(f"answered by {_answered(wall)}")
        screen.heading(f"Equations{_written_in(wall)}")
        screen.code(wall.equation)
        screen.heading(f"By hand: {example.output} for {_inputs(example.inputs)}")
        for step in example.steps:
            screen.line(f"  {step}")
        screen.line(f"  by hand {example.answer}; {wall.resolver} gives {example.shown}")
        screen.heading("Sources")
        for source in wall.sources:
            screen.line(f"  {source}")

    return Answer(data, show)


def _answered(wall: Wall) -> str:
    return wall.resolver + (f" (also {', '.join(wall.also)})" if wall.also else "")


def _inputs(inputs: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in inputs.items())


def _written_in(wall: Wall) -> str:
    return f", for {_inputs(wall.fixed)}" if wall.fixed else ""


# models and solvers ---------------------------------------------------------------------------------------------------
def _model(name: str, *, as_latex: bool) -> Answer:
    from mlsysim_opt.cli.explain import default_text
    from mlsysim_opt.physics.walls import walls_of

    kind = _class(name)
    inputs = [(item.name, default_text(item.default), item.about) for item in kind.inputs]
    about = inspect.getdoc(kind) or ""
    example = _example(name)
    traced = _traced(kind, example) if example else None
    outputs = [] if traced is None else [(key, _unit(traced, key)) for key in traced.expressions]
    equations = {} if traced is None else _equations(traced)
    found = walls_of(name)
    data = {
        "status": "ok",
        "model": name,
        "about": about,
        "walls": [wall.number for wall in found],
        "inputs": [{"name": item, "default": default, "about": text} for item, default, text in inputs],
        "aliases": kind.aliases,
        "outputs": [{"name": key, "unit": unit or None} for key, unit in outputs],
        "example": example,
        **equations,
    }

    def show(screen: Screen) -> None:
        if as_latex:
            screen.code(equations.get("latex", "% no example is known, for which equations could be shown"))
            return
        screen.line(name, "bold")
        screen.code(about)
        for wall in found:
            screen.line(f"wall {wall.number}, {wall.name}: {wall.question}")
        screen.table("Given", ("name", "default", ""), inputs)
        screen.table("Other names", ("name", "means"), kind.aliases.items())
        screen.table("Outputs", ("name", "unit"), outputs)
        if equations:
            screen.heading(f"Equations, for {_inputs(example)}")
            screen.code(equations["equations"])

    return Answer(data, show)


def _example(name: str) -> dict[str, Any]:
    """Return inputs of a typical question: those of the class, else those of its wall."""
    from mlsysim_opt.physics.walls import walls_of

    own: dict[str, Any] = _class(name).example
    if own:
        return own
    return next((wall.example.inputs for wall in walls_of(name) if wall.resolver == name), {})


def _traced(kind: Any, example: dict[str, Any]) -> Traced:
    model = kind()
    traced: Traced = model.trace(model.check(**example))
    return traced


def _unit(traced: Traced, key: str) -> str:
    from mlsysim_opt.units import NONE, dimension_text

    node = traced.expressions[key]
    if node.sort != "number" or node.dimension == NONE:
        return ""
    return traced.result.units.get(key) or dimension_text(node.dimension)


def _equations(traced: Traced) -> dict[str, str]:
    from mlsysim_opt.physics.wall_equations import latex, shown_parts, text
    from mlsysim_opt.physics.walls import latex_symbols

    parts = shown_parts(traced.expressions, {})
    return {"equations": text(parts, len(traced.expressions)), "latex": latex(parts, latex_symbols())}


def _solver(name: str) -> Answer:
    from mlsysim_opt.physics.walls import walls_of

    kind = _class(name)
    about = inspect.getdoc(kind) or ""
    asks = inspect.getdoc(kind.solve) or ""
    found = walls_of(name)
    data = {"status": "ok", "solver": name, "about": about, "solve": asks, "walls": [wall.number for wall in found]}

    def show(screen: Screen) -> None:
        screen.line(name, "bold")
        screen.code(about)
        screen.heading("solve")
        screen.code(asks)
        for wall in found:
            screen.line(f"wall {wall.number}, {wall.name}: 'mlsysim-opt explain wall {wall.number}' has the equations")

    return Answer(data, show)
