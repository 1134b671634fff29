"""Scenario files nobody should write and model inputs nobody should give: classes B, C, E and F, each by its id."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.cli import main

from .conftest import GOOD

Write = Callable[..., str]
Refused = Callable[..., str]


@pytest.fixture
def refused(write: Write, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that checks a file by its content, insists that it is refused, and returns the message."""

    def run(content: str | bytes, *says: str, code: int = 3) -> str:
        status = main(["config", "check", write(content)])
        seen = capsys.readouterr()
        assert status == code, seen
        assert not seen.out
        assert "Traceback" not in seen.err
        assert "plan.yaml" in seen.err
        for word in says:
            assert word in seen.err, seen.err
        return seen.err

    return run


def with_line(line: str, instead_of: str = "batch_size: 8") -> str:
    assert instead_of in GOOD
    return GOOD.replace(instead_of, line)


def serve(**given: Any) -> Any:
    return mo.ServingModel().solve(**{"model": "Llama3_8B", "hardware": "H100", "seq_len": 2048, **given})


# B: numbers -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "says"),
    [
        pytest.param("0", "positive", id="B01"),
        pytest.param("-5", "positive", id="B02"),
        pytest.param(".nan", "whole number", id="B03"),
        pytest.param(str(10**30), "2**53", id="B08"),
        pytest.param("true", "whole number", id="B17"),
        pytest.param("2.7", "whole number", id="B18"),
        pytest.param("'64'", "whole number", id="E18"),
    ],
)
def test_B01_B02_B03_B08_B17_B18_batch_size_in_a_file(refused: Refused, value: str, says: str) -> None:
    refused(with_line(f"batch_size: {value}"), "batch_size", "line 6, column 13", says)


@pytest.mark.parametrize("value", [0, -5, float("nan"), float("inf"), 10**30, True, 2.7, "many", None.__class__])
def test_B01_B02_B03_B08_B17_B18_batch_size_of_a_model(value: Any) -> None:
    with pytest.raises(mo.InputError, match="batch_size"):
        serve(batch_size=value)


@pytest.mark.parametrize("value", [".inf", "40", "-0.5", "0", ".nan", "half"])
def test_B04_B05_efficiency_in_a_file(refused: Refused, value: str) -> None:
    text = refused(GOOD + f"efficiency: {value}\n", "efficiency", "line 11, column 13")
    assert value != "40" or "40 percent" in text


@pytest.mark.parametrize("value", [float("inf"), 40, -0.5, 0, float("nan"), "half"])
def test_B04_B05_B21_B22_efficiency_of_a_model(value: Any) -> None:
    with pytest.raises(mo.InputError, match="efficiency") as caught:
        serve(efficiency=value)
    assert value != 40 or "0.4 for 40 percent" in str(caught.value)


@pytest.mark.parametrize("value", [".nan", ".inf", "nan day", "inf day", "-1 day", "0 day", "30", "30 GB", "1e400 day"])
def test_B06_B07_duration_in_a_file(refused: Refused, value: str) -> None:
    refused(GOOD + f"duration: {value}\n", "duration", "line 11, column 11")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 0, "nan day", "inf day", "3 GB"])
@pytest.mark.parametrize("model", ["EconomicsModel", "SustainabilityModel"])
def test_B06_B07_duration_of_a_model(model: str, value: Any) -> None:
    with pytest.raises(mo.InputError, match=r"duration_days|finite"):
        getattr(mo, model)().solve("Research_256", value)


@pytest.mark.parametrize("value", [0, -3, float("nan"), float("inf"), "0 1/s", "many"])
def test_B12_B13_B14_arrivals_of_a_model(value: Any) -> None:
    with pytest.raises(mo.InputError, match=r"arrival_rate|finite"):
        mo.TailLatencyModel().solve(arrival_rate=value, service_latency="10 ms")


@pytest.mark.parametrize("value", [float("nan"), -5, 0, "10 GB"])
def test_B10_B11_target_of_a_model(value: Any) -> None:
    with pytest.raises(mo.InputError, match=r"target_p99_latency_ms|finite"):
        mo.ServingCapacityModel().solve("Llama3_8B", "H100", qps=1, target_p99_latency_ms=value)


@pytest.mark.parametrize("value", ["nan request/s", "-3 request/s", "0 request/s", "inf request/s", "3", "3 GB/s"])
def test_B12_B13_B14_arrivals_in_a_file(refused: Refused, value: str) -> None:
    refused(GOOD + f"arrival_rate: {value}\n", "arrival_rate", "line 11")


