"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mlsysim_opt.errors import FileError
from mlsysim_opt.files import check_writable, written_whole

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
never_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")

FullDisk = Callable[[int], AbstractContextManager[None]]


def write(path: Path, text: str) -> None:
    with written_whole(path) as part:
        part.write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_nothing_stands_under_the_name_until_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "front.csv"
    with written_whole(target) as part:
        part.write_text("half")
        assert not target.exists()
        assert part.suffix == ".csv", "libraries go by the ending"
    assert target.read_text() == "half"
    assert names(tmp_path) == ["front.csv"]


def test_a_disk_that_fills_leaves_the_earlier_file(tmp_path: Path, full_disk: FullDisk) -> None:
    target = tmp_path / "front.csv"
    write(target, "before")
    told = r"front\.csv: cannot be written: (No space left|File too large)"
    with full_disk(100), pytest.raises(FileError, match=told):
        write(target, "x" * 1000)
    assert target.read_text() == "before"
    assert names(tmp_path) == ["front.csv"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError])
def test_whatever_ends_the_writing_leaves_nothing(tmp_path: Path, end: type[BaseException]) -> None:
    def ended(path: Path) -> None:
        path.write_text("half")
        raise end

    with pytest.raises(end), written_whole(tmp_path / "front.svg") as part:
        ended(part)
    assert names(tmp_path) == []


def test_a_file_keeps_its_permissions_and_a_link_its_place(tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("before")
    real.chmod(0o640)
    link.symlink_to(real)
    write(link, "after")
    assert link.is_symlink()
    assert real.read_text() == "after"
    assert real.stat().st_mode & 0o777 == 0o640


@needs_full
def test_a_device_is_written_as_it_is() -> None:
    write(Path("/dev/null"), "x")
    assert not Path("/dev/null").is_file()
    check_writable("/dev/full")
    with pytest.raises(FileError, match="cannot be written: No space left on device"):
        write(Path("/dev/full"), "x")


def test_what_is_in_the_way_is_said_before_there_is_anything_to_write(tmp_path: Path) -> None:
    for path, told in ((tmp_path / "none" / "x.csv", "there is no folder"), (tmp_path, "it is a folder")):
        for ask in (check_writable, lambda path: write(path, "x")):
            with pytest.raises(FileError, match=f"cannot be written: {told}"):
                ask(path)
    assert names(tmp_path) == []


@never_root
def test_a_folder_and_a_file_that_may_not_be_written_to(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file.csv"
    folder.mkdir(mode=0o555)
    file.write_text("before")
    file.chmod(0o444)
    for ask in (check_writable, lambda path: write(path, "x")):
        with pytest.raises(FileError, match="folder may not be written to"):
            ask(folder / "x.csv")
        with pytest.raises(FileError, match="it may not be written to"):
            ask(file)
    assert file.read_text() == "before"
