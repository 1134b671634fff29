"""Checkpointing and compression as decision problems: held to the models they are made of, and to simulation."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

import mlsysim_opt as mo
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Expression, constant, expression
from mlsysim_opt.optimize import Solution, formulation
from mlsysim_opt.physics.reliability import Interrupted, tiered
from mlsysim_opt.units import TIME

JOB: dict[str, Any] = {
    "model": "Llama3_405B", "fleet": "Meta_Llama3_16K_H100", "reliability": "Llama3_H100", "recovery_time": "5 min",
    "storage": ["Parallel_FS_Client", "NVMe_Gen4"],
}  # fmt: skip
SERVED: dict[str, Any] = {"model": "Llama3_70B", "hardware": "H200", "seq_len": 4096, "output_len": 512}


def best(name: str, objective: Any = None, constraints: Any = (), **given: Any) -> Solution:
    found = mo.optimize(name, objective=objective, constraints=constraints, **given)
    assert isinstance(found, Solution)
    return found


# the price of checkpoints in host memory ------------------------------------------------------------------------------
def _simulated(rate: float, severe: float, saving: float, recovery: float, interval: float, every: int) -> float:
    """Return the share of time that is lasting progress, of work that fails at random."""
    dice = random.Random(1)
    spent, stored, held, wanted = 0.0, 0, 0, 40_000
    while stored < wanted:
        until = dice.expovariate(rate)
        if until >= interval + saving:
            spent, held = spent + interval + saving, held + 1
        else:
            spent += until
            lost = dice.random() < severe
            while (again := dice.expovariate(rate)) < recovery:  # it fails while it recovers
                spent += again
                lost = lost or dice.random() < severe
            spent += recovery
            held = 0 if lost else held
        if held == every:
            stored, held = stored + 1, 0
    return wanted * every * interval / spent


def seconds(value: float) -> Expression:
    return constant(value, TIME)


@pytest.mark.parametrize(("severe", "every"), [(0.05, 1), (0.05, 8), (0.2, 3), (0.5, 2)])
def test_goodput_with_tiers_is_that_of_a_simulation(severe: float, every: int) -> None:
    rate, saving, recovery, interval = 1 / 8000, 20.0, 200.0, 400.0
    job = tiered(
        severe=1 / seconds(1 / (rate * severe)), frequent=1 / seconds(1 / (rate * (1 - severe))),
        saving=seconds(saving), recovery=seconds(recovery), interval=seconds(interval), persist_every=expression(every),
    )  # fmt: skip
    assert evaluate(job.goodput) == pytest.approx(
        _simulated(rate, severe, saving, recovery, interval, every), abs=0.004
    )


def test_where_all_failures_are_severe_tiers_are_an_interval_apart() -> None:
    """Without failures that host memory survives, only what is in storage counts: one interval, with all its saving."""
    job = tiered(
        frequent=1 / seconds(1e10), severe=1 / seconds(5000.0), saving=seconds(10.0), recovery=seconds(60.0),
        interval=seconds(300.0), persist_every=expression(4),
    )  # fmt: skip
    one = Interrupted(seconds(5000.0), seconds(40.0), seconds(60.0), seconds(1200.0))
    assert evaluate(job.goodput) == pytest.approx(evaluate(one.goodput), rel=1e-6)


# checkpointing --------------------------------------------------------------------------------------------------------
def test_the_best_way_to_save_is_what_the_models_say() -> None:
    """Of the ways that hold the job up least, every checkpoint goes to storage: then what is lost is least, too."""
    given = {**JOB, "n_writers": 512, "interval": [30, 60, 120, 600, 3600], "persist_every": [1, 4]}
    found = best("checkpointing", **given)
    found.verify()
    assert (found.design["mode"], found.design["persist_every"]) == ("asynchronous", 1)
    saved = [
        mo.CheckpointModel().solve(
            model="Llama3_405B", hardware="H100", n_writers=512, checkpoint_interval=f"{interval} s",
            persist_every=every, storage=storage, mode=mode,
        )
        for interval, every, storage, mode in itertools.product(
            given["interval"], given["persist_every"], JOB["storage"], ("synchronous", "asynchronous")
        )
    ]  # fmt: skip
    fastest = min(item.blocking_time.to("s").magnitude for item in saved if item.feasible)
    assert found.metrics["blocking_time"].to("s").magnitude == pytest.approx(fastest, rel=1e-12)
    one = mo.ReliabilityModel().solve(
        fleet="Meta_Llama3_16K_H100",
        job_duration_days=54,
        checkpoint_time_s=fastest,
        avg_recovery_time_s=300,
        checkpoint_interval=f"{found.design['interval']} s",
    )
    # where each is in storage, failures of one severity or of two hardly differ
    assert found.metrics["goodput"] == pytest.approx(float(one.goodput), abs=2e-4)


def test_intervals_are_seconds_or_times() -> None:
    given = {**JOB, "n_writers": 512}
    for written, seconds in (("2 min", [120]), ([300, "60 s"], [60, 300]), (90, [90])):
        problem = formulation("checkpointing").problem({**given, "interval": written})
        assert list(problem.decisions["interval"].choice.values) == seconds
    assert best("checkpointing", **given, interval=["60 s", "1 h"]).design["interval"] == 60
    for wrong, says in (("1.5 s", "whole number"), ("1 km", "km"), (0, "not above 0")):
        with pytest.raises(mo.InputError, match=says):
            best("checkpointing", **given, interval=[wrong])


def test_the_page_names_every_decision() -> None:
    page = (Path(__file__).parents[2] / "docs/small-formulations.md").read_text()
    table = page.partition('"checkpointing",')[2].partition("| decision |")[2].partition("\n\n")[0]
    named = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(named) == sorted(formulation("checkpointing").problem({**JOB, "n_writers": 512}).decisions)


def test_writing_rarely_is_not_free() -> None:
    """Slow storage that the job waits for: every fourth checkpoint is best; with that of hosts alone, ever fewer."""
    slow = {**JOB, "storage": "HDD", "n_writers": 512, "persist_every": [1, 2, 4, 8, 16, 32, 64, 128]}
    found = best("checkpointing", constraints=['mode == "synchronous"'], **slow)
    assert 1 < found.design["persist_every"] < 128


def test_a_storage_that_is_too_slow_is_said_with_ways_out() -> None:
    given = {**JOB, "storage": "HDD", "n_writers": 8, "interval": [60], "persist_every": [1]}
    with pytest.raises(mo.InfeasibleError) as caught:
        best("checkpointing", constraints=['mode == "asynchronous"'], **given)
    assert "a checkpoint is written before the next one" in caught.value.conflict
    with pytest.raises(mo.UnknownNameError, match="storage"):
        best("checkpointing", **{**JOB, "storage": "Tape"})
    with pytest.raises(mo.InputError, match="needs 'reliability'"):  # rates of failure decide: no default
        best("checkpointing", **{name: value for name, value in JOB.items() if name != "reliability"})


# compression ----------------------------------------------------------------------------------------------------------
def test_a_quantized_model_is_that_of_both_models() -> None:
    found = best("compression", "max_throughput", ["accuracy_delta >= -0.02", "itl <= 40 ms"], **SERVED)
    assert found.design == {"scheme": "int4_weights", "batch_size": 32}
    served = mo.ServingModel().solve(**SERVED, weight_precision="int4", batch_size=32)
    small = mo.CompressionModel().solve(model="Llama3_70B", hardware="H200", target_bitwidth=4)
    for name in ("itl", "ttft", "throughput", "total_memory_required"):
        assert found.metrics[name].to(getattr(served, name).units).magnitude == pytest.approx(
            getattr(served, name).magnitude, rel=1e-12
        )
    assert found.metrics["accuracy_delta"] == small.accuracy_delta
    assert found.metrics["accuracy_delta_low"] == small.accuracy_range[0]
    found.verify()


def test_no_loss_at_all_leaves_the_model_as_it_is() -> None:
    found = best("compression", None, ["accuracy_delta >= 0"], **{**SERVED, "tp_size": 2})
    assert found.design["scheme"] == "none"


def test_schemes_that_a_device_cannot_run_are_no_values() -> None:
    found = best("compression", **{**SERVED, "model": "Llama3_8B", "hardware": "V100"})
    task_of = found.task
    assert task_of is not None
    assert set(task_of.problem.decisions["scheme"].choice.values) == {"none", "int8_weights", "int4_weights"}


def test_what_cannot_be_served_is_infeasible() -> None:
    with pytest.raises(mo.InfeasibleError) as caught:
        best("compression", **{**SERVED, "model": "Llama3_405B", "hardware": "V100"})
    assert caught.value.conflict == ("it can be served: memory, split and context",)
    with pytest.raises(mo.InfeasibleError) as caught:
        best("compression", None, ["accuracy_delta >= 0", "itl <= 20 ms"], **{**SERVED, "tp_size": 2})
    assert set(caught.value.conflict) == {"accuracy_delta >= 0", "itl <= 20 ms"}
    assert caught.value.relaxations


@pytest.mark.parametrize("name", ["checkpointing", "compression"])
def test_a_small_formulation_is_short(name: str) -> None:
    # docs/small-formulations.md shows them as what a new formulation takes: less than 80 lines
    text = (Path(__file__).parents[2] / "formulations" / f"{name}.py").read_text()
    assert len(text.splitlines()) < 80
