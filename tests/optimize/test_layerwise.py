"""The layerwise formulation: chains by hand, dynamic programming and enumeration; its physics against whole models."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlsysim_opt.formulations.layerwise import layerwise

import mlsysim_opt as mo
from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.errors import InfeasibleError, MlsysimError
from mlsysim_opt.optimize import CoupledProblem, CoupledTask, formulation, question
from mlsysim_opt.optimize.coupled import front as front_search
from mlsysim_opt.optimize.coupled import front_labels, search
from mlsysim_opt.optimize.coupled.links import changes_follow
from mlsysim_opt.optimize.coupled.search import HighsBackend, Options
from mlsysim_opt.physics.training import DistributedModel
from mlsysim_opt.registry import default_catalog

Cost = dict[tuple[str, str], float]
OF_TWO = ["min_step_time", "min_memory"]
OF_THREE = [*OF_TWO, "min_resharding_time"]


def test_layers_that_are_alike_are_told_once() -> None:
    text = str(mo.optimize("layerwise", **layerwise.example))
    assert "layer=layer 1 to layer 32, before=1, after=1: 1 each" in text
    assert "of the limit of memory" in text


def chain(times: dict[str, list[tuple[str, float, float]]], changes: Cost, **more: Any) -> dict[str, Any]:
    """Return the givens of layers: for each, strategies with time (ms) and memory (GiB)."""
    return {
        "measured": [
            {"layer": layer, "strategy": name, "time": time, "kept": f"{kept} GiB"}
            for layer, rows in times.items()
            for name, time, kept in rows
        ],
        "resharding": [{"before": a, "after": b, "time": time} for (a, b), time in changes.items()],
        **more,
    }


def picked(solution: Any, axis: str = "strategy") -> list[Any]:
    return [row[axis] for row in solution.amounts["strategies"]]


def milliseconds(solution: Any) -> float:
    return float(solution.metrics["step_time"].to("ms").magnitude)


THREE = {
    "a": [("dp", 1, 3), ("tp", 2, 1)],
    "b": [("dp", 1, 3), ("tp", 3, 1)],
    "c": [("dp", 5, 1), ("tp", 1, 1)],
}
CHANGES: Cost = {("dp", "tp"): 1, ("tp", "dp"): 2}


@pytest.mark.parametrize(
    ("limit", "strategies", "time"),
    [
        (None, ["dp", "dp", "tp"], 4.0),  # 1 + 1 + change 1 + 1
        ("6 GiB", None, 6.0),  # 3 + 3 + 1 GiB are too much: tp tp tp is 2 + 3 + 1, dp tp tp is 1 + 1 + 3 + 1
        ("4 GiB", ["tp", "tp", "tp"], 6.0),
    ],
)
def test_three_layers_by_hand(limit: str | None, strategies: list[str] | None, time: float) -> None:
    solution = mo.optimize("layerwise", **chain(THREE, CHANGES, memory_limit=limit))
    assert milliseconds(solution) == pytest.approx(time, rel=1e-12)
    assert strategies is None or picked(solution) == strategies
    solution.verify()


def test_work_space_is_that_of_one_layer_at_a_time() -> None:
    """Kept 1 + 1 GiB, working 3 and 2: 5 GiB at the peak, not 7."""
    rows = [{"layer": name, "strategy": "x", "time": 1, "kept": "1 GiB", "working": f"{size} GiB"}
            for name, size in (("a", 3), ("b", 2))]  # fmt: skip
    solution = mo.optimize("layerwise", measured=rows, memory_limit="5 GiB")
    assert solution.metrics["memory"].to("GiB").magnitude == pytest.approx(5)
    with pytest.raises(InfeasibleError):
        mo.optimize("layerwise", measured=rows, memory_limit="4.9 GiB")


# brute force ----------------------------------------------------------------------------------------------------------
def instance(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    layers, names = [f"l{at}" for at in range(rng.randint(1, 5))], "xyz"[: rng.randint(1, 3)]
    layouts = {name: rng.choice("LR") for name in names}
    rows = [
        {"layer": layer, "strategy": name, "layout": layouts[name], "time": rng.randint(1, 20),
         "kept": f"{rng.randint(0, 9)} GiB", "working": f"{rng.randint(0, 4)} GiB"}
        for layer in layers for name in names if name == "x" or rng.random() < 0.8
    ]  # fmt: skip
    pairs = itertools.permutations(sorted({row["layout"] for row in rows}), 2)
    changes = [{"before": a, "after": b, "time": rng.randint(0, 9)} for a, b in pairs if rng.random() < 0.8]
    limit = {"memory_limit": f"{rng.randint(3, 30)} GiB"} if seed % 3 else {}
    return {"measured": rows, "resharding": changes or None, **limit}


def size(text: Any) -> float:
    return float(str(text).split()[0])


def by_enumeration(given: dict[str, Any]) -> float:
    layers = list(dict.fromkeys(row["layer"] for row in given["measured"]))
    ways = [[row for row in given["measured"] if row["layer"] == layer] for layer in layers]
    change = {(row["before"], row["after"]): row["time"] for row in given["resharding"] or []}
    best = math.inf
    for chosen in itertools.product(*ways):
        kept = sum(size(row["kept"]) for row in chosen) + max(size(row["working"]) for row in chosen)
        if kept > size(given.get("memory_limit", math.inf)):
            continue
        between = [
            0 if a["layout"] == b["layout"] else change.get((a["layout"], b["layout"]), math.inf)
            for a, b in itertools.pairwise(chosen)
        ]
        best = min(best, sum(row["time"] for row in chosen) + sum(between))
    return best


def by_dynamic_programming(given: dict[str, Any]) -> float:
    """Return the shortest path, from layer to layer; memory is not looked at."""
    change = {(row["before"], row["after"]): row["time"] for row in given["resharding"] or []}
    best: dict[str, float] | None = None
    for _, group in itertools.groupby(given["measured"], lambda row: row["layer"]):
        now: dict[str, float] = {}
        for row in group:
            mine = row["layout"]
            ways = [
                value + (0 if layout == mine else change.get((layout, mine), math.inf))
                for layout, value in (best or {mine: 0.0}).items()
            ]
            before = min(ways)
            now[mine] = min(now.get(mine, math.inf), before + row["time"])
        best = now
    assert best is not None
    return min(best.values())


def ours(given: dict[str, Any], **more: Any) -> float:
    try:
        solution = mo.optimize("layerwise", **given, **more)
    except InfeasibleError:
        return math.inf
    solution.verify()
    return milliseconds(solution)


@pytest.mark.parametrize("seed", range(60))
def test_chains_against_enumeration(seed: int) -> None:
    given = instance(seed)
    found = ours(given)
    assert found == pytest.approx(by_enumeration(given), rel=1e-9)
    assert ours(given, prune=False) == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("seed", range(60, 80))
def test_without_a_limit_it_is_a_shortest_path_and_the_relaxation_is_integral(seed: int) -> None:
    given = {name: value for name, value in instance(seed).items() if name != "memory_limit"}
    expected = by_dynamic_programming(given)
    assert expected == by_enumeration(given)
    program = question(layerwise.problem(given), "min_step_time", []).compiled().program
    relaxed = replace(program, whole=np.zeros_like(program.whole))
    found = HighsBackend().solve(relaxed, Options(0.0, None, False, None))
    if math.isinf(expected):
        assert found.status == "infeasible"
    else:
        assert found.value == pytest.approx(expected * 1e-3, rel=1e-9)


def deep(seed: int) -> dict[str, Any]:
    """Return twelve layers with times and memory that are no round numbers, some of them alike."""
    rng = random.Random(seed)
    names = ["dp", "tp", "zero", "both"]
    kinds = [[(rng.uniform(1, 5), rng.uniform(0.5, 4), rng.uniform(0, 2)) for _ in names] for _ in range(3)]
    rows = [
        {"layer": f"layer {at}", "strategy": name, "layout": name[:1], "time": time, "kept": f"{kept!r} GiB",
         "working": f"{work!r} GiB"}
        for at, kind in enumerate(rng.choices(range(3), k=12))
        for name, (time, kept, work) in zip(names, kinds[kind], strict=True)
    ]  # fmt: skip
    pairs = itertools.permutations("dtzb", 2)
    changes = [{"before": a, "after": b, "time": rng.uniform(0, 2)} for a, b in pairs if rng.random() < 0.9]
    least = sum(min(size(row["kept"]) for row in group) for _, group in itertools.groupby(rows, lambda r: r["layer"]))
    return {"measured": rows, "resharding": changes, "memory_limit": f"{least * rng.uniform(1.05, 1.8) + 2!r} GiB"}


@pytest.mark.parametrize("seed", range(25))
def test_labels_find_what_branch_and_bound_finds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = deep(seed)
    labels = mo.optimize("layerwise", **given)
    assert labels.certificate.proof.startswith("labels over the chain")
    assert labels.verify()["constraints_hold"]
    # a limit of time in place of one of memory: the least memory in so much time
    slow = f"step_time <= {1.05 * milliseconds(labels)!r} ms"
    free = {name: value for name, value in given.items() if name != "memory_limit"}
    least = mo.optimize("layerwise", **free, objective="min_kept_memory", constraints=[slow])
    assert least.certificate.proof.startswith("labels over the chain")
    monkeypatch.setattr(search, "solve_chain", lambda *_: None)
    branched = mo.optimize("layerwise", **given)
    assert branched.certificate.proof.startswith("branch and bound")
    assert milliseconds(labels) == pytest.approx(milliseconds(branched), rel=1e-9)
    again = mo.optimize("layerwise", **free, objective="min_kept_memory", constraints=[slow])
    assert least.objective.si == pytest.approx(again.objective.si, rel=1e-9)


def by_labels(solution: Any) -> bool:
    return bool(solution.certificate.proof.startswith("labels over the chain") and solution.gap == 0)


LIMITED: list[tuple[str, list[str]]] = [
    ("min_step_time", ["memory <= {peak} GiB"]),
    ("min_step_time", ["memory <= {peak} GiB", "kept_memory <= {kept} GiB"]),
    ("min_step_time", ["memory <= {peak} GiB", "resharding_time <= {between} ms"]),
    ("min_step_time", ["memory <= {peak} GiB", "kept_memory <= {kept} GiB", "layer_time <= {layers} ms"]),
    ("min_memory", []),
    ("min_memory", ["step_time <= {step} ms"]),
    ("min_memory", ["step_time <= {step} ms", "resharding_time <= {between} ms"]),
    ("step_time + 1 ms/GiB * memory", ["resharding_time <= {between} ms"]),
]


@pytest.mark.parametrize(("objective", "limits"), LIMITED)
@pytest.mark.parametrize("seed", range(3))
def test_limits_of_the_user_are_kept_by_labels_as_by_branch_and_bound(
    seed: int, objective: str, limits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits near what the best under the limit of memory has; a limit of the same sum as its own, or of others."""
    given = deep(seed)
    own = mo.optimize("layerwise", **given)
    near = {
        "peak": 0.95 * own.metrics["memory"].to("GiB").magnitude,
        "kept": 0.9 * own.metrics["kept_memory"].to("GiB").magnitude,
        "between": 1.05 * own.metrics["resharding_time"].to("ms").magnitude,
        "layers": 1.3 * own.metrics["layer_time"].to("ms").magnitude,
        "step": 1.1 * milliseconds(own),
    }
    asked = {"objective": objective, "constraints": [text.format(**near) for text in limits]}
    labels = mo.optimize("layerwise", **given, **asked)
    assert by_labels(labels)
    assert labels.verify()["constraints_hold"]
    monkeypatch.setattr(search, "solve_chain", lambda *_: None)
    branched = mo.optimize("layerwise", **given, **asked)
    assert branched.certificate.proof.startswith("branch and bound")
    assert labels.objective.si == pytest.approx(branched.objective.si, rel=1e-9)


