"""The serving_fleet formulation: published and hand-worked mixes, independent brute force, physics, faults."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlsysim_opt.formulations.serving_fleet import serving_fleet
from scipy.optimize import Bounds, LinearConstraint, milp

import mlsysim_opt as mo
from mlsysim_opt.cli import main
from mlsysim_opt.errors import InfeasibleError, InputError, MissingFieldError, MlsysimError
from mlsysim_opt.optimize import formulation
from mlsysim_opt.physics.capacity import ServingCapacityModel
from mlsysim_opt.registry import default_catalog

# The example of Griggs et al. 2024 (Melange, arXiv 2404.14527): four sizes of requests, 30 a second in all; requests
# per second of one GPU by size; USD per hour.
SIZES = ("short", "long answer", "long prompt", "long both")
MELANGE: dict[str, Any] = {
    "traffic": [
        {"name": name, "request_rate": 30 * share} for name, share in zip(SIZES, (0.2, 0.1, 0.5, 0.2), strict=True)
    ],
    "measured": [
        {"accelerator": gpu, "name": name, "request_rate": rate}
        for gpu, rates in (("A10G", (2, 1, 5, 2)), ("A100-80GB", (20, 20, 40, 20)))
        for name, rate in zip(SIZES, rates, strict=True)
    ],
    "offers": [
        {"accelerator": "A10G", "price": "1.01 USD/h"},
        {"accelerator": "A100-80GB", "price": "3.67 USD/h"},
    ],
}


def cost(solution: Any) -> float:
    return float(solution.metrics["cost"].to("USD/h").magnitude)


def counts(solution: Any, axis: str = "replica") -> dict[str, int]:
    found: dict[str, int] = {}
    for row in solution.amounts["replicas"]:
        found[row[axis]] = found.get(row[axis], 0) + row["amount"]
    return found


def test_melanges_published_example() -> None:
    """With whole buckets: all on one A100 is 0.3 + 0.15 + 0.375 + 0.3 = 1.125 replicas, so a second A100 (7.34), or one
    bucket on A10Gs; each of them takes three: 3 x 1.01 + 3.67 = 6.70 USD/h, as published."""
    solution = mo.optimize("serving_fleet", **MELANGE, slices=1)
    assert counts(solution) == {"A10G": 3, "A100-80GB": 1}
    assert cost(solution) == pytest.approx(6.70, rel=1e-12)


def test_divisible_load_is_cheaper() -> None:
    """0.125 of an A100's work is 5 requests/s of long prompts, which is one A10G: 1.01 + 3.67 = 4.68 USD/h."""
    solution = mo.optimize("serving_fleet", **MELANGE)
    assert counts(solution) == {"A10G": 1, "A100-80GB": 1}
    assert cost(solution) == pytest.approx(4.68, rel=1e-12)
    assert solution.verify()["constraints_hold"]


def test_availability_is_kept() -> None:
    """Without any A100 each A10G takes its share: 3 + 3 + 3 + 3 = 12 of them; with only 11, nothing is possible."""
    offers = [{**MELANGE["offers"][0], "available": 12}, {**MELANGE["offers"][1], "available": 0}]
    assert cost(mo.optimize("serving_fleet", **{**MELANGE, "offers": offers})) == pytest.approx(12 * 1.01)
    offers[0]["available"] = 11
    with pytest.raises(InfeasibleError):
        mo.optimize("serving_fleet", **{**MELANGE, "offers": offers})


ONE: dict[str, Any] = {
    "traffic": [{"name": "chat", "request_rate": "10 request/s"}],
    "measured": [{"accelerator": "H100", "request_rate": 2, "devices": 2}],
    "offers": [{"accelerator": "H100", "price": "3 USD/h"}],
}


