"""Keeps a program from ending before its jobs.

`p.run()` returns once the job is submitted. What follows is the program's end, where it does not wait, and with it that of functions that
run in its threads, and of a server that it started: the job would end unfinished, without a word. So jobs that nobody has waited for are
waited for then, unless the program ends by an exception.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  its own hook must be there before ours, which then runs first
import functools
import sys
import threading
from typing import Any, Callable

__all__ = ['wait_for']

_left: list[Any] = []
_failed = False
_installed = False


def wait_for(result: Any, told: Callable[[], None] = lambda: None) -> None:
    """Has the end of the program wait for a Beam PipelineResult. told is called when that begins."""
    _install()
    original = result.wait_until_finish

    @functools.wraps(original)
    def wait_until_finish(*args: Any, **kwargs: Any) -> Any:
        result.wait_until_finish = original
        _left[:] = [(r, t) for r, t in _left if r is not result]
        return original(*args, **kwargs)

    result.wait_until_finish = wait_until_finish
    _left.append((result, told))


def _install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    original = sys.excepthook

    def excepthook(*error: Any) -> None:
        global _failed
        _failed = True
        original(*error)

    sys.excepthook = excepthook
    # atexit is too late: gRPC and executors do nothing more by then.
    register = getattr(threading, '_register_atexit', None)
    if register is not None:
        register(_wait)


def _wait() -> None:
    while _left and not _failed:
        result, told = _left[0]
        try:
            told()
            result.wait_until_finish()
        except (KeyboardInterrupt, SystemExit):
            return
        except Exception as error:  # pylint: disable=broad-except
            print(str(error).split('\n', 1)[0], file=sys.stderr)  # Beam has logged all of it
        finally:
            _left[:] = [(r, t) for r, t in _left if r is not result]
