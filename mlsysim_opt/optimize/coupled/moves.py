"""What differs between two plans, in words: which item goes from where to where, which amounts grow or shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.optimize.coupled.solution import PlanSolution

ROUNDING = 1e-9
MANY = 24
"""More changes than these are told as means."""
Row = Mapping[str, Any]
Place = tuple[tuple[str, Any], ...]


def plan_moves(old: PlanSolution, new: PlanSolution) -> list[str]:
    """Return what changes from one plan to another."""
    groups = _groups(old)
    found: list[str] = []
    for name in dict.fromkeys([*old.amounts, *new.amounts]):
        before, after = old.amounts.get(name, []), new.amounts.get(name, [])
        if groups.get(name):
            found += _picked(name, before, after, groups[name])
        else:
            found += _amounts(name, before, after)
    return found


def _groups(plan: PlanSolution) -> dict[str, list[str]]:
    """Return, for each family that picks, the names of the choices that it picks for."""
    try:
        problem = plan._task().problem
    except MlsysimError:  # asked with functions, and read from a file: amounts are compared one by one
        return {}
    return {name: [choice.name for choice in family.group] for name, family in problem.families.items() if family.group}


def _place(row: Row, names: Sequence[str] | None = None) -> Place:
    return tuple(
        (name, value) for name, value in row.items()
        if name not in ("amount", "unit") and (names is None or name in names)
    )  # fmt: skip


def _picked(name: str, before: Sequence[Row], after: Sequence[Row], group: Sequence[str]) -> list[str]:
    def by_item(rows: Sequence[Row]) -> dict[Any, list[Row]]:
        found: dict[Any, list[Row]] = {}
        for row in rows:
            found.setdefault(_place(row, group), []).append(row)
        return found

    old, new = by_item(before), by_item(after)
    out: list[str] = []
    for item in dict.fromkeys([*old, *new]):
        told = " ".join(f"{key} {value}" for key, value in item)
        mine, others = old.get(item, []), new.get(item, [])
        if len(mine) == len(others) == 1 and mine[0]["amount"] == others[0]["amount"]:
            changed = [
                f"{key} from {value} to {others[0].get(key)}" for key, value in mine[0].items()
                if key not in ("amount", "unit") and others[0].get(key) != value
            ]  # fmt: skip
            if changed:
                out.append(f"{name}: {told} moves " + ", ".join(changed))
        else:
            out += _amounts(name, mine, others)
    return out


def _amounts(name: str, before: Sequence[Row], after: Sequence[Row]) -> list[str]:
    old = {_place(row): row for row in before}
    new = {_place(row): row for row in after}
    size = max((abs(row["amount"]) for row in [*before, *after]), default=0)
    changed: list[tuple[Place, float, float]] = []
    for place in dict.fromkeys([*old, *new]):
        one = old[place]["amount"] if place in old else 0
        two = new[place]["amount"] if place in new else 0
        if abs(two - one) > ROUNDING * size:
            changed.append((place, one, two))
    unit = next((row.get("unit", "") for row in [*before, *after]), "")
    if len(changed) > MANY:
        return _series(name, changed, unit)
    return [_told(name, place, "", one, two, unit) for place, one, two in changed]


def _series(name: str, changed: Sequence[tuple[Place, float, float]], unit: str) -> list[str]:
    """Return many changes as means along the choice that has the most values among them (hours, mostly)."""
    values: dict[str, set[Any]] = {}
    for place, _, _ in changed:
        for key, value in place:
            values.setdefault(key, set()).add(value)
    along = max(values, key=lambda key: len(values[key]))
    groups: dict[Place, list[tuple[float, float]]] = {}
    for place, one, two in changed:
        groups.setdefault(tuple(item for item in place if item[0] != along), []).append((one, two))
    out: list[str] = []
    for place, pairs in groups.items():
        ones, twos = zip(*pairs, strict=True)
        count = len(pairs)
        span = f" in {count} of {len(values[along])} {along}s, in the mean" if count > 1 else ""
        out.append(_told(name, place, span, sum(ones) / count, sum(twos) / count, unit))
    return out


def _told(name: str, place: Place, span: str, one: float, two: float, unit: str) -> str:
    where = ", ".join(f"{key}={value}" for key, value in place)
    return f"{name}{f' ({where})' if where else ''}{span} {one:.6g} -> {two:.6g} {unit}".rstrip()
