"""When a search ends before it is done: its time is up, Ctrl-C was pressed, or the one who watches says so."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Standing:
    """Where a search stands: seconds, the best value held (None if none) and the bound, both of what is minimised.

    Attributes:
        nodes: of the search tree, or designs that were looked at.
    """

    seconds: float
    incumbent: float | None
    bound: float | None
    nodes: int

    @property
    def gap(self) -> float | None:
        """How far the incumbent may be from the best, relatively."""
        if self.incumbent is None or self.bound is None or not math.isfinite(self.bound):
            return None
        return max(0.0, self.incumbent - self.bound) / max(abs(self.incumbent), 1e-300)


Watch = Callable[[Standing], bool | None]
"""Called with where a search stands; returning True stops it."""


@dataclass(eq=False)
class Halt:
    """What ends a search of several steps early.

    Attributes:
        progress: who watches. time_limit: seconds, counted from when this is made.
        pressed: not empty once Ctrl-C was pressed (see `noted_interrupts`) or who watches said to stop.
    """

    progress: Watch | None = None
    time_limit: float | None = None
    pressed: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.told = False

    @property
    def seconds(self) -> float:
        """The seconds since it began."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float | None:
        """The seconds that are left; None where there is no limit."""
        return None if self.time_limit is None else max(0.0, self.time_limit - self.seconds)

    def watch(self, standing: Standing) -> bool:
        """Show where a search stands; return whether it shall stop."""
        if self.progress is not None and self.progress(standing):
            self.told = True
            self.pressed.append(True)
        return bool(self.pressed)

    def now(self) -> bool:
        """Return whether to stop."""
        return bool(self.pressed) or (self.time_limit is not None and self.seconds >= self.time_limit)

    @property
    def why(self) -> str:
        """Why it stopped, in words."""
        if not self.pressed:
            return "the time was up"
        return "it was told to stop" if self.told else "it was interrupted"

    @property
    def hint(self) -> str:
        """What to do where nothing was found."""
        return "let it run longer" if self.pressed else "raise the time limit"


@dataclass(frozen=True, eq=False)
class Noting:
    """A handler of signals that notes them."""

    lists: list[list[bool]]

    def __call__(self, number: int, frame: Any) -> None:
        for item in self.lists:
            item.append(True)


@contextmanager
def noted_interrupts(pressed: list[bool]) -> Iterator[None]:
    """Note Ctrl-C in a list instead of raising, so that a search can hand back what it holds.

    Inside of another search that does so, both note it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outer = signal.getsignal(signal.SIGINT)
    lists = [*getattr(outer, "lists", []), pressed]
    before = signal.signal(signal.SIGINT, Noting(lists))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
