"""Random placements of jobs and a demand, asked as users ask; and their answers by trying every pick.

Every way to run every job, with when it begins or the periods in which it keeps its accelerators, and every number of
held nodes, is tried; where it is decided what is bought, every job on nodes of either tenure. What is left (hours of
work, requests, rented accelerators) is a linear program of SciPy's, by hand from the meaning of the inputs; what is
rented beside held nodes is so between any two ends of jobs that run through.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fuzzing.question import CLOSE, Question, at_most, near
from mlsysim_opt.optimize import CoupledTask, PlanSolution, formulation
from mlsysim_opt.physics.serving import home_of
from mlsysim_opt.registry import default_catalog

REGIONS = ("AWS_us_east_1", "AWS_ca_central_1", "AWS_eu_central_1")
SPAN = 2.0
"""Hours of a period."""
MOST = 150
"""Linear programs of one instance."""
YEAR = 8766.0
Name = tuple[Any, ...]
Sum = dict[Name, float]


@dataclass(frozen=True)
class Pick:
    """One way to run a job: where, on what, and when (a start, periods of work, or any hours).

    Its tenure is None where that of nodes is not decided.
    """

    job: str
    design: str
    accelerator: str
    nodes: int
    hours: float
    kilowatts: float
    region: str
    tenure: str | None = None
    start: int | None = None
    periods: tuple[int, ...] | None = None


@dataclass
class Program:
    """What is left once picks are made: amounts with bounds, sums of them, and limits on sums.

    Attributes:
        most: the upper bound of each amount. fixed: what cost, carbon, energy and device hours are without any.
        sums: what they are of each amount. above, equal: sums with what they are at most, or are.
    """

    most: dict[Name, float] = field(default_factory=dict)
    fixed: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("cost", "carbon", "energy", "end"), 0.0))
    sums: dict[str, Sum] = field(default_factory=lambda: {name: {} for name in ("cost", "carbon", "energy", "end")})
    above: list[tuple[Sum, float]] = field(default_factory=list)
    equal: list[tuple[Sum, float]] = field(default_factory=list)

    def least(self, goals: Sequence[dict[str, float]], limits: Sequence[tuple[str, float]]) -> tuple[float, Any]:
        """Return the least of the largest goal (sums by weight), and the amounts; infinity where there are none."""
        from scipy.optimize import linprog

        names = list(self.most)

        def row(numbers: Sum, last: float = 0.0) -> list[float]:
            return [numbers.get(name, 0.0) for name in names] + [last]

        above = [(row(numbers), limit) for numbers, limit in self.above]
        above += [(row(self.sums[name]), limit - self.fixed[name]) for name, limit in limits]
        for goal in goals:
            numbers: Sum = {}
            for name, weight in goal.items():
                for at, number in self.sums[name].items():
                    numbers[at] = numbers.get(at, 0.0) + weight * number
            above.append((row(numbers, -1.0), -math.fsum(w * self.fixed[name] for name, w in goal.items())))
        equal = [(row(numbers), limit) for numbers, limit in self.equal]
        found = linprog(
            [0.0] * len(names) + [1.0], [line for line, _ in above], [limit for _, limit in above],
            [line for line, _ in equal] or None, [limit for _, limit in equal] or None,
            bounds=[*((0.0, self.most[name]) for name in names), (None, None)], method="highs",
        )  # fmt: skip
        assert found.status in (0, 2), found.message
        if found.status == 2:
            return math.inf, {}
        return float(found.fun), dict(zip(names, found.x, strict=False))

    def holds(self, x: Sum, limits: Sequence[tuple[str, float]]) -> bool:
        """Return whether amounts keep every limit up to rounding."""
        if any(not -CLOSE * SPAN <= amount <= self.most.get(name, -1.0) * (1 + CLOSE) for name, amount in x.items()):
            return False
        if not all(at_most(self.total(name, x), most) for name, most in limits):
            return False
        for numbers, limit in self.above:
            total, size = _added(numbers, x)
            if total > limit + CLOSE * max(size, abs(limit)):
                return False
        return all(abs(total - limit) <= CLOSE * max(size, abs(limit))
                   for numbers, limit in self.equal for total, size in [_added(numbers, x)])  # fmt: skip

    def total(self, name: str, x: Sum) -> float:
        return self.fixed[name] + _added(self.sums[name], x)[0]


def _added(numbers: Sum, x: Sum) -> tuple[float, float]:
    parts = [numbers[at] * amount for at, amount in x.items() if at in numbers]
    return math.fsum(parts), math.fsum(abs(part) for part in parts)


class Placement:
    """One random problem: numbers by accelerator, region and period as plain Python."""

    def __init__(self, dice: random.Random, hold: str | None = None) -> None:
        some = dice.random
        self.periods = dice.choice((1, 2, 3, 3))
        self.regions = REGIONS[: dice.choice((1, 2, 2, 3))]
        drawn = dice.choice((None, None, None, "reserved", "buy"))
        self.hold = hold or drawn
        self.tenures: tuple[str | None, ...] = ("owned", "rented") if self.hold == "buy_or_rent" else (None,)
        self.pauses = some() < 0.6
        several = self.hold != "buy" and some() < 0.3
        self.accelerators = ("H100", "A100") if several else ("H100",)
        self.capacity = dice.choice((8, 16, 24, 32)) if some() < 0.35 else None
        self.shared = self.hold is not None or self.capacity is not None
        self.duration = SPAN * self.periods
        jobs = dice.randint(0 if self.hold is None else 1, 2)
        if self.hold == "reserved" and self.periods == 1:
            jobs = 0
        self.jobs = [self._job(dice, at) for at in range(jobs)]
        self.rate = [float(dice.randint(2, 24)) for _ in range(self.periods)] if some() < 0.6 or not jobs else None
        if self.rate is not None and some() < 0.5:
            self.rate = self.rate[:1] * self.periods
        self.load, self.full = dice.choice((0.5, 0.7, 1.0)), dice.choice((1.0, 2.0))
        self.steady = some() < 0.5
        self.price = {
            (a, r, p): dice.randint(100, 400) / 100 if not p or not self.steady else None
            for a in self.accelerators for r in self.regions for p in range(self.periods)
        }  # fmt: skip
        self.price = {(a, r, p): price or self.price[a, r, 0] for (a, r, p), price in self.price.items()}
        self.grid = {(r, p): dice.randint(10, 900) / 1000 for r in self.regions for p in range(self.periods)}
        self.kept = {(a, r): dice.randint(50, 200) / 100 for a in self.accelerators for r in self.regions}
        self.tariff = {r: dice.randint(5, 30) / 100 for r in self.regions}
        catalog = default_catalog()
        self.pue = {r: float(catalog.find("datacenter", r).parameter("pue").si) for r in self.regions}
        homes = {a: home_of(catalog.find("accelerator", a)) for a in self.accelerators}
        self.idle = {a: node.parameter("idle_power").si / 1000 for a, node in homes.items()}  # type: ignore[union-attr]
        self.busy = {a: node.parameter("busy_power").si / 1000 for a, node in homes.items()}  # type: ignore[union-attr]
        self.node_price = {(a, r): {"H100": 375_000.0, "A100": 300_000.0}[a] for a in homes for r in self.regions}
        self.value_lost = self.duration / (4 * YEAR) + 0.05 * self.duration / YEAR
        self.own_prices = self.hold == "buy_or_rent" and some() < 0.7
        if self.own_prices:
            self.node_price = {place: 1000.0 * dice.randint(20, 500) for place in self.node_price}
        self.gone: set[str] = set()

    def _job(self, dice: random.Random, at: int) -> dict[str, Any]:
        designs = [
            {"name": f"way {way}", "accelerator": dice.choice(self.accelerators), "nodes": dice.randint(1, 3),
             "time": dice.randint(1, 20) / 10 * self.periods * dice.choice((0.5, 1.0)),
             "node_power": float(dice.randint(3, 10))}
            for way in range(dice.randint(1, 2))
        ]  # fmt: skip
        made: dict[str, Any] = {"name": f"job {at}", "designs": designs}
        if dice.random() < 0.2:
            made["regions"] = list(dice.sample(self.regions, 1))
        if dice.random() < 0.25 and self.periods > 1:
            made["start"] = dice.choice((1.0, SPAN))
        if dice.random() < 0.25:
            made["deadline"] = dice.choice((self.duration - 1.0, self.duration, SPAN))
        if made.get("start", 0.0) >= min(made.get("deadline", math.inf), self.duration):
            del made["start"]  # such a job is refused before anything is solved
        return made

    def given(self) -> dict[str, Any]:
        """Return it as it is asked."""
        hours = {
            a: {r: {"values": [self.price[a, r, p] for p in range(self.periods)], "unit": "USD/h"}
                for r in self.regions}
            for a in self.accelerators
        }  # fmt: skip
        made: dict[str, Any] = {
            "regions": list(self.regions), "accelerators": list(self.accelerators),
            "duration": f"{self.duration} h", "periods": self.periods, "pauses": self.pauses,
            "serving_utilization": self.load, "price": hours,
            "carbon_intensity": {
                r: {"values": [1000 * self.grid[r, p] for p in range(self.periods)], "unit": "gCO2e/kWh"}
                for r in self.regions
            },
        }  # fmt: skip
        if self.jobs:
            made["jobs"] = [
                {**job, "designs": [{**way, "time": f"{way['time']!r} h", "node_power": f"{way['node_power']} kW"}
                                    for way in job["designs"]],
                 **{name: f"{job[name]} h" for name in ("start", "deadline") if name in job}}
                for job in self.jobs
            ]  # fmt: skip
        if self.rate is not None:
            made["demands"] = [{"name": "d", "requests_per_device": f"{self.full} request/s",
                                "rate": {"values": self.rate, "unit": "request/s"}}]  # fmt: skip
        if self.capacity is not None:
            made["capacity"] = self.capacity
        if self.hold is not None:
            made["hold"] = self.hold
            made["electricity_price"] = {r: f"{price} USD/kWh" for r, price in self.tariff.items()}
        if self.own_prices:
            made["node_price"] = {
                a: {r: f"{self.node_price[a, r]} USD" for r in self.regions} for a in self.accelerators
            }
        if self.hold == "reserved":
            made["reserved_price"] = {
                a: {r: f"{self.kept[a, r]} USD/h" for r in self.regions} for a in self.accelerators
            }
        return made

    # what is on which nodes ------------------------------------------------------------------------------------------
    def pays_rent(self, tenure: str | None) -> bool:
        """Return whether what works there is paid by its own time."""
        return self.hold is None or tenure == "rented"

    def pays_electricity(self, tenure: str | None) -> bool:
        return self.hold == "buy" or tenure == "owned"

    def shares(self, tenure: str | None) -> bool:
        """Return whether it may be in others' way there."""
        return self.capacity is not None or not self.pays_rent(tenure)

    # picks ------------------------------------------------------------------------------------------------------------
    def picks(self, job: dict[str, Any]) -> list[Pick]:
        """Return every way to run a job that its window allows."""
        found: list[Pick] = []
        begin, end = job.get("start", 0.0), min(job.get("deadline", math.inf), self.duration)
        opened = [max(0.0, min(SPAN * (p + 1), end) - max(SPAN * p, begin)) for p in range(self.periods)]
        places = itertools.product(job["designs"], job.get("regions", self.regions), self.tenures)
        for way, region, tenure in places:
            if region in self.gone:
                continue
            made = Pick(job["name"], way["name"], way["accelerator"], way["nodes"], way["time"], way["node_power"],
                        region, tenure)  # fmt: skip
            if self.periods == 1:
                if begin + made.hours <= end * (1 + 1e-12):
                    found.append(made)
            elif not self.pauses:
                for start in range(self.periods):
                    if SPAN * start >= begin and SPAN * start + made.hours <= end * (1 + 1e-12):
                        found.append(Pick(*_fields(made), start=start))
            elif not self.shares(tenure):
                if made.hours <= math.fsum(opened) * (1 + 1e-12):
                    found.append(made)
            elif self.hold in (
                None,
                "buy_or_rent",
            ):  # periods in which nobody else has its accelerators, where it may work long enough
                some = [p for p, room in enumerate(opened) if room > 0]
                found += [
                    Pick(*_fields(made), periods=several)
                    for count in range(1, len(some) + 1) for several in itertools.combinations(some, count)
                    if made.hours <= math.fsum(opened[p] for p in several) * (1 + 1e-12)
                ]  # fmt: skip
            else:
                needed = math.ceil(round(made.hours / SPAN, 9))
                whole = [p for p, room in enumerate(opened) if room >= SPAN]
                found += [Pick(*_fields(made), periods=several) for several in itertools.combinations(whole, needed)]
        return found

    def held(self) -> Iterator[dict[tuple[str, str], int]]:
        """Yield every number of held nodes that can be of use."""
        if self.hold is None:
            yield {}
            return
        jobs = sum(max(way["nodes"] for way in job["designs"]) for job in self.jobs)
        served = math.ceil(max(self.rate) / (self.full * self.load) / 8) if self.rate is not None else 0
        places = [(a, r) for a in self.accelerators for r in self.regions if r not in self.gone]
        for numbers in itertools.product(range(jobs + served + 1), repeat=len(places)):
            yield dict(zip(places, numbers, strict=True))

    # what is left -----------------------------------------------------------------------------------------------------
    def program(self, picks: Sequence[Pick], held: dict[tuple[str, str], int]) -> Program:
        """Return the program of what is left."""
        made = Program()
        use: dict[Name, Sum] = {}
        fixed_use: dict[Name, list[tuple[float, float]]] = {}
        for pick in picks:
            self._job_in(made, pick, fixed_use)
        if self.rate is not None:
            self._demand_in(made, use)
        for (a, r), nodes in held.items():
            mean = math.fsum(self.grid[r, p] for p in range(self.periods)) / self.periods
            energy = nodes * self.idle[a] * self.duration * self.pue[r]
            self._fix(made, energy, energy * mean)
            if self.hold != "reserved":
                made.fixed["cost"] += nodes * (self.node_price[a, r] * self.value_lost) + energy * self.tariff[r]
            else:
                made.fixed["cost"] += nodes * 8 * self.duration * self.kept[a, r]
        for a, r, p in itertools.product(self.accelerators, self.regions, range(self.periods)):
            if self.hold == "buy_or_rent":
                there = 8.0 * held.get((a, r), 0)
                limits = ("owned", there), ("rented", math.inf if self.capacity is None else self.capacity - there)
                for tenure, most in limits:
                    at = a, r, p, tenure
                    number = math.fsum(devices for _, devices in fixed_use.get(at, []))
                    if most < math.inf:
                        made.above.append((use.get(at, {}), most - number))
                continue
            taken, jobs = use.get((a, r, p, None), {}), fixed_use.get((a, r, p, None), [])
            if self.hold is None and self.capacity is not None:
                made.above.append((taken, self.capacity - math.fsum(devices for _, devices in jobs)))
            for low, high in itertools.pairwise(self.instants(picks, p)) if self.hold is not None else ():
                there, number = 8.0 * held.get((a, r), 0), math.fsum(n for hours, n in jobs if hours > low)
                rented: Sum = {}
                if self.hold == "reserved" and r not in self.gone:
                    name, hours = ("rented", a, r, p, low), high - low
                    made.most[name] = math.inf
                    energy = self.idle[a] / 8 * hours * self.pue[r]
                    self._add(made, name, energy, energy * self.grid[r, p], hours * self.price[a, r, p])
                    rented = {name: 1.0}
                made.above.append(({**taken, **dict.fromkeys(rented, -1.0)}, there - number))
                if self.capacity is not None:
                    made.above.append((rented, self.capacity - there))
        return made

    def instants(self, picks: Sequence[Pick], period: int) -> list[float]:
        """Return the hours of a period at which something that is rented may be given back."""
        ends = {self.within(pick, period) for pick in picks if pick.start is not None and self.hold == "reserved"}
        return [0.0, *sorted(end for end in ends if 1e-9 < end < SPAN - 1e-9), SPAN]

    def within(self, pick: Pick, period: int) -> float:
        """Return the hours of a period in which a job that runs through works."""
        if self.periods == 1:
            return pick.hours
        begin = SPAN * (pick.start or 0)
        return max(0.0, min(SPAN * (period + 1), begin + pick.hours) - max(SPAN * period, begin))

    def _fix(self, made: Program, energy: float, carbon: float) -> None:
        made.fixed["energy"] += energy
        made.fixed["carbon"] += carbon

    def _add(self, made: Program, name: Name, energy: float, carbon: float, cost: float) -> None:
        for of, number in (("energy", energy), ("carbon", carbon), ("cost", cost)):
            made.sums[of][name] = number

    def _job_in(self, made: Program, pick: Pick, use: dict[Name, list[tuple[float, float]]]) -> None:
        a, r, tenure, devices = pick.accelerator, pick.region, pick.tenure, 8.0 * pick.nodes
        draw = (pick.kilowatts - (0.0 if self.pays_rent(tenure) else self.idle[a])) * pick.nodes
        if self.periods > 1 and self.pauses and self.hold in (None, "buy_or_rent"):
            mine = range(self.periods) if pick.periods is None else pick.periods
            for p in pick.periods or ():
                use.setdefault((a, r, p, tenure), []).append((SPAN, devices))
            names = {("work", pick.job, r, p): p for p in mine}
            for name, p in names.items():
                made.most[name] = self._open(pick.job, p)
                energy = draw * self.pue[r]
                cost = energy * self.tariff[r] if tenure == "owned" else devices * self.price[a, r, p]
                self._add(made, name, energy, energy * self.grid[r, p], cost)
            made.equal.append((dict.fromkeys(names, 1.0), pick.hours))
            return
        if pick.periods is not None:  # held or rented for whole periods, in which it works alike
            inside = dict.fromkeys(pick.periods, pick.hours / len(pick.periods))
        else:
            inside = {p: self.within(pick, p) for p in range(self.periods)}
        for p, hours in inside.items():
            if not hours > 1e-9:
                continue
            use.setdefault((a, r, p, tenure), []).append((SPAN if pick.start is None else hours, devices))
            energy = draw * hours * self.pue[r]
            self._fix(made, energy, energy * self.grid[r, p])
            if self.pays_rent(tenure):
                made.fixed["cost"] += devices * hours * self.price[a, r, p]
            elif self.pays_electricity(tenure):
                made.fixed["cost"] += energy * self.tariff[r]

    def _open(self, job: str, period: int) -> float:
        item = next(item for item in self.jobs if item["name"] == job)
        begin, end = item.get("start", 0.0), min(item.get("deadline", math.inf), self.duration)
        return max(0.0, min(SPAN * (period + 1), end) - max(SPAN * period, begin))

    def _demand_in(self, made: Program, use: dict[Name, Sum]) -> None:
        assert self.rate is not None
        for p, wanted in enumerate(self.rate):
            row: Sum = {}
            for a, r, tenure in itertools.product(self.accelerators, self.regions, self.tenures):
                if r in self.gone:
                    continue
                name = "serving", a, r, p, tenure
                devices = 1 / (self.full * self.load)
                # of measured rates nothing says when a server has no request: it draws busy power at any load
                draw = (self.busy[a] - (0.0 if self.pays_rent(tenure) else self.idle[a])) / 8
                energy = devices * draw * SPAN * self.pue[r]
                cost = devices * SPAN * self.price[a, r, p] if self.pays_rent(tenure) else 0.0
                if self.pays_electricity(tenure):
                    cost = energy * self.tariff[r]
                made.most[name] = math.inf
                self._add(made, name, energy, energy * self.grid[r, p], cost)
                row[name] = 1.0
                use.setdefault((a, r, p, tenure), {})[name] = devices
            made.equal.append((row, wanted))


