"""From plain data to a checked scenario, with every fault named at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlsysim_opt.errors import InputError, MlsysimError, PlanError
from mlsysim_opt.registry.datum import Source
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.scenario import ScenarioEntry, Split
from mlsysim_opt.units import as_measure

NOT_FOR_USERS = ("name", "group", "aliases")
"""Fields of catalog entries that mean nothing in a scenario of one's own."""
ALIASES = {
    "model": "workload", "hardware": "system", "fleet": "system", "sla": "limits", "region": "place",
    "datacenter": "place", "grid": "place", "qps": "arrival_rate",
}  # fmt: skip
"""Other names that people write for fields."""
SERVED = ("tp_size", "pp_size", "ep_size")
SPLIT_OF: dict[str, tuple[str, ...]] = {"inference": (), "serving": SERVED, "training": tuple(Split.model_fields)}
"""What a split may say for each task; all else would have no effect."""
MAX_SHOWN = 20
"""Faults that the text of an error lists; `errors` holds all of them."""
Fault = Callable[..., InputError]


def read_fields(fields: Mapping[str, Any], label: str = "scenario", fault: Fault | None = None) -> ScenarioEntry:
    """Return the scenario that these fields describe; `name` is free text.

    Args:
        fields: values as in a file, or catalog entries and quantities.
        label: where they come from, for messages and as the source of numbers.
        fault: makes an error from a path, a message and a hint.
    Raises:
        PlanError: naming every fault. InputError: there is only one.
    """
    from pydantic import ValidationError

    from mlsysim_opt.registry.load import explain

    make = fault or _fault
    said, written = _named(fields, make)
    title = said.pop("name", None) or said.get("title") or "Scenario"
    said["title"] = said.get("title") or title
    if said.get("source") is None:
        said["source"] = Source(label, "as given", "undated")
    slug = re.sub(r"[^A-Za-z0-9_.+-]+", "_", str(title)).strip("_.+-0123456789") or "Scenario"
    try:
        spec = ScenarioEntry.model_validate({**_plain(said), "name": slug[:80]})
        found = split_faults(spec, make)
        if not found:
            return spec
    except ValidationError as problem:
        found = [
            explain(_as_written(make, written), (), ScenarioEntry, dict(item))
            for item in problem.errors(include_url=False)
        ]
    if len(found) == 1:
        raise found[0]
    raise all_of(label, found)


def split_faults(spec: ScenarioEntry, fault: Fault | None = None) -> list[InputError]:
    """Return an error for each decision of the split that the task does not take."""
    given = spec.split.given() if spec.split is not None else {}
    found = []
    for key in given:
        if key not in SPLIT_OF[spec.job]:
            tasks = [task for task, takes in SPLIT_OF.items() if key in takes]
            takes = ", ".join(SPLIT_OF[spec.job]) or "no split"
            said = "" if spec.task is not None else ", as inferred"
            able = [f"task: {task}" for task in tasks if _able(spec, task)]
            hint = f"{spec.job} takes {takes}; remove it" + (f", or give {' or '.join(able)}" if able else "")
            text = f"has no effect on {spec.job} (the task{said}): it needs the task {' or '.join(tasks)}"
            found.append((fault or _fault)(("split", key), text, hint, key=True))
    return found


def _able(spec: ScenarioEntry, task: str) -> bool:
    """Return whether the workload and the system are such that they could have this task."""
    return spec.workload.kind == "model" and (task != "training" or spec.system.kind == "fleet")


def all_of(label: str, errors: Sequence[MlsysimError]) -> PlanError:
    """Return one error of these, whose text lists the first twenty."""
    if len(errors) <= MAX_SHOWN:
        return PlanError.of(label, errors)
    lines = [f"{len(errors)} errors"]
    lines += ["  - " + str(error).replace("\n", "\n    ") for error in errors[:MAX_SHOWN]]
    return PlanError("\n".join([*lines, f"  and {len(errors) - MAX_SHOWN} more"]), path=label, errors=errors)


def _named(fields: Mapping[str, Any], fault: Fault) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the fields by their own names, and how those that have another one were written."""
    said: dict[str, Any] = {}
    written: dict[str, str] = {}
    for key, value in fields.items():
        real = ALIASES.get(key, key)
        if real in said:
            raise fault((key,), f"{real!r} is given twice (as {written.get(real, real)!r} too)", key=True)
        said[real] = value
        if real != key:
            written[real] = key
    return said, written


def _as_written(fault: Fault, written: Mapping[str, str]) -> Fault:
    def made(path: tuple[Any, ...], *told: Any, **more: Any) -> InputError:
        return fault((written.get(path[0], path[0]), *path[1:]) if path else path, *told, **more)

    return made


def _fault(path: tuple[Any, ...], message: str, hint: str | None = None, *, key: bool = False) -> InputError:
    return InputError(message, path=".".join(str(step) for step in path) or None, hint=hint)


def _plain(value: Any) -> Any:
    """Return a value as it would stand in a file: quantities as text."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, Entry) and hasattr(value, "magnitude") and hasattr(value, "units"):
        measure = as_measure(value)
        return f"{measure.magnitude!r} {measure.unit.text}"
    return value
