"""Equations of one layer or one rank, evaluated for given numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.physics.design import Job
from mlsysim_opt.physics.training import DistributedModel
from mlsysim_opt.physics.view import View, entry_bindings
from mlsysim_opt.registry import default_catalog

SPLIT = {
    "global_batch_size": 1, "seq_len": 2048, "tp": 1, "pp": 1, "dp": 1, "cp": 1, "ep": 1, "microbatch_size": 1,
    "v_stages": 1, "zero_stage": 0, "imbalance": 1,
}  # fmt: skip
SWITCHES = {
    "selective": False, "full": False, "sequence_parallel": False, "overlap": False, "tensor_overlap": False,
    "fused_kernels": True, "unfused_attention": False, "dropout": False,
}  # fmt: skip


class Bench:
    """A job of fixed numbers, whose expressions can be evaluated."""

    def __init__(self, model: str, numerics: str = "bf16", **given: Any) -> None:
        catalog = default_catalog()
        entry, recipe = catalog.find("model", model), catalog.find("numerics", numerics)
        self.entry: Any = entry
        numbers = {name: expression(given.pop(name, value)) for name, value in SPLIT.items()}
        truths = {name: expression(int(given.pop(name, value))) == 1 for name, value in SWITCHES.items()}
        assert not given, given
        self.job = Job(model=View("model", [entry]), numerics=View("numerics", [recipe]), **numbers, **truths)
        self.values = {**entry_bindings("model", entry), **entry_bindings("numerics", recipe)}

    def __call__(self, root: Expression, **more: float) -> Any:
        return evaluate(root, {**self.values, **more})


@pytest.fixture(scope="session")
def bench() -> type[Bench]:
    return Bench


class Scaled(DistributedModel):
    """The training model with some leaves multiplied or replaced: what if the hardware were different?"""

    change: Callable[[dict[str, Any]], None] = staticmethod(lambda named: None)

    def entry_values(self, values: Any) -> dict[str, Any]:
        named = super().entry_values(values)
        type(self).change(named)
        return named


@pytest.fixture
def changed() -> Callable[..., Any]:
    """Return a function that solves the training model with leaves scaled: ``changed({"fleet.fabric.latency": 2})``."""

    def solve(factors: dict[str, float], **given: Any) -> Any:
        def change(named: dict[str, Any]) -> None:
            for name, factor in factors.items():
                assert name in named, name
                named[name] = named[name] * factor

        model = type("Changed", (Scaled,), {"change": staticmethod(change)})()
        return model.solve(**given)

    return solve


@pytest.fixture(scope="session")
def validation(root: Path) -> Callable[[str], Any]:
    """Return a reader of the published measurements, which lie beside the tree where they are at hand at all."""

    def read(name: str) -> Any:
        path = root.parent / "shared" / "validation" / name
        if not path.is_file():
            pytest.skip(f"the validation set is not beside the tree (no {name})")
        return yaml.load(path.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506

    return read
