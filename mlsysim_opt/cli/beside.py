"""Questions beside the one that is answered: each alone, so that one without an answer leaves the others theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from mlsysim_opt.cli.output import LIMIT_WITH_DESIGN, Answer, Screen
from mlsysim_opt.errors import LimitReachedError, MlsysimError


class Reported(Protocol):
    """What was found for one question beside."""

    @property
    def status(self) -> int:
        """The exit status."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        ...


Asked = TypeVar("Asked")
Found = TypeVar("Found", bound=Reported)


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


def with_found(answer: Answer, name: str, found: Sequence[Found], show: Callable[[Screen, Found], None]) -> Answer:
    """Return an answer with what was found beside it, under a name in its data and after it on the screen."""
    data = {**answer.data, name: [item.as_dict() for item in found]}

    def show_all(screen: Screen) -> None:
        answer.show(screen)
        for item in found:
            show(screen, item)

    return replace(answer, data=data, show=show_all, status=answer.status or max(item.status for item in found))


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
