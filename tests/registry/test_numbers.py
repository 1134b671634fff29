"""Class A: what may stand where a number with a unit is expected, and what the message says otherwise."""

from __future__ import annotations

import pickle
import time

import pytest

from mlsysim_opt import units
from mlsysim_opt.errors import InputError
from mlsysim_opt.registry.datum import MAX_COUNT, Source
from mlsysim_opt.registry.fields import Number

from .conftest import ACCELERATOR, Overlay

RATE = Number("quantity", "byte/s")


def with_bandwidth(overlay: Overlay, text: str) -> str:
    """Return the message for a bandwidth written so."""
    with pytest.raises(InputError) as caught:
        overlay(ACCELERATOR.replace("bandwidth: 2 TB/s", f"bandwidth: {text}"))
    message = str(caught.value)
    assert "MyChip.memory.bandwidth (line 11, column 43)" in message
    return message


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param("50 GX/s", "unknown unit 'GX'", id="A01_unknown_unit"),
        pytest.param("50 W", "'50 W' has the unit 'W', a unit of byte/s is needed", id="A02_wrong_dimension"),
        pytest.param("50", "has no unit, a unit of byte/s is needed", id="A03_bare_number"),
        pytest.param("'50'", "has no unit, a unit of byte/s is needed", id="A03_bare_number_as_text"),
        pytest.param("-50 GB/s", "must be positive", id="A04_negative"),
        pytest.param("0 GB/s", "must be positive", id="A05_zero"),
        pytest.param("nan GB/s", "not a finite number", id="A06_nan"),
        pytest.param(".nan", "has no unit", id="A06_nan_bare"),
        pytest.param("inf GB/s", "not a finite number", id="A07_infinite"),
        pytest.param("9**9**9**9 GB/s", "", id="A08_exponent_bomb"),
        pytest.param("5 degC", "unknown unit 'degC'", id="A10_temperature"),
        pytest.param("1e400 GB/s", "outside the range of numbers", id="A11_overflow"),
        pytest.param("50 Gb/s", "Gbit", id="A09_bits_or_bytes"),
        pytest.param("yes", "expected a number with a unit", id="B17_word"),
        pytest.param("true", "got True", id="B17_boolean"),
        pytest.param("[1]", "got a list", id="list"),
        pytest.param("__import__('os').getpid() GB/s", "", id="F03_python"),
    ],
)
def test_refused(overlay: Overlay, given: str, says: str) -> None:
    start = time.perf_counter()
    assert says in with_bandwidth(overlay, given)
    assert time.perf_counter() - start < 2


def test_I01_wrong_family_unit(overlay: Overlay) -> None:
    assert "a unit of byte/s is needed" in with_bandwidth(overlay, "2 TFLOP/s")


def test_I02_negative_capacity(overlay: Overlay) -> None:
    with pytest.raises(InputError, match=r"MyChip\.memory\.capacity .*must be positive"):
        overlay(ACCELERATOR.replace("64 GiB", "-64 GiB"))


def test_I03_zero_peak_flops(overlay: Overlay) -> None:
    with pytest.raises(InputError, match=r"MyChip\.compute\.peak\.bf16 .*must be positive"):
        overlay(ACCELERATOR.replace("500 TFLOP/s", "0 TFLOP/s"))


def test_I04_nan_bandwidth(overlay: Overlay) -> None:
    assert "not a finite number" in with_bandwidth(overlay, "nan TB/s")


def test_short_and_long_form() -> None:
    source = Source("Sheet", "page 1", "2024")
    short = RATE.read("3.35 TB/s")
    assert (short.si, short.unit, short.text) == (3.35e12, "TB/s", "3.35 TB/s")
    assert short.dimension == units.BANDWIDTH
    inline = {"title": "Sheet", "locator": "page 1", "date": 2024}
    long = RATE.read({"value": "3.35 TB/s", "source": inline, "estimated": "read off a plot"})
    assert long.source == source
    assert long.estimated == "read off a plot"
    assert long.provenance == "estimated: read off a plot; after Sheet, page 1 (2024)"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"value": "1 GB/s", "source": "x"}, "unknown source 'x'"),
        ({"estimated": "why"}, "needs 'value'"),
        ({"value": "1 GB/s", "estimated": ""}, "reason"),
        ({"value": "1 GB/s", "sourc": "x"}, "unknown key 'sourc'"),
        ({"value": "1 GB/s", "source": {"title": "T", "date": "2024"}}, "needs 'locator'"),
        ({"value": "1 GB/s", "source": {"title": "T", "locator": "p", "date": "last week"}}, "not of the form"),
    ],
)
def test_long_form_is_checked(given: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        RATE.read(given)


@pytest.mark.parametrize("given", [True, 2.7, 2.0, "126", None, [1], MAX_COUNT + 1, 10**400, -1, 0])
def test_counts_are_positive_whole_numbers(given: object) -> None:
    with pytest.raises(InputError):
        Number("count").read(given)


def test_count_of_a_float_suggests_the_int() -> None:
    with pytest.raises(InputError) as caught:
        Number("count").read(126.0)
    assert caught.value.hint == "write 126"


@pytest.mark.parametrize(("given", "value"), [(0.85, 0.85), (1, 1.0), ("85 percent", 0.85)])
def test_ratios(given: object, value: float) -> None:
    assert Number("ratio", maximum=1.0).read(given).public == pytest.approx(value)


@pytest.mark.parametrize("given", [40, 0, -0.1, True, "0.5 GB", float("nan"), float("inf"), "x", None])
def test_ratios_refused(given: object) -> None:
    with pytest.raises(InputError):
        Number("ratio", maximum=1.0).read(given)


def test_percentage_mistake_has_a_hint() -> None:
    with pytest.raises(InputError) as caught:
        Number("ratio", maximum=1.0).read(40)
    assert "40 percent" in str(caught.value)


def test_A14_datum_pickles() -> None:
    datum = RATE.read({"value": "3.35 TB/s", "estimated": "why"})
    assert pickle.loads(pickle.dumps(datum)) == datum


def test_quantities_are_fresh_each_time() -> None:
    datum = RATE.read("3.35 TB/s")
    first = datum.public
    first.ito("GB/s")  # type: ignore[union-attr]
    assert str(datum.public) == "3.35 terabyte / second"
