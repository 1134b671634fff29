"""Price lists and time series of other people become files of the catalog; bad ones are refused with the place."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlsysim_opt.errors import CatalogError, FileError, InputError
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.importers.intensity import import_intensity
from mlsysim_opt.registry.importers.skypilot import import_skypilot

HEAD = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Region,SpotPrice,Price\n"
ROWS = (
    "H100x8,H100,8.0,128,640.0,H100,East Coast (NY2),,47.60\n"
    "H100,H100,1.0,15,80.0,H100,East Coast (NY2),,6.05\n"
    "A100-80Gx8,A100-80GB,8.0,96,640.0,x,east-1,12.0,25.44\n"
    "A100x8,A100,8.0,96,320.0,x,east-1,,20.00\n"
    "GPU+,M4000,1.0,8,32.0,M4000,east-1,,0.45\n"
    "C5,,,4,8.59,,east-1,,0.08\n"
    "TPU-VM,tpu-v6e-8,1,,,,us-central1,4.0,21.6\n"
    "TPU-VM,tpu-v4-8,1,,,,us-central2,,12.88\n"
)


def written(folder: Path, text: str, name: str = "vms.csv") -> Path:
    place = folder / "cloudy"
    place.mkdir(exist_ok=True)
    (place / name).write_text(text, encoding="utf-8")
    return place / name


def loaded(folder: Path, text: str) -> Any:
    made = folder / "made"
    made.mkdir()
    (made / "imported.yaml").write_text(text, encoding="utf-8")
    return default_catalog().with_folder(made)


def hourly(rate: Any) -> float:
    return float(rate.parameter("rate").si * 3600)


# ---- prices
def test_prices_are_per_accelerator_and_the_cheapest_instance_counts(tmp_path: Path) -> None:
    text = import_skypilot(written(tmp_path, HEAD + ROWS), date="2025-03-01")
    catalog = loaded(tmp_path, text)
    # 47.60 / 8 = 5.95 is below the 6.05 of the single one
    price = catalog.find("price", "cloudy_H100_East_Coast_NY2")
    assert hourly(price) == pytest.approx(5.95)
    assert price.provider == "cloudy"
    assert price.date == "2025-03-01"
    # SkyPilot calls the 80 GB part A100-80GB and the 40 GB part A100
    assert hourly(catalog.find("price", "cloudy_A100_east_1")) == pytest.approx(25.44 / 8)
    assert hourly(catalog.find("price", "cloudy_A100_east_1_Spot")) == pytest.approx(1.5)
    assert hourly(catalog.find("price", "cloudy_A100_40GB_east_1")) == pytest.approx(2.5)
    # tpu-v6e-8 is eight chips; the 8 of tpu-v4-8 counts cores, two a chip
    assert hourly(catalog.find("price", "cloudy_TPUv6e_us_central1")) == pytest.approx(2.7)
    assert hourly(catalog.find("price", "cloudy_TPUv4_us_central2")) == pytest.approx(3.22)
    assert "'M4000' (1 rows)" in text


def test_an_imported_price_rents_a_fleet(tmp_path: Path) -> None:
    from mlsysim_opt.physics import EconomicsModel

    catalog = loaded(tmp_path, import_skypilot(written(tmp_path, HEAD + ROWS), provider="Mine"))
    price = catalog.find("price", "Mine_H100_East_Coast_NY2")
    # 8 accelerators for a day
    cost = EconomicsModel().solve(fleet="One_DGX_H100", duration_days=1, price=price)
    assert cost.tco_usd == pytest.approx(8 * 24 * 5.95)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("H100,H100,0,1,1,x,r,,5\n", r"line 2.*AcceleratorCount: expected a number above 0, got '0'"),
        ("H100,H100,nan,1,1,x,r,,5\n", "AcceleratorCount"),
        ("H100,H100,1,1,1,x,r,,-5\n", "Price: expected a number from 0, got '-5'"),
        ("H100,H100,1,1,1,x,r,,inf\n", "Price"),
        ("H100,H100,1,1,1,x,r,free,5\n", "SpotPrice: expected a number from 0, got 'free'"),
        ("H100,H100,1,1,1,x,r,,1e999\n", "Price"),
        ("H100,H100,1,1,1\n", "has 5 cells where the header has 9"),
        ('"H100,H100,1,1,1,x,r,,5\n', "not valid CSV"),
        ("H100,H100,1,1,1,x,\x1b[31mred,,5\n", "Region: .* cannot be part of a name"),
        ('H100,H100,1,1,1,x,"a\nkind: grid",,5\n', "Region: .* cannot be part of a name"),
        ("C5,,,4,8,,r,,0.08\n", "has no price of an accelerator"),
        ("X,NoSuchChip,1,4,8,,r,,0.08\n", "has no price(.|\n)*NoSuchChip"),
        ("H100,H100,1,1,1,x,r,,0\n", "has no price"),
    ],
)
def test_a_bad_price_list_is_refused(tmp_path: Path, rows: str, says: str) -> None:
    with pytest.raises(CatalogError, match=says):
        import_skypilot(written(tmp_path, HEAD + rows))


def test_a_missing_column_is_named_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no column 'AcceleratorCount'.*its columns are 'InstanceType'"):
        import_skypilot(written(tmp_path, HEAD.replace("AcceleratorCount", "Count") + ROWS))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xff\xfeI\x00n\x00", "UTF-16"),
        (b"Inst\xe9,\n", "not UTF-8"),
        (b"a,b\0,c\n", "NUL"),
        (b"x" * (5 * 2**20 + 1), "larger than"),
        (b'"' + b"x" * 200_000 + b'",b\n', "not valid CSV"),
    ],
)
@pytest.mark.parametrize("importer", [import_skypilot, lambda path: import_intensity(path, "Mine")])
def test_what_is_not_a_table_is_refused(
    tmp_path: Path, content: bytes, says: str, importer: Callable[[Path], str]
) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=says):
        importer(path)
    with pytest.raises(FileError, match="no such file"):
        importer(tmp_path / "absent.csv")
    with pytest.raises(FileError, match="folder"):
        importer(tmp_path)


def test_hostile_names_cannot_leave_their_comment(tmp_path: Path) -> None:
    rows = 'X,"evil\nentries: {}\n",1,4,8,,r,,0.08\n' + ROWS
    text = import_skypilot(written(tmp_path, HEAD + rows))
    assert "\nentries: {}" not in text
    assert r"evil\nentries" in text
    loaded(tmp_path, text)


def test_provider_and_date_are_checked(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + ROWS)
    with pytest.raises(CatalogError, match="provider"):
        import_skypilot(path, provider="a\nb")
    with pytest.raises(CatalogError, match="2024-05-31"):
        import_skypilot(path, date="yesterday")


# ---- time series
def series(
    value: Callable[[datetime.datetime], Any], step: int = 60, year: int = 2023, head: str = "timestamp,value"
) -> str:
    moment = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
    lines = [head]
    while moment.year == year:
        lines.append(f"{moment.isoformat()},{value(moment)}")
        moment += datetime.timedelta(minutes=step)
    return "\n".join(lines) + "\n"


def test_a_series_becomes_a_profile_and_a_mean(tmp_path: Path) -> None:
    # 100 g in the hour from noon, 20 g otherwise: 23.33 g over the day
    path = written(tmp_path, series(lambda at: 100 if at.hour == 12 else 20), "series.csv")
    catalog = loaded(tmp_path, import_intensity(path, "Mine", basis="life cycle"))
    profile = catalog.find("profile", "Mine")
    assert profile.at(7, 12).to("gCO2e/kWh").magnitude == pytest.approx(100)
    assert profile.at(7, 13).to("gCO2e/kWh").magnitude == pytest.approx(20)
    assert profile.mean.to("gCO2e/kWh").magnitude == pytest.approx((100 + 23 * 20) / 24, rel=1e-5)
    assert (profile.year, profile.basis) == (2023, "life cycle")


def test_a_series_becomes_a_grid(tmp_path: Path) -> None:
    # months count by their days: 310 g in January, 0 after it: 310 x 31 / 365 = 26.33 g
    path = written(tmp_path, series(lambda at: 310 if at.month == 1 else 0), "series.csv")
    grid = loaded(tmp_path, import_intensity(path, "Mine", kind="grid", basis="life cycle")).find("grid", "Mine")
    assert grid.carbon_intensity.to("gCO2e/kWh").magnitude == pytest.approx(310 * 31 / 365, rel=1e-5)


def test_electricity_maps_columns_offsets_finer_steps_and_units(tmp_path: Path) -> None:
    head = "Datetime (UTC),Carbon Intensity gCO\u2082eq/kWh (direct)"
    path = written(tmp_path, series(lambda at: at.minute, step=30, head=head), "series.csv")
    text = import_intensity(path, "Mine", unit="lb/MWh")
    profile = loaded(tmp_path, text).find("profile", "Mine")
    # half-hours of 0 and 30 lb/MWh: 15 x 0.45359237 g/kWh
    assert profile.at(3, 3).to("gCO2e/kWh").magnitude == pytest.approx(15 * 0.45359237, rel=1e-4)
    assert profile.basis == "direct"


def test_times_with_an_offset_are_taken_to_utc(tmp_path: Path) -> None:
    lines = ["timestamp,value"]
    moment = datetime.datetime(2023, 1, 1)
    for _ in range(365 * 24):
        lines.append(f"{moment.isoformat()}+02:00,{50 if moment.hour == 14 else 10}")
        moment += datetime.timedelta(hours=1)
    text = import_intensity(written(tmp_path, "\n".join(lines), "series.csv"), "Mine", basis="direct")
    assert "2 of other years are left out" in text, "the first two hours are those of the last evening"
    profile = loaded(tmp_path, text).find("profile", "Mine")
    assert profile.at(6, 12).to("gCO2e/kWh").magnitude == pytest.approx(50)


GOOD = series(lambda at: 100)


def test_what_counts_is_never_guessed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'value' does not say what counts(.|\n)*'life cycle'(.|\n)*'direct'"):
        import_intensity(written(tmp_path, GOOD, "series.csv"), "Mine")
    said = GOOD.replace("timestamp,value", "timestamp,life_cycle")
    assert "basis: life cycle\n" in import_intensity(written(tmp_path, said, "series.csv"), "Mine")
    assert "basis: direct\n" in import_intensity(written(tmp_path, said, "series.csv"), "Mine", basis="direct")


def test_a_mean_below_any_grid_is_another_unit(tmp_path: Path) -> None:
    # 0.4 kg/kWh read as 0.4 g/kWh
    path = written(tmp_path, series(lambda at: 0.4), "series.csv")
    with pytest.raises(InputError, match=r"mean of 'value' is 0.4 gCO2e/kWh(.|\n)*--unit(.|\n)*kgCO2e/kWh"):
        import_intensity(path, "Mine", basis="direct")
    assert "mean: 400 gCO2e/kWh" in import_intensity(path, "Mine", basis="direct", unit="kgCO2e/kWh")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("2023-06-01T05", "2023-06-32T05", 1), r"line \d+.*expected a time such as"),
        (GOOD.replace("2023-06-01T05:00:00+00:00", "noon", 1), "expected a time such as .* got 'noon'"),
        (GOOD.replace("2023-06-01T05", "2023-06-01T04", 1), "stands twice"),
        (GOOD.replace("value", "wind", 1), "no column .*the carbon intensity.*'timestamp', 'wind'"),
        (GOOD.replace("timestamp", "when", 1), "no column .*the time"),
        (GOOD.replace(",100\n", ",-1\n", 1), "line 2.*expected a number from 0, got '-1'"),
        (GOOD.replace(",100\n", ",nan\n", 1), "expected a number from 0"),
        (GOOD.replace(",100\n", ",1e6\n", 1), "more than any grid emits(.|\n)*another unit"),
        ("timestamp,value\n", "no row with a value"),
        ("timestamp,value\n2023-01-01,5\n", "no value in 2023 for hour 1 .* of month 1, nor for 286 other hours"),
        (GOOD.replace(",100\n", ",100,7\n", 1), "has 3 cells where the header has 2"),
    ],
)
def test_a_bad_series_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(CatalogError, match=says):
        import_intensity(written(tmp_path, text, "series.csv"), "Mine", basis="direct")


def test_arguments_are_checked_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "absent.csv"
    with pytest.raises(InputError, match="cannot be a name"):
        import_intensity(path, "a name\nkind: price")
    with pytest.raises(InputError, match="not a unit of such files"):
        import_intensity(path, "Mine", unit="g")
    with pytest.raises(CatalogError, match="no column 'mine'"):
        import_intensity(written(tmp_path, GOOD, "series.csv"), "Mine", column="mine")
