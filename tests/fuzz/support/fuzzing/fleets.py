"""Random fleets for given traffic, of measured replicas, asked as users ask; and their answers by counting replicas.

Every number of replicas of each kind is looked at, the best first, until the traffic fits on one: traffic in whole
parts by trying every way to spread it, divisible traffic by a linear program of SciPy's.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuzzing.question import Question, at_most, somewhere
from mlsysim_opt.optimize import CoupledTask, PlanSolution, formulation

SITES = ("AWS_us_east_1", "AWS_eu_west_1")
HOUR = 3600.0
MOST = 30_000
Spot = tuple[str, str, float]
"""A site, a kind of replica and its utilization."""
Stand = tuple[str, str, str, float]
"""A site, a plan, a kind of replica and its utilization."""
Counts = dict[Stand, int]


@dataclass
class Fleet:
    """One random problem.

    Attributes:
        given: as it is asked. devices, power: of a kind of replica. offers: price, accelerators and uptime by
            accelerator, site and plan. stands: where replicas may be, with the most that make sense.
        work: for each row of traffic, what a request per second there takes of a replica on each spot that may serve
            it. rates: of the rows. slices: parts of each row; None for divisible ones.
    """

    given: dict[str, Any]
    devices: dict[str, int]
    power: dict[str, float]
    offers: dict[tuple[str, str, str], tuple[float, float, float]]
    stands: dict[Stand, int]
    work: list[dict[Spot, float]]
    rates: list[float]
    slices: int | None
    spare: int

    @property
    def spots(self) -> list[Spot]:
        return sorted({(site, kind, load) for site, _, kind, load in self.stands})

    # what replicas take -----------------------------------------------------------------------------------------------
    def cost(self, counts: Counts) -> float:
        return math.fsum(number * self.devices[kind] * self.offers[kind, site, plan][0] / HOUR
                         for (site, plan, kind, _), number in counts.items())  # fmt: skip

    def watts(self, counts: Counts) -> float:
        return math.fsum(number * self.power[kind] for (_, _, kind, _), number in counts.items())

    def accelerators(self, counts: Counts, plan: str | None = None) -> float:
        return float(sum(number * self.devices[kind] for (_, how, kind, _), number in counts.items()
                         if plan in (None, how)))  # fmt: skip

    def fleets(self) -> Iterator[Counts]:
        """Yield every number of replicas on every stand that offers allow."""
        for numbers in itertools.product(*(range(most + 1) for most in self.stands.values())):
            counts = {stand: number for stand, number in zip(self.stands, numbers, strict=True) if number}
            if self.offered(counts):
                yield counts

    def offered(self, counts: Counts) -> bool:
        used: dict[tuple[str, str, str], int] = {}
        for (site, plan, kind, _), number in counts.items():
            used[kind, site, plan] = used.get((kind, site, plan), 0) + number * self.devices[kind]
        return all(number <= self.offers[place][1] for place, number in used.items())

    # what traffic takes -----------------------------------------------------------------------------------------------
    def room(self, counts: Counts, used: Sequence[Spot]) -> dict[Spot, float]:
        """Return how many replicas' work fits on each spot, those to spare not counted where any is used."""
        room = dict.fromkeys(self.spots, 0.0)
        for (site, plan, kind, load), number in counts.items():
            room[site, kind, load] += load * self.offers[kind, site, plan][2] * number
        for spot in used:
            room[spot] -= self.spare * spot[2]
        return room

    def carries(self, counts: Counts) -> bool:
        """Return whether the traffic fits."""
        if not self.spare:
            return self._fits(self.room(counts, ()), self.spots)
        standing = sorted({(site, kind, load) for site, _, kind, load in counts})
        some = (used for size in range(1, len(standing) + 1) for used in itertools.combinations(standing, size))
        return any(self._fits(self.room(counts, used), used) for used in some)

    def _fits(self, room: dict[Spot, float], used: Sequence[Spot]) -> bool:
        if any(room[spot] < 0 for spot in used):
            return False
        for rate, work in zip(self.rates, self.work, strict=True):  # each row of traffic alone
            if not rate <= math.fsum(room[spot] / work[spot] for spot in used if spot in work) * (1 + 1e-9):
                return False
        if self.slices is not None:
            limit = np.array([room[spot] if spot in used else 0.0 for spot in self.spots])
            return bool(np.any(np.all(self.loads <= limit * (1 + 1e-9), axis=1)))
        return self._flows(room, used)

    @property
    def loads(self) -> Any:
        """What every way to spread whole parts puts on each spot."""
        if not hasattr(self, "_loads"):
            assert self.slices is not None
            ways = []
            for rate, work in zip(self.rates, self.work, strict=True):
                mine = []
                for places in itertools.combinations_with_replacement(sorted(work), self.slices):
                    load = dict.fromkeys(self.spots, 0.0)
                    for spot in places:
                        load[spot] += rate / self.slices * work[spot]
                    mine.append([load[spot] for spot in self.spots])
                ways.append(np.array(mine).reshape(-1, len(self.spots)))
            total = np.zeros((1, len(self.spots)))
            for several in ways:
                total = (total[:, None, :] + several[None, :, :]).reshape(-1, len(self.spots))
            self._loads = total
        return self._loads

    def _flows(self, room: dict[Spot, float], used: Sequence[Spot]) -> bool:
        from scipy.optimize import linprog

        names = [(row, spot) for row, work in enumerate(self.work) for spot in used if spot in work]
        if not names:
            return False
        equal = [[float(row == mine) for mine, _ in names] for row in range(len(self.rates))]
        above = [[self.work[row][spot] if spot == mine else 0.0 for row, spot in names] for mine in used]
        limit = [room[spot] * (1 + 1e-10) for spot in used]
        found = linprog(np.zeros(len(names)), above, limit, equal, self.rates, method="highs")
        assert found.status in (0, 2), found.message
        return bool(found.status == 0)

    # an answer --------------------------------------------------------------------------------------------------------
    def counts_of(self, answer: PlanSolution) -> Counts | None:
        """Return the replicas of an answer, if they carry what it says that they serve."""
        counts = {(row["site"], row["plan"], row["replica"], row["utilization"]): row["amount"]
                  for row in answer.amounts["replicas"]}  # fmt: skip
        load: dict[Spot, float] = {}
        served = [0.0] * len(self.rates)
        for row in answer.amounts["served"]:
            at = next(at for at, item in enumerate(self.given["traffic"])
                      if (item["name"], item["origin"]) == (row["request"], row["origin"]))  # fmt: skip
            spot = row["site"], row["replica"], row["utilization"]
            if spot not in self.work[at]:
                return None
            rate = row["amount"] * (1 if self.slices is None else self.rates[at] / self.slices)
            served[at] += rate
            load[spot] = load.get(spot, 0.0) + rate * self.work[at][spot]
        room = self.room(counts, list(load))
        kept = all(at_most(load[spot], room[spot]) for spot in load)
        whole = all(abs(a - b) <= 1e-9 * b for a, b in zip(served, self.rates, strict=True))
        return counts if kept and whole and self.offered(counts) else None


