"""The zoo commands: filters, sorting, comparison, checking a folder, importing; faults bear their number."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlsysim_opt.registry import catalog, default_catalog

from .conftest import Done

Ask = Callable[..., Done]
Refused = Callable[..., str]

CHIP = """\
kind: accelerator
sources:
  mine: {title: my own, locator: here, date: 2026}
entries:
  MyChip:
    title: My chip
    vendor: me
    released: "2026"
    generation: hopper
    source: mine
    memory: {capacity: 160 GiB, bandwidth: 5 TB/s}
    compute: {peak: {bf16: 1200 TFLOP/s}}
    tdp: 900 W
"""


@pytest.fixture(autouse=True)
def _catalog_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let folders that a test puts to use be forgotten after it."""
    monkeypatch.setattr(catalog, "_in_use", list(catalog._in_use))


def names(done: Done) -> list[str]:
    assert done.code == 0, done.err
    return [item["name"] for item in done.json["entries"]]


# list -----------------------------------------------------------------------------------------------------------------
def test_filter_by_numbers_with_units(ask: Ask) -> None:
    found = names(ask("zoo", "list", "accelerator", "--filter", "memory.capacity >= 80 GiB", "--json"))
    expected = [
        item.name
        for item in default_catalog().all("accelerator")
        if item.parameters()["memory.capacity"].si >= 80 * 2**30
    ]
    assert found == expected
    assert {"H100", "H200"} <= set(found)
    assert "L4" not in found
    in_megabytes = names(ask("zoo", "list", "accelerator", "--filter", "memory.capacity >= 81920 MiB", "--json"))
    assert in_megabytes == found


def test_filters_all_hold(ask: Ask) -> None:
    both = ("--filter", "memory.capacity >= 80 GiB", "--filter", "vendor=NVIDIA")
    found = names(ask("zoo", "list", "accelerator", *both, "--json"))
    assert "H100" in found
    assert "MI300X" not in found
    chained = names(ask("zoo", "list", "accelerator", "--filter", "vendor == NVIDIA and memory.capacity >= 80 GiB",
                        "--json"))  # fmt: skip
    assert chained == found
    between = names(ask("zoo", "list", "accelerator", "--filter", "500 W <= tdp <= 700 W", "--json"))
    assert "H100" in between
    assert "B200" not in between


def test_filter_by_words(ask: Ask) -> None:
    lower = names(ask("zoo", "list", "accelerator", "--filter", "vendor=nvidia", "--json"))
    others = names(ask("zoo", "list", "accelerator", "--filter", "vendor != NVIDIA", "--json"))
    assert set(lower) | set(others) == set(default_catalog().names("accelerator"))
    assert not set(lower) & set(others)
    on_h100 = ask("zoo", "list", "price", "--filter", "accelerator=H100", "--columns", "accelerator", "--json").json
    assert {row["accelerator"] for row in on_h100["entries"]} == {"H100"}
    gated = ask("zoo", "list", "model", "--filter", "gated_ffn = true", "--json")
    assert "Llama3_8B" in names(gated)


def test_an_entry_without_the_field_does_not_fit(ask: Ask) -> None:
    every = set(default_catalog().names("accelerator"))
    slow = set(names(ask("zoo", "list", "accelerator", "--filter", "compute.peak.fp8 < 1 PFLOP/s", "--json")))
    fast = set(names(ask("zoo", "list", "accelerator", "--filter", "compute.peak.fp8 >= 1 PFLOP/s", "--json")))
    assert "H100" in fast
    assert "A100" in every - slow - fast  # it has no FP8


def test_filter_over_all_kinds(ask: Ask) -> None:
    assert set(names(ask("zoo", "list", "--filter", "layers >= 100", "--json"))) >= {"Llama3_405B"}


def test_text_is_a_part_of_a_name(ask: Ask) -> None:
    found = names(ask("zoo", "list", "model", "--filter", "llama3_8", "--json"))
    assert found == ["Llama3_8B"]
    assert "no entry fits" in ask("zoo", "list", "model", "--filter", "nothing like it").out


