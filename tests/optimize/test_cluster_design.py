"""The cluster_design formulation: every design priced by the models of one point, and by hand."""

from __future__ import annotations

import itertools
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlsysim_opt.formulations.cluster_design import Site, cluster_design
from scipy.optimize import linprog

import mlsysim_opt as mo
from mlsysim_opt.errors import InfeasibleError, InputError, MissingFieldError, MlsysimError, VerificationError
from mlsysim_opt.physics.economics import EconomicsModel
from mlsysim_opt.physics.sustainability import SustainabilityModel
from mlsysim_opt.registry import default_catalog

YEAR = 31_557_600.0
TRAINING = {"name": "training", "model": "Llama3_8B", "precision": "bf16", "tokens": "12e12 token",
            "global_batch_size": 256, "seq_len": 4096}  # fmt: skip
CHAT = {"name": "chat", "model": "Llama3_8B", "precision": "fp16", "request_rate": "40 request/s", "input_len": 500,
        "output_len": 250, "itl": "40 ms"}  # fmt: skip
GIVEN: dict[str, Any] = {
    "workloads": [TRAINING, CHAT],
    "nodes": [{"node": "DGX_H100"}, {"node": "DGX_A100", "price": "220000 USD"}],
    "fabrics": [
        {"fabric": "InfiniBand_NDR", "price": "40000 USD"},
        {"fabric": "InfiniBand_NDR_4to1", "price": "22000 USD"},
    ],
    "coolings": [
        {"name": "air", "pue": 1.5, "price": "0 USD"},
        {"name": "liquid", "pue": 1.1, "price": "6000 USD"},
    ],
    "sizes": [2, 4, 8],
    "years": 3,
    "datacenter": "AWS_us_east_1",
}
PRICES = {
    "DGX_A100": 220_000.0,
    "InfiniBand_NDR": 40_000.0,
    "InfiniBand_NDR_4to1": 22_000.0,
    "air": 0.0,
    "liquid": 6_000.0,
}
PUES = {"air": 1.5, "liquid": 1.1}
AXES = ("node", "fabric", "cooling", "nodes")


def designs(given: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    return list(
        itertools.product(
            [row["node"] for row in given["nodes"]], [row["fabric"] for row in given["fabrics"]],
            [row["name"] for row in given["coolings"]], given["sizes"],
        )
    )  # fmt: skip


@cache
def fleet(node: str, fabric: str, size: int) -> Any:
    """Return a cluster as an entry, made as a user would make one."""
    catalog = default_catalog()
    base = catalog.find("fleet", "Lab_64_H100")
    count = base.__dict__["node_count"].changed(float(size), "test")
    parts = {"node": catalog.find("node", node), "fabric": catalog.find("fabric", fabric), "node_count": count}
    return base.model_copy(update={**parts, "grid": None, "datacenter": None, "name": f"{node} {fabric} {size}"})


@cache
def years_of(workload: str, node: str, fabric: str, size: int) -> float:
    """Return how many years of a cluster a workload takes; infinite where it cannot run there."""
    one = fleet(node, fabric, size)
    try:
        if workload == "training":
            best = mo.optimize("parallelism", model="Llama3_8B", fleet=one, precision="bf16", global_batch_size=256,
                               seq_len=4096, objective="max_tokens_per_second")  # fmt: skip
            return 12e12 / float(best.objective.si) / YEAR
        traffic = [{name: CHAT[name] for name in ("name", "request_rate", "input_len", "output_len", "itl")}]
        offers = [{"accelerator": one.node.accelerator.name}]
        found = mo.optimize("serving_fleet", model="Llama3_8B", precision="fp16", traffic=traffic, offers=offers,
                            objective="min_accelerators")  # fmt: skip
        return 3 * float(found.objective.value) / (size * one.node.accelerators_per_node)
    except InfeasibleError:
        return math.inf


def price_of(node: str, fabric: str, cooling: str) -> float:
    """Return the price of a node with everything; that of a DGX H100 is in the catalog."""
    server = PRICES.get(node)
    if server is None:
        server = default_catalog().find("price", "Purchase_DGX_H100").parameter("amount").si
    return float(server) + PRICES[fabric] + PRICES[cooling]


def tco(design: tuple[str, str, str, int], load: float) -> float:
    node, fabric, cooling, size = design
    found = EconomicsModel().solve(
        fleet=fleet(node, fabric, size), duration_days="3 year", amortization_years="3 year", utilization=load,
        node_price=f"{price_of(node, fabric, cooling)} USD", datacenter="AWS_us_east_1", pue=PUES[cooling],
    )  # fmt: skip
    return float(found.tco_usd)


def needed(design: tuple[str, str, str, int]) -> float:
    node, fabric, _, size = design
    return years_of("training", node, fabric, size) + years_of("chat", node, fabric, size)


def picked(solution: Any) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in AXES) for row in solution.amounts["clusters"]]


