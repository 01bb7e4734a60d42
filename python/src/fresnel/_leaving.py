"""Keeps a program from ending before its jobs.

`p.run()` returns once the job is submitted. What follows is the program's end, where it does not wait, and with it that of functions that
run in its threads, and of a server that it started: the job would end unfinished, without a word. So jobs that nobody has waited for are
waited for then, unless the program ends by an exception. If one of them fails, so does the program: its exit status is 1, and 130 if the
waiting is interrupted.

And a program that has waited for its job is not to hang at its end. gRPC may do that where a stream ends while the interpreter
does: the thread that notes it is stopped with a lock in its hand that the stream's destructor waits for. Beam reads the stream of a job's states up to
the last one; here it is read to its end.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  its own hook must be there before ours, which then runs first
import functools
import gc
import io
import os
import sys
import threading
from typing import Any, Callable

__all__ = ['wait_for']

_left: list[Any] = []
_failed = False
_owner = 0  # the process that waits


def wait_for(result: Any, told: Callable[[], None] = lambda: None) -> None:
    """Has the end of the program wait for a Beam PipelineResult. told is called when that begins."""
    _install()
    original = result.wait_until_finish

    @functools.wraps(original)
    def wait_until_finish(*args: Any, **kwargs: Any) -> Any:
        result.wait_until_finish = original
        _left[:] = [(r, t) for r, t in _left if r is not result]
        try:
            return original(*args, **kwargs)
        finally:
            _read_out(result)

    result.wait_until_finish = wait_until_finish
    _left.append((result, told))


_LAST_STATES = ('CANCELLED', 'DONE', 'DRAINED', 'FAILED')


def _read_out(result: Any) -> None:
    """Reads the states of a job that has ended to their end, which comes with the last."""
    if getattr(result, '_state', None) not in _LAST_STATES:
        return

    def read() -> None:
        try:
            for _ in result._state_stream:
                pass
        except Exception:  # pylint: disable=broad-except
            pass  # it has ended

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(1)


def _install() -> None:
    global _owner
    if _owner:
        return
    _owner = os.getpid()
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
    status = 0
    while _left and not _failed and os.getpid() == _owner:  # not in a process that was forked
        result, told = _left[0]
        try:
            told()
            result.wait_until_finish()
        except KeyboardInterrupt:
            status = 130
            break
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            break
        except Exception as error:  # pylint: disable=broad-except
            print(str(error).split('\n', 1)[0], file=sys.stderr)  # Beam has logged all of it
            status = 1
        finally:
            _left[:] = [(r, t) for r, t in _left if r is not result]
    if status:
        atexit.register(_end, status)


def _end(status: int) -> None:
    """Ends the process with this status, after all that others have registered: nothing else can change it now."""
    atexit.unregister(_end)
    atexit._run_exitfuncs()
    for thing in gc.get_objects():
        if issubclass(type(thing), io.IOBase):  # what the program left open is written
            try:
                thing.flush()
            except Exception:  # pylint: disable=broad-except
                pass  # it is closed, or cannot be written
    os._exit(status)