def test_sort_columns_and_limit(ask: Ask) -> None:
    large = names(ask("zoo", "list", "accelerator", "--sort", "memory.bandwidth", "--limit", "3", "--json"))
    small = names(ask("zoo", "list", "accelerator", "--sort", "memory.bandwidth", "--ascending", "--json"))
    assert large == names(ask("zoo", "list", "accelerator", "--sort", "memory.bandwidth", "--descending", "--json"))[:3]
    having = [item for item in small if "memory.bandwidth" in default_catalog().find("accelerator", item).parameters()]
    assert small[: len(having)] == having  # entries without the field come last
    rates = [default_catalog().find("accelerator", item).parameter("memory.bandwidth").si for item in having]
    assert rates == sorted(rates)
    assert large[0] in [name for name, rate in zip(having, rates, strict=True) if rate == rates[-1]]
    words = names(ask("zoo", "list", "accelerator", "--sort", "vendor", "--json"))
    vendors = [default_catalog().find("accelerator", item).vendor.lower() for item in words]
    assert vendors == sorted(vendors)
    done = ask("zoo", "list", "accelerator", "--columns", "vendor, tdp", "--limit", "2")
    assert "2 of " in done.out
    assert "vendor" in done.out.splitlines()[0]
    assert "title" not in done.out.splitlines()[0]
    row = ask("zoo", "list", "accelerator", "--filter", "H100", "--columns", "tdp", "--json").json["entries"][0]
    assert row["tdp"] == {"text": "700 W", "si": 700.0, "unit": "W"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--filter", "memory.capcity > 1 GB"), ("memory.capcity", "did you mean 'memory.capacity'")),
        (("--filter", "memory.capacity > 1 GB/s"), ("--filter", "byte/s")),
        (("--filter", "memory.capacity > 80"), ("has no unit", "80")),
        (("--filter", "memory.capacity > 80 GX"), ("unknown unit", "GX")),
        (("--filter", "memory.capacity >"), ("--filter",)),
        (("--filter", "vendor = NVIDA"), ("unknown vendor", "did you mean 'NVIDIA'")),
        (("--filter", ""), ("--filter", "empty")),
        (("--sort", "memory.capcity"), ("--sort", "did you mean 'memory.capacity'")),
        (("--columns", "tdpp"), ("--columns", "did you mean 'tdp'")),
        (("--columns", " , "), ("--columns", "names no field")),
        (("--limit", "0"), ("--limit", "at least 1")),
        (("--limit", "-3"), ("--limit",)),
    ],
)  # fmt: skip
def test_C_wrong_options_of_a_list(refused: Refused, options: tuple[str, ...], says: tuple[str, ...]) -> None:
    refused("zoo", "list", "accelerator", *options, says=says)


# compare --------------------------------------------------------------------------------------------------------------
def test_compare(ask: Ask) -> None:
    found = ask("zoo", "compare", "H100", "h200", "A100", "--json").json
    assert found["entries"] == ["H100", "H200", "A100"]
    rows = {row["field"]: row for row in found["fields"]}
    assert rows["memory.bandwidth"]["ratios"] == pytest.approx([1.0, 4.8 / 3.35, 2039 / 3350])
    assert rows["compute.peak.fp8"]["ratios"][2] is None  # the A100 has none
    assert rows["compute.peak.fp8"]["values"][2] is None
    shown = ask("zoo", "compare", "H100", "H200").out
    line = next(line for line in shown.splitlines() if line.startswith("memory.bandwidth"))
    assert line.split() == ["memory.bandwidth", "3.35", "TB/s", "4.8", "TB/s", "x", "1.43"]


def test_compare_refuses(refused: Refused) -> None:
    refused("zoo", "compare", "H100", code=2, says=("at least two",))
    refused("zoo", "compare", "H100", "H100_SXM", code=2, says=("'H100' is named twice",))
    refused("zoo", "compare", "H100", "Llama3_8B", says=("one kind", "H100 (accelerator)", "Llama3_8B (model)"))
    refused("zoo", "compare", "H100", "H2000", says=("H2000", "did you mean 'H200'"))
    refused("zoo", "compare", "H100", "H200", "--kind", "modle", says=("did you mean 'model'",))
    refused("zoo", "compare", "H100", "H200", "--kind", "model", says=("unknown model 'H100'",))


# check ----------------------------------------------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "chip.yaml").write_text(CHIP, encoding="utf-8")
    return place


def test_check_of_a_good_folder(ask: Ask, folder: Path) -> None:
    done = ask("zoo", "check", str(folder))
    assert done.code == 0, done.err
    assert "no error" in done.out
    assert "MyChip" in done.out
    found = ask("zoo", "check", str(folder), "--json").json
    assert found["added"] == {"accelerator": ["MyChip"]}
    assert found["replaced"] == []
    assert "MyChip" not in default_catalog().names("accelerator")  # checked, not put to use


