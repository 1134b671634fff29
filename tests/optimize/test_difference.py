"""What one answer differs in from another."""

from __future__ import annotations

import mlsysim_opt as mo
from mlsysim_opt.optimize import Value
from mlsysim_opt.optimize.difference import Change, Difference

JOB = {"model": "Llama3_8B", "fleet": "Lab_64_H100", "global_batch_size": 256, "seq_len": 8192}


def test_a_change_is_told_in_the_unit_of_the_first() -> None:
    grown = Change.of(Value(800.0, "USD"), Value(1.0, "kUSD"))
    assert str(grown.after) == "1000 USD"
    assert str(grown) == "200 USD more (+25.00%)"
    assert str(Change.of(Value(-4.0), Value(-5.0))) == "1 less (-25.00%)"
    assert str(Change.of(Value(0.0, "kgCO2e"), Value(5.0, "kgCO2e"))) == "5 kgCO2e more"


def test_rounding_is_no_change() -> None:
    same = Change.of(Value(0.3, "USD"), Value(0.1 + 0.2, "USD"))
    assert not same.any
    assert str(same) == "the same"


def test_what_one_of_them_does_not_have() -> None:
    assert str(Change.of(None, Value(3.0, "USD"))) == "not known -> 3 USD"
    assert str(Change.of(Value(None, "USD"), Value(3.0, "USD"))) == "undefined -> 3 USD"
    assert not Change.of(None, None).any


def test_of_designs_with_other_objectives() -> None:
    best = mo.optimize("parallelism", explain=False, **JOB)
    small = best.what_if(objective="min_memory")
    found = Difference.between(best, small)
    assert found.objective is None, "they were asked for different things"
    slower, smaller = found.metrics["step_time"], found.metrics["memory"]
    assert slower.by is not None
    assert smaller.by is not None
    assert slower.by.value > 0 > smaller.by.value
    told = dict(line.split(" from ") for line in found.decisions)
    assert {name: value.split(" to ")[0] for name, value in told.items()} == {
        name: str(value) for name, value in best.design.items() if small.design[name] != value
    }
    none = Difference.between(best, best)
    assert (none.metrics, none.decisions) == ({}, [])
    assert none.objective is not None
    assert not none.objective.any
