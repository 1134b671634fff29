"""What the amounts of `placement` take, and on whose nodes: owned ones, or rented ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlsysim_opt.formulations.placement_numbers import Numbers

from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.expression import Choice, Expression, constant, expression
from mlsysim_opt.optimize.coupled.totals import Family, Total, sum_of
from mlsysim_opt.units import ENERGY, parse_unit

if TYPE_CHECKING:
    from mlsysim_opt.formulations.placement_plan import Plan

ONE = expression(1)
BUYS = ("buy", "buy_or_rent")
"""Values of `hold` with which nodes are bought."""
OWNED, RENTED = "owned", "rented"
PAID = "what does not work on owned nodes is rented"


@dataclass(frozen=True, eq=False)
class Load:
    """What one unit of an amount takes.

    Attributes:
        family: the amounts. energy: of the nodes. device_time: of accelerators.
        number: how a number by region and period reads at one of its tuples.
        peak: accelerators that are needed at once, over their mean in the period.
    """

    family: Family
    energy: Expression
    devices: Expression
    time: Expression
    number: Callable[[Numbers], Expression]
    peak: Expression = ONE


def on_nodes(plan: Plan, tenure: str) -> list[Load]:
    """Return jobs and demands as far as they are on nodes that are owned, or rented, where that is decided.

    A number that is not known leaves out only those whose number it is: no price of electricity, what is owned.
    """
    mine = plan.owned if tenure == OWNED else 1 - plan.owned

    def only(load: Load) -> Load:
        def number(numbers: Numbers) -> Expression:
            nothing = constant(0, parse_unit(numbers.unit).dimension)
            return where(mine >= 1, load.number(numbers), nothing)

        return replace(load, energy=load.energy * mine, devices=load.devices * mine, number=number)

    return [only(load) for load in plan.uses]


def rent_the_rest(plan: Plan, here: Sequence[Choice]) -> Family:
    """Declare how many accelerators are rented where, in the mean of a period: all that are not owned.

    Args:
        here: the choices of places, and the period.
    """
    rented: Family = plan.problem.amounts(
        "rented", here, later=True, about="accelerators rented on demand, in the mean of a period",
        counts="accelerators",
    )  # fmt: skip
    used = sum_of([_in_the_mean(plan, load) for load in on_nodes(plan, RENTED)])
    plan.problem.require(PAID, used.equals(rented), each=here, structural=True, counts="accelerators")
    plan.rents.append(Load(rented, constant(0, ENERGY), ONE, plan.span, plan.now))
    return rented


def _in_the_mean(plan: Plan, load: Load) -> Total:
    work, share = plan.work, load.time / plan.span
    if work is not None and work.start is not None and load.family is work.family:
        share = work.share()
    return load.family.total(load.devices * share)
