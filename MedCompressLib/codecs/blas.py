"""Keep the BLAS and LAPACK behind NumPy to one thread while a codec runs.

Its products are small and many, and slabs are worked on by several threads already: threads inside a product would
only wait for each other. NumPy has no switch for this, so the OpenBLAS that its wheels carry is asked directly; with
any other BLAS nothing is changed. Results do not depend on it, only speed does.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

_lock = threading.Lock()
_users = 0
_before = 0


@contextmanager
def one_thread_blas() -> Iterator[None]:
    """One BLAS thread inside; the former number again when the last user leaves."""
    global _users, _before
    switch = _switch()
    if switch is None:
        yield
        return
    get, put = switch
    with _lock:
        if _users == 0:
            _before = get()
            put(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                put(_before)


@cache
def _switch():
    """Functions that get and set the number of threads, or None."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs", package / ".libs"):
        for path in sorted(folder.glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            for prefix in ("scipy_", ""):
                for suffix in ("64_", ""):
                    names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
                    if all(hasattr(library, name) for name in names):
                        return getattr(library, names[0]), getattr(library, names[1])
    return None
