"""The shipped catalog as a whole: provenance, conventions, cross checks between entries, known traps."""

from __future__ import annotations

from importlib.resources import files

import pytest

from mlsysim_opt.registry import Infra, default_catalog
from mlsysim_opt.registry.kinds import KINDS
from mlsysim_opt.registry.load import read_file
from mlsysim_opt.registry.types import Entry

CATALOG = default_catalog()
EVERY = [pytest.param(entry, id=f"{kind}-{entry.name}") for kind in KINDS for entry in CATALOG.all(kind)]


@pytest.mark.parametrize("entry", EVERY)
def test_every_number_has_a_source_or_a_reason(entry: Entry) -> None:
    assert entry.parameters()
    for path, datum in entry.parameters().items():
        if datum.source is None:
            assert datum.estimated, path
            assert len(datum.estimated) >= 10, path
        else:
            assert min(len(datum.source.title), len(datum.source.locator), len(datum.source.date)) >= 4, path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_entries_and_its_files_declare_it(kind: str) -> None:
    assert CATALOG.names(kind)
    assert len({entry.title for entry in CATALOG.all(kind)}) == len(CATALOG.names(kind))


def test_every_yaml_file_is_read_by_some_kind() -> None:
    root = files("mlsysim_opt.catalog")
    on_disk = {item.name for item in root.iterdir() if item.name.endswith(".yaml")}
    on_disk |= {
        f"{folder.name}/{item.name}"
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith("_") and folder.name != "published"  # no entries: runs
        for item in folder.iterdir()
        if item.name.endswith(".yaml")
    }
    read = {file.label.removeprefix("catalog/") for kind in KINDS.values() for file in CATALOG._layers[0].files(kind)}
    assert read == on_disk - {"walls.yaml"}  # the taxonomy, which is read by physics.walls


def test_every_source_is_used() -> None:
    for kind in KINDS.values():
        for file in CATALOG._layers[0].files(kind):
            used = {source for name in file.entries for source in CATALOG.find(kind.name, name).sources}
            unused = {key for key, source in file.sources.items() if source not in used}
            assert not unused, f"{file.label}: {unused}"


def test_a_file_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 'grid' stands where 'node' is expected"):
        read_file(files("mlsysim_opt.catalog") / "grids.yaml", "grids.yaml", KINDS["node"])


def test_grids_are_of_the_right_order() -> None:
    value = {grid.name: grid.parameter("carbon_intensity").si * 3.6e9 for grid in Infra.Grids}
    assert {"China_Avg", "EU_Avg", "France", "Germany", "Iceland", "India_Avg", "Iowa", "Norway", "Poland", "Quebec",
            "Texas", "US_Avg"} <= value.keys()  # fmt: skip
    assert all(5 < number < 1000 for number in value.values())
    order = sorted(("Iceland", "France", "EU_Avg", "US_Avg", "Poland", "India_Avg"), key=lambda name: value[name])
    assert order == ["Iceland", "France", "EU_Avg", "US_Avg", "Poland", "India_Avg"]
    assert all(2020 <= grid.year <= 2026 for grid in Infra.Grids)


def test_prices_are_of_the_right_order() -> None:
    bounds = {"accelerator": ((0.05, 25), (500, 3e6)), "node": ((0.5, 200), (1e3, 3e6))}
    for price in Infra.Prices:
        for subject, (rented, bought) in bounds.items():
            if getattr(price, subject) is None:
                continue
            if "rate" in price.parameters():
                assert rented[0] < price.parameter("rate").si * 3600 < rented[1], price.name
            else:
                assert bought[0] < price.parameter("amount").si < bought[1], price.name
