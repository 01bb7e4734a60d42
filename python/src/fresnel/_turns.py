"""Has a split of a bundle not wait long for its turn at the interpreter.

A worker whose bundle is split goes on with the bundle, and the thread that makes the split waits until the one that computes lets it in: every 5 ms, when
it begins, and again after all that leaves the interpreter's lock, as compressing does. The worker that the part is for is idle for as long. Here
threads let others in every half a millisecond while a split is made.

`fresnel boot` uses it.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from typing import Any

__all__ = ['QUICK_S', 'install']

QUICK_S = 0.0005

_ANSWER_S = 0.005  # for the answer to be sent


class _Turns:
    """How long threads have the interpreter when others want it: less while someone is in a hurry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hurried = 0
        self._usual = 0.0

    def hurry(self) -> None:
        with self._lock:
            if self._hurried == 0:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(QUICK_S, self._usual))
            self._hurried += 1

    def calm(self) -> None:
        time.sleep(_ANSWER_S)
        with self._lock:
            self._hurried -= 1
            if self._hurried == 0:
                sys.setswitchinterval(self._usual)


def install() -> None:
    """Has the harnesses of this process do so."""
    try:
        from apache_beam.runners.worker import sdk_worker

        harness = sdk_worker.SdkHarness
        original = harness._request_process_bundle_split
    except (AttributeError, ImportError):
        return  # a release that is not known here
    if getattr(original, '_hurries', False):
        return
    turns = _Turns()

    @functools.wraps(original)
    def request(self: Any, req: Any) -> None:
        one_by_one = getattr(self, '_report_progress_executor', None)
        if one_by_one is None:
            original(self, req)
            return
        turns.hurry()
        try:
            original(self, req)
        finally:
            one_by_one.submit(turns.calm)  # after the split

    request._hurries = True  # type: ignore[attr-defined]
    harness._request_process_bundle_split = request  # type: ignore[method-assign]
