"""The catalog entries that rows of measurements name; what the catalog lacks is made from facts beside the file.

``models.yaml`` and ``hardware.yaml`` of a folder of measurements describe every model and accelerator that its rows
name. They hold what ran (a padded vocabulary, a changed number of layers), so a model described there is used before
one of the same name in the catalog.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlsysim_opt.errors import MlsysimError
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.types import Accelerator, Transformer
from mlsysim_opt.registry.yaml_io import read_yaml
from mlsysim_opt.validation.rows import Unmodelled

ACCELERATORS = {
    "v100-sxm2-32gb": "V100", "a100-sxm-40gb": "A100_40GB", "a100-sxm-80gb": "A100", "a100-sxm": "A100",
    "a100-pcie-80gb": "A100_PCIe", "h100-sxm-80gb": "H100", "h100-sxm": "H100", "h100-pcie-80gb": "H100_PCIe",
    "h200-sxm-141gb": "H200", "h200-sxm": "H200", "b200-sxm-180gb": "B200", "b200-sxm": "B200", "gb200": "GB200",
    "b300-sxm": "b300-sxm-270gb",
}  # fmt: skip
"""Names of measurement files that no rule turns into a name of the catalog."""
GENERATIONS = (
    (re.compile(r"^v100"), "volta", "NVIDIA"), (re.compile(r"^a(100|800|30)"), "ampere", "NVIDIA"),
    (re.compile(r"^(a10|a10g|a40|rtx-a\d+|rtx-30\d+)$"), "ampere_ga102", "NVIDIA"),
    (re.compile(r"^h20(-|$)"), "hopper_h20", "NVIDIA"), (re.compile(r"^(h100|h200|h800|gh200)"), "hopper", "NVIDIA"),
    (re.compile(r"^l4(-|$)"), "ada_ad104", "NVIDIA"), (re.compile(r"^(l40|rtx-40|rtx-6000-ada)"), "ada", "NVIDIA"),
    (re.compile(r"^rtx-(pro-6000|50)"), "blackwell_gb202", "NVIDIA"),
    (re.compile(r"^g?b300"), "blackwell_ultra", "NVIDIA"), (re.compile(r"^(b200|gb200|b100)"), "blackwell", "NVIDIA"),
    (re.compile(r"^mi3[02]"), "cdna3", "AMD"), (re.compile(r"^mi35"), "cdna4", "AMD"),
    (re.compile(r"^mi2"), "cdna2", "AMD"), (re.compile(r"^gaudi-?2"), "gaudi2", "Intel"),
    (re.compile(r"^gaudi-?3"), "gaudi3", "Intel"),
    (re.compile(r"^tpu-v2"), "tpu_v2", "Google"), (re.compile(r"^tpu-v3"), "tpu_v3", "Google"),
    (re.compile(r"^tpu-v4"), "tpu_v4", "Google"), (re.compile(r"^tpu-v5e"), "tpu_v5e", "Google"),
    (re.compile(r"^tpu-v5p"), "tpu_v5p", "Google"), (re.compile(r"^tpu-(v6e|trillium)"), "tpu_v6e", "Google"),
    (re.compile(r"^tpu-(v7|ironwood)"), "tpu_v7", "Google"), (re.compile(r"^trn1|^trainium1?$"), "trainium1", "AWS"),
    (re.compile(r"^trn2|^trainium2"), "trainium2", "AWS"),
)  # fmt: skip
"""The accelerator generation (and vendor) of a name of a measurement file: whose calibration holds for it."""
DROPPED = re.compile(
    r"-(instruct|chat|it|hf|thinking|base|fp8|nvfp4|mxfp4|fp4|bf16|w4a16|\d{4}|17b-(16|128)e|a100|h100|mi250x|qlora)(?=-|$)"
)
"""Parts of a model's name that say how it was tuned or stored; its shapes are those without them."""
SAME_SHAPES = {
    "llama3.1-8b": "llama3-8b", "llama3.1-70b": "llama3-70b", "llama3.3-70b": "llama3-70b",
    "llama3.1-405b": "llama3-405b", "deepseek-v3.1": "deepseek-v3", "qwen3-coder-30b-a3b": "qwen3-30b-a3b",
    "llama3-1-8b": "llama3-8b", "llama3-1-70b": "llama3-70b", "llama3-1-405b": "llama3-405b",
}  # fmt: skip
"""Models that have the shapes of another one."""
MAMBA = "layers of several kinds (Mamba)"
SOURCE_DATE = 2026
NO_FACTS = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError)
INCOMPLETE = "its facts there are incomplete, or no numbers"


