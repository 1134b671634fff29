"""Mixes of accelerators for 60 sizes of requests: ``python benchmarks/fleet.py``.

Griggs et al. 2024 (Melange, arXiv 2404.14527) choose accelerators for 6 x 10 sizes of requests; the rates they measured
are not published. Here they are those of the physics of serving, at one concurrency and utilization; prices are USD per
hour of an L4, A10G, A100 and H100. A load that may be divided is never dearer than one in parts.
"""

from __future__ import annotations

import time
from typing import Any

import mlsysim_opt as mo

INPUTS = (25, 100, 250, 500, 1000, 2000)
OUTPUTS = (25, 50, 100, 150, 250, 400, 500, 700, 1000, 1500)
PRICES = {"L4": 0.70, "A10G": 1.01, "A100": 3.67, "H100": 7.516}
CAPS = {"A100": 2, "H100": 1}


def given(rate: float) -> dict[str, Any]:
    """Return 60 sizes, the most frequent ones in the middle."""
    weights = {(a, b): 1 / (1 + abs(i - 2) + abs(j - 4)) for i, a in enumerate(INPUTS) for j, b in enumerate(OUTPUTS)}
    total = sum(weights.values())
    return {
        "model": "Llama2_7B", "precision": "fp16", "tp_size": 1, "concurrency": 64, "utilization": 0.8,
        "traffic": [
            {"name": "requests", "input_len": a, "output_len": b, "request_rate": rate * weight / total}
            for (a, b), weight in weights.items()
        ],
    }  # fmt: skip


def offers(caps: dict[str, int]) -> list[dict[str, Any]]:
    """Return what can be rented, at most so many of some."""
    return [
        {"accelerator": name, "price": f"{price} USD/h", **({"available": caps[name]} if name in caps else {})}
        for name, price in PRICES.items()
    ]


def main() -> None:
    """Print the cheapest fleets."""
    print(f"{'requests/s':>10} {'load':>10} {'available':>9} {'USD/h':>9} {'gap':>7} {'CPU s':>6}  fleet")
    for rate in (4.0, 32.0, 256.0):
        for parts, caps in ((1, {}), (4, {}), (None, {}), (None, CAPS)):
            began = time.process_time()
            found = mo.optimize("serving_fleet", **given(rate), offers=offers(caps), slices=parts, time_limit=60)
            spent = time.process_time() - began
            fleet = ", ".join(f"{row['amount']} {row['accelerator']}" for row in found.amounts["replicas"])
            load = "divisible" if parts is None else f"{parts} part" + "s" * (parts > 1)
            cost = float(found.metrics["cost"].to("USD/h").magnitude)
            there = "limited" if caps else "any"
            print(f"{rate:10g} {load:>10} {there:>9} {cost:9.3f} {found.gap:7.1e} {spent:6.2f}  {fleet}")


if __name__ == "__main__":
    main()
