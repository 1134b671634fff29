"""What optimizing a plan returns: its amounts, what is scarce, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlsysim_opt.errors import UnknownNameError
from mlsysim_opt.optimize.answer import Answered, Value
from mlsysim_opt.optimize.per_unit import per_one

if TYPE_CHECKING:
    from mlsysim_opt.optimize.coupled.task import CoupledTask


@dataclass(frozen=True)
class PlanSlack:
    """How much room a relation leaves.

    Attributes:
        name: the relation. slack: at its tightest place; None where nothing is limited, and of equations. place: that
            place.
        estimate: by how much the objective would fall for one more unit of the limit, were amounts divisible: the dual
            of the relaxation summed over the places, an estimate only; in the objective's unit per that of the limit.
        counts: what a slack without a unit counts.
    """

    name: str
    slack: Value | None
    place: str
    given_by_user: bool = False
    estimate: Value | None = None
    counts: str = ""

    @property
    def room(self) -> str:
        """The slack as text; nothing where nothing is limited."""
        return "" if self.slack is None else f"{self.slack} {self.counts}".strip()

    @property
    def worth(self) -> str:
        """The estimate as text; nothing where there is none."""
        return "" if self.estimate is None else f"{self.estimate}{per_one(self.counts)}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "constraint": self.name,
            "slack": self.slack.as_dict() if self.slack else None,
            "place": self.place,
            "given_by_user": self.given_by_user,
            "relaxation_dual_estimate": self.estimate.as_dict() if self.estimate else None,
            "counts": self.counts or None,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> PlanSlack:
        """Return what `as_dict` wrote."""
        slack, estimate = data["slack"], data["relaxation_dual_estimate"]
        return PlanSlack(
            data["constraint"],
            Value.from_dict(slack) if slack else None,
            data["place"],
            data["given_by_user"],
            Value.from_dict(estimate) if estimate else None,
            data.get("counts") or "",
        )


@dataclass(kw_only=True, repr=False)
class PlanSolution(Answered):
    """The answer to one coupled problem.

    Attributes, besides those of every answer (`Answered`):
        amounts: for each family, what is not zero: the values of its choices and the amount.
        constraints: relations with their slack.
        undefined: how many tuples of each family were left out because a number they need does not exist.
    """

    amounts: dict[str, list[dict[str, Any]]]
    constraints: list[PlanSlack]
    undefined: dict[str, int]

    KIND: ClassVar[str] = "plan"

    @property
    def design(self) -> dict[str, list[dict[str, Any]]]:
        """The amounts, under the name that designs of one item have."""
        return self.amounts

    def where(self, family: str, **values: Any) -> list[dict[str, Any]]:
        """Return the amounts of a family at some values of its choices: ``where("servers", region="Iowa")``.

        Raises:
            UnknownNameError: there is no such family, or it has no such choice.
        """
        if family not in self.amounts:
            raise UnknownNameError(f"amounts of {self.problem}", family, self.amounts)
        known = dict.fromkeys(name for row in self.amounts[family] for name in row)
        for name in values:
            if known and name not in known:
                raise UnknownNameError(f"choice of {family}", name, known)
        return [row for row in self.amounts[family] if all(row.get(name) == value for name, value in values.items())]

    # storing ----------------------------------------------------------------------------------------------------------
    def _own_dict(self) -> dict[str, Any]:
        return {
            "amounts": self.amounts,
            "constraints": [item.as_dict() for item in self.constraints],
            "undefined": self.undefined,
        }

    @staticmethod
    def _own_fields(data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "amounts": data["amounts"],
            "constraints": [PlanSlack.from_dict(item) for item in data["constraints"]],
            "undefined": data["undefined"],
        }

    # asking -----------------------------------------------------------------------------------------------------------
    def _answer(self, task: CoupledTask, **settings: Any) -> PlanSolution:
        from mlsysim_opt.optimize.coupled.run import solve_coupled

        return solve_coupled(task, start=self, **settings)

    def verify(self) -> dict[str, Any]:
        """Re-evaluate the plan by the independent scalar path.

        Returns:
            the re-computed objective, the largest relative deviation, and how much was checked.
        Raises:
            VerificationError: something disagrees.
        """
        from mlsysim_opt.optimize.coupled.rechecked import verify

        return verify(self._task(), self)

    def moves(self, other: PlanSolution) -> list[str]:
        """Return what changes from this plan to another one, in words."""
        from mlsysim_opt.optimize.coupled.moves import plan_moves

        return plan_moves(self, other)

    # showing ----------------------------------------------------------------------------------------------------------
    def __str__(self) -> str:
        lines = [self._headline()]
        for name, rows in self.amounts.items():
            lines += amount_lines(name, rows)
        lines += str(self.metrics).splitlines()
        lines.append(self._proof())
        for item in self.constraints:
            if item.slack is not None:
                at = f" at {item.place}" if item.place else ""
                lines.append(f"room: {item.name}: {item.room}{at}")
        lines += [str(self.robustness)] if self.robustness else []
        return "\n".join(lines)


SHOWN = 24
"""Amounts of one family that texts show."""


def amount_lines(name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the amounts of a family as lines of text."""
    lines = [f"{name}:"]
    rows = runs(rows)
    for row in rows[:SHOWN]:
        where = ", ".join(f"{key}={value}" for key, value in row.items() if key not in ("amount", "unit"))
        amount = row["amount"]
        told = f"{amount:,}" if isinstance(amount, int) else f"{amount:,.6g}"
        lines.append(f"  {where + ': ' if where else ''}{told} {row.get('unit', '')}".rstrip())
    if len(rows) > SHOWN:
        lines.append(f"  ... and {len(rows) - SHOWN:,} more")
    return lines


def runs(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rows for people: neighbours that differ by 1 in one number alone are one row (``layer 1 to layer 8``)."""
    found: list[Mapping[str, Any]] = []
    along: str | None = None
    last: Mapping[str, Any] = {}
    for row in rows:
        step = _step(last, row)
        if step is not None and along in (None, step):
            low = found[-1][step] if along is None else str(found[-1][step]).partition(" to ")[0]
            along = step
            each = f"{row.get('unit', '')} each".strip()
            found[-1] = {**found[-1], step: f"{low} to {row[step]}", "unit": each}
        else:
            along = None
            found.append(row)
        last = row
    return found


def _step(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Return the choice in which a row is the next after another one; None where it is not."""
    if before.keys() != after.keys():
        return None
    changed = [name for name, value in after.items() if before[name] != value]
    if len(changed) != 1 or changed[0] == "amount":
        return None
    one, two = _numbered(before[changed[0]]), _numbered(after[changed[0]])
    if one is None or two is None or (one[0], one[1] + 1) != two:
        return None
    return changed[0]


def _numbered(value: Any) -> tuple[str, int] | None:
    """Return a number, or a name that ends in one ("layer 7"), as name and number; None for others."""
    name, _, number = str(value).rpartition(" ")
    return (name, int(number)) if number.isascii() and number.isdigit() else None