@pytest.mark.parametrize("value", ["nan ms", "-5 ms", "0 ms", "50", "50 GB", "1e400 ms", "9**9**9**9 ms"])
def test_B10_B11_limits_in_a_file(refused: Refused, value: str) -> None:
    refused(with_line(f"itl: {value}", "itl: 50 ms"), "limits.itl", "line 10")


def test_B19_B20_a_length_beyond_all_memory(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "run", write(with_line("seq_len: 1000000000000", "seq_len: 4096"))]) == 5
    out = capsys.readouterr().out
    assert "FAIL     memory fits" in out
    assert not serve(seq_len=10**12).feasible
    with pytest.raises(mo.InputError, match="batch_size"):
        serve(batch_size=0)


# C: names -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "instead_of", "says"),
    [
        pytest.param("system: H1000", "system: H100", "'H100'", id="C01"),
        pytest.param("workload: Llama3-8Bx", "workload: Llama3_8B", "'Llama3_8B'", id="C03"),
        pytest.param("batchsize: 8", "batch_size: 8", "'batch_size'", id="C07"),
        pytest.param("itll: 50 ms", "itl: 50 ms", "'itl'", id="C08"),
        pytest.param("precision: fp17", "precision: fp8", "'fp16'", id="C09"),
        pytest.param("system: __class__", "system: H100", "unknown accelerator or fleet", id="C11"),
        pytest.param("system: list", "system: H100", "unknown accelerator or fleet", id="C12"),
        pytest.param("workload: all", "workload: Llama3_8B", "unknown model or workload", id="C12-all"),
    ],
)
def test_C01_C03_C07_C08_C09_C11_C12_names_in_a_file(refused: Refused, line: str, instead_of: str, says: str) -> None:
    refused(with_line(line, instead_of), says, "line")


@pytest.mark.parametrize("system", ["h100", "H100", "a100_40gb", "One-DGX-H100"])
def test_C02_case_and_dashes_do_not_matter(write: Write, system: str) -> None:
    assert main(["config", "check", write(with_line(f"system: {system}", "system: H100"))]) == 0


def test_C04_C06_unknown_places(refused: Refused) -> None:
    refused(GOOD + "place: Quebek\n", "place", "'Quebec'", "line 11")
    refused(GOOD + "place: Atlantis\n", "place", "unknown datacenter or grid")
    with pytest.raises(mo.UnknownNameError, match="Quebek") as caught:
        mo.SustainabilityModel().solve("Research_256", 30, "Quebek")
    assert "Quebec" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "near"),
    [({"hardware": "H1000"}, "H100"), ({"model": "Llama3-8Bx"}, "Llama3_8B"), ({"precision": "fp17"}, "fp16"),
     ({"batchsize": 3}, "batch_size"), ({"hardware": "__class__"}, ""), ({"model": "../../etc/passwd"}, "")],
)  # fmt: skip
def test_C01_C03_C07_C09_C11_names_of_a_model(given: dict[str, Any], near: str) -> None:
    with pytest.raises(mo.UnknownNameError) as caught:
        serve(**given)
    assert near in str(caught.value)


def test_C10_C12_attributes_of_namespaces() -> None:
    with pytest.raises(AttributeError, match="'H100'"):
        mo.Hardware.Cloud.H1000  # noqa: B018
    with pytest.raises(AttributeError, match="Doorbell"):
        mo.Scenarios.doorbel  # noqa: B018


# E: files -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("content", ["", "\n\n", "# only a remark\n"])
def test_E02_empty_file(refused: Refused, content: str) -> None:
    refused(content)


def test_E01_E12_E13_E21_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    cases = {
        str(tmp_path): "folder",
        str(tmp_path / "none.yaml"): "no such file",
        str(tmp_path / "pipe.yaml"): "regular",
    }
    if Path("/proc/self/mem").exists():
        cases["/proc/self/mem"] = "cannot be read"
    for path, says in cases.items():
        for command in (["config", "check", path], ["scenario", "run", path]):
            assert main(command) == 4
            assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("- model: x\n", ("line 1, column 1", "a list"), id="E03"),
        pytest.param("limits:\n\titl: 1 s\n", ("line 2, column 1", "tabs"), id="E04"),
        pytest.param("workload: [" * 20_000, ("line 1", "nested deeper"), id="E07"),
        pytest.param("batch_size: 1\nbatch_size: 2\n", ("line 2, column 1", "twice"), id="E08"),
        pytest.param(b"name: \xff\n", ("0xff", "UTF-8"), id="E09"),
        pytest.param("name: x".encode("utf-16"), ("UTF-16",), id="E10"),
        pytest.param(b"name: \0\n", ("NUL",), id="E11"),
        pytest.param("name: x\n---\nname: y\n", ("line 2", "more than one document"), id="E15"),
        pytest.param(GOOD + "place: NO\n", ("place", "line 11", "'NO'"), id="E16"),
        pytest.param(GOOD.replace(": 8\n", ": 1:30\n"), ("batch_size", "line 6", "1:30"), id="E17"),
        pytest.param("name: x\n", ("workload", "system", "missing"), id="E19"),
    ],
)
def test_E03_E04_E07_E08_E09_E10_E11_E15_E16_E17_E18_E19_files(
    refused: Refused, content: str | bytes, says: tuple[str, ...]
) -> None:
    refused(content, *says)


