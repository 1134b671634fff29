"""Relations between the outputs of a model, as users write them: ``itl <= 30 ms``, ``memory fits``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlsysim_opt.algebra.expression import Expression, Operation, Symbol, short, symbols
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.errors import InputError, MlsysimError, UnknownNameError
from mlsysim_opt.physics.traced import Traced

ORDERED = "less_equal"


@dataclass(frozen=True)
class Relation:
    """An inequality that has to hold: `left` is at most `right`.

    Attributes:
        text: as it was written. left, right: its sides.
    """

    text: str
    left: Expression
    right: Expression

    @property
    def leaves(self) -> dict[str, Symbol]:
        """The numbers that it depends on, by name."""
        return {leaf.name: leaf for leaf in symbols(self.left, self.right)}


def read_relations(texts: Sequence[str], traced: Traced, *, equal: bool = False) -> list[tuple[str, Expression]]:
    """Return each inequality of some texts, with the text that it stands in.

    Args:
        texts: comparisons of outputs and of numbers by their path (also chains, and with ``and``), or names of
            constraints of the model.
        traced: the model's equations. equal: whether ``=`` may stand for the bound that is just kept.
    Raises:
        InputError: a text is no comparison, or one that has no border (``<``, ``!=``, ``or``).
        UnknownNameError: a name is no output, number or constraint; the hint offers the nearest.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InputError(f"expected a list of relations, got {texts!r}", path="relations", hint='["itl <= 30 ms"]')
    if not texts:
        raise InputError("there is no relation", path="relations", hint='for example "itl <= 30 ms"')
    names: dict[str, Expression] = {leaf.name: leaf for leaf in symbols(*traced.everything.values())}
    names.update({name: node for name, node in traced.expressions.items() if node.sort == "number"})
    found: list[tuple[str, Expression]] = []
    for text in texts:
        if isinstance(text, str) and text.strip() in traced.result.constraints:
            node = traced.result.constraints[text.strip()]
        else:
            node = _parsed(text, names, traced)
        found += [(text.strip(), part) for part in _parts(node)]
    for text, node in found:
        _check(text, node, equal)
    return found


def _parsed(text: str, names: Mapping[str, Expression], traced: Traced) -> Expression:
    if isinstance(text, str) and not any(sign in text for sign in "<>=") and any(c.isspace() for c in text.strip()):
        raise UnknownNameError("constraint", text.strip(), traced.constraint_names)
    try:
        node = parse(text, names, what="relation")
    except UnknownNameError as error:
        held = traced.result.__dict__.get(error.name)
        if isinstance(held, MlsysimError):
            raise held from None
        raise
    if node.sort != "truth":
        raise InputError(f"{text!r} is a {node.sort}, not a relation", path="relations", hint=f'"{text} <= ..."')
    return node


def _parts(node: Expression) -> list[Expression]:
    if isinstance(node, Operation) and node.atom.name == "and":
        return [part for item in node.args for part in _parts(item)]
    return [node]


def _check(text: str, node: Expression, equal: bool) -> None:
    """Refuse what has no border; what is no comparison but a plain truth is judged once it is known."""
    kind = node.atom.name if isinstance(node, Operation) else ""
    if kind == "less" and not all(item.integer for item in node.args):
        raise InputError(f"{text!r} excludes its own border", path="relations", hint="write <= or >=")
    if kind == "equal" and not equal:
        raise InputError(
            f"{text!r} is an equation; relations are inequalities", path="relations",
            hint="write <= or >=: on the frontier what binds is met exactly; solve_for solves one equation",
        )  # fmt: skip
    if kind == "not_equal":
        raise InputError(f"{text!r} excludes one value only", path="relations", hint="write <= or >=")


def as_relation(text: str, node: Expression) -> Relation:
    """Return an inequality as a relation.

    Raises:
        InputError: it is something else (``a or b``, a truth that depends on the unknowns).
    """
    if isinstance(node, Operation) and node.atom.name == ORDERED:
        return Relation(text, node.args[0], node.args[1])
    raise InputError(f"{text!r} is no inequality between two numbers: {short(node)}", path="relations")
