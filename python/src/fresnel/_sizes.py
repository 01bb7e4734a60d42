"""Has the harness's cache of state weigh plain values quickly.

Beam's harness weighs each value that it caches, and a bundle's end caches what it has written. To weigh one, objsize first walks over all
modules of the interpreter (`exclude_modules_globals`): 0.3 ms where it was measured, for an empty list too, and twice for a value that is
replaced. That is as much as to ask the runner for the value, which the cache is there to spare. Here values that are made of Python's own types alone, in which
no module can be, are weighed by themselves; all others as ever.

`fresnel boot` uses it, whose harnesses have a cache (Beam's default is none).
"""

from __future__ import annotations

import functools
import itertools
import sys
from typing import Any

__all__ = ['install', 'plain_size']

_SCALARS = frozenset({bool, bytes, complex, float, int, str, type(None)})
_COLLECTIONS = frozenset({dict, frozenset, list, set, tuple})
# How deep collections may be nested.
_DEEPEST = 8


def plain_size(value: Any) -> int:
    """The bytes of a value and all that is in it, 0 if that is not plain: if it has other types, is very deep, or has a collection twice."""
    return _size(value, set(), _DEEPEST)


def _size(value: Any, seen: set[int], deepest: int) -> int:
    kind = type(value)
    if kind in _SCALARS:
        return sys.getsizeof(value)
    if deepest == 0 or kind not in _COLLECTIONS or id(value) in seen:
        return 0
    seen.add(id(value))
    size = sys.getsizeof(value)
    for part in itertools.chain(value, value.values()) if kind is dict else value:
        n = _size(part, seen, deepest - 1)
        if n == 0:
            return 0
        size += n
    return size


def install() -> None:
    """Has the harnesses of this process weigh plain values so."""
    try:
        from apache_beam.runners.worker import statecache

        original = statecache.get_deep_size
    except (AttributeError, ImportError):
        return  # a release that is not known here
    if getattr(original, '_weighs_plain', False):
        return

    @functools.wraps(original)
    def weigh(*values: Any) -> int:
        if len(values) == 1:
            size = plain_size(values[0])
            if size:
                return size
        return original(*values)

    weigh._weighs_plain = True  # type: ignore[attr-defined]
    statecache.get_deep_size = weigh
