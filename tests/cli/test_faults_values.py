"""Bad units and bad numbers: classes A and B of the fault list, each test named by its id."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pint
import pytest

import mlsysim_opt as mo

from .conftest import JOB, Done

Refused = Callable[..., str]
Ask = Callable[..., Done]
GIVEN: dict[str, Any] = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 512, "seq_len": 8192}
REST = ("--model", "Llama3_8B", "--fleet", "Lab_64_H100", "--seq-len", "8192")


def given(name: str, value: str) -> tuple[str, ...]:
    return ("optimize", *JOB, "--set", f"{name}={value}")


def test_A01_unknown_unit(refused: Refused) -> None:
    refused(*given("memory_reserve", "50 GX"), says=("memory_reserve", "GX", "did you mean 'GB'"))


def test_A02_wrong_dimension(refused: Refused) -> None:
    refused(*given("memory_reserve", "50 W"), says=("memory_reserve", "50 W", "byte is expected"))


def test_A03_bare_number(refused: Refused) -> None:
    refused(*given("price", "50"), says=("price", "50", "no unit", "USD/h"))
    refused(*given("memory_reserve", "50"), says=("memory_reserve", "50", "no unit", "GiB"))


def test_A04_negative(refused: Refused) -> None:
    refused(*given("memory_reserve", "-50 GB"), says=("memory_reserve", "-50 GB", "at least 0"))
    refused(*given("price", "-2 USD/h"), says=("price", "-2 USD/h", "above 0"))


def test_A05_zero(refused: Refused) -> None:
    refused(*given("price", "0 USD/h"), says=("price", "0 USD/h", "above 0"))


def test_A06_nan(refused: Refused) -> None:
    refused(*given("memory_reserve", "nan GB"), says=("memory_reserve", "nan GB", "finite"))


def test_A07_infinite(refused: Refused) -> None:
    refused(*given("memory_reserve", "inf GB"), says=("memory_reserve", "inf GB", "finite"))


def test_A08_exponent_bomb(refused: Refused) -> None:
    start = time.process_time()
    refused(*given("memory_reserve", "9**9**9**9 GB"), says=("memory_reserve", "9**9**9"))
    refused("optimize", *JOB, "--constraint", "9^9^9^9 <= tp_size", says=("--constraint", "column 4", "exponent"))
    assert time.process_time() - start < 2


def test_A09_threshold_without_a_unit(refused: Refused) -> None:
    refused("optimize", *JOB, "--constraint", "step_time <= 50", says=("50 has no unit", "step_time is s", "50 "))


def test_A10_temperature(refused: Refused) -> None:
    refused(*given("memory_reserve", "5 degC"), says=("memory_reserve", "degC", "temperature"))


def test_A11_overflow(refused: Refused) -> None:
    refused(*given("memory_reserve", "1e400 GB"), says=("memory_reserve", "1e400 GB"))


def test_A12_a_target_of_the_wrong_dimension(refused: Refused) -> None:
    refused("synthesize", "--model", "Llama3_70B", "--target", "itl <= 30 GB", says=("itl is s, 30 GB is byte", "^"))
    refused("synthesize", "--model", "Llama3_70B", "--target", "itl <= 30", says=("itl", "unit"))
    with pytest.raises(mo.DimensionError, match="expected"):
        mo.SynthesisSolver().solve("Llama3_70B", "30 GB")


def test_A13_foreign_registry() -> None:
    foreign = pint.UnitRegistry()
    foreign.define("USD = [money]")
    price = foreign.Quantity(2.5, "USD/hour")
    more = {"token_budget": "1e12 token", "objective": "min_cost"}
    theirs = mo.optimize("parallelism", **GIVEN, **more, price=price)
    ours = mo.optimize("parallelism", **GIVEN, **more, price="2.5 USD/h")
    assert theirs.objective == ours.objective


def test_A14_pickle(run_python: Callable[..., CompletedProcess[str]]) -> None:
    solution = mo.optimize("parallelism", **GIVEN)
    sent = pickle.dumps(solution)
    done = run_python(
        f"""
