"""Fit the constants of the training model per accelerator generation on published measurements.

    python benchmarks/calibrate_training.py FILE            # the errors of the constants in the catalog
    python benchmarks/calibrate_training.py FILE --fit      # fit them anew, and print what to put into the catalog
    python benchmarks/calibrate_training.py FILE --cross    # errors on rows that a fit has not seen

FILE is a file of training measurements with models.yaml and hardware.yaml beside it. Rows become calls of the model in
`mlsysim_opt.validation.training`, the same that ``mlsysim-opt validate FILE`` uses.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.physics.training import DistributedModel
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.validation.rows import Unmodelled, read_rows
from mlsysim_opt.validation.training import Case, configuration

FITTED = ("gemm_efficiency", "attention_efficiency")
"""The constants fitted here; all others stand at the sources named in the catalog."""
ENOUGH = 8
"""Rows that a generation needs for a fit of its own; fewer say too little of two constants, and those of the catalog
stand. (Volta's three rows agree among themselves and are the exception, fitted by hand.)"""
ONE_CONSTANT = ("tpu_v5p",)
"""Generations whose rows cannot tell both constants apart: only the products are fitted."""


@dataclass
class Run:
    """A row whose prediction is a function of calibrated constants."""

    case: Case
    predict: Callable[[Mapping[str, float]], float]

    @property
    def group(self) -> str:
        return self.case.row.group

    @property
    def generation(self) -> str:
        return self.case.generation


def compiled(case: Case) -> Run:
    """Return the case with a function from calibrated constants to the predicted step time."""
    model = DistributedModel()
    programs = []
    for weight, arguments in case.calls:
        values = model.check(**arguments)
        traced = model.trace(values)
        programs.append((weight, traced, model.leaf_values(values), traced.position["step_time"]))

    def predict(constants: Mapping[str, float]) -> float:
        total = 0.0
        for weight, traced, named, position in programs:
            bound = {**named, **{f"calibration.{name}": value for name, value in constants.items()}}
            total += weight * float(traced.program.run([bound[name] for name in traced.leaf_names])[position])
        return total

    return Run(case, predict)


# fit ------------------------------------------------------------------------------------------------------------------
Constants = Mapping[str, Mapping[str, float]]
"""Calibrated constants by generation."""


def error(run: Run, constants: Mapping[str, float]) -> float:
    """Return the relative error of the predicted step time."""
    return run.predict(constants) / run.case.measured - 1


def loss(runs: Sequence[Run], constants: Mapping[str, float]) -> float:
    """Return the mean absolute logarithmic error, each group of rows with the weight of the root of its size."""
    groups: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        groups[run.group].append(abs(math.log(run.predict(constants) / run.case.measured)))
    weights = {name: math.sqrt(len(items)) for name, items in groups.items()}
    return sum(weights[name] * statistics.fmean(items) for name, items in groups.items()) / sum(weights.values())


def fit(runs: Sequence[Run], start: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Return the constants of least loss: cyclic search with shrinking steps (the loss has kinks, the space few
    dimensions)."""
    best, step = dict(start), 0.08
    low = loss(runs, best)
    while step > 1e-3:
        improved = False
        for name in names:
            for factor in (1 + step, 1 / (1 + step)):
                value = best[name] * factor
                if name.endswith("efficiency"):
                    value = min(value, 0.98)
                trial = {**best, name: value}
                now = loss(runs, trial)
                if now < low - 1e-9:
                    best, low, improved = trial, now, True
        if not improved:
            step /= 2
    return best


def fit_all(runs: Sequence[Run], start: Constants) -> dict[str, dict[str, float]]:
    """Return the constants of each generation that has rows fitted on them; all others as they are."""
    found = {generation: dict(values) for generation, values in start.items()}
    for generation in start:
        mine = [run for run in runs if run.generation == generation]
        if len(mine) >= ENOUGH:
            found[generation] = fit(mine, start[generation], fitted(generation))
    return found


def fitted(generation: str) -> tuple[str, ...]:
    """Return the constants that are fitted for a generation."""
    return FITTED[:1] if generation in ONE_CONSTANT else FITTED


def spread(runs: Sequence[Run], best: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return the range of each fitted constant when one group of rows after the other is left out."""
    groups = sorted({run.group for run in runs})
    fits = [dict(best)]
    names = fitted(runs[0].generation)
    if len(groups) > 1:
        fits += [fit([run for run in runs if run.group != group], best, names) for group in groups]
    return {name: (min(item[name] for item in fits), max(item[name] for item in fits)) for name in FITTED}


def spread_by_size(runs: Sequence[Run], constants: Constants, jitter: float) -> float:
    """Return the mean distance of logarithmic errors from the median of their series, for this `step_jitter`.

    A series is a set of rows that differ only in how many nodes (and replicas, at the same work of each) they have;
    what is common to a series is of no weight here.
    """
    series: dict[Any, list[float]] = defaultdict(list)
    for run in runs:
        given = run.case.calls[0][1]
        where = given["fleet"]
        replicas = where.accelerators // (given["tp_size"] * given["pp_size"] * given["cp_size"])
        key = (run.group, given["model"].title, given["model"].layers, where.accelerator.name,
               round(given["batch_size"] / replicas, 3),
               *(value for name, value in given.items() if name not in ("model", "fleet", "batch_size")))  # fmt: skip
        predicted = run.predict({**constants[run.generation], "step_jitter": jitter})
        series[key].append(math.log(predicted / run.case.measured))
    apart = [abs(x - statistics.median(row)) for row in series.values() if len(row) > 1 for x in row]
    return statistics.fmean(apart)


# unseen rows ----------------------------------------------------------------------------------------------------------
def mean_error(runs: Sequence[Run], constants: Constants) -> float:
    """Return the mean absolute relative error."""
    return statistics.fmean(abs(error(run, constants[run.generation])) for run in runs)


def random_halves(runs: Sequence[Run], start: Constants, times: int = 5) -> tuple[float, float]:
    """Return the mean error on random halves that were fitted, and on the other halves."""
    seen, unseen = [], []
    for seed in range(times):
        shuffled = list(runs)
        random.Random(seed).shuffle(shuffled)
        half = len(shuffled) // 2
        found = fit_all(shuffled[:half], start)
        seen.append(mean_error(shuffled[:half], found))
        unseen.append(mean_error(shuffled[half:], found))
    return statistics.fmean(seen), statistics.fmean(unseen)


def left_out(runs: Sequence[Run], start: Constants, key: Callable[[Run], str]) -> dict[str, float]:
    """Return the mean error on the rows of each value of `key`, with constants fitted on all other rows."""
    found = {}
    for value in sorted({key(run) for run in runs}):
        here = [run for run in runs if key(run) == value]
        concerned = {run.generation for run in here}
        rest = [run for run in runs if key(run) != value and run.generation in concerned]
        found[value] = mean_error(here, {**start, **fit_all(rest, {name: start[name] for name in concerned})})
    return found


def cross_validate(runs: Sequence[Run], start: Constants) -> None:
    """Print the errors on rows that a fit has not seen."""
    seen, unseen = random_halves(runs, start)
    print(f"random halves: fitted half {seen:.2%}, other half {unseen:.2%}")
    kinds: dict[str, Callable[[Run], str]] = {
        "group": lambda run: run.group,
        "model": lambda run: str(run.case.row.inputs["model"]),
        "device": lambda run: str(run.case.row.inputs["hardware"]),
    }
    for what, key in kinds.items():
        errors = left_out(runs, start, key)
        sizes = Counter(key(run) for run in runs)
        mean = sum(errors[name] * sizes[name] for name in errors) / len(runs)
        print(f"one {what} left out: {mean:.2%} over all rows")
        for name, size in errors.items():
            print(f"    {name:28s} {sizes[name]:4d} rows  {size:7.2%}")


# report ---------------------------------------------------------------------------------------------------------------
def constants_of(generation: str) -> dict[str, float]:
    """Return the constants of a generation as they stand in the catalog."""
    entry = default_catalog().find("calibration", generation)
    return {name: float(datum.si) for name, datum in entry.parameters().items()}


def report(runs: Sequence[Run], constants: Constants) -> None:
    """Print errors by generation and group."""
    rows: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        off = error(run, constants[run.generation])
        for key in ((run.generation, run.group), (run.generation, "all"), ("all", run.group), ("all", "all"),
                    ("all", "precision " + run.case.precision)):  # fmt: skip
            rows[key].append(off)
    print(f"{'generation':12s} {'group':22s} rows  mean APE  median APE   bias")
    for (generation, group), errors in sorted(rows.items()):
        size = [abs(item) for item in errors]
        print(
            f"{generation:12s} {group:22s} {len(errors):4d}  {statistics.fmean(size):8.2%}  "
            f"{statistics.median(size):9.2%}  {statistics.fmean(errors):+7.2%}"
        )


def read(path: Path) -> tuple[list[Run], Counter[str]]:
    """Return the rows that count, compiled, and how many were left out by reason."""
    runs, reasons = [], Counter[str]()
    for row in read_rows(path):
        if row.flags:
            reasons["flagged by the collectors"] += 1
            continue
        try:
            runs.append(compiled(configuration(row)))
        except (Unmodelled, MlsysimError) as problem:
            reasons[str(problem).splitlines()[0]] += 1
    return runs, reasons


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--fit", action="store_true", help="fit the constants instead of taking the catalog's")
    parser.add_argument("--cross", action="store_true", help="errors on rows that a fit has not seen")
    chosen = parser.parse_args(arguments)
    runs, reasons = read(chosen.file)
    start = {generation: constants_of(generation) for generation in sorted({run.generation for run in runs})}
    if chosen.cross:
        cross_validate(runs, start)
        return
    constants: Constants = start
    if chosen.fit:
        constants = fit_all(runs, start)
        for generation, found in constants.items():
            mine = [run for run in runs if run.generation == generation]
            bars = spread(mine, found)
            how = f"{len(fitted(generation))} constants fitted on" if len(mine) >= ENOUGH else "nothing fitted on"
            print(f"{generation}: {how} {len(mine)} rows, mean error {mean_error(mine, constants):.1%}")
            for name in fitted(generation) if len(mine) >= ENOUGH else ():
                low, high = bars[name]
                print(f"  {name} {found[name]:.3f} (one group left out: {low:.3f} to {high:.3f})")
        for jitter in (0.0, 0.01, 0.02, 0.03, 0.04):
            print(f"step_jitter {jitter:.2f}: mean spread within series {spread_by_size(runs, constants, jitter):.3%}")
    report(runs, constants)
    print(f"{len(runs)} rows modelled; left out:")
    for reason, count in reasons.most_common():
        print(f"  {count:4d}  {reason}")


if __name__ == "__main__":
    main()
