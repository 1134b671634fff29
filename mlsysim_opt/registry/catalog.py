"""The catalog: entries by kind and name, loaded when first asked for, with layers of users' own files on
top."""

from __future__ import annotations

import functools
import os
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlsysim_opt.errors import CatalogError, InputError, UnknownNameError
from mlsysim_opt.registry.kinds import KINDS, Kind, kind_of
from mlsysim_opt.registry.load import CatalogFile, CatalogFileError, build, fold, read_file

if TYPE_CHECKING:
    from mlsysim_opt.registry.entry import Entry
    from mlsysim_opt.registry.namespaces import Namespace

MAX_FILES = 2000
OWN_ENTRIES = "or an entry of your own in a folder: --catalog FOLDER, or registry.use_folder(FOLDER)"
"""What to do where the catalog lacks something."""
RESERVED = frozenset({"all", "names", "get", "keys", "values", "items", "catalog", "kinds", "list"})


class CatalogOverrideWarning(UserWarning):
    """A user's entry takes the place of another one; not an error, but never silent."""


@dataclass(frozen=True)
class Collision:
    """An entry of a later layer that replaces one of an earlier layer."""

    kind: str
    name: str
    replaced: str
    by: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.replaced} is replaced by that of {self.by}"


class Layer(Protocol):
    """A set of catalog files."""

    def files(self, kind: Kind) -> tuple[CatalogFile, ...]:
        """Return the files that hold entries of a kind."""
        ...


class PackageLayer:
    """The catalog that comes with the package; a file is read when its kind is first asked for."""

    @functools.cache  # noqa: B019 - there is one such layer in a process
    def files(self, kind: Kind) -> tuple[CatalogFile, ...]:
        """Return the files ``<folder>.yaml`` and ``<folder>/*.yaml`` of a kind."""
        root = files("mlsysim_opt.catalog")
        found: list[tuple[str, Traversable]] = []
        single = root / f"{kind.folder}.yaml"
        if single.is_file():
            found.append((f"{kind.folder}.yaml", single))
        folder = root / kind.folder
        if folder.is_dir():
            named = sorted((item.name, item) for item in folder.iterdir() if item.name.endswith(".yaml"))
            found += [(f"{kind.folder}/{name}", item) for name, item in named]
        return tuple(read_file(item, f"catalog/{label}", kind) for label, item in found)


class FolderLayer:
    """A user's folder: every ``*.yaml`` below it, each declaring its kind."""

    def __init__(self, folder: Path) -> None:
        self._by_kind: dict[str, list[CatalogFile]] = {name: [] for name in KINDS}
        errors: list[InputError] = []
        for path in _yaml_files(folder):
            try:
                read = read_file(path, str(path))
                self._by_kind[read.kind.name].append(read)
            except InputError as problem:
                errors += getattr(problem, "errors", (problem,))
        if errors:
            raise CatalogFileError(str(folder), errors)

    def files(self, kind: Kind) -> tuple[CatalogFile, ...]:
        """Return the files that declare this kind."""
        return tuple(self._by_kind[kind.name])


def _yaml_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "no such folder"
        raise CatalogError(problem, path=str(folder), hint="name a folder that holds *.yaml files")
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(place, name) for name in sorted(names) if name.endswith((".yaml", ".yml")) and not name.startswith(".")
        ]
        if len(found) > MAX_FILES:
            raise CatalogError(f"holds more than {MAX_FILES} files", path=str(folder))
    if not found:
        raise CatalogError("holds no *.yaml file", path=str(folder))
    return found


@dataclass
class _Index:
    """The names of one kind: where each entry stands, and what it is found by."""

    places: dict[str, CatalogFile] = field(default_factory=dict)
    by_fold: dict[str, str] = field(default_factory=dict)
    collisions: list[Collision] = field(default_factory=list)

    @functools.cached_property
    def by_bare(self) -> dict[str, set[str]]:
        """What names may mean that have no separators, once all layers are in."""
        found: dict[str, set[str]] = {}
        for key, target in self.by_fold.items():
            found.setdefault(key.replace("_", ""), set()).add(target)
        return found


