"""Models from Hugging Face configurations: shapes as the catalog has them, hostile files, text that is read back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlsysim_opt.errors import CatalogError, FileError, MlsysimError, UnknownNameError
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.importers.hf_families import FAMILIES
from mlsysim_opt.registry.importers.huggingface import entry_yaml, import_hf_config, read_hf_config

SHARED = Path(__file__).resolve().parents[3] / "shared" / "validation" / "models.yaml"


def keys(
    kind: str, layers: int, hidden: int, heads: int, kv: int | None, ffn: int, vocab: int, context: int, **more: Any
) -> dict[str, Any]:
    """A configuration in the usual keys, as published with the weights."""
    some = {} if kv is None else {"num_key_value_heads": kv}
    return {
        "model_type": kind, "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, **some,
        "intermediate_size": ffn, "vocab_size": vocab, "max_position_embeddings": context, **more,
    }  # fmt: skip


EXPERTS = {"num_experts_per_tok": 8, "moe_intermediate_size": 768, "num_experts": 128}
LATENT = {
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 2048,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "Llama2_7B": keys("llama", 32, 4096, 32, None, 11008, 32000, 4096),
    "Llama3_8B": keys("llama", 32, 4096, 32, 8, 14336, 128256, 131072, tie_word_embeddings=False),
    "Llama3_2_1B": keys("llama", 16, 2048, 32, 8, 8192, 128256, 131072, head_dim=64, tie_word_embeddings=True),
    "Mistral_7B": keys("mistral", 32, 4096, 32, 8, 14336, 32000, 32768, sliding_window=4096),
    "Mistral_7B_v0_3": keys("mistral", 32, 4096, 32, 8, 14336, 32768, 32768, sliding_window=None),
    "Mistral_Nemo_12B": keys("mistral", 40, 5120, 32, 8, 14336, 131072, 131072, head_dim=128),
    "Mixtral_8x7B": keys(
        "mixtral", 32, 4096, 32, 8, 14336, 32000, 32768, num_local_experts=8, num_experts_per_tok=2, sliding_window=None
    ),
    "Qwen2_5_7B": keys(
        "qwen2", 28, 3584, 28, 4, 18944, 152064, 131072,
        use_sliding_window=False, sliding_window=131072, max_window_layers=28,
    ),
    "Qwen3_32B": keys("qwen3", 64, 5120, 64, 8, 25600, 151936, 131072, head_dim=128, use_sliding_window=False),
    "Qwen3_30B_A3B": keys(
        "qwen3_moe", 48, 2048, 32, 4, 6144, 151936, 131072, head_dim=128, decoder_sparse_step=1, mlp_only_layers=[],
        **EXPERTS,
    ),
    "Qwen2_57B_A14B": keys(
        "qwen2_moe", 28, 3584, 28, 4, 18944, 151936, 65536, num_experts=64, num_experts_per_tok=8,
        moe_intermediate_size=2560, shared_expert_intermediate_size=20480,
    ),
    "Qwen3_Next_80B_A3B": keys(
        "qwen3_next", 48, 2048, 16, 2, 5120, 151936, 262144, head_dim=256, full_attention_interval=4, num_experts=512,
        num_experts_per_tok=10, moe_intermediate_size=512, shared_expert_intermediate_size=512, mlp_only_layers=[],
        linear_conv_kernel_dim=4, linear_key_head_dim=128, linear_num_key_heads=16, linear_num_value_heads=32,
        linear_value_head_dim=128, tie_word_embeddings=False,
    ),
    "Gemma_2B": keys("gemma", 18, 2048, 8, 1, 16384, 256000, 8192, head_dim=256),
    "Gemma2_9B": keys("gemma2", 42, 3584, 16, 8, 14336, 256000, 8192, head_dim=256, sliding_window=4096),
    "Gemma3_1B": keys(
        "gemma3_text", 26, 1152, 4, 1, 6912, 262144, 32768, head_dim=256, sliding_window=512, sliding_window_pattern=6
    ),
    "Phi_3_mini": keys("phi3", 32, 3072, 32, 32, 8192, 32064, 131072, sliding_window=262144, tie_word_embeddings=False),
    "DeepSeek_V3": keys(
        "deepseek_v3", 61, 7168, 128, 128, 18432, 129280, 131072, n_routed_experts=256, first_k_dense_replace=3,
        moe_layer_freq=1, **LATENT,
    ),
    "DeepSeek_V2_Lite": keys(
        "deepseek_v2", 27, 2048, 16, 16, 10944, 102400, 32768, n_routed_experts=64, first_k_dense_replace=1,
        **{**LATENT, "q_lora_rank": None, "n_shared_experts": 2, "num_experts_per_tok": 6,
           "moe_intermediate_size": 1408},
    ),
    "Kimi_K2": keys(
        "kimi_k2", 61, 7168, 64, 64, 18432, 163840, 131072, n_routed_experts=384, first_k_dense_replace=1, **LATENT
    ),
    "GLM_4_5": keys(
        "glm4_moe", 92, 5120, 96, 8, 12288, 151552, 131072, head_dim=128, n_routed_experts=160, n_shared_experts=1,
        first_k_dense_replace=3, num_experts_per_tok=8, moe_intermediate_size=1536, attention_bias=True,
    ),
    "GPT_OSS_20B": keys(
        "gpt_oss", 24, 2880, 64, 8, 2880, 201088, 131072, head_dim=64, num_local_experts=32, num_experts_per_tok=4,
        sliding_window=128, layer_types=["sliding_attention", "full_attention"] * 12, tie_word_embeddings=False,
    ),
    "Llama4_Scout": {
        "model_type": "llama4",
        "text_config": keys(
            "llama4_text", 48, 5120, 40, 8, 8192, 202048, 10485760, head_dim=128, attention_chunk_size=8192,
            interleave_moe_layer_step=1, intermediate_size_mlp=16384, num_local_experts=16, num_experts_per_tok=1,
        ),
        "vision_config": {"hidden_size": 1408},
    },
    "Llama4_Maverick": {
        "model_type": "llama4",
        "text_config": keys(
            "llama4_text", 48, 5120, 40, 8, 8192, 202048, 1048576, head_dim=128, attention_chunk_size=8192,
            interleave_moe_layer_step=2, intermediate_size_mlp=16384, num_local_experts=128, num_experts_per_tok=1,
        ),
    },
    "MiniMax_M2": keys(
        "minimax_m2", 62, 3072, 48, 8, 1536, 200064, 196608, head_dim=128, num_local_experts=256, num_experts_per_tok=8
    ),
    "GPT2_XL": {
        "model_type": "gpt2", "n_layer": 48, "n_embd": 1600, "n_head": 25, "n_positions": 1024, "n_ctx": 1024,
        "vocab_size": 50257, "n_inner": None,
    },
    "StarCoder_15B": {
        "model_type": "gpt_bigcode", "n_layer": 40, "n_embd": 6144, "n_head": 48, "n_inner": 24576, "multi_query": True,
        "n_positions": 8192, "vocab_size": 49152,
    },
    "GPT_J_6B": {
        "model_type": "gptj", "n_layer": 28, "n_embd": 4096, "n_head": 16, "n_positions": 2048, "vocab_size": 50400,
        "tie_word_embeddings": False,
    },
    "GPT_NeoX_20B": keys("gpt_neox", 44, 6144, 64, None, 24576, 50432, 2048, tie_word_embeddings=False),
    "OPT_13B": {
        "model_type": "opt", "num_hidden_layers": 40, "hidden_size": 5120, "num_attention_heads": 40, "ffn_dim": 20480,
        "max_position_embeddings": 2048, "vocab_size": 50272, "word_embed_proj_dim": 5120,
    },
    "BLOOM_176B": {
        "model_type": "bloom", "n_layer": 70, "n_embed": 14336, "num_attention_heads": 112, "seq_length": 2048,
        "vocab_size": 250880,
    },
    "Falcon_7B": {
        "model_type": "falcon", "num_hidden_layers": 32, "hidden_size": 4544, "num_attention_heads": 71,
        "multi_query": True, "new_decoder_architecture": False, "bias": False, "vocab_size": 65024,
    },
    "Falcon_180B": {
        "model_type": "falcon", "num_hidden_layers": 80, "hidden_size": 14848, "num_attention_heads": 232,
        "num_kv_heads": 8, "new_decoder_architecture": True, "multi_query": True, "bias": False, "vocab_size": 65024,
    },
    "BERT_Base": keys("bert", 12, 768, 12, None, 3072, 30522, 512),
    "Nemotron_3_Nano": keys(
        "nemotron_h", 52, 2688, 32, 2, 1856, 131072, 262144, head_dim=128, n_routed_experts=128, num_experts_per_tok=6,
        moe_intermediate_size=1856, n_shared_experts=1, moe_shared_expert_intermediate_size=3712, mamba_num_heads=64,
        mamba_head_dim=64, n_groups=8, ssm_state_size=128, conv_kernel=4,
        hybrid_override_pattern="MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    ),
}  # fmt: skip
NOT_SHAPES = {
    "name", "title", "group", "aliases", "source", "parameter_count", "active_parameter_count", "training_tokens",
}  # fmt: skip


def shapes(entry: Any) -> dict[str, Any]:
    """What an entry says of its layers, without provenance."""
    found = {path: datum.si for path, datum in entry.parameters().items() if path.split(".")[0] not in NOT_SHAPES}
    return found | {name: getattr(entry, name) for name in ("gated_ffn", "tied_embeddings", "biases")}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_has_the_shapes_of_the_catalog(name: str) -> None:
    assert shapes(read_hf_config(CONFIGS[name], name)) == shapes(default_catalog().find("model", name))


def test_every_family_is_covered_or_shares_its_reader_with_one_that_is() -> None:
    tried = {(config.get("text_config") or config)["model_type"] for config in CONFIGS.values()}
    readers = {FAMILIES[kind] for kind in tried}
    left = {kind for kind, reader in FAMILIES.items() if reader not in readers}
    assert left == {"nemotron", "starcoder2", "mpt", "cohere"}  # those follow


def test_plain_families_by_hand() -> None:
    mpt = read_hf_config(
        {"model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32, "max_seq_len": 2048, "vocab_size": 50432},
        "mpt",
    )
    assert (mpt.ffn, mpt.gated_ffn, mpt.biases, mpt.tied_embeddings) == (16384, False, False, True)
    nemotron = read_hf_config(keys("nemotron", 32, 6144, 48, 8, 24576, 256000, 4096), "n")
    assert (nemotron.gated_ffn, nemotron.tied_embeddings) == (False, False)
    starcoder = read_hf_config(keys("starcoder2", 30, 3072, 24, 2, 12288, 49152, 16384, sliding_window=4096), "s")
    assert starcoder.window is not None
    assert (starcoder.window.layers, starcoder.biases, starcoder.gated_ffn) == (30, True, False)
    cohere = read_hf_config(keys("cohere", 40, 8192, 64, 64, 22528, 256000, 131072), "c")
    assert (cohere.tied_embeddings, cohere.gated_ffn, cohere.head_dim) == (True, True, 128)


def test_defaults_of_a_class_stand_in_where_its_file_leaves_them_out() -> None:
    # google/gemma-3-4b-it states neither heads nor vocabulary: 8 heads of 256, 4 of them for keys, 262208 words
    config = {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
            "sliding_window": 1024,
        },
    }  # fmt: skip
    assert shapes(read_hf_config(config, "g")) == shapes(default_catalog().find("model", "Gemma3_4B"))


def test_windows_of_the_last_layers_only() -> None:
    config = keys("qwen2", 28, 3584, 28, 4, 18944, 152064, 131072, use_sliding_window=True, sliding_window=4096)
    entry = read_hf_config({**config, "max_window_layers": 20}, "q")
    assert entry.window is not None
    assert (entry.window.size, entry.window.layers) == (4096, 8)


def test_the_facts_of_the_published_measurements() -> None:
    if not SHARED.is_file():
        pytest.skip("the validation set is not beside the tree")
    import yaml

    data = yaml.load(SHARED.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    tried = 0
    for name, facts in data["models"].items():
        config = facts.get("hf_config_keys")
        if not config or config["model_type"] in ("nemotron_h", "deepseek_v4"):
            continue
        config = {"max_position_embeddings": 131072, **config}
        if config["model_type"].startswith("qwen3_5"):
            config |= {"linear_num_key_heads": 16, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
                       "linear_conv_kernel_dim": 4, "intermediate_size": 1024}  # fmt: skip
        if config["model_type"] == "llama4_text":
            config["attention_chunk_size"] = 8192
        known: Any = default_catalog().find("model", name)
        read = shapes(read_hf_config(config, "x"))
        assert {**read, "context_length": 0} == {**shapes(known), "context_length": 0}, name
        tried += 1
    assert tried >= 13


# as a file ------------------------------------------------------------------------------------------------------------
def write(folder: Path, data: Any, name: str = "config.json") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["Llama3_8B", "DeepSeek_V3", "Gemma3_1B", "Nemotron_3_Nano", "BERT_Base"])
def test_the_text_is_a_file_of_a_users_catalog(tmp_path: Path, name: str) -> None:
    text = import_hf_config(write(tmp_path, CONFIGS[name]), "Imported_one")
    folder = tmp_path / "mine"
    folder.mkdir()
    write(folder, text, "imported.yaml")
    entry = default_catalog().with_folder(folder).find("model", "Imported_one")
    assert shapes(entry) == shapes(default_catalog().find("model", name))
    for path, datum in entry.parameters().items():
        assert datum.estimated or "config.json" in str(datum.source), path
    assert entry_yaml(entry) == text  # written again, it is the same


def test_a_model_runs_without_a_published_count(tmp_path: Path) -> None:
    from mlsysim_opt.physics.node import SingleNodeModel

    entry = read_hf_config(write(tmp_path, CONFIGS["Llama3_8B"]), "Mine")
    assert entry.parameter_count is None
    mine = SingleNodeModel().solve(model=entry, hardware="H100", seq_len=512)
    same = SingleNodeModel().solve(model="Llama3_8B", hardware="H100", seq_len=512)
    assert mine.si("latency") == same.si("latency")
    assert read_hf_config(CONFIGS["Llama3_8B"], "Mine", parameter_count=8_030_261_248).parameter_count == 8_030_261_248


def test_every_entry_of_the_catalog_can_be_written_and_read_back(tmp_path: Path) -> None:
    for kind in ("model", "workload"):
        for entry in default_catalog().all(kind)[:40]:
            write(tmp_path, entry_yaml(entry).replace(f"  {entry.name}:", f"  Copy_of_{entry.name}:").replace(
                "    aliases:", "    # aliases:"), f"{entry.name}.yaml")  # fmt: skip
    catalog = default_catalog().with_folder(tmp_path)
    for kind in ("model", "workload"):
        for entry in default_catalog().all(kind)[:40]:
            copy = catalog.find(kind, f"Copy_of_{entry.name}")
            assert {k: (d.si, str(d.source), d.estimated) for k, d in copy.parameters().items()} == {
                k: (d.si, str(d.source), d.estimated) for k, d in entry.parameters().items()
            }


@pytest.mark.parametrize(
    ("origin", "file", "name"),
    [
        ("meta-llama/Llama-2-7b-hf", "config.json", "Llama-2-7b-hf"),
        ("C:\\models\\My Model!", "config.json", "C_models_My_Model_"),
        ("", "tiny-llama.json", "tiny-llama"),
        ("", "config.json", "the-folder"),
    ],
)
def test_the_name_comes_from_the_file(tmp_path: Path, origin: str, file: str, name: str) -> None:
    folder = tmp_path / "the-folder"
    folder.mkdir()
    entry = read_hf_config(write(folder, {**CONFIGS["Llama2_7B"], "_name_or_path": origin}, file))
    assert entry.name == name


def test_text_that_would_steer_a_reader_is_kept_out(tmp_path: Path) -> None:
    odd = 'a"b: {c}\n- d # \x1b[31m'
    text = import_hf_config(write(tmp_path, {**CONFIGS["Llama2_7B"], "_name_or_path": odd}), "Mine")
    assert "\x1b" not in text
    colon = 'x/a: "b" #c'
    text = import_hf_config(write(tmp_path, {**CONFIGS["Llama2_7B"], "_name_or_path": colon}), "Mine")
    folder = tmp_path / "mine"
    folder.mkdir()
    write(folder, text, "imported.yaml")
    assert default_catalog().with_folder(folder).find("model", "Mine").title == colon


# hostile files --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("   \n", "is empty"),
        ("{", "not valid JSON"),
        ("[1, 2]", "expected a mapping"),
        ('"llama"', "expected a mapping"),
        ("{'model_type': 'llama'}", "not valid JSON"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": -Infinity}', "Infinity is not a finite number"),
        ('{"a": 1e999}', "not a finite number"),
        ('{"a": ' + "9" * 5000 + "}", "5000 characters"),
        ('{"model_type": "llama", "model_type": "opt"}', "stands twice"),
        ('{"a":' * 100_000, "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ('{"a": "[[[[' + "[" * 100 + '"}', "model_type"),
        ('{"model_type": 3}', "expected text, got 3"),
        ("{}", "missing required key"),
        ('{"model_type": "llama", "text_config": 7}', "text_config: expected a mapping"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        read_hf_config(write(tmp_path, text), "x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": None}, r"hidden_size.*missing required key"),
        ({"vocab_size": None}, r"vocab_size.*missing required key"),
        ({"num_hidden_layers": None}, r"num_hidden_layers \(.*|num_hidden_layers.*missing"),
        ({"hidden_size": "4096"}, r"hidden_size.*whole number, got '4096'"),
        ({"hidden_size": 4096.0}, "whole number, got 4096.0"),
        ({"hidden_size": True}, "whole number, got True"),
        ({"hidden_size": -4096}, "not between 1"),
        ({"num_hidden_layers": 0}, "not between 1"),
        ({"num_hidden_layers": 10**12}, "layers are not sensible"),
        ({"vocab_size": 10**30}, "beyond 2"),
        ({"num_attention_heads": 31}, "4096 is not a multiple of 31"),
        ({"num_key_value_heads": 7}, "heads is not a multiple of kv_heads"),
        ({"tie_word_embeddings": "yes"}, "expected true or false"),
        ({"sliding_window": [4096]}, "whole number, got a list"),
        ({"model_type": "gpt_oss", "num_local_experts": 4, "num_experts_per_tok": 8, "sliding_window": 128},
         "experts_per_token is larger"),
        ({"model_type": "gpt_oss", "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 128,
          "layer_types": ["full_attention"]}, "1 entries for 32 layers"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "MX"}, "pattern of M"),
        ({"model_type": "opt", "word_embed_proj_dim": 512}, "projected embedding"),
    ],
)  # fmt: skip
def test_a_key_that_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write(tmp_path, {**CONFIGS["Llama3_8B"], **change})
    with pytest.raises(CatalogError, match=said) as caught:
        read_hf_config(path, "x")
    assert str(path) in str(caught.value)


def test_an_unknown_type_lists_what_is_supported(tmp_path: Path) -> None:
    path = write(tmp_path, {**CONFIGS["Llama3_8B"], "model_type": "lama"})
    with pytest.raises(UnknownNameError, match=r"unknown model_type 'lama'") as caught:
        read_hf_config(path, "x")
    assert caught.value.hint is not None
    assert {"llama", "qwen3_moe", "deepseek_v3"} <= set(caught.value.hint.removeprefix("supported: ").split(", "))


def test_a_bad_name_is_refused(tmp_path: Path) -> None:
    for name in ("", "3x", "a b", "x" * 90, "\x1b[31m"):
        with pytest.raises(CatalogError, match="cannot be a name"):
            read_hf_config(CONFIGS["Llama3_8B"], name)
    with pytest.raises(CatalogError, match="cannot be a name"):  # a bare mapping has none
        read_hf_config(CONFIGS["Llama3_8B"])


def test_places_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        read_hf_config(tmp_path / "config.json")
    with pytest.raises(FileError, match="folder"):
        read_hf_config(tmp_path)
    with pytest.raises(CatalogError, match="larger than"):
        read_hf_config(write(tmp_path, '{"a": "' + "x" * (6 * 2**20) + '"}'))
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(CatalogError, match="UTF-8"):
        read_hf_config(tmp_path / "latin.json")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
        with pytest.raises(FileError, match="not a regular file"):
            read_hf_config(tmp_path / "pipe.json")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_whatever_stands_there_it_is_read_or_refused(data: st.DataObject) -> None:
    config: dict[str, Any] = json.loads(json.dumps(CONFIGS[data.draw(st.sampled_from(sorted(CONFIGS)))]))
    part = config.get("text_config", config)
    for key in data.draw(st.lists(st.sampled_from(sorted(part)), max_size=3)):
        part[key] = data.draw(JUNK)
    try:
        entry = read_hf_config(config, "x")
    except MlsysimError:
        return
    assert entry.layers >= 1
