"""Expressions as text and as LaTeX.

The text form is the grammar of `parse`: ``parse(render(e), names) is e``. Both forms are written from templates that
the atoms give, piece by piece, so that neither depth nor length costs more than the text itself.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from mlsysim_opt.algebra.atoms.base import P_CALL, P_OR, P_POWER, P_PRODUCT, P_UNARY
from mlsysim_opt.algebra.atoms.wording import latex_text, number_text, unit_text
from mlsysim_opt.algebra.expression import ATOMS, Choice, Constant, Expression, Operation, Symbol, chain, topological
from mlsysim_opt.errors import ScaleError
from mlsysim_opt.units import DIMENSIONLESS, is_unit

LONGEST = 4_000_000
"""A text longer than this is refused: a DAG that shares much would fill the memory as a tree."""

KEYWORDS = frozenset({"and", "or", "not", "in", "none"})
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
_MARK = re.compile("\0([0-9]+)\0")

Piece = str | tuple[Expression, int]
Writer = Callable[[Expression], tuple[int, list[Piece]]]
"""For a node: how tightly its form binds, and its pieces: text, or an argument and how tightly that must bind."""


def name_text(name: str) -> str:
    """Return a name as it is written in the text form: in backquotes where it would not read as a name."""
    if _PLAIN_NAME.fullmatch(name) and name not in KEYWORDS and name not in functions():
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def functions() -> dict[str, str]:
    """Return the names that are written as functions, with the atom that each is."""
    found = {atom.function: name for name, atom in ATOMS.items() if atom.function}
    return {**found, "sqrt": "power", "lookup": "lookup", "argmax_label": "argmax_label"}


def render(node: Expression, *, names: Iterable[str] = (), limit: int | None = None, brief: bool = False) -> str:
    """Return the text form of an expression, with no more parentheses than needed.

    Args:
        node: the expression.
        names: what else the text will be read with, besides the leaves of the expression: where one of them is the
            name of a unit too, units are written in brackets.
        limit: cut the text to this many characters, ending in ``...``.
        brief: leave out the numbers of look-ups that have a title; such a text is for people and does not parse.
    Raises:
        ScaleError: the text would be longer than `LONGEST` (and no limit is given).
    """
    bracketed = True if any(is_unit(name) for name in names) else None
    return _write(node, _text_writer(node, brief, bracketed), "()", limit)


def latex(node: Expression, names: Mapping[str, str] | None = None) -> str:
    r"""Return the LaTeX form, for math mode.

    Args:
        node: the expression.
        names: LaTeX of symbols and choices by name; others are set as ``\mathrm{name}``.
    """
    return _write(node, _latex_writer(names or {}), (r"\left(", r"\right)"), None)


def equation(name: str, node: Expression) -> str:
    """Return ``name = ...`` with the sub-expressions that occur more than once listed below it."""
    return equations_text({name: node})


def equations_text(roots: Mapping[str, Expression]) -> str:
    """Return equations as text; each sub-expression used more than once has a name of its own and stands once.

    Look-ups with a title are shown by it; the text is for people.
    """
    names, definitions = _definitions(roots, "x{}")
    bracketed = _unit_like_leaves(roots.values())
    lines: list[str] = []
    for number, (name, node, own) in enumerate(definitions):
        writer = _named(_text_writer(node, True, bracketed), names, own)
        if number == len(roots):
            lines.append("where")
        margin = "" if number < len(roots) else "  "
        lines.append(f"{margin}{name} = {_write(node, writer, '()', None)}")
    return "\n".join(lines)


def equations_latex(roots: Mapping[str, Expression], names: Mapping[str, str] | None = None) -> str:
    """Return the same as a LaTeX ``align*`` environment.

    Args:
        roots: the expressions by name.
        names: LaTeX of symbols, choices and roots by name.
    """
    given = names or {}
    shared, definitions = _definitions(roots, "x_{{{}}}")
    labels = {key: _latex_name(name, given) if name in roots else name for key, name in shared.items()}
    lines = []
    for number, (name, node, own) in enumerate(definitions):
        left = _latex_name(name, given) if number < len(roots) else name
        right = _write(node, _named(_latex_writer(given), labels, own), (r"\left(", r"\right)"), None)
        lines.append(f"  {left} &= {right}")
    return "\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}"


# writing ----------------------------------------------------------------------------------------------------
def _write(root: Expression, writer: Writer, parentheses: Sequence[str], limit: int | None) -> str:
    written: list[str] = []
    length = 0
    stack: list[Piece] = [(root, P_OR)]
    while stack:
        piece = stack.pop()
        if isinstance(piece, str):
            written.append(piece)
            length += len(piece)
            if limit is not None and length > limit:
                return "".join(written)[: max(0, limit - 4)] + " ..."
            if length > LONGEST:
                raise ScaleError(
                    "the text of this expression is too long",
                    hint="it shares many sub-expressions: equations_text shows each of them once",
                )
            continue
        node, needed = piece
        binds, pieces = writer(node)
        if binds < needed:
            stack.append(parentheses[1])
        stack.extend(reversed(pieces))
        if binds < needed:
            stack.append(parentheses[0])
    return "".join(written)


def _pieces(template: str, args: Sequence[Expression], precedence: Callable[[int], int]) -> list[Piece]:
    parts: list[Piece] = []
    for index, part in enumerate(_MARK.split(template)):
        if index % 2:
            parts.append((args[int(part)], precedence(int(part))))
        elif part:
            parts.append(part)
    return parts


def _marks(count: int) -> list[str]:
    return [f"\0{index}\0" for index in range(count)]


def _unfolded(node: Operation) -> tuple[Expression, ...]:
    return chain(node) if node.atom.folds else node.args


def _text_writer(root: Expression, brief: bool, bracketed: bool | None = None) -> Writer:
    decided = [] if bracketed is None else [bracketed]

    def brackets() -> bool:
        if not decided:
            decided.append(_unit_like_leaves([root]))
        return decided[0]

    def write(node: Expression) -> tuple[int, list[Piece]]:
        if isinstance(node, Operation):
            args = _unfolded(node)
            form = node.atom.brief if brief else node.atom.text
            template = form(_marks(len(args)), node.param)
            return node.atom.precedence, _pieces(template, args, node.atom.argument_precedence)
        if isinstance(node, Constant):
            plain = node.unit == DIMENSIONLESS
            text = number_text(node.magnitude) + ("" if plain else f" {unit_text(node.unit, brackets)}")
            return (P_UNARY if node.magnitude < 0 else P_CALL if plain else P_POWER), [text]
        assert isinstance(node, Symbol | Choice)
        return P_CALL, [name_text(node.name)]

    return write


def _unit_like_leaves(roots: Iterable[Expression]) -> bool:
    """Whether a leaf bears the name of a unit, so that ``5 GB/s`` could be read as a division by it."""
    leaves = (node for node in topological(list(roots)) if isinstance(node, Symbol | Choice))
    return any(is_unit(node.name) for node in leaves)


def _latex_writer(names: Mapping[str, str]) -> Writer:
    def write(node: Expression) -> tuple[int, list[Piece]]:
        if isinstance(node, Operation):
            args, atom = _unfolded(node), node.atom
            binds = atom.precedence if atom.latex_precedence is None else atom.latex_precedence
            return binds, _pieces(atom.latex(_marks(len(args)), node.param), args, atom.latex_argument_precedence)
        if isinstance(node, Constant):
            return _latex_constant(node)
        assert isinstance(node, Symbol | Choice)
        return P_CALL, [_latex_name(node.name, names)]

    return write


def _latex_name(name: str, names: Mapping[str, str]) -> str:
    return names.get(name) or rf"\mathrm{{{latex_text(name)}}}"


def _latex_constant(node: Constant) -> tuple[int, list[Piece]]:
    mantissa, _, exponent = number_text(node.magnitude).partition("e")
    text, binds = mantissa, P_CALL
    if exponent:
        power = f"10^{{{int(exponent)}}}"
        text = power if mantissa == "1" else rf"{mantissa} \times {power}"
        binds = P_POWER if mantissa == "1" else P_PRODUCT
    if node.unit != DIMENSIONLESS:
        unit = re.sub(r"\^\(?(-?[0-9/]+)\)?", r"^{\1}", node.unit.text).replace("*", r" \cdot ")
        text, binds = rf"{text}\,\mathrm{{{unit}}}", min(binds, P_POWER)
    return (min(binds, P_UNARY) if node.magnitude < 0 else binds), [text]


# equations with shared parts --------------------------------------------------------------------------------
def _named(writer: Writer, names: Mapping[int, str], own: int) -> Writer:
    def write(node: Expression) -> tuple[int, list[Piece]]:
        name = None if id(node) == own else names.get(id(node))
        return writer(node) if name is None else (P_CALL, [name])

    return write


def _shared(roots: Mapping[str, Expression]) -> set[int]:
    """Return the sub-expressions that are used more than once and are worth a name."""
    order = topological(list(roots.values()))
    uses: dict[int, int] = {}
    for node in order:
        for item in node.args:
            uses[id(item)] = uses.get(id(item), 0) + 1
    shared: set[int] = set()
    size: dict[int, int] = {id(node): 0 for node in roots.values()}
    for node in order:
        if id(node) in size:
            continue
        size[id(node)] = 1 + sum(size[id(item)] for item in node.args) if node.args else 0
        if size[id(node)] > 1 and uses.get(id(node), 0) > 1:
            shared.add(id(node))
            size[id(node)] = 0
    return shared


def _definitions(
    roots: Mapping[str, Expression], form: str
) -> tuple[dict[int, str], list[tuple[str, Expression, int]]]:
    """Return names of nodes, and name and node of each definition: first the roots, then in order of appearance.

    The third item is the identity of the node where this is its definition, 0 where it is another name of it.
    """
    names: dict[int, str] = {}
    for name, node in roots.items():
        if node.args:
            names.setdefault(id(node), name)
    shared = _shared(roots) | set(names)
    leaves = (node for node in topological(list(roots.values())) if isinstance(node, Symbol | Choice))
    taken = {node.name for node in leaves} | set(roots)
    fresh = (name for name in map(form.format, itertools.count(1)) if name not in taken)
    found = [(name, node, id(node) if names.get(id(node)) == name else 0) for name, node in roots.items()]
    at = 0
    while at < len(found):
        _, node, own = found[at]
        at += 1
        for item in _used(node, shared, own):
            if id(item) not in names:
                names[id(item)] = next(fresh)
                found.append((names[id(item)], item, id(item)))
    return names, found


def _used(root: Expression, names: set[int], own: int) -> list[Expression]:
    """Return the named nodes that stand in the text of `root`, in order of appearance."""
    found: list[Expression] = []
    met: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in met:
            continue
        met.add(id(node))
        if id(node) in names and id(node) != own:
            found.append(node)
        else:
            stack.extend(reversed(node.args))
    return found
