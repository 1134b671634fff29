"""The one place where a command's errors end: text or JSON, exit status, signals, closed pipes.

Exit statuses: 0 done; 1 a fault of this program; 2 usage; 3 bad input; 4 a file; 5 infeasible; 6 unbounded; 7 a limit
reached without a design; 8 with one; 9 a solver is missing; 130 and 143 interrupted; 141 the reader went away.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlsysim_opt.cli.output import ReaderGone, plain, write_json, write_text
from mlsysim_opt.errors import FileError, InfeasibleError, MlsysimError, UsageError

PROGRAM = "mlsysim-opt"
DEBUG = "MLSYSIM_OPT_DEBUG"
INTERRUPTED = 130
ISSUES = "please report it with the command and the output of 'mlsysim-opt doctor'"


class Terminated(BaseException):
    """SIGTERM arrived."""


def run(arguments: list[str]) -> int:
    """Run one command; return its exit status."""
    as_json = "--json" in arguments
    with _terminable():
        try:
            try:
                status = _dispatch(arguments)
                sys.stdout.flush()
                return status
            except MlsysimError as error:
                return _failed(error, as_json)
            except BrokenPipeError:
                raise
            except OSError as error:
                return _failed(FileError(f"{error.strerror or error}", path=_printable_name(error)), as_json)
            except Exception as error:  # the last resort: no traceback reaches a user
                return _crashed(error, as_json)
        except (BrokenPipeError, ReaderGone):
            return _reader_gone()
        except OSError as error:  # even the message could not be written to standard output
            _silence(sys.stdout)
            write_text(f"error: cannot write the output: {error.strerror}\n", sys.stderr)
            return FileError.exit_code
        except KeyboardInterrupt:
            write_text("interrupted: nothing was found yet\n", sys.stderr)
            return INTERRUPTED
        except Terminated:
            write_text("terminated\n", sys.stderr)
            return 143


def _dispatch(arguments: list[str]) -> int:
    from mlsysim_opt.cli.app import app, usage_fault

    fault = usage_fault()
    try:
        status = app()(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except fault as error:
        raise _usage(error) from None
    except SystemExit as stop:  # completion scripts end this way
        return stop.code if isinstance(stop.code, int) else 0
    except RuntimeError as error:
        if type(error).__name__ == "Abort":
            raise KeyboardInterrupt from None
        raise
    if status == INTERRUPTED:  # the parser makes this of Ctrl-C, without a word; no command of ours returns it
        raise KeyboardInterrupt
    return status if isinstance(status, int) else 0


def _usage(error: Any) -> MlsysimError:
    """Return the parser's complaint as an error of ours."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else PROGRAM
    message = str(error.format_message()).strip() or "no command is given"
    return UsageError(message, hint=f"'{where} --help' shows what it takes")


def _failed(error: MlsysimError, as_json: bool) -> int:
    if as_json:
        write_json(error_data(error))
    else:
        write_text(plain(error_text(error)) + "\n", sys.stderr)
        if os.environ.get(DEBUG) == "1":
            write_text("".join(traceback.format_exception(error)), sys.stderr)
    return error.exit_code


def error_data(error: MlsysimError) -> dict[str, Any]:
    """Return what ``--json`` prints for an error: its status, the error, and what an infeasible problem explains."""
    detail = error.as_dict()
    status = detail.pop("status", "error")
    beside: dict[str, Any] = {
        key: detail.pop(key) for key in ("conflict", "feasibility_solves", "relaxations") if key in detail
    }
    return {"status": status, "error": detail, **beside}


def error_text(error: MlsysimError) -> str:
    """Return an error for people; the ways out of an infeasible problem stand in a list."""
    if not isinstance(error, InfeasibleError):
        return f"error: {error}"
    lines = [f"infeasible: {error.message}"]
    if error.relaxations:
        lines += ["ways out:", *(f"  - {item}" for item in error.relaxations)]
    elif error.hint:
        lines.append(f"  hint: {error.hint}")
    return "\n".join(lines)


def _crashed(error: Exception, as_json: bool) -> int:
    text = " ".join(str(error).split())
    message = f"internal error: {type(error).__name__}" + (f": {text[:500]}" if text else "")
    if os.environ.get(DEBUG) == "1":
        write_text("".join(traceback.format_exception(error)), sys.stderr)
    fault = MlsysimError(message, hint=f"{ISSUES}; {DEBUG}=1 shows where it happened")
    return _failed(fault, as_json)


def _printable_name(error: OSError) -> str | None:
    return plain(str(error.filename)) if error.filename is not None else None


def _reader_gone() -> int:
    """End quietly when the reader of a pipe (``| head``) has gone, as other programs do."""
    _silence(sys.stdout)
    return 128 + getattr(signal, "SIGPIPE", 13)


def _silence(stream: Any) -> None:
    """Let what is still in the buffer go nowhere, so that the interpreter's last flush cannot fail."""
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, stream.fileno())
        os.close(sink)
    except (OSError, ValueError, AttributeError):
        pass


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception while a command runs, where this thread may do so."""

    def handler(number: int, frame: object) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, handler)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
