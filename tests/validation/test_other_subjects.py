"""Memory, energy, failures, scaling and network: identities exactly, measurements within what is stated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlsysim_opt.validation.predictors import predict, validate
from mlsysim_opt.validation.report import Prediction, Summary
from mlsysim_opt.validation.rows import Row, Unmodelled


def predictions(subject: str, group: str, inputs: dict[str, Any], measured: dict[str, Any]) -> dict[str, Prediction]:
    found = predict(Row("r", group, subject, inputs, measured))
    return {item.answer.target: item.answer for item in found if isinstance(item.answer, Prediction)}


# memory ---------------------------------------------------------------------------------------------------------------
def test_model_states_and_activations_by_hand() -> None:
    # Korthikanti et al. 2022, Figure 1, 175B: 18 bytes for 12 x 96 x 12288^2 / (8 x 8) matrix weights of a rank, and
    # 34 s b h / t bytes for 96 layers, times 1 + 7 / (8 x 3) in flight with three chunks a stage.
    inputs = {"model": "Megatron_175B", "tp": 8, "pp": 8, "micro_batch": 1, "vp": 3, "seq_len": 2048,
              "sequence_parallel": True, "activation_recompute": "selective (attention core)"}  # fmt: skip
    found = predictions("memory", "g", inputs, {"params_opt_gib": 1.0, "activations_gib": 1.0})
    states = 18 * 12 * 96 * 12288**2 / 64 / 2**30
    kept = 34 * 2048 * 12288 / 8 * 96 * (1 + 7 / 24) / 2**30
    assert found["model states"].value == pytest.approx(states, rel=1e-12)
    assert found["activations"].value == pytest.approx(kept, rel=1e-12)


def test_zero_by_hand() -> None:
    # Rajbhandari et al. 2020: 7.5e9 parameters on 64 ranks; stage 2 keeps 2 bytes whole and 14 / 64 split
    given = {"params": 7.5e9, "dp": 64, "zero_stage": 2}
    found = predictions("memory", "g", given, {"model_states_gb": 16.6})
    assert found["model states"].value == pytest.approx(7.5 * (2 + 14 / 64), rel=1e-12)


def test_keys_and_values_by_hand() -> None:
    found = predictions("memory", "g", {"model": "Llama3_8B", "precision": "bf16"}, {"kv_kb_per_token": 131.0})
    assert found["keys and values"].value == pytest.approx(2 * 32 * 8 * 128 * 2 / 1e3)


def test_identities_of_memory(root: Path) -> None:
    found = validate(root / "benchmarks/validation/memory.yaml").overall
    assert found.modelled == found.rows >= 12
    assert found.mean_ape is not None
    assert found.mean_ape <= 0.005


def test_measured_memory(collection: Callable[[str], Path]) -> None:
    report = validate(collection("training_memory.yaml"))
    formulas = Summary.of([item for item in report.outcomes if not item.group.startswith("measured")])
    assert formulas.mean_ape is not None
    assert formulas.mean_ape <= 0.005
    measured = Summary.of([item for item in report.outcomes if item.group.startswith("measured")])
    assert measured.mean_ape is not None
    assert measured.mean_ape <= 0.25  # an allocator's reservation, not live tensors


# energy, carbon, water, cost ------------------------------------------------------------------------------------------
def test_an_account_by_hand() -> None:
    # 1000 accelerators for 10 days at 300 W, PUE 1.1, 0.4 kg/kWh: 79.2 MWh and 31.68 t
    inputs = {"chips": 1000, "days": 10, "avg_system_power_per_chip_w": 300, "pue": 1.1, "net_kgco2e_per_kwh": 0.4}
    found = predictions("energy", "patterson", inputs, {"energy_mwh": 79.2, "net_tco2e": 31.68})
    assert found["energy"].value == pytest.approx(79.2)
    assert found["carbon"].value == pytest.approx(31.68)


def test_water_of_generation_is_for_the_energy_of_the_facility() -> None:
    inputs = {"gpu_energy_mwh": 100, "pue": 1.2, "kgco2e_per_kwh": 0.3, "wue_l_per_kwh": 3.0}
    found = predictions("energy", "olmo", inputs, {"tco2e": 36.0, "water_kl": 360.0})
    assert found["carbon"].value == pytest.approx(36.0)
    assert found["water"].value == pytest.approx(360.0)


def test_rent_by_hand() -> None:
    inputs = {"gpus": 100, "days": 2, "usd_per_gpu_hour": 3.0}
    found = predictions("energy", "rental-cost", inputs, {"cost_usd": 14000})
    assert found["cost"].value == pytest.approx(100 * 2 * 24 * 3.0)


def assert_identities(path: Path) -> None:
    report = validate(path)
    sums = Summary.of([item for item in report.outcomes if item.group.endswith("(account)")])
    assert sums.scored >= 15
    assert sums.mean_ape is not None
    assert sums.mean_ape <= 0.01


@pytest.mark.parametrize(
    ("group", "inputs", "measured"),
    [
        # the intensity and the price of these rows follow from the number to be predicted
        ("model-card", {"gpu_hours": 1000, "gpu_power_w": 400},
         {"tco2e_location_based": 0.16, "implied_kgco2e_per_gpu_kwh_incl_pue": 0.4}),
        ("epoch-cost", {"chip_hours": 1000}, {"cost_2023usd": 2000, "usd_per_chip_hour": 2.0}),
    ],
)  # fmt: skip
def test_trap_a_closed_account_is_called_one(group: str, inputs: dict[str, Any], measured: dict[str, Any]) -> None:
    (found,) = predict(Row("r", group, "energy", inputs, measured))
    assert found.group == f"{group} (closed account)"


def test_accounts_are_not_in_one_group_with_measurements(collection: Callable[[str], Path]) -> None:
    groups = validate(collection("energy_cost.yaml")).groups
    accounts = {name: summary for name, summary in groups.items() if name.endswith("(account)")}
    assert sum(summary.modelled for summary in accounts.values()) == 16
    closed = {name: summary for name, summary in groups.items() if name.endswith("(closed account)")}
    assert sum(summary.modelled for summary in closed.values()) == 37
    accounts |= closed
    modelled = {name: summary.modelled for name, summary in groups.items() if summary.modelled and name not in accounts}
    assert modelled == {"mlperf-training-power": 9, "mlperf-inference-power": 7, "ml-energy-measured": 28,
                        "bloom": 1, "olmo": 1, "gemma": 2, "epoch-cost-top": 10}  # fmt: skip
    assert sum(summary.rows for summary in groups.values()) == 118


def test_a_limit_of_power_is_that_of_a_node_of_the_catalog() -> None:
    inputs = {"hardware": "h200-sxm-141gb", "gpus": 8}
    free = predictions("energy", "mlperf-inference-power", inputs, {"avg_system_power_w": 8000.0})
    limited = {**inputs, "power_mode": "MaxQ (capped)"}
    capped = predictions("energy", "mlperf-inference-power", limited, {"avg_system_power_w": 6150.0})
    gone = free["power of the node"].value - capped["power of the node"].value
    assert gone == pytest.approx(8 * 200, rel=0.05)  # NVIDIA's own limit: 500 of 700 W
    (found,) = predict(Row("r", "mlperf-inference-power", "energy", {**limited, "hardware": "b200-sxm-180gb"},
                           {"avg_system_power_w": 9000.0}))  # fmt: skip
    assert isinstance(found.answer, Unmodelled)
    assert "limited in power" in found.answer.reason


def test_the_cost_of_a_run_that_a_row_only_names() -> None:
    found = predictions("energy", "epoch-cost-top", {"model": "BLOOM-176B"}, {"cost_usd": 1.3e6})["cost"].value
    node = 300_000 / (1 - 0.19) * 0.276 / 8766 + 5.33 * 1.56 * 0.12  # price an hour and electricity of a DGX A100
    assert found == pytest.approx(node / 8 * 1_082_990, rel=0.05)
    for name in ("PaLM (540B)", "Gopher (280B)"):  # as rows spell them
        assert predictions("energy", "epoch-cost-top", {"model": name}, {"cost_usd": 2e6})["cost"].value > 1e6
    (none,) = predict(Row("r", "epoch-cost-top", "energy", {"model": "GPT-3.5"}, {"cost_usd": 7e6}))
    assert isinstance(none.answer, Unmodelled)  # nobody published on what it ran, or for how long
    assert "nor are they in the catalog" in none.answer.reason


def test_energy_of_training_follows_from_the_time_that_the_model_of_training_predicts() -> None:
    found = predictions("energy", "olmo", {"model": "olmo2-7b"}, {"gpu_energy_mwh": 131.0})["energy"]
    assert found.value == pytest.approx(131, rel=0.35)  # far from it, but of the order: nothing of the row is in it
    assert found.group == ""  # no account


def test_carbon_of_a_family_is_that_of_all_its_runs() -> None:
    found = {
        family: predictions("energy", "gemma", {"models": f"{family} (all)"}, {"tco2e": 1000.0})["carbon"].value
        for family in ("gemma-1", "gemma-2", "gemma-3")
    }
    assert 40 < found["gemma-1"] < 131 < found["gemma-2"] < 1248
    (none,) = predict(Row("r", "gemma", "energy", {"models": "gemma-9 (1B)"}, {"tco2e": 1.0}))
    assert isinstance(none.answer, Unmodelled)


def test_energy_of_idle_nodes() -> None:
    measured = {"idle_energy_kwh": 256646, "total_operational_kwh": 689842}
    found = predictions("energy", "bloom", {"model": "bloom-176b"}, measured)["energy of idle nodes"]
    assert found.value == pytest.approx(1.0 * 48 * 1_082_990 / 384, rel=1e-3)  # 1 kW for each of 48 DGX A100
    assert found.group == ""


def test_identities_of_energy(root: Path) -> None:
    assert_identities(root / "benchmarks/validation/energy.yaml")


def test_identities_of_energy_in_the_bulk_collection(collection: Callable[[str], Path]) -> None:
    assert_identities(collection("energy_cost.yaml"))


# failures, scaling, network -------------------------------------------------------------------------------------------
def test_a_stated_rate_of_node_failures() -> None:
    # 100 nodes with 10 failures per 1,000 node-days: one failure a day
    inputs = {"gpus": 800, "gpus_per_node": 8, "node_failures_per_1000_node_days": 10}
    found = predictions("reliability", "meta-rsc", inputs, {"mttf_h": 24.0})
    assert found["mttf_h"].value == pytest.approx(24.0)


def test_rates_that_come_from_a_log_are_told_apart() -> None:
    measured = {"unexpected_interruptions": 419}
    own = predict(Row("r", "llama3-54d", "reliability", {"gpus": 16384, "hours": 1296}, measured))
    assert [item.group for item in own] == ["llama3-54d (rates of this log)"]
    stated = {"gpus": 16384, "hours": 1296, "node_failures_per_1000_node_days": 6.5}
    other = predict(Row("r", "meta-rsc", "reliability", stated, measured))
    assert [item.group for item in other] == ["meta-rsc"]


def test_trap_one_checkpoint_is_scored_once() -> None:
    inputs = {"model": "BLOOM_176B"}
    both = predictions("reliability", "checkpoint", inputs, {"checkpoint_bytes": 2.3e12, "checkpoint_tb": 2.3})
    assert list(both) == ["checkpoint_bytes"]
    often = {"tb_per_day": 18.4}  # 8 times 2.3 TB: nothing new
    (found,) = predict(Row("r", "checkpoint", "reliability", inputs, often))
    assert isinstance(found.answer, Unmodelled)


def test_a_component_fails_at_the_rate_of_its_cause_in_another_log() -> None:
    inputs = {"gpus": 16384, "hours": 1296, "component": "NCCL watchdog timeouts"}
    found = predict(Row("r", "llama3-54d", "reliability", inputs, {"interruptions": 7}))[0]
    assert isinstance(found.answer, Prediction)
    assert found.answer.value == pytest.approx(6 / (4704 * 4416) * 16384 * 1296, rel=1e-3)  # Acme's 6 in its hours
    assert found.group == "llama3-54d (components, rates of others)"


def test_trap_a_component_with_the_rate_of_its_own_log_is_told_apart() -> None:
    inputs = {"gpus": 16384, "hours": 1296, "component": "CPU"}
    own = predict(Row("r", "llama3-54d", "reliability", inputs, {"interruptions": 2}))[0]
    assert own.group == "llama3-54d (rates of this log)"
    other = predict(Row("r", "elsewhere", "reliability", inputs, {"interruptions": 2}))[0]
    assert other.group == "elsewhere (components, rates of others)"


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"component": "Kernel fault", "hours": 1}, "no rate of failures of Kernel fault"),
        ({"component": "SSD"}, "duration not stated"),
    ],
)
def test_failures_of_one_component_are_not_guessed(inputs: dict[str, Any], said: str) -> None:
    (found,) = predict(Row("r", "g", "reliability", {"gpus": 8, **inputs}, {"interruptions": 3}))
    assert isinstance(found.answer, Unmodelled)
    assert said in found.answer.reason


def test_a_range_is_its_middle_and_of_several_the_largest_counts() -> None:
    (week,) = predictions("reliability", "bloom", {"gpus": 384}, {"gpu_failures_per_week": "1-2 on average"}).values()
    assert week.measured == 1.5
    assert week.value == pytest.approx(384 * 1.262e-5 * 168, rel=1e-3)  # accelerators alone, at the rate of Llama 3
    stretches = {"longest_uninterrupted_days": [1.5, 2.8, 2.0]}
    (longest,) = predictions("reliability", "opt-175b", {"gpus": 1024, "days": 57}, stretches).values()
    assert longest.measured == 2.8
    (none,) = predict(Row("r", "bloom", "reliability", {"gpus": 384}, {"gpu_failures_per_week": "a few"}))
    assert isinstance(none.answer, Unmodelled)


def test_a_bound_is_compared_with_and_called_one() -> None:
    measured = {"effective_training_time_pct_min": 90}
    (found,) = predict(Row("r", "megascale", "reliability", {"gpus": 12288, "hardware": "Ampere"}, measured))
    assert found.group == "megascale (bound)"
    assert isinstance(found.answer, Prediction)
    assert 85 < found.answer.value < 95


def test_time_and_interval_of_a_checkpoint() -> None:
    inputs = {"model": "bloom-176b", "gpus": 384, "writers": 384, "filesystem": "GPFS over NVMe"}
    found = predictions("reliability", "checkpoint", inputs, {"save_time_s": 40, "checkpoint_interval_h": 3})
    written = 14 * 176.25e9 / 62e9  # at the rate of the reference architecture's file system on flash
    assert found["save_time_s"].value == pytest.approx(written, rel=0.01)
    failures = 384 * 1.262e-5 + 384 * 1.978e-6 + 48 * 1.733e-5 + 384 * 2.967e-6  # in an hour
    young = (2 * written / 3600 / failures) ** 0.5
    assert found["checkpoint_interval_h"].value == pytest.approx(young, rel=0.05)


def test_most_rows_of_failures_have_a_prediction(collection: Callable[[str], Path]) -> None:
    report = validate(collection("reliability.yaml"))
    unflagged = {item.row.id for item in report.outcomes if not item.row.flags}
    assert len({item.row.id for item in report.outcomes if item.scored}) >= 0.85 * len(unflagged)


@pytest.mark.parametrize(("name", "most"), [("reliability", 0.10), ("scaling", 0.05)])
def test_own_tables(root: Path, name: str, most: float) -> None:
    found = validate(root / f"benchmarks/validation/{name}.yaml").overall
    assert found.modelled == found.rows
    assert found.mean_ape is not None
    assert found.mean_ape <= most


def test_the_work_of_a_run_is_six_per_parameter_and_token() -> None:
    found = predictions("scaling", "g", {"params": 1e9, "tokens": 2e10}, {"flops": 1e20})
    assert found["training work"].value == pytest.approx(6 * 1e9 * 2e10)


def test_large_collectives_inside_a_node_reach_the_calibrated_bandwidth(collection: Callable[[str], Path]) -> None:
    report = validate(collection("network.yaml"))
    large = [
        item for item in report.outcomes
        if item.scored and item.row.inputs.get("ranks_per_node") == item.row.inputs.get("ranks") == 8
        and str(item.row.inputs["system"]).startswith(("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm"))
    ]  # fmt: skip
    assert len(large) == 5
    errors = [abs(item.answer.error) for item in large if isinstance(item.answer, Prediction)]
    assert max(errors) <= 0.30  # reductions inside the switch exceed the rate of all-gathers, which is calibrated


def test_a_collective_is_latency_and_bandwidth() -> None:
    inputs = {"system": "h100_sxm", "op": "all_gather", "ranks": 8, "ranks_per_node": 8, "bytes": 2**30}
    found = predictions("collectives", "g", inputs, {"latency_us": 3000.0})["time"]
    # 7/8 of 1 GiB at 0.75 x 450 GB/s, and seven hops of 1.1 us
    assert found.parts["bandwidth"] == pytest.approx(2**30 * 7 / 8 / (0.75 * 450e9) * 1e6)
    assert found.parts["latency"] == pytest.approx(7 * 1.1)
    assert found.parts["call"] == pytest.approx(6.6)  # NCCL's own figure for a ring with small messages
    assert found.value == pytest.approx(sum(found.parts.values()))


def test_a_ring_through_pairs_goes_at_the_pace_of_the_host_links() -> None:
    inputs = {"system": "a100_pairwise_nvlink", "bytes": 2**29}
    pair = {**inputs, "ranks": 2, "ranks_per_node": 2}
    bridge = predictions("network", "g", pair, {"all_reduce_busbw_gbs": 195.0})["bus bandwidth"].value
    assert bridge == pytest.approx(0.70 * 300, rel=0.02)
    four = {**inputs, "ranks": 4, "ranks_per_node": 4}
    host = predictions("network", "g", four, {"all_reduce_busbw_gbs": 23.7})["bus bandwidth"].value
    assert host == pytest.approx(0.85 * 32, rel=0.02)


def test_of_a_mesh_the_links_to_those_that_take_no_part_are_idle() -> None:
    found = {
        ranks: predictions("network", "g", {"system": "8x MI300X", "payload": "4 GiB", "ranks": ranks},
                           {"busbw_gbs": 1.0})["bus bandwidth"].value
        for ranks in (2, 4, 8)
    }  # fmt: skip
    assert found[8] / found[2] == pytest.approx(7, rel=1e-2)
    assert found[8] / found[4] == pytest.approx(7 / 3, rel=1e-2)


@pytest.mark.parametrize(
    ("system", "measured", "rate"),
    [
        ("DGX A100 8x", {"busbw_gbs": 235}, 0.70 * 300),
        ("GB200 NVL72, 72 ranks", {"busbw_gbs": 840}, 0.70 * 900),
        ("8x H200 pairwise copy", {"value_gbs": 396.4}, 0.75 * 450),
    ],
)
def test_ranks_in_the_name_of_a_server_and_a_rate_without_bytes(
    system: str, measured: dict[str, float], rate: float
) -> None:
    (found,) = predictions("network", "g", {"system": system}, measured).values()
    assert found.value == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"system": "h100_sxm", "op": "barrier", "ranks": 4, "bytes": 8}, "not modelled"),
        ({"system": "cray", "op": "all_reduce", "ranks": 4, "bytes": 8}, "neither in the catalog"),
    ],
)
def test_a_network_that_is_not_modelled_says_why(inputs: dict[str, Any], said: str) -> None:
    (found,) = predict(Row("r", "g", "collectives", inputs, {"latency_us": 10.0}))
    assert isinstance(found.answer, Unmodelled)
    assert said in found.answer.reason
