"""A solver's run in a thread of its own, so that whoever waits for it can leave it.

HiGHS looks at no clock and at no Ctrl-C inside some of its steps (analytic centres, cuts, programs of its heuristics),
which take minutes where programs are large; and while C runs in the main thread, Python notes no signal.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

GRACE = 2.0
"""Seconds that a run may take to end by itself once it was told to, or its time is up; then it is left."""
GLANCE = 0.05
"""Seconds between two looks at whether to leave it."""
_left: list[threading.Thread] = []


def still_running() -> bool:
    """Return whether a run that was left has not ended yet; it must not come back into an interpreter that ends."""
    return any(thread.is_alive() for thread in _left)


def _let_end() -> None:
    """Wait a while for runs that were left: one that ends while the interpreter does would abort the process."""
    for thread in _left:
        thread.join(GRACE)


@dataclass(eq=False)
class Aside:
    """One run, and what it asks of the thread that waits for it.

    Attributes:
        left: whether nobody waits for it any more. What it uses stays alive with it; its process may end before it.
    """

    left: bool = False
    _asked: queue.SimpleQueue[Callable[[], object] | None] = field(default_factory=queue.SimpleQueue)

    def ended(self, run: Callable[[], object], told: Callable[[], bool], until: float) -> bool:
        """Run, and wait for it; return whether it ended, False where it was left.

        Args:
            told: whether it was told to end. until: the time of `time.monotonic` by which it ought to.
        """
        failed: list[BaseException] = []

        def running() -> None:
            try:
                run()
            except BaseException as error:
                failed.append(error)
            finally:
                self._asked.put(None)

        thread = threading.Thread(target=running, daemon=True, name="solver")
        thread.start()
        ended = False
        try:
            ended = self._waited(told, until)
        finally:  # a signal's handler may raise
            if not ended:
                self.left = True
                if not _left:
                    atexit.register(_let_end)
                _left.append(thread)
        if failed:
            raise failed[0]
        return ended

    def _waited(self, told: Callable[[], bool], until: float) -> bool:
        """Do what is asked for until the run has ended; return False once that takes too long."""
        latest = until + GRACE
        while True:
            try:
                asked = self._asked.get(timeout=GLANCE)
            except queue.Empty:
                pass
            else:
                if asked is None:
                    return True
                asked()
            now = time.monotonic()
            if told():
                latest = min(latest, now + GRACE)
            if now >= latest:
                return False

    def ask(self, question: Callable[[], object]) -> None:
        """Have the thread that waits do something, and wait for that; called by the run."""
        done = threading.Event()

        def answered() -> None:
            try:
                question()
            finally:
                done.set()

        self._asked.put(answered)
        while not self.left and not done.wait(GLANCE):
            pass
