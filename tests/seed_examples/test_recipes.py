"""The chained questions of the guide, asked with our API."""

from __future__ import annotations

import numpy as np
import pytest

import mlsysim_opt as mo


def test_can_i_serve_70b_on_four_h100_within_a_budget() -> None:
    four = mo.ServingModel().solve("Llama3_70B", "H100", seq_len=4096, batch_size=8, output_len=512, tp_size=4)
    assert four.feasible
    assert not mo.ServingModel().solve("Llama3_70B", "H100", seq_len=4096).feasible
    # 141.1 GB of weights over 4 x 3.35 TB/s take 10.5 ms a token.
    assert 10.5 < four.itl.to("ms").magnitude < 25
    # What four of them cost for a month at 3 USD an hour: 4 x 720 x 3 = 8,640 USD.
    rent = mo.EconomicsModel().solve("One_DGX_H100", duration_days=30, price="3 USD/h")
    month = rent.tco_usd * 4 / rent.devices
    assert month == pytest.approx(8640)
    # The same as a scenario with a budget: a whole server is held, of which four GPUs make one replica.
    asked = mo.Scenario(
        "70B within a budget", "Llama3_70B", "One_DGX_H100", seq_len=4096, output_len=512, batch_size=8,
        split={"tp_size": 4}, duration="30 day", sla={"itl": "50 ms"}, budget="12 kUSD",
    )  # fmt: skip
    seen = asked.evaluate()
    assert seen.verdict == "PASS"
    assert asked.evaluate(split={"tp_size": 1, "pp_size": 1}).feasibility.status == "FAIL"


def test_most_sustainable_way_to_train_gpt3() -> None:
    job = {"model": "GPT3", "fleet": "Training_1K_A100", "global_batch_size": 1536, "seq_len": 2048}
    best = mo.optimize("parallelism", objective="min_step_time", explain=False, **job)
    assert best.gap == 0
    # 300e9 tokens: 6 x 175e9 x 300e9 = 3.15e23 FLOP and attention; 1024 x 312 TFLOP/s at its MFU take this long.
    days = 300e9 / best.metrics["tokens_per_second"].to("token/s").magnitude / 86400
    at_peak = 6 * 175e9 * 300e9 / (1024 * 312e12) / 86400
    assert at_peak / 0.7 < days < at_peak / 0.4
    carbon = {
        grid.name: mo.SustainabilityModel().solve("Training_1K_A100", duration_days=days, datacenter=grid)
        for grid in mo.Infra.Grids
    }
    tons = {name: solved.carbon_footprint_kg / 1000 for name, solved in carbon.items()}
    cleanest = min(tons, key=lambda name: tons[name])
    intensities = {grid.name: grid.carbon_intensity.to("gCO2e/kWh").magnitude for grid in mo.Infra.Grids}
    assert intensities[cleanest] == min(intensities.values())
    assert tons["Poland"] / tons["Quebec"] == pytest.approx(intensities["Poland"] / intensities["Quebec"])


def test_a100_or_h100_for_inference() -> None:
    # The largest throughput within 30 ms a token, of every batch up to 256, and what a dollar buys.
    seen = mo.ServingModel().sweep(
        model="Llama3_8B", hardware=["A100", "H100"], batch_size=list(range(1, 257)), seq_len=2048, output_len=256,
        outputs=["itl", "throughput", "feasible"],
    )  # fmt: skip
    allowed = np.asarray(seen["feasible"]) & (seen.si("itl") <= 30e-3)
    rates = np.where(allowed, seen.si("throughput"), 0.0)
    best = dict(zip(seen.axes["hardware"], rates.max(axis=1), strict=True))
    # More bandwidth and more compute cannot serve less; at most by the ratio of the larger of the two.
    assert 1 < best["H100"] / best["A100"] < 989 / 312 * 1.1
    batches = dict(zip(seen.axes["hardware"], np.argmax(rates, axis=1) + 1, strict=True))
    assert all(batch > 1 for batch in batches.values())
    for name, batch in batches.items():  # the batch beyond breaks a limit, or is the last one asked for
        if batch < 256:
            after = mo.ServingModel().solve("Llama3_8B", name, 2048, int(batch) + 1, output_len=256)
            assert not after.feasible or after.itl.to("ms").magnitude > 30
    # What a million tokens cost on a server of eight, each eight times the throughput, at the prices of one provider.
    cost = {}
    for name, fleet in (("A100", "One_DGX_A100"), ("H100", "One_DGX_H100")):
        price = mo.Infra.Prices[f"AWS_{name}_us_east_1"]
        speed = f"{8 * best[name]} token/s"
        rented = mo.EconomicsModel().solve(fleet, duration_days=30, price=price, tokens_per_second=speed)
        cost[name] = rented.cost_per_million_tokens.to("USD").magnitude
        hourly = price.rate.to("USD/hour").magnitude
        assert cost[name] == pytest.approx(1e6 / (best[name] * 3600) * hourly)
    assert (cost["H100"] < cost["A100"]) == (
        best["H100"] / best["A100"]
        > mo.Infra.Prices["AWS_H100_us_east_1"].rate / mo.Infra.Prices["AWS_A100_us_east_1"].rate
    )
