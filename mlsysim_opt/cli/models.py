"""What commands that ask a model have in common: the model by name, its inputs, and bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlsysim_opt.cli import arguments
from mlsysim_opt.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from mlsysim_opt.optimize import Formulation
    from mlsysim_opt.physics.base import Model


def models() -> dict[str, type[Model]]:
    """Return the models that can be asked, by name."""
    from mlsysim_opt import physics

    return {name: getattr(physics, name) for name in physics.__all__ if name.endswith("Model")}


def model_named(name: str) -> type[Model]:
    """Return a model by the name of its class.

    Raises:
        UnknownNameError: there is none.
    """
    known = models()
    if name not in known:
        raise UnknownNameError("model", name, known, path="--using")
    return known[name]


def asked_named(name: str) -> type[Model] | Formulation:
    """Return a model by the name of its class, or a formulation by its name.

    Raises:
        UnknownNameError: there is neither.
    """
    known = models()
    if name in known:
        return known[name]
    from mlsysim_opt.optimize import formulation, formulation_names

    formulations = formulation_names()
    if name not in formulations:
        raise UnknownNameError("model or formulation", name, [*known, *formulations], path="--using")
    return formulation(name)


def inputs(named: Mapping[str, str | None], texts: Sequence[str]) -> dict[str, Any]:
    """Return the inputs of a model: those with an option of their own, and those of ``--set``.

    Raises:
        UsageError: one is given twice, or is not of the form name=value.
    """
    found = {name: arguments.scalar(text) for name, text in named.items() if text is not None}
    for name, text in arguments.pairs(texts, "--set", "tp_size=8").items():
        if name in found:
            raise UsageError(f"{name!r} is given twice", path="--set")
        found[name] = arguments.scalar(text)
    return found


def ends(text: str, option: str) -> tuple[str, str]:
    """Return the two ends of ``1 TB/s..8 TB/s``, or of ``1 TB/s,8 TB/s``.

    Raises:
        UsageError: it is not of that form.
    """
    low, between, high = text.partition(".." if ".." in text else ",")
    if not between or not low.strip() or not high.strip():
        raise UsageError(f"{text!r} is not LOW..HIGH", path=option, hint="for example '1 TB/s..8 TB/s'")
    return low.strip(), high.strip()
