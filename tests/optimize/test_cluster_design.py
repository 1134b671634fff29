"""The cluster_design formulation: every design priced by the models of one point, and by hand."""

from __future__ import annotations

import itertools
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlsysim_opt.formulations.cluster_design import cluster_design
from mlsysim_opt.formulations.cluster_site import Site
from scipy.optimize import linprog

import mlsysim_opt as mo
from mlsysim_opt.errors import InfeasibleError, InputError, MissingFieldError, MlsysimError, VerificationError
from mlsysim_opt.physics.economics import EconomicsModel
from mlsysim_opt.physics.sustainability import SustainabilityModel
from mlsysim_opt.registry import default_catalog

YEAR = 31_557_600.0


@pytest.fixture(autouse=True)
def _every_lever_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out that givens are tried for some seconds only: on a busy machine others would be named."""
    monkeypatch.setattr("mlsysim_opt.optimize.coupled.reasons.LEVER_SECONDS", math.inf)


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
    "clusters": 2,
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


def needed(workload: str, design: tuple[str, str, str, int]) -> float:
    node, fabric, _, size = design
    return years_of(workload, node, fabric, size)


def picked(solution: Any) -> dict[str, tuple[Any, ...]]:
    """Return the design of each purpose, where one cluster of each is bought."""
    return {row["purpose"]: tuple(row[name] for name in AXES) for row in solution.amounts["clusters"]}


def test_one_cluster_for_each_purpose_against_every_design() -> None:
    """Of all 24 designs, the cheapest that trains within three years, and the cheapest with room for the service."""
    best = {}
    for workload, purpose in (("training", "training"), ("chat", "serving")):
        years = {item: needed(workload, item) for item in designs(GIVEN)}
        best[purpose] = min((tco(item, took / 3), item, took) for item, took in years.items() if took <= 3)
        assert purpose == "serving" or max(years.values()) > 3, "some are too small"
    solution = mo.optimize("cluster_design", **GIVEN)
    assert solution.metrics["tco"].to("USD").magnitude == pytest.approx(
        sum(price for price, _, _ in best.values()), rel=1e-9
    )
    assert picked(solution) == {purpose: design for purpose, (_, design, _) in best.items()}
    assert solution.metrics["work"].to("year").magnitude == pytest.approx(
        sum(took for _, _, took in best.values()), rel=1e-9
    )
    solution.verify()


def test_what_serves_does_not_train() -> None:
    # 2 DGX A100 are 16 accelerators. The chat keeps 5 of them all the time; 2e12 tokens take the whole cluster for 319
    # days. Together that is 342 + 319 of 1096 days of one cluster, but while it trains nothing would serve.
    one = {"nodes": [{"node": "DGX_A100"}], "fabrics": [{"fabric": "InfiniBand_NDR_4to1", "price": "22000 USD"}],
           "sizes": [2], "years": 3, "datacenter": "AWS_us_east_1"}  # fmt: skip
    training = {**TRAINING, "tokens": "2e12 token", "global_batch_size": 512}
    days = []
    for workload in (training, CHAT):
        alone = mo.optimize("cluster_design", workloads=[workload], **one)
        assert alone.metrics["nodes_bought"] == 2
        days.append(alone.metrics["work"].m_as("day"))
    assert days == pytest.approx([319.28, 5 / 16 * 3 * 365.25], rel=1e-4)
    assert sum(days) < 3 * 365
    with pytest.raises(InputError, match="either trains or serves"):
        mo.optimize("cluster_design", workloads=[training, CHAT], **one)
    both = mo.optimize("cluster_design", workloads=[training, CHAT], clusters=2, **one)
    assert both.metrics["nodes_bought"] == 4
    assert {row["purpose"]: row["amount"] for row in both.amounts["clusters"]} == {"training": 1, "serving": 1}
    assert both.metrics["work"].m_as("day") == pytest.approx(sum(days), rel=1e-9)
    assert both.verify()["constraints_hold"]
    # 7.2 times as many tokens take 2,299 days of a cluster: three of them train, and the chat has the fourth
    large = {**training, "tokens": "14.4e12 token"}
    with pytest.raises(InfeasibleError):
        mo.optimize("cluster_design", workloads=[large, CHAT], clusters=3, **one)
    most = mo.optimize("cluster_design", workloads=[large, CHAT], clusters=4, **one)
    assert {row["purpose"]: row["amount"] for row in most.amounts["clusters"]} == {"training": 3, "serving": 1}


# what lacks -----------------------------------------------------------------------------------------------------------
ALONE: dict[str, Any] = {
    "nodes": [{"node": "DGX_A100"}], "fabrics": [{"fabric": "InfiniBand_NDR_4to1", "price": "22000 USD"}],
    "sizes": [2], "years": 3, "datacenter": "AWS_us_east_1",
}  # fmt: skip


def lacking(*workloads: dict[str, Any], **given: Any) -> tuple[set[str], dict[str, Any]]:
    """Return the conflict, and for each given that could be changed alone, the value that is offered."""
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize("cluster_design", workloads=list(workloads), **{**ALONE, **given})
    ways = {way.constraint: way.amount for way in caught.value.relaxations}
    assert len(ways) == len(caught.value.relaxations)
    return set(caught.value.conflict), {name: None if way is None else way.value for name, way in ways.items()}


def test_too_few_clusters_or_years_are_named_with_what_would_do() -> None:
    # 14.4e12 tokens take 2,299 days of a cluster of two DGX A100. The chat has one, so one that trains is left of two:
    # it takes 2299 / 365.25 = 6.294 years; in 3 years of 1,096 days, three that train do it, which are four in all.
    large = {**TRAINING, "tokens": "14.4e12 token", "global_batch_size": 512}
    chat = {**CHAT, "name": "chat"}
    conflict, ways = lacking(large, chat, clusters=2)
    assert conflict == {"training gets its share", "clusters = 2", "years = 3 year", "sizes = 2"}
    assert ways["clusters"] == 4
    assert ways["years"] == pytest.approx(2298.8 / 365.25, rel=1e-4)
    assert ways["training gets its share"] == pytest.approx(1 - 3 * 365.25 / 2298.8, rel=1e-4)
    for change in ({"clusters": 4}, {"years": ways["years"]}, {"sizes": [2, int(ways["sizes"])]}):
        asked = {**ALONE, "clusters": 2, **change}
        assert mo.optimize("cluster_design", workloads=[large, chat], **asked).status == "optimal"
    # nor would a little less do
    for change in ({"clusters": 3}, {"years": ways["years"] * 0.9999}):
        lacking(large, chat, **{"clusters": 2, **change})


def test_a_service_lacks_clusters_or_size_but_no_years() -> None:
    # a hundred times the requests take hundreds of accelerators for any number of years
    rate = {**CHAT, "request_rate": "4000 request/s"}
    conflict, ways = lacking(rate)
    assert not any(name.startswith("years") for name in conflict)
    assert "chat gets its share" in conflict
    needed = mo.optimize("cluster_design", workloads=[rate], **{**ALONE, "clusters": 100}, objective="min_work")
    days = needed.metrics["work"].m_as("day")  # a cluster stands for 3 years
    assert ways["clusters"] == math.ceil(days / (3 * 365.25))


def test_a_promise_that_no_server_keeps_is_named_by_its_service() -> None:
    conflict, ways = lacking({**CHAT, "itl": "1 us"}, {**TRAINING, "tokens": "1e10 token"}, clusters=2)
    assert conflict == {"chat gets its share", "itl of chat = 0.001 ms"}
    (least,) = ways.values()
    kept = {**ALONE, "workloads": [{**CHAT, "itl": f"{least!r} ms"}]}
    assert mo.optimize("cluster_design", **kept).status == "optimal"
    with pytest.raises(InfeasibleError, match=r"it cannot run: on DGX_A100: .*itl as promised"):
        mo.optimize("cluster_design", workloads=[{**CHAT, "itl": "1 us", "ttft": "1 us"}], **ALONE)


def test_a_model_that_fits_no_size_is_named_with_one_that_it_fits() -> None:
    conflict, ways = lacking({**TRAINING, "model": "Llama3_70B", "tokens": "1e9 token"}, sizes=[1])
    assert conflict == {"training gets its share", "sizes = 1"}
    larger = {**ALONE, "sizes": [1, int(ways["sizes"])]}
    fits = {**TRAINING, "model": "Llama3_70B", "tokens": "1e9 token"}
    assert mo.optimize("cluster_design", workloads=[fits], **larger).status == "optimal"


def test_three_clusters_against_every_set_of_three() -> None:
    """For every set of designs of which some train and some serve: the best shares of each, by a linear program."""
    given = {**GIVEN, "coolings": GIVEN["coolings"][1:], "fabrics": GIVEN["fabrics"][1:], "clusters": 3}
    every = designs(given)

    alike = itertools.combinations_with_replacement

    def least(workload: str, items: tuple[Any, ...]) -> float:
        times = np.array([needed(workload, item) for item in items])
        if not np.isfinite(times).all():
            return math.inf
        slope = np.array([(tco(item, 1.0) - tco(item, 0.0)) / 3 for item in items])
        found = linprog(times * slope, A_ub=np.diag(times), b_ub=[3] * len(items), A_eq=[[1] * len(items)], b_eq=[1])
        return float(found.fun) + sum(tco(item, 0.0) for item in items) if found.status == 0 else math.inf

    cheapest = {
        (workload, count): min(least(workload, items) for items in alike(every, count))
        for workload in ("training", "chat") for count in (1, 2)
    }  # fmt: skip
    best = min(cheapest["training", one] + cheapest["chat", two] for one, two in ((1, 1), (1, 2), (2, 1)))
    solution = mo.optimize("cluster_design", **given)
    assert solution.metrics["tco"].to("USD").magnitude == pytest.approx(best, rel=1e-8)
    assert mo.optimize("cluster_design", **given, prune=False).objective.value == pytest.approx(
        solution.objective.value, rel=1e-9
    )


def test_power_carbon_and_budget_limit_the_choice() -> None:
    free = mo.optimize("cluster_design", **GIVEN, choices={"cooling": "air"})
    power = free.metrics["facility_power"].to("kW").magnitude
    expected = [
        SustainabilityModel().solve(
            fleet=fleet(node, fabric, size), duration_days="3 year", datacenter="AWS_us_east_1", pue=PUES[cooling]
        ).it_power.to("kW").magnitude * PUES[cooling]
        for node, fabric, cooling, size in picked(free).values()
    ]  # fmt: skip
    assert power == pytest.approx(sum(expected), rel=1e-9)
    less = mo.optimize("cluster_design", **GIVEN, constraints=[f"facility_power <= {power * 0.99} kW"])
    assert less.metrics["facility_power"].to("kW").magnitude <= power * 0.99
    assert "liquid" in [item[2] for item in picked(less).values()]
    assert less.metrics["tco"] >= mo.optimize("cluster_design", **GIVEN).metrics["tco"]
    with pytest.raises(InfeasibleError):
        mo.optimize("cluster_design", **GIVEN, constraints=["tco <= 100000 USD"])
    green = mo.optimize("cluster_design", **GIVEN, objective="min_operational_carbon")
    exact = 0.0
    for workload, purpose in (("training", "training"), ("chat", "serving")):
        design: Any = picked(green)[purpose]
        assert design[2] == "liquid"
        found = SustainabilityModel().solve(
            fleet=fleet(*(design[at] for at in (0, 1, 3))), duration_days="3 year",
            utilization=needed(workload, design) / 3, datacenter="AWS_us_east_1", pue=1.1,
        )  # fmt: skip
        exact += float(found.carbon_footprint_kg)
    carbon = green.metrics["operational_carbon"].to("kgCO2e").magnitude
    assert carbon == pytest.approx(exact, rel=1e-9)


def test_as_much_as_a_budget_buys() -> None:
    """Scaled, the portfolio is done as often as the time of the two clusters that the budget buys allows."""
    budget = 2.2 * min(tco(item, 1.0) for item in designs(GIVEN))
    solution = mo.optimize(
        "cluster_design", **GIVEN, scaled=True, objective="max_portfolios", constraints=[f"tco <= {budget} USD"]
    )
    best = 0.0
    for pair in itertools.product(designs(GIVEN), repeat=2):
        times = [needed(name, item) for name, item in zip(("training", "chat"), pair, strict=True)]
        idle = sum(tco(item, 0.0) for item in pair)
        if idle <= budget and math.isfinite(sum(times)):
            # one more portfolio makes each cluster work for its time, and that costs what work adds to its total cost
            each = sum((tco(item, 1.0) - tco(item, 0.0)) * time / 3 for item, time in zip(pair, times, strict=True))
            best = max(best, min(3 / max(times), (budget - idle) / each))
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
    node = {row["purpose"]: row["node"] for row in plan.amounts["clusters"]}
    assert set(found) == {
        f"max_tokens_per_second of training on {node['training']}",
        f"min_accelerators of chat on {node['serving']}", "tco",
        "operational_carbon",
    }  # fmt: skip
    for held, exact in found.values():
        assert held == pytest.approx(exact, rel=1e-9)
    assert plan.verify()["constraints_hold"]
    # a nested optimum that says something else than the table that was made of it
    site = plan.task.problem.recheck.__closure__
    nested = next(cell.cell_contents.nested for cell in site if hasattr(cell.cell_contents, "nested"))
    key = next(key for key in nested if key[0] == "chat" and key[1] == node["serving"])
    other = mo.optimize("serving_fleet", model="Llama3_8B", precision="fp16", objective="min_accelerators",
                        traffic=[{name: CHAT[name] for name in ("name", "input_len", "output_len", "itl")}
                                 | {"request_rate": "400 request/s"}],
                        offers=[{"accelerator": nested[key].amounts["replicas"][0]["accelerator"]}])  # fmt: skip
    nested[key] = other
    with pytest.raises(VerificationError, match="min_accelerators of chat"):
        plan.verify()
