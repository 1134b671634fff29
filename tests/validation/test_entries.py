"""The entries that rows name: found in the catalog, made from the facts beside the file, or a reason why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlsysim_opt.algebra.evaluate import ScalarProgram
from mlsysim_opt.physics.transformer import parameter_count
from mlsysim_opt.physics.view import View
from mlsysim_opt.validation.entries import hardware_entry, model_entry, spellings
from mlsysim_opt.validation.rows import Unmodelled

NOWHERE = Path("/nonexistent")

MODELS = """
models:
  tiny-dense:
    {arch: dense_decoder, layers: 4, hidden: 256, heads: 4, kv_heads: 2, ffn: 1024, gated_ffn: true, vocab: 1000,
     tied_embeddings: false}
  tiny-moe:
    arch: moe_decoder
    hf_config_keys: {num_hidden_layers: 4, hidden_size: 256, num_attention_heads: 4, num_key_value_heads: 4,
      intermediate_size: 1024, moe_intermediate_size: 128, n_routed_experts: 8, num_experts_per_tok: 2,
      n_shared_experts: 1, first_k_dense_replace: 1, vocab_size: 1000, tie_word_embeddings: false, model_type: x}
  tiny-window:
    {arch: dense_decoder, layers: 12, hidden: 256, heads: 4, kv_heads: 2, ffn: 1024, gated_ffn: true, vocab: 1000,
     tied_embeddings: true, sliding_window: 64, local_global_ratio: '5:1'}
  odd-window:
    {arch: dense_decoder, layers: 12, hidden: 256, heads: 4, kv_heads: 2, ffn: 1024, gated_ffn: true, vocab: 1000,
     tied_embeddings: true, sliding_window: 64}
  mixed: {arch: hybrid_mamba2_decoder, layers: 4, hidden: 256, heads: 4, kv_heads: 2, ffn: 1024, vocab: 1000}
  other: {arch: other}
  broken: {arch: dense_decoder, layers: 4, hidden: 256, heads: 3, kv_heads: 2, ffn: 1024, vocab: 1000}
"""
HARDWARE = """
hardware:
  h999-sxm-80gb: {bf16_tflops: 100, mem_gb: 80, mem_bw_gbs: 1000, tdp_w: 500}
  b300-next: {bf16_tflops: 2500, fp8_tflops: 5000, mem_gb: 288, mem_bw_gbs: 8000, tdp_w: 1400, nvlink_gbs_bidir: 1800}
  h100-sxm-120gb: {bf16_tflops: not stated, mem_gb: 120, mem_bw_gbs: 2400, tdp_w: 500, nvlink_gbs_bidir: 900}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "hardware.yaml").write_text(HARDWARE)
    return tmp_path


def count(name: str, folder: Path) -> float:
    view = View("model", [model_entry(name, folder)])
    return float(ScalarProgram([parameter_count(view)]).run_named(view.bindings())[0])


def test_a_dense_model_is_built_from_its_facts(folder: Path) -> None:
    # layer: q and o 2 x 256 x 256, k and v 2 x 256 x 128, ffn 3 x 256 x 1024, two norms of 256
    layer = 2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 1024 + 2 * 256
    assert count("tiny-dense", folder) == 4 * layer + 2 * 1000 * 256 + 256


def test_experts_are_read_from_a_config(folder: Path) -> None:
    found = model_entry("tiny-moe", folder)
    assert found.moe is not None
    assert (found.moe.experts, found.moe.experts_per_token, found.moe.expert_ffn) == (8, 2, 128)
    assert (found.moe.shared_experts, found.moe.shared_expert_ffn, found.moe.dense_layers) == (1, 128, 1)
    assert found.ffn == 1024


def test_windows_follow_the_stated_ratio(folder: Path) -> None:
    found = model_entry("tiny-window", folder)
    assert found.window is not None
    assert (found.window.size, found.window.layers) == (64, 10)  # every sixth of 12 layers is global


def test_a_changed_number_of_layers(folder: Path) -> None:
    assert model_entry("tiny-dense", folder, layers=2).layers == 2
    assert model_entry("Llama3_8B", NOWHERE, layers=2).layers == 2
    assert model_entry("Llama3_8B", NOWHERE).layers == 32


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("odd-window", "which layers"),
        ("mixed", "several kinds"),
        ("other", "not a decoder"),
        ("broken", "cannot be built"),
        ("no-such-model-at-all", "neither in the catalog"),
    ],
)
def test_a_model_that_cannot_be_built_has_a_reason(folder: Path, name: str, said: str) -> None:
    with pytest.raises(Unmodelled, match=said):
        model_entry(name, folder)


@pytest.mark.parametrize(
    "name",
    ["meta-llama/Llama-3.1-8B-Instruct", "nvidia/Llama-3.1-8B-Instruct-FP8", "llama3-8b", "Llama3_8B", "llama3.1-8b"],
)
def test_names_of_other_ecosystems_find_the_catalog(name: str) -> None:
    assert model_entry(name, NOWHERE).name == "Llama3_8B"
    assert spellings(name)[0] == name


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("h100-sxm-80gb", "H100"), ("h100_sxm", "H100"), ("a100-sxm-40gb", "A100_40GB"), ("gb200", "GB200"),
        ("b200_sxm", "B200"), ("H200", "H200"), ("l40s", "L40S"), ("tpu-v5p", "TPUv5p"),
    ],
)  # fmt: skip
def test_accelerators_by_the_names_of_measurements(name: str, entry: str) -> None:
    assert hardware_entry(name, NOWHERE).name == entry


def test_an_accelerator_is_built_from_its_facts(folder: Path) -> None:
    found = hardware_entry("b300-next", folder)
    assert found.generation == "blackwell_ultra"
    assert found.parameter("compute.peak.fp8").si == 5e15
    assert found.parameter("scale_up.bandwidth").si == 900e9  # 1800 GB/s in both directions together


def test_a_variant_in_memory_and_power_has_the_rates_of_its_sibling(folder: Path) -> None:
    found, sibling = hardware_entry("h100-sxm-120gb", folder), hardware_entry("h100-sxm", folder)
    assert found.parameter("compute.peak.bf16").si == sibling.parameter("compute.peak.bf16").si
    assert found.parameter("tdp").si == 500


@pytest.mark.parametrize(("name", "said"), [("h999-sxm-80gb", "generation"), ("xpu", "neither in the catalog")])
def test_an_accelerator_that_cannot_be_built_has_a_reason(folder: Path, name: str, said: str) -> None:
    with pytest.raises(Unmodelled, match=said):
        hardware_entry(name, folder)
