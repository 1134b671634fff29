"""The optimizers of the documents this system grew from: thin fronts of formulations, with their arguments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.algebra.expression import expression
from mlsysim_opt.optimize import PlanSolution, Solution, optimize
from mlsysim_opt.physics.inputs import Given, Number
from mlsysim_opt.physics.operations import node_power
from mlsysim_opt.physics.queueing import Arrivals
from mlsysim_opt.physics.view import View
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.units import CARBON, MONEY, RATE, TIME, divide

if TYPE_CHECKING:
    from pint import Quantity

LATENCY = Number("sla_latency_ms", unit="ms", of=TIME, open_low=True, bare=True)
RATE_OF_REQUESTS = Arrivals("arrival_rate_qps", unit="1/s", of=RATE, open_low=True, bare=True)
DURATION = Number("duration_days", unit="day", of=TIME, open_low=True, bare=True)
CARBON_TAX = Number("carbon_tax_per_ton", unit="USD/tCO2e", of=divide(MONEY, CARBON), bare=True)
BUSY = Number("mfu", high=1.0)
FLEET = Given("fleet", kind="fleet")
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


@dataclass(frozen=True)
class PlacementResult:
    """The best site of a fleet.

    Attributes:
        solution: the whole answer, with its proof.
    """

    solution: PlanSolution

    @property
    def best_region(self) -> str:
        """The site."""
        return str(self.solution.amounts["jobs"][0]["region"])

    @property
    def lowest_tco(self) -> Quantity[float]:
        """What buying and running the fleet there costs over the time, carbon not counted."""
        return self.solution.metrics["cost"]  # type: ignore[no-any-return]

    @property
    def carbon_footprint(self) -> Quantity[float]:
        """Operational carbon over the time."""
        return self.solution.metrics["carbon"]  # type: ignore[no-any-return]

    @property
    def pue(self) -> float:
        """Facility energy over IT energy there."""
        energy = self.solution.metrics
        return float((energy["energy"] / energy["it_energy"]).to("dimensionless").magnitude)

    @property
    def objective_value(self) -> float:
        """The value of what was optimized, in its unit."""
        value = self.solution.objective.value
        assert value is not None
        return value


class PlacementOptimizer:
    """Where should a fleet stand? A front of the formulation `placement`, which also places jobs in time.

    The fleet is bought and runs for the whole time: the share of its price that falls to the time, maintenance,
    electricity at the site's price, and a price on carbon.
    """

    def solve(
        self,
        fleet: Any,
        duration_days: Any,
        regions: Any = None,
        carbon_tax_per_ton: Any = 100.0,
        mfu: float = 1.0,
        *,
        budget: Any = None,
        objective: Any = "min_total_cost",
        constraints: Iterable[Any] = (),
        **given: Any,
    ) -> PlacementResult:
        """Return the site with the least cost and carbon tax, proven.

        Args:
            fleet: a catalog entry or a name. duration_days: how long it runs, in days or with a unit.
            regions: sites to choose among; every site of the catalog when absent.
            carbon_tax_per_ton: in USD per tonne, or with a unit. mfu: share of time in which the accelerators work; the
                documents call it so, though power goes by time at work and not by FLOP.
            budget: the most that the fleet may cost. objective, constraints: as in `optimize`.
            given: further inputs of the formulation.
        Raises:
            UnknownNameError: there is no such region. InfeasibleError: no site satisfies all constraints.
        """
        entry, time = FLEET.read(fleet), DURATION.read(duration_days)
        node = View("node", [entry.node])
        busy = BUSY.read(mfu)
        power = ScalarProgram([node_power(node, expression(busy))]).run_named(node.bindings())[0]
        sites = regions if regions is not None else [item.name for item in default_catalog().all("datacenter")]
        limits = [] if budget is None else [f"cost <= {budget}"]
        found = optimize(
            "placement",
            objective=objective,
            constraints=[*limits, *constraints],
            jobs=[
                {
                    "name": entry.name,
                    "designs": [
                        {
                            "name": "whole fleet",
                            "accelerator": entry.node.accelerator,
                            "nodes": int(entry.node_count),
                            "time": f"{time!r} s",
                            "node_power": f"{power!r} W",
                        }
                    ],
                }
            ],
            fleet=entry,
            regions=sites,
            duration=f"{time!r} s",
            hold="buy",
            carbon_price=f"{CARBON_TAX.read(carbon_tax_per_ton)!r} USD/kgCO2e",
            **given,
        )
        assert isinstance(found, PlanSolution)
        return PlacementResult(found)
