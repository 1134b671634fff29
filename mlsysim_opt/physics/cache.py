"""How much the keys and values of sequences take, asked of a model alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mlsysim_opt.algebra.expression import expression
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.formats import bytes_of
from mlsysim_opt.physics.inputs import Given, Number, Text
from mlsysim_opt.physics.transformer import kv_bytes

if TYPE_CHECKING:
    from pint import Quantity


class KVCacheResult(Result):
    """Bytes of keys and values."""

    units: ClassVar[dict[str, str]] = {"kv_cache_size": "GB"}
    kv_cache_size: Any


class KVCacheModel(Model):
    """Keys and values of `batch_size` sequences of `seq_len` tokens, over all layers and accelerators.

    Source: Kwon et al. 2023 (PagedAttention), section 3; see `transformer.kv_bytes`.
    """

    wall = 4
    inputs = (
        Given("model", "a transformer", kind="model"),
        Number("seq_len", "tokens of a sequence", integer=True, low=1),
        Number("batch_size", "sequences", default=1, integer=True, low=1),
        Text("precision", "format of keys and values", default="fp16"),
    )
    example: ClassVar[dict[str, Any]] = {"model": "Llama3_70B", "seq_len": 4096}

    def equations(self, **leaves: Any) -> KVCacheResult:
        element = expression(f"{bytes_of(leaves['precision'])} byte")
        return KVCacheResult(kv_cache_size=leaves["batch_size"] * kv_bytes(leaves["model"], leaves["seq_len"], element))


def kv_cache_size(model: Any, seq_len: int, batch_size: int = 1, precision: str = "fp16") -> Quantity[float]:
    """Return the bytes of keys and values of sequences: `KVCacheModel` as a function.

    Raises:
        InputError: the model is not a transformer, a number is not a count, or the precision is unknown.
    """
    size: Quantity[float] = KVCacheModel().solve(model, seq_len, batch_size, precision).kv_cache_size
    return size
