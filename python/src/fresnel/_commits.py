"""Has the end of a bundle write all that it changed of user state, and then wait for the answers.

Beam's harness writes cell by cell, and waits for the answer of each before it goes on with the next: half a millisecond or more for
each key of a bundle, in which nothing else is done. Here the requests go out one behind the other, in the same order, and are waited for
in the end, a number of them at a time. A bundle is over, as before, when its last request was answered.

Three use it: `fresnel boot` for processes, `fresnel run` and FresnelRunner for harnesses that are threads of the program.
"""

from __future__ import annotations

import collections
import functools
from typing import Any

__all__ = ['install']

# How many requests may be without their answers.
AHEAD = 256


class _Ahead:
    """Stands in for a state handler, of which requests to write are waited for later during a commit."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._committing = False
        self._open: collections.deque[Any] = collections.deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)

    def clear(self, *args: Any, **kwargs: Any) -> Any:
        return self._sent(self._handler.clear(*args, **kwargs))

    def extend(self, *args: Any, **kwargs: Any) -> Any:
        return self._sent(self._handler.extend(*args, **kwargs))

    def get(self, timeout: Any = None) -> None:
        """What a request returns during a commit is this object: there is nothing to wait for yet."""

    def commit(self, write: Any) -> None:
        self._committing = True
        try:
            write()
            while self._open:
                self._open.popleft().get()
        finally:
            self._committing = False
            self._open.clear()

    def _sent(self, future: Any) -> Any:
        if not self._committing:
            return future
        self._open.append(future)
        if len(self._open) > AHEAD:
            self._open.popleft().get()
        return self


def install() -> None:
    """Has the harnesses of this process commit so."""
    try:
        from apache_beam.runners.worker.bundle_processor import FnApiUserStateContext
    except ImportError:
        return  # a release that is not known here
    init, commit = FnApiUserStateContext.__init__, FnApiUserStateContext.commit
    if getattr(commit, '_goes_ahead', False):
        return

    @functools.wraps(init)
    def init_ahead(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        handler = getattr(self, '_state_handler', None)
        if handler is not None:
            self._state_handler = _Ahead(handler)

    @functools.wraps(commit)
    def commit_ahead(self: Any) -> None:
        handler = getattr(self, '_state_handler', None)
        if isinstance(handler, _Ahead):
            handler.commit(lambda: commit(self))
        else:
            commit(self)

    commit_ahead._goes_ahead = True  # type: ignore[attr-defined]
    FnApiUserStateContext.__init__ = init_ahead  # type: ignore[method-assign]
    FnApiUserStateContext.commit = commit_ahead  # type: ignore[method-assign]