def test_check_reports_what_is_replaced(ask: Ask, folder: Path) -> None:
    (folder / "chip.yaml").write_text(CHIP.replace("MyChip", "h100"), encoding="utf-8")
    found = ask("zoo", "check", str(folder), "--json").json
    assert found["added"] == {}
    (item,) = found["replaced"]
    assert (item["kind"], item["name"]) == ("accelerator", "H100")
    assert item["replaced"] == "catalog/accelerators/nvidia.yaml"
    assert item["by"].endswith("chip.yaml")
    assert "chip.yaml" in ask("zoo", "check", str(folder)).out


FAULTS = [
    ("I01", "bandwidth: 5 TB/s", "bandwidth: 5 TFLOP/s", ("MyChip.memory.bandwidth", "line 11", "byte")),
    ("I02", "capacity: 160 GiB", "capacity: -160 GiB", ("MyChip.memory.capacity", "line 11", "-160")),
    ("I03", "bf16: 1200 TFLOP/s", "bf16: 0 TFLOP/s", ("MyChip.compute.peak.bf16", "line 12", "positive")),
    ("I04", "bandwidth: 5 TB/s", "bandwidth: nan TB/s", ("MyChip.memory.bandwidth", "line 11")),
    ("I06", "    tdp: 900 W", "    tdp: 900 W\n    tdp: 800 W", ("tdp", "twice", "line 14")),
    ("I08", "    vendor: me\n", "", ("MyChip", "missing required field 'vendor'")),
    ("C07", "vendor: me", "vendr: me", ("MyChip.vendr", "line 7", "did you mean 'vendor'")),
    ("F05", "title: My chip", 'title: "\\e[31mred"', ("MyChip.title", "line 6", "printable")),
    ("E05", "title: My chip", "title: !!python/object/apply:os.system [id]", ("line 6", "tag")),
    ("F03", "tdp: 900 W", "tdp: __import__('os').getpid() W", ("MyChip.tdp", "line 13")),
]


def faulty(ask: Ask, folder: Path, old: str, new: str) -> Done:
    assert CHIP.count(old) == 1
    (folder / "chip.yaml").write_text(CHIP.replace(old, new), encoding="utf-8")
    return ask("zoo", "check", str(folder))


@pytest.mark.parametrize(("fault", "old", "new", "says"), FAULTS, ids=[item[0] for item in FAULTS])
def test_I01_I02_I03_I04_I06_I08_of_a_folder(
    ask: Ask, folder: Path, fault: str, old: str, new: str, says: tuple[str, ...]
) -> None:
    done = faulty(ask, folder, old, new)
    assert done.code == 3, fault
    assert done.out == ""
    for word in ("chip.yaml", *says):
        assert word in done.err, (fault, done.err)
    found = ask("zoo", "check", str(folder), "--json").json["error"]
    assert all(item["line"] and item["column"] for item in found.get("errors", [found]))
    assert found["code"] == "bad-catalog"


def test_I05_duplicate_entries_in_a_folder_of_ones_own(refused: Refused, folder: Path) -> None:
    (folder / "again.yaml").write_text(CHIP.replace("MyChip", "my-chip"), encoding="utf-8")
    (folder / "chip.yaml").write_text(CHIP.replace("MyChip", "My_Chip"), encoding="utf-8")
    refused("zoo", "check", str(folder), says=("my-chip", "My_Chip", "line 5"))


def test_I07_broken_reference_in_a_folder(refused: Refused, folder: Path) -> None:
    node = (
        "kind: node\nsources:\n  mine: {title: my own, locator: here, date: 2026}\nentries:\n  MyNode:\n"
        "    title: My node\n    source: mine\n    accelerator: MyChop\n    accelerators_per_node: 8\n"
        "    scale_up: {domain_size: 8, bandwidth: 450 GB/s, latency: 1 us}\n    nics_per_node: 8\n"
        "    max_power: 12 kW\n"
    )
    (folder / "node.yaml").write_text(node, encoding="utf-8")
    refused("zoo", "check", str(folder), says=("node.yaml", "MyNode.accelerator", "line 8", "did you mean 'MyChip'"))


