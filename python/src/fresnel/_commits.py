"""Has the harness send what a bundle has written of its state together.

At the end of a bundle Beam's harness writes its state cell after cell: a message to clear it, one to append to it, and a wait for the answer, each through
four threads of the interpreter. For a cell with a number that takes a hundred times as long as what the runner does with it. Here the writes of a
bundle's end go together, in as few messages as their size allows, to a runner that says that it takes them so; another gets them one after another,
as ever, but is not waited for in between. Either way the bundle ends after the last answer.

The message is an append to the runner's own key KEY: the requests that it stands for, each after its length, as a varint. Requests for one bundle are
answered in order, so nothing of it can overtake them.

`fresnel boot` uses it.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

__all__ = ['CAPABILITY', 'KEY', 'install']

# What a runner says that takes writes together, and the key that they are appended to.
CAPABILITY = 'fresnel:protocol:state_writes:v1'
KEY = b'fresnel:state_writes:v1'

_MOST_BYTES = 1 << 20  # in one message, unless one request is larger

_local = threading.local()


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


class _Writes:
    """Writes of one bundle that are not answered yet."""

    def __init__(self, handler: Any, request: Any, together: bool) -> None:
        from apache_beam.portability.api import beam_fn_api_pb2
        from apache_beam.runners.worker import sdk_worker

        self._api = beam_fn_api_pb2
        self.handler = handler
        self._request = request
        self._together = together
        self._parts: list[bytes] = []
        self._size = 0
        self._sent: list[Any] = []
        # What the harness gets in place of an answer. It does not look at it.
        self._answered = sdk_worker._Future().set(beam_fn_api_pb2.StateResponse())

    def take(self, request: Any) -> Any:
        """Takes a request. Returns the future of its answer."""
        if request.WhichOneof('request') not in ('append', 'clear'):
            self._flush()
            return self._request(self.handler, request)
        if not self._together:
            self._sent.append(self._request(self.handler, request))
            return self._answered
        part = request.SerializeToString()
        length = _varint(len(part))
        self._parts += (length, part)
        self._size += len(length) + len(part)
        if self._size >= _MOST_BYTES:
            self._flush()
        return self._answered

    def _flush(self) -> None:
        if not self._parts:
            return
        data = b''.join(self._parts)
        self._parts, self._size = [], 0
        key = self._api.StateKey(runner=self._api.StateKey.Runner(key=KEY))
        append = self._api.StateAppendRequest(data=data)
        self._sent.append(self._request(self.handler, self._api.StateRequest(state_key=key, append=append)))

    def finish(self) -> None:
        """Returns when all are answered, and raises if one was refused."""
        self._flush()
        for future in self._sent:
            while not future.wait(timeout=1):
                if broken := getattr(self.handler, '_exception', None):
                    raise broken
                if self.handler._done:
                    raise RuntimeError('The state channel is closed.')
            error = future.get().error
            if error:
                raise RuntimeError(error)


def install() -> None:
    """Has the harnesses of this process do so."""
    try:
        from apache_beam.runners.worker import bundle_processor, sdk_worker

        sdk_worker._Future  # noqa: B018
        context, handler = bundle_processor.FnApiUserStateContext, sdk_worker.GrpcStateHandler
        commit_each, request_now = context.commit, handler._request
    except (AttributeError, ImportError):
        return  # a release that is not known here
    if getattr(commit_each, '_sends_together', False):
        return
    together = CAPABILITY in os.environ.get('RUNNER_CAPABILITIES', '').split()

    @functools.wraps(request_now)
    def request(self: Any, req: Any) -> Any:
        writes = getattr(_local, 'writes', None)
        if writes is None or writes.handler is not self:
            return request_now(self, req)
        return writes.take(req)

    @functools.wraps(commit_each)
    def commit(self: Any) -> None:
        to = getattr(self._state_handler, '_underlying', None)
        if not isinstance(to, handler):
            commit_each(self)
            return
        _local.writes = writes = _Writes(to, request_now, together)
        try:
            commit_each(self)
            _local.writes = None
            writes.finish()
        finally:
            _local.writes = None

    commit._sends_together = True  # type: ignore[attr-defined]
    handler._request = request  # type: ignore[method-assign]
    context.commit = commit  # type: ignore[method-assign]
