"""Number formats of inference: the bytes of a weight and of an activation, and the rate at which products run."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from mlsysim_opt.errors import UnknownNameError

if TYPE_CHECKING:
    from mlsysim_opt.registry.entry import Entry

BITS = {
    "fp64": 64, "fp32": 32, "tf32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "fp6": 6, "fp4": 4, "int4": 4,
}  # fmt: skip
"""Bits of one number in memory (IEEE 754; OCP formats; TF32 is stored as FP32)."""


def bytes_of(precision: str, path: str = "precision") -> float:
    """Return the bytes of one number.

    Raises:
        UnknownNameError: it is not a format.
    """
    if precision not in BITS:
        raise UnknownNameError("precision", precision, BITS, path=path)
    return BITS[precision] / 8


@functools.cache
def inference_format(precision: str, weights: str | None = None) -> Entry:
    """Return a number format as a recipe without gradients; activations have at least 16 bits.

    Args:
        precision: of the products. weights: of the weights in memory, where they are kept narrower than they are
            multiplied (weight-only quantization).
    Raises:
        UnknownNameError: one is not a format.
    """
    from mlsysim_opt.registry.types import NumericsRecipe

    size = bytes_of(precision)
    held = size if weights is None else bytes_of(weights, "weight_precision")
    name = precision if weights is None else f"{precision}.{weights}"
    return NumericsRecipe.model_validate(
        {
            "name": name,
            "title": f"{precision}, inference",
            "source": {"title": "IEEE 754-2019; OCP 8-bit and MX formats", "locator": "width in bits", "date": 2023},
            "weight_bytes": f"{held} B",
            "gradient_bytes": f"{size} B",
            "optimizer_bytes": "0 B",
            "activation_bytes": f"{max(size, 2.0)} B",
            "gemm_precision": precision,
            "optimizer": "none",
        }
    )
