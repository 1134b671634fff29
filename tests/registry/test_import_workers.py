"""Tables of workers that others measured are read with their units; bad ones are refused with file, line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlsysim_opt.errors import CatalogError, FileError
from mlsysim_opt.registry.importers.workers import Worker, read_workers

HEAD = "tp,bs,ttft,tpot,seq/s,num_total_gpus\n"


def written(folder: Path, text: str) -> str:
    place = folder / "workers.csv"
    place.write_text(text, encoding="utf-8")
    return str(place)


def test_milliseconds_and_requests_per_second_are_meant_where_nothing_is_said(tmp_path: Path) -> None:
    file = written(tmp_path, f"{HEAD}1,1,500,0.0,2.0,1\n4,2,250,0.0,7.5,4\n")
    assert read_workers(file, "prefill") == (Worker("tp1 bs1", 1, 0.5, 2.0), Worker("tp4 bs2", 4, 0.25, 7.5))


def test_headers_say_other_names_and_units(tmp_path: Path) -> None:
    file = written(tmp_path, "Device,ITL [s],Request_Rate (request/min),devices\nH200,0.02,120,8\nB200.x2,0.01,60,2\n")
    found = read_workers(file, "decode")
    assert found == (Worker("H200", 8, 0.02, 2.0), Worker("B200.x2", 2, 0.01, 1.0))


def test_rows_without_a_name_are_called_by_their_line(tmp_path: Path) -> None:
    file = written(tmp_path, "# measured in May\nttft,seq/s,devices\n10,1,1\n10,1,1\n")
    assert [item.name for item in read_workers(file, "prefill")] == ["line 3", "line 4"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (HEAD, "no rows below its header"),
        ("tp,bs,seq/s,num_total_gpus\n1,1,2,1\n", "has no column 'ttft' (latency of a prefill worker)"),
        ("tp,bs,ttft,seq/s\n1,1,2,1\n", "has no column 'num_total_gpus' or 'devices'"),
        ("ttft,ttft [s],seq/s,devices\n1,1,1,1\n", "two columns 'ttft'"),
        ("ttft [GB],seq/s,devices\n1,1,1\n", "'ttft [GB]' is in GB, but s is expected"),
        ("ttft [parsecs],seq/s,devices\n1,1,1\n", "'ttft [parsecs]': unknown unit"),
        (f"{HEAD}1,1,500,0,2,1\n2,1,0,0,2,1\n", "(line 3): ttft: expected a number above 0, got '0'"),
        (f"{HEAD}1,1,nan,0,2,1\n", "(line 2): ttft: expected a number above 0, got 'nan'"),
        (f"{HEAD}1,1,500,0,-2,1\n", "(line 2): seq/s: expected a number above 0, got '-2'"),
        (f"{HEAD}1,1,500,0,2,1.5\n", "(line 2): num_total_gpus: expected a whole number, got '1.5'"),
        (f"{HEAD}1,1,500,0,2,__import__('os')\n", "(line 2): num_total_gpus: expected a number above 0"),
        (f"{HEAD}1,1,500,0,2\n", "(line 2): has 5 cells where the header has 6"),
        (f"{HEAD}1,1,500,0,2,1\n2,1,500,0,2,1\n1,1,400,0,2,1\n", "(line 4): is of the same design as line 2: tp1 bs1"),
        (f'{HEAD}1,"a, b=c",500,0,2,1\n', "(line 2): bs: 'a, b=c' cannot be part of a name"),
        (f"{HEAD}1,1,500,0,2,1\n\0", "NUL character"),
    ],
)
def test_bad_tables_are_refused_with_the_place(text: str, says: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(CatalogError) as caught:
        read_workers(file, "prefill")
    assert says in str(caught.value)
    assert file in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        read_workers(str(tmp_path / "missing.csv"), "prefill")
    with pytest.raises(FileError, match="folder"):
        read_workers(tmp_path, "prefill")
