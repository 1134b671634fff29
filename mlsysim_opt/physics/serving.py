"""Serving a language model on one replica: `ServingModel`, its inputs shared by all questions about inference."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import argmax_label, ceildiv, divides, maximum, minimum
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model, Result, known
from mlsysim_opt.physics.formats import bytes_of, inference_format
from mlsysim_opt.physics.forward import NO_BYTES, NO_TIME, Pass, Replica
from mlsysim_opt.physics.inputs import Degree, Given, Input, Number, Text
from mlsysim_opt.physics.speculation import DRAFT_INPUTS, Speculation
from mlsysim_opt.physics.training import calibration_of, calibration_view, rates
from mlsysim_opt.physics.transformer import ONE, ZERO
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.catalog import Catalog
from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.units import BYTE, parse_unit

TOKEN = expression("1 token")
SIXTEEN_BITS = 2.0
BANDWIDTH = parse_unit("GB/s").dimension


def _count(name: str, about: str) -> Degree:
    return Degree(name, about, default=1, integer=True, low=1)


REPLICA_INPUTS: tuple[Input, ...] = (
    Given("model", "a transformer", kind="model"),
    Given("hardware", "the accelerator", kind="accelerator"),
    Text("precision", "format of weights and products", default="fp16"),
    Number(
        "efficiency", "reached share of peak compute; calibrated when absent", default=None, high=1.0, open_low=True
    ),
    Text("weight_precision", "format of the weights in memory, where it is narrower", default=None),
    Text("kv_precision", "format of keys and values; 16 bits when absent", default=None),
    _count("tp_size", "tensor parallelism"),
    _count("pp_size", "pipeline parallelism"),
    _count("ep_size", "ranks that experts are spread over; the others split each expert"),
    _count("attention_dp", "groups of tp_size ranks that share the experts"),
    Number("memory_reserve", "kept free for the runtime", default="2 GiB", unit="GiB", of=BYTE),
)
"""What every question about a replica needs."""
REPLICA_ALIASES = {"tp": "tp_size", "pp": "pp_size", "ep": "ep_size", "batch": "batch_size"}


def replica_of(leaves: Mapping[str, Any], model: str = "model", hardware: str = "hardware") -> Replica:
    """Return the replica that the leaves of `REPLICA_INPUTS` describe."""
    accelerator: View = leaves[hardware]
    numerics = leaves.get("numerics") or numerics_of(leaves["precision"], leaves["weight_precision"])
    rate, attention_rate = rates(accelerator, numerics)
    kept = leaves["kv_precision"]
    element = SIXTEEN_BITS if kept is None else bytes_of(kept, "kv_precision")
    return Replica(
        model=leaves[model],
        numerics=numerics,
        hardware=accelerator,
        calibration=calibration_view(accelerator, leaves["efficiency"], calibration_name(hardware)),
        rate=rate,
        attention_rate=attention_rate,
        kv_element=expression(f"{element} byte"),
        tp=leaves["tp_size"],
        pp=leaves["pp_size"],
        dp=leaves["attention_dp"],
        ep=leaves["ep_size"],
        node=_home(leaves, hardware),
    )


def numerics_of(precision: str, weights: str | None, name: str = "numerics") -> View:
    """Return the number format of inference with these precisions, its leaves under this name."""
    return View(name, [inference_format(precision, weights)])


def _home(leaves: Mapping[str, Any], hardware: str) -> View | None:
    """Return the servers of an accelerator (or of the choice among several), if several ranks may need their links.

    Raises:
        InputError: some accelerators of the choice stand in a server of the catalog, and others do not.
    """
    if all(leaves[name] is ONE for name in ("tp_size", "pp_size", "attention_dp")):
        return None
    accelerator: View = leaves[hardware]
    found = [home_of(entry) for entry in accelerator.entries]
    known = [node for node in found if node is not None]
    if known and len(known) < len(found):
        raise InputError("accelerators with and without a server in the catalog cannot be one choice", path=hardware)
    return View(node_name(hardware), known, accelerator._choice) if known else None


def home_of(accelerator: Entry) -> Entry | None:
    """Return the server with the largest scale-up domain that the catalog has for an accelerator."""
    return _largest_node(default_catalog(), accelerator.name)


@lru_cache
def _largest_node(catalog: Catalog, accelerator: str) -> Entry | None:
    every: tuple[Any, ...] = catalog.all("node")
    nodes = [node for node in every if node.accelerator.name == accelerator]
    return max(nodes, key=lambda node: (node.scale_up.domain_size, node.accelerators_per_node), default=None)


def node_name(hardware: str) -> str:
    """Return the name under which the server of an input for an accelerator is known."""
    return f"{hardware}.node"


def replica_bindings(values: Mapping[str, Any], *hardware: str) -> Mapping[str, Any]:
    """Return the values of the leaves of replicas on these accelerators."""
    merged = entry_bindings("numerics", inference_format(values["precision"], values["weight_precision"]))
    for item in hardware or ("hardware",):
        if values[item] is not None:
            merged.update(entry_bindings(calibration_name(item), calibration_of(values[item])))
            home = home_of(values[item])
            if home is not None:
                merged.update(entry_bindings(node_name(item), home))
    return merged


def calibration_name(hardware: str) -> str:
    """Return the name of the calibrated constants of an input for an accelerator."""
    return "calibration" if hardware == "hardware" else f"{hardware}.calibration"


DOMAIN_RULE = "ranks within the scale-up domain"
CONTEXT_RULE = "the request is within the model's context"
"""Rules that measured systems break: with adapted models, and across domains on links that are not modelled."""


def replica_rules(replica: Replica) -> dict[str, Expression]:
    """Return what makes the split of a replica a valid one, by name."""
    m, r = replica.model, replica
    rules = {
        "tp divides the heads": divides(r.tp, m.heads),
        "tp and the kv heads divide": divides(r.tp, m.kv_heads) | divides(m.kv_heads, r.tp),
        "layers >= pipeline stages": m.layers >= r.pp,
    }
    if r.node is not None:
        rules[DOMAIN_RULE] = r.group <= r.node.number("scale_up.domain_size")
    if r.shapes.experts:
        rules["ep divides the experts"] = divides(r.ep, m.number("moe.experts"))
        rules["ep divides the ranks"] = divides(r.ep, r.group)
    else:
        rules["ep and attention groups are for models with experts"] = (r.ep == 1) & (r.dp == 1)
    if not r.alone and r.link is None:
        rules["one accelerator, as it has no link"] = r.devices == 1
    return rules


class ServingResult(Result):
    """Latencies, memory, limits and energy of one static batch."""

    units: ClassVar[dict[str, str]] = {
        "ttft": "ms", "itl": "ms", "request_latency": "s", "kv_cache_size": "GB", "model_weights_size": "GB",
        "total_memory_required": "GB", "available_memory": "GB", "prefill_chunk_time": "ms", "decode_stall_bound": "ms",
        "kv_transfer_time": "ms", "throughput": "token/s", "itl_compute": "ms", "itl_bandwidth": "ms",
        "itl_communication": "ms", "itl_overhead": "ms", "ttft_compute": "ms", "ttft_bandwidth": "ms",
        "ttft_communication": "ms", "ttft_overhead": "ms", "energy_per_token": "J/token", "energy_per_request": "J",
    }  # fmt: skip
    ttft: Any
    itl: Any
    request_latency: Any
    throughput: Any
    kv_cache_size: Any
    model_weights_size: Any
    total_memory_required: Any
    available_memory: Any
    memory_utilization: Any
    prompt_cache_hit_ratio: Any
    prefill_chunks: Any
    prefill_chunk_time: Any
    decode_stall_bound: Any
    kv_transfer_time: Any
    tokens_per_step: Any
    prefill_bottleneck: Any
    decode_bottleneck: Any
    prefill_mfu: Any
    decode_mfu: Any
    decode_bandwidth_utilization: Any
    energy_per_token: Any
    energy_per_request: Any
    ttft_compute: Any
    ttft_bandwidth: Any
    ttft_communication: Any
    ttft_overhead: Any
    itl_compute: Any
    itl_bandwidth: Any
    itl_communication: Any
    itl_overhead: Any

    @property
    def latency_prefill(self) -> Any:
        """The same as `ttft`."""
        return self.ttft

    @property
    def latency_decoding(self) -> Any:
        """The same as `itl`."""
        return self.itl

    @property
    def total_kv_cache_gb(self) -> float:
        """The keys and values of the batch in GB, as a plain number."""
        return float(self.kv_cache_size.to("GB").magnitude)

    @property
    def feasible_on_hardware(self) -> bool:
        """The same as `feasible`."""
        return bool(self.feasible)  # type: ignore[attr-defined]


class ServingModel(Model):
    """Two phases of serving a language model: what TTFT, ITL and memory do `batch_size` requests of one length have?

    A static batch: all prompts are processed together (`ttft`), then every step gives each request a token (`itl`, the
    mean over the generated tokens, whose context grows). `seq_len` is the whole context. Without `output_len` the
    prompt fills it, and `itl` is that of the next token. Both phases have a ceiling by compute and a floor by memory
    bandwidth, with a rounded corner. Requests that come and go are the subject of `ContinuousBatchingModel`.

    With `prefill_chunk_tokens` the prompt is processed in chunks that all read the weights again; a decode step
    mixed with one waits for at most `decode_stall_bound`. `cached_prefix_len` tokens of the prompt are taken from
    the cache. Energy is that of the accelerators alone, by what they use of bandwidth and compute. A `draft_model`
    proposes `draft_tokens` tokens a round, which the model checks in one pass; each is accepted with probability
    `draft_acceptance_rate` when all before it were. With `decode_hardware`, prompts are processed on `hardware` and
    their keys and values sent over `network_bandwidth`.

    Sources: Pope et al. 2023; Agrawal et al. 2024 (chunked prefill); Leviathan et al. 2023, Eq. 1 (speculation);
    Patel et al. 2024 and Zhong et al. 2024 (disaggregation); Kwon et al. 2023 (KV cache); see `forward`.
    """

    wall = 4
    inputs = (
        *REPLICA_INPUTS[:2],
        Number("seq_len", "tokens of a request, prompt and output", integer=True, low=1),
        Number("batch_size", "requests in the batch", default=1, integer=True, low=1),
        *REPLICA_INPUTS[2:4],
        Given("decode_hardware", "the accelerator of the decode phase", default=None, kind="accelerator"),
        Number(
            "network_bandwidth", "between both phases", default="100 GB/s", unit="GB/s", of=BANDWIDTH, open_low=True
        ),
        *DRAFT_INPUTS[:2],
        Degree("cached_prefix_len", "tokens of the prompt found in the cache", default=0, integer=True, neutral=0),
        Number("prefill_chunk_tokens", "tokens of a chunk", default=None, integer=True, low=1),
        Number("output_len", "generated tokens, of seq_len", default=None, integer=True, low=1),
        *DRAFT_INPUTS[2:],
        *REPLICA_INPUTS[4:],
    )
    aliases = REPLICA_ALIASES
    example: ClassVar[dict[str, Any]] = {
        "model": "Llama3_70B", "hardware": "H200", "seq_len": 4096, "batch_size": 8, "output_len": 512,
        "precision": "fp8", "tp_size": 2,
    }  # fmt: skip

    def bindings(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return replica_bindings(values, "hardware", "decode_hardware")

    def equations(self, **leaves: Any) -> ServingResult:
        first = replica_of(leaves)
        second = first if leaves["decode_hardware"] is None else replica_of(leaves, hardware="decode_hardware")
        batch, context = leaves["batch_size"], leaves["seq_len"]
        output = ZERO if leaves["output_len"] is None else leaves["output_len"]
        prompt = maximum(context - output, 1)
        cached = leaves["cached_prefix_len"]
        new = maximum(prompt - cached, 1)

        chunk = new if leaves["prefill_chunk_tokens"] is None else minimum(leaves["prefill_chunk_tokens"], new)
        chunks = ceildiv(new, chunk)
        prefill = first.prefill(batch, new, prompt - new, chunks)
        last = first.last_chunk(batch, chunk, prompt)
        transfer = NO_TIME if second is first else transfer_time(first, batch, prompt, leaves["network_bandwidth"])
        prompts = chunks * prefill.time + prefill.drain

        mean_context = context if leaves["output_len"] is None else prompt + (output + 1) / 2
        decode = second.decode(batch, mean_context)
        step, drafted = decode, ONE
        round_time, drafting = decode.time, NO_TIME
        draft_weights, draft_kv = NO_BYTES, NO_BYTES
        speculation = speculation_of(leaves, second, "hardware" if second is first else "decode_hardware")
        if speculation is not None:
            draft = speculation.draft
            step = speculation.check(batch, mean_context)
            drafting = speculation.drafting(batch, mean_context)
            prompts = prompts + draft.prefill(batch, new, prompt - new).time
            round_time = step.time + drafting
            drafted = speculation.tokens
            draft_weights, draft_kv = draft.weights, draft.kv(batch, context)
        itl = round_time / drafted
        ttft = prompts + transfer

        kv = second.kv(batch, context)
        workspace = first.workspace(batch, chunk)
        reserve = leaves["memory_reserve"]
        held = second.weights + draft_weights + kv + draft_kv
        total = held + (workspace if second is first else NO_BYTES) + reserve
        capacity = second.hardware.number("memory.capacity")
        rules = {
            **replica_rules(second),
            **draft_rules(speculation),
            CONTEXT_RULE: context <= second.model.context_length,
            "output_len leaves a prompt": output < context,
            "the cached prefix is part of the prompt": cached <= prompt,
            "memory fits": total <= capacity,
        }
        if second is not first:
            prefill_total = first.weights + first.kv(batch, prompt) + workspace + reserve
            rules["memory of the prefill accelerator fits"] = prefill_total <= first.hardware.number("memory.capacity")
        generated = maximum(output - 1, 0)
        devices = second.devices
        return ServingResult(
            ttft=ttft,
            itl=itl,
            request_latency=ttft + generated * itl,
            throughput=batch * TOKEN / itl,
            kv_cache_size=(kv + draft_kv) * devices,
            model_weights_size=(second.weights + draft_weights) * devices,
            total_memory_required=total * devices,
            available_memory=capacity * devices,
            memory_utilization=total / capacity,
            prompt_cache_hit_ratio=(prompt - new) / prompt,
            prefill_chunks=chunks,
            prefill_chunk_time=prefill.time,
            decode_stall_bound=last.time,
            kv_transfer_time=transfer,
            tokens_per_step=drafted,
            prefill_bottleneck=limit(prefill),
            decode_bottleneck=limit(step),
            prefill_mfu=chunks * prefill.useful_work / ((ttft - transfer) * first.rate * first.devices),
            decode_mfu=decode.useful_work * drafted / (round_time * second.rate * second.devices),
            decode_bandwidth_utilization=step.bandwidth_utilization * step.time / round_time,
            energy_per_token=known(lambda: step.power * itl / (batch * TOKEN)),
            energy_per_request=known(lambda: (prefill.power * ttft + step.power * generated * itl) / batch),
            ttft_compute=chunks * prefill.compute,
            ttft_bandwidth=chunks * prefill.bandwidth,
            ttft_communication=chunks * prefill.communication + transfer,
            ttft_overhead=chunks * prefill.overhead,
            itl_compute=step.compute / drafted,
            itl_bandwidth=step.bandwidth / drafted,
            itl_communication=step.communication / drafted,
            itl_overhead=(step.overhead + drafting) / drafted,
            constraints=rules,
        )


def transfer_time(replica: Replica, batch: Expression, prompt: Expression, bandwidth: Expression) -> Expression:
    """Return how long keys and values of a batch of prompts take from one phase to the other."""
    return replica.cache(batch, prompt) / bandwidth


def speculation_of(leaves: Mapping[str, Any], replica: Replica, hardware: str = "hardware") -> Speculation | None:
    """Return how a draft model speeds up a replica; None where the leaves of `DRAFT_INPUTS` name none."""
    if leaves["draft_model"] is None:
        return None
    draft = replica_of(leaves, "draft_model", hardware)
    return Speculation(replica, draft, leaves["draft_tokens"], leaves["draft_acceptance_rate"])


def draft_rules(speculation: Speculation | None) -> dict[str, Expression]:
    """Return what makes the split of the draft model a valid one, by name; nothing without one."""
    if speculation is None:
        return {}
    return {f"draft: {name}": holds for name, holds in replica_rules(speculation.draft).items()}


def limit(step: Pass) -> Expression:
    """Return what limits a pass: the largest of its parts."""
    label: Expression = argmax_label(
        Compute=step.compute, Memory=step.bandwidth, Communication=step.communication, Overhead=step.overhead
    )
    return label
