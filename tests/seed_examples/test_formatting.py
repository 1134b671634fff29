"""Clean text: rates and ratios under a numeric format are numbers, all else keeps its unit."""

from __future__ import annotations

import pickle

import mlsysim_opt as mo


def test_rates_and_ratios() -> None:
    fast, slow = (mo.Engine.solve("ResNet50", name, 32) for name in ("H100", "T4"))
    number = f"{fast.throughput:>10.0f}"
    assert len(number) == 10
    assert int(number) == round(fast.throughput.magnitude)
    assert f"{fast.throughput:,.1f}".replace(",", "").replace(".", "").isdigit()
    assert f"{fast.throughput / slow.throughput:.2f}" == f"{fast.throughput.magnitude / slow.throughput.magnitude:.2f}"
    assert float(f"{slow.latency / fast.latency:.3f}") > 1
    # A ratio of a second and a millisecond is a thousand, not "1.00".
    assert f"{mo.Q_('1 s') / mo.Q_('1 ms'):.0f}" == "1000"


def test_what_has_a_unit_shows_it() -> None:
    latency = mo.Engine.solve("ResNet50", "H100", 32).latency
    assert f"{latency.to('ms'):.1f}".endswith(" millisecond")
    assert f"{latency.to('ms'):>8.2f~}".endswith(" ms")
    assert f"{latency.to('ms'):~.2f}".endswith(" ms")
    assert f"{mo.Hardware.Cloud.H100.memory.bandwidth.to('TB/s'):~.2f}" == "3.35 TB / s"
    assert f"{mo.Q_('5 percent'):.1f}" == "5.0 percent"
    assert str(mo.Q_("1 s") / mo.Q_("2 s")) == "0.5 dimensionless"  # without a format, nothing is hidden


def test_rates_survive_pickling() -> None:
    rate = mo.Engine.solve("ResNet50", "H100", 32).throughput
    again = pickle.loads(pickle.dumps(rate))
    assert again == rate
    assert f"{again:.0f}" == f"{rate:.0f}"
