"""A solution as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlsysim_opt.optimize.solution import Solution


def solution_text(solution: Solution) -> str:
    """Return the answer, its proof, what binds and the runners-up, a line each."""
    gap = "unknown" if solution.gap is None else f"{solution.gap:.2g}"
    lines = [
        f"{solution.status}: {solution.objective_name} = {solution.objective} (gap {gap})",
        "design: " + ", ".join(f"{name}={value}" for name, value in solution.design.items()),
        f"proof: {solution.certificate.proof} [{solution.certificate.solver}]",
    ]
    for item in solution.constraints:
        state = "binds" if item.binding else "holds"
        slack = f", slack {item.slack}" if item.slack else ""
        gain = f"; without it {item.gain.objective} ({-item.gain.worse_by:.2%} better)" if item.gain else ""
        relax = f"; first gain at +{item.relax_by}" if item.relax_by else ""
        lines.append(f"{state}: {item.name}{slack}{gain}{relax}")
    for runner in solution.runner_ups[:5]:
        design = ", ".join(f"{name}={value}" for name, value in runner.design.items())
        lines.append(f"next: {runner.objective} (+{runner.worse_by:.3%}) {design}")
    if solution.tie_count > 1:
        lines.append(f"{solution.tie_count} designs tie")
    lines += [str(solution.robustness)] if solution.robustness else []
    return "\n".join(lines)