def _fields(pick: Pick) -> tuple[Any, ...]:
    return (pick.job, pick.design, pick.accelerator, pick.nodes, pick.hours, pick.kilowatts, pick.region, pick.tenure)


def _rented(made: Placement, picks: Sequence[Pick], x: Sum) -> Sum:
    """Return how many accelerators are rented where in the mean of each period."""
    found: Sum = {}
    for pick in picks:
        for p in range(made.periods) if pick.tenure == "rented" else ():
            paused = made.pauses and made.periods > 1
            hours = x.get(("work", pick.job, pick.region, p), 0.0) if paused else made.within(pick, p)
            at = pick.accelerator, pick.region, p
            found[at] = found.get(at, 0.0) + 8 * pick.nodes * hours / SPAN
    for name, amount in x.items():
        if name[0] == "serving" and name[-1] == "rented":
            found[name[1:4]] = found.get(name[1:4], 0.0) + amount / (made.full * made.load)
    return found


GOALS: tuple[tuple[str, list[dict[str, float]], float], ...] = (
    ("min_cost", [{"cost": 1.0}], 1.0),
    ("min_cost", [{"cost": 1.0}], 1.0),
    ("min_carbon", [{"carbon": 1.0}], 1.0),
    ("min_energy", [{"energy": 1.0}], 3.6e6),
    ("cost + 200 USD/tCO2e * carbon", [{"cost": 1.0, "carbon": 0.2}], 1.0),
    ("max(cost, 1 USD/kgCO2e * carbon)", [{"cost": 1.0}, {"carbon": 1.0}], 1.0),
)
"""Objectives, the same as sums of USD, kgCO2e and kWh, and their unit in base units."""