def test_E05_unsafe_tag(refused: Refused, tmp_path: Path) -> None:
    mark = tmp_path / "pwned"
    refused(f"name: !!python/object/apply:os.system ['touch {mark}']\n", "line 1, column 7", "tag")
    assert not mark.exists()


def test_E06_billion_laughs(refused: Refused) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    start = time.process_time()
    refused("\n".join(lines), "line 1", "anchor &a0")
    assert time.process_time() - start < 2


def test_E14_large_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as stream:
        stream.truncate(200 * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(["config", "check", str(path)]) == 3
    assert "5 MiB" in capsys.readouterr().err
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10


def test_E22_all_errors_at_once(refused: Refused) -> None:
    text = refused(
        "version: 9\nname: x\nworkload: nope\nsystem: nope\nbatch_size: 0\nlimits: {itl: 3}\n", "5 errors", "version",
        "workload", "system", "batch_size", "limits.itl",
    )  # fmt: skip
    assert [text.index(f"line {n}") for n in (1, 3, 4, 5, 6)] == sorted(
        text.index(f"line {n}") for n in (1, 3, 4, 5, 6)
    )


# F: text that wants to do something -----------------------------------------------------------------------------------
@pytest.mark.parametrize("line", ["system: {text}", "precision: {text}", "place: {text}", "itl: {text}"])
def test_F01_F03_python_is_never_run(refused: Refused, tmp_path: Path, line: str) -> None:
    mark = tmp_path / "pwned"
    text = f"\"__import__('os').system('touch {mark}') ms\""
    key = line.split(":")[0]
    instead = {"system": "system: H100", "precision": "precision: fp8", "itl": "itl: 50 ms", "place": "batch_size: 8"}
    refused(with_line(line.format(text=text), instead[key]))
    assert not mark.exists()


def test_F02_dunder_traversal(refused: Refused) -> None:
    refused(with_line("__class__: 1 s", "itl: 50 ms"), "unknown field '__class__'")
    with pytest.raises(KeyError):
        mo.Scenarios.Doorbell.evaluate().metric("__class__.__mro__")


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "/etc/passwd", "..\\..\\x", "a/b"])
def test_F04_path_as_a_name(refused: Refused, name: str) -> None:
    text = refused(with_line(f"workload: '{name}'", "workload: Llama3_8B"), "unknown model or workload")
    assert "root:" not in text


@pytest.mark.parametrize("name", ["\\x1b[31mred", "a\\rb", "\\x07", "\\u202eabc", "\\x9b31m"])
def test_F05_terminal_escapes(refused: Refused, name: str) -> None:
    for line, instead in ((f'system: "{name}"', "system: H100"), (f'"{name}": 3', "batch_size: 8")):
        text = refused(with_line(line, instead))
        assert all(char.isprintable() or char == "\n" for char in text)
    text = refused(with_line(f'name: "{name}"', "name: Chat"), "printable")
    assert all(char.isprintable() or char == "\n" for char in text)


def test_F06_html_in_a_file(write: Write) -> None:
    page = mo.SimulationConfig.from_yaml(write(GOOD.replace("name: Chat", "name: <script>x</script>"))).run().to_html()
    assert "<script" not in page


def test_F07_no_network(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", never)
    refused(with_line("workload: 'hf://meta-llama/Llama-3.1-8B'", "workload: Llama3_8B"), "unknown model or workload")


def test_F08_markup_is_printed_as_it_is(refused: Refused, capsys: pytest.CaptureFixture[str]) -> None:
    assert "[/foo]" in refused(with_line("system: '[/foo]'", "system: H100"))
    assert main(["scenario", "run", "[/foo]"]) == 4  # with a slash it is a path
    assert "[/foo]" in capsys.readouterr().err
