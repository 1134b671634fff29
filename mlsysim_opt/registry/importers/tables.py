"""Read CSV that other people wrote: size, encoding, header and every number are checked, with the place of a fault."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence

from mlsysim_opt.errors import CatalogError, did_you_mean
from mlsysim_opt.registry.yaml_io import read_text

MAX_ROWS = 1_000_000
SHOWN = 60


class Table:
    """A CSV file with a header, row by row.

    Args:
        path: the file. Lines that begin with ``#`` before the header are skipped.
    Raises:
        FileError: it cannot be read. CatalogError: it is too large, not UTF-8, or has no header.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.label = str(path)
        text = read_text(path, error=CatalogError)
        nul = text.find("\0")
        if nul >= 0:
            raise self.fault("contains a NUL character: this is not a text file", text.count("\n", 0, nul) + 1)
        lines = text.splitlines(keepends=True)
        self._first = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
        self._reader = csv.reader(io.StringIO("".join(lines[self._first :]), newline=""), strict=True)
        header = self._next()
        if not header or not any(name.strip() for name in header):
            raise self.fault("is empty", None)
        self.columns = [name.strip() for name in header]

    @property
    def line(self) -> int:
        """The line of the file that was read last."""
        return self._first + self._reader.line_num

    def fault(self, message: str, line: int | None, hint: str | None = None) -> CatalogError:
        """Return an error at a line."""
        return CatalogError(message, path=self.label, line=line, hint=hint)

    def column(self, *names: str, wanted: str) -> str:
        """Return the first of these columns that is there, whatever its case.

        Raises:
            CatalogError: none is; the message says what is wanted and what there is.
        """
        by_fold = {name.casefold(): name for name in reversed(self.columns)}
        for name in names:
            if name.casefold() in by_fold:
                return by_fold[name.casefold()]
        shown = ", ".join(printable(name) for name in self.columns[:12])
        raise self.fault(
            f"has no column {' or '.join(repr(name) for name in names[:3])} ({wanted}); its columns are {shown}",
            self._first + 1,
            did_you_mean(names[0], self.columns),
        )

    def rows(self) -> Iterator[Mapping[str, str]]:
        """Yield each row as text by column; rows without any text are skipped.

        Raises:
            CatalogError: a row has too few or too many cells, or there are too many rows.
        """
        count = 0
        while (cells := self._next()) is not None:
            if not any(cell.strip() for cell in cells):
                continue
            count += 1
            if count > MAX_ROWS:
                raise self.fault(f"has more than {MAX_ROWS} rows", self.line)
            if len(cells) != len(self.columns):
                raise self.fault(f"has {len(cells)} cells where the header has {len(self.columns)}", self.line)
            yield dict(zip(self.columns, (cell.strip() for cell in cells), strict=True))

    def _next(self) -> Sequence[str] | None:
        try:
            return next(self._reader, None)
        except csv.Error as problem:
            raise self.fault(f"is not valid CSV: {problem}", self.line) from None

    def number(self, text: str, column: str, *, low: float = 0.0, above: bool = False) -> float:
        """Return a cell as a number.

        Raises:
            CatalogError: it is not a finite number, or below `low` (at it, too, where `above` is set).
        """
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < low or (above and value == low):
            wanted = f"{'above' if above else 'from'} {low:g}"
            raise self.fault(f"{column}: expected a number {wanted}, got {printable(text)}", self.line)
        return value


def printable(text: str) -> str:
    """Return foreign text quoted on one line, without anything that could steer a terminal or end a comment."""
    shown = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    return repr(shown) if shown.isprintable() else ascii(shown)


def quoted(text: str) -> str:
    """Return text as a double-quoted scalar of YAML."""
    return json.dumps(text, ensure_ascii=False)