class Catalog:
    """Entries of several layers of files; a later layer may add entries and replace those of an earlier one.

    A reference (``accelerator: H100``) is resolved in the whole catalog, so a replaced accelerator is also
    that of the nodes and fleets which name it.
    """

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self._layers = layers
        self._indexes: dict[str, _Index] = {}
        self._entries: dict[tuple[str, str], Entry] = {}
        self._lock = threading.RLock()

    def with_folder(self, path: str | os.PathLike[str]) -> Catalog:
        """Return a catalog with the YAML files of a folder on top of this one.

        All entries of the folder are checked at once. Each entry that replaces another is listed in
        `collisions` and warned of.

        Raises:
            CatalogError: no such folder, a bad file or entry, a broken reference, or two entries of one name.
        """
        layer = FolderLayer(Path(path))
        result = Catalog((*self._layers, layer))
        errors = [error for kind in KINDS.values() for error in result._faults(kind, layer)]
        if errors:
            raise CatalogFileError(str(path), errors)
        for collision in result.collisions:
            if collision not in self.collisions:
                warnings.warn(str(collision), CatalogOverrideWarning, stacklevel=2)
        return result

    def _faults(self, kind: Kind, layer: Layer) -> list[InputError]:
        """Build every entry of a layer and return all that is wrong."""
        errors: list[InputError] = []
        own = {file.label for file in layer.files(kind)}
        if own:
            for name, file in self._index(kind).places.items():
                if file.label in own:
                    try:
                        self.find(kind.name, name)
                    except InputError as problem:
                        errors += getattr(problem, "errors", (problem,))
        return errors

    @property
    def collisions(self) -> tuple[Collision, ...]:
        """Every entry that a later layer replaced."""
        if len(self._layers) == 1:
            return ()
        return tuple(item for kind in KINDS.values() for item in self._index(kind).collisions)

    def names(self, kind: str, group: str | None = None) -> list[str]:
        """Return the names of all entries of a kind (of one group), in the order of the files."""
        places = self._index(kind_of(kind)).places
        return [name for name, file in places.items() if group in (None, file.entries[name].get("group"))]

    def naming(self, kind: str, field: str, names: Iterable[str]) -> tuple[Entry, ...]:
        """Return the entries of a kind of which a field refers to one of some entries; no other is checked.

        Args:
            field: a field of the kind, named like the kind that it refers to. names: the entries, as they are stored.
        """
        found, wanted = [], set(names)
        for name, file in self._index(kind_of(kind)).places.items():
            other = file.entries[name].get(field)
            if isinstance(other, str) and self.lookup(field, other) in wanted:
                found.append(self.find(kind, name))
        return tuple(found)

    def groups(self, kind: str) -> list[str]:
        """Return the groups (sub-namespaces) that entries of a kind stand in."""
        places = self._index(kind_of(kind)).places
        found = (file.entries[name].get("group") for name, file in places.items())
        return list(dict.fromkeys(group for group in found if isinstance(group, str)))

    def all(self, kind: str, group: str | None = None) -> tuple[Entry, ...]:
        """Return all entries of a kind (of one group)."""
        return tuple(self.find(kind, name) for name in self.names(kind, group))

    def find(self, kind: str, name: str) -> Entry:
        """Return the entry of a kind by name or alias; case does not matter, nor ``-`` against ``_`` or
        ``.``.

        Raises:
            UnknownNameError: there is none; the hint offers the nearest.
            CatalogError: the entry is not valid.
        """
        wanted = kind_of(kind)
        found = self.lookup(wanted.name, name)
        if found is None:
            raise UnknownNameError(wanted.name, str(name), self.names(wanted.name), also=OWN_ENTRIES)
        key = (wanted.name, found)
        entry = self._entries.get(key)
        if entry is None:
            with self._lock:
                entry = self._entries.get(key)
                if entry is None:
                    entry = build(self._index(wanted).places[found], found, self)
                    self._entries[key] = entry
        return entry

    def file_of(self, kind: str, name: str) -> CatalogFile:
        """Return the file that an entry stands in, for messages about it.

        Raises:
            UnknownNameError: there is no such entry.
        """
        wanted = kind_of(kind)
        found = self.lookup(wanted.name, name)
        if found is None:
            raise UnknownNameError(wanted.name, str(name), self.names(wanted.name), also=OWN_ENTRIES)
        return self._index(wanted).places[found]

    def lookup(self, kind: str, name: str) -> str | None:
        """Return the key under which an entry is stored, or None; never an error."""
        if not isinstance(name, str) or len(name) > 200:
            return None
        index = self._index(kind_of(kind))
        if name in index.places:
            return name
        folded = fold(name)
        if folded in index.by_fold:
            return index.by_fold[folded]
        close = index.by_bare.get(folded.replace("_", ""), ())
        return next(iter(close)) if len(close) == 1 else None

    def _index(self, kind: Kind) -> _Index:
        index = self._indexes.get(kind.name)
        if index is None:
            with self._lock:
                index = _Index()
                for layer in self._layers:
                    self._add_layer(index, kind, layer.files(kind))
                self._indexes[kind.name] = index
        return index

    def _add_layer(self, index: _Index, kind: Kind, read: tuple[CatalogFile, ...]) -> None:
        taken: dict[str, tuple[str, CatalogFile]] = {}
        for file in read:
            for name, fields in file.entries.items():
                aliases = fields.get("aliases") or []
                for key in (name, *(alias for alias in aliases if isinstance(alias, str))):
                    _reserve(taken, kind, file, name, key)
        added = dict(taken.values())
        for name, file in added.items():
            old = index.by_fold.get(fold(name))
            if old is not None and fold(old) == fold(name):
                index.collisions.append(Collision(kind.name, old, index.places.pop(old).label, file.label))
                # What named the old entry, by any of its names, now means the new one.
                index.by_fold = {k: name if target == old else target for k, target in index.by_fold.items()}
        for key, (name, file) in taken.items():
            old = index.by_fold.get(key)
            if old is None or old in added:
                continue
            if fold(old) == key:
                hint = f"an alias cannot take the name of {old!r} of {index.places[old].label}"
                raise file.fault(("entries", name, "aliases"), f"alias {key!r} is taken", hint)
            index.collisions.append(Collision(kind.name, key, index.places[old].label, file.label))
        index.places.update(added)
        index.by_fold.update({key: name for key, (name, _) in taken.items()})

    @property
    def Hardware(self) -> Namespace:
        """Accelerators: ``catalog.Hardware.Cloud.H100``."""
        return self._namespace("Hardware")

    @property
    def Models(self) -> Namespace:
        """Models: ``catalog.Models.Language.Llama3_8B``."""
        return self._namespace("Models")

    @property
    def Systems(self) -> Namespace:
        """Nodes, fabrics and clusters: ``catalog.Systems.Nodes.DGX_H100``."""
        return self._namespace("Systems")

    @property
    def Infra(self) -> Namespace:
        """Grids, datacenters and prices: ``catalog.Infra.Grids.Quebec``."""
        return self._namespace("Infra")

    def _namespace(self, name: str) -> Namespace:
        from mlsysim_opt.registry.namespaces import make_namespace

        return make_namespace(name, lambda: self)


