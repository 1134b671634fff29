"""Find the code blocks of the seed documents, and run them with only the name of the package changed."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEEDS = Path(__file__).resolve().parents[3] / "shared" / "reference" / "seeds"
START = re.compile(r"(import|from) mlsysim|hw = mlsysim\.")
LONGEST = 60
"""Lines of a block at most."""


@dataclass
class Block:
    """One block after it was run.

    Attributes:
        code: as it was run. namespace: its names afterwards; one for all blocks of a document.
        printed: its output. raised: what its statements raised, by the text of the statement.
    """

    code: str
    namespace: dict[str, Any]
    printed: str
    raised: dict[str, Exception]


def document(number: str) -> str:
    """Return the text of a seed document by its number."""
    return next(SEEDS.glob(f"{number}_*.txt")).read_text(encoding="utf-8")


def extract(text: str) -> list[str]:
    """Return the code blocks of a document: those in fences, or else the longest runs of lines that are Python."""
    fenced = re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return list(fenced) or list(_unfenced(text.split("\n")))


def _unfenced(lines: list[str]) -> list[str]:
    found, index = [], 0
    while index < len(lines):
        end = _end(lines, index) if START.match(lines[index]) else None
        if end is None:
            index += 1
            continue
        found.append("\n".join(lines[index:end]))
        index = end
    return found


def _end(lines: list[str], start: int) -> int | None:
    """Return where the longest piece of Python ends that begins at a line."""
    for end in range(min(len(lines), start + LONGEST), start, -1):
        try:
            ast.parse("\n".join(lines[start:end]))
        except SyntaxError:
            continue
        return end
    return None


def run(code: str, namespace: dict[str, Any]) -> Block:
    """Run a block statement by statement, with `mlsysim_opt` for `mlsysim` and nothing else changed."""
    code = re.sub(r"\bmlsysim\b", "mlsysim_opt", code)
    raised: dict[str, Exception] = {}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        for statement in ast.parse(code).body:
            try:
                exec(compile(ast.Module([statement], []), "<seed>", "exec"), namespace)
            except Exception as error:
                raised[ast.unparse(statement)] = error
    return Block(code, namespace, out.getvalue(), raised)