def model_entry(name: str, folder: Path, layers: int | None = None) -> Transformer:
    """Return the model that a row names.

    Args:
        name: as the row has it. folder: where its file lies. layers: the number of layers, where the row changed it.
    Raises:
        Unmodelled: it is described nowhere, or is not a kind of model that the equations describe.
    """
    described = _facts(folder, "models")
    catalog = default_catalog()
    candidates = spellings(name)
    reason: Unmodelled | None = None
    for candidate in candidates:
        if candidate in described:
            try:
                return _transformer(candidate, folder, layers)
            except Unmodelled as told:  # too little is said there: the catalog may know more
                reason = reason or told
            except NO_FACTS:
                reason = reason or Unmodelled(f"{candidate} cannot be built from models.yaml: {INCOMPLETE}")
    found = next((key for key in (catalog.lookup("model", item) for item in candidates) if key is not None), None)
    if found is None:
        raise reason or Unmodelled(f"model {name!r} is neither in the catalog nor in models.yaml beside the file")
    entry = catalog.find("model", found)
    if not isinstance(entry, Transformer):
        raise Unmodelled(f"{name} is not a transformer")
    if layers is None or layers == entry.layers:
        return entry
    fields = {key: entry.__dict__[key] for key in type(entry).model_fields}
    return Transformer.model_validate({**fields, "layers": layers, "aliases": ()})


def spellings(name: str) -> list[str]:
    """Return the names under which a model may be described, the given one first.

    ``meta-llama/Llama-3.1-8B-Instruct`` is also ``llama-3.1-8b``, ``llama3.1-8b`` and ``llama3-8b``.
    """
    found = [name]
    short = re.sub(r"\s*\(.*\)$", "", name).rpartition("/")[2].strip().lower().replace(" ", "-")
    plain = DROPPED.sub("", short)
    for item in (short, plain):
        joined = re.sub(r"^(llama|qwen|gemma|mistral|mixtral)-(?=\d)", r"\1", item)
        found += [item, joined, SAME_SHAPES.get(joined, joined)]
    return list(dict.fromkeys(found))


def hardware_entry(name: str, folder: Path) -> Accelerator:
    """Return the accelerator that a row names.

    Raises:
        Unmodelled: it is neither in the catalog nor described in hardware.yaml beside the file.
    """
    key = name.strip().lower().replace("_", "-").replace(" ", "-")
    exact = _known(name) or _known(ACCELERATORS.get(key, key))
    if exact is not None:
        return exact
    key = ACCELERATORS.get(key, key)
    if key in _facts(folder, "hardware"):
        try:
            return _accelerator(key, folder)
        except NO_FACTS:
            raise Unmodelled(f"{key} cannot be built from hardware.yaml: {INCOMPLETE}") from None
    close = _known(bare(key)) or _known(re.sub(r"-(sxm\d?|oam)$", "", bare(key)))
    if close is None:
        raise Unmodelled(f"accelerator {name!r} is neither in the catalog nor in hardware.yaml beside the file")
    return close


def bare(key: str) -> str:
    """Return a name without the memory that tells variants of a part from each other."""
    found = re.sub(r"-\d+gb.*$", "", key)
    return ACCELERATORS.get(found, found)


def _known(name: str) -> Accelerator | None:
    catalog = default_catalog()
    found = catalog.lookup("accelerator", name)
    entry = None if found is None else catalog.find("accelerator", found)
    return entry if isinstance(entry, Accelerator) else None


@cache
def _facts(folder: Path, table: str) -> Mapping[str, Mapping[str, Any]]:
    path = folder / f"{table}.yaml"
    if not path.is_file():
        return {}
    data = read_yaml(path).data
    found = data.get(table) if isinstance(data, dict) else None
    return {name: row for name, row in found.items() if isinstance(row, dict)} if isinstance(found, dict) else {}


# models ---------------------------------------------------------------------------------------------------------------
@cache
def _transformer(name: str, folder: Path, layers: int | None) -> Transformer:
    row = _facts(folder, "models")[name]
    keys = row.get("hf_config_keys") or {}
    if "hybrid_override_pattern" in keys or keys.get("model_type") == "nemotron_h" or "mamba" in row["arch"]:
        raise Unmodelled(MAMBA)
    if "linear_num_value_heads" in keys:
        raise Unmodelled("layers of several kinds (linear attention)")
    if row.get("arch") not in ("dense_decoder", "moe_decoder"):
        raise Unmodelled(f"{name} is not a decoder")
    fields = _shape(row, keys)
    if layers is not None:
        fields["layers"] = layers
    window = row.get("sliding_window", keys.get("sliding_window"))
    if window:
        fields["window"] = {"size": window, "layers": _windowed_layers(name, row, keys, fields["layers"])}
    made: Transformer = _checked(Transformer, name, fields, "models.yaml")
    return made


