"""A Hugging Face configuration as typed numbers, every fault named by its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlsysim_opt.errors import CatalogError

MAX_COUNT = 2**53
MAX_LAYERS = 100_000


class Config:
    """The keys of a ``config.json``. A number may go by several keys: the first that is there, and not null, counts.

    Args:
        data: the mapping. label: the file, for messages. part: the key under which the mapping stands, if any.
        around: the configuration that this one is the language part of.
    """

    def __init__(
        self, data: Mapping[str, Any], label: str, part: str | None = None, around: Config | None = None
    ) -> None:
        self._data, self._label, self._part, self._around = data, label, part, around

    def fault(self, key: str, message: str, hint: str | None = None) -> CatalogError:
        """Return an error at a key."""
        where = key if self._part is None else f"{self._part}.{key}"
        return CatalogError(message, path=f"{self._label}: {where}", hint=hint)

    def has(self, *keys: str) -> bool:
        """Whether one of the keys is there and not null."""
        return self._find(keys) is not None

    def _find(self, keys: Sequence[str]) -> str | None:
        return next((key for key in keys if self._data.get(key) is not None), None)

    def count(self, *keys: str, default: int | None = None, low: int = 1) -> int:
        """Return a whole number; without a default it must be there.

        Raises:
            CatalogError: it is missing, no whole number, below `low`, or too large.
        """
        key = self._find(keys)
        if key is None:
            if default is None:
                also = f" (or {' or '.join(keys[1:])})" if len(keys) > 1 else ""
                raise self.fault(keys[0], f"missing required key{also}")
            return default
        value = self._data[key]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fault(key, f"expected a whole number, got {shown(value)}")
        if not low <= value <= MAX_COUNT:
            raise self.fault(key, f"{shown(value)} is not between {low} and 2**53")
        return value

    def layers(self, *keys: str) -> int:
        """Return a number of layers, small enough to look at each."""
        value = self.count(*keys)
        if value > MAX_LAYERS:
            raise self.fault(self._find(keys) or keys[0], f"{value} layers are not sensible")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return a yes or no; of a language part also that of the whole."""
        value = self._data.get(key)
        if value is None:
            return default if self._around is None else self._around.flag(key, default)
        if not isinstance(value, bool):
            raise self.fault(key, f"expected true or false, got {shown(value)}")
        return value

    def text(self, key: str) -> str | None:
        """Return a text, or None where there is none."""
        value = self._data.get(key)
        if value is not None and not isinstance(value, str):
            raise self.fault(key, f"expected text, got {shown(value)}")
        return value

    def listed(self, key: str) -> list[Any] | None:
        """Return a list of texts or whole numbers, or None where there is none."""
        value = self._data.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str | int) for item in value):
            raise self.fault(key, f"expected a list, got {shown(value)}")
        return value

    def inner(self, key: str) -> Config | None:
        """Return the configuration under a key, or None where there is none."""
        value = self._data.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.fault(key, f"expected a mapping, got {shown(value)}")
        return Config(value, self._label, key, self)

    def with_defaults(self, **defaults: int) -> Config:
        """Return the configuration with what its class adds where a key is left out."""
        return Config({**defaults, **self._data}, self._label, self._part, self._around)

    def divided(self, key: str, amount: int, by: int) -> int:
        """Return a quotient that must be whole."""
        if amount % by:
            raise self.fault(key, f"{amount} is not a multiple of {by}")
        return amount // by


def shown(value: Any) -> str:
    """Return a value as short text that cannot steer a terminal."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_COUNT:
        return "a number beyond 2**53"
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
