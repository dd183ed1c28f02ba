"""Progress callbacks. Leaf module."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float], None]
"""Called with a fraction from 0 to 1; what it raises stops the work."""


def rising(progress: Progress | None) -> Progress:
    """A callback that may be called with anything and passes on only what is more than before."""
    highest = -1.0

    def report(fraction: float) -> None:
        nonlocal highest
        fraction = min(max(float(fraction), 0.0), 1.0)
        if fraction > highest:
            highest = fraction
            if progress is not None:
                progress(fraction)

    return report
