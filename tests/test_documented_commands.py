"""Run every `mlsysim-opt` command that README.md and docs/ show, and hold them to what they say.

Within a ```console block, a line `$ mlsysim-opt ...` is a command (a trailing backslash continues it; other
commands are not run), and the lines below it are its output: each must appear in what the command really
prints, in that order; `...` stands for anything. The blocks of a page run one after the other in one empty
folder. `<!-- exit: N -->` above a block gives the exit status of its last command; otherwise it is 0.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!--\s*exit:\s*(\d+)\s*-->\s*\n+)?^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass
class Command:
    text: str
    line: int
    status: int = 0
    output: list[str] = field(default_factory=list)


def commands(page: str) -> list[Command]:
    """Return the commands of a page, in order, with the status and the output it claims for each."""
    found: list[Command] = []
    for block in BLOCK.finditer(page):
        first_line = page.count("\n", 0, block.start(2)) + 1
        in_block: list[Command] = []
        continued = False
        for number, line in enumerate(block[2].splitlines(), first_line):
            if continued:
                in_block[-1].text += " " + line.strip()
            elif line.startswith("$ "):
                in_block.append(Command(line[2:].strip(), number))
            elif in_block and line.strip():
                in_block[-1].output.append(line.strip())
            continued = bool(in_block) and not in_block[-1].output and line.endswith("\\")
            if continued:
                in_block[-1].text = in_block[-1].text.removesuffix("\\").rstrip()
        ours = [command for command in in_block if command.text.startswith("mlsysim-opt")]
        if ours and block[1]:
            ours[-1].status = int(block[1])
        found += ours
    return found


def missing(claimed: list[str], printed: str) -> str | None:
    """Return the first claimed line that is not in the output after the ones before it, or None."""
    rest = [" ".join(line.split()) for line in printed.splitlines()]
    for line in claimed:
        if line == "...":
            continue
        pattern = re.compile(".*".join(re.escape(" ".join(part.split())) for part in line.split("...")))
        place = next((at for at, text in enumerate(rest) if pattern.fullmatch(text)), None)
        if place is None:
            return line
        rest = rest[place + 1 :]
    return None


@pytest.mark.parametrize("page", [p for p in PAGES if p.exists() and commands(p.read_text())], ids=lambda p: p.name)
def test_commands_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    environment = dict(os.environ, COLUMNS="100", NO_COLOR="1", TERM="dumb")
    environment["PATH"] = str(Path(sys.executable).parent) + os.pathsep + environment["PATH"]
    for command in commands(page.read_text()):
        done = subprocess.run(
            command.text,
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        where = f"{page.name}:{command.line}: $ {command.text}"
        printed = done.stdout + done.stderr
        assert done.returncode == command.status, f"{where}\nexit {done.returncode}\n{printed}"
        line = missing(command.output, printed)
        assert line is None, f"{where}\nthe page shows {line!r}, the command printed\n{printed}"


def test_a_page_is_read_as_a_person_reads_it() -> None:
    page = (
        "Text\n\n```console\n$ make test\nignored\n"
        "$ mlsysim-opt a \\\n    --b\nfound ...\n```\n"
        "\n<!-- exit: 5 -->\n```console\n$ mlsysim-opt c\n$ mlsysim-opt d\n```\n"
        "```python\n$ mlsysim-opt no\n```\n"
    )
    first, second, third = commands(page)
    assert (first.text, first.line, first.status, first.output) == ("mlsysim-opt a --b", 6, 0, ["found ..."])
    assert (second.text, second.status) == ("mlsysim-opt c", 0)
    assert (third.text, third.status) == ("mlsysim-opt d", 5)


@pytest.mark.parametrize(
    ("claimed", "expected"),
    [
        (["step time 1.5 s"], None),
        (["step ... s"], None),
        (["...", "proven"], None),
        (["step time 1.6 s"], "step time 1.6 s"),
        (["proven", "step time 1.5 s"], "step time 1.5 s"),
    ],
)
def test_claimed_output_is_compared(claimed: list[str], expected: str | None) -> None:
    assert missing(claimed, "step  time   1.5 s\nmore\nproven\n") == expected
