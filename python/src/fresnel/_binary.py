"""Finds the program."""

from __future__ import annotations

import os
from pathlib import Path

_CARRIED = Path(__file__).parent / 'bin' / 'fresnel'


def binary() -> str:
    """The path of the program: the one that FRESNEL_BINARY names, or the one in this package."""
    chosen = os.environ.get('FRESNEL_BINARY')
    if chosen:
        return chosen
    if _CARRIED.exists():
        return str(_CARRIED)
    raise FileNotFoundError(
        'this installation of fresnel has no program in it: build the wheel with `make wheel`, or name a program in FRESNEL_BINARY')
