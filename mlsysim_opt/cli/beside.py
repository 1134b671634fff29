"""Questions beside the one that is answered: each alone, so that one without an answer leaves the others theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from mlsysim_opt.cli.output import LIMIT_WITH_DESIGN, Screen
from mlsysim_opt.errors import LimitReachedError, MlsysimError

Asked = TypeVar("Asked")
Found = TypeVar("Found")


def in_turn(
    asked: Iterable[Asked], answer: Callable[[Asked], Found], failed: Callable[[Asked, MlsysimError | None], Found]
) -> Iterator[Found]:
    """Yield what is found for each; what `failed` says of an error, and with None from Ctrl-C on."""
    pressed = False
    for item in asked:
        try:
            yield failed(item, None) if pressed else answer(item)
        except MlsysimError as error:
            yield failed(item, error)
        except KeyboardInterrupt:
            pressed = True
            yield failed(item, None)


def status_of(error: MlsysimError | None) -> int:
    """Return the exit status where there is no answer: that of the one it stands beside, if a limit or Ctrl-C came."""
    if error is None or isinstance(error, LimitReachedError):
        return LIMIT_WITH_DESIGN
    return error.exit_code


def show_failed(screen: Screen, error: MlsysimError | None, interrupted: str) -> None:
    """Show why there is no answer."""
    from mlsysim_opt.cli.run import error_text

    for line in (interrupted if error is None else error_text(error)).splitlines():
        screen.line(line, "yellow")