def test_limits_that_no_chain_keeps_are_told_as_by_branch_and_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each limit alone is kept by some chain, both together by none."""
    given = deep(2)
    least = mo.optimize("layerwise", **{**given, "memory_limit": None}, objective="min_memory")
    fastest = mo.optimize("layerwise", **{**given, "memory_limit": None})
    limits = [f"memory <= {1.01 * least.metrics['memory'].to('GiB').magnitude!r} GiB",
              f"step_time <= {1.01 * milliseconds(fastest)!r} ms"]  # fmt: skip
    told = []
    for patched in (False, True):
        if patched:
            monkeypatch.setattr(search, "solve_chain", lambda *_: None)
        with pytest.raises(InfeasibleError) as caught:
            mo.optimize("layerwise", **{**given, "memory_limit": None}, constraints=limits)
        assert list(caught.value.conflict) == limits
        told.append(str(caught.value.hint))
    assert told[0] == told[1]


def test_a_limit_on_memory_is_the_given_limit_of_memory() -> None:
    """The same question, asked as a constraint: the same answer, and as surely."""
    job = {**JOB, "tp_size": [1, 2]}
    given = mo.optimize("layerwise", **job, memory_limit="30 GiB")
    asked = mo.optimize("layerwise", **job, constraints=["memory <= 30 GiB"])
    assert by_labels(given)
    assert by_labels(asked)
    assert milliseconds(asked) == pytest.approx(milliseconds(given), rel=1e-12)


def test_every_point_of_a_front_of_time_and_memory_is_proven() -> None:
    """Each point is the fastest within its own memory."""
    job = {**JOB, "tp_size": [1, 2]}
    front = mo.pareto("layerwise", objectives=["min_step_time", "min_memory"], points=4, **job)
    assert front.status == "cover"
    assert len(front) >= 4
    for point in front:
        held = point.metrics["memory"].to("GiB").magnitude
        alone = mo.optimize("layerwise", **job, constraints=[f"memory <= {held * (1 + 1e-9)!r} GiB"])
        assert milliseconds(alone) == pytest.approx(milliseconds(point), rel=1e-9)


def few_layers() -> dict[str, Any]:
    """Three layers, three strategies: 27 chains."""
    ways = (("x", "1 ms", "4 GiB"), ("y", "2 ms", "2 GiB"), ("z", "4 ms", "1 GiB"))
    return {
        "measured": [
            {"layer": layer, "strategy": name, "time": time, "kept": kept}
            for layer, (name, time, kept) in itertools.product("abc", ways)
        ],
        "resharding": [
            {"before": a, "after": b, "time": "0.5 ms"} for a, b in itertools.permutations("xyz", 2)
        ],
    }  # fmt: skip


@pytest.mark.parametrize("objectives", [OF_TWO, OF_THREE])
@pytest.mark.parametrize("labels", [True, False])
def test_a_front_of_chains_is_complete(objectives: list[str], labels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: xxx, xxy (in this order, one change), xyy, yyy, yyz, yzz, zzz; none is free, two changes are beaten."""
    if not labels:
        monkeypatch.setattr(front_search, "chain_front", lambda *of: None)
    front = mo.pareto("layerwise", objectives=objectives, **few_layers())
    assert front.complete
    assert [[round(value, 6) for value in row[:2]] for row in front.values] == [
        [0.003, 12], [0.0045, 10], [0.0055, 8], [0.006, 6], [0.0085, 5], [0.0105, 4], [0.012, 3]
    ]  # fmt: skip
    assert ("labels over the chain" in front.guarantee) == labels
    few = mo.pareto("layerwise", objectives=objectives, points=3, **few_layers())
    assert few.status == "cover"
    assert len(few) < 7