def _shape(row: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a transformer from a row of models.yaml (its own names, or those of a config.json)."""

    def first(*names: str, default: Any = None) -> Any:
        return next((table[name] for name in names for table in (keys, row) if table.get(name) is not None), default)

    hidden, heads = first("hidden_size", "hidden"), first("num_attention_heads", "heads")
    learned = row.get("pos") == "learned"
    fields: dict[str, Any] = {
        "layers": first("num_hidden_layers", "layers"), "hidden": hidden, "heads": heads,
        "kv_heads": first("num_key_value_heads", "kv_heads"), "vocab": first("vocab_size", "vocab"),
        "head_dim": first("v_head_dim", "head_dim", default=hidden // heads),
        "ffn": first("intermediate_size", "ffn"),
        "tied_embeddings": bool(first("tie_word_embeddings", "tied_embeddings")),
        "gated_ffn": bool(row.get("gated_ffn", row["arch"] == "moe_decoder")),
        "biases": learned, "learned_positions": 2048 if learned else 0, "context_length": 8192, "parameter_count": 1,
    }  # fmt: skip
    experts = first("n_routed_experts", "num_experts", "num_local_experts", "experts")
    if experts:
        fields |= _experts(first, experts, fields)
    if "kv_lora_rank" in keys:
        names = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        fields["mla"] = {name: keys[name] for name in names}
    return fields


def _experts(first: Any, experts: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    width = first("moe_intermediate_size", default=fields["ffn"])
    shared = first("n_shared_experts", default=0)
    shared_width = first("shared_expert_intermediate_size", default=width if shared else 0)
    if shared_width and not shared:
        shared = 1
    dense = first("first_k_dense_replace", default=0)
    step = first("interleave_moe_layer_step", default=1)
    plain = fields["ffn"]
    if first("intermediate_size_mlp"):  # Llama 4: a shared expert in every layer with experts
        shared, shared_width, plain = 1, width, first("intermediate_size_mlp")
        dense = fields["layers"] - fields["layers"] // step
    return {
        "ffn": plain if dense else width,
        "moe": {
            "experts": experts, "experts_per_token": first("num_experts_per_tok", "topk"), "expert_ffn": width,
            "shared_experts": shared, "shared_expert_ffn": shared_width, "dense_layers": dense,
        },
    }  # fmt: skip


def _windowed_layers(name: str, row: Mapping[str, Any], keys: Mapping[str, Any], layers: int) -> int:
    """Return how many layers attend to a window: by the stated ratio, or every other one (gpt-oss)."""
    ratio = re.fullmatch(r"(\d+):(\d+)", str(row.get("local_global_ratio", "")))
    if ratio is not None:
        local, whole = int(ratio[1]), int(ratio[2])
        return layers - layers // (local + whole) * whole
    if keys.get("model_type") == "gpt_oss":
        return layers - layers // 2
    raise Unmodelled(f"which layers of {name} attend to a window is not stated")


# accelerators ---------------------------------------------------------------------------------------------------------
@cache
def _accelerator(key: str, folder: Path) -> Accelerator:
    row = _facts(folder, "hardware")[key]
    family = next(((generation, vendor) for rule, generation, vendor in GENERATIONS if rule.match(key)), None)
    if family is None:
        raise Unmodelled(f"no generation known for {key}")
    peak = {}
    for precision, field in (("bf16", "bf16_tflops"), ("fp16", "bf16_tflops"), ("fp8", "fp8_tflops"),
                             ("fp4", "fp4_tflops"), ("int8", "int8_tops")):  # fmt: skip
        value = row.get(field)
        if isinstance(value, int | float):
            peak[precision] = f"{value} TFLOP/s"
    sibling = _known(bare(key))
    if not peak and sibling is not None:  # a variant in memory and power of a part whose rates are known
        peak = {name: sibling.peak_parameter(name).text for name in sibling.precisions}
    if not peak:
        raise Unmodelled(f"the peak rate of {key} is not known")
    fields: dict[str, Any] = {
        "vendor": family[1], "generation": family[0], "released": SOURCE_DATE, "compute": {"peak": peak},
        "tdp": f"{row['tdp_w']} W" if "tdp_w" in row else {"value": "1 W", "estimated": "not stated; never used"},
        "memory": {"capacity": f"{row['mem_gb']} GB", "bandwidth": f"{row['mem_bw_gbs']} GB/s"},
    }  # fmt: skip
    if "nvlink_gbs_bidir" in row:
        fields["scale_up"] = {"bandwidth": f"{row['nvlink_gbs_bidir'] / 2} GB/s"}
    made: Accelerator = _checked(Accelerator, key, fields, "hardware.yaml")
    return made


def _checked(kind: Any, name: str, fields: Mapping[str, Any], file: str) -> Any:
    source = {"title": "facts beside the measurements", "locator": file, "date": SOURCE_DATE}
    label = re.sub(r"[^A-Za-z0-9_.+-]", "-", name)
    try:
        return kind.model_validate({"name": f"x-{label}", "title": name, "source": source, **fields})
    except (ValidationError, MlsysimError) as problem:
        raise Unmodelled(f"{name} cannot be built from {file}: {fault_of(problem)}") from None


def fault_of(problem: ValidationError | MlsysimError) -> str:
    """Return the first fault of an entry in one line: the field, and what is wrong with it."""
    if isinstance(problem, MlsysimError):
        return str(problem).splitlines()[0]
    first = problem.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    said = first["msg"].removeprefix("Value error, ").splitlines()[0]
    return f"{place}: {said}" if place else said
