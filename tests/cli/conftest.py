"""How the tests of the command line run it: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlsysim_opt.cli import main

# A small job that is solved in a few hundredths of a second.
JOB = ("--model", "Llama3_8B", "--fleet", "Lab_64_H100", "--batch-size", "512", "--seq-len", "8192")
DESIGN = (
    "tp_size=2,pp_size=1,dp_size=32,cp_size=1,microbatch_size=1,v_stages=1,zero_stage=1,"
    "recomputation=none,sequence_parallel=true,overlap_comm=true"
)
ANSI = "\x1b["


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Return a function that runs a command in this process."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> Done:
        code = main(list(arguments))
        found = capsys.readouterr()
        assert "Traceback" not in found.err + found.out
        assert ANSI not in found.err + found.out
        return Done(code, found.out, found.err)

    return run


@pytest.fixture
def refused(ask: Callable[..., Done]) -> Callable[..., str]:
    """Return a function that runs a command, insists on an exit status and words of the message, and returns it."""

    def run(*arguments: str, code: int = 3, says: tuple[str, ...] = ()) -> str:
        done = ask(*arguments)
        assert done.code == code, (done.code, done.err, done.out[:500])
        assert not done.out
        for word in says:
            assert word in done.err, done.err
        return done.err

    return run


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the program as a shell does, in an empty folder."""

    def run(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        environment = dict(os.environ, COLUMNS="100", **settings.pop("environment", {}))
        settings = {"capture_output": True, "text": True, "timeout": 120, "check": False, **settings}
        command = [sys.executable, "-m", "mlsysim_opt.cli", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, **settings)

    return run


@pytest.fixture
def plan(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Return a function that writes a plan file and returns its path."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "plan.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write
