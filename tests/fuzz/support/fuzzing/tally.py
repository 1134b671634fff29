"""What a campaign counts: instances, what became of them, and answers that were compared."""

from __future__ import annotations

from collections.abc import Iterable

Tally = dict[str, int]


def count(tally: Tally | None, status: str, ways: Iterable[str]) -> None:
    """Count one instance that was solved in several ways."""
    if tally is not None:
        for name in ("instances", status, *(f"by {way}" for way in ways)):
            tally[name] = tally.get(name, 0) + 1
