"""Loops compiled by numba where it is installed; everything gives the same integers without it. Leaf module.

numba is never required: Slicer does not bring it. Each compiled loop stands beside the NumPy code that it replaces, and
tests hold one to the other. Importing numba takes about a second, so small volumes do without it until it is loaded.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Callable

SWITCH = "MEDCOMPRESS_NUMBA"
"""Environment variable: "0" never uses numba, "1" uses it for the smallest volume too."""

_WORTH_IMPORTING = 1 << 20


def worth_compiling(n_voxels: int) -> bool:
    """Whether to take the compiled loops for an array of that many voxels."""
    if (switch := os.environ.get(SWITCH)) in ("0", "1"):
        return switch == "1" and _installed()
    return "numba" in sys.modules or (n_voxels >= _WORTH_IMPORTING and _installed())


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def compiled(function: Callable) -> Callable:
    """Decorator: compiled by numba at its first call, for the types of that call, without the interpreter's lock.

    What is compiled is kept on disk for later processes. `function` may use only what numba's nopython mode has; its
    integers wrap as those of C do.
    """
    @functools.wraps(function)
    def call(*arguments):
        return _dispatcher()(*arguments)

    @functools.cache
    def _dispatcher():
        import numba

        return numba.njit(function, nogil=True, cache=True)

    return call