def test_I09_a_check_changes_nothing(ask: Ask, folder: Path) -> None:
    before = default_catalog()
    ask("zoo", "check", str(folder))
    assert default_catalog() is before
    with pytest.raises(AttributeError, match="immutable"):
        before.find("accelerator", "H100").tdp = 1


def test_I10_model_without_parameters_in_a_folder(refused: Refused, folder: Path) -> None:
    (folder / "model.yaml").write_text(
        "kind: model\nentries:\n  Nothing:\n"
        "    {title: Nothing, source: {title: a, locator: b, date: 2024}, layers: 1,\n"
        "     hidden: 64, heads: 4, kv_heads: 4, head_dim: 16, ffn: 256, gated_ffn: false, vocab: 100,\n"
        "     tied_embeddings: true, learned_positions: 0, biases: false, context_length: 128, parameter_count: 0}\n",
        encoding="utf-8",
    )
    refused("zoo", "check", str(folder), says=("Nothing.parameter_count", "line 6", "positive"))


def test_E22_every_error_of_every_file_at_once(ask: Ask, folder: Path) -> None:
    for number in range(30):
        text = CHIP.replace("MyChip", f"Chip{number}").replace("900 W", "900 GB").replace("160 GiB", "160")
        (folder / f"chip{number}.yaml").write_text(text, encoding="utf-8")
    done = ask("zoo", "check", str(folder), "--json")
    assert done.code == 3
    errors = done.json["error"]["errors"]
    assert len(errors) == 60
    assert all(item["line"] and item["column"] and item["path"] for item in errors)
    shown = ask("zoo", "check", str(folder)).err
    assert all(f"Chip{number}.tdp" in shown for number in range(30))


def test_E01_E02_E12_of_the_folder_itself(refused: Refused, tmp_path: Path) -> None:
    refused("zoo", "check", str(tmp_path / "no"), code=4, says=("no such folder",))
    refused("zoo", "check", str(tmp_path), code=4, says=("holds no *.yaml",))
    (tmp_path / "file.yaml").write_text(CHIP)
    refused("zoo", "check", str(tmp_path / "file.yaml"), code=4, says=("is not a folder",))
    refused("zoo", "check", "\x1b[31mred", code=4, says=("\\x1b[31mred",))


def test_the_errors_of_a_file_are_listed_up_to_twenty(ask: Ask, folder: Path) -> None:
    many = "".join(f"    odd{number}: 1\n" for number in range(300))
    (folder / "chip.yaml").write_text(CHIP + many, encoding="utf-8")
    done = ask("zoo", "check", str(folder))
    assert done.code == 3
    assert done.err.count("unknown field") == 20
    assert "and 280 more in" in done.err
    assert len(ask("zoo", "check", str(folder), "--json").json["error"]["errors"]) == 300


SHAPES = (
    "kind: model\nentries:\n  Mine:\n    title: Mine\n    source: {title: a, locator: b, date: 2024}\n"
    "    layers: 32\n    hidden: 4096\n    heads: 32\n    kv_heads: 8\n    head_dim: 128\n    ffn: 14336\n"
    "    gated_ffn: true\n    vocab: 128256\n    tied_embeddings: false\n    learned_positions: 0\n"
    "    biases: false\n    context_length: 8192\n    parameter_count: COUNT\n"
)


@pytest.mark.parametrize(("count", "ok"), [(8_030_261_248, True), (7_700_000_000, True), (70_000_000_000, False)])
def test_a_count_that_the_shapes_contradict(ask: Ask, folder: Path, count: int, ok: bool) -> None:
    # the shapes of Llama 3 8B: 2 x 128256 x 4096 + 32 x (4096 x (2 x 4096 + 2 x 1024) + 3 x 4096 x 14336 + 2 x 4096)
    # + 4096 = 8 030 261 248; 7.7e9 is 4.1 % less
    (folder / "model.yaml").write_text(SHAPES.replace("COUNT", str(count)), encoding="utf-8")
    done = ask("zoo", "check", str(folder))
    assert done.code == (0 if ok else 3), done.err
    if not ok:
        for word in ("model.yaml", "Mine.parameter_count", "line 18", "7e+10", "8.03e+09"):
            assert word in done.err


