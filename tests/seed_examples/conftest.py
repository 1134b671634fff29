from __future__ import annotations

from collections.abc import Callable

import pytest

import mlsysim_opt as mo

from .blocks import SEEDS, Block, document, extract, run

Blocks = Callable[[str, int], Block]


@pytest.fixture(scope="session")
def block() -> Blocks:
    """Return a function from a document and a number (from 1) to the block as it ran, after those before it."""
    if not SEEDS.is_dir():
        pytest.skip(f"the seed documents are not here ({SEEDS.parent.name}/{SEEDS.name} beside the checkout)")
    done: dict[str, list[Block]] = {}

    def ran(number: str, index: int) -> Block:
        if number not in done:
            namespace: dict[str, object] = {}
            done[number] = []
            for code in extract(document(number)):
                if "model_bytes" in code:  # used in 002_9, defined nowhere: the weights of the model before it
                    namespace["model_bytes"] = mo.Q_("141.1 GB")
                done[number].append(run(code, namespace))
        return done[number][index - 1]

    return ran
