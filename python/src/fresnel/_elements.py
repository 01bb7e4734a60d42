"""Has the exception of a function tell which element, or which timer, it was raised for.

Beam names the step, not the element. Its harness has one place where both are at hand: an exception is shown to the sampler of
the bundle, if it has one, before it is reported. Here each bundle begins with one that samples nothing, and adds a note to the
exception: tracebacks end with it, in the log and in the error of the job. It costs nothing for an element that raises nothing. Samplers
that the user asks for, by Beam's experiments, come in its place.

Three use it: `fresnel boot` for processes, `fresnel run` and FresnelRunner for harnesses that are threads of the program.
"""

from __future__ import annotations

import functools
import logging
import reprlib
import sys
from typing import Any

__all__ = ['NOTE', 'install', 'shown']

# How notes begin. `fresnel run` looks for them.
NOTE = 'with the element '
TIMER_NOTE = 'with the timer '

_LOGGER = logging.getLogger('fresnel')


class _Repr(reprlib.Repr):
    """As repr, but never long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 6
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxarray = 20
        self.maxstring = self.maxother = self.maxlong = 200

    def repr_bytes(self, x: bytes, level: int) -> str:
        return self._cut(x)

    def repr_bytearray(self, x: bytearray, level: int) -> str:
        return self._cut(x)

    def _cut(self, x: bytes | bytearray) -> str:
        return repr(x) if len(x) <= self.maxstring else f'{x[:self.maxstring]!r}... ({len(x)} bytes)'


_LONGEST = 1000
_repr = _Repr()


def shown(value: Any) -> str:
    """The element in a line."""
    try:
        text = ' '.join(_repr.repr(value).splitlines())
    except Exception as e:  # pylint: disable=broad-except
        text = f'{type(value).__name__}, whose repr raises {type(e).__name__}'
    return text if len(text) <= _LONGEST else text[:_LONGEST] + '...'


def _note(error: BaseException, text: str) -> None:
    if not hasattr(error, 'add_note'):  # before Python 3.11
        _LOGGER.error('%s: %s was raised %s', type(error).__name__, error, text)
        return
    notes = getattr(error, '__notes__', None)
    if isinstance(notes, list):  # it was raised before
        notes[:] = [n for n in notes if not str(n).startswith((NOTE, TIMER_NOTE))]
    error.add_note(text)


def _timer() -> str | None:
    """The timer that this thread's bundle is at, if it is at one, and not at its start or end.

    The sampler is not told of it; the method that has bundles processed has it. Beam's ids of timers begin with 'ts-'.
    """
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_name != 'process_bundle':
        frame = frame.f_back  # type: ignore[assignment]
    at = frame.f_locals if frame is not None else {}
    timer, family = at.get('timer_data'), getattr(at.get('element'), 'timer_family_id', None)
    if timer is None or family is None or not at['self'].consuming_received_data:
        return None
    tag = f' {timer.dynamic_timer_tag!r}' if timer.dynamic_timer_tag else ''
    windows = ', '.join(map(shown, timer.windows))
    return f"{family.removeprefix('ts-')}{tag} of the key {shown(timer.user_key)}, due at {timer.fire_timestamp}, in {windows}"


class _Elements:
    """Stands in for a data_sampler.OutputSampler."""

    def sample_exception(self, el: Any, exc_info: Any, transform_id: str, instruction_id: str) -> None:
        if exc_info[1] is None:
            return
        while hasattr(el, 'windows') and hasattr(el, 'value'):
            el = el.value
        try:
            if el is not None:
                _note(exc_info[1], NOTE + shown(el))
            elif timer := _timer():
                _note(exc_info[1], TIMER_NOTE + timer)
        except Exception:  # pylint: disable=broad-except
            pass  # what was raised is what matters


def install() -> None:
    """Has the harnesses of this process tell elements."""
    try:
        from apache_beam.runners.worker.bundle_processor import ExecutionContext
    except ImportError:
        return  # a release that is not known here
    original = ExecutionContext.__init__
    if getattr(original, '_tells_elements', False):
        return

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if getattr(self, 'output_sampler', self) is None:
            self.output_sampler = _Elements()

    init._tells_elements = True  # type: ignore[attr-defined]
    ExecutionContext.__init__ = init  # type: ignore[method-assign]