@pytest.mark.parametrize(
    ("change", "replicas", "price"),
    [
        ({}, 5, 30.0),  # 10 / 2 = 5 replicas of two accelerators at 3 USD/h
        ({"utilization": 0.8}, 7, 42.0),  # 10 / (2 x 0.8) = 6.25
        ({"spare": 2}, 7, 42.0),
        ({"utilization": 0.8, "spare": 1}, 8, 48.0),
        ({"served_share": 0.55}, 3, 18.0),  # 5.5 / 2 = 2.75
        # Four reserved accelerators at 1 USD/h are two replicas; three more at 3 USD/h.
        (
            {"offers": [{"accelerator": "H100", "price": "3 USD/h"},
                        {"accelerator": "H100", "plan": "reserved", "price": "1 USD/h", "available": 5}]}, 5, 22.0,
        ),
        # Spot at 2 USD/h is up 0.7 of the time, 2.86 USD/h for what 3 USD/h buys, but whole replicas decide: 8 of spot
        # (5.6 x 2 >= 10) are 32 USD/h, 4 on demand and 2 of spot 32, 5 on demand 30.
        (
            {"offers": [{"accelerator": "H100", "price": "3 USD/h"},
                        {"accelerator": "H100", "plan": "spot", "price": "2 USD/h", "uptime": 0.7}]}, 5, 30.0,
        ),
        # At 0.9: 6 of spot are 24 USD/h (5.4 x 2 >= 10).
        (
            {"offers": [{"accelerator": "H100", "price": "3 USD/h"},
                        {"accelerator": "H100", "plan": "spot", "price": "2 USD/h", "uptime": 0.9}]}, 6, 24.0,
        ),
    ],
)  # fmt: skip
def test_one_kind_by_hand(change: dict[str, Any], replicas: int, price: float) -> None:
    solution = mo.optimize("serving_fleet", **{**ONE, **change})
    assert sum(counts(solution).values()) == replicas
    assert cost(solution) == pytest.approx(price, rel=1e-12)


def test_costs_by_request_may_be_limited_though_a_choice_is_called_request() -> None:
    """5 replicas of two accelerators at 3 USD/h for 10 requests/s: 3 USD/h for a request/s."""
    kept = mo.optimize("serving_fleet", **ONE, constraints=["cost / request_rate <= 3.01 USD/h/request*s"])
    assert cost(kept) == pytest.approx(30, rel=1e-12)
    with pytest.raises(InfeasibleError):
        mo.optimize("serving_fleet", **ONE, constraints=["cost / request_rate <= 2.99 USD/h/request*s"])
    assert cost(mo.optimize("serving_fleet", **ONE, objective="cost + 1 USD/request * request_rate")) == cost(kept)


def test_a_share_of_spot_is_a_constraint_on_metrics() -> None:
    offers = [{"accelerator": "H100", "price": "3 USD/h"}, {"accelerator": "H100", "plan": "spot", "price": "1 USD/h"}]
    limited = mo.optimize(
        "serving_fleet", **{**ONE, "offers": offers}, constraints=["accelerators_spot <= 0.4 * accelerators"]
    )
    assert counts(limited, "plan") == {"on_demand": 3, "spot": 2}


# brute force ----------------------------------------------------------------------------------------------------------
def instance(seed: int) -> dict[str, Any]:
    """Return a random small problem: requests, origins, sites, kinds of replicas, promises, plans, and limits."""
    rng = random.Random(seed)
    names, origins, sites = "abc"[: rng.randint(1, 3)], "EU"[: rng.randint(1, 2)], ("AWS_us_east_1", "AWS_eu_west_1")
    sites = sites[: rng.randint(1, 2)]
    kinds = [("X", 1), ("Y", rng.choice((1, 2, 4)))][: rng.randint(1, 2)]
    traffic = [
        {"name": name, "origin": origin, "request_rate": rng.randint(1, 9),
         **({"ttft": "250 ms"} if name == "a" else {})}
        for name in names for origin in origins if rng.random() < 0.8 or (name, origin) == ("a", "E")
    ]  # fmt: skip
    used = {row["name"] for row in traffic}
    return {
        "traffic": traffic,
        "measured": [
            {"accelerator": kind, "devices": size, "name": name, "request_rate": rng.randint(1, 6),
             "ttft": f"{rng.choice((100, 150, 200))} ms"}
            for kind, size in kinds for name in sorted(used)
        ],
        "offers": [
            {"accelerator": kind, "site": site, "price": f"{rng.randint(1, 9)} USD/h",
             **({"available": rng.randint(2, 12)} if rng.random() < 0.4 else {})}
            for kind, _ in kinds for site in sites
        ],
        "round_trip": [
            {"origin": a, "site": b, "time": f"{rng.choice((0, 40, 80))} ms"} for a in origins for b in sites
        ],
    }  # fmt: skip


