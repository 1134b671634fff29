"""Failures of large jobs, and size, time and interval of checkpoints, against published logs.

The rates of a log stand in the catalog; where a row belongs to such a log, the prediction tests no more than that they
add up to what the log reports, and the group it is reported under says so. A row that states its own rate of node
failures is asked with that. Failures of one component are predicted with the rate of that cause in the catalog, of
another log where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from mlsysim_opt.physics.checkpoint import CheckpointModel
from mlsysim_opt.physics.reliability import ReliabilityModel
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.reliability import FailureCause, Reliability
from mlsysim_opt.registry.types import Fabric, Fleet, Node, Storage
from mlsysim_opt.validation.entries import model_entry
from mlsysim_opt.validation.report import Prediction
from mlsysim_opt.validation.rows import Row, Unmodelled, read_rows
from mlsysim_opt.validation.runs import hours, run_of

SOURCE = {"title": "the row of measurements", "locator": "inputs", "date": 2026}
RECORDS = {"llama3": "Llama3_H100", "opt": "OPT_A100", "meta-rsc": "Meta_RSC1_A100"}
"""The record of failures that a group of rows belongs to; others are asked of the default one."""
NODE_FAILURES = "node_failures_per_1000_node_days"
LOGS = ("opt-175b",)
"""Groups whose rows are all of one job: what one states holds for the others."""
PARTS = ("accelerator", "port", "host", "software")
CAUSES = (
    ("faulty gpu", "Faulty_Accelerator"), ("hbm", "Accelerator_HBM3"), ("sram", "Accelerator_Memory"),
    ("gpu system processor", "Llama3_System_Processor"), ("silent", "Llama3_Silent_Corruption"),
    ("thermal", "Llama3_Thermal"), ("switch", "Network_Switch_Cable"), ("nic", "Llama3_NIC"),
    ("nccl", "Collective_Timeout"), ("maintenance", "Host"), ("ssd", "Boot_Drive"),
    ("power supply", "Llama3_Power_Supply"), ("chassis", "Llama3_Chassis"), ("io expansion", "Llama3_IO_Board"),
    ("cpu", "Llama3_CPU"), ("system memory", "Llama3_Host_Memory"), ("software bug", "Llama3_Software_Bug"),
    ("dependency", "Llama3_Dependency"),
)  # fmt: skip
"""The cause in the catalog by what a row calls a component, and by a part of it."""
OWN_RATES, OTHER_RATES = "(rates of this log)", "(components, rates of others)"
BOUND, AT_LEAST = "(bound)", "the row says at least so much: more is no error, and counts as one here"
HOURS_PER_DAY = 24.0
RANGE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\b")
DAYS = re.compile(r"^\s*(\d+(?:\.\d+)?)")


def predict_reliability(row: Row) -> list[Prediction]:
    """Return what the models say of failures or checkpoints of a row.

    Raises:
        Unmodelled: nothing that was measured follows from what is stated.
    """
    row = _of_its_log(row)
    if row.inputs.get("component") is not None:
        return [_component(row)]
    found = _answers(row, FAILURES)
    if found and _own_record(row) is not None:
        found = [replace(item, group=f"{row.group} {OWN_RATES}") for item in found]
    bounds = _answers(row, BOUNDS)
    found += [replace(item, group=f"{row.group} {BOUND}", note=AT_LEAST) for item in bounds]
    # however often a row states its checkpoint, it is one size
    found += _answers(row, SIZES)[:1]
    found += _answers(row, OTHERS)
    if not found:
        raise Unmodelled("nothing that was measured follows from what is stated")
    return found


def _answers(row: Row, questions: Mapping[str, Question]) -> list[Prediction]:
    measured = {name: _measured(row, name) for name in questions}
    return [questions[name](row, name, value) for name, value in measured.items() if value is not None]


def _measured(row: Row, name: str) -> float | None:
    """Return what was measured: the middle of a range (``1-2 on average``), the largest of several."""
    value = row.measured.get(name)
    between = RANGE.match(value) if isinstance(value, str) else None
    if between is not None:
        return (float(between[1]) + float(between[2])) / 2
    several = value if isinstance(value, list) else []
    if several and all(isinstance(item, int | float) for item in several):
        return float(max(several))
    return row.measurement(name)


def _of_its_log(row: Row) -> Row:
    """Return a row with what other rows state of the same job: of the log it is from, or of the model it saves."""
    if not row.file.is_file() or row.inputs.get("component") is not None:
        return row
    named = row.inputs.get("model")
    alike = [
        item.inputs
        for item in read_rows(row.file)
        if item.group == row.group and (row.group in LOGS or (named and item.inputs.get("model") == named))
    ]
    merged: dict[str, Any] = {}
    for inputs in (*reversed(alike), row.inputs):
        merged.update(inputs)
    return replace(row, inputs=merged)


# failures -------------------------------------------------------------------------------------------------------------
def _record(row: Row) -> Entry:
    if row.inputs.get(NODE_FAILURES) is not None:
        nothing = {"value": "0 1/h", "estimated": "counted with the nodes"}
        return Reliability.model_validate(
            {"name": "row-rates", "title": "rate of the row", "source": SOURCE, "accelerator_rate": nothing,
             "port_rate": nothing, "software_rate": nothing, "host_rate": f"{row.number(NODE_FAILURES) / 1000} 1/day"}
        )  # fmt: skip
    return default_catalog().find("reliability", _own_record(row) or "Llama3_H100")


def _own_record(row: Row) -> str | None:
    """Return the record of the catalog that was made from the log of the row, if the row is asked with it."""
    if row.inputs.get(NODE_FAILURES) is not None:
        return None
    return next((record for group, record in RECORDS.items() if row.group.startswith(group)), None)


def _fleet(row: Row) -> Fleet:
    catalog = default_catalog()
    node = catalog.find("node", "DGX_A100" if "a100" in str(row.inputs.get("hardware", "")) else "GrandTeton_H100")
    fabric = catalog.find("fabric", "RoCE_400G")
    assert isinstance(node, Node)
    assert isinstance(fabric, Fabric)
    devices = row.count("gpus")
    count = devices // node.accelerators_per_node
    fields = {"node": node, "node_count": max(count, 1), "fabric": fabric, "source": SOURCE}
    return Fleet.model_validate({"name": "row-fleet", "title": "fleet of the row", **fields})


def _hours(row: Row) -> float:
    if row.inputs.get("hours") is not None:
        return row.number("hours")
    found = DAYS.match(str(row.inputs.get("days", "")))
    if found is None:
        raise Unmodelled("duration not stated")
    return HOURS_PER_DAY * float(found[1])


def _solved(row: Row, hours: float) -> Any:
    return ReliabilityModel().solve(fleet=_fleet(row), job_duration_hours=hours, reliability=_record(row))


def _failures(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_solved(row, _hours(row)).si("expected_failures"), "failures", value, target=name)


def _mtbf_hours(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_solved(row, 1.0).si("fleet_mtbf") / 3600, "h", value, target=name)


def _mtbf_minutes(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_solved(row, 1.0).si("fleet_mtbf") / 60, "min", value, target=name)


def _failures_per_day(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_solved(row, HOURS_PER_DAY).si("expected_failures"), "failures", value, target=name)


def _longest(row: Row, name: str, value: float) -> Prediction:
    days = _solved(row, _hours(row)).si("longest_stretch") / 86_400
    return Prediction(days, "day", value, target=name, note="the longest of those listed")


def _goodput(row: Row, name: str, value: float) -> Prediction:
    """Share of time that is progress, at the best interval of checkpoints and the model's own times of them."""
    share = _solved(row, 1.0).goodput
    return Prediction(100 * share if "pct" in name else share, "%" if "pct" in name else "", value, target=name)