def site(seed: int, hold: str | None = None) -> Question:
    """Return the question of a seed; how nodes are held is drawn where it is not given."""
    dice = random.Random(seed)
    while True:
        made = Placement(dice, hold)
        plans = math.prod(len(made.picks(job)) for job in made.jobs)
        if plans * sum(1 for _ in itertools.islice(made.held(), MOST + 1)) <= MOST:
            return _asked(dice, made)


def tenure(seed: int) -> Question:
    """Return the question of a seed in which it is decided what is bought and what is rented."""
    return site(seed, "buy_or_rent")


def _asked(dice: random.Random, made: Placement) -> Question:
    objective, goals, unit = dice.choice(GOALS)
    texts: list[str] = []
    if dice.random() < 0.15 and len(made.regions) > 1 and not any("regions" in job for job in made.jobs):
        made.gone.add(made.regions[0])
        texts.append(f"region != '{made.regions[0]}'")
    if made.hold == "buy_or_rent" and dice.random() < 0.15:
        made.tenures = (dice.choice(made.tenures),)
        texts.append(f"tenure == {made.tenures[0]!r}")
    programs = [
        made.program(picks, held)
        for picks in itertools.product(*(made.picks(job) for job in made.jobs)) for held in made.held()
    ]  # fmt: skip
    limits: list[tuple[str, float]] = []
    if dice.random() < 0.4 and programs:
        name, unit_of = dice.choice((("carbon", "kgCO2e"), ("cost", "USD"), ("energy", "kWh")))
        values = [(item.least([{other: 1.0}], ()), item) for item in programs for other in ("cost", "carbon")]
        known = [item.total(name, x) for (value, x), item in values if math.isfinite(value)]
        if known:
            low, high = min(known), sorted(known)[len(known) // 2]
            limits.append((name, low + dice.choice((0.0, 0.3, 0.8, -0.1)) * (high - low)))
            if limits[0][1] > 0:
                texts.append(f"{name} <= {limits[0][1]!r} {unit_of}")
            else:
                limits = []
    best = min((item.least(goals, limits)[0] for item in programs), default=math.inf)

    def recheck(answer: PlanSolution) -> float | None:
        program, x = _read(made, answer)
        if program is None or not program.holds(x, limits):
            return None
        return unit * max(math.fsum(w * program.total(name, x) for name, w in goal.items()) for goal in goals)

    task = CoupledTask.of(formulation("placement").problem(made.given()), objective, texts)
    return Question(task, best * unit, recheck)


def _read(made: Placement, answer: PlanSolution) -> tuple[Program | None, Sum]:
    """Return an answer's picks as a program, and its other amounts; None where a pick is none of those there are."""
    amounts = answer.amounts
    picks: list[Pick] = []
    x: Sum = {}
    for job in made.jobs:
        (row,) = [item for item in amounts["jobs"] if item["job"] == job["name"]]
        works = [item for item in amounts.get("work", []) if item["job"] == job["name"]]
        keeps = amounts.get("kept", []) if made.hold in (None, "buy_or_rent") else works
        same_place = ("job", "accelerator", "nodes", "region", "tenure")
        kept = {item["period"] for item in keeps if all(item.get(name) == row.get(name) for name in same_place)}
        for pick in made.picks(job):
            same = (pick.accelerator, pick.nodes, pick.design, pick.region, pick.tenure) == (
                row["accelerator"], row["nodes"], row["split"].partition(" #")[0], row["region"], row.get("tenure"),
            )  # fmt: skip
            if same and pick.start == row.get("start") and (pick.periods is None or set(pick.periods) == kept):
                picks.append(pick)
                break
        else:
            return None, x
        if made.hold in (None, "buy_or_rent"):
            for item in works:
                x["work", job["name"], item["region"], item["period"]] = item["amount"]
    held = {(item["accelerator"], item["region"]): item["amount"] for item in amounts.get("held", [])}
    for item in amounts.get("serving", []):
        x["serving", item["accelerator"], item["region"], item.get("period", 0), item.get("tenure")] = item["amount"]
    if made.hold == "buy_or_rent":
        told = {(item["accelerator"], item["region"], item.get("period", 0)): item["amount"]
                for item in amounts["rented"]}  # fmt: skip
        paid = _rented(made, picks, x)
        if not all(near(told.get(at, 0.0), paid.get(at, 0.0)) for at in {*told, *paid}):
            return None, x
        return made.program(picks, held), x
    for item in amounts.get("rented", []):
        p = item.get("period", 0)
        for instant in made.instants(picks, p)[:-1]:
            x["rented", item["accelerator"], item["region"], p, instant] = item["amount"]
    for item in amounts.get("rented_last", []):  # until the job ends
        (mine,) = [pick for pick in picks if pick.job == item["job"]]
        p = max(p for p in range(made.periods) if made.within(mine, p) > 1e-9)
        for instant in made.instants(picks, p)[:-1]:
            if instant < made.within(mine, p):
                name = "rented", mine.accelerator, mine.region, p, instant
                x[name] = x.get(name, 0.0) + item["amount"]
    return made.program(picks, held), x