def test_an_accelerator_without_calibration_is_warned_of(ask: Ask, folder: Path) -> None:
    assert "warning" not in ask("zoo", "check", str(folder)).out
    (folder / "chip.yaml").write_text(CHIP.replace("generation: hopper", "generation: hoper"), encoding="utf-8")
    done = ask("zoo", "check", str(folder))
    assert done.code == 0
    assert "warning: MyChip: generation 'hoper' is not calibrated" in done.out
    (warning,) = ask("zoo", "check", str(folder), "--json").json["warnings"]
    assert "hoper" in warning


def test_a_split_of_a_scenario_in_a_folder(refused: Refused, folder: Path) -> None:
    (folder / "scenario.yaml").write_text(
        "kind: scenario\nentries:\n  Odd:\n    title: Odd\n    source: {title: a, locator: b, date: 2024}\n"
        "    workload: ResNet50\n    system: A100\n    split: {tp_size: 3}\n",
        encoding="utf-8",
    )
    refused("zoo", "check", str(folder), says=("scenario.yaml", "Odd.split.tp_size", "line 8", "serving or training"))


# the report -----------------------------------------------------------------------------------------------------------
def test_report_of_the_catalog(ask: Ask) -> None:
    found = ask("zoo", "check", "--json").json
    assert found["status"] == "ok"
    assert found["errors"] == []
    rows = {row["kind"]: row for row in found["kinds"]}
    models = default_catalog().all("model")  # models name no other entries: all their numbers are their own
    data = [datum for entry in models for _, datum in entry.leaves()]
    assert rows["model"]["entries"] == len(models)
    assert rows["model"]["numbers"] == len(data)
    assert rows["model"]["estimated"] == sum(datum.estimated is not None for datum in data)
    assert rows["model"]["first_year"] == min(int(datum.source.date[:4]) for datum in data if datum.source)
    for row in [*rows.values(), found["total"]]:
        assert row["sourced"] + row["estimated"] == row["numbers"] > 0
    assert rows["fleet"]["numbers"] < 5 * rows["fleet"]["entries"]  # those of its nodes are theirs
    done = ask("zoo", "check")
    assert done.code == 0
    assert "every number has a unit and a source or the reason of an estimate" in done.out


def test_report_is_of_the_catalog_in_use(ask: Ask, folder: Path) -> None:
    before = {row["kind"]: row for row in ask("zoo", "check", "--json").json["kinds"]}["accelerator"]
    kinds = ask("--catalog", str(folder), "zoo", "check", "--json").json["kinds"]
    after = {row["kind"]: row for row in kinds}["accelerator"]
    assert after["entries"] == before["entries"] + 1
    assert after["sourced"] == before["sourced"] + 4  # capacity, bandwidth, one peak, tdp


def test_a_replaced_entry_is_one_line_of_warning(ask: Ask, folder: Path) -> None:
    (folder / "chip.yaml").write_text(CHIP.replace("MyChip", "H100"), encoding="utf-8")
    done = ask("--catalog", str(folder), "zoo", "show", "H100", "--json")
    assert done.json["status"] == "ok"
    (line,) = done.err.splitlines()
    assert line.startswith("warning: accelerator 'H100' of catalog/accelerators/nvidia.yaml is replaced by")


def test_E21_a_pipe_in_the_folder(refused: Refused, folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")
    refused("zoo", "check", str(folder), says=("pipe.yaml", "not a regular file"))


# import ---------------------------------------------------------------------------------------------------------------
CONFIG = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip
PRICES = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Region,SpotPrice,Price\n"
    "H100x8,H100,8.0,128,640.0,H100,East Coast (NY2),,47.60\n"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    place = tmp_path / "config.json"
    place.write_text(json.dumps(CONFIG))
    return place


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    place = tmp_path / "vms.csv"
    place.write_text(PRICES)
    return place


@pytest.fixture
def series(tmp_path: Path) -> Path:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["datetime_utc", "carbon_intensity"])
    for month in range(1, 13):
        for hour in range(24):
            writer.writerow([f"2024-{month:02}-15T{hour:02}:00:00Z", 100 + hour])
    place = tmp_path / "series.csv"
    place.write_text(out.getvalue())
    return place


@pytest.fixture
def out(tmp_path: Path) -> Path:
    place = tmp_path / "out"
    place.mkdir()
    return place


