"""Random questions about checkpoints and about quantized models, asked as users ask."""

from __future__ import annotations

import random

from mlsysim_opt.optimize import Task, task

STORAGE = ["Parallel_FS_Client", "NVMe_Gen4"]


def saving(seed: int) -> Task:
    """Return a random question about checkpoints."""
    dice = random.Random(seed)
    asked = task(
        "checkpointing", model=dice.choice(("Llama3_8B", "Llama3_405B")), n_writers=dice.choice((8, 512)),
        fleet=dice.choice(("Training_1K", "Meta_Llama3_16K_H100")), reliability="Llama3_H100", storage=STORAGE,
        recovery_time="10 min", interval=dice.sample((10, 60, 300, 900, 3600, 14400), 3),
        persist_every=dice.choice(([1], [1, 3, 10])),
        objective=dice.choice(("max_goodput", "min_blocking_time", "min_bandwidth_required",
                               "maximize goodput - 0.1 * blocking_time / checkpoint_interval")),
        constraints=dice.choice(((), ("bandwidth_required < 20 GB/s",), ("goodput >= 0.9", "interval >= 300"))),
    )  # fmt: skip
    assert isinstance(asked, Task)
    return asked


def quantized(seed: int) -> Task:
    """Return a random question about a quantized model."""
    dice = random.Random(seed)
    asked = task(
        "compression", model=dice.choice(("Llama3_8B", "Llama3_70B", "Mixtral_8x7B")), seq_len=dice.choice((512, 4096)),
        hardware=dice.choice(("H100", "A100", "V100")), output_len=128, tp_size=dice.choice((1, 2)),
        batch_size=dice.sample((1, 4, 16, 64, 256), 3),
        objective=dice.choice((None, "max_throughput", "min_total_memory_required", ["max_accuracy_delta", "min_itl"])),
        constraints=dice.choice(((), ("accuracy_delta > -0.011",), ("itl < 20 ms", "accuracy_delta_low >= -0.05"))),
    )  # fmt: skip
    assert isinstance(asked, Task)
    return asked