def number(text: Any) -> float:
    return float(str(text).split()[0])


def options(given: dict[str, Any]) -> tuple[list[dict[str, Any]], list[list[float]]]:
    """Return the offers, and for each row of traffic the rate of one replica of each offer (0: not allowed)."""
    speed = {(row["accelerator"], row["name"]): row for row in given["measured"]}
    trip = {(row["origin"], row["site"]): number(row["time"]) for row in given["round_trip"]}
    rates = []
    for row in given["traffic"]:
        line = []
        for offer in given["offers"]:
            measured = speed[offer["accelerator"], row["name"]]
            ttft = number(measured["ttft"]) + trip[row["origin"], offer["site"]]
            line.append(0.0 if "ttft" in row and ttft > 250 else float(measured["request_rate"]))
        rates.append(line)
    return given["offers"], rates


def price_of(given: dict[str, Any], loads: list[float]) -> float:
    """Return what whole replicas for these loads cost; infinite where there are not enough accelerators."""
    size = {row["accelerator"]: row["devices"] for row in given["measured"]}
    total = 0.0
    for offer, load in zip(given["offers"], loads, strict=True):
        devices = math.ceil(load - 1e-9) * size[offer["accelerator"]]
        if devices > offer.get("available", math.inf):
            return math.inf
        total += devices * number(offer["price"])
    return total


def cheapest_by_enumeration(given: dict[str, Any], slices: int) -> float:
    offers, rates = options(given)
    ways = []
    for row, line in zip(given["traffic"], rates, strict=True):
        part = row["request_rate"] / slices
        fitting = [at for at, rate in enumerate(line) if rate > 0]
        mine = []
        for places in itertools.combinations_with_replacement(fitting, slices):
            load = [0.0] * len(offers)
            for at in places:
                load[at] += part / line[at]
            mine.append(load)
        ways.append(mine)
    best = math.inf
    for chosen in itertools.product(*ways):
        best = min(best, price_of(given, [sum(column) for column in zip(*chosen, strict=True)]))
    return best


