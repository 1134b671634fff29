"""How many requests an accelerator serves per second, at best, within what is promised: the column of a demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlsysim_opt.errors import InputError
from mlsysim_opt.physics import ServingModel
from mlsysim_opt.physics.serving import home_of
from mlsysim_opt.registry.entry import Entry

BATCHES = tuple(2**power for power in range(10))


@dataclass(frozen=True)
class ServingColumn:
    """A way to serve a demand.

    Attributes:
        rate: requests per second and accelerator, all the time. devices: of one replica. batch_size: of a replica.
    """

    rate: float
    devices: int
    batch_size: int
    title: str = ""

    @property
    def label(self) -> str:
        """The replica in short."""
        return self.title or f"tp{self.devices} batch {self.batch_size}"


def serving_column(demand: Mapping[str, Any], accelerator: Entry) -> ServingColumn:
    """Return the split and batch that serve most requests per accelerator: full static batches, one after another.

    Raises:
        InputError: model or lengths are not given, or nothing meets the promises in the memory there is.
    """
    for name in ("model", "input_len", "output_len"):
        if demand[name] is None:
            raise InputError(
                "not given, and the demand states no requests_per_device",
                path=f"demands.{demand['name']}.{name}",
                hint="give model, input_len and output_len, or requests_per_device as measured",
            )
    home = home_of(accelerator)
    ranks = 1 if home is None else int(home.scale_up.domain_size)
    splits = [2**power for power in range(ranks.bit_length()) if 2**power <= min(ranks, int(demand["model"].heads))]
    table = ServingModel().sweep(
        model=demand["model"],
        hardware=accelerator,
        seq_len=demand["input_len"] + demand["output_len"],
        output_len=demand["output_len"],
        batch_size=list(BATCHES),
        tp_size=list(splits),
        precision=demand["precision"],
    )
    good = table.si("feasible").astype(bool)
    for promise in ("ttft", "itl"):
        if demand[promise] is not None:
            good &= table.si(promise) <= demand[promise]
    size, devices = np.array(BATCHES)[:, None], np.array(splits)[None, :]
    rate = np.where(good, size / (table.si("request_latency") * devices), 0.0)
    at, split = np.unravel_index(int(np.argmax(rate)), rate.shape)
    if not rate[at, split] > 0:
        raise InputError(
            f"no split and batch on {accelerator.name} serve {demand['name']} within its memory and limits"
        )
    return ServingColumn(float(rate[at, split]), int(splits[split]), BATCHES[at])
