"""How large a model, and how many tokens, a budget of compute calls for.

Sources: Kaplan et al. 2020 (6 N D operations for training, 2 N for each token served); Hoffmann et al. 2022
(compute-optimal training; approaches 1 to 3); Besiroglu et al. 2024 (the fit of approach 3 done again);
Sardana et al. 2024 (demand for inference counted in); Muennighoff et al. 2023 (repeated data).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import exp, log, maximum, minimum
from mlsysim_opt.algebra.derive import gradient
from mlsysim_opt.algebra.expression import Expression, Symbol, expression, substitute
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.inputs import Given, Number, Text
from mlsysim_opt.physics.view import View
from mlsysim_opt.units import FLOP, NONE, TIME, TOKEN, as_measure

TRAINING_WORK = expression("6 FLOP/token")
"""Operations per parameter and training token: 2 forward, 4 backward (Kaplan et al. 2020, section 2.1)."""
SERVING_WORK = expression("2 FLOP/token")
ONE_TOKEN = expression("1 token")
NO_TOKENS = expression("0 token")
NEWTON_STEPS = 14
LONGEST_STEP = 4


class OptimumResult(Result):
    """The size of a model, the tokens to train it on, and where the compute goes."""

    units: ClassVar[dict[str, str]] = {
        "optimal_tokens": "token", "tokens_per_parameter": "token", "compute_budget_flops": "FLOP",
        "training_compute": "FLOP", "inference_compute": "FLOP",
    }  # fmt: skip
    floats: ClassVar[frozenset[str]] = frozenset({"tokens_per_parameter"})
    optimal_parameters: Any
    optimal_tokens: Any
    tokens_per_parameter: Any
    compute_budget_flops: Any
    training_compute: Any
    inference_compute: Any

    @property
    def optimal_params(self) -> Any:
        """The same as `optimal_parameters`."""
        return self.optimal_parameters


class FrontierResult(OptimumResult):
    """An optimum from a law that says sizes only."""

    loss = None
    """Such a law predicts no loss; choose a `fit` with a loss surface."""


class ScalingResult(OptimumResult):
    """An optimum from a law of the loss. `epochs` counts how often the unique tokens are seen."""

    loss: Any
    epochs: Any


class ScalingModel(Model):
    """Compute-optimal size and training tokens of a language model, and the loss they lead to.

    The budget is work ("5.76e23 FLOP"), or accelerator time ("1e6 hour") with `hardware` and the `mfu` reached. With
    `inference_tokens`, the tokens served over the model's life, it pays for training and serving together, and the
    optimum is a smaller model trained for longer. With `data_limit`, tokens beyond it are repetitions, worth less each
    time. `target_model_size` gives the parameters instead of choosing them. `fit` is a scaling law of the catalog.

    Where inference or a data limit is counted the optimum has no closed form: the root of its condition, which rises
    with the tokens, is taken by a fixed number of Newton steps, written into the equations, so that it can be swept,
    inverted and differentiated like any other.

    With `target_loss` instead of a budget, the answer is the least compute that trains a model of this quality and
    serves its tokens (the question of Sardana et al.).

    Returns:
        `ScalingResult`, or `FrontierResult` (without a loss) for fits that state sizes only.
    Raises:
        InputError: no budget or two; time without hardware and MFU; inference or a data limit with a law that has no
            loss surface.
    """

    wall = 11
    inputs = (
        Number("compute_budget", "work for training, and serving where it is counted", default=None, unit="FLOP",
               of=FLOP, open_low=True),
        Number("target_model_size", "parameters, where they are given", default=None, low=1.0),
        Number("target_loss", "nats per token to reach, instead of a budget", default=None, open_low=True),
        Number("inference_tokens", "tokens served over the life of the model", default=None, unit="token", of=TOKEN),
        Number("data_limit", "unique training tokens", default=None, unit="token", of=TOKEN, open_low=True),
        Given("fit", "scaling law", default="Besiroglu_2024", kind="scaling_law"),
        Given("repetition_fit", "law of repeated tokens", default="Muennighoff_2023", kind="scaling_law"),
        Number("accelerator_time", "time of all accelerators together, instead of work", default=None, unit="hour",
               of=TIME, open_low=True),
        Given("hardware", "accelerator of a budget in time", default=None, kind="accelerator"),
        Number("mfu", "model FLOPs utilization of a budget in time", default=None, high=1.0, open_low=True),
        Text("precision", "format of the products of a budget in time", default="fp16"),
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {"model_size": "target_model_size", "unique_tokens": "data_limit"}
    example: ClassVar[dict[str, Any]] = {"compute_budget": "5.76e23 FLOP"}

    def check(self, *args: Any, **given: Any) -> dict[str, Any]:
        if args:
            given, args = {"compute_budget": args[0], **given}, ("", *args[1:])
            for item, value in zip(self.inputs[1:], args[1:], strict=False):
                if item.name in given:
                    raise InputError("is given twice", path=item.name)
                given[item.name] = value
        budget = given.get("compute_budget")
        written = isinstance(budget, str) or hasattr(budget, "magnitude")
        if written and as_measure(budget, "compute_budget").dimension == TIME and "accelerator_time" not in given:
            given["accelerator_time"] = given.pop("compute_budget")
        return super().check(**given)

    def refuse(self, values: Mapping[str, Any]) -> None:
        if sum(values[name] is not None for name in BUDGETS) != 1:
            raise InputError(
                f"give one of {', '.join(BUDGETS)}", path="compute_budget",
                hint="compute_budget='1e24 FLOP', or compute_budget='1e6 hour' with hardware and mfu",
            )  # fmt: skip
        timed = values["accelerator_time"] is not None
        for name in ("hardware", "mfu"):
            if timed and values[name] is None:
                raise InputError(f"a budget in accelerator time needs {name}", path=name)
            if not timed and values[name] is not None:
                raise InputError(f"{name} has no use without a budget in accelerator time", path=name)
        _check_law(values)

    def equations(self, **leaves: Any) -> OptimumResult:
        law: View = leaves["fit"]
        size, limit = leaves["target_model_size"], leaves["data_limit"]
        served = NO_TOKENS if leaves["inference_tokens"] is None else leaves["inference_tokens"]
        surface = Surface(law, served, limit, leaves["repetition_fit"])
        if leaves["target_loss"] is not None:
            size, tokens = surface.cheapest(leaves["target_loss"])
            budget = TRAINING_WORK * size * (tokens + served / 3)
        else:
            budget = _budget(leaves)
            if size is not None or not law.has("surface"):
                size = _frontier(law, budget) if size is None else size
                tokens = budget / (TRAINING_WORK * size) - served / 3
            else:
                tokens = surface.best_tokens(budget)
                size = surface.size(budget, tokens)
        fields = {
            "optimal_parameters": size,
            "optimal_tokens": tokens,
            "tokens_per_parameter": tokens / size,
            "compute_budget_flops": budget,
            "training_compute": TRAINING_WORK * size * tokens,
            "inference_compute": SERVING_WORK * size * served,
            "constraints": {"the budget leaves compute for training": tokens > NO_TOKENS},
        }
        if not law.has("surface"):
            return FrontierResult(**fields)
        epochs = expression(1) if limit is None else tokens / minimum(tokens, limit)
        return ScalingResult(**fields, loss=surface.loss(size, tokens), epochs=epochs)


BUDGETS = ("compute_budget", "accelerator_time", "target_loss")


def _check_law(values: Mapping[str, Any]) -> None:
    """Refuse questions that the chosen laws do not answer."""
    law, free = values["fit"], values["target_model_size"] is None
    asked = [name for name in ("inference_tokens", "data_limit") if values[name] is not None and free]
    asked += ["target_loss"] if values["target_loss"] is not None else []
    if law.surface is None and asked:
        raise InputError(
            f"{law.name} has no loss surface, which {asked[0]} needs", path="fit",
            hint="choose one that has, such as Besiroglu_2024",
        )  # fmt: skip
    if values["data_limit"] is not None and values["repetition_fit"].repetition is None:
        raise InputError(f"{values['repetition_fit'].name} says nothing of repeated tokens", path="repetition_fit")
    if values["target_loss"] is None:
        return
    for name in ("target_model_size", "data_limit"):
        if values[name] is not None:
            raise InputError(f"{name} cannot be given with target_loss", path=name)
    if values["target_loss"] <= law.parameter("surface.E").si:
        raise InputError(
            f"{values['target_loss']} nats per token is not above {law.surface.E}, the loss of an endless {law.name}",
            path="target_loss",
        )  # fmt: skip


def _budget(leaves: Mapping[str, Any]) -> Expression:
    if leaves["compute_budget"] is not None:
        work: Expression = leaves["compute_budget"]
        return work
    rate = leaves["hardware"].number(f"compute.peak.{leaves['precision']}")
    timed: Expression = leaves["accelerator_time"] * rate * leaves["mfu"]
    return timed


def _power(base: Expression, exponent: Expression) -> Expression:
    """Return a plain number to a power that is not a constant."""
    return exp(exponent * log(base))


def _frontier(law: View, budget: Expression) -> Expression:
    """Return the parameters that a law of sizes gives to a budget."""
    if law.has("frontier"):
        ratio = budget / law.number("frontier.compute")
        return law.number("frontier.parameters") * _power(ratio, law.number("frontier.exponent"))
    pairs = budget / (TRAINING_WORK * ONE_TOKEN * law.number("tokens_per_parameter"))
    return _power(pairs, expression(0.5))


@dataclass(frozen=True)
class Surface:
    """A law of the loss where work is 6 N D for training and 2 N for each token served.

    Attributes:
        law: the scaling law. served: tokens served. limit: unique training tokens, or None.
        repetition: the law of repeated tokens.
    """

    law: View
    served: Expression
    limit: Expression | None
    repetition: View

    def _number(self, name: str) -> Expression:
        return self.law.number(f"surface.{name}")

    def size(self, budget: Expression, tokens: Expression) -> Expression:
        """Parameters that a budget pays for, trained on these tokens."""
        return budget / (TRAINING_WORK * (tokens + self.served / 3))

    @cached_property
    def balance(self) -> Expression:
        """The ratio alpha A / beta B. At the optimum it is N^alpha / D^beta, where nothing but training counts."""
        return self._number("alpha") * self._number("A") / (self._number("beta") * self._number("B"))

    def plain_tokens(self, budget: Expression) -> Expression:
        """Optimal tokens where all compute is for training and no token is repeated (Hoffmann et al., equation 4)."""
        alpha, beta = self._number("alpha"), self._number("beta")
        pairs = budget / (TRAINING_WORK * ONE_TOKEN)
        size = _power(self.balance, 1 / (alpha + beta)) * _power(pairs, beta / (alpha + beta))
        return pairs / size * ONE_TOKEN

    # worth of repeated tokens and surplus parameters ------------------------------------------------------------------
    @cached_property
    def _fitting_size(self) -> Expression:
        """Parameters for which the unique tokens are the optimal ones."""
        assert self.limit is not None
        return _power(self.balance * _power(self.limit / ONE_TOKEN, self._number("beta")), 1 / self._number("alpha"))

    def worth(self, amount: Expression, unique: Expression | None, what: str) -> tuple[Expression, Expression]:
        """Return what an amount is worth (Muennighoff et al., Eq. 5 and 6), and the logarithm of its elasticity."""
        if unique is None:
            return amount, expression(0)
        decay = self.repetition.number(f"repetition.{what}")
        beyond = maximum(amount / unique - 1, 0) / decay
        worth = minimum(amount, unique) + unique * decay * (1 - exp(-beyond))
        return worth, log(amount / worth) - beyond

    def worths(
        self, size: Expression, tokens: Expression
    ) -> tuple[tuple[Expression, Expression], tuple[Expression, Expression]]:
        """Return the worth, and the logarithm of its elasticity, of parameters and of tokens (as a plain number)."""
        if self.limit is None:
            return self.worth(size, None, ""), self.worth(tokens / ONE_TOKEN, None, "")
        return (
            self.worth(size, self._fitting_size, "parameters"),
            self.worth(tokens / ONE_TOKEN, self.limit / ONE_TOKEN, "tokens"),
        )

    def loss(self, size: Expression, tokens: Expression) -> Expression:
        """Loss in nats per token."""
        (parameters, _), (data, _) = self.worths(size, tokens)
        by_size = self._number("A") / _power(parameters, self._number("alpha"))
        return self._number("E") + by_size + self._number("B") / _power(data, self._number("beta"))

    # the optimum ------------------------------------------------------------------------------------------------------
    def best_tokens(self, budget: Expression) -> Expression:
        """Optimal training tokens of a budget."""
        plain = self.plain_tokens(budget)
        if self.served is NO_TOKENS and self.limit is None:
            return plain
        start = log(plain / ONE_TOKEN)
        if self.limit is not None:
            unique = self.limit / ONE_TOKEN
            surplus = maximum(start - log(unique), 0) * self.repetition.number("repetition.tokens")
            start = minimum(start, log(unique * (1 + 2 * surplus)))
        return exp(_newton(lambda log_tokens: self.excess(budget, log_tokens), start)) * ONE_TOKEN

    def demand(self, tokens: Expression) -> Expression:
        """By how much serving raises what a parameter costs: it takes part in tokens served, too."""
        return 1 + self.served / (3 * tokens)

    def excess(self, budget: Expression, log_tokens: Expression) -> Expression:
        """By how much (as a logarithm) the gain of another parameter exceeds that of the tokens it costs.

        It rises with the tokens and is zero where the loss under the budget is least: alpha A / N^alpha =
        beta B / D^beta (1 + served / 3 D), with N and D by their worth.
        """
        tokens = exp(log_tokens) * ONE_TOKEN
        (parameters, of_size), (data, of_data) = self.worths(self.size(budget, tokens), tokens)
        gain_of_size = log(self.balance) - self._number("alpha") * log(parameters) + of_size
        gain_of_data = of_data - self._number("beta") * log(data) + log(self.demand(tokens))
        return gain_of_size - gain_of_data

    def cheapest(self, loss: Expression) -> tuple[Expression, Expression]:
        """Return parameters and tokens that reach a loss with the least work in all.

        By the condition of `excess`, the loss above its floor is B / D^beta (1 + beta / alpha (1 + served / 3 D)).
        """
        alpha, beta = self._number("alpha"), self._number("beta")
        above = loss - self._number("E")

        def surplus(log_tokens: Expression) -> Expression:
            share = 1 + beta / alpha * self.demand(exp(log_tokens) * ONE_TOKEN)
            return beta * log_tokens - log(self._number("B") * share / above)

        start = log(self._number("B") * (1 + beta / alpha) / above) / beta
        tokens = exp(start if self.served is NO_TOKENS else _newton(surplus, start)) * ONE_TOKEN
        size = _power(self.balance * _power(tokens / ONE_TOKEN, beta) / self.demand(tokens), 1 / alpha)
        return size, tokens


def _newton(rising: Callable[[Expression], Expression], start: Expression) -> Expression:
    """Return the root of a rising function by Newton's method.

    The last step alone gives the derivative of the root by everything it depends on.
    """
    unknown = Symbol("newton", NONE, low=float("-inf"))
    value = rising(unknown)
    (slope,) = gradient(value, [unknown])
    step = unknown - maximum(minimum(value / slope, LONGEST_STEP), -LONGEST_STEP)
    for _ in range(NEWTON_STEPS):
        start = substitute(step, {unknown: start})
    return start
