"""Loops compiled by numba where it is installed; everything gives the same integers without it. Leaf module.

numba is never required: Slicer does not bring it. Each compiled loop stands beside the NumPy code that it replaces, and
tests hold one to the other. Importing numba takes most of a second, so small volumes do without it until it is loaded.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import threading
from collections.abc import Callable

SWITCH = "MEDCOMPRESS_NUMBA"
"""Environment variable: "0" never uses numba, "1" uses it for the smallest volume too."""

_WORTH_IMPORTING = 1 << 20
_WORTH_LOADING = 1 << 23      # importing numba and loading what is compiled takes as long as NumPy takes for so many


def worth_compiling(n_voxels: int) -> bool:
    """Whether to take compiled loops, many times as fast as NumPy, for an array of that many voxels."""
    return loaded() or (n_voxels >= _WORTH_IMPORTING and _allowed())


def load_if_worth(n_voxels: int) -> None:
    """Load numba before work on a volume of that many voxels, if the time is made up for, so that it is `loaded`."""
    if n_voxels >= _WORTH_LOADING and _allowed():
        import numba  # noqa: F401


def loaded() -> bool:
    """Whether to take compiled loops that are only some times as fast as NumPy."""
    return _allowed() and ("numba" in sys.modules or os.environ.get(SWITCH) == "1")


def _allowed() -> bool:
    return os.environ.get(SWITCH) != "0" and _installed()


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def compiled(function: Callable) -> Callable:
    """Decorator: compiled by numba at its first call, for the types of that call, without the interpreter's lock.

    What is compiled is kept on disk for later processes: beside the source or, where that cannot be written to, in the
    user's cache folder, or not at all. `function` may use only what numba's nopython mode has, and constants; its
    integers wrap as those of C do.
    """
    lock, made = threading.Lock(), []

    @functools.wraps(function)
    def call(*arguments):
        if not made:
            with lock:                   # threads come here at the same time
                if not made:
                    made.append(_jit(function))
        return made[0](*arguments)

    return call


def _jit(function: Callable) -> Callable:
    import numba

    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:                 # no folder to keep it in
        return numba.njit(function, nogil=True)
