"""Mixes of accelerators for 60 sizes of requests: ``python benchmarks/fleet.py``; with ``melange`` as JSON, and the
published example.

Griggs et al. 2024 (Melange, arXiv 2404.14527) choose accelerators for 6 x 10 sizes of requests; the rates they measured
are not published. Here they are those of the physics of serving, at one concurrency and utilization; prices are USD per
hour of an L4, A10G, A100 and H100. A load that may be divided is never dearer than one in parts.
"""

from __future__ import annotations

import json
import sys
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


SHARES = {"short": 0.2, "long prompt": 0.1, "middle": 0.5, "long": 0.2}
RATES = {"A10G": (2, 1, 5, 2), "A100-80GB": (20, 20, 40, 20)}
PUBLISHED: dict[str, Any] = {
    "traffic": [{"name": name, "request_rate": 30 * share} for name, share in SHARES.items()],
    "measured": [
        {"accelerator": gpu, "name": name, "request_rate": rate}
        for gpu, rates in RATES.items() for name, rate in zip(SHARES, rates, strict=True)
    ],
    "offers": [{"accelerator": "A10G", "price": "1.01 USD/h"}, {"accelerator": "A100-80GB", "price": "3.67 USD/h"}],
    "slices": 1,
}  # fmt: skip
"""The example of the paper: 30 requests per second of four sizes; 3 A10G and 1 A100 for 6.70 USD/h."""


def melange() -> dict[str, Any]:
    """The published example, and the 60 sizes as a load that may be divided, few of some devices being available."""
    published = mo.optimize("serving_fleet", **PUBLISHED)
    spent, gaps, told = [], [], []
    for rate in (4.0, 32.0, 256.0):
        began = time.process_time()
        found = mo.optimize("serving_fleet", **given(rate), offers=offers(CAPS), slices=None, time_limit=60)
        spent.append(time.process_time() - began)
        gaps.append(float(found.gap))
        told.append(f"{rate:g} requests/s {_cost(found):.2f} USD/h by {_fleet(found)}")
    return {
        "seconds": max(spent),
        "gap": max(gaps),
        "published": _cost(published),
        "answer": f"the example: {_cost(published):.2f} USD/h by {_fleet(published)}; " + "; ".join(told),
    }


def _cost(found: Any) -> float:
    return float(found.metrics["cost"].to("USD/h").magnitude)


def _fleet(found: Any) -> str:
    return ", ".join(
        f"{row['amount']} {row.get('accelerator', row.get('replica'))}" for row in found.amounts["replicas"]
    )


def main() -> None:
    """Print the cheapest fleets."""
    print(f"{'requests/s':>10} {'load':>10} {'available':>9} {'USD/h':>9} {'gap':>7} {'CPU s':>6}  fleet")
    for rate in (4.0, 32.0, 256.0):
        for parts, caps in ((1, {}), (4, {}), (None, {}), (None, CAPS)):
            began = time.process_time()
            found = mo.optimize("serving_fleet", **given(rate), offers=offers(caps), slices=parts, time_limit=60)
            spent = time.process_time() - began
            load = "divisible" if parts is None else f"{parts} part" + "s" * (parts > 1)
            there = "limited" if caps else "any"
            print(
                f"{rate:10g} {load:>10} {there:>9} {_cost(found):9.3f} {found.gap:7.1e} {spent:6.2f}  {_fleet(found)}"
            )


if __name__ == "__main__":
    if sys.argv[1:] == ["melange"]:
        print(json.dumps(melange()))
    else:
        main()
