"""The optimizers of the documents this system grew from: thin fronts of formulations, with their arguments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsysim_opt.optimize import Solution, optimize
from mlsysim_opt.physics.inputs import Number
from mlsysim_opt.physics.queueing import Arrivals
from mlsysim_opt.units import RATE, TIME

if TYPE_CHECKING:
    from pint import Quantity

LATENCY = Number("sla_latency_ms", unit="ms", of=TIME, open_low=True, bare=True)
RATE_OF_REQUESTS = Arrivals("arrival_rate_qps", unit="1/s", of=RATE, open_low=True, bare=True)
REPLICAS = Number("num_replicas", integer=True, low=1)


def _one_design(name: str, **asked: Any) -> Solution:
    """Return the best design of a formulation that is about one."""
    found = optimize(name, **asked)
    assert isinstance(found, Solution)
    return found


@dataclass(frozen=True)
class ParallelismResult:
    """The best split of a training job.

    Attributes:
        solution: the whole answer, with its proof, what binds and what would change it.
    """

    solution: Solution

    @property
    def best_config(self) -> dict[str, int]:
        """Tensor, pipeline and data parallelism."""
        return {name: self.solution.design[f"{name}_size"] for name in ("tp", "pp", "dp")}

    @property
    def best_mfu(self) -> float:
        """Useful work over peak."""
        return float(self.solution.metrics["mfu"])

    objective_value = best_mfu

    @property
    def best_throughput(self) -> Quantity[float]:
        """Tokens of the whole job per second."""
        return self.solution.metrics["tokens_per_second"]  # type: ignore[no-any-return]

    @property
    def best_step_time(self) -> Quantity[float]:
        """Time of one optimizer step."""
        return self.solution.metrics["step_time"]  # type: ignore[no-any-return]

    @property
    def total_searched(self) -> int:
        """Valid designs that were evaluated."""
        return int(self.solution.certificate.details["evaluated"])

    @property
    def search_space_size(self) -> int:
        """Combinations of all decisions, valid or not."""
        return self.solution.certificate.combinations

    @property
    def top_candidates(self) -> list[dict[str, Any]]:
        """The best designs, the best first."""
        return [self.solution.design, *(item.design for item in (*self.solution.ties, *self.solution.runner_ups))]


class ParallelismOptimizer:
    """What is the best split of one training job over a fleet? A front of the formulation `parallelism`."""

    def solve(
        self,
        model: Any,
        fleet: Any,
        batch_size: int,
        precision: str = "fp16",
        efficiency: float | None = None,
        max_tp: int | None = None,
        max_pp: int | None = None,
        overlap_comm: bool = True,
        seq_len: int = 2048,
        activation_recomputation: bool = False,
        *,
        objective: Any = "max_mfu",
        constraints: Iterable[Any] = (),
        **given: Any,
    ) -> ParallelismResult:
        """Return the split with the highest MFU, proven.

        Args:
            model, fleet: catalog entries or names. batch_size: sequences per optimizer step.
            precision, seq_len, given: inputs of the formulation. efficiency: reached share of peak compute; calibrated
                when absent.
            max_tp, max_pp: the largest sizes allowed. overlap_comm: whether communication may hide behind compute.
            activation_recomputation: recompute all activations; none otherwise.
            objective, constraints: as in `optimize`.
        Raises:
            InfeasibleError: no split satisfies all constraints; says which conflict and the ways out.
        """
        largest = {"tp_size": max_tp, "pp_size": max_pp}
        limits = [
            f"{name} <= {Number(name, integer=True, low=1).read(most)}"
            for name, most in largest.items()
            if most is not None
        ]
        choices = {
            "overlap_comm": [0, 1] if overlap_comm else [0],
            "recomputation": "full" if activation_recomputation else "none",
        }
        return ParallelismResult(
            _one_design(
                "parallelism",
                objective=objective,
                constraints=[*limits, *constraints],
                choices=choices,
                model=model,
                fleet=fleet,
                global_batch_size=batch_size,
                seq_len=seq_len,
                precision=precision,
                efficiency=efficiency,
                **given,
            )
        )


@dataclass(frozen=True)
class BatchingResult:
    """The largest safe batch.

    Attributes:
        solution: the whole answer, with its proof, what binds and what would change it. promised: the latency, in s.
    """

    solution: Solution
    promised: float
    is_feasible = True
    """Always: where no batch is safe, `InfeasibleError` says why and what would help."""

    @property
    def best_batch_size(self) -> int:
        """Requests in a batch."""
        return int(self.solution.design["batch_size"])

    @property
    def max_throughput(self) -> Quantity[float]:
        """Generated tokens per second at full load: of the batch, not of the requests that come."""
        return self.solution.metrics["throughput"]  # type: ignore[no-any-return]

    @property
    def objective_value(self) -> float:
        """The value of what was optimized, in its unit."""
        value = self.solution.objective.value
        assert value is not None
        return value

    @property
    def p99_latency(self) -> Quantity[float]:
        """P99 of the time from arrival to the last token."""
        return self.solution.metrics["latency_p99"]  # type: ignore[no-any-return]

    @property
    def slo_headroom_ratio(self) -> float:
        """Share of the promised latency that is left."""
        return 1 - float(self.p99_latency.to("s").magnitude) / self.promised


class BatchingOptimizer:
    """What is the largest batch that keeps a P99 latency? A front of the formulation `batching`.

    Batches are static, as in the documents: gathered, then processed; the wait for a batch to fill counts.
    ``policy="continuous"`` asks for the most requests that a replica with continuous batching may hold.
    """

    def solve(
        self,
        model: Any,
        hardware: Any,
        seq_len: int,
        sla_latency_ms: Any,
        arrival_rate_qps: Any,
        num_replicas: int = 1,
        precision: str = "fp16",
        efficiency: float | None = None,
        max_search_batch: int = 256,
        *,
        output_len: int = 128,
        policy: str = "static",
        objective: Any = ("max_batch_size", "max_throughput"),
        constraints: Iterable[Any] = (),
        **given: Any,
    ) -> BatchingResult:
        """Return the largest safe batch, proven: all are evaluated, as those that are safe need not start at 1.

        Args:
            model, hardware: catalog entries or names. seq_len: tokens of a request, prompt and output.
            sla_latency_ms: P99 of the time from arrival to the last token, in ms or with a unit.
            arrival_rate_qps: requests per second, or with a unit. num_replicas: replicas.
            precision, efficiency, given: inputs of the formulation. max_search_batch: the largest batch that is tried.
            output_len: generated tokens, of `seq_len`. policy: ``static`` or ``continuous``.
            objective, constraints: as in `optimize`.
        Raises:
            InfeasibleError: no batch keeps the latency; says which constraints conflict and the ways out.
        """
        limit, rate = LATENCY.read(sla_latency_ms), RATE_OF_REQUESTS.read(arrival_rate_qps)
        replicas = REPLICAS.read(num_replicas)
        choices = {"replicas": replicas, **given.pop("choices", {})}
        return BatchingResult(
            _one_design(
                "batching",
                objective=objective,
                constraints=list(constraints),
                choices=choices,
                model=model,
                hardware=hardware,
                seq_len=seq_len,
                output_len=output_len,
                sla_latency=f"{limit!r} s",
                arrival_rate=f"{rate!r} 1/s",
                precision=precision,
                efficiency=efficiency,
                max_batch_size=max_search_batch,
                policy=policy,
                **{"devices": replicas, **given},
            ),
            limit,
        )