def test_a_front_of_work_space_alone() -> None:
    """What counts is the most of one layer, far more than all of them keep: by hand, xx, xy or yx, yy."""
    rows = [
        {"layer": layer, "strategy": name, "time": time, "kept": kept, "working": working}
        for layer, kept in (("a", "0 GiB"), ("b", "1 byte"))
        for name, time, working in (("x", "1 ms", "40 GiB"), ("y", "2 ms", "20 GiB"))
    ]
    changes = [{"before": "x", "after": "y", "time": 0}, {"before": "y", "after": "x", "time": 0}]
    front = mo.pareto("layerwise", objectives=OF_TWO, measured=rows, resharding=changes)
    assert front.complete
    assert [[round(time, 6), round(memory, 6)] for time, memory in front.values] == [[0.002, 40], [0.004, 20]]


def test_a_front_with_too_many_labels_is_a_cover_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_labels, "MADE", 2)
    front = mo.pareto("layerwise", objectives=OF_TWO, **few_layers())
    assert front.status == "cover"
    assert "some point is no worse in min_step_time" in front.guarantee


def test_that_changes_follow_from_picks_is_proven_by_the_numbers() -> None:
    task = formulation("layerwise").problem(few_layers())
    assert isinstance(task, CoupledProblem)
    program = CoupledTask.of(task, "min_step_time", []).compiled().program
    assert changes_follow(program)
    links = program.links
    assert links is not None
    assert program.group_high is not None
    broken = {
        "no chain": replace(program, links=None),
        "two picks of a stage": replace(program, group_high=program.group_high + 1),
        "picks in parts": replace(program, whole=program.whole & ~links.pick),
        "changes below zero": replace(program, low=np.where(links.change, -1.0, program.low)),
        "half a change": replace(program, value=np.where(links.change[program.entry_column], 2.0, 1.0) * program.value),
        "no row that says so": replace(program, links=replace(links, rows=links.rows[:-1])),
        "no equation": replace(program, row_low=np.where(program.row_high == 0, -np.inf, program.row_low)),
        "two ways to change": replace(program, links=replace(links, after=np.zeros_like(links.after))),
        "strategies of two layouts": replace(program, links=replace(links, before=links.before[::-1].copy())),
    }
    for name, item in broken.items():
        assert not changes_follow(item), name