def _one_cause(row: Row, part: str, rate: float, hours: float) -> float:
    """Return the failures of one cause within a time."""
    rates = {f"{kind}_rate": {"value": "0 1/h", "estimated": "one cause alone is asked for"} for kind in PARTS}
    fields = {**rates, f"{part}_rate": f"{rate} 1/s", "source": SOURCE}
    alone = Reliability.model_validate({"name": "one-cause", "title": "one cause", **fields})
    solved = ReliabilityModel().solve(fleet=_fleet(row), job_duration_hours=hours, reliability=alone)
    return float(solved.si("expected_failures"))


def _component(row: Row) -> Prediction:
    """Failures of one component, with the rate of that cause in the catalog."""
    said = str(row.inputs["component"])
    name = next((cause for word, cause in CAUSES if word in said.lower()), None)
    if name is None:
        raise Unmodelled(f"the catalog holds no rate of failures of {said}")
    cause = default_catalog().find("failure_cause", name)
    assert isinstance(cause, FailureCause)
    value = row.measurement("interruptions")
    if value is None:
        raise Unmodelled("failures of one component, but no number of them")
    found = _one_cause(row, cause.part, cause.parameter("rate").si, _hours(row))
    own = cause.record is not None and cause.record.name == _own_record(row)
    group = f"{row.group} {OWN_RATES}" if own else f"{row.group} {OTHER_RATES}"
    return Prediction(found, "failures", value, target=said, group=group)


