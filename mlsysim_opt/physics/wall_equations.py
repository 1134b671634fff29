"""Equations for people: the expressions that run, with large parts and other outputs under names of their own.

Nothing is typed here: every text is rendered from the traced model. Constant conditions (a model without tensor
parallelism) are worked out, an output of the model stands by its name in the equation of another, and what is large or
used more than once is set apart, so that a line can be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlsysim_opt.algebra import equations_latex, equations_text, substitute, topological
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Constant, Expression, Operation, Symbol, chain, constant
from mlsysim_opt.units import NONE

LONGEST = 26
"""Names, numbers and operations in one equation; what is larger is set apart under a name."""


def shown_parts(
    roots: Mapping[str, Expression],
    named: Mapping[str, Expression],
    fixed: Mapping[str, Any] | None = None,
    longest: int = LONGEST,
) -> dict[str, Expression]:
    """Return equations that read well: the roots, then the parts of them that got a name, in order of appearance.

    Args:
        roots: what to show, by name. named: other expressions that have a name already; they are not opened.
        fixed: values of leaves that are written in; what is then constant is worked out.
        longest: how many names, numbers and operations an equation may have.
    """
    known = fixed or {}
    tidy = {name: _folded(node, known) for name, node in roots.items()}
    opaque: dict[Expression, Expression] = {}
    for name, node in {**{name: _folded(node, known) for name, node in named.items()}, **tidy}.items():
        if isinstance(node, Operation) and node.sort == "number":
            opaque.setdefault(node, _leaf(name, node))
    start = {name: _opened(node, opaque) for name, node in tidy.items()}
    return _divided(start, longest)


def text(parts: Mapping[str, Expression], heads: int) -> str:
    """Return the equations as text, those after the first `heads` as definitions below them."""
    lines = [line.strip() for line in equations_text(parts).split("\n") if line != "where"]
    if len(lines) == heads:
        return "\n".join(lines)
    return "\n".join([*lines[:heads], "where", *(f"  {line}" for line in lines[heads:])])


def latex(parts: Mapping[str, Expression], symbols: Mapping[str, str] | None = None) -> str:
    """Return the equations as a LaTeX ``align*`` environment; `symbols` are LaTeX of leaves by name."""
    own = {name: f"x_{{{name[1:]}}}" for name in parts if _is_part(name)}
    return equations_latex(parts, {**(symbols or {}), **own})


def _is_part(name: str) -> bool:
    return name[0] == "x" and name[1:].isdigit()


def _leaf(name: str, node: Expression) -> Expression:
    return Symbol(name, node.dimension, integer=node.integer)


def _opened(node: Expression, opaque: Mapping[Expression, Expression]) -> Expression:
    """Return a node with the named nodes inside it, but not itself, as names."""
    return substitute(node, {old: new for old, new in opaque.items() if old is not node})


# constants ------------------------------------------------------------------------------------------------------------
def _folded(root: Expression, fixed: Mapping[str, Any]) -> Expression:
    """Return the same for these values of some leaves, with what is then constant worked out."""
    done: dict[int, Expression] = {}
    known: set[int] = set()
    for node in topological([root]):
        if isinstance(node, Operation):
            args = tuple(done[id(item)] for item in node.args)
            same = all(new is old for new, old in zip(args, node.args, strict=True))
            if all(id(item) in known for item in node.args):
                known.add(id(node))
            done[id(node)] = _reduced(node, args, same, known, fixed)
        else:
            if isinstance(node, Constant) or node.name in fixed:  # type: ignore[attr-defined]
                known.add(id(node))
            done[id(node)] = _value(node, fixed) if isinstance(node, Symbol) and node.name in fixed else node
    return done[id(root)]


def _value(node: Expression, fixed: Mapping[str, Any]) -> Expression:
    return constant(evaluate(node, fixed), node.dimension)


def _reduced(
    node: Operation, args: tuple[Expression, ...], same: bool, known: set[int], fixed: Mapping[str, Any]
) -> Expression:
    """Return an operation on its worked out arguments, or something shorter of the same value."""
    if node.sort == "number" and id(node) in known:
        return _value(node, fixed)
    name = node.atom.name
    if name == "where" and id(node.args[0]) in known:
        return args[1] if evaluate(node.args[0], fixed) else args[2]
    if name in ("minimum", "maximum") and _never_below(args[1], args[0]):
        return args[0] if name == "minimum" else args[1]
    if name in ("multiply", "divide") and _is(args[0], 0.0):
        return constant(0.0, node.dimension)
    if (name == "multiply" and _is(args[1], 0.0)) or (name == "add" and _is(args[0], 0.0)):
        return constant(0.0, node.dimension) if name == "multiply" else args[1]
    if name in ("add", "subtract") and _is(args[1], 0.0):
        return args[0]
    if name in ("multiply", "divide") and _is_one(args[1]):
        return args[0]
    if name == "multiply" and _is_one(args[0]):
        return args[1]
    return node if same else node.atom(*args, param=node.param)


def _never_below(node: Expression, bound: Expression) -> bool:
    return isinstance(node, Symbol) and isinstance(bound, Constant) and node.low >= bound.value


def _is(node: Expression, value: float) -> bool:
    return isinstance(node, Constant) and node.value == value


def _is_one(node: Expression) -> bool:
    return _is(node, 1.0) and node.dimension == NONE


# parts ----------------------------------------------------------------------------------------------------------------
def _terms(node: Expression) -> tuple[Expression, ...]:
    """Return the arguments as they are written: the terms of a sum, the factors of a product."""
    if not isinstance(node, Operation):
        return ()
    return chain(node) if node.atom.name in ("add", "multiply", "maximum", "minimum") else node.args


def _divided(roots: Mapping[str, Expression], longest: int) -> dict[str, Expression]:
    apart = _apart(roots.values(), longest)
    leaves = {node.name for node in topological(list(roots.values())) if isinstance(node, Symbol)}
    fresh = (name for name in (f"x{number}" for number in itertools.count(1)) if name not in {*leaves, *roots})
    names: dict[Expression, Expression] = {}
    found = list(roots.values())
    result = list(roots)
    own = {id(node) for node in found}
    at = 0
    while at < len(found):
        for item in _met(found[at], apart):
            if item not in names and id(item) not in own:
                names[item] = _leaf(next(fresh), item)
                found.append(item)
                result.append(str(names[item].name))  # type: ignore[attr-defined]
        at += 1
    return {name: _opened(node, names) for name, node in zip(result, found, strict=True)}


def _apart(roots: Iterable[Expression], longest: int) -> set[int]:
    """Return what gets a name: what is used more than once, and the largest parts of what would be too long."""
    heads = list(roots)
    order = topological(heads)
    uses: dict[int, int] = {}
    for node in order:
        for item in node.args:
            uses[id(item)] = uses.get(id(item), 0) + 1
    apart: set[int] = set()
    size: dict[int, int] = {}
    for node in order:
        if node.sort == "number" and isinstance(node, Operation):
            _divide(node, longest, size, apart)
        size[id(node)] = 1 + sum(1 if id(item) in apart else size[id(item)] for item in _terms(node))
        if uses.get(id(node), 0) > 1 and size[id(node)] > 3 and node.sort == "number":
            apart.add(id(node))
    return apart


def _divide(node: Expression, longest: int, size: Mapping[int, int], apart: set[int]) -> None:
    terms: Sequence[Expression] = [item for item in _terms(node) if item.args and item.sort == "number"]
    while True:
        whole = 1 + sum(1 if id(item) in apart else size[id(item)] for item in _terms(node))
        open_terms = [item for item in terms if id(item) not in apart and size[id(item)] > 4]
        if whole <= longest or not open_terms:
            return
        apart.add(id(max(open_terms, key=lambda item: size[id(item)])))


def _met(root: Expression, apart: set[int]) -> list[Expression]:
    """Return the named parts that stand in the text of a node, in order of appearance."""
    found: list[Expression] = []
    seen: set[int] = set()
    stack: list[Expression] = list(reversed(root.args))
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if id(node) in apart:
            found.append(node)
        else:
            stack.extend(reversed(node.args))
    return found