def test_the_least_change_of_the_limit_is_the_least() -> None:
    """What the limit has to be is the least memory that any chain takes; work space gives way with it."""
    least = mo.optimize("layerwise", **JOB, objective="min_memory").metrics["memory"].to("GiB").magnitude
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize("layerwise", **JOB, memory_limit="1 GiB")
    assert list(caught.value.conflict) == ["memory fits"]
    (way,) = caught.value.relaxations
    more = way.amount.quantity.to("GiB").magnitude
    assert more == pytest.approx(least - 1, rel=1e-9)
    again = mo.optimize("layerwise", **JOB, memory_limit=f"{(1 + more) * (1 + 1e-9)!r} GiB")
    assert again.metrics["memory"].to("GiB").magnitude == pytest.approx(least, rel=1e-9)


def test_eighty_layers_in_scarce_memory_are_proven() -> None:
    found = mo.optimize("layerwise", model="Llama3_70B", stage="Lab_64_H100", global_batch_size=128, seq_len=4096,
                        memory_limit="70 GiB")  # fmt: skip
    assert found.status == "optimal"
    assert found.gap == 0
    assert 69 < found.metrics["memory"].to("GiB").magnitude <= 70


# physics --------------------------------------------------------------------------------------------------------------
JOB: dict[str, Any] = {"model": "Llama3_8B", "stage": "Lab_64_H100", "global_batch_size": 128, "seq_len": 4096}


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize(
    "strategy",
    [
        {"tp_size": 1, "zero_stage": 0, "recomputation": "none", "sequence_parallel": 0},
        {"tp_size": 4, "zero_stage": 1, "recomputation": "selective", "sequence_parallel": 1},
        {"tp_size": 2, "zero_stage": 1, "recomputation": "full", "sequence_parallel": 0},
        {"tp_size": 8, "zero_stage": 3, "recomputation": "none", "sequence_parallel": 1},
    ],
)
def test_one_strategy_for_all_layers_is_the_whole_model(strategy: dict[str, Any], microbatches: int) -> None:
    """The stage of `DistributedModel` is the sum of its layers, but for the latency of two messages more (embedding and
    head reduce their own gradients), and for ZeRO 3, which there holds embedding and head beside the layer at work."""
    solution = mo.optimize("layerwise", **JOB, microbatch_count=microbatches, memory_limit="1 TiB", choices=strategy)
    whole = DistributedModel().solve(
        model=JOB["model"], fleet=JOB["stage"], batch_size=JOB["global_batch_size"], seq_len=JOB["seq_len"],
        precision="bf16", microbatch_count=microbatches,
        **{**strategy, "sequence_parallel": bool(strategy["sequence_parallel"])},
    )  # fmt: skip
    assert milliseconds(solution) == pytest.approx(float(whole.step_time.to("ms").magnitude), rel=3e-3)
    memory = float(solution.metrics["memory"].to("GiB").magnitude)
    expected = float(whole.total_memory.to("GiB").magnitude)
    assert memory == pytest.approx(expected, rel=1e-9 if strategy["zero_stage"] < 2 else 0.1)


