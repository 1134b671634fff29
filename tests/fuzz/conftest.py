"""Put the campaigns' own package, `fuzzing`, where tests can import it, and say what they counted."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))
COUNTED = "counted by fuzzing"


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> dict[str, int]:
    """Counts of a test, which the end of the run adds up over all of its workers."""
    counts: dict[str, int] = {}
    request.node.user_properties.append((COUNTED, counts))
    return counts


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was counted, a line for each file of tests."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for report in (item for reports in terminalreporter.stats.values() for item in reports):
        if getattr(report, "when", None) == "call":
            for name, counts in report.user_properties:
                if name == COUNTED:
                    found[report.nodeid.partition("::")[0]].update(counts)
    for place, counts in sorted(found.items()):
        terminalreporter.write_line(
            f"{place}: " + ", ".join(f"{counts[name]:,} {name}" for name in sorted(counts, key=_order))
        )


def _order(name: str) -> tuple[bool, bool, str]:
    """Instances before what became of them, and that before the ways in which they were solved."""
    return name.startswith("by "), name != "instances", name
