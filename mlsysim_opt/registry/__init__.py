"""Typed, sourced facts: accelerators, nodes, fabrics, fleets, models, grids, prices, calibrations.

``Hardware``, ``Models``, ``Systems``, ``Infra``, ``Calibrations`` and ``Numerics`` look into the catalog that
comes with the package; ``default_catalog().with_folder(path)`` puts a user's own files on top. Importing this
package reads no file and imports neither pydantic nor pint.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlsysim_opt.registry.catalog import (
        Catalog,
        CatalogOverrideWarning,
        Collision,
        default_catalog,
        find,
        use_folder,
    )
    from mlsysim_opt.registry.namespaces import Namespace

    Hardware: Namespace
    Models: Namespace
    Systems: Namespace
    Infra: Namespace
    Calibrations: Namespace
    Numerics: Namespace

__all__ = [
    "Calibrations",
    "Catalog",
    "CatalogOverrideWarning",
    "Collision",
    "Hardware",
    "Infra",
    "Models",
    "Numerics",
    "Systems",
    "default_catalog",
    "find",
    "use_folder",
]

_CATALOG = {"Catalog", "CatalogOverrideWarning", "Collision", "default_catalog", "find", "use_folder"}


def __getattr__(name: str) -> Any:
    if name in _CATALOG:
        return getattr(importlib.import_module("mlsysim_opt.registry.catalog"), name)
    if name in __all__:
        from mlsysim_opt.registry.catalog import default_catalog
        from mlsysim_opt.registry.namespaces import make_namespace

        return globals().setdefault(name, make_namespace(name, default_catalog))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
