"""Plan files nobody should write, and text that tries to do something: classes E and F, each test named by its id."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlsysim_opt as mo

from .conftest import JOB, Done

Refused = Callable[..., str]
Ask = Callable[..., Done]
Plan = Callable[[str | bytes], str]
GIVEN = "{model: Llama3_8B, fleet: Lab_64_H100, batch_size: 512, seq_len: 8192}"


def test_E01_no_such_file(refused: Refused) -> None:
    refused("optimize", "--plan", "nowhere.yaml", code=4, says=("nowhere.yaml", "no such file"))


@pytest.mark.parametrize("content", ["", "\n\n", "# only a remark\n"])
def test_E02_empty_file(refused: Refused, plan: Plan, content: str) -> None:
    refused("optimize", "--plan", plan(content), says=("plan.yaml",))


def test_E03_top_level_list(refused: Refused, plan: Plan) -> None:
    refused("optimize", "--plan", plan("- model: x\n"), says=("line 1, column 1", "a list", "formulation, given"))


def test_E04_tab(refused: Refused, plan: Plan) -> None:
    refused("optimize", "--plan", plan("given:\n\tmodel: x\n"), says=("line 2, column 1", "tabs"))


def test_E05_unsafe_tag(refused: Refused, plan: Plan, tmp_path: Path) -> None:
    mark = tmp_path / "pwned"
    content = f"given: !!python/object/apply:os.system ['touch {mark}']\n"
    refused("optimize", "--plan", plan(content), says=("line 1, column 8", "tag", "not allowed"))
    assert not mark.exists()


def test_E06_billion_laughs(refused: Refused, plan: Plan) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    start = time.process_time()
    refused("optimize", "--plan", plan("\n".join(lines)), says=("line 1", "anchor &a0"))
    assert time.process_time() - start < 2


def test_E07_deep_nesting(refused: Refused, plan: Plan) -> None:
    refused("optimize", "--plan", plan("given: " + "[" * 20_000), says=("line 1", "nested deeper"))
    refused("optimize", *JOB, "--constraint", "(" * 20_000 + "1" + ")" * 20_000 + " <= 2", says=("--constraint",))


def test_E08_duplicate_keys(refused: Refused, plan: Plan) -> None:
    content = "given:\n  batch_size: 1\n  batch_size: 2\n"
    refused("optimize", "--plan", plan(content), says=("line 3, column 3", "batch_size", "twice", "line 2"))


def test_E09_not_utf8(refused: Refused, plan: Plan) -> None:
    refused("optimize", "--plan", plan(b"given: {model: \xff}\n"), says=("line 1", "0xff", "UTF-8"))


def test_E10_utf16(refused: Refused, plan: Plan) -> None:
    refused("optimize", "--plan", plan("given: {}".encode("utf-16")), says=("UTF-16", "save the file as UTF-8"))


def test_E11_binary(refused: Refused, plan: Plan) -> None:
    refused("optimize", "--plan", plan(b"given: \0\0"), says=("line 1", "NUL"))


def test_E12_folder(refused: Refused, tmp_path: Path) -> None:
    refused("optimize", "--plan", str(tmp_path), code=4, says=(tmp_path.name, "is a folder"))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no /proc here")
def test_E13_unreadable(refused: Refused) -> None:
    refused("optimize", "--plan", "/proc/self/mem", code=4, says=("/proc/self/mem", "cannot be read"))


def test_E14_large_file(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as stream:
        stream.truncate(200 * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused("optimize", "--plan", str(path), says=("large.yaml", "5 MiB"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10


def test_E15_two_documents(refused: Refused, plan: Plan) -> None:
    refused("optimize", "--plan", plan("given: {}\n---\ngiven: {}\n"), says=("line 2", "more than one document"))


def test_E16_norway(refused: Refused, plan: Plan) -> None:
    content = f"given: {GIVEN[:-1]}, grid: NO}}\n"
    refused("optimize", "--plan", plan(content), says=("given.grid", "line 1", "'NO'"))


def test_E17_sexagesimal(refused: Refused, plan: Plan) -> None:
    refused(
        "optimize",
        "--plan",
        plan("given:\n  batch_size: 1:30\nformulation: parallelism\n"),
        says=("given.batch_size", "line 2", "1:30"),
    )


def test_E18_number_as_text(ask: Ask, plan: Plan) -> None:
    quoted = ask("optimize", "--plan", plan("given: " + GIVEN.replace("512", "'512'")), "--json")
    assert quoted.code == 0
    assert quoted.json["request"]["given"]["global_batch_size"] == 512


def test_E19_missing_section(refused: Refused, plan: Plan) -> None:
    refused("optimize", "--plan", plan("objective: max_mfu\n"), says=("formulation",))
    refused("optimize", "--plan", plan("formulation: parallelism\n"), says=("given", "needs 'model'"))
    content = "given:\n  model: Llama3_8B\n  batch_size: 1\n  seq_len: 1\nformulation: parallelism\n"
    refused("optimize", "--plan", plan(content), says=("given", "line 2", "needs 'fleet'"))


def test_E21_pipe_without_end(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    refused("optimize", "--plan", str(path), code=4, says=("pipe.yaml", "not a regular file"))


def test_E22_every_error_at_once(ask: Ask, plan: Plan) -> None:
    content = "given:\n  model: Llama3-8Bx\n  batch_size: .nan\n  seqlen: 1\n  efficiency: 40\n"
    done = ask("optimize", "--plan", plan(content), "--json")
    assert done.code == 3
    places = [(item["path"].split(": ")[1], item["line"], item["column"]) for item in done.json["error"]["errors"]]
    assert places == [
        ("given.model", 2, 10),
        ("given.batch_size", 3, 15),
        ("given.seqlen", 4, 3),
        ("given.efficiency", 5, 15),
    ]
    content = f"given: {GIVEN}\nobjective: make it cheap\nconstraints:\n  - latncy <= 3 s\n  - memory <= 10\n"
    done = ask("optimize", "--plan", plan(content), "--json")
    places = [(item["path"].split(": ")[1], item["line"], item["column"]) for item in done.json["error"]["errors"]]
    assert places == [("objective", 2, 12), ("constraints.0", 4, 5), ("constraints.1", 5, 5)]


def test_outline_of_a_plan(ask: Ask, plan: Plan) -> None:
    content = "formulatio: x\ngiven: [1]\nconstraints: {a: 1}\nobjective: 3\n"
    done = ask("optimize", "--plan", plan(content), "--json")
    assert [item["line"] for item in done.json["error"]["errors"]] == [1, 2, 4, 3]
    assert "did you mean 'formulation'?" in done.json["error"]["message"]


# text that wants to do something --------------------------------------------------------------------------------------
EVIL = "__import__('os').system('touch {mark}')"


@pytest.mark.parametrize("option", ["--constraint", "--objective", "--set", "--choose", "--model", "--time-limit"])
def test_F01_python_is_never_run(ask: Ask, tmp_path: Path, option: str) -> None:
    mark = tmp_path / "pwned"
    text = EVIL.format(mark=mark)
    done = ask("optimize", *JOB, option, f"price={text}" if option in ("--set", "--choose") else text)
    assert done.code == 3
    assert not mark.exists()


def test_F02_dunder_traversal(refused: Refused) -> None:
    text = "step_time.__class__.__mro__"
    refused("optimize", *JOB, "--objective", text, says=("objective", text))
    refused("optimize", *JOB, "--constraint", f"{text} <= 3", says=("--constraint", text))


def test_F03_python_in_a_quantity(refused: Refused) -> None:
    text = "__import__('os').getpid() GB"
    refused("optimize", *JOB, "--set", f"memory_reserve={text}", says=("memory_reserve", "expected a number"))


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "/etc/passwd", "..\\..\\x", "a/b"])
def test_F04_path_as_a_name(refused: Refused, name: str) -> None:
    err = refused("zoo", "show", name, says=("unknown name",))
    assert "root:" not in err
    refused("optimize", *JOB, "--model", name, says=("unknown model",))


@pytest.mark.parametrize("name", ["\x1b[31mred\x1b[0m", "a\rb", "\x07", "\u202eabc", "\x9b31m"])
def test_F05_terminal_escapes(ask: Ask, name: str) -> None:
    for command in (("zoo", "show", name), ("optimize", *JOB, "--model", name), ("explain", name)):
        done = ask(*command)
        assert done.code == 3
        assert done.err.isascii() or "\u202e" not in done.err
        assert all(char.isprintable() or char == "\n" for char in done.err)


def test_F05_terminal_escapes_in_a_file_name(ask: Ask) -> None:
    done = ask("optimize", "--plan", "\x1b[31mred.yaml")
    assert done.code == 4
    assert "\\x1b[31mred.yaml" in done.err


def test_F06_html() -> None:
    solution = mo.optimize(
        "parallelism",
        constraints=["tp_size <= 8"],
        model="Llama3_8B",
        fleet="Lab_64_H100",
        global_batch_size=512,
        seq_len=8192,
    )
    page: Any = solution._repr_html_()
    assert "tp_size &lt;= 8" in page
    assert "tp_size <= 8" not in page


def test_F07_no_network_from_a_name(refused: Refused) -> None:
    refused("optimize", *JOB, "--model", "hf://meta-llama/Llama-3.1-8B", says=("unknown model", "hf://meta-llama"))


@pytest.mark.parametrize("name", ["[/foo]", "[bold]x", "[red", ":smile:"])
def test_F08_markup_is_printed_as_it_is(ask: Ask, name: str) -> None:
    for command in (("zoo", "show", name), ("optimize", *JOB, "--model", name), ("zoo", name)):
        done = ask(*command)
        assert done.code in (2, 3)
        assert name in done.err


def test_markup_in_an_answer_is_printed_as_it_is(ask: Ask) -> None:
    done = ask("optimize", *JOB, "--constraint", "tp_size in [1, 2]")
    assert done.code in (0, 3)
    assert "tp_size in [1, 2]" in done.out + done.err


def test_nothing_is_left_behind(program: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    program("optimize", *JOB, "--constraint", "bad")
    program("doctor")
    assert list(tmp_path.iterdir()) == []
