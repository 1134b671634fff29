"""Attribute access to the catalog: ``Hardware.Cloud.H100``, ``Hardware["h100"]``, ``Systems.Nodes.all()``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlsysim_opt.errors import UnknownNameError
from mlsysim_opt.registry.load import fold

if TYPE_CHECKING:
    from mlsysim_opt.registry.catalog import Catalog
    from mlsysim_opt.registry.entry import Entry


class UnknownAttributeError(UnknownNameError, AttributeError):  # type: ignore[misc]
    """A name looked up as an attribute is not in the catalog; `hasattr` and `getattr` with a default work."""


class Namespace:
    """A part of the catalog seen as attributes and as a collection of entries.

    Names are found whatever their case, and with ``-``, ``_`` or ``.`` between their words.
    """

    def __init__(
        self,
        title: str,
        catalog: Callable[[], Catalog],
        kinds: tuple[str, ...],
        *,
        group: str | None = None,
        children: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._title = title
        self._catalog = catalog
        self._kinds = kinds
        self._group = group
        self._children = children

    def names(self) -> list[str]:
        """Return the names of all entries below this namespace."""
        catalog = self._catalog()
        return [name for kind in self._kinds for name in catalog.names(kind, self._group)]

    def all(self) -> tuple[Entry, ...]:
        """Return all entries below this namespace."""
        catalog = self._catalog()
        return tuple(entry for kind in self._kinds for entry in catalog.all(kind, self._group))

    def _child_names(self) -> list[str]:
        if self._children is not None:
            return list(self._children)
        if self._group is not None:
            return []
        return list(dict.fromkeys(name for kind in self._kinds for name in self._catalog().groups(kind)))

    def _child(self, name: str) -> Namespace | None:
        for known in self._child_names():
            if fold(known) == fold(name):
                title = f"{self._title}.{known}"
                if self._children is not None:
                    return Namespace(title, self._catalog, self._children[known])
                return Namespace(title, self._catalog, self._kinds, group=known)
        return None

    def _entry(self, name: str) -> Entry | None:
        catalog = self._catalog()
        for kind in self._kinds:
            key = catalog.lookup(kind, name)
            if key is not None and (self._group is None or key in catalog.names(kind, self._group)):
                return catalog.find(kind, key)
        return None

    def __getitem__(self, name: str) -> Entry:
        """Return the entry of this name.

        Raises:
            UnknownNameError: there is none; the hint offers the nearest.
        """
        found = self._entry(name)
        if found is None:
            raise UnknownNameError(f"name in {self._title}", str(name), self.names())
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = self._child(name) or self._entry(name)
        if found is None:
            raise UnknownAttributeError(f"name in {self._title}", name, [*self._child_names(), *self.names()])
        return found

    def __contains__(self, item: object) -> bool:
        if isinstance(item, str):
            return self._entry(item) is not None
        name = getattr(item, "name", None)
        return isinstance(name, str) and self._entry(name) == item

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.names())

    def __bool__(self) -> bool:
        return True

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._child_names(), *self.names()})

    def __repr__(self) -> str:
        shown = [*self._child_names(), *self.names()]
        return f"<{self._title}: {', '.join(shown[:12])}{', ...' if len(shown) > 12 else ''}>"


_SYSTEMS = {
    "Nodes": ("node",),
    "Fabrics": ("fabric",),
    "Clusters": ("fleet",),
    "Storage": ("storage",),
    "Reliability": ("reliability",),
}
_INFRA = {"Grids": ("grid",), "Datacenters": ("datacenter",), "Prices": ("price",), "Profiles": ("profile",)}
_ROOTS: dict[str, tuple[tuple[str, ...], Mapping[str, tuple[str, ...]] | None]] = {
    "Hardware": (("accelerator",), None),
    "Models": (("model", "workload"), None),
    "Systems": (("node", "fabric", "fleet", "storage", "reliability"), _SYSTEMS),
    "Infra": (("grid", "datacenter", "price", "profile"), _INFRA),
    "Calibrations": (("calibration",), {}),
    "Numerics": (("numerics",), {}),
}
ROOTS = tuple(_ROOTS)


def make_namespace(name: str, catalog: Callable[[], Catalog]) -> Namespace:
    """Return one of the top namespaces over a catalog."""
    kinds, children = _ROOTS[name]
    return Namespace(name, catalog, kinds, children=children)