def cheapest_by_compact_program(given: dict[str, Any]) -> float:
    """Return the optimum of divisible load by a program written by hand for SciPy: shares, then whole replicas."""
    offers, rates = options(given)
    size = {row["accelerator"]: row["devices"] for row in given["measured"]}
    rows, kinds = len(rates), len(offers)
    prices = np.array([number(item["price"]) * size[item["accelerator"]] for item in offers])
    c = np.concatenate([np.zeros(rows * kinds), prices])
    whole = np.concatenate([np.zeros(rows * kinds), np.ones(kinds)])
    high = np.concatenate([
        [1.0 if rate > 0 else 0.0 for line in rates for rate in line],
        [item.get("available", 10**6) // size[item["accelerator"]] for item in offers],
    ])  # fmt: skip
    shares = np.zeros((rows, len(c)))
    loads = np.zeros((kinds, len(c)))
    for r, line in enumerate(rates):
        shares[r, r * kinds : (r + 1) * kinds] = 1
        for k, rate in enumerate(line):
            loads[k, r * kinds + k] = given["traffic"][r]["request_rate"] / rate if rate else 0
    loads[:, rows * kinds :] = -np.eye(kinds)
    found = milp(
        c, integrality=whole, bounds=Bounds(0, high),
        constraints=[LinearConstraint(shares, 1, 1), LinearConstraint(loads, -np.inf, 0)],
    )  # fmt: skip
    return math.inf if found.x is None else float(found.fun)


def ours(given: dict[str, Any], **more: Any) -> float:
    try:
        solution = mo.optimize("serving_fleet", **given, **more)
    except InfeasibleError:
        return math.inf
    assert solution.status == "optimal"
    solution.verify()
    return cost(solution)


@pytest.mark.parametrize("seed", range(40))
def test_whole_parts_against_enumeration(seed: int) -> None:
    given, slices = instance(seed), 1 + seed % 2
    assert ours(given, slices=slices) == pytest.approx(cheapest_by_enumeration(given, slices), rel=1e-9)


@pytest.mark.parametrize("seed", range(40, 80))
def test_divisible_load_against_a_compact_program(seed: int) -> None:
    given = instance(seed)
    found = ours(given)
    assert found == pytest.approx(cheapest_by_compact_program(given), rel=1e-9)
    assert found <= ours(given, slices=3) * (1 + 1e-9), "a divisible load is never dearer than one in parts"


@pytest.mark.parametrize("seed", range(80, 92))
def test_pruning_changes_nothing(seed: int) -> None:
    given = instance(seed)
    assert ours(given, prune=False) == pytest.approx(ours(given), rel=1e-9)


# physics --------------------------------------------------------------------------------------------------------------
MODELLED: dict[str, Any] = {
    "model": "Llama3_8B",
    "precision": ["fp16", "fp8"],
    "traffic": [{"name": "chat", "input_len": 500, "output_len": 250, "request_rate": "100 request/s", "ttft": "150 ms",
                 "itl": "30 ms"}],
    "offers": [{"accelerator": "H100", "price": "2.5 USD/h"}, {"accelerator": "A100", "price": "1.4 USD/h"}],
    "tp_size": [1, 2],
    "concurrency": [16, 64],
    "utilization": [0.6, 0.9],
}  # fmt: skip
PRICE = {"H100": 2.5, "A100": 1.4}


def replica(accelerator: str, precision: str, tp_size: int, concurrency: int, utilization: float) -> Any:
    """Return a replica at a utilization, by the model of one point."""

    def at(qps: float) -> Any:
        return ServingCapacityModel().solve(
            model="Llama3_8B", hardware=accelerator, precision=precision, tp_size=tp_size, max_batch_size=concurrency,
            max_seq_len=750, output_tokens=250, num_replicas=1, qps=f"{qps!r} 1/s", target_p99_latency_ms="1 s",
        )  # fmt: skip

    full = float(at(1.0).per_replica_qps_capacity.to("1/s").magnitude)
    return full, at(full * utilization)


def test_modelled_replicas_against_a_knapsack() -> None:
    """Each kind of replica by the model of one point; the cheapest multiset by a table over tenths of requests."""
    kinds = []
    for accelerator, precision, tp, places, load in itertools.product(
        PRICE, ("fp16", "fp8"), (1, 2), (16, 64), (0.6, 0.9)
    ):
        try:
            full, found = replica(accelerator, precision, tp, places, load)
        except MlsysimError:
            assert (accelerator, precision) == ("A100", "fp8")
            continue
        ttft = float((found.ttft + found.queue_wait_p99).to("ms").magnitude)
        if ttft <= 150 and float(found.itl.to("ms").magnitude) <= 30:
            kinds.append((load * full, PRICE[accelerator] * tp))
    steps = 100_000
    best = [0.0] + [math.inf] * steps
    for have in range(1, steps + 1):
        for rate, price in kinds:
            best[have] = min(best[have], price + best[max(0, have - math.floor(rate * 1000))])
    solution = mo.optimize("serving_fleet", **MODELLED)
    assert 0 < len(kinds) < 24, "some kinds break a promise"
    assert cost(solution) == pytest.approx(best[steps], rel=1e-9)


def test_latencies_are_those_of_the_model() -> None:
    picked = {"accelerator": "H100", "precision": "fp8", "tp_size": 2, "concurrency": 64, "utilization": 0.9}
    traffic = [{**MODELLED["traffic"][0], "ttft": "1 s"}]
    solution = mo.optimize("serving_fleet", **{**MODELLED, "traffic": traffic}, choices=picked)
    full, found = replica("H100", "fp8", 2, 64, 0.9)
    assert counts(solution, "accelerator") == {"H100": math.ceil(100 / (0.9 * full))}
    expected = (found.ttft + found.queue_wait_p99).to("ms").magnitude
    assert solution.metrics["worst_ttft"].to("ms").magnitude == pytest.approx(expected, rel=1e-9)
    latency = found.estimated_p99_latency.to("s").magnitude
    assert solution.metrics["worst_latency"].to("s").magnitude == pytest.approx(latency, rel=1e-9)


def test_latencies_may_be_constrained_by_name() -> None:
    """The same limits, promised in the traffic or asked for as constraints, give the same fleet."""
    traffic = [{name: value for name, value in MODELLED["traffic"][0].items() if name not in ("ttft", "itl")}]
    asked = mo.optimize(
        "serving_fleet", **{**MODELLED, "traffic": traffic}, constraints=["ttft <= 150 ms", "itl <= 30 ms"]
    )
    assert cost(asked) == pytest.approx(cost(mo.optimize("serving_fleet", **MODELLED)), rel=1e-9)
    assert asked.metrics["worst_ttft"].to("ms").magnitude <= 150 * (1 + 1e-9)


def test_the_network_is_part_of_the_promise() -> None:
    """The cheap site is 100 ms away: with it the first token would come after 150 ms."""
    offers = [
        {"accelerator": "H100", "site": "AWS_us_east_1", "price": "2 USD/h"},
        {"accelerator": "H100", "site": "AWS_eu_west_1", "price": "3 USD/h"},
    ]
    trips = [{"origin": "Europe", "site": "AWS_us_east_1", "time": "100 ms"},
             {"origin": "Europe", "site": "AWS_eu_west_1", "time": "10 ms"}]  # fmt: skip
    traffic = [{**MODELLED["traffic"][0], "origin": "Europe"}]
    given = {**MODELLED, "offers": offers, "round_trip": trips, "traffic": traffic}
    assert set(counts(mo.optimize("serving_fleet", **given), "site")) == {"AWS_eu_west_1"}
    relaxed = {**given, "traffic": [{**traffic[0], "ttft": "400 ms"}]}
    assert set(counts(mo.optimize("serving_fleet", **relaxed), "site")) == {"AWS_us_east_1"}


def test_carbon_is_power_by_place() -> None:
    given = {**ONE, "offers": [{"accelerator": "H100", "site": "AWS_us_east_1"}]}
    given["measured"] = [{**ONE["measured"][0], "power": "2 kW"}]
    solution = mo.optimize("serving_fleet", **given, objective="min_carbon")
    entry = default_catalog().find("datacenter", "AWS_us_east_1")
    with pytest.raises(InputError, match="site"):
        mo.optimize("serving_fleet", **{**given, "offers": ONE["offers"]}, objective="min_carbon")
    kilowatts = 5 * 2.0 * entry.parameter("pue").si
    per_hour = kilowatts * entry.parameter("carbon_intensity").si * 3.6e6
    assert solution.metrics["facility_power"].to("kW").magnitude == pytest.approx(kilowatts)
    assert solution.metrics["carbon"].to("kgCO2e/h").magnitude == pytest.approx(per_hour)


def test_the_largest_share_in_use_is_made_small() -> None:
    """Six replicas over sites with 4 and 8 accelerators: 2 and 4 are half of each; any other split is more of one."""
    given = {
        "traffic": [{"name": "chat", "request_rate": 6}],
        "measured": [{"accelerator": "H100", "request_rate": 1}],
        "offers": [
            {"accelerator": "H100", "site": "AWS_us_east_1", "price": "1 USD/h", "available": 4},
            {"accelerator": "H100", "site": "AWS_eu_west_1", "price": "9 USD/h", "available": 8},
        ],
    }
    solution = mo.optimize("serving_fleet", **given, objective="min_max_site_utilization")
    assert counts(solution, "site") == {"AWS_us_east_1": 2, "AWS_eu_west_1": 4}
    assert cost(mo.optimize("serving_fleet", **given)) == pytest.approx(4 + 2 * 9)


def test_cost_per_token_is_a_ratio() -> None:
    """At least half of 10 requests/s: one replica carries 6 for 4 USD/h, two carry 10 for 8: 4 / 6 < 8 / 10."""
    given = {
        "traffic": [{"name": "chat", "input_len": 10, "output_len": 100, "request_rate": 10}],
        "measured": [{"accelerator": "H100", "request_rate": 6}],
        "offers": [{"accelerator": "H100", "price": "4 USD/h"}],
    }
    solution = mo.optimize("serving_fleet", **given, served_share=0.5, objective="min_cost_per_million_tokens")
    assert solution.objective.value == pytest.approx(4 / 3600 / (6 * 100) * 1e6, rel=1e-9)
    assert solution.metrics["request_rate"].to("request/s").magnitude == pytest.approx(6)


# requests and files ---------------------------------------------------------------------------------------------------
def test_a_solution_is_asked_again_from_json() -> None:
    for given in (MELANGE, MODELLED, instance(1)):
        solution = mo.optimize("serving_fleet", **given)
        again = type(solution).from_json(solution.to_json())
        assert again.verify()["objective"]["value"] == pytest.approx(solution.objective.value)
    assert formulation("serving_fleet") is serving_fleet


def test_tables_may_be_files(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "traffic.csv").write_text("name,request_rate [request/min]\nchat,600\n")
    (tmp_path / "measured.csv").write_text("accelerator,devices,request_rate\nH100,2,2\n")
    (tmp_path / "offers.csv").write_text("accelerator,price [USD/h],available\nH100,3,\n")
    sets = [f"--set={name}={tmp_path / name}.csv" for name in ("traffic", "measured", "offers")]
    assert main(["optimize", "serving_fleet", *sets, "--objective", "min_cost"]) == 0
    assert "30" in capsys.readouterr().out


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in MODELLED.items() if name != key}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**ONE, "traffic": []}, "no rows"),
        ({**ONE, "traffic": "missing.csv"}, "missing.csv"),
        ({**ONE, "traffic": 5}, "expected rows"),
        ({**ONE, "traffic": [{"name": "chat"}]}, "request_rate is missing"),
        ({**ONE, "traffic": [{"name": "chat", "request_rate": -1}]}, "request_rate"),
        ({**ONE, "traffic": [{"name": "chat", "request_rate": "3 GB"}]}, "request_rate"),
        ({**ONE, "traffic": [{"name": "chat\x1b[2J", "request_rate": 1}]}, "no name"),
        ({**ONE, "traffic": [{"name": "chat", "rate": 1}]}, "column of traffic"),
        ({**ONE, "traffic": ONE["traffic"] * 2}, "given twice"),
        ({**ONE, "traffic": [*ONE["traffic"], {"name": "chat", "request_rate": 1, "itl": "5 ms"}]}, "'chat' have"),
        ({**ONE, "traffic": [{**ONE["traffic"][0], "ttft": "5 ms"}]}, "ttft"),
        ({**ONE, "traffic": [{**ONE["traffic"][0], "origin": "Europe"}]}, "round_trip"),
        ({**ONE, "offers": ONE["offers"] * 2}, "offered twice"),
        ({**ONE, "offers": [{"accelerator": "H100", "site": "Atlantis"}]}, "Atlantis"),
        ({**ONE, "offers": [{"accelerator": "H100", "price": "Purchase_H100"}]}, "Purchase_H100"),
        ({**ONE, "offers": [{"accelerator": "H100", "price": "1 USD/h", "uptime": 0}]}, "uptime"),
        ({**ONE, "measured": ONE["measured"] * 2}, "measured twice"),
        ({**ONE, "measured": [{"accelerator": "H100", "name": "other", "request_rate": 1}]}, "with chat"),
        ({**ONE, "model": "Llama3_8B"}, "give one"),
        ({**ONE, "slices": 0}, "slices"),
        ({**ONE, "utilization": 1.5}, "utilization"),
        ({**MODELLED, "offers": [{"accelerator": "H1000", "price": "1 USD/h"}]}, "H1000"),
        ({**MODELLED, "precision": "int2"}, "int2"),
        ({**MODELLED, "precision": "fp8", "offers": MODELLED["offers"][1:]}, "fp8"),
        (without("precision"), "precision"),
        (without("model"), "model"),
        ({**MODELLED, "traffic": [{"name": "chat", "request_rate": 1}]}, "output_len"),
        ({**MODELLED, "concurrency": []}, "empty"),
    ],
)  # fmt: skip
def test_bad_input_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MlsysimError, match=message):
        mo.optimize("serving_fleet", **given)


