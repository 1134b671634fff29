"""Speculative decoding: a draft model proposes tokens, which the served model checks in one pass.

Source: Leviathan et al. 2023, Eq. 1; see `forward`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mlsysim_opt.algebra.atoms import exp, log, where
from mlsysim_opt.algebra.expression import Expression
from mlsysim_opt.physics.forward import Pass, Replica
from mlsysim_opt.physics.inputs import Given, Input, Number

DRAFT_INPUTS: tuple[Input, ...] = (
    Given("draft_model", "proposes tokens", default=None, kind="model"),
    Number("draft_acceptance_rate", "chance that a proposed token is accepted", default=0.7, high=1.0),
    Number("draft_tokens", "tokens proposed a round", default=4, integer=True, low=1),
)


@dataclass(frozen=True)
class Speculation:
    """Rounds of a draft model and a check by the model that is served.

    Attributes:
        replica: the served model. draft: the draft model on the same accelerators. proposed: tokens proposed a round.
        chance: that a proposed token is accepted, when all before it were.
    """

    replica: Replica
    draft: Replica
    proposed: Expression
    chance: Expression

    @cached_property
    def tokens(self) -> Expression:
        """Expected tokens of a round."""
        return accepted_tokens(self.chance, self.proposed)

    def check(self, sequences: Expression, context: Expression) -> Pass:
        """Return the pass that checks the proposed tokens of each sequence and gives one more."""
        return self.replica.decode(sequences, context, self.proposed + 1)

    def drafting(self, sequences: Expression, context: Expression) -> Expression:
        """Return the time in which the draft model proposes the tokens of a round."""
        return self.proposed * self.draft.decode(sequences, context).time


def accepted_tokens(chance: Expression, proposed: Expression) -> Expression:
    """Return the expected tokens of a round of speculation: 1 + a + a^2 + ... + a^k (Leviathan et al. 2023, Eq. 1)."""
    inner = (chance > 0) & (chance < 1)
    share = where(inner, chance, 0.5)
    series = (1 - exp((proposed + 1) * log(share))) / (1 - share)
    return where(inner, series, where(chance >= 1, proposed + 1, 1))
