"""Type of a serving engine's way to admit requests."""

from __future__ import annotations

from typing import ClassVar

from mlsysim_opt.registry.entry import Entry
from mlsysim_opt.registry.fields import Count, RatioOrZero, TimeOrZero


class Scheduler(Entry):
    """How an engine with continuous batching admits requests.

    `tokens_per_pass` are the prompt tokens that one pass takes at most. `front_end` is the time a request spends
    outside the passes before its first token (transport, tokenization). Requests of like lengths that were
    once admitted together tend to end, and to be replaced, together: `companions` of them are ahead of a
    request at most; outputs of `coherence` tokens reduce their number by a factor of e, as lengths differ.
    Under a load of requests that come at random, prompts wait when more requests than on average are in the batch:
    `waiting_deviations` is by how many standard deviations of their number.
    """

    kind: ClassVar[str] = "scheduler"

    tokens_per_pass: Count
    front_end: TimeOrZero
    companions: RatioOrZero
    coherence: Count
    waiting_deviations: RatioOrZero | None = None
