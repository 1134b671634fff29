"""Expressions rewritten so that little of them varies along many axes: for runs over large spaces.

As written, ``chunks * (layers * (a + b) + layers * (batch * c / bandwidth))`` is computed operation by operation, each
over the axes of its arguments: most of them over all axes, once one argument has these. The form made here is

- of products and quotients: powers of factors, multiplied from the fewest values to the most;
- of sums of terms that are not negative: products, with a factor drawn out of several wherever that leaves fewer values
  to compute, added from the fewest values to the most; or one `InnerProduct`, a product of matrices, where terms divide
  into a factor over some axes and one over others;
- of a branch or an extreme that is decided for all values of the leaves: what it is there;
- of all other operations: as written, on arguments in this form.

**All that changes is rounding.** Sums and products are regrouped where an error of an argument is no larger in the
result (`Atom.steady`). What anything else is computed from (a difference, a comparison, a whole number, the condition
of a branch) stands as written, with all that is below it. Nothing is drawn out of a sum that might be infinite, or out
of a branch that might be undefined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from mlsysim_opt.algebra.bounds import all_bounds, bounds
from mlsysim_opt.algebra.expression import Choice, Expression, Operation, Symbol, topological
from mlsysim_opt.algebra.interval import Interval
from mlsysim_opt.algebra.least_work import Space, Writer
from mlsysim_opt.algebra.products import Factor, Product, a_sum, axes_of, common, finite, raised, times, without
from mlsysim_opt.errors import InputError

MOST_TERMS = 32
"""Terms of a sum; what would have more is not drawn together."""
MOST_DEPTH = 20
"""Sums in each other that are regrouped together."""


def regrouped(
    roots: Sequence[Expression],
    axes: Mapping[str, int],
    shape: Sequence[int],
    box: Mapping[str, Interval],
    undefined: Collection[str] = (),
) -> list[Expression]:
    """Return expressions with the same values, up to rounding, that are cheap over a space.

    Args:
        roots: the expressions.
        axes: of each leaf that varies, by name: along which axes of the space, as bits.
        shape: the lengths of the axes.
        box: intervals of the leaves, by name; choices range over all their values. Beyond, the result means nothing.
        undefined: the names of leaves that are undefined somewhere.
    """
    reader = _Reader(roots, axes, shape, box, undefined)
    return [
        root if reader.fragile(root) or root.sort != "number" else reader.writer.product(reader.product(root))
        for root in roots
    ]


class _Reader:
    """The form of every node below some roots."""

    def __init__(
        self,
        roots: Sequence[Expression],
        axes: Mapping[str, int],
        shape: Sequence[int],
        box: Mapping[str, Interval],
        undefined: Collection[str],
    ) -> None:
        self._space = Space(shape)
        self.writer = Writer(self._space)
        order = topological(roots)
        self._bounds = all_bounds(roots, box, order)
        self._axes: dict[int, int] = {}
        self._defined: set[int] = set()
        self._users: Counter[int] = Counter(id(root) for root in roots)
        for node in order:
            self._users.update({id(item) for item in node.args})
            name = node.name if isinstance(node, Symbol | Choice) else ""
            self._note(node, axes.get(name, 0), name not in undefined)
        self._fragile = self._what_stays(order)
        self._terms: dict[int, list[Product]] = {}
        self._products: dict[int, Product] = {}
        for node in order:
            self._terms[id(node)] = self._read(node)

    def _note(self, node: Expression, axes: int = 0, defined: bool = True) -> None:
        """Note along which axes a node varies, what its bounds are, and whether it is defined everywhere."""
        for item in node.args:
            if id(item) not in self._axes:
                self._note(item)
            axes |= self._axes[id(item)]
            defined = defined and id(item) in self._defined
        if isinstance(node, Operation):
            if id(node) not in self._bounds:
                self._bounds[id(node)] = node.atom.bounds(*self._intervals(node), param=node.param)
            defined = defined and node.atom.defined(self._intervals(node))
        elif id(node) not in self._bounds:
            self._bounds[id(node)] = bounds(node)
        self._axes[id(node)] = axes
        if defined:
            self._defined.add(id(node))

    def _intervals(self, node: Operation) -> list[Interval]:
        return [self._bounds[id(item)] for item in node.args]

    def _what_stays(self, order: Sequence[Expression]) -> set[int]:
        """Return what has to be computed as written: what an operation depends on that would make an error larger."""
        found: set[int] = set()
        for node in reversed(order):
            if isinstance(node, Operation):
                intervals = self._intervals(node)
                for index, item in enumerate(node.args):
                    if id(node) in found or not node.atom.steady(index, intervals):
                        found.add(id(item))
        return found

    def fragile(self, node: Expression) -> bool:
        """Return whether a node stands as written."""
        return id(node) in self._fragile

    def product(self, node: Expression) -> Product:
        """Return a node as one product: of a sum, the factors that all terms share, times what remains."""
        found = self._products.get(id(node))
        if found is None:
            found = self._terms[id(node)][0]
            if len(self._terms[id(node)]) > 1:
                shared = common(self._terms[id(node)])
                rest = a_sum([without(term, shared) for term in self._terms[id(node)]])
                rest.shared = self._users[id(node)] > 1
                if rest.depth > MOST_DEPTH:
                    self.writer.factor(rest)
                found = {**shared, rest: 1.0}
            self._products[id(node)] = found
        return found

    def _read(self, node: Expression) -> list[Product]:
        """Return the products that a node is the sum of; most nodes are one."""
        if not isinstance(node, Operation) or self.fragile(node) or node.sort != "number":
            return [self._alone(node)]
        picked = self._picked(node)
        if picked is not None:
            self._users[id(picked)] += self._users[id(node)] - 1
            return self._terms[id(picked)]
        found = self._read_product(node)
        if found is not None:
            return [found]
        if self._space.size(self._axes[id(node)]) <= self._space.few:
            return [self._alone(node)]
        addends = node.atom.addends(node.args)
        if addends is not None and all(self._bounds[id(item)].low >= 0.0 for item in addends):
            terms = [term for item in addends for term in self._spread(item)]
            return terms if len(terms) <= MOST_TERMS else [self.product(item) for item in addends]
        return [self._alone(node, self._on_new_arguments(node))]

    def _on_new_arguments(self, node: Operation) -> Expression:
        args = [item if self.fragile(item) else self.writer.product(self.product(item)) for item in node.args]
        try:
            return node.atom(*args, param=node.param)
        except InputError:  # a quotient by what is zero for all values of the leaves
            return node

    def _alone(self, node: Expression, written: Expression | None = None) -> Product:
        return {Factor(node if written is None else written, self._axes[id(node)], self._bounds[id(node)]): 1.0}

    def _picked(self, node: Operation) -> Expression | None:
        """Return which argument a node is, whatever the leaves are, if any. What else decides must be defined."""
        index = node.atom.picked(self._intervals(node))
        if index is None:
            return None
        others = node.args[:1] if node.atom.guards else node.args
        known = all(id(item) in self._defined for item in others if item is not node.args[index])
        return node.args[index] if known else None

    def _read_product(self, node: Operation) -> Product | None:
        factors = node.atom.factors(node.args)
        if factors is None or (node.atom.guards and not all(id(item) in self._defined for item in node.args)):
            return None
        for item, _ in factors:
            if id(item) not in self._terms:  # made by the atom
                self._note(item)
                self._terms[id(item)] = [self._alone(item)]
        found = times(*(raised(self.product(item), power) for item, power in factors))
        if found is None or self._users[id(node)] < 2:
            return found
        together = self._space.joining(item.axes for item in found)
        if together < 2 * max(self._space.size(axes_of(found)), self._space.few):
            return found
        return self._alone(node, self.writer.product(found))  # computed once

    def _spread(self, node: Expression) -> list[Product]:
        """Return the terms that a node adds to a sum. What is used elsewhere, too, stays one."""
        terms = self._terms[id(node)]
        if len(terms) > 1 and self._users[id(node)] > 1:
            return [self.product(node)]
        found: list[Product] = []
        for term in terms:
            inner = next((item for item, power in term.items() if item.open and power == 1), None)
            rest = {item: power for item, power in term.items() if item is not inner}
            parts = [term] if inner is None or not finite(rest) else [times(rest, item) for item in inner.terms]
            known = [part for part in parts if part is not None]
            found += known if len(known) == len(parts) else [term]
        return found
