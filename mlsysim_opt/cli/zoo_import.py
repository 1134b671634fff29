"""The commands that turn files of other ecosystems into files of a user's own catalog folder: zoo import.

What an importer gives is printed, or written to a new file inside a named folder: nothing is ever overwritten, and
nothing outside of that folder is touched. Nothing is fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlsysim_opt.cli.output import Answer, Screen, plain
from mlsysim_opt.errors import CatalogError, FileError, InputError

_ODD = re.compile(r"[^A-Za-z0-9_+-]+")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def from_hugging_face(file: str, name: str | None, parameters: str | None, out: str | None) -> Answer:
    """Return a model from the ``config.json`` of a Hugging Face repository.

    Raises:
        FileError: the file cannot be read or written. InputError: it is not such a file, or an option is wrong.
    """
    from mlsysim_opt.cli.zoo_check import count_fault
    from mlsysim_opt.registry.importers.huggingface import entry_yaml, read_hf_config

    count = None if parameters is None else _count(parameters, "--parameters")

    def make() -> str:
        entry = read_hf_config(file, name, parameter_count=count)
        wrong = count_fault(entry)
        if wrong is not None:
            raise InputError(wrong, path="--parameters", hint="check the number, or leave it out: shapes are counted")
        return entry_yaml(entry)

    return _imported(file, out, make)


def from_skypilot(file: str, provider: str | None, date: str | None, out: str | None) -> Answer:
    """Return rental prices from a catalog file of SkyPilot; errors as in `from_hugging_face`."""
    from mlsysim_opt.registry.importers.skypilot import import_skypilot

    return _imported(file, out, lambda: import_skypilot(file, provider=provider, date=date), "prices")


def from_intensity(file: str, name: str, out: str | None, **options: Any) -> Answer:
    """Return a carbon-intensity profile, or grid, from a time series; errors as in `from_hugging_face`."""
    from mlsysim_opt.registry.importers.intensity import import_intensity

    for option, allowed in (("basis", ("life cycle", "direct")), ("kind", ("profile", "grid"))):
        if options.get(option) is not None and options[option] not in allowed:
            hint = "one of " + ", ".join(allowed)
            raise InputError(f"{options[option]!r} is not known", path=f"--{option}", hint=hint)
    return _imported(file, out, lambda: import_intensity(file, name, **options))


def _count(text: str, option: str) -> int:
    from mlsysim_opt.units import NONE, parse_quantity

    measure = parse_quantity(text)
    if measure.dimension != NONE or measure.si < 1 or measure.si != int(measure.si):
        raise InputError(f"expected a whole number above 0, got {text!r}", path=option, hint="for example 8.03e9")
    return int(measure.si)


def _imported(file: str, out: str | None, make: Callable[[], str], prefix: str | None = None) -> Answer:
    if _ADDRESS.match(file):
        hint = "download the file, and give its path"
        raise InputError(f"{file!r} is an address; nothing is fetched from the network", path="FILE", hint=hint)
    try:
        text = make()
    except OSError as error:
        raise FileError(str(error.strerror or error), path=plain(file)) from None
    written = None if out is None else _write(text, out, prefix)
    data = {"status": "ok", "yaml": text, "file": written}

    def show(screen: Screen) -> None:
        if written is None:
            screen.code(text.rstrip("\n"))
        else:
            screen.line(f"wrote {written}")
            screen.line(f"'mlsysim-opt zoo check {out}' checks the folder; '--catalog {out}' uses it")

    return Answer(data, show)


def _write(text: str, folder: str, prefix: str | None) -> str:
    """Write a new file into a folder and return its path.

    Raises:
        FileError: there is no such folder, a file of that name is there already, or nothing can be written.
    """
    place = Path(folder)
    if not place.is_dir():
        problem = "is not a folder" if place.exists() else "no such folder"
        raise FileError(problem, path=plain(folder), hint="name a folder that exists; nothing else is written to")
    path = place / f"{_file_name(text, prefix)}.yaml"
    try:
        with path.open("x", encoding="utf-8") as stream:  # never through a link, never over a file
            try:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                path.unlink()
                raise
    except FileExistsError:
        hint = "remove it first, or give another --name"
        raise FileError("is there already; nothing was written", path=plain(str(path)), hint=hint) from None
    except OSError as error:
        raise FileError(f"cannot be written: {error.strerror or error}", path=plain(str(path))) from None
    return str(path)


def _file_name(text: str, prefix: str | None) -> str:
    """Return a name for the file, without any separator: that of its only entry, or its prefix and provider."""
    from mlsysim_opt.registry.yaml_io import parse_yaml

    data = parse_yaml(text, label="the imported text", error=CatalogError).data
    first, fields = next(iter(data["entries"].items()))
    found = first if prefix is None else f"{prefix}_{fields.get('provider', first)}"
    return _ODD.sub("_", found).strip("_")[:80] or "imported"
