"""The catalog of models: names people use, facts the reference implementation had wrong, networks recounted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from counted_networks import NETWORKS, Net

from mlsysim_opt.errors import CatalogError, MissingFieldError
from mlsysim_opt.registry import Catalog, Models, default_catalog
from mlsysim_opt.registry.types import Transformer, Workload

SHARED = Path(__file__).resolve().parents[3] / "shared" / "validation" / "models.yaml"
REFERENCE = {
    "Embodied": "ACT_ALOHA DiffusionPolicy_PushT Octo_Base OpenVLA_7B",
    "GenerativeVision": "StableDiffusion_v1_5",
    "Language": "BERT_Base BERT_Large DeepSeek_V3 GPT2 GPT2_Small GPT3 GPT4 Llama2_13B Llama2_70B Llama2_7B "
    "Llama3_405B Llama3_70B Llama3_8B Mixtral_8x7B OPT_13B PaLM_540B",
    "Recommendation": "DLRM",
    "StateSpace": "Mamba_130M Mamba_2_8B",
    "Tiny": "AnomalyDetector DS_CNN WakeVision",
    "Vision": "AlexNet EfficientNetB0 EfficientNetB4 LeNet1 MobileNetV1 MobileNetV2 MobileNetV2_Alpha0_5 "
    "MobileNetV2_Alpha0_5FeatureExtractor MobileNetV2_Alpha0_75 MobileNetV3_Large ResNet18 ResNet50 VGG16 ViT_Large "
    "YOLOv8_Nano",
}
NOT_BY_SHAPES = {"deepseek-v4-flash", "meena-2.6b", "gshard-600b", "switch-1.5t"}


@pytest.mark.parametrize("group", REFERENCE)
def test_every_model_of_the_reference_is_there_by_name_and_by_group(group: str) -> None:
    for name in REFERENCE[group].split():
        assert Models[name] is getattr(getattr(Models, group), name)


def test_both_kinds_share_the_namespace() -> None:
    assert isinstance(Models.ResNet50, Workload)
    assert Models.Vision.ResNet50 is Models.ResNet50
    assert isinstance(Models.Language.Llama3_8B, Transformer)
    assert isinstance(Models.Language.T5_11B, Workload)  # one group, two kinds
    assert repr(Models).count("Language") == 1


def test_every_model_of_the_published_measurements_resolves() -> None:
    if not SHARED.is_file():
        pytest.skip("the validation set is not beside the tree")
    data = yaml.load(SHARED.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    names = [*data["models"], *(alias.rpartition("/")[2] for alias in data["aliases"] if " " not in alias)]
    missing = {name for name in names if name not in Models}
    assert missing == NOT_BY_SHAPES


def test_shapes_agree_with_the_published_measurements() -> None:
    if not SHARED.is_file():
        pytest.skip("the validation set is not beside the tree")
    data = yaml.load(SHARED.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    compared = 0
    for name, facts in data["models"].items():
        if "Nemotron" in facts.get("source", "") or name not in Models or name == "t5-11b":
            continue  # hybrids count blocks instead of layers there
        entry: Any = Models[name]
        config = facts.get("hf_config_keys", {})
        for ours, theirs, key in (
            ("layers", "layers", "num_hidden_layers"), ("hidden", "hidden", "hidden_size"),
            ("heads", "heads", "num_attention_heads"), ("kv_heads", "kv_heads", "num_key_value_heads"),
        ):  # fmt: skip
            value = facts.get(theirs, config.get(key))
            if value is not None:
                compared += 1
                assert getattr(entry, ours) == value, (name, ours)
        if "ffn" in facts:
            assert entry.ffn == facts["ffn"], name
        if entry.moe is not None and config.get("num_experts_per_tok"):
            assert entry.moe.experts_per_token == config["num_experts_per_tok"], name
    assert compared > 350


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_recounted_layer_by_layer(name: str) -> None:
    entry = default_catalog().find("workload", name)
    assert isinstance(entry, Workload)
    net = NETWORKS[name]()
    numbers = {path: datum.si for path, datum in entry.parameters().items()}
    assert numbers["forward_flops"] == 2 * net.macs
    assert numbers["activation_elements"] == net.outputs
    assert numbers["layers"] == net.layers


# Published by others: parameters and multiply-adds (torchvision's GFLOPS; MobileNet papers; MLPerf Tiny; Ultralytics
# prints 8.7 GFLOP, two a multiply-add), to as many digits as they print.
PUBLISHED = {
    "AlexNet": (61_100_840, 0.71e9, 0.01), "VGG16": (138_357_544, 15.47e9, 0.001),
    "ResNet18": (11_689_512, 1.81e9, 0.005), "ResNet50": (25_557_032, 4.09e9, 0.002),
    "MobileNetV1": (4_231_976, 569e6, 0.002),
    "MobileNetV2": (3_504_872, 300e6, 0.01), "MobileNetV2_Alpha0_5": (1_968_680, 97e6, 0.01),
    "MobileNetV2_Alpha0_75": (2_636_424, 209e6, 0.01), "MobileNetV3_Large": (5_483_032, 0.22e9, 0.02),
    "EfficientNetB0": (5_288_548, 0.39e9, 0.02), "EfficientNetB4": (19_341_616, 4.39e9, 0.002),
    "ViT_Large": (304_326_632, 61.55e9, 0.001), "YOLOv8_Nano": (3_157_200, 8.7e9 / 2, 0.01),
    "AnomalyDetector": (269_992, 264e3, 0.01), "DS_CNN": (24_908, 2.66e6, 0.01), "WakeVision": (221_794, 7.49e6, 0.01),
    "StableDiffusion_v1_5": (859_520_964, 402e9, 0.01),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name: str) -> None:
    weights, macs, tolerance = PUBLISHED[name]
    entry: Any = Models[name]
    assert entry.parameter_count == weights
    assert NETWORKS[name]().weights == weights
    assert entry.parameters()["forward_flops"].si == pytest.approx(2 * macs, rel=tolerance)


def test_outputs_of_resnet50_by_hand() -> None:
    # Radosavovic et al. 2020 print 11.1 M activations for ResNet-50; outputs by stage, shortcuts first:
    stem = 64 * 112 * 112  # 802,816
    first = 256 * 56**2 + 3 * (64 + 64 + 256) * 56**2  # 802,816 + 3 x 1,204,224
    second = 512 * 28**2 + (128 * 56**2 + (128 + 512) * 28**2) + 3 * (128 + 128 + 512) * 28**2
    third = 1024 * 14**2 + (256 * 28**2 + (256 + 1024) * 14**2) + 5 * (256 + 256 + 1024) * 14**2
    fourth = 2048 * 7**2 + (512 * 14**2 + (512 + 2048) * 7**2) + 2 * (512 + 512 + 2048) * 7**2
    assert stem + first + second + third + fourth + 1000 == 11_114_984
    entry: Any = Models.ResNet50
    assert entry.activation_elements == 11_114_984
    assert entry.activation_elements == pytest.approx(11.1e6, rel=0.002)


def test_work_of_lenet1_by_hand() -> None:
    # 4 maps of 24 x 24 from 5 x 5: 57,600 multiply-adds; 12 maps of 8 x 8 from 4 x 5 x 5: 76,800; 10 from 192: 1,920
    # weights 4 x 26 + 12 x 101 + 10 x 193 = 104 + 1212 + 1930
    net = NETWORKS["LeNet1"]()
    assert (net.macs, net.weights, net.outputs) == (136_320, 3246, 4 * 576 + 12 * 64 + 10)


def test_a_convolution_is_counted_right() -> None:
    # 8 maps of 10 x 12 at stride 2: 16 maps of 5 x 6, each from 3 x 3 x 8 (4 groups: 3 x 3 x 2)
    assert Net(8, 10, 12).conv(16, 3, 2).macs == 16 * 5 * 6 * 72
    grouped = Net(8, 10, 12).conv(16, 3, 2, groups=4, bias=True, norm=False)
    assert (grouped.macs, grouped.weights, grouped.outputs) == (16 * 5 * 6 * 18, 16 * 18 + 16, 480)


# traps: what the reference implementation had wrong -------------------------------------------------------------------
def test_trap_work_is_two_flop_a_multiply_add() -> None:
    # the reference stored the paper's 0.39 G multiply-adds of EfficientNet-B0 as FLOP, half of its own convention
    entry: Any = Models.EfficientNetB0
    assert entry.forward_flops.to("GFLOP").magnitude == pytest.approx(0.78, rel=0.02)


def test_trap_a_denoising_step_of_stable_diffusion() -> None:
    # the reference has 20 GFLOP for a step whose U-Net pass of 859.5 M weights on 64 x 64 latents takes 0.8 TFLOP
    entry: Any = Models.StableDiffusion_v1_5
    assert entry.forward_flops.to("TFLOP").magnitude == pytest.approx(0.80, rel=0.01)


def test_trap_no_model_lacks_its_work() -> None:
    # LeNet1, ViT_Large and MobileNetV2_Alpha0_5 had none
    for entry in default_catalog().all("workload"):
        assert entry.parameter("forward_flops").si > 0
        assert entry.parameter("activation_elements").si > 0


def test_trap_heads_and_experts_of_deepseek() -> None:
    # the reference: 56 heads, no shared expert, no dense layers
    entry: Any = Models.DeepSeek_V3
    assert (entry.heads, entry.moe.experts, entry.moe.experts_per_token) == (128, 256, 8)
    assert (entry.moe.shared_experts, entry.moe.dense_layers) == (1, 3)


def test_trap_llama2_is_not_seven_billion() -> None:
    assert Models.Llama2_7B.parameter_count == 6_738_415_616


def test_trap_palm_has_heads_of_256() -> None:
    # the reference divided 18432 by 48 heads: 384
    assert (Models.PaLM_540B.head_dim, Models.PaLM_540B.kv_heads) == (256, 1)


def test_rumours_say_so() -> None:
    numbers = Models.GPT4.parameters()
    for path in ("layers", "hidden", "moe.experts", "parameter_count", "active_parameter_count", "training_tokens"):
        assert "rumour" in (numbers[path].estimated or "")


def test_a_record_of_dlrm_reads_few_of_its_weights() -> None:
    # 26 rows of 128 and the perceptrons, of 24 billion numbers in tables
    entry: Any = Models.DLRM
    perceptrons = 14 * 512 + 513 * 256 + 257 * 128 + 480 * 1024 + 1025 * 1024 + 1025 * 512 + 513 * 256 + 257
    assert entry.active_parameter_count == perceptrons + 26 * 128
    assert entry.parameter_count == perceptrons + 187_767_399 * 128


# what a shape may not be ----------------------------------------------------------------------------------------------
MODEL = """\
kind: model
sources:
  mine: {{title: mine, locator: here, date: 2026}}
