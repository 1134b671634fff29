"""Sums and relations of a coupled problem as text and as LaTeX: what is compiled, written as it was declared."""

from __future__ import annotations

from collections.abc import Callable

from mlsysim_opt.algebra.expression import Constant, Expression
from mlsysim_opt.algebra.fold import folded
from mlsysim_opt.algebra.render import latex, render
from mlsysim_opt.optimize.coupled.problem import Coupled, Largest
from mlsysim_opt.optimize.coupled.totals import Term, Total

LATEX_RELATIONS = {"<=": r"\le", ">=": r"\ge", "==": "="}


def total_text(total: Total | Largest, *, as_latex: bool = False) -> str:
    """Return a sum, or the largest of sums, as it is written."""
    if isinstance(total, Largest):
        over = ", ".join(axis.name for axis in total.each)
        inner = total_text(total.total, as_latex=as_latex)
        return rf"\max_{{\text{{{over}}}}} \left({inner}\right)" if as_latex else f"largest over {over} of {inner}"
    parts = [_term(term, as_latex) for term in total.terms]
    if not (isinstance(total.offset, Constant) and total.offset.value == 0):
        parts.append(latex(total.offset) if as_latex else _brief(total.offset))
    return " + ".join(parts) or "0"


def relation_text(item: Coupled, *, as_latex: bool = False) -> str:
    """Return a relation: its sum against its limit, and where it holds."""
    write: Callable[[Expression], str] = latex if as_latex else _brief
    total = item.coupling.total
    left = " + ".join(_term(term, as_latex) for term in total.terms) or "0"
    right = write(folded(-total.offset, {}))
    relation = LATEX_RELATIONS[item.coupling.relation] if as_latex else item.coupling.relation
    where = ""
    if item.each:
        axes = ", ".join(axis.name for axis in item.each)
        where = rf" \quad \forall\, \text{{{axes}}}" if as_latex else f"   for each {axes}"
    if item.when is not None:
        where += rf" : {write(item.when)}" if as_latex else f" where {write(item.when)}"
    return f"{left} {relation} {right}{where}"


def _term(term: Term, as_latex: bool) -> str:
    family, coefficient = term.family, term.coefficient
    over = ", ".join(choice.name for choice in family.over)
    moved = [f"{axis.name} at {place.choice.name}{f' + {place.shift}' if place.shift else ''}"
             for axis, place in term.at.items()]  # fmt: skip
    one = isinstance(coefficient, Constant) and coefficient.value == 1
    name = family.name.replace("_", r"\_") if as_latex else family.name
    note = f" ({'; '.join(moved)})" if moved else ""
    if as_latex:
        factor = "" if one else rf" \cdot \left({latex(coefficient)}\right)"
        amount = rf"\text{{{name}}}_{{\text{{{over}}}}}{factor}"
        return (rf"\sum_{{\text{{{over}}}}} {amount}" if over else amount) + (rf"\,\text{{{note}}}" if note else "")
    factor = "" if one else f" * ({_brief(coefficient)})"
    amount = f"{name}[{over}]{factor}" if over else f"{name}{factor}"
    return f"sum({amount}){note}"


def _brief(node: Expression) -> str:
    return render(node, brief=True)
