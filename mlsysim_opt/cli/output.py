"""Writing answers: whole and at once, as tables for people or as one JSON object for programs.

Text that came from outside never steers the terminal: markup is not interpreted, control characters are shown as
escapes, and nothing is coloured where the output is not a terminal or ``NO_COLOR`` is set.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from mlsysim_opt.errors import MlsysimError

WIDE = 120
"""Columns where the output has no terminal that would say."""
LIMIT_WITH_DESIGN = 8
"""Exit status where a limit was reached, and something is held."""
NARROWEST = 12
"""Columns that the last column of a table needs, at least."""


class ReaderGone(BaseException):
    """The other end of the pipe is closed (``| head``); not an OSError, which the parser would take for its own."""


@dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes:
        data: for ``--json``. show: writes it for people. status: the exit status.
        errors: what went wrong beside it, for people on standard error; `data` says so itself.
    """

    data: dict[str, Any]
    show: Callable[[Screen], None]
    status: int = 0
    errors: Sequence[MlsysimError] = ()


def give(answer: Answer, *, as_json: bool) -> int:
    """Write an answer to standard output; return the exit status."""
    if as_json:
        write_json(answer.data)
    else:
        screen = Screen()
        answer.show(screen)
        write_text(screen.text(), sys.stdout)
        write_text("".join(plain(f"error: {item}\n") for item in answer.errors), sys.stderr)
    return answer.status


def write_json(data: dict[str, Any]) -> None:
    """Write one JSON object, strict: what is not finite becomes null."""
    write_text(json.dumps(finite(data), indent=2, allow_nan=False, default=str) + "\n", sys.stdout)


def write_text(text: str, stream: IO[str] | None) -> None:
    """Write and flush a whole text; characters the stream cannot hold become ``?``.

    Raises:
        ReaderGone: what reads the stream has gone away. OSError: it cannot be written.
    """
    if stream is None:  # the standard stream was closed before the program began
        raise OSError("the output stream is closed")
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def finite(data: Any) -> Any:
    """Return JSON data with infinities and NaN replaced by None."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {str(key): finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return data


def plain(text: str) -> str:
    """Return text in which characters that could steer a terminal are shown as escapes; line breaks stay."""
    return "".join(char if char.isprintable() or char == "\n" else _escape(char) for char in text)


def _escape(char: str) -> str:
    return "\t" if char == "\t" else ascii(char)[1:-1]


class Screen:
    """Lines and tables for people, gathered in memory."""

    def __init__(self) -> None:
        from rich.console import Console

        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._buffer = io.StringIO()
        self._console: Console = Console(
            file=self._buffer,
            force_terminal=colour,
            no_color=not colour,
            width=max(60, shutil.get_terminal_size((WIDE, 40)).columns),
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
        )

    def text(self) -> str:
        """Return all that was written, without blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self._buffer.getvalue().split("\n"))

    def line(self, text: str = "", style: str = "") -> None:
        """Write one line; a long one is wrapped."""
        self._console.print(_text(text, style))

    def code(self, text: str) -> None:
        """Write text as it is: nothing is wrapped, so that it can be copied."""
        self._console.print(_text(text), soft_wrap=True)

    def heading(self, text: str) -> None:
        """Write a heading after a blank line."""
        self._console.print()
        self._console.print(_text(text, "bold"))

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, last_folds: bool = False
    ) -> None:
        """Write a table under a heading; a column whose name begins with ``>`` is set to the right. Empty: nothing.

        With `last_folds`, only the last column is wrapped where the table is too wide, as long as that is enough.
        """
        from rich import box
        from rich.table import Table

        body = [list(row) for row in rows]
        if not body:
            return
        unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
        made = Table(
            box=box.SIMPLE_HEAD if unicode else box.ASCII2, show_header=any(columns), pad_edge=False, show_edge=False
        )
        whole = self._unwrapped(columns, body) if last_folds else 0
        for at, column in enumerate(columns):
            made.add_column(
                _text(column.removeprefix(">")),
                justify="right" if column.startswith(">") else "left",
                overflow="fold",
                no_wrap=at < whole,
            )
        for row in body:
            made.add_row(*(_text("" if cell is None else str(cell)) for cell in row))
        if title:
            self.heading(title)
        self._console.print(made)

    def _unwrapped(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
        """Return how many columns keep their width: all but the last, unless too little is left for that."""
        lines = [[column.removeprefix(">") for column in columns], *rows]
        widths = [max(len(plain(str(line[at]))) for line in lines) + 3 for at in range(len(columns) - 1)]
        return len(widths) if sum(widths) + NARROWEST <= self._console.width else 0


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(plain(text), style=style)
