"""Class C: names, misspelt and otherwise."""

from __future__ import annotations

import copy

import pytest

from mlsysim_opt.errors import UnknownNameError, UnsupportedPrecisionError
from mlsysim_opt.registry import (
    Calibrations,
    Hardware,
    Infra,
    Models,
    Numerics,
    Systems,
    default_catalog,
    find,
)
from mlsysim_opt.registry.kinds import KINDS, kind_of


def test_C01_unknown_hardware_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown name in Hardware 'H1000'") as caught:
        Hardware["H1000"]
    assert "'H100'" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["h100", "H100", "h100_sxm", "H100-SXM5", "h100 sxm", " H100"])
def test_C02_case_and_separators_do_not_matter(name: str) -> None:
    assert Hardware[name] is Hardware.Cloud.H100


@pytest.mark.parametrize("name", ["Llama3-8B", "llama3_8b", "LLAMA3 8B", "llama38b", "Llama-3.1-8B"])
def test_C03_other_spellings_of_a_model(name: str) -> None:
    assert Models[name] is Models.Language.Llama3_8B


def test_C03_spellings_never_guess_between_two() -> None:
    assert Models["GPT3_13B"] is not Models["GPT3_6_7B"]
    with pytest.raises(UnknownNameError, match="did you mean"):
        Models["Llama3_9B"]


def test_C04_unknown_region() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'Quebec'"):
        Infra.Grids["Quebek"]


def test_C06_unknown_region_far_from_any() -> None:
    with pytest.raises(UnknownNameError) as caught:
        Infra.Grids["Atlantis"]
    assert caught.value.hint


def test_C09_unknown_precision_lists_the_valid_ones() -> None:
    with pytest.raises(UnsupportedPrecisionError, match=r"supported: bf16, fp16, fp32, fp64, fp8, int8, tf32"):
        Hardware.Cloud.H100.peak("fp17")


@pytest.mark.parametrize("precision", ["fp4", "int4", "fp17", "", "peak", "__class__"])
def test_C09_no_other_rate_is_used_instead(precision: str) -> None:
    device = Hardware.Cloud.H100
    for ask in (device.peak, device.peak_parameter, device.compute.peak.__getitem__):
        with pytest.raises(UnsupportedPrecisionError):
            ask(precision)
    with pytest.raises((UnsupportedPrecisionError, AttributeError)):
        device.parameter(f"compute.peak.{precision}")


def test_C10_attribute_typo() -> None:
    with pytest.raises(AttributeError, match="did you mean 'H100'") as caught:
        Hardware.Cloud.H1000  # noqa: B018
    assert isinstance(caught.value, UnknownNameError)
    assert not hasattr(Hardware.Cloud, "H1000")
    assert getattr(Hardware, "Clowd", None) is None


@pytest.mark.parametrize("name", ["__class__", "__mro__", "__getattr__", "_catalog", "__import__"])
def test_C11_dunder_names_are_no_entries(name: str) -> None:
    for space in (Hardware, Models, Systems.Nodes):
        with pytest.raises(UnknownNameError):
            space[name]
        assert name not in space


@pytest.mark.parametrize("name", ["list", "all", "names", "keys", "find", "Cloud"])
def test_C12_method_names_are_no_entries(name: str) -> None:
    with pytest.raises(UnknownNameError):
        Hardware[name]
    assert name not in Hardware


def test_special_methods_do_not_reach_the_catalog() -> None:
    assert not hasattr(Hardware, "__deepcopy__")
    assert copy.copy(Hardware).Cloud.H100 is Hardware.Cloud.H100


@pytest.mark.parametrize("name", ["", " ", "x" * 100000, "../../etc/passwd", "[/foo]", "\x1b[31m"])
def test_F04_F05_F08_odd_names_are_just_names(name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        Hardware[name]
    assert "\x1b" not in str(caught.value)


def test_namespaces_are_collections() -> None:
    names = Hardware.names()
    assert {"A100", "A100_40GB", "A100_PCIe", "H100", "H100_PCIe", "H200", "B200", "GB200", "MI300X", "MI325X",
            "V100", "L40S"} <= set(names)  # fmt: skip
    assert len(Hardware) == len(list(Hardware)) == len(Hardware.all()) == len(names)
    assert "h100" in Hardware
    assert Hardware.Cloud.H100 in Hardware
    assert Models.Language.GPT2 not in Hardware
    assert {"H100", "all", "names"} <= set(dir(Hardware.Cloud))
    assert "Cloud" in dir(Hardware)
    assert Hardware.Cloud.names()[0] in repr(Hardware.Cloud)


def test_systems_and_infra() -> None:
    assert Systems.Nodes.DGX_H100.accelerator is Hardware.Cloud.H100
    assert Systems.Fabrics["ib_ndr"].name == "InfiniBand_NDR"
    assert Systems["Training_1K"] is Systems.Clusters.Training_1K
    assert set(dir(Infra)) >= {"Grids", "Datacenters", "Prices"}
    assert Infra.Datacenters.Google_Iowa.grid is Infra.Grids.Iowa
    assert Infra.Prices.H100_AWS.accelerator is Hardware.Cloud.H100
    assert Numerics["bf16"].gemm_precision == "bf16"
    assert Calibrations["hopper"].name == Hardware.Cloud.H100.generation


def test_find_by_kind() -> None:
    assert find("accelerator", "h100") is Hardware.Cloud.H100
    assert find("accelerators", "h100") is Hardware.Cloud.H100
    with pytest.raises(UnknownNameError, match="did you mean 'accelerator'"):
        find("acelerator", "H100")
    for name, kind in KINDS.items():
        assert kind_of(name) is kind
        assert kind.entry_type.kind == name


def test_a_catalog_has_its_own_namespaces() -> None:
    catalog = default_catalog()
    assert catalog.Hardware.Cloud.H100 is Hardware.Cloud.H100
    assert catalog.Models.names() == Models.names()
    assert catalog.Systems.Nodes.names() == Systems.Nodes.names()
    assert catalog.Infra.Grids.names() == Infra.Grids.names()