def _accelerators_per_week(row: Row, name: str, value: float) -> Prediction:
    record = _record(row)
    found = _one_cause(row, "accelerator", record.parameter("accelerator_rate").si, 7 * HOURS_PER_DAY)
    return Prediction(found, "failures", value, target=name)


def _ideal_days(row: Row, name: str, value: float) -> Prediction:
    """Days of training without a pause, as the model of training predicts them for the run in the catalog."""
    run = run_of(row.group)
    return Prediction(hours(run) / HOURS_PER_DAY, "day", value, target=name)


# checkpoints ----------------------------------------------------------------------------------------------------------
def _checkpoint(row: Row) -> Any:
    model = model_entry(str(row.need("model")), row.folder)
    storage = "Parallel_FS_Enhanced" if "nvme" in str(row.inputs.get("filesystem", "")).lower() else "Checkpoint_FS"
    system = default_catalog().find("storage", storage)
    assert isinstance(system, Storage)
    # the kind of accelerator and the interval have no part in the size, nor in the time where the file system is slower
    return CheckpointModel().solve(
        model=model, hardware="A100", checkpoint_interval_hours=1.0, n_writers=row.count("writers", 8),
        filesystem_bandwidth=f"{system.parameter('write_bandwidth').si} byte/s",
    )  # fmt: skip


def _bytes(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_checkpoint(row).si("checkpoint_size"), "B", value, target=name)


def _terabytes(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_checkpoint(row).si("checkpoint_size") / 1e12, "TB", value, target=name)


def _write_time(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_checkpoint(row).si("write_time"), "s", value, target=name)


def _interval(row: Row, name: str, value: float) -> Prediction:
    """The interval that loses the least time, for a checkpoint that is written while the job waits."""
    saving = _checkpoint(row).si("write_time")
    solved = ReliabilityModel().solve(
        fleet=_fleet(row), job_duration_hours=1.0, checkpoint_time_s=saving, reliability=_record(row)
    )
    return Prediction(solved.si("optimal_interval") / 3600, "h", value, target=name, note="the best one, not a habit")


Question: TypeAlias = Callable[[Row, str, float], Prediction]
FAILURES: dict[str, Question] = {
    "unexpected_interruptions": _failures, "restarts": _failures, "mttf_h": _mtbf_hours,
    "failure_every_min": _mtbf_minutes, "machines_down_per_day": _failures_per_day,
    "longest_uninterrupted_days": _longest,
}  # fmt: skip
BOUNDS: dict[str, Question] = {"effective_training_time_min": _goodput, "effective_training_time_pct_min": _goodput}
SIZES: dict[str, Question] = {"checkpoint_bytes": _bytes, "checkpoint_tb": _terabytes}
OTHERS: dict[str, Question] = {
    "save_time_s": _write_time, "checkpoint_interval_h": _interval, "gpu_failures_per_week": _accelerators_per_week,
    "ideal_days": _ideal_days,
}  # fmt: skip
"""What answers each number that rows report."""
