"""What is said of jobs of `placement` that have too little time, whatever is planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mlsysim_opt.formulations.placement_givens import Array
from mlsysim_opt.formulations.placement_numbers import HOUR


def too_little_time(
    jobs: Sequence[Mapping[str, Any]], least: Array, there: Array, duration: float, length: float | None = None
) -> str | None:
    """Return which jobs take longer than they have, and what would do; None where all have enough.

    Args:
        jobs: with their `name`, `start` and `deadline`. least: the shortest time each takes, in s; infinite where none
            is known. there: the time it has, in s. duration: of the plan, in s.
        length: of whole periods, in s, where jobs take and have whole ones.
    """
    told = []
    for item, time, have in zip(jobs, least, there, strict=True):
        needed, unit = (time, have) if length is None else (np.ceil(time / length), round(have / length))
        if not needed > unit or np.isinf(time):
            continue
        own = item["deadline"] is not None and item["deadline"] < duration
        end = f"its deadline of {item['deadline'] / HOUR:.4g} h" if own else "the end of the plan"
        words = f"{item['name']} takes {time / HOUR:.4g} h at least"
        if length is None:
            end_of_it = item["start"] + time
            what = "a duration" if not own else "a deadline" if end_of_it <= duration else "a duration and a deadline"
            later = f"{what} of {np.ceil(1e4 * end_of_it / HOUR) / 1e4:g} h would do"
            told.append(f"{words}, and has {have / HOUR:.4g} h from its start to {end}: {later}")
        else:
            told.append(f"{words}, which is {needed:g} of them, and has {unit:g} from its start to {end}")
    return "; ".join(told) or None
