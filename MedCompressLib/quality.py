"""What a user may give up for smaller files. Leaf module.

Lossless is the default everywhere and needs no class.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UnsupportedError

MAX_ERROR = 1 << 20


@dataclass(frozen=True)
class NearLossless:
    """No voxel is off by more than `max_error` stored units; padding values stay exact.

    Parameters
    ----------
    max_error : int
        0 (the same as lossless) to 2**20.

    Raises
    ------
    UnsupportedError
        `max_error` is no such integer.
    """

    max_error: int

    def __post_init__(self) -> None:
        if isinstance(self.max_error, bool) or not isinstance(self.max_error, int) \
                or not 0 <= self.max_error <= MAX_ERROR:
            raise UnsupportedError(f"NearLossless needs a whole number of stored units, 0 to {MAX_ERROR}, "
                                   f"not {self.max_error!r}.")


@dataclass(frozen=True)
class SampleBound:
    """The same promise as a codec sees it, in samples.

    Samples from `low` to `high` may be off by `max_error` and stay in that interval; all others (padding, which the
    sample map puts beside the interval) are exact. Where there are regions, each has an error of its own, of which
    `max_error` is the largest.
    """

    max_error: int
    low: int
    high: int
    regions: tuple[int, ...] = ()