def test_one_cluster_against_every_design() -> None:
    """Of all 24 designs, those on which training and service together take at most three years, by cost."""
    priced = {item: tco(item, needed(item) / 3) for item in designs(GIVEN) if needed(item) <= 3}
    assert 0 < len(priced) < len(designs(GIVEN)), "some are too small"
    best = min(priced, key=lambda item: priced[item])
    solution = mo.optimize("cluster_design", **GIVEN)
    assert solution.metrics["tco"].to("USD").magnitude == pytest.approx(priced[best], rel=1e-9)
    assert picked(solution) == [best]
    assert solution.metrics["work"].to("year").magnitude == pytest.approx(needed(best), rel=1e-9)
    solution.verify()


def test_two_clusters_against_every_pair() -> None:
    """For every pair of designs the best shares, by a linear program of two workloads on two clusters."""
    given = {**GIVEN, "coolings": GIVEN["coolings"][1:], "fabrics": GIVEN["fabrics"][1:], "clusters": 2}
    every = designs(given)
    best = min((tco(item, needed(item) / 3) for item in every if needed(item) <= 3), default=math.inf)
    for pair in itertools.combinations_with_replacement(every, 2):
        times = np.array(
            [[years_of(name, item[0], item[1], item[3]) for item in pair] for name in ("training", "chat")]
        )
        if not np.isfinite(times).all():
            continue
        slope = np.array([(tco(item, 1.0) - tco(item, 0.0)) / 3 for item in pair])
        found = linprog(
            (times * slope).reshape(-1), A_ub=[[times[0, 0], 0, times[1, 0], 0], [0, times[0, 1], 0, times[1, 1]]],
            b_ub=[3, 3], A_eq=[[1, 1, 0, 0], [0, 0, 1, 1]], b_eq=[1, 1],
        )  # fmt: skip
        if found.status == 0:
            best = min(best, float(found.fun) + sum(tco(item, 0.0) for item in pair))
    solution = mo.optimize("cluster_design", **given)
    assert solution.metrics["tco"].to("USD").magnitude == pytest.approx(best, rel=1e-8)
    assert mo.optimize("cluster_design", **given, prune=False).objective.value == pytest.approx(
        solution.objective.value, rel=1e-9
    )


