"""The report's arithmetic, by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.registry import default_catalog
from mlsysim_opt.validation.predictors import predict
from mlsysim_opt.validation.report import (
    Outcome,
    Prediction,
    Report,
    Summary,
    fitted_parameters,
    quantile,
    tabulated_parameters,
)
from mlsysim_opt.validation.rows import Row, Unmodelled


def outcome(name: str, predicted: float | None, measured: float = 1.0, group: str = "g", flag: str = "") -> Outcome:
    row = Row(name, group, "training", {}, {}, (flag,) if flag else ())
    answer = Unmodelled("why") if predicted is None else Prediction(predicted, "s", measured, {"compute": predicted})
    return Outcome(row, answer)


def test_errors_by_hand() -> None:
    # errors: +10 %, -20 %, +30 %, and one flagged row 400 % off that must not count; one row without a prediction
    found = Summary.of(
        [
            outcome("a", 1.1),
            outcome("b", 1.6, 2.0),
            outcome("c", 1.3),
            outcome("d", 5.0, flag="odd"),
            outcome("e", None),
        ]
    )
    assert (found.rows, found.modelled, found.flagged, found.scored) == (5, 4, 1, 3)
    assert found.mean_ape == pytest.approx(0.2)
    assert found.median_ape == pytest.approx(0.2)
    assert found.p90_ape == pytest.approx(0.28)  # of 0.1, 0.2, 0.3: eight tenths of the way from 0.2 to 0.3
    assert found.bias == pytest.approx((0.1 - 0.2 + 0.3) / 3)
    assert found.unmodelled == {"why": 1}


def test_nothing_scored_has_no_errors() -> None:
    found = Summary.of([outcome("a", None)])
    assert found.mean_ape is None
    assert found.p90_ape is None


def test_the_json_form_is_the_documented_one() -> None:
    report = Report((outcome("a", 1.1), outcome("b", 3.0, group="h"), outcome("c", None, group="h")))
    data = json.loads(json.dumps(report.as_dict()))
    assert set(data) >= {"overall", "groups", "rows", "fitted_parameters", "parameters_from_tables"}
    for summary in (data["overall"], *data["groups"].values()):
        assert set(summary) >= {"rows", "modelled", "median_ape", "mean_ape", "p90_ape", "bias"}
    assert list(data["groups"]) == ["g", "h"]
    assert data["rows"][0]["ape"] == pytest.approx(0.1)
    assert data["rows"][0]["parts"] == {"compute": 1.1}
    assert data["rows"][2] == {"id": "c", "group": "h", "scored": False, "reason": "why"}
    assert data["worst"] == ["b", "a"]


def test_a_row_with_two_targets_counts_once_as_a_row_and_twice_in_the_errors() -> None:
    row = Row("a", "g", "silicon", {}, {})
    pair = [Prediction(1.2, "ms", 1.0, target="tpot", group="g-tpot"), Prediction(1.4, "ms", 1.0, target="ttft")]
    found = Report(tuple(Outcome(row, item) for item in pair))
    assert found.overall.rows == found.overall.modelled == 1
    assert found.overall.scored == 2
    assert found.overall.mean_ape == pytest.approx(0.3)
    assert list(found.groups) == ["g-tpot", "g"]


def test_a_row_about_something_else_is_counted_not_dropped() -> None:
    (found,) = predict(Row("a", "g", "weather", {}, {}))
    assert isinstance(found.answer, Unmodelled)
    assert "weather" in found.answer.reason


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.floats(0, 1))
def test_a_quantile_lies_between_the_extremes_and_never_falls(values: list[float], share: float) -> None:
    low, high = quantile(values, 0), quantile(values, 1)
    assert low == min(values)
    assert high == max(values)
    assert low <= quantile(values, share) <= high
    assert quantile(values, share / 2) <= quantile(values, share)


def test_fitted_parameters_are_those_whose_source_is_a_fit() -> None:
    found = fitted_parameters()
    assert "hopper.gemm_efficiency" in found
    assert "hopper.compute_units" not in found  # from a white paper
    # chosen once for all generations, so it counts once
    assert sum(name.endswith(".unfused_traffic") for name in found) == 1
    assert len(found) < 12 * len(default_catalog().names("calibration"))
    entry = default_catalog().find("calibration", "hopper")
    assert found["hopper.gemm_efficiency"] == entry.parameter("gemm_efficiency").si


def test_parameters_read_off_tables_of_measurements_are_counted_too() -> None:
    found, fitted = tabulated_parameters(), fitted_parameters()
    assert {"hopper.scale_up_efficiency", "hopper.scale_up_latency", "cdna3.gemm_efficiency"} <= set(found)
    assert not set(found) & set(fitted)
    assert "hopper.compute_units" not in found  # from a white paper