import pickle
solution = pickle.loads({sent!r})
print(solution.metrics["memory"].to("GiB").magnitude, solution.verify()["constraints_hold"])
"""
    )
    memory, holds = done.stdout.split()
    assert float(memory) == pytest.approx(solution.metrics["memory"].to("GiB").magnitude)
    assert holds == "True"


@pytest.mark.parametrize("value", ["0", "0.0"])
def test_B01_batch_size_zero(refused: Refused, value: str) -> None:
    refused("optimize", *REST, "--batch-size", value, says=("global_batch_size", "0", "at least 1"))


def test_B02_batch_size_negative(refused: Refused) -> None:
    refused("optimize", *REST, "--batch-size", "-5", says=("global_batch_size", "-5", "at least 1"))


@pytest.mark.parametrize("value", ["nan", ".nan", "NaN", "inf", "-inf"])
def test_B03_nan_batch_size(refused: Refused, value: str) -> None:
    refused("optimize", *REST, "--batch-size", value, says=("global_batch_size", value, "whole number"))


@pytest.mark.parametrize("value", ["inf", "1e999"])
def test_B04_infinite_efficiency(refused: Refused, value: str) -> None:
    refused(*given("efficiency", value), says=("efficiency", "inf"))


def test_B05_percent_mistake(refused: Refused) -> None:
    refused(*given("efficiency", "40"), says=("efficiency", "40", "0.4 for 40 percent"))


def test_B08_int64_overflow(refused: Refused) -> None:
    refused("optimize", *REST, "--batch-size", str(10**30), says=("global_batch_size", str(10**30)))
    refused("optimize", *REST, "--batch-size", "9" * 5000, says=("global_batch_size",))


def test_B09_too_many_accelerators(refused: Refused) -> None:
    start = time.process_time()
    refused(*given("nodes", str(10**18)), says=("nodes", str(10**18)))
    refused(*given("nodes", str(10**15)), says=("fleet", "more than any fleet"))
    assert time.process_time() - start < 2


def test_B15_carbon_price_nan(refused: Refused) -> None:
    refused("optimize", *JOB, "--objective", "step_time * nan", says=("objective", "column 13", "nan"))


def test_B17_boolean_for_a_count(refused: Refused, plan: Callable[[str], str]) -> None:
    refused("optimize", *REST, "--batch-size", "yes", says=("global_batch_size", "yes", "whole number"))
    refused("optimize", *REST, "--batch-size", "true", says=("global_batch_size", "True"))
    written = "given: {model: Llama3_8B, fleet: Lab_64_H100, batch_size: yes, seq_len: 8192}"
    refused("optimize", "--plan", plan(written), says=("given.batch_size", "line 1", "column 59", "yes"))


def test_B18_fraction_for_a_count(refused: Refused) -> None:
    refused("optimize", *REST, "--batch-size", "2.7", says=("global_batch_size", "2.7", "whole number"))


def test_B19_sequence_too_long(refused: Refused) -> None:
    job = ("--model", "Llama3_8B", "--fleet", "Lab_64_H100", "--batch-size", "512")
    refused("optimize", *job, "--seq-len", str(10**12), says=("--seq-len", str(10**12)))


def test_B21_efficiency_above_one(refused: Refused) -> None:
    refused(*given("efficiency", "5"), says=("efficiency", "5", "at most 1"))


def test_B22_efficiency_nan(refused: Refused) -> None:
    refused(*given("efficiency", "nan"), says=("efficiency", "nan"))


@pytest.mark.parametrize("limit", ["nan", "inf", "-5", "0", "soon", "5 GB"])
def test_a_time_limit_is_a_time(refused: Refused, limit: str) -> None:
    refused("optimize", *JOB, "--time-limit", limit, says=("--time-limit",))
