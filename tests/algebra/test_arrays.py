"""An array program gives at every place of a space what the exact evaluation gives there."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mlsysim_opt.algebra.arrays import ArrayProgram
from mlsysim_opt.algebra.atoms import ceil, ceildiv, maximum, sqrt, where
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.expression import Choice, Expression, Symbol
from mlsysim_opt.errors import InputError
from mlsysim_opt.units import NONE

X, Y, Z = (Symbol(name, NONE) for name in "xyz")
COUNT = Choice("count", (1, 2, 4, 8))
KIND = Choice("kind", ("ring", "tree"))
ROOTS: list[Expression] = [
    X + 2 * Y,
    sqrt(X**2 + Y**2) / Z,  # Z is 0 at one place: undefined there
    where(X > Y, ceil(X / COUNT), Z),
    where(KIND.is_value("ring"), X * COUNT, maximum(Y, Z)),
    Y * 3,  # varies along one axis only
    Z + 1,
]


@pytest.mark.parametrize("tile", [1, 7, 1 << 17])
@pytest.mark.parametrize("whole", [0, 10, 1 << 17])
def test_every_place_equals_the_exact_evaluation(monkeypatch: Any, tile: int, whole: int) -> None:
    monkeypatch.setattr("mlsysim_opt.algebra.tiles.TILE", tile)
    monkeypatch.setattr("mlsysim_opt.algebra.arrays.WHOLE", whole)
    monkeypatch.setattr("mlsysim_opt.algebra.arrays.LITTLE", whole)
    axes: dict[str, list[Any]] = {"kind": ["ring", "tree"], "z": [0.0, 2.5], "count": [8, 1, 4], "y": [1.0, 2.0, 30.0]}
    shape = [len(values) for values in axes.values()]
    given: dict[str, Any] = {"x": 5.0}
    for at, (name, values) in enumerate(axes.items()):
        choice = {"kind": KIND, "count": COUNT}.get(name)
        column = values if choice is None else [choice.position[value] for value in values]
        given[name] = np.asarray(column).reshape([-1 if here == at else 1 for here in range(len(axes))])
    found = ArrayProgram(ROOTS).run(given, shape)
    for index in itertools.product(*map(range, shape)):
        point = {"x": 5.0, **{name: values[at] for (name, values), at in zip(axes.items(), index, strict=True)}}
        for root, array in zip(ROOTS, found, strict=True):
            expected = float(evaluate(root, point))
            assert np.broadcast_to(array, shape)[index] == pytest.approx(expected, rel=1e-15, nan_ok=True)
    assert np.shape(found[4]) == (1, 1, 1, 3)  # not spread over axes it does not depend on


def test_a_leaf_without_a_value_is_named() -> None:
    with pytest.raises(InputError, match="no value for 'y'"):
        ArrayProgram([X + Y]).run({"x": 1.0}, [])


def test_an_array_of_one_element_is_a_number() -> None:
    (found,) = ArrayProgram([ceildiv(COUNT, 2) + X]).run({"count": np.array([[2]]), "x": np.array([[1.0]])}, [1, 1])
    assert found == 3  # the third value of the choice is 4
