"""An input that is one of a few names and decides which equations there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlsysim_opt.errors import UnknownNameError
from mlsysim_opt.physics.inputs import Text


@dataclass(frozen=True)
class Keyword(Text):
    """One of a few names. Unlike an `Option`, its value is known while the equations are written."""

    fixed = True
    options: tuple[str, ...] = ()

    def check(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.options:
            raise UnknownNameError(self.name, str(value), self.options, path=self.name)
        return value