def fleet(seed: int) -> Question:
    """Return the question of a seed."""
    dice = random.Random(seed)
    while True:
        found = _rolled(dice)
        if found is not None and math.prod(most + 1 for most in found.stands.values()) <= MOST:
            return _asked(dice, found)


def _rolled(dice: random.Random) -> Fleet | None:
    names, origins = "abc"[: dice.randint(1, 3)], "EU"[: dice.randint(1, 2)]
    sites = SITES[: dice.randint(1, 2)]
    devices = {"X": 1, "Y": dice.choice((1, 2, 4))}
    kinds = ("X", "Y")[: dice.randint(1, 2)]
    whole = dice.random() < 0.5
    number: Callable[[int, int], float] = dice.randint if whole else dice.uniform
    plans = ("on_demand", "spot")[: dice.choice((1, 1, 2))]
    slices = dice.choice((None, None, 1, 2))
    utilization = dice.choice(([1.0], [1.0], [0.5, 0.8], [0.75]))
    promise = dice.random() < 0.6
    traffic = [
        {"name": name, "origin": origin, "request_rate": float(number(1, 9)), **_promised(promise and name == "a")}
        for name in names for origin in origins if dice.random() < 0.6 or (name, origin) == ("a", "E")
    ]  # fmt: skip
    used = sorted({row["name"] for row in traffic})
    measured = [
        {"accelerator": kind, "devices": devices[kind], "name": name, "request_rate": float(number(1, 8)),
         "ttft": f"{dice.choice((100, 150, 200))} ms", "power": f"{300 * devices[kind]} W"}
        for kind in kinds for name in used if dice.random() < 0.9 or kind == "X"
    ]  # fmt: skip
    trips = {(a, b): dice.choice((0, 40, 80)) for a in origins for b in sites}
    offers, rows = {}, []
    for kind, site, plan in itertools.product(kinds, sites, plans):
        if dice.random() < 0.2 and rows:
            continue
        price, most = float(number(1, 9)), dice.randint(1, 8)
        uptime = 0.8 if plan == "spot" else 1.0
        offers[kind, site, plan] = price, float(most), uptime
        rows.append({"accelerator": kind, "site": site, "plan": plan, "price": f"{price!r} USD/h", "available": most,
                     "uptime": uptime})  # fmt: skip
    given = {
        "traffic": traffic, "measured": measured, "offers": rows, "utilization": utilization,
        "round_trip": [{"origin": a, "site": b, "time": f"{time} ms"} for (a, b), time in trips.items()],
        "spare": dice.choice((0, 0, 0, 1)),
    }  # fmt: skip
    if slices is not None:
        given["slices"] = slices
    speed = {(row["accelerator"], row["name"]): row for row in measured}
    known = {kind for kind, _ in speed}
    stands = {(site, plan, kind, load): int(offers[kind, site, plan][1]) // devices[kind]
              for kind, site, plan in offers for load in utilization if kind in known}  # fmt: skip
    spots = sorted({(site, kind, load) for site, _, kind, load in stands})
    work: list[dict[Spot, float]] = []
    for row in traffic:
        mine = {}
        for site, kind, load in spots:
            cell = speed.get((kind, row["name"]))
            if cell is None or ("ttft" in row and _ms(cell) + trips[row["origin"], site] > 250):
                continue
            mine[site, kind, load] = 1 / cell["request_rate"]
        work.append(mine)
    watts = {kind: 300.0 * devices[kind] for kind in kinds}
    rates = [row["request_rate"] for row in traffic]
    if slices is not None and math.prod(math.comb(len(mine) + slices - 1, slices) for mine in work) > 2 * MOST:
        return None
    return Fleet(given, devices, watts, offers, stands, work, rates, slices, given["spare"])


