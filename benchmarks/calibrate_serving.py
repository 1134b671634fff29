"""Fit the constants of serving on published measurements, and print what to write into the catalog.

    python -m benchmarks.calibrate_serving ../shared/validation

Fitted per accelerator generation, on the mean time per output token of closed-loop runs: time per layer and per pass
beside the kernels, and per request. Fitted on all of them together, on the time to the first token of dense models: the
constants of the scheduler. Power: least squares on the measured power of ML.ENERGY's decode steps, per generation. Each
is printed with the range that it takes when one engine after the other is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.validation.rows import Row, Unmodelled, read_rows
from mlsysim_opt.validation.serving import BATCHING, LEAST_SERVED, REQUESTS_PER_CLIENT, SERVING, decode_of, silicon_of

OVERHEADS = {"serving_layer_overhead": 20e-6, "serving_step_overhead": 0.5e-3, "serving_request_overhead": 2e-6}
SCHEDULER = {"front_end": 30e-3, "companions": 3.0, "coherence": 400.0}
MOST = 1.5
"""Errors beyond count as much as this: rows of misstated sizes shall not decide."""


class Point(NamedTuple):
    """A row with its compiled equations and the values of their leaves."""

    row: Row
    traced: Any
    values: dict[str, Any]
    generation: str
    dense: bool


def points(rows: Iterable[Row]) -> list[Point]:
    """Return what the rows of closed loops ask, where they are modelled."""
    found = []
    for row in rows:
        if row.flags:
            continue
        try:
            given = silicon_of(row)
            values = BATCHING.check(**given, requests_per_client=REQUESTS_PER_CLIENT)
            traced = BATCHING.trace(values)
        except (MlsysimError, Unmodelled):
            continue
        model = values["model"]
        point = Point(row, traced, BATCHING.leaf_values(values), values["hardware"].generation, model.moe is None)
        raw = run(point, {})
        fits, clients = raw[traced.position["max_active_requests"]], values["max_batch_size"]
        if fits >= 1 and clients <= LEAST_SERVED * fits:
            found.append(point)
    return found


def run(point: Point, changed: Mapping[str, float]) -> list[Any]:
    """Return the outputs with some leaves changed."""
    values = {**point.values, **changed}
    raw: list[Any] = point.traced.program.run([values[name] for name in point.traced.leaf_names])
    return raw


def errors(chosen: Sequence[Point], changed: Mapping[str, float], output: str, column: str) -> Any:
    """Return the absolute relative errors of an output against a measured column in ms."""
    found = []
    for point in chosen:
        measured = point.row.measurement(column)
        if measured is not None:
            found.append(abs(run(point, changed)[point.traced.position[output]] * 1e3 / measured - 1))
    return np.minimum(found, MOST)


def search(start: Mapping[str, float], loss: Callable[[dict[str, float]], float]) -> dict[str, float]:
    """Return the constants of the smallest loss, one coordinate after the other in shrinking steps."""
    best, least = dict(start), loss(dict(start))
    for factor in (1.5, 1.25, 1.1, 1.05):
        improved = True
        while improved:
            improved = False
            for name in best:
                for times in (factor, 1 / factor):
                    tried = {**best, name: best[name] * times}
                    value = loss(tried)
                    if value < least - 1e-5:
                        best, least, improved = tried, value, True
    return best


def fit(chosen: Sequence[Point], prefix: str, start: Mapping[str, float], output: str, column: str) -> dict[str, float]:
    """Return the fitted constants of these points."""
    named = {f"{prefix}.{name}": value for name, value in start.items()}
    return search(named, lambda tried: float(np.mean(errors(chosen, tried, output, column))))


def show(title: str, chosen: Sequence[Point], prefix: str, start: Mapping[str, float], target: tuple[str, str]) -> None:
    """Print the fit of these points and its ranges."""
    found = fit(chosen, prefix, start, *target)
    engines = sorted({str(point.row.inputs.get("backend")) for point in chosen})
    without = [
        fit([point for point in chosen if point.row.inputs.get("backend") != engine], prefix, start, *target)
        for engine in engines
    ]  # fmt: skip
    left = errors(chosen, found, *target)
    print(f"{title}: {len(chosen)} rows, mean error {left.mean():.1%}, median {np.median(left):.1%}")
    for name, value in found.items():
        ranged = [other[name] for other in without]
        print(f"  {name} = {value:.4g}   range {min(ranged):.4g} to {max(ranged):.4g} (without one of {engines})")


def power(rows: Sequence[Row]) -> None:
    """Print the shares of rated power, fitted on the measured power of decode steps."""
    cases: dict[str, list[tuple[float, ...]]] = {}
    for row in rows:
        watts, step = row.measurement("gpu_power_w_total"), row.measurement("itl_median_ms")
        if row.flags or watts is None or step is None:
            continue
        try:
            given = decode_of(row)
            solved = SERVING.solve(**given)
        except (MlsysimError, Unmodelled):
            continue
        slower = solved.si("itl") * 1e3 / step  # what was used of bandwidth and compute at the measured speed
        rated = given["hardware"].parameter("tdp").si * row.number("gpus")
        used = (1.0, solved.si("decode_bandwidth_utilization") * slower, solved.si("decode_mfu") * slower)
        cases.setdefault(given["hardware"].generation, []).append((*used, watts / rated))
    for generation, found in sorted(cases.items()):
        table = np.asarray(found)
        used, drawn = table[:, :3], table[:, 3]
        shares = np.linalg.lstsq(used / drawn[:, None], np.ones(len(drawn)), rcond=None)[0]
        left = np.abs(np.minimum(used @ shares, 1) / drawn - 1)
        flat = np.abs(np.median(drawn) / drawn - 1)
        names = ("awake_power_share", "bandwidth_power_share", "compute_power_share")
        print(
            f"{generation} power: {len(drawn)} rows, mean error {left.mean():.1%} (one share for all {flat.mean():.1%})"
        )
        print("  " + ", ".join(f"{name} = {share:.3g}" for name, share in zip(names, shares, strict=True)))


def main() -> None:
    """Read the folder of measurements and print all fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found = points(read_rows(folder / "inference_silicon.csv"))
    tokens, first = ("itl", "tpot_ms"), ("ttft", "ttft_ms")
    for generation in sorted({point.generation for point in found}):
        show(generation, [item for item in found if item.generation == generation], "calibration", OVERHEADS, tokens)
    show("scheduler", [point for point in found if point.dense], "scheduler", SCHEDULER, first)
    power(read_rows(folder / "inference.yaml"))


if __name__ == "__main__":
    main()
