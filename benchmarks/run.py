"""The numbers README.md quotes: ``make bench``, or ``python benchmarks/run.py [--json PATH] [--rounds N] [CASE ...]``.

Every measurement is a process of its own (`ours.py`, `peer.py`), the two sides in turns, each going first every
other round; what counts is the median of CPU seconds. The peer is mlsysim 0.3.0, by the interpreter in PEER_PYTHON;
NSGA-II is that of pymoo, by the interpreter in PYMOO_PYTHON. Without them their numbers are absent. Exits with 1 when
a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Sample = dict[str, Any]
COUPLED = {
    "medium": ("20 jobs, 10 devices, 30 regions, 8 designs, to 1e-4", 3.0),
    "large": ("50 jobs, 20 devices, 60 regions, 32 designs, to 1e-4", 5.0),
    "priced": ("  with a price of carbon, and regions free to open", 5.0),
    "tight": ("50 jobs, 20 devices, 60 regions, 8 designs, tight, to 1 %", 20.0),
    "tightest": ("  to 1e-4", None),
    "front": ("front of cost and carbon in 25 steps: 20 jobs, 10 devices, 30 regions, 8 designs", 30.0),
    "front_small": ("  10 jobs, 8 devices, 15 regions, 8 designs", 2.0),
    "fleets_small": ("whole nodes over hours (10, 8, 15, 24) to 1 %, median of 5", 15.0),
    "fleets_week": ("whole nodes over hours (20, 10, 30, 168) to 3 %, median of 5", 60.0),
    "build": ("767,448 columns built and handed to HiGHS", 1.5),
    "by_hand": ("20 jobs, 10 devices, 30 regions, 8 designs, to 1e-6", None),
}
"""Cases of coupled.py: what each is called in the table, and its target in seconds."""


@dataclass
class Line:
    """One number with its target, beside that of the peer.

    Attributes:
        at_least: whether a larger number is better. compared: the same of the peer.
    """

    title: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    compared: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass
class Case:
    """A question asked of one or both sides."""

    name: str
    peer: bool
    rounds: int
    script: str = "ours.py"
    ours: list[Sample] = field(default_factory=list)
    theirs: list[Sample] = field(default_factory=list)


def cases(rounds: int) -> list[Case]:
    """Return what is measured."""
    return [
        Case("search", True, rounds),
        Case("proof", False, rounds),
        Case("solve", True, rounds),
        Case("serve", True, rounds),
        Case("peer_placement", False, rounds),
        Case("peer_batching", False, 1),
        Case("elastic", False, 1),
        Case("jobs_on_clusters", False, 1),
        Case("one_job", False, min(rounds, 3)),
        Case("sweep", False, rounds),
        Case("dense", False, rounds),
        Case("load", True, rounds),
        Case("help", True, rounds),
        Case("memory", False, 1),
        *(Case(f"coupled_{name}", False, 1 if "fleets" in name else min(rounds, 3), "coupled.py") for name in COUPLED),
        Case("conflict", False, 1, "coupled.py"),
        Case("nsga2", False, 1, "coupled.py"),
        Case("melange", False, 1, "fleet.py"),
    ]


def measure(case: Case, peer: str | None) -> None:
    """Take all samples of a case."""
    for index in range(case.rounds):
        sides = [True, False] if index % 2 == 0 else [False, True]
        for ours in sides:
            if ours:
                case.ours.append(sample(case.name, sys.executable, case.script, "mlsysim-opt"))
            elif case.peer and peer:
                case.theirs.append(sample(case.name, peer, "peer.py", "mlsysim"))


def sample(name: str, python: str, script: str, command: str) -> Sample:
    """Return one measurement, made by another process."""
    if name == "help":
        return help_sample([str(Path(python).parent / command), "--help"])
    done = subprocess.run([python, str(HERE / script), name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script} {name} failed:\n{done.stderr}")
    found: Sample = json.loads(done.stdout.splitlines()[-1])
    return found


def help_sample(command: Sequence[str]) -> Sample:
    """Return the CPU seconds of a whole command, from start to end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return {"seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "answer": ""}


def lines(found: dict[str, Case]) -> list[Line]:
    """Return the table: every number the issue names, with its target."""
    table: list[Line] = []
    if search := found.get("search"):
        ours, theirs = _rate(search.ours, "combinations"), _rate(search.theirs, "combinations")
        table += [
            Line("combinations of the searched space", search.ours[0]["combinations"], "", 1e7, True),
            Line("combinations accounted for per CPU-second", ours or 0.0, "1/s", 1e8, True, theirs),
            Line("designs fully evaluated per CPU-second", _rate(search.ours, "evaluated") or 0.0, "1/s", 1e7, True,
                 _rate(search.theirs, "evaluated"), _answers(search)),
        ]  # fmt: skip
        if ours and theirs:
            table.append(Line("  accounted for: times the peer's rate", ours / theirs, "x", 2e5, True))
    if proof := found.get("proof"):
        table.append(
            Line("the demo's optimum proven, after import", _median(proof.ours), "s", 1.0, note=_answers(proof))
        )
    if solve := found.get("solve"):
        table.append(Line("one warm DistributedModel().solve", _median(solve.ours) * 1e6, "us", None, False,
                          _median(solve.theirs) * 1e6 if solve.theirs else None, _answers(solve)))  # fmt: skip
        if solve.theirs:
            table.append(
                Line("  times faster than the peer", _median(solve.theirs) / _median(solve.ours), "x", 20, True)
            )
    table += _serving_lines(found) + _placement_lines(found)
    if load := found.get("load"):
        theirs = _median(load.theirs) if load.theirs else None
        table.append(Line("import", _median(load.ours), "s", 0.35, False, theirs))
    if shown := found.get("help"):
        theirs = _median(shown.theirs) if shown.theirs else None
        table.append(Line("--help of the command", _median(shown.ours), "s", 0.5, False, theirs))
    if memory := found.get("memory"):
        largest = memory.ours[0]
        title = f"peak memory, {largest['combinations']:.2g} combinations"
        note = f"{_answers(memory)}; {largest['evaluated']:,} evaluated in {largest['seconds']:.1f} s"
        table.append(Line(title, largest["peak_mib"], "MiB", 1024, note=note))
    return [*table, *_coupled_lines(found)]


def _coupled_lines(found: dict[str, Case]) -> list[Line]:
    """Return the lines of coupled problems: from the declaration to the checked answer."""
    table: list[Line] = []
    for name, (title, target) in COUPLED.items():
        if case := found.get(f"coupled_{name}"):
            table.append(Line(title, _median(case.ours), "s", target, note=case.ours[0]["answer"]))
    if case := found.get("coupled_by_hand"):
        if not all(item["same"] for item in case.ours):
            raise SystemExit(f"the model written by hand has another optimum: {case.ours[0]['answer']}")
        hand = statistics.median(item["by_hand"] for item in case.ours)
        table.append(Line("  the same, a Pyomo model written by hand", hand, "s"))
    return [*table, *_front_lines(found)]


def _front_lines(found: dict[str, Case]) -> list[Line]:
    """Return the lines of limits at odds, of NSGA-II beside a front, and of Melange's problem."""
    table: list[Line] = []
    if case := found.get("conflict"):
        first = case.ours[0]
        title = f"a conflict of {first['limits']} limits explained: programs about feasibility"
        table.append(Line(title, first["programs"], "", first["limits"] + 1, note=first["answer"]))
        table.append(Line("  with the ways out", first["seconds"], "s"))
    if case := found.get("nsga2"):
        first = case.ours[0]
        title = "hypervolume of the small front in 25 steps, as a share of the complete front's"
        table.append(Line(title, first["covered"], "", note=f"{first['seconds']:.1f} s, {first['answer']}"))
        table.append(Line("  the complete front, every point proven", first["whole_seconds"], "s"))
        if "equal_time" in first:
            table.append(Line("  NSGA-II's hypervolume after the time of the 25 steps", first["equal_time"], ""))
            table.append(Line("  after ten times as long", first["ten_times"], ""))
    if case := found.get("melange"):
        first = case.ours[0]
        table += [
            Line("Melange's published example (3 A10G and 1 A100 for 6.70)", first["published"], "USD/h", 6.7 + 1e-9),
            Line("  its 60 sizes of requests, divisible, few available: the slowest of three", first["seconds"], "s",
                 note=first["answer"]),
            Line("  their largest proven gap", first["gap"], "", 1e-4),
        ]  # fmt: skip
    return table


def _placement_lines(found: dict[str, Case]) -> list[Line]:
    """Return the lines of a fleet's site, and of a week of jobs and demands placed hour by hour."""
    table: list[Line] = []
    if place := found.get("peer_placement"):
        theirs = statistics.median(item["theirs"] for item in place.ours) * 1e3 if "theirs" in place.ours[0] else None
        table.append(Line("PlacementOptimizer, every site of the catalog; the peer's tries three",
                          _median(place.ours) * 1e3, "ms", None, False, theirs, place.ours[0]["answer"]))  # fmt: skip
        if theirs is not None:
            table.append(Line("  the peer's answer is dearer in this model by up to", place.ours[0]["worse"], ""))
    if batching := found.get("peer_batching"):
        first = batching.ours[0]
        theirs = first["theirs"] * 1e3 if "theirs" in first else None
        table.append(Line("BatchingOptimizer, 256 batches, fill and queue in the P99", _median(batching.ours) * 1e3,
                          "ms", None, False, theirs, first["answer"]))  # fmt: skip
        if theirs is not None:
            title = f"  of {first['questions']} batches that the peer calls safe, not safe in this model"
            table += [
                Line(title, first["unsafe"], ""),
                Line("  their P99 over what is promised, at most", first["over"], "x"),
            ]
    if elastic := found.get("elastic"):
        table.append(Line("elastic placement (50, 20, 60, 168) to 1e-4", _median(elastic.ours), "s", 3.0, False, None,
                          _answers(elastic)))  # fmt: skip
        table.append(Line("  its proven gap", elastic.ours[0]["gap"], "", 1e-4))
    if jobs := found.get("jobs_on_clusters"):
        table.append(Line("100 jobs on 8 clusters, columns built from the physics", _median(jobs.ours), "s", 10.0,
                          note=jobs.ours[0]["answer"]))  # fmt: skip
        table.append(Line("  its proven gap", jobs.ours[0]["gap"], "", 1e-4))
    if one := found.get("one_job"):
        table += [
            Line("one training job over all its strategies", _median(one.ours), "s", 1.0, note=one.ours[0]["answer"]),
            Line("  strategies", one.ours[0]["strategies"], "", 4e6, True),
            Line("  its proven gap", one.ours[0]["gap"], "", 0.0),
        ]
    return table


def _serving_lines(found: dict[str, Case]) -> list[Line]:
    """Return the lines of one serving question, and of a million of them, against the peer's speed in this run."""
    serve = found.get("serve")
    if serve is None:
        return []
    theirs = _median(serve.theirs) if serve.theirs else None
    table = [Line("one warm ServingModel().solve", _median(serve.ours) * 1e6, "us", None, False,
                  None if theirs is None else theirs * 1e6, _answers(serve))]  # fmt: skip
    if theirs is not None:
        table.append(Line("  times faster than the peer", theirs / _median(serve.ours), "x", 20, True))
    read = statistics.median(item["read"] for item in serve.ours)
    table.append(Line("  with TTFT, ITL and feasibility read", read * 1e6, "us"))
    if theirs is not None:
        table.append(Line("  times faster than the peer", theirs / read, "x", None, True))
    titles = {"sweep": "speculative serving", "dense": "all axes in all outputs"}
    for sweep in (found[name] for name in titles if name in found):
        each = _median(sweep.ours) / sweep.ours[0]["points"]
        title = f"sweep of {sweep.ours[0]['points']:,} points (TTFT, ITL, memory), {titles[sweep.name]}, each"
        table.append(Line(title, each * 1e9, "ns", None, note=_answers(sweep)))
        if theirs is not None:
            table.append(Line("  times faster than the peer, per point", theirs / each, "x", 50_000, True))
    return table


def _median(samples: Sequence[Sample]) -> float:
    return statistics.median(item["seconds"] for item in samples)


def _rate(samples: Sequence[Sample], what: str) -> float | None:
    return samples[0][what] / _median(samples) if samples else None


def _answers(case: Case) -> str:
    theirs = f"; the peer: {case.theirs[0]['answer']}" if case.theirs else ""
    return case.ours[0]["answer"] + theirs


def shown(table: Sequence[Line]) -> str:
    """Return the table as text."""
    rows = [("", "this", "peer", "target", "")]
    for line in table:
        target = "" if line.target is None else f"{'>=' if line.at_least else '<='} {_number(line.target)}"
        state = {True: "met", False: "MISSED", None: ""}[line.met]
        theirs = "" if line.compared is None else _number(line.compared)
        rows.append((line.title, f"{_number(line.value)} {line.unit}".strip(), theirs, target, state))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{line.title.strip()}: {line.note}" for line in table if line.note]
    missing = [name for name in ("PEER_PYTHON", "PYMOO_PYTHON") if not os.environ.get(name)]
    absent = [f"absent: {name} is not set (make bench makes an environment for it)" for name in missing]
    return "\n".join([_where(), *absent, "", *texts, "", *notes])


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _where() -> str:
    names = ("mlsysim-opt", "numpy", "highspy", "ortools", "pyomo")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    return f"Python {platform.python_version()}, {versions}; {machine}; medians of CPU time"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(
        description="Measure this package, beside mlsysim 0.3.0 where PEER_PYTHON names it."
    )
    parser.add_argument("cases", nargs="*", help="only these: " + ", ".join(case.name for case in cases(1)))
    parser.add_argument("--rounds", type=int, default=5, help="processes per side and case")
    parser.add_argument("--json", type=Path, help="write all samples there, too")
    given = parser.parse_args(arguments)
    peer = os.environ.get("PEER_PYTHON")
    wanted = [case for case in cases(given.rounds) if not given.cases or case.name in given.cases]
    for case in wanted:
        print(f"measuring {case.name} ...", file=sys.stderr)
        measure(case, peer)
    table = lines({case.name: case for case in wanted})
    print(shown(table))
    if given.json:
        data = {
            "where": _where(),
            "peer": "mlsysim 0.3.0" if peer else None,
            "lines": [{**asdict(line), "met": line.met} for line in table],
            "samples": {case.name: {"ours": case.ours, "theirs": case.theirs} for case in wanted},
        }
        given.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return 1 if any(line.met is False for line in table) else 0


if __name__ == "__main__":
    raise SystemExit(main())