def test_layers_differ_where_memory_is_scarce() -> None:
    """No single strategy for all layers is as fast as a mix: some layers keep their activations, others do not."""
    axes = {"tp_size": 1, "zero_stage": [1, 3], "recomputation": ["none", "selective", "full"], "sequence_parallel": 0}
    given = {**JOB, "memory_limit": "40 GiB"}
    mixed = mo.optimize("layerwise", **given, choices=axes)
    uniform = []
    for zero, again in itertools.product(axes["zero_stage"], axes["recomputation"]):
        try:
            alone = mo.optimize("layerwise", **given, choices={**axes, "zero_stage": zero, "recomputation": again})
        except InfeasibleError:
            continue
        uniform.append(milliseconds(alone))
    assert uniform
    assert milliseconds(mixed) < min(uniform)
    assert mixed.metrics["memory"].to("GiB").magnitude <= 40 * (1 + 1e-9)
    mixed.verify()


def test_resharding_by_hand() -> None:
    """From one copy to four inside a server: each of 64 ranks gathers 4 / 64 of the activations, of which it has a
    quarter: 3/4 of 128 x 4096 x 4096 x 2 bytes x 4 / 64 over the links, and three hops."""
    problem = layerwise.problem({**JOB, "tp_size": [1, 4]})
    fleet = default_catalog().find("fleet", "Lab_64_H100")
    constants = default_catalog().find("calibration", str(fleet.node.accelerator.generation))
    hop = constants.parameter("scale_up_latency").si
    rate = fleet.node.parameter("scale_up.bandwidth").si * constants.parameter("scale_up_efficiency").si
    total = 128 * 4096 * 4096 * 2.0
    expected = total * 4 / 64 * 0.75 / rate + 3 * hop
    (term,) = problem.totals["resharding_time"].terms
    jitter = ScalarProgram([term.coefficient]).run_named({**problem.values, "before": 1, "after": 4})[0] / expected
    assert 1.0 <= jitter < 1.2, "only the jitter of the fleet lies between"
    back = ScalarProgram([term.coefficient]).run_named({**problem.values, "before": 4, "after": 1})[0]
    assert back == pytest.approx(expected * jitter), "the other pass gathers"
    assert ScalarProgram([term.coefficient]).run_named({**problem.values, "before": 4, "after": 4})[0] == 0


