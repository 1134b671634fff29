"""What a backend returns: why it stopped, what it holds, and what it proves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mlsysim_opt.optimize.search import Design, Outcome, Search
from mlsysim_opt.optimize.stopping import Halt

Status = Literal["optimal", "feasible", "infeasible", "unknown"]


@dataclass(frozen=True)
class Answer:
    """The outcome of one solve, in costs (what is minimised).

    Attributes:
        status: optimal means proven. design, cost: what is held; None if nothing.
        bound: no design costs less than this.
        proof: how that is known, in a sentence. solver: name and version.
        details: numbers of rows, nodes, evaluations. outcome: the whole search, where the backend made one.
    """

    status: Status
    design: Design | None
    cost: float | None
    bound: float | None
    proof: str
    solver: str
    details: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None


class Backend(Protocol):
    """Solves one search problem."""

    name: str

    def solve(self, search: Search, *, prune: bool, halt: Halt) -> Answer:
        """Return the best design with its proof, or why there is none; what is held where it is to stop."""
        ...
