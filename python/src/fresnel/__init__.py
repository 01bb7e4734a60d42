"""Fresnel runs Apache Beam pipelines.

`FresnelRunner` is a Beam runner: `--runner=fresnel.FresnelRunner`. `binary()` is the path of the program that this package
carries. Beam is imported only when the runner is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fresnel._binary import binary
from fresnel._version import __version__

if TYPE_CHECKING:
    from fresnel.runner import FresnelRunner

__all__ = ['FresnelRunner', '__version__', 'binary']


def __getattr__(name: str) -> Any:
    if name == 'FresnelRunner':
        from fresnel.runner import FresnelRunner
        return FresnelRunner
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
