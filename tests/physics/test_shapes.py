"""Shapes of transformers, each number worked by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlsysim_opt.algebra.expression import expression
from mlsysim_opt.physics.training_memory import TrainingMemory
from mlsysim_opt.physics.transformer import ONE, Shapes, parameter_count
from mlsysim_opt.physics.view import View
from mlsysim_opt.registry import default_catalog

MODELS = default_catalog().all("model")
EXACT = {"GPT2_Small", "GPT2_Medium", "GPT2_Large", "GPT2_XL", "Llama2_7B", "Llama2_13B", "Llama2_70B", "Llama3_8B",
         "Llama3_70B", "Llama3_405B", "Mixtral_8x7B", "Mixtral_8x22B"}  # fmt: skip


@pytest.mark.parametrize("entry", MODELS, ids=repr)
def test_parameter_count_is_the_published_one(bench: Any, entry: Any) -> None:
    counted = bench(entry.name)(parameter_count(View("model", [entry])))
    if entry.name in EXACT:
        assert counted == entry.parameter_count
    else:
        assert counted == pytest.approx(entry.parameter_count, rel=0.01)


def test_flops_per_token_of_gpt3(bench: Any) -> None:
    # 96 layers of 12 h^2 weights, h = 12288: 12 x 12288^2 = 1,811,939,328; x 96 = 173,946,175,488
    # output projection 50257 x 12288 = 617,558,016; the embedding look-up is free
    # two FLOP a weight: 2 x 174,563,733,504 = 349,127,467,008
    # attention, causal: a token of 2048 sees 1024 others: 2 x 1024 x (12288 + 12288) = 50,331,648 a layer, x 96 =
    # 4,831,838,208
    rank = bench("GPT3")
    per_token = rank(Shapes(rank.job.model, ONE).useful_forward_flops_per_token(expression(2048)))
    assert per_token == 349_127_467_008 + 4_831_838_208


def test_flops_per_token_of_llama_405b(bench: Any) -> None:
    # attention: queries and output 2 x 16384^2, keys and values 2 x 16384 x 8 x 128 = 33,554,432: 570,425,344
    # feed-forward: 3 x 16384 x 53248 = 2,617,245,696; a layer 3,187,671,040; x 126 = 401,646,551,040
    # output projection 128256 x 16384 = 2,101,346,304; 2 x 403,747,897,344 = 807,495,794,688
    # attention core at 8192: 2 x 4096 x 2 x 16384 = 268,435,456 a layer, x 126 = 33,822,867,456
    rank = bench("Llama3_405B")
    per_token = rank(Shapes(rank.job.model, ONE).useful_forward_flops_per_token(expression(8192)))
    assert per_token == 807_495_794_688 + 33_822_867_456


def test_flops_of_experts_count_active_ones_only(bench: Any) -> None:
    # DeepSeek-V3 publishes 37 B active parameters of 671 B, embedding (129280 x 7168 = 0.93 B) included: 36.6 B
    # without it
    rank = bench("DeepSeek_V3")
    per_token = rank(Shapes(rank.job.model, ONE).useful_forward_flops_per_token(expression(0)))
    assert per_token / 2 == pytest.approx(36.6e9, rel=0.01)


def test_latent_attention_weights_by_hand(bench: Any) -> None:
    # DeepSeek-V3, one layer: 7168 x (1536 + 512 + 64) down = 15,138,816 up: 1536 x 128 x (128 + 64) + 512 x 128 x
    # (128 + 128) = 37,748,736 + 16,777,216; out 128 x 128 x 7168 = 117,440,512
    rank = bench("DeepSeek_V3")
    assert rank(Shapes(rank.job.model, ONE).attention_parameters) == 15_138_816 + 54_525_952 + 117_440_512


def test_more_tensor_ranks_than_key_value_heads_replicate_them(bench: Any) -> None:
    # Llama 405B has 8 key-value heads; on 16 ranks each holds one whole head, not half of one:
    # 2 x 16384^2 / 16 + 2 x 16384 x 128 = 33,554,432 + 4,194,304
    rank = bench("Llama3_405B", tp=16)
    assert rank(rank.job.shapes.attention_parameters) == 37_748_736


@pytest.mark.parametrize("tp", [1, 2, 8])
@pytest.mark.parametrize("name", ["Megatron_22B", "Megatron_175B"])
def test_activations_are_table_2_of_korthikanti(bench: Any, name: str, tp: int) -> None:
    # Korthikanti et al. 2022, Table 2, bytes of one layer for 16-bit activations with dropout and unfused attention:
    # tensor parallel                    sbh (10 + 24/t + 5as/(ht))
    # and sequence parallel              sbh (34/t + 5as/(ht))
    # and selective recomputation        sbh 34/t
    # full recomputation                 sbh 2
    s, b = 2048, 4
    given: dict[str, Any] = {"seq_len": s, "microbatch_size": b, "tp": tp, "dropout": True, "unfused_attention": True}

    def kept(**switches: bool) -> float:
        rank = bench(name, **given, **switches)
        return float(rank(TrainingMemory(rank.job).stored_per_layer))

    model = bench(name).entry
    h, a = model.hidden, model.heads
    sbh, scores = s * b * h, 5 * a * s / (h * tp)
    assert kept() == pytest.approx(sbh * (10 + 24 / tp + scores), rel=1e-12)
    assert kept(sequence_parallel=True) == pytest.approx(sbh * (34 / tp + scores), rel=1e-12)
    assert kept(sequence_parallel=True, selective=True) == pytest.approx(sbh * 34 / tp, rel=1e-12)
    assert kept(full=True) == 2 * sbh


def test_activations_of_a_modern_layer_are_not_those_of_gpt3(bench: Any) -> None:
    # Llama 3 8B, one token, no dropout, fused attention, h = 4096, 8 key-value heads of 128, gated feed-forward
    # 14336: norms in and out 4h = 16,384; queries and output 8,192; keys and values 2,048; gate, up and product
    # 43,008 elements of 2 bytes = 139,264 bytes, and the statistics of 32 rows of attention in 4 bytes
    rank = bench("Llama3_8B", seq_len=1)
    assert rank(TrainingMemory(rank.job).layer_activation) == 2 * (16_384 + 8_192 + 2_048 + 43_008) + 4 * 32


def test_useful_work_does_not_depend_on_the_split(bench: Any) -> None:
    whole = bench("Llama3_70B")
    split = bench("Llama3_70B", tp=8)
    length = expression(4096)
    assert whole(whole.job.shapes.useful_forward_flops_per_token(length)) == split(
        split.job.shapes.useful_forward_flops_per_token(length)
    )


@pytest.mark.parametrize("entry", MODELS, ids=repr)
def test_splitting_a_layer_never_loses_weights(bench: Any, entry: Any) -> None:
    whole, half = bench(entry.name), bench(entry.name, tp=2)
    one, two = whole(whole.job.shapes.layer_parameters), half(half.job.shapes.layer_parameters)
    assert two <= one <= 2 * two + 1e-9
    assert math.isfinite(one)