def test_a_solution_is_asked_again_from_json() -> None:
    for given in (chain(THREE, CHANGES), {**JOB, "tp_size": [1, 2]}):
        solution = mo.optimize("layerwise", **given)
        again = type(solution).from_json(solution.to_json())
        assert again.verify()["objective"]["value"] == pytest.approx(solution.objective.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "model"),
        ({**JOB, "model": None}, "model"),
        ({**JOB, "model": "Mixtral_8x7B"}, "experts"),
        ({**JOB, "zero_stage": 4}, "zero_stage"),
        ({**JOB, "recomputation": "some"}, "recomputation"),
        ({**JOB, "precision": "int2"}, "int2"),
        ({**JOB, "measured": chain(THREE, CHANGES)["measured"]}, "give one"),
        ({"measured": [{"layer": "a", "strategy": "x"}]}, "time is missing"),
        ({"measured": [{"layer": "a", "strategy": "x", "time": "-1 ms"}]}, "time"),
        ({"measured": [{"layer": "a", "strategy": "x", "time": 1}] * 2}, "measured twice"),
        ({"measured": [{"layer": "a", "strategy": "x", "time": 1, "layout": "L"},
                       {"layer": "b", "strategy": "x", "time": 1, "layout": "R"}]}, "two layouts"),
        (chain(THREE, {("dp", "ep"): 1}), "ep"),
        ({"measured": "missing.csv"}, "missing.csv"),
    ],
)  # fmt: skip
def test_bad_input_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MlsysimError, match=message):
        mo.optimize("layerwise", **given)