@pytest.mark.parametrize(
    ("objective", "message"),
    [("min_carbon", "site"), ("min_power", "power"), ("min_worst_ttft", "ttft"),
     ("min_cost_per_million_tokens", "output_len"), ("min_max_site_utilization", "available")],
)  # fmt: skip
def test_what_a_metric_needs_is_an_error_until_it_is_given(objective: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mo.optimize("serving_fleet", **ONE, objective=objective)


def test_a_missing_price_is_never_zero() -> None:
    with pytest.raises(MissingFieldError, match="price"):
        mo.optimize("serving_fleet", **{**ONE, "offers": [{"accelerator": "H100"}]})
    free = mo.optimize("serving_fleet", **{**ONE, "offers": [{"accelerator": "H100"}]}, objective="min_accelerators")
    assert free.objective.value == 10


def test_a_promise_that_nothing_keeps_is_infeasible() -> None:
    with pytest.raises(InfeasibleError):
        mo.optimize("serving_fleet", **{**MODELLED, "traffic": [{**MODELLED["traffic"][0], "ttft": "1 ms"}]})


def test_a_promise_is_kept_where_nothing_is_left_to_choose() -> None:
    """One kind of request and one kind of replica: the promise depends on no choice, and still decides."""
    given = {**ONE, "measured": [{**ONE["measured"][0], "ttft": "200 ms"}]}
    kept = {**given, "traffic": [{**ONE["traffic"][0], "ttft": "200 ms"}]}
    assert cost(mo.optimize("serving_fleet", **kept)) == pytest.approx(30)
    with pytest.raises(InfeasibleError):
        mo.optimize("serving_fleet", **{**given, "traffic": [{**ONE["traffic"][0], "ttft": "199 ms"}]})


# ways out -------------------------------------------------------------------------------------------------------------
def ways(given: dict[str, Any]) -> dict[str, float]:
    """Return the conflict of a question without fleets, each constraint with the least it must give way by."""
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize("serving_fleet", **given)
    found = {way.constraint: way.amount.si for way in caught.value.relaxations if way.amount is not None}
    assert set(found) == set(caught.value.conflict)
    return found


def kinds(traffic: float, available: int, *replicas: tuple[int, int]) -> dict[str, Any]:
    """Return traffic in requests/s with so many accelerators, and replicas as (accelerators, requests/s)."""
    return {
        "traffic": [{"name": "chat", "request_rate": traffic}],
        "measured": [{"accelerator": "H100", "configuration": f"tp{n}", "devices": n, "request_rate": rate}
                     for n, rate in replicas],
        "offers": [{"accelerator": "H100", "price": "2 USD/h", "available": available}],
    }  # fmt: skip


def test_the_least_more_accelerators_by_hand() -> None:
    """Ten replicas of one serve 10/s: of 9 accelerators 1 is missing, of 3 there are 7, which are 7 requests/s."""
    for available in (9, 3):
        least = ways(kinds(10, available, (1, 1), (4, 2)))
        assert least == pytest.approx({"H100 available": 10 - available, "all requests are served": 10 - available})
    # a replica takes 8 of the 4 that there are: not one fits, and availability is why
    assert ways(kinds(10, 4, (8, 20))) == pytest.approx({"H100 available": 4, "all requests are served": 10})


@pytest.mark.parametrize("seed", range(20))
def test_the_least_more_accelerators_is_that_of_counting(seed: int) -> None:
    """At two sites, each with as many more: the least for which the most that both serve is the traffic."""
    dice = random.Random(seed)
    rows = [(dice.choice((1, 2, 3, 4, 8)), dice.randint(1, 9)) for _ in range(3)]
    sites, traffic = (dice.randint(0, 6), dice.randint(0, 6)), dice.randint(5, 40)

    def most(devices: int) -> int:
        best = [0] * (devices + 1)
        for n in range(1, devices + 1):
            best[n] = max([best[n - 1], *(best[n - size] + rate for size, rate in rows if size <= n)])
        return best[devices]

    def served(more: int) -> int:
        return sum(most(here + more) for here in sites)

    given = kinds(traffic, 0, *dict(rows).items())
    rows = list(dict(rows).items())
    given["offers"] = [{"accelerator": "H100", "site": site, "price": "2 USD/h", "available": here}
                       for site, here in zip(("AWS_us_east_1", "AWS_us_east_2"), sites, strict=True)]  # fmt: skip
    least = next(more for more in itertools.count() if served(more) >= traffic)
    if not least:
        assert mo.optimize("serving_fleet", **given).status == "optimal"
        return
    assert ways(given) == pytest.approx({"H100 available": least, "all requests are served": traffic - served(0)})


def test_the_least_more_accelerators_of_the_model_do() -> None:
    """With as many more the traffic is served, with one fewer it is not."""
    given = {**MODELLED, "traffic": [{**MODELLED["traffic"][0], "request_rate": "300 request/s"}]}
    name = given["offers"][0]["accelerator"]

    def offered(count: int) -> dict[str, Any]:
        return {**given, "offers": [{"accelerator": name, "price": "2 USD/h", "available": count}]}

    more = round(ways(offered(2))[f"{name} available"])
    assert mo.optimize("serving_fleet", **offered(2 + more)).status == "optimal"
    with pytest.raises(InfeasibleError):
        mo.optimize("serving_fleet", **offered(2 + more - 1))


def test_choices_narrow() -> None:
    solution = mo.optimize("serving_fleet", **MELANGE, choices={"replica": "A10G"})
    assert counts(solution) == {"A10G": 12}
    for wrong in ({"replica": "B200"}, {"weather": "fine"}):
        with pytest.raises(MlsysimError, match=r"B200|weather"):
            mo.optimize("serving_fleet", **MELANGE, choices=wrong)


def test_the_tables_of_the_page_are_what_runs() -> None:
    page = (Path(__file__).parents[2] / "docs/serving-fleet.md").read_text()

    def column(heading: str) -> list[str]:
        section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        return [line.split("|")[1].strip(" `") for line in section.splitlines() if line.startswith("| `")]

    problem = serving_fleet.problem(serving_fleet.example)
    assert column("Given") == [item.name for item in serving_fleet.inputs]
    assert column("Decisions") == list(problem.decisions)
    assert column("Metrics") == [name for name in problem.metrics if not name.startswith("accelerators_")]