def test_power_carbon_and_budget_limit_the_choice() -> None:
    free = mo.optimize("cluster_design", **GIVEN, choices={"cooling": "air"})
    power = free.metrics["facility_power"].to("kW").magnitude
    node, fabric, cooling, size = picked(free)[0]
    expected = SustainabilityModel().solve(
        fleet=fleet(node, fabric, size), duration_days="3 year", datacenter="AWS_us_east_1", pue=PUES[cooling]
    )
    assert power == pytest.approx(expected.it_power.to("kW").magnitude * PUES[cooling], rel=1e-9)
    less = mo.optimize("cluster_design", **GIVEN, constraints=[f"facility_power <= {power * 0.99} kW"])
    assert less.metrics["facility_power"].to("kW").magnitude <= power * 0.99
    assert picked(less)[0][2] == "liquid"
    assert less.metrics["tco"] >= mo.optimize("cluster_design", **GIVEN).metrics["tco"]
    with pytest.raises(InfeasibleError):
        mo.optimize("cluster_design", **GIVEN, constraints=["tco <= 100000 USD"])
    green = mo.optimize("cluster_design", **GIVEN, objective="min_operational_carbon")
    assert picked(green)[0][2] == "liquid"
    load = needed(picked(green)[0]) / 3  # type: ignore[arg-type]
    exact = SustainabilityModel().solve(
        fleet=fleet(*(picked(green)[0][at] for at in (0, 1, 3))), duration_days="3 year", utilization=load,
        datacenter="AWS_us_east_1", pue=1.1,
    )  # fmt: skip
    carbon = green.metrics["operational_carbon"].to("kgCO2e").magnitude
    assert carbon == pytest.approx(float(exact.carbon_footprint_kg), rel=1e-9)


def test_as_much_as_a_budget_buys() -> None:
    """Scaled, the portfolio is done as often as the time of the cluster that the budget buys allows."""
    budget = 1.2 * min(tco(item, 1.0) for item in designs(GIVEN))
    solution = mo.optimize(
        "cluster_design", **GIVEN, scaled=True, objective="max_portfolios", constraints=[f"tco <= {budget} USD"]
    )
    best = 0.0
    for item in designs(GIVEN):
        idle, busy = tco(item, 0.0), tco(item, 1.0)
        if idle <= budget and math.isfinite(needed(item)):
            best = max(best, min(3.0, 3 * (budget - idle) / (busy - idle)) / needed(item))
    assert solution.objective.value == pytest.approx(best, rel=1e-8)


def test_slow_storage_makes_training_longer() -> None:
    """One gen-4 drive against eight, for eight accelerators that consume 2 GB/s each: longer by what they wait."""
    rows = [{"name": "one", "storage": "NVMe_Gen4", "count": 1, "price": "500 USD"},
            {"name": "eight", "storage": "NVMe_Gen4", "count": 8, "price": "4000 USD"}]  # fmt: skip
    given = {**GIVEN, "workloads": [{**TRAINING, "data_rate": "2 GB/s"}], "storages": rows, "sizes": [8]}
    given |= {name: GIVEN[name][:1] for name in ("nodes", "fabrics", "coolings")}
    fast = mo.optimize("cluster_design", **given, choices={"storage": "eight"})
    drive = default_catalog().find("storage", "NVMe_Gen4").parameter("read_bandwidth").si
    stall = 1 - min(drive / 8 / 2e9, 1.0)
    assert 0.5 < stall < 0.7
    slow = {**given, "years": 30}
    time = mo.optimize("cluster_design", **slow, choices={"storage": "one"}).metrics["work"].to("year").magnitude
    ratio = min(drive / 2e9, 1.0) / (1 - stall)
    assert time == pytest.approx(fast.metrics["work"].to("year").magnitude * ratio, rel=1e-9)