def test_imports_are_printed_and_are_valid(ask: Ask, config: Path, prices: Path, series: Path, out: Path) -> None:
    asked: dict[str, tuple[str, ...]] = {
        "model": ("hf", str(config), "--name", "Mine", "--parameters", "8.03e9"),
        "price": ("skypilot", str(prices), "--provider", "cloudy", "--date", "2025-03-01"),
        "profile": ("intensity", str(series), "--name", "Here", "--basis", "life cycle"),
    }
    for kind, arguments in asked.items():
        printed = ask("zoo", "import", *arguments)
        assert printed.code == 0, printed.err
        assert f"kind: {kind}\n" in printed.out
        assert ask("zoo", "import", *arguments, "--json").json["yaml"].rstrip("\n") == printed.out.rstrip("\n")
        (out / f"{kind}.yaml").write_text(printed.out)
    found = ask("zoo", "check", str(out), "--json").json
    assert found["added"] == {"model": ["Mine"], "price": ["cloudy_H100_East_Coast_NY2"], "profile": ["Here"]}
    grid = ask("zoo", "import", "intensity", str(series), "--name", "Here", "--kind", "grid", "--basis", "direct")
    assert "carbon_intensity: 111.5 gCO2e/kWh" in grid.out  # the mean of 100 to 123


def test_an_import_becomes_a_new_file(ask: Ask, refused: Refused, config: Path, out: Path) -> None:
    arguments = ("zoo", "import", "hf", str(config), "--name", "My_8B", "--out", str(out))
    done = ask(*arguments)
    assert done.code == 0, done.err
    path = out / "My_8B.yaml"
    assert str(path) in done.out.replace("\n", "")
    before = path.read_bytes()
    assert ask("--catalog", str(out), "zoo", "show", "My_8B").code == 0
    refused(*arguments, code=4, says=("My_8B.yaml", "is there already", "nothing was written"))
    assert path.read_bytes() == before
    assert [item.name for item in out.iterdir()] == ["My_8B.yaml"]


