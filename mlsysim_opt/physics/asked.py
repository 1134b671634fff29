"""Questions that the class of a model answers as an instance of it does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


class _OnTheClass:
    """A method that is bound to a new instance where it is read from the class."""

    def __init__(self, method: Callable[..., Any]) -> None:
        functools.update_wrapper(cast("Any", self), method)
        self.method = method

    def __get__(self, model: Any, kind: type[Any]) -> MethodType:
        return MethodType(self.method, kind() if model is None else model)


def asked(method: Method) -> Method:
    """Let a method be called on the class too: models hold nothing, so that any instance gives the same answer."""
    return method if isinstance(method, _OnTheClass) else cast("Method", _OnTheClass(method))
