"""What a front is written to, looked at before it is searched for: a fault found later would lose it."""

from __future__ import annotations

from typing import Any

from mlsysim_opt.errors import LibraryMissingError
from mlsysim_opt.files import check_writable
from mlsysim_opt.solvers.plots import check_picture


def check_exports(csv: str | None, parquet: str | None, plot: str | None) -> None:
    """Refuse files that a front could not be written to; None for those that are not asked for.

    Raises:
        FileError: there is no such folder, or nothing may be written there. InputError: a picture has no known ending.
        LibraryMissingError: a library is not installed.
    """
    if parquet is not None:
        pyarrow_writer()
    if plot is not None:
        check_picture(plot)
    for path in (csv, parquet, plot):
        if path is not None:
            check_writable(path)


def pyarrow_writer() -> tuple[Any, Any]:
    """Return pyarrow, and what writes a table of it.

    Raises:
        LibraryMissingError: it is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise LibraryMissingError("Parquet files need pyarrow, which is not installed", path="pyarrow",
                                  hint="pip install 'mlsysim-opt[parquet]'") from error  # fmt: skip
    return pyarrow, parquet.write_table
