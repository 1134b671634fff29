"""Several unknowns at once: the least demanding values with which all relations hold, and the cheapest of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsysim_opt.physics.base import Model, model_of
from mlsysim_opt.solvers.specification import Cheapest, Dual, Specification
from mlsysim_opt.solvers.system_task import Task
from mlsysim_opt.units import show

if TYPE_CHECKING:
    from pint import Quantity

POINTS = 25


@dataclass(frozen=True)
class SystemSolution:
    """The answer to several relations between several unknowns.

    Attributes:
        unknowns: their names. relations: as they were asked.
        frontier: specifications from which nothing can be taken without breaking a relation, by the first unknown: the
            only one where relations leave no choice, else points of a curve or surface (`at` gives others).
        directions: for each unknown, ``least`` where more of it helps, ``most`` where more of it hurts, else ``mixed``.
        groups: unknowns that relations connect; each group can be chosen for itself.
        proof: what the frontier rests on. exact: whether that is a proof.
        cheapest: the cheapest specification, where costs were given.
        box: the range of each unknown, as text. notes: what else there is to know, such as constraints not asked for
            that do not hold. assumptions: the model's defaults that decided the answer.
    """

    unknowns: tuple[str, ...]
    relations: tuple[str, ...]
    frontier: tuple[Specification, ...]
    directions: Mapping[str, str]
    groups: tuple[tuple[str, ...], ...]
    proof: str
    exact: bool
    cheapest: Cheapest | None
    box: Mapping[str, str]
    notes: tuple[str, ...]
    assumptions: Mapping[str, str]
    _task: Task = field(repr=False)

    def at(self, values: Mapping[str, Any] | None = None, **more: Any) -> Specification:
        """Return the specification with these values of some unknowns and the least of the others.

        Args:
            values, more: unknowns with their units; of each group all but one, which is inverted.
        Raises:
            InputError: too few are given. NotInvertibleError: no value of the others is enough.
        """
        return self._task.at({**(values or {}), **more})

    def entered(self, specification: Specification | None = None) -> dict[str, Any]:
        """Return the inputs of the model with a specification entered: numbers of catalog entries are those of copies.

        Args:
            specification: one of the frontier; the cheapest, or the first, when absent.
        """
        chosen = specification or (self.cheapest.specification if self.cheapest else self.frontier[0])
        return self._task.entered(chosen.values)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON data."""
        return {
            "relations": list(self.relations),
            "unknowns": list(self.unknowns),
            "directions": dict(self.directions),
            "groups": [list(item) for item in self.groups],
            "exact": self.exact,
            "proof": self.proof,
            "frontier": [item.as_dict() for item in self.frontier],
            "cheapest": None if self.cheapest is None else self.cheapest.as_dict(),
            "box": dict(self.box),
            "notes": list(self.notes),
            "assumptions": dict(self.assumptions),
        }

    def __str__(self) -> str:
        lines = ["; ".join(self.relations), f"  {self.proof}"]
        lines += [f"  {item}" for item in self.frontier]
        if self.cheapest is not None:
            best = self.cheapest
            lines += [f"cheapest ({best.status}, gap {best.gap:.1g}): {cost_text(best.cost)}",
                      f"  {best.specification}"]  # fmt: skip
            lines += [f"  relaxing {item.relation} saves {item.text}" for item in best.duals]
        return "\n".join([*lines, *(f"note: {item}" for item in self.notes)])


def cost_text(cost: Quantity[float]) -> str:
    """Return a cost for people."""
    return f"{float(cost.magnitude):,.6g} {cost.units:~}"


def solve_system(
    relations: Sequence[str],
    *,
    unknowns: Sequence[str],
    using: Model | type[Model],
    costs: Mapping[str, Any] | None = None,
    box: Mapping[str, tuple[Any, Any]] | None = None,
    points: int = POINTS,
    **given: Any,
) -> SystemSolution:
    """Return the least demanding values of several unknowns with which all relations hold, and the cheapest of them.

    The relations are the model's own equations; each direction (more bandwidth never takes longer) is proven before it
    is used. Where all are, every point of the frontier is exact: taking the next smaller number breaks a relation. What
    is not proven is said in `proof`, and all roots are searched.

    Args:
        relations: inequalities between outputs of the model, or names of its constraints: ``["itl <= 30 ms",
            "ttft <= 500 ms", "memory fits"]``.
        unknowns: continuous inputs of the model, or numbers of its catalog entries by their path
            (``hardware.memory.bandwidth``).
        using: the model. costs: of a unit of each unknown, ``"2 USD per GB/s"``; the cheapest point is sought.
        box: lowest and highest value of unknowns; within a factor of a million of today's value when absent.
        points: how many points of the frontier are shown, where it has several. given: all other inputs; entries of the
            catalog give what is not unknown of them.
    Raises:
        InfeasibleError: no values do; it names the relations that conflict, and what each can reach.
        InputError: an unknown plays no part, a relation is no inequality, or a cost is missing.
        LimitReachedError: nothing is proven of the directions, and no values were found.
    """
    task = Task(relations, unknowns, model_of(using), box or {}, points, given)
    prices = None if costs is None else task.prices(costs)
    frontier, proof = task.frontier()
    best = None if prices is None else task.cheapest(*prices)
    region = task.region
    senses = {-1: "least", 1: "most", 0: "mixed"}
    return SystemSolution(
        unknowns=tuple(task.leaves),
        relations=tuple(dict.fromkeys(item.text for item in region.relations)),
        frontier=frontier,
        directions={name: senses[sense] for name, sense in zip(task.leaves, region.senses, strict=True)},
        groups=tuple(tuple(region.unknowns[at].name for at in mine) for mine, _ in region.blocks()),
        proof=proof,
        exact=region.aligned,
        cheapest=best,
        box={item.name: " to ".join(show(end, item.leaf.dimension) for end in (item.low, item.high))
             for item in region.unknowns},
        notes=task.notes((best.specification if best else frontier[0]).values),
        assumptions={name: text for name, text in task.model.assumptions(task.values).items()
                     if name not in task.leaves},
        _task=task,
    )  # fmt: skip


__all__ = ["Cheapest", "Dual", "Specification", "SystemSolution", "cost_text", "solve_system"]
