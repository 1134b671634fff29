"""Numbers as answers tell them: rounded to what is enough where they are limits to give way to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlsysim_opt as mo
from mlsysim_opt.errors import InfeasibleError
from mlsysim_opt.optimize.answer import Value, instead

NUMBERS = st.floats(-1e15, 1e15, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "above", "below"),
    [
        (75.06173, "75.0618", "75.0617"),
        (75.0617, "75.0617", "75.0617"),
        (3 * 1.1, "3.3", "3.3"),  # 3.3000000000000003: its rounding is no reason to tell more
        (123456.7, "123,457", "123,456"),
        (-3.14159265, "-3.14159", "-3.1416"),
        (1e-9 / 3, "3.33334e-10", "3.33333e-10"),
        (0.0, "0", "0"),
        (float("inf"), "inf", "inf"),
    ],
)
def test_the_next_number_that_can_be_told(value: float, above: str, below: str) -> None:
    assert Value(value, "USD").text(1) == f"{above} USD"
    assert Value(value, "USD").text(-1) == f"{below} USD"


@given(NUMBERS)
def test_what_is_told_is_on_the_side_that_was_asked(value: float) -> None:
    above, below = (float(Value(value).text(toward).replace(",", "")) for toward in (1, -1))
    rounding = 2.0**-48 * abs(value)
    assert above >= value - rounding
    assert below <= value + rounding
    assert abs(above - value) <= 1e-5 * abs(value)


@given(NUMBERS.filter(lambda value: abs(value) > 1e-300), st.floats(1e-12, 1e-3))
def test_another_limit_reads_otherwise(value: float, share: float) -> None:
    after = value + share * abs(value)
    told = instead(Value(after, "USD"), Value(value, "USD"), 1)
    new, old = told.split(" instead of ")
    assert new != old
    assert float(new.split()[0].replace(",", "")) >= after - 2.0**-48 * abs(after)


@pytest.mark.parametrize(
    ("name", "limit", "asked"),
    [
        ("parallelism", "step_time <= 1 s", {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 512,
                                             "seq_len": 8192}),
        ("parallelism", "mfu >= 0.9", {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 512,
                                       "seq_len": 8192}),
        ("disaggregated_serving", "ttft <= 1 ms", {"model": "Llama3_70B", "precision": "fp8", "input_len": 4000,
                                                   "output_len": 1000, "prefill_device": "H200",
                                                   "decode_device": "H200", "devices": 16}),
    ],
)  # fmt: skip
def test_the_limit_of_a_way_out_is_enough_as_it_is_written(name: str, limit: str, asked: dict[str, Any]) -> None:
    with pytest.raises(InfeasibleError) as caught:
        mo.optimize(name, constraints=[limit], **asked)
    (way,) = (item for item in caught.value.relaxations if item.constraint == limit)
    found = re.search(r"a limit of (.+) instead of", str(way))
    assert found
    metric, relation = limit.split()[:2]
    assert (
        mo.optimize(name, constraints=[f"{metric} {relation} {found[1]}"], explain=False, **asked).status == "optimal"
    )


# stored answers -------------------------------------------------------------------------------------------------------
def _plan() -> str:
    jobs = [{"name": "a", "designs": [{"accelerator": "H100", "nodes": 1, "time": "4 h", "node_power": "7 kW"}]}]
    text: str = mo.optimize("placement", jobs=jobs, regions="AWS_us_east_1", accelerators="H100",
                            price="2 USD/h").to_json()  # fmt: skip
    return text


def _design() -> str:
    given = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 512, "seq_len": 8192}
    return str(mo.optimize("parallelism", choices={"tp_size": [2]}, **given).to_json())


JUNK: tuple[Any, ...] = (None, [], {}, 3, "x", True, [3], {"x": 3})


@pytest.mark.parametrize(("write", "kind"), [(_plan, mo.PlanSolution), (_design, mo.Solution)])
def test_a_changed_answer_is_refused_or_can_be_used(write: Callable[[], str], kind: Any) -> None:
    text = write()
    whole = json.loads(text)
    assert kind.from_json(text).as_dict() == whole
    for name in whole:
        for junk in JUNK:
            with suppress(mo.MlsysimError):  # nothing else is raised
                answer = kind.from_json(json.dumps({**whole, name: junk}))
                assert str(answer)
                answer.verify()


@pytest.mark.parametrize("junk", ["null", '"x"', "NaN", "Infinity", "[]", "true"])
def test_an_amount_that_is_no_number_is_named(junk: str) -> None:
    text = re.sub(r'"amount": [\d.]+', f'"amount": {junk}', _plan())
    with pytest.raises(mo.InputError, match=r"amounts\.jobs\.0\.amount"):
        mo.PlanSolution.from_json(text)


def test_what_reads_the_other_kind_is_named() -> None:
    with pytest.raises(mo.InputError, match=r"mo\.PlanSolution\.from_json reads it"):
        mo.Solution.from_json(_plan())