def test_F04_nothing_is_written_outside_of_the_folder(
    ask: Ask, refused: Refused, config: Path, prices: Path, out: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    for name in ("../evil", "/tmp/evil", "a/b", "..", "\x1b[31m"):
        refused("zoo", "import", "hf", str(config), "--name", name, "--out", str(out), says=("cannot be a name",))
    assert sorted(tmp_path.rglob("*")) == before
    done = ask("zoo", "import", "skypilot", str(prices), "--provider", "../../x", "--date", "2025", "--out", str(out))
    made = set(tmp_path.rglob("*")) - set(before)
    assert all(path.parent == out for path in made), made
    assert done.code == 0 or not made
    link = out / "Linked.yaml"
    link.symlink_to(tmp_path / "target.yaml")
    refused("zoo", "import", "hf", str(config), "--name", "Linked", "--out", str(out), code=4, says=("already",))
    assert not (tmp_path / "target.yaml").exists()


def test_E01_E12_of_an_import(refused: Refused, config: Path, tmp_path: Path) -> None:
    refused("zoo", "import", "hf", str(tmp_path / "no.json"), "--name", "X", code=4, says=("no such file",))
    refused("zoo", "import", "hf", str(tmp_path), "--name", "X", code=4, says=("is a folder",))
    refused("zoo", "import", "skypilot", str(tmp_path / "no.csv"), code=4, says=("no.csv",))
    refused("zoo", "import", "intensity", str(tmp_path / "no.csv"), "--name", "X", code=4, says=("no such file",))
    missing = str(tmp_path / "missing")
    refused("zoo", "import", "hf", str(config), "--name", "X", "--out", missing, code=4, says=("no such folder",))
    refused("zoo", "import", "hf", str(config), "--name", "X", "--out", str(config), code=4, says=("not a folder",))


def test_F07_nothing_is_fetched(refused: Refused) -> None:
    for address in ("hf://meta-llama/Llama-3.1-8B", "https://huggingface.co/x/config.json"):
        refused("zoo", "import", "hf", address, says=("nothing is fetched", "download"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", ("is empty",)),
        ("{", ("line 1",)),
        ('{"model_type": "lama"}', ("lama", "supported: ", "llama")),
        ('{"model_type": "llama", "model_type": "llama"}', ("twice",)),
        ("[" * 50_000, ("nested deeper",)),
        ('{"model_type": "\\u001b[31m"}', ("model_type",)),
        ('{"model_type": "[/foo]"}', ("[/foo]",)),
    ],
)  # fmt: skip
def test_E02_E04_F05_F08_of_a_configuration(ask: Ask, tmp_path: Path, content: str, says: tuple[str, ...]) -> None:
    place = tmp_path / "config.json"
    place.write_text(content)
    done = ask("zoo", "import", "hf", str(place), "--name", "X")
    assert done.code == 3
    assert all(char.isprintable() or char == "\n" for char in done.err)
    for word in says:
        assert word in done.err, done.err


def test_wrong_options_of_imports(refused: Refused, config: Path, series: Path, prices: Path) -> None:
    series_of = ("zoo", "import", "intensity", str(series))
    refused(*series_of, code=2, says=("--name",))
    refused(*series_of, "--name", "X", "--kind", "gird", says=("--kind", "grid"))
    refused(*series_of, "--name", "X", "--basis", "direkt", says=("--basis", "direct"))
    refused(*series_of, "--name", "X", says=("basis", "--basis", "'life cycle'", "'direct'"))
    refused(*series_of, "--name", "X", "--unit", "kg", says=("unit", "gCO2e/kWh"))
    refused(*series_of, "--name", "X", "--column", "nope", says=("nope",))
    refused("zoo", "import", "hf", str(config), "--name", "X", "--parameters", "-3", says=("--parameters",))
    refused("zoo", "import", "hf", str(config), "--name", "X", "--parameters", "many", says=("many",))
    wrong = ("--parameters", "7e10")
    refused("zoo", "import", "hf", str(config), "--name", "X", *wrong, says=("--parameters", "7e+10", "8.03e+09"))
    refused("zoo", "import", "skypilot", str(prices), "--date", "yesterday", says=("yesterday", "2024-05-31"))


# hostile text ---------------------------------------------------------------------------------------------------------
EVIL = "__import__('os').system('touch {mark}')"


@pytest.mark.parametrize("option", ["--filter", "--sort", "--columns"])
def test_F01_python_in_options_is_never_run(ask: Ask, tmp_path: Path, option: str) -> None:
    mark = tmp_path / "pwned"
    done = ask("zoo", "list", "accelerator", option, EVIL.format(mark=mark) + (" > 1" if option == "--filter" else ""))
    assert done.code == 3
    assert not mark.exists()


@pytest.mark.parametrize("name", ["__class__", "memory.__class__", "__dict__.x", "model_fields"])
def test_F02_C11_dunder_names(refused: Refused, name: str) -> None:
    refused("zoo", "list", "accelerator", "--filter", f"{name} > 1", says=(name,))
    refused("zoo", "list", "accelerator", "--sort", name, says=("unknown field", name))
    refused("zoo", "list", "accelerator", "--columns", name, says=("unknown field", name))
    refused("zoo", "compare", "H100", name, says=("unknown name", name))


@pytest.mark.parametrize("name", ["list", "all", "names", "find"])
def test_C12_method_names(refused: Refused, name: str) -> None:
    refused("zoo", "compare", "H100", name, says=("unknown name", name))


@pytest.mark.parametrize("text", ["\x1b[31mred", "[/foo]", "a\rb", "\u202eabc", "x" * 50_000])
def test_F05_F08_hostile_text_in_options(ask: Ask, text: str) -> None:
    commands: list[tuple[str, ...]] = [
        ("zoo", "list", "accelerator", "--filter", text),
        ("zoo", "list", "accelerator", "--filter", f"{text} > 1 GB"),
        ("zoo", "list", "accelerator", "--sort", text),
        ("zoo", "compare", "H100", text),
        ("zoo", "check", text),
        ("zoo", "import", "hf", text),
    ]
    for command in commands:
        done = ask(*command)
        assert done.code in (0, 3, 4), (command, done.err[:200])
        assert all(char.isprintable() or char == "\n" for char in done.out + done.err)


def test_H05_every_zoo_command_gives_json_also_on_errors(ask: Ask) -> None:
    for command in (
        ("zoo", "list", "accelerator", "--sort", "x"),
        ("zoo", "compare", "H100", "x"),
        ("zoo", "check", "nowhere"),
        ("zoo", "import", "hf", "nowhere.json"),
    ):
        found: dict[str, Any] = ask(*command, "--json").json
        assert found["status"] == "error"
        assert found["error"]["message"]


def test_help_stays_cheap(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    code = (
        "import sys; from mlsysim_opt.cli import main; main(['zoo', 'import', '--help'])\n"  # typer loads pydantic
        "print(sorted({'numpy', 'pint', 'yaml'} & set(sys.modules)))"
    )
    assert run_python(code).stdout.splitlines()[-1] == "[]"