def test_no_way_to_change_is_infeasible() -> None:
    with pytest.raises(InfeasibleError):
        mo.optimize("layerwise", **chain({"a": [("dp", 1, 0)], "b": [("tp", 1, 0)]}, {("tp", "dp"): 1}))
    with pytest.raises(InfeasibleError):
        mo.optimize("layerwise", **{**JOB, "global_batch_size": 1, "tp_size": 1})


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        # 64 accelerators over tp_size 1 to 8 are 64 to 8 replicas; 128 / 8 = 16 sequences are divided by 1, 2, 4
        ({"microbatch_count": 3}, {"microbatch_count": [2, 4], "global_batch_size": [120, 144]}),  # 5 x 24 and 6 x 24
        ({"microbatch_count": 32}, {"microbatch_count": [16], "global_batch_size": [256]}),
        ({"global_batch_size": 1}, {"global_batch_size": [8]}),
        ({"microbatch_count": 4, "tp_size": 1}, {"microbatch_count": [2], "global_batch_size": [256]}),
    ],
)
def test_microbatches_that_do_not_divide_the_batch_are_told_with_the_nearest_that_do(
    given: dict[str, Any], nearest: dict[str, list[int]]
) -> None:
    with pytest.raises(InfeasibleError, match="microbatches divide the batch") as caught:
        mo.optimize("layerwise", **{**JOB, **given})
    assert list(caught.value.conflict) == ["microbatches divide the batch"]
    told = {name: " or ".join(map(str, values)) for name, values in nearest.items()}
    assert str(caught.value.hint) == "the nearest that divide: " + "; ".join(f"{a} {b}" for a, b in told.items())
    for name, values in nearest.items():
        for value in values:
            mo.optimize("layerwise", **{**JOB, **given, name: value, "memory_limit": "1 TiB"})


def test_the_tables_of_the_page_are_what_runs() -> None:
    page = (Path(__file__).parents[2] / "docs/layerwise.md").read_text()

    def column(heading: str) -> list[str]:
        section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        return [line.split("|")[1].strip(" `") for line in section.splitlines() if line.startswith("| `")]

    problem = layerwise.problem(layerwise.example)
    assert column("Given") == [item.name for item in layerwise.inputs]
    assert column("Decisions") == list(problem.decisions)
    assert column("Metrics") == list(problem.metrics)