def _reserve(taken: dict[str, tuple[str, CatalogFile]], kind: Kind, file: CatalogFile, name: str, key: str) -> None:
    if fold(key) in RESERVED or key.startswith("_"):
        raise file.fault(("entries", name), f"{key!r} cannot be the name of an entry", key=True)
    before = taken.setdefault(fold(key), (name, file))
    if before != (name, file):
        other, where = before
        line = (where.document.place(("entries", other), key=True) or (0, 0))[0]
        raise file.fault(
            ("entries", name),
            f"{kind.name} {key!r} is also {other!r} of {where.label}, line {line}",
            "names that differ only in case or separators are the same",
            key=True,
        )


@functools.cache
def _packaged() -> Catalog:
    return Catalog((PackageLayer(),))


_in_use: list[Catalog] = []


def default_catalog() -> Catalog:
    """Return the catalog in use: the one that comes with the package, with the folders of `use_folder` on top."""
    return _in_use[-1] if _in_use else _packaged()


def use_folder(path: str | Path) -> Catalog:
    """Put a folder of one's own entries on top of the catalog in use, and return the result.

    From then on its entries are found by name everywhere, and override those of the same name.

    Raises:
        CatalogError: a file of the folder is not valid; nothing changes.
    """
    made = default_catalog().with_folder(path)
    for kind in KINDS:
        made.names(kind)
    _in_use.append(made)
    return made


def find(kind: str, name: str) -> Entry:
    """Return an entry of the catalog in use; see `Catalog.find`."""
    return default_catalog().find(kind, name)
