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

from apache_beam.coders import coder_impl
from apache_beam.portability.api import beam_fn_api_pb2 as api

__all__ = ['CAPABILITY', 'KEY', 'install']

# What a runner says that takes writes together, and the key that they are appended to.
CAPABILITY = 'fresnel:protocol:state_writes:v1'
KEY = b'fresnel:state_writes:v1'

_MOST_BYTES = 1 << 20  # in one message, unless one request is larger

_local = threading.local()


class _Writes:
    """Writes of one bundle that are not answered yet."""

    def __init__(self, handler: Any, request: Any, together: bool, answered: Any) -> None:
        self.handler = handler
        self._request = request
        self._together = together
        # What the harness gets in place of an answer. It does not look at it.
        self._answered = answered
        self._held = coder_impl.create_OutputStream()
        self._sent: list[Any] = []

    def take(self, request: Any) -> Any:
        """Takes a request. Returns the future of its answer."""
        if request.WhichOneof('request') not in ('append', 'clear'):
            self._flush()
            return self._request(self.handler, request)
        if not self._together:
            self._sent.append(self._request(self.handler, request))
            return self._answered
        self._held.write(request.SerializeToString(), True)
        if self._held.size() >= _MOST_BYTES:
            self._flush()
        return self._answered

    def _flush(self) -> None:
        if not self._held.size():
            return
        append = api.StateAppendRequest(data=self._held.get())
        self._held = coder_impl.create_OutputStream()
        self._sent.append(self._request(self.handler, api.StateRequest(state_key=api.StateKey(runner=api.StateKey.Runner(key=KEY)), append=append)))

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

        answered = sdk_worker._Future().set(api.StateResponse())
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
        _local.writes = writes = _Writes(to, request_now, together, answered)
        try:
            commit_each(self)
            _local.writes = None
            writes.finish()
        finally:
            _local.writes = None

    commit._sends_together = True  # type: ignore[attr-defined]
    handler._request = request  # type: ignore[method-assign]
    context.commit = commit  # type: ignore[method-assign]
