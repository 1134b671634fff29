"""A plan with what the user asks of it: the question that is compiled and solved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsysim_opt.algebra.atoms import where
from mlsysim_opt.algebra.expression import expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.optimize.coupled.compile import Compiled, Compiler
from mlsysim_opt.optimize.coupled.linear import (
    Linear,
    linear_divisor,
    linear_objective,
    linear_relations,
    metric_symbols,
)
from mlsysim_opt.optimize.coupled.problem import Coupled, CoupledProblem
from mlsysim_opt.optimize.coupled.totals import Family, Total
from mlsysim_opt.optimize.problem import Constraint, Objective
from mlsysim_opt.optimize.request import (
    ConstraintSpec,
    ObjectiveSpec,
    one_objective,
    plain_request,
    read_question,
)

if TYPE_CHECKING:
    from mlsysim_opt.optimize.robust import Uncertain
    from mlsysim_opt.optimize.solution import Relaxation


@dataclass
class CoupledTask:
    """A plan with an objective and the user's constraints.

    Attributes:
        plan: as declared. objective: what is minimised or maximised first; then: what decides among ties.
        user: the user's constraints, each as relations of sums, or as truths about single tuples.
        uncertain: the question over several scenarios of which this is the program; None where there is one scenario.
    """

    problem: CoupledProblem
    objective: Objective
    then: list[Objective] = field(default_factory=list)
    user: list[UserConstraint] = field(default_factory=list)
    specs: Sequence[ConstraintSpec] = ()
    objective_spec: ObjectiveSpec | Sequence[ObjectiveSpec] | None = None
    compiler: Compiler | None = field(default=None, repr=False)
    uncertain: Uncertain | None = None

    def __post_init__(self) -> None:
        self.compiler = self.compiler or Compiler(self.problem)

    @staticmethod
    def of(
        problem: CoupledProblem,
        objective: ObjectiveSpec | Sequence[ObjectiveSpec] | None,
        constraints: Sequence[ConstraintSpec],
    ) -> CoupledTask:
        """Return the task of a plan with a user's objective (or objectives, most important first)."""
        read, limits, constraints = read_question(problem, objective, constraints)
        user = [user_constraint(problem, item) for item in limits]
        task = CoupledTask(problem, read[0], read[1:], user, constraints, objective)
        for item in read:
            linear_objective(problem, item.cost)
        return task

    @property
    def request(self) -> dict[str, Any]:
        """What was asked, as JSON data; functions become None."""
        return {**self.problem.request, **plain_request(self.objective, self.objective_spec, self.specs)}

    @cached_property
    def linear(self) -> Linear:
        """The first objective as sums."""
        return linear_objective(self.problem, self.objective.cost)

    @property
    def sums(self) -> list[Total]:
        """The sums of the plan's own amounts in all objectives: tuples without a number of theirs are left out."""
        asked = [self.linear, *(linear_objective(self.problem, item.cost) for item in self.then)]
        sums = [item for linear in asked for item in (linear.total, linear.divisor) if item is not None]
        ours = set(self.problem.families.values())
        return [Total(tuple(term for term in item.terms if term.family in ours), item.offset) for item in sums]

    @property
    def relations(self) -> list[Coupled]:
        """All relations of sums: the plan's, the user's, and those the objective brings along."""
        mine = [relation for item in self.user for relation in item.relations]
        return [*self.problem.couplings, *mine, *self.linear.relations]

    @property
    def local(self) -> list[Constraint]:
        """All truths about single tuples."""
        return [*self.problem.local, *(item.constraint for item in self.user if not item.relations)]

    def without(self, names: Sequence[str]) -> CoupledTask:
        """Return the question without some of the user's constraints."""
        return replace(self, user=[item for item in self.user if item.name not in names])

    def with_relations(self, relations: Sequence[Coupled], name: str) -> CoupledTask:
        """Return the question under further relations."""
        added = UserConstraint(Constraint(name, _TRUE), tuple(relations))
        return replace(self, user=[*self.user, added])

    def ways_out(self, weights: Mapping[str, Any] | None = None) -> list[Relaxation]:
        """Return how a question without plans becomes possible; see `reasons.ways_out`."""
        from mlsysim_opt.optimize.coupled.engines import program_backend
        from mlsysim_opt.optimize.coupled.reasons import ways_out
        from mlsysim_opt.optimize.coupled.search import Options

        return ways_out(self, program_backend("auto"), Options(), weights)

    def pyomo(self) -> Any:
        """Return the Pyomo model of the first objective: a variable per family, a constraint per relation, by name.

        Numbers are in base units, and it is minimised. It is a model of its own: to inspect, to change, or for any
        solver of Pyomo's.

        Raises:
            InputError: the objective is a ratio.
        """
        from mlsysim_opt.optimize.backends.pyomo_program import named_model

        if self.linear.divisor is not None:
            raise InputError(
                f"{self.objective.name} is a ratio: a few linear programs, not one",
                path="objective",
                hint="optimize() finds the best ratio q; a program of it is that of the objective "
                "'numerator - q * divisor', with q as a number, whose optimum is zero",
            )
        return named_model(self.compiled())

    def write(self, path: str | Path) -> Path:
        """Write the program as a file for other solvers, ``x.lp`` or ``x.mps``, and return its path.

        Raises:
            InputError: the file has another ending; the objective is a ratio, or there are several.
            FileError: it cannot be written.
        """
        from mlsysim_opt.optimize.backends.pyomo_program import write_model

        one_objective([self.objective, *self.then])
        return write_model(self.pyomo(), path)

    def compiled(self, total: Total | None = None) -> Compiled:
        """Return the program that minimises a sum (the first objective's) under all constraints."""
        assert self.compiler is not None
        return self.compiler.compile(total or self.linear.total, self.relations, self.local, defined=self.sums)


@dataclass(frozen=True, eq=False)
class UserConstraint:
    """A user's constraint: relations of sums; where there are none, a truth about single tuples.

    Attributes:
        divisor: of a ratio, what the relations were multiplied by: they mean the ratio where it is never negative.
    """

    constraint: Constraint
    relations: tuple[Coupled, ...] = ()
    divisor: Linear | None = None

    @property
    def name(self) -> str:
        """The user's words."""
        return self.constraint.name

    @property
    def families(self) -> set[Family]:
        """The amounts that its relations are about."""
        return {family for relation in self.relations for family in relation.coupling.total.families}


def user_constraint(problem: CoupledProblem, constraint: Constraint) -> UserConstraint:
    """Return a constraint as relations of sums, or as a truth about single tuples.

    Raises:
        InputError: it is neither.
    """
    holds = constraint.holds
    if not metric_symbols(problem, holds):
        if not holds.choices:  # the same for all tuples: it holds of the whole plan, or nothing can
            decided = Total((), where(holds, 0, 1)) <= 0
            return UserConstraint(constraint, (Coupled(constraint.name, decided, given_by_user=True),))
        if not any(holds.choices <= set(item.over) for item in problem.families.values()):
            names = ", ".join(sorted(choice.name for choice in holds.choices))
            raise InputError(f"{constraint.name!r} is about {names}, which no amounts depend on together")
        return UserConstraint(constraint)
    if holds.choices:
        raise InputError(
            f"{constraint.name!r} mixes sums over the plan with choices of single parts of it",
            hint="constrain the sums (metrics), or the choices, in constraints of their own",
        )
    return UserConstraint(constraint, tuple(linear_relations(problem, constraint)), linear_divisor(problem, constraint))


_TRUE = expression(0) <= expression(1)
