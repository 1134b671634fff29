"""Class I: a user's own folder of catalog files on top of the shipped one."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from mlsysim_opt.errors import CatalogError, InputError
from mlsysim_opt.registry import CatalogOverrideWarning, Hardware, Systems, default_catalog

from .conftest import ACCELERATOR, Overlay

NODE = """\
kind: node
sources:
  mine: {title: Own measurement, locator: notebook 3, date: 2025-06-01}
entries:
  MyNode:
    title: My node
    source: mine
    accelerator: MyChip
    accelerators_per_node: 4
    scale_up: {domain_size: 4, bandwidth: 100 GB/s, latency: 2 us}
    nics_per_node: 2
    max_power: 3 kW
"""


def message(overlay: Overlay, *texts: str) -> str:
    with pytest.raises(CatalogError) as caught:
        overlay(*texts)
    return str(caught.value)


def test_own_entries_stand_beside_the_shipped_ones(overlay: Overlay) -> None:
    catalog = overlay(ACCELERATOR, NODE)
    assert catalog.Systems.Nodes.MyNode.accelerator is catalog.Hardware.MyChip
    assert catalog.Hardware.Cloud.H100 == Hardware.Cloud.H100
    assert "MyChip" not in Hardware
    assert catalog.collisions == ()


def test_an_override_reaches_the_entries_that_refer_to_it_and_is_reported(overlay: Overlay) -> None:
    with pytest.warns(CatalogOverrideWarning, match="accelerator 'H100' of catalog/accelerators/nvidia.yaml"):
        catalog = overlay(ACCELERATOR.replace("MyChip", "h100"))
    assert [str(item) for item in catalog.collisions] == [
        f"accelerator 'H100' of catalog/accelerators/nvidia.yaml is replaced by that of {catalog.collisions[0].by}"
    ]
    assert catalog.collisions[0].by.endswith("file0.yaml")
    node = catalog.Systems.Nodes.DGX_H100
    assert node.accelerator.title == "My chip"
    assert catalog.Hardware["H100_SXM"].title == "My chip"
    assert catalog.Hardware.names().count("h100") == 1
    assert "H100" not in catalog.Hardware.names()
    assert Systems.Nodes.DGX_H100.accelerator is Hardware.Cloud.H100


def test_layers_stack(overlay: Overlay, tmp_path: Path) -> None:
    first = overlay(ACCELERATOR)
    other = tmp_path / "other"
    other.mkdir()
    (other / "chip.yaml").write_text(ACCELERATOR.replace("64 GiB", "96 GiB"), encoding="utf-8")
    with pytest.warns(CatalogOverrideWarning):
        second = first.with_folder(other)
    assert second.Hardware.MyChip.memory.capacity.to("GiB").magnitude == pytest.approx(96)
    assert first.Hardware.MyChip.memory.capacity.to("GiB").magnitude == pytest.approx(64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        third = second.with_folder(_folder(tmp_path / "third", NODE))
    assert third.Systems.Nodes.MyNode.accelerator.memory.capacity.to("GiB").magnitude == pytest.approx(96)


def _folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file.yml").write_text(text, encoding="utf-8")
    return path


def test_an_alias_cannot_take_the_name_of_another_entry(overlay: Overlay) -> None:
    text = ACCELERATOR.replace("    vendor", "    aliases: [B200]\n    vendor")
    assert "alias 'b200' is taken" in message(overlay, text)


def test_I05_duplicate_entries_in_a_folder(overlay: Overlay) -> None:
    text = message(overlay, ACCELERATOR, ACCELERATOR.replace("MyChip", "mychip"))
    assert "'mychip' is also 'MyChip' of" in text
    assert "file0.yaml, line 5" in text
    assert "file1.yaml: mychip (line 5, column 3)" in text


def test_I06_duplicate_key_inside_a_file(overlay: Overlay) -> None:
    text = message(overlay, ACCELERATOR + "    tdp: 300 W\n")
    assert "'tdp' stands twice (first on line 13)" in text
    assert "line 14" in text


def test_I07_broken_reference(overlay: Overlay) -> None:
    text = message(overlay, NODE.replace("accelerator: MyChip", "accelerator: H1000"))
    assert "MyNode.accelerator (line 8, column 18): unknown accelerator 'H1000'" in text
    assert "did you mean 'H100'" in text


def test_I08_missing_field(overlay: Overlay) -> None:
    text = message(overlay, ACCELERATOR.replace("    vendor: Me\n", ""))
    assert "file0.yaml: MyChip (line 6, column 5): missing required field 'vendor'" in text


def test_I08_missing_field_of_a_part(overlay: Overlay) -> None:
    text = message(overlay, ACCELERATOR.replace(", bandwidth: 2 TB/s", ""))
    assert "file0.yaml: MyChip.memory (line 11, column 13): missing required field 'bandwidth'" in text


def test_I10_model_without_parameters(overlay: Overlay) -> None:
    text = message(
        overlay,
        """\
        kind: model
        entries:
          Nothing:
            {title: Nothing, source: {title: a, locator: b, date: 2024}, layers: 1, hidden: 64, heads: 4,
             kv_heads: 4, head_dim: 16, ffn: 256, gated_ffn: false, vocab: 100, tied_embeddings: true,
             learned_positions: 0, biases: false, context_length: 128, parameter_count: 0}
        """,
    )
    assert "Nothing.parameter_count (line 6, column 81): '0' must be positive" in text


def test_C07_unknown_field(overlay: Overlay) -> None:
    text = message(overlay, ACCELERATOR + "    tpd: 400 W\n")
    assert "MyChip.tpd (line 14, column 5): unknown field 'tpd'" in text
    assert "did you mean 'tdp'?" in text


def test_C07_unknown_field_of_a_part(overlay: Overlay) -> None:
    text = message(overlay, ACCELERATOR.replace("capacity", "capacty"))
    assert "unknown field 'capacty'" in text
    assert "did you mean 'capacity'?" in text
    assert "missing required field 'capacity'" in text


def test_E03_top_level_list(overlay: Overlay) -> None:
    assert "expected a mapping of kind, sources and entries" in message(overlay, "- a\n- b\n")


def test_E19_missing_sections(overlay: Overlay) -> None:
    text = message(overlay, "sources: {}\n")
    assert "missing required key 'kind'" in text
    assert "missing required key 'entries'" in text


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("kind: accelerator", "kind: acelerator", "did you mean 'accelerator'"),
        ("kind: accelerator", "kind: 5", "unknown kind 5"),
        ("sources:", "source:", "unknown key 'source'"),
        ("source: sheet", "source: sheat", "unknown source 'sheat'"),
        ("    source: sheet\n", "", "memory.capacity has no source"),
        ("title: My chip", "title: ''", "not empty"),
        ("title: My chip", 'title: "a\\e[31m"', "printable"),
        ("  MyChip:", '  "a\\e[31m":', "printable"),
        ("  MyChip:", "  all:", "'all' cannot be the name of an entry"),
        ("  MyChip:", "  __class__:", "cannot be the name of an entry"),
        ("released: 2024-01", "released: lately", "is not of the form"),
        ("    vendor: Me", "    name: X\n    vendor: Me", "the name is the key of the entry"),
        ("{peak: {bf16: 500 TFLOP/s}}", "{peak: {}}", "at least one precision"),
        ("memory: {capacity: 64 GiB, bandwidth: 2 TB/s}", "memory: 64 GiB", "expected a mapping of fields"),
        ("date: 2024-05", "date: 2024-13", "is not of the form"),
        ("locator: page 1, ", "", "a source needs 'locator'"),
    ],
)
def test_faults_of_a_file_are_named(overlay: Overlay, old: str, new: str, says: str) -> None:
    assert ACCELERATOR.count(old) == 1
    text = message(overlay, ACCELERATOR.replace(old, new))
    assert says in text
    assert "file0.yaml" in text
    assert "line" in text
    assert "\x1b" not in text


def test_E22_all_errors_of_all_files_are_named_at_once(overlay: Overlay) -> None:
    bad = ACCELERATOR.replace("64 GiB", "64 W").replace("2 TB/s", "2").replace("400 W", "-1 W")
    with pytest.raises(CatalogError) as caught:
        overlay(bad, NODE.replace("3 kW", "3 GB"))
    text = str(caught.value)
    for place in ("MyChip.memory.capacity", "MyChip.memory.bandwidth", "MyChip.tdp", "MyNode.max_power"):
        assert place in text
    found = caught.value.as_dict()["errors"]
    assert len(found) >= 4
    assert all(item["line"] and item["column"] and item["path"] for item in found)


def test_folder_itself(tmp_path: Path) -> None:
    catalog = default_catalog()
    for path, says in ((tmp_path / "no", "no such folder"), (tmp_path, r"holds no \*.yaml file")):
        with pytest.raises(InputError, match=says):
            catalog.with_folder(path)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="is not a folder"):
        catalog.with_folder(tmp_path / "file")


def test_shipped_catalog_is_untouched_by_all_this() -> None:
    assert default_catalog().collisions == ()
