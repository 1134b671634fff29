"""A scenario: a workload on a system with promises, all of which are checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlsysim_opt.errors import InputError, MlsysimError, SLAViolation, UnknownNameError
from mlsysim_opt.registry import default_catalog
from mlsysim_opt.registry.namespaces import UnknownAttributeError
from mlsysim_opt.registry.scenario import ScenarioEntry
from mlsysim_opt.scenarios.evaluation import Amount, Check, Level, Status, SystemEvaluation
from mlsysim_opt.scenarios.facts import Facts, Found, gather
from mlsysim_opt.scenarios.reading import all_of, read_fields, split_faults

AT_LEAST = frozenset({"throughput", "token_throughput", "mfu", "accuracy"})
MACRO = ("power", "cost", "carbon", "water", "accuracy")
TIMED = frozenset(
    {"latency", "ttft", "itl", "request_latency", "p50_latency", "p95_latency", "p99_latency", "p999_latency",
     "step_time", "training_time", "throughput", "token_throughput"}
)  # fmt: skip
"""Promises that the safety margin is for."""
USUAL_MARGIN = 1.3
"""A promise about time that is kept by less than this gets a warning: estimates of an idle system are optimistic."""


class Scenario:
    """A workload on a system, and what was promised of it.

    Args:
        name: for people. workload: a transformer or another network. system: an accelerator or a fleet.
        sla: limits by name, with units (``{"ttft": "500 ms", "itl": "50 ms"}``); see `Limits` for all of them.
        sla_latency, power_budget, target_accuracy, budget, carbon_cap: the limits of these names, by their usual ones.
        safety_margin: estimates of times and rates must keep their limits when they are worse by this factor.
        fields: everything else a scenario can say: `batch_size`, `precision`, `seq_len`, `output_len`, `split`,
            `tokens`, `arrival_rate` ...; see `ScenarioEntry`.
    Raises:
        InputError: something is unknown, missing, of the wrong unit or out of range; all of it is named.
    """

    def __init__(
        self,
        name: str,
        workload: Any,
        system: Any,
        *,
        sla: Mapping[str, Any] | None = None,
        sla_latency: Any = None,
        power_budget: Any = None,
        target_accuracy: Any = None,
        budget: Any = None,
        carbon_cap: Any = None,
        **fields: Any,
    ) -> None:
        limits = dict(fields.pop("limits", None) or {})
        named = {"latency": sla_latency, "power": power_budget, "accuracy": target_accuracy, "cost": budget,
                 "carbon": carbon_cap}  # fmt: skip
        for given in (sla or {}, {key: value for key, value in named.items() if value is not None}):
            for key, value in given.items():
                if key in limits:
                    raise InputError("is given twice", path=f"limits.{key}")
                limits[key] = value
        if limits:
            fields["limits"] = limits
        self.spec = read_fields({"name": name, "workload": workload, "system": system, **fields})

    @classmethod
    def of(cls, given: ScenarioEntry | str) -> Scenario:
        """Return the scenario of a catalog entry, or of its name.

        Raises:
            UnknownNameError: the catalog has none of this name. InputError: its split does not fit its task.
        """
        entry: Any = default_catalog().find("scenario", given) if isinstance(given, str) else given
        if not isinstance(entry, ScenarioEntry):
            raise InputError(f"expected a scenario or its name, got {given!r}", path="scenario")
        faults = split_faults(entry)
        if faults:
            raise faults[0] if len(faults) == 1 else all_of(entry.name, faults)
        made = cls.__new__(cls)
        made.spec = entry
        return made

    @property
    def name(self) -> str:
        """Its name in the catalog, or for people."""
        return self.spec.name

    def __repr__(self) -> str:
        return f"<Scenario {self.spec.name}: {self.spec.workload.name} on {self.spec.system.name}>"

    def evaluate(self, **changes: Any) -> SystemEvaluation:
        """Return the scorecard; nothing is raised for a promise that is not kept.

        Args:
            changes: fields to change first, such as ``batch_size=8``.
        Raises:
            InputError: a change is not acceptable, or a number that everything needs is not in the catalog.
        """
        spec = self.spec if not changes else _changed(self.spec, changes)
        facts = gather(spec)
        return SystemEvaluation(
            scenario=spec,
            feasibility=_feasibility(facts),
            performance=_performance(spec, facts),
            macro=_macro(spec, facts),
            design=facts.design,
            assumptions=facts.assumptions,
        )

    def validate(self, **changes: Any) -> SystemEvaluation:
        """Return the scorecard if all that was promised is checked and kept.

        Raises:
            OOMError: memory does not suffice. SLAViolation: a promise is not kept. InfeasibleError: it cannot run.
            InputError: a promise cannot be judged; says what is missing.
        """
        seen = self.evaluate(**changes)
        for wanted in (Status.FAIL, Status.SKIPPED):
            for check in seen.checks:
                if check.status == wanted and check.error is not None:
                    raise check.error
        return seen


def _changed(spec: ScenarioEntry, changes: Mapping[str, Any]) -> ScenarioEntry:
    kept = {name: item for name, item in spec.__dict__.items() if name in type(spec).model_fields and item is not None}
    return read_fields({**kept, **changes})


# the levels -----------------------------------------------------------------------------------------------------------
def _feasibility(facts: Facts) -> Level:
    checks = tuple(
        Check(name, Status.PASS, "holds") if error is None else Check(name, Status.FAIL, error.message, error=error)
        for name, error in facts.rules.items()
    )
    return Level("feasibility", checks, {**facts.memory})


def _performance(spec: ScenarioEntry, facts: Facts) -> Level:
    names = [name for name in _limits(spec) if name not in MACRO]
    checks = [_judge(spec, name, facts.performance, facts) for name in names]
    for name, holds in facts.promises.items():
        error = None if holds else SLAViolation(name, "no", "yes")
        checks.append(
            Check(name, Status.PASS if holds else Status.FAIL, "holds" if holds else _why(facts), error=error)
        )
    metrics = {**_amounts(facts.performance), **facts.labels} if facts.runs else {}
    return Level("performance", tuple(checks), metrics, "no limit on time or throughput is given")


def _why(facts: Facts) -> str:
    found = [f"{name} = {facts.performance[name]}" for name in ("queue_utilization", "data_utilization")
             if name in facts.performance]  # fmt: skip
    return "does not hold: " + ", ".join(found)


def _macro(spec: ScenarioEntry, facts: Facts) -> Level:
    names = [name for name in _limits(spec) if name in MACRO]
    checks = tuple(_judge(spec, name, facts.macro, facts) for name in names)
    metrics = {**_amounts(facts.macro), **facts.notes} if facts.runs else {}
    return Level("macro", checks, metrics, "no limit on power, cost, carbon, water or accuracy is given")


def _limits(spec: ScenarioEntry) -> Mapping[str, Any]:
    return spec.limits.given() if spec.limits is not None else {}


def _amounts(found: Mapping[str, Found]) -> dict[str, Amount | str]:
    return {name: item for name, item in found.items() if isinstance(item, Amount)}


def _judge(spec: ScenarioEntry, name: str, found: Mapping[str, Found], facts: Facts) -> Check:
    """Return whether a promise is kept, or why that stays open."""
    datum = _limits(spec)[name]
    limit = Amount(datum.si, datum.dimension)
    seen = found.get(name)
    if not facts.runs:
        reason = "not looked at: the workload cannot run"
        return Check(name, Status.SKIPPED, reason, limit=limit, error=InputError(reason, path=f"limits.{name}"))
    if not isinstance(seen, Amount):
        return _open(spec, name, seen, limit)
    margin = float(spec.safety_margin or 1.0) if name in TIMED else 1.0
    room = seen.si / limit.si if name in AT_LEAST else limit.si / max(seen.si, 1e-300)
    promised = f"{'at least' if name in AT_LEAST else 'at most'} {limit}"
    against = promised + (f" with a margin of {margin:g}" if margin > 1 else "")
    if room < margin * (1 - 1e-9):
        error = SLAViolation(name, str(seen), against, path=f"limits.{name}")
        return Check(name, Status.FAIL, f"{seen}, promised {against}", seen, limit, error=error)
    if name in TIMED and spec.safety_margin is None and room < USUAL_MARGIN:
        reason = f"{seen}, promised {promised}: kept, but by a margin of only {room:.3g} (1.3 to 2 is usual)"
        return Check(name, Status.WARNING, reason, seen, limit)
    return Check(name, Status.PASS, f"{seen}, promised {against}", seen, limit)


def _open(spec: ScenarioEntry, name: str, seen: MlsysimError | None, limit: Amount) -> Check:
    error = seen
    if error is None:
        error = InputError(
            f"{name} is not a number of {spec.job}" + ("" if not name.startswith("p") else " without an arrival_rate"),
            path=f"limits.{name}",
        )
    at = f"{error.path}: " if error.path else ""
    return Check(name, Status.SKIPPED, f"cannot be judged: {at}{error.message}", limit=limit, error=error)


# the catalog ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Scenarios:
    """The scenarios of the catalog: ``Scenarios.Doorbell``, ``Scenarios["doorbell"]``, ``Scenarios.all()``."""

    def names(self) -> list[str]:
        """Return the names of all scenarios."""
        return list(default_catalog().names("scenario"))

    def all(self) -> tuple[Scenario, ...]:
        """Return all scenarios."""
        return tuple(Scenario.of(name) for name in self.names())

    def __getitem__(self, name: str) -> Scenario:
        return Scenario.of(name)

    def __getattr__(self, name: str) -> Scenario:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return Scenario.of(name)
        except UnknownNameError:
            raise UnknownAttributeError("scenario", name, self.names()) from None

    def __iter__(self) -> Iterator[Scenario]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.names())

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.names()})

    def __repr__(self) -> str:
        return f"<Scenarios: {', '.join(self.names())}>"


Scenarios = _Scenarios()

__all__ = ["Scenario", "Scenarios"]