def _promised(promised: bool) -> dict[str, str]:
    return {"ttft": "250 ms"} if promised else {}


def _ms(cell: dict[str, Any]) -> float:
    return float(cell["ttft"].split()[0])


def _asked(dice: random.Random, found: Fleet) -> Question:
    every = list(found.fleets())
    limits: list[tuple[str, Callable[[Counts], bool]]] = []
    likely = dice.sample(every, min(50, len(every)))
    if dice.random() < 0.25:
        most = somewhere(dice, [found.cost(item) for item in likely])
        limits.append((f"cost <= {most!r} USD/s", lambda item: at_most(found.cost(item), most)))
    if dice.random() < 0.25:
        top = somewhere(dice, [found.accelerators(item) for item in likely])
        limits.append((f"accelerators <= {top!r}", lambda item: at_most(found.accelerators(item), top)))
    if dice.random() < 0.3 and "spot" in {plan for _, plan, _, _ in found.stands} and _both(found):
        limits.append(("accelerators_spot <= 0.4 * accelerators", lambda item: at_most(
            found.accelerators(item, "spot"), 0.4 * found.accelerators(item))))  # fmt: skip
    if dice.random() < 0.15:
        limits.append(("utilization <= 0.8", lambda item: all(load <= 0.8 for _, _, _, load in item)))
    objective, value = dice.choice((
        ("min_cost", found.cost),
        ("min_cost", found.cost),
        ("min_accelerators", found.accelerators),
        ("min_power", found.watts),
        ("cost + 0.5 USD/h * replicas", lambda item: found.cost(item) + 0.5 / HOUR * sum(item.values())),
        ("max(cost, 0.002 USD/h/W * power)", lambda item: max(found.cost(item), 0.002 / HOUR * found.watts(item))),
        ("cost / accelerators", lambda item: found.cost(item) / found.accelerators(item)),
        ("cost / request_rate", lambda item: found.cost(item) / math.fsum(found.rates)),
    ))  # fmt: skip

    def holds(counts: Counts) -> bool:
        return all(test(counts) for _, test in limits)

    good = sorted(((value(item), at) for at, item in enumerate(every) if item and holds(item)))
    best = next((worth for worth, at in good if found.carries(every[at])), math.inf)

    def recheck(answer: PlanSolution) -> float | None:
        counts = found.counts_of(answer)
        return None if counts is None or not holds(counts) else value(counts)

    problem = formulation("serving_fleet").problem(found.given)
    return Question(CoupledTask.of(problem, objective, [text for text, _ in limits]), best, recheck)


def _both(found: Fleet) -> bool:
    return len({plan for _, plan, _, _ in found.stands}) > 1