entries:
  Mine:
    title: Mine
    source: mine
    layers: 12
    hidden: 64
    heads: 4
    kv_heads: 4
    head_dim: 16
    ffn: 256
    gated_ffn: true
    vocab: 1000
    tied_embeddings: false
    learned_positions: 0
    biases: false
    context_length: 512
    parameter_count: 1000000
    {extra}
"""


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("window: {size: 0, layers: 3}", "positive"),
        ("window: {size: 128, layers: 13}", "together more than layers"),
        ("window: {size: 128, layers: 7}\n    recurrent: {layers: 6, mixer_parameters: 1, state_elements: 1, "
         "state_element: 4 byte}", "together more than layers"),
        ("recurrent: {layers: 6, mixer_parameters: 1, state_elements: 1, state_element: 4}", "unit"),
        ("recurrent: {layers: 6, mixer_parameters: 1, state_elements: 1}", "state_element"),
        ("ffn_layers: 13", "ffn_layers"),
        ("bidirectional_layers: 6", "all layers"),
        ("bidirectional_layers: 12\n    window: {size: 128, layers: 6}", "causal"),
        ("active_parameter_count: 2000000", "larger than parameter_count"),
        ("windows: {size: 128, layers: 3}", "window"),
    ],
)  # fmt: skip
def test_impossible_layers_are_refused(overlay: Callable[..., Catalog], extra: str, said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        overlay(MODEL.format(extra=extra))


def test_a_gap_is_an_error_that_names_it() -> None:
    with pytest.raises(MissingFieldError, match=r"Llama3_8B.*window"):
        Models.Llama3_8B.parameter("window.size")
    with pytest.raises(MissingFieldError, match=r"DLRM"):
        Models.DLRM.parameter("forward_flop")
