"""Rental prices from a catalog file of SkyPilot (``catalogs/v8/<cloud>/vms.csv``)."""

from __future__ import annotations

import datetime
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mlsysim_opt.errors import CatalogError
from mlsysim_opt.registry.catalog import default_catalog
from mlsysim_opt.registry.datum import DATE
from mlsysim_opt.registry.importers.tables import Table, printable, quoted

NAMES = {
    "A100": "A100_40GB", "A100-80GB": "A100", "A100-80GB-SXM": "A100", "A100-80GB-PCIe": "A100_PCIe",
    "H100": "H100", "H100-80GB": "H100", "H100-SXM": "H100", "H100-MEGA-80GB": "H100", "H100-PCIe": "H100_PCIe",
    "H100-NVL": "H100_NVL", "H200": "H200", "V100": "V100_16GB", "V100-32GB": "V100", "Trainium": "Trainium1",
    "Inferentia": "Inferentia", "RTX6000-Ada": "RTX_6000_Ada", "RTXA6000": "RTX_A6000", "A6000": "RTX_A6000",
    "tpu-v4": "TPUv4", "tpu-v5litepod": "TPUv5e", "tpu-v5p": "TPUv5p", "tpu-v6e": "TPUv6e",
}  # fmt: skip
"""SkyPilot's names that mean another thing than the catalog's, or that the catalog writes otherwise."""
_TPU = re.compile(r"(tpu-v\w+?)-([0-9]+)")
_PLAIN = re.compile(r"[\w .,()/:+-]{1,80}")


@dataclass(frozen=True)
class _Offer:
    rate: float
    instance: str
    count: float


def import_skypilot(path: str | os.PathLike[str], *, provider: str | None = None, date: str | None = None) -> str:
    """Return the accelerator prices of a SkyPilot catalog file as a price file of the catalog (YAML text).

    Prices are per accelerator: that of the instance by its accelerators; of several instances in one region the
    cheapest counts. Rows without an accelerator or a price are left out, and so are accelerators that the catalog does
    not have; a comment lists those.

    Args:
        path: the CSV file, with the columns AcceleratorName, AcceleratorCount, Price, SpotPrice, Region, and
            InstanceType.
        provider: who offers them; by default the name of the file, or of its folder where it is called ``vms.csv``.
        date: when the prices held, ``2025-03-01``; by default the day the file was last written.
    Raises:
        CatalogError: the file cannot be read, a column is missing, a number is not one, or no price is left.
    """
    table = Table(path)
    columns = [
        table.column(name, wanted=what)
        for name, what in (
            ("InstanceType", "the instance"),
            ("AcceleratorName", "the accelerator"),
            ("AcceleratorCount", "accelerators of the instance"),
            ("Region", "the provider's region"),
            ("Price", "USD per hour on demand"),
            ("SpotPrice", "USD per hour of spot capacity"),
        )
    ]
    place = Path(path)
    who = provider or (place.parent.name if place.stem == "vms" else place.stem)
    _plain(table, who, "provider", None)
    when = date or datetime.datetime.fromtimestamp(place.stat().st_mtime, datetime.UTC).date().isoformat()
    if not DATE.fullmatch(when):
        raise CatalogError(f"{when!r} is not of the form 2024, 2024-05 or 2024-05-31", path="date")
    offers: dict[tuple[str, str, str], _Offer] = {}
    unknown: Counter[str] = Counter()
    for row in table.rows():
        instance, name, count, region, price, spot = (row[column] for column in columns)
        if not name or not count:
            continue
        found, chips = _accelerator(name)
        if found is None:
            unknown[name] += 1
            continue
        held = table.number(count, "AcceleratorCount", above=True) * chips
        _plain(table, region, "Region", table.line)
        _plain(table, instance or "accelerator alone", "InstanceType", table.line)
        for plan, text in (("on_demand", price), ("spot", spot)):
            if not text:
                continue
            rate = table.number(text, "Price" if plan == "on_demand" else "SpotPrice") / held
            if rate == 0:  # how some files write that there is no such offer
                continue
            best = offers.get((found, region, plan))
            if best is None or rate < best.rate:
                offers[found, region, plan] = _Offer(rate, instance, held)
    if not offers:
        raise CatalogError(
            "has no price of an accelerator that the catalog knows",
            path=table.label,
            hint=f"it names {', '.join(printable(item) for item in list(unknown)[:8]) or 'none'}",
        )
    return _text(offers, who, when, unknown)


def _accelerator(name: str) -> tuple[str | None, int]:
    """Return the catalog's name of an accelerator, and how many chips one of it is (``tpu-v6e-8`` is eight)."""
    slices = _TPU.fullmatch(name)
    base, chips = (slices[1], int(slices[2])) if slices and int(slices[2]) else (name, 1)
    if slices and base in ("tpu-v2", "tpu-v3", "tpu-v4", "tpu-v5p"):
        chips = max(chips // 2, 1)  # these are counted in cores, two a chip
    return default_catalog().lookup("accelerator", NAMES.get(base, base)), chips


def _plain(table: Table, text: str, column: str, line: int | None) -> None:
    if not _PLAIN.fullmatch(text):
        raise table.fault(f"{column}: {printable(text)} cannot be part of a name", line)


def _text(offers: dict[tuple[str, str, str], _Offer], who: str, when: str, unknown: Counter[str]) -> str:
    lines = [f"# Rental prices of {who}, per accelerator: the cheapest instance of each region by its accelerators."]
    if unknown:
        listed = [f"{printable(name)} ({count} rows)" for name, count in sorted(unknown.items())[:40]]
        lines.append(f"# Left out, because the catalog has no such accelerator: {', '.join(listed)}")
    lines += ["kind: price", "sources:", "  skypilot:"]
    lines.append(f"    title: {quoted(f'Price list of {who} as gathered by SkyPilot')}")
    lines += ['    locator: "vms.csv, price of the instance by its accelerators"', f'    date: "{when}"', "entries:"]
    taken: Counter[str] = Counter()
    for (accelerator, region, plan), offer in sorted(offers.items()):
        suffix = "_Spot" if plan == "spot" else ""
        name = re.sub(r"[^A-Za-z0-9_]+", "_", f"{who}_{accelerator}_{region}")[:60].strip("_") + suffix
        name = name if name[:1].isalpha() else f"P{name}"
        taken[name.lower()] += 1
        if taken[name.lower()] > 1:
            name += f"_{taken[name.lower()]}"
        where = offer.instance or "the accelerator alone, without its host"
        title = f"{accelerator} on {who} {where}, {region}{', spot' if suffix else ''}"
        lines += [
            f"  {name}:",
            f"    title: {quoted(title)}",
            "    source: skypilot",
            f"    accelerator: {accelerator}",
            f"    plan: {plan}",
            f"    provider: {quoted(who)}",
            f"    region: {quoted(region)}",
            f'    date: "{when}"',
            f"    rate: {offer.rate:.6g} USD/h",
        ]
    return "\n".join(lines) + "\n"