def test_a_solution_is_asked_again_from_json() -> None:
    given = {**GIVEN, "workloads": [TRAINING], "sizes": [8], "coolings": None}
    solution = mo.optimize("cluster_design", **given)
    again = type(solution).from_json(solution.to_json())
    assert again.verify()["objective"]["value"] == pytest.approx(solution.objective.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workloads": []}, "no rows"),
        ({"workloads": [TRAINING, TRAINING]}, "given twice"),
        ({"workloads": [{**TRAINING, "request_rate": "1 request/s"}]}, "training needs tokens"),
        ({"workloads": [{name: TRAINING[name] for name in TRAINING if name != "seq_len"}]}, "seq_len"),
        ({"workloads": [{name: CHAT[name] for name in CHAT if name != "output_len"}]}, "output_len"),
        ({"workloads": [{**TRAINING, "model": "Llama9"}]}, "Llama9"),
        ({"nodes": [{"node": "DGX_Z"}]}, "DGX_Z"),
        ({"fabrics": [{"fabric": "Avian"}]}, "Avian"),
        ({"coolings": [{"name": "air", "pue": 0.9}]}, "pue"),
        ({"sizes": []}, "empty"),
        ({"years": 0}, "years"),
        ({"years": "3 kg"}, "years"),
        ({"clusters": 0}, "clusters"),
        ({"datacenter": None}, "datacenter"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MlsysimError, match=message):
        mo.optimize("cluster_design", **{**GIVEN, **change})


def test_a_missing_price_is_never_zero() -> None:
    small = {**GIVEN, "workloads": [TRAINING], "sizes": [8], "nodes": GIVEN["nodes"][:1], "coolings": None}
    unpriced = {**small, "fabrics": [{"fabric": "InfiniBand_NDR"}]}
    with pytest.raises(MissingFieldError, match="price"):
        mo.optimize("cluster_design", **unpriced)
    assert mo.optimize("cluster_design", **unpriced, objective="min_nodes_bought").objective.value == 8
    with pytest.raises(InputError, match=r"give embodied_carbon_per_device=\.\.\. in its row of nodes"):
        mo.optimize("cluster_design", **small, objective="min_carbon")
    # 8 nodes of 8 accelerators of 200 kg each, which are the design's for all its years
    stated = {**small, "nodes": [{"node": "DGX_H100", "embodied_carbon_per_device": "200 kgCO2e"}]}
    clean = mo.optimize("cluster_design", **stated, objective="min_carbon")
    assert clean.metrics["embodied_carbon"].m_as("kgCO2e") == pytest.approx(8 * 8 * 200)


def test_the_tables_of_the_page_are_what_runs() -> None:
    page = (Path(__file__).parents[2] / "docs/cluster-design.md").read_text()

    def column(heading: str) -> list[str]:
        section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        return [line.split("|")[1].strip(" `") for line in section.splitlines() if line.startswith("| `")]

    example = {**cluster_design.example, "workloads": cluster_design.example["workloads"][:1], "sizes": [8]}
    problem = cluster_design.problem(example)
    assert Site.__doc__
    assert column("Given") == [item.name for item in cluster_design.inputs]
    assert column("Decisions") == list(problem.decisions)
    assert column("Metrics") == list(problem.metrics)


def test_verify_computes_nested_optima_money_and_carbon_again() -> None:
    plan = mo.optimize("cluster_design", **{**GIVEN, "sizes": [2, 4]})
    assert plan.task is not None
    found = {name: (held, exact) for name, held, exact in plan.task.problem.recheck(plan)}
    assert set(found) == {
        f"max_tokens_per_second of training on {plan.amounts['clusters'][0]['node']}",
        f"min_accelerators of chat on {plan.amounts['clusters'][0]['node']}", "tco",
        "operational_carbon",
    }  # fmt: skip
    for held, exact in found.values():
        assert held == pytest.approx(exact, rel=1e-9)
    assert plan.verify()["constraints_hold"]
    # a nested optimum that says something else than the table that was made of it
    site = plan.task.problem.recheck.__closure__
    nested = next(cell.cell_contents.nested for cell in site if hasattr(cell.cell_contents, "nested"))
    key = next(key for key in nested if key[0] == "chat" and key[1] == plan.amounts["clusters"][0]["node"])
    other = mo.optimize("serving_fleet", model="Llama3_8B", precision="fp16", objective="min_accelerators",
                        traffic=[{name: CHAT[name] for name in ("name", "input_len", "output_len", "itl")}
                                 | {"request_rate": "400 request/s"}],
                        offers=[{"accelerator": nested[key].amounts["replicas"][0]["accelerator"]}])  # fmt: skip
    nested[key] = other
    with pytest.raises(VerificationError, match="min_accelerators of chat"):
        plan.verify()
