"""Failures of large jobs and sizes of checkpoints, against published logs.

The rates of a log stand in the catalog; where a row belongs to such a log, the prediction tests no more than that they
add up to what the log reports, and the group it is reported under says so. A row that states its own rate of node
failures is asked with that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlsysim_opt.physics.checkpoint import CheckpointModel
from mlsysim_opt.physics.reliability import ReliabilityModel
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.reliability import Reliability
from mlsysim_opt.registry.types import Fabric, Fleet, Node
from mlsysim_opt.validation.entries import model_entry
from mlsysim_opt.validation.report import Prediction
from mlsysim_opt.validation.rows import Row, Unmodelled

SOURCE = {"title": "the row of measurements", "locator": "inputs", "date": 2026}
RECORDS = {"llama3": "Llama3_H100", "opt": "OPT_A100", "meta-rsc": "Meta_RSC1_A100"}
"""The record of failures that a group of rows belongs to; others are asked of the default one."""
NODE_FAILURES = "node_failures_per_1000_node_days"
DAYS = re.compile(r"^\s*(\d+(?:\.\d+)?)")


def predict_reliability(row: Row) -> list[Prediction]:
    """Return what the models say of failures or checkpoints of a row.

    Raises:
        Unmodelled: nothing that was measured follows from what is stated.
    """
    if row.inputs.get("component") is not None:
        raise Unmodelled(
            "failures of one component: the catalog holds rates of accelerators, ports, hosts and software"
        )
    found = [ask(row, name, value) for name, ask in FAILURES.items() if (value := row.measurement(name)) is not None]
    if found and _own_record(row) is not None:
        found = [replace(item, group=f"{row.group} (rates of this log)") for item in found]
    # however often a row states its checkpoint, it is one size
    sizes = [ask(row, name, value) for name, ask in SIZES.items() if (value := row.measurement(name)) is not None]
    found += sizes[:1]
    if not found and row.measurement("tb_per_day") is not None:
        raise Unmodelled(
            "bytes per day are the size of a checkpoint by the measured interval; sizes have their own rows"
        )
    if not found:
        raise Unmodelled("nothing that was measured follows from what is stated")
    return found


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
    return 24 * float(found[1])


def _solved(row: Row, hours: float) -> Any:
    return ReliabilityModel().solve(fleet=_fleet(row), job_duration_hours=hours, reliability=_record(row))


def _failures(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_solved(row, _hours(row)).si("expected_failures"), "failures", value, target=name)


def _mtbf_hours(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_solved(row, 1.0).si("fleet_mtbf") / 3600, "h", value, target=name)


def _mtbf_minutes(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_solved(row, 1.0).si("fleet_mtbf") / 60, "min", value, target=name)


# checkpoints ----------------------------------------------------------------------------------------------------------
def _checkpoint(row: Row) -> Any:
    model = model_entry(str(row.need("model")), row.folder)
    return CheckpointModel().solve(model=model, hardware="A100", checkpoint_interval_hours=1.0)  # no part of the size


def _bytes(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_checkpoint(row).si("checkpoint_size"), "B", value, target=name)


def _terabytes(row: Row, name: str, value: float) -> Prediction:
    return Prediction(_checkpoint(row).si("checkpoint_size") / 1e12, "TB", value, target=name)


FAILURES: dict[str, Callable[[Row, str, float], Prediction]] = {
    "unexpected_interruptions": _failures, "restarts": _failures, "mttf_h": _mtbf_hours,
    "failure_every_min": _mtbf_minutes,
}  # fmt: skip
SIZES: dict[str, Callable[[Row, str, float], Prediction]] = {"checkpoint_bytes": _bytes, "checkpoint_tb": _terabytes}
"""What answers each number that rows report."""
