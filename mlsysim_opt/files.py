"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlsysim_opt.errors import FileError

HINT = "name a file where there is room, in a folder that may be written to"


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; what is written stands under `path` once the block has ended without an error.

    Until then it stands beside it, under a name of its own with the same ending: a disk that fills leaves no half of a
    file, and an earlier file as it was. What is there and is no plain file (a pipe, a device) is written as it is.

    Raises:
        FileError: the file cannot be written.
    """
    target = Path(path)
    try:
        place = _real(target)
        _refuse_unwritable(place)
        if _is_special(place):
            yield place
            return
        part = place.with_name(f".{secrets.token_hex(8)}{place.suffix}")
        try:
            part.touch(exist_ok=False)
            if place.exists():
                shutil.copymode(place, part)
            yield part
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(target, error) from error


def check_writable(path: str | Path) -> None:
    """Refuse, before there is anything to write, a file that could not be written.

    Raises:
        FileError: there is no such folder, or it or the file may not be written to.
    """
    target = Path(path)
    try:
        _refuse_unwritable(_real(target))
    except OSError as error:
        raise _unwritable(target, error) from error


def _real(target: Path) -> Path:
    """Return where a link leads: that is replaced, not the link."""
    return Path(os.path.realpath(target))


def _refuse_unwritable(place: Path) -> None:
    folder = place.parent
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}")
    if not _is_special(place) and not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"the folder {folder} may not be written to")
    if place.exists() and not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, "it may not be written to")


def _is_special(place: Path) -> bool:
    return place.exists() and not place.is_file()


def _unwritable(target: Path, error: OSError) -> FileError:
    return FileError(f"cannot be written: {error.strerror or error}", path=str(target), hint=HINT)
