"""The page of the documentation about the walls, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mlsysim_opt.cli.output import Answer

if TYPE_CHECKING:
    from mlsysim_opt.physics.walls import Wall

INTRODUCTION = """\
# The 22 walls

What limits a machine-learning system, in 22 walls of six domains; for each the class that answers, its equations, an
example worked by hand beside the answer of the class, and where the relation was published. `mo.walls()` has the same
as objects, `mlsysim-opt explain wall 4` shows one.

`make walls` writes this page. Equations are rendered from the expressions that run, for the inputs of the example: an
output of the model that stands in an equation keeps its name, a large or repeated part is called x. The arithmetic
stands in `catalog/walls.yaml`, and a test works it out.
"""


def page() -> Answer:
    """Return the page."""
    from mlsysim_opt.physics.walls import walls

    found = walls()
    sections = ["\n".join(_section(wall)) for wall in found]
    text = "\n".join([INTRODUCTION, "\n".join(_overview(found)), *sections]).rstrip("\n")
    return Answer({"status": "ok", "markdown": text + "\n"}, lambda screen: screen.code(text))


def _title(wall: Wall) -> str:
    return f"{wall.number}. {wall.name} ({wall.domain})"


def _anchor(title: str) -> str:
    """Return the anchor that GitHub and MyST give a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _overview(found: Sequence[Wall]) -> Iterator[str]:
    yield "| wall | domain | answered by | question |"
    yield "|---|---|---|---|"
    for wall in found:
        link = f"[{wall.number}. {wall.name}](#{_anchor(_title(wall))})"
        yield f"| {link} | {wall.domain} | `{wall.resolver}` | {wall.question} |"
    yield ""


def _section(wall: Wall) -> Iterator[str]:
    example = wall.example
    yield f"## {_title(wall)}\n"
    yield f"{wall.question} `{wall.resolver}`" + "".join(f", also `{name}`" for name in wall.also) + ".\n"
    if wall.fixed:
        yield "With " + _inputs(wall.fixed) + ":\n"
    yield "$$\n" + wall.latex.replace("align*", "aligned") + "\n$$\n"
    if wall.symbols:
        yield ", ".join(f"${latex}$ `{name}`" for name, latex in wall.symbols.items()) + ".\n"
    yield "```text\n" + wall.equation + "\n```\n"
    yield f"By hand, `{example.output}` for {_inputs(example.inputs)}:\n"
    for step in example.steps:
        what, _, arithmetic = step.partition(": ")
        yield f"- {what}: `{arithmetic}`"
    yield f"\n**{example.answer}** by hand; `{wall.resolver}` gives **{example.shown}**.\n"
    yield "Sources: " + "; ".join(str(source) for source in wall.sources) + ".\n"


def _inputs(values: dict[str, object]) -> str:
    return ", ".join(f"`{name}` = {value}" for name, value in values.items())
