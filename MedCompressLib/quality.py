"""What a user may give up for smaller files. Leaf module.

Lossless is the default everywhere and needs no class.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UnsupportedError

MAX_ERROR = 1 << 20
MAX_REGIONS = 16


@dataclass(frozen=True)
class NearLossless:
    """No voxel is off by more than `max_error` stored units; a lone extreme value, as padding often is, stays exact.

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
class TargetRatio:
    """The file is so many times smaller than the voxels are: at least that, at most 2 % more.

    Parameters
    ----------
    ratio : float
        1 or more.

    Raises
    ------
    UnsupportedError
        `ratio` is no such number.
    """

    ratio: float

    def __post_init__(self) -> None:
        _check_number("TargetRatio needs a ratio of 1 or more", self.ratio, 1)


@dataclass(frozen=True)
class TargetBitrate:
    """The whole file takes so many bits for each voxel (and component): at most that, at least 2 % less.

    Parameters
    ----------
    bits_per_voxel : float
        Above 0.

    Raises
    ------
    UnsupportedError
        `bits_per_voxel` is no such number.
    """

    bits_per_voxel: float

    def __post_init__(self) -> None:
        _check_number("TargetBitrate needs a number of bits above 0", self.bits_per_voxel, 1e-9)


@dataclass(frozen=True)
class TargetPSNR:
    """The peak signal-to-noise ratio of the whole volume: at least that, and as little above as can be had.

    The peak is the range of the volume, its largest voxel minus its smallest.

    Parameters
    ----------
    psnr_db : float
        In dB, 0 to 300.

    Raises
    ------
    UnsupportedError
        `psnr_db` is no such number.
    """

    psnr_db: float

    def __post_init__(self) -> None:
        _check_number("TargetPSNR needs a number of dB from 0 to 300", self.psnr_db, 0, 300)


Target = TargetRatio | TargetBitrate | TargetPSNR


@dataclass(frozen=True)
class ConstantBackground:
    """All voxels outside the regions of interest become one value; those inside are exact.

    Parameters
    ----------
    value : int
        In stored units, such as -1024 for air in a CT.

    Raises
    ------
    UnsupportedError
        `value` is no whole number.
    """

    value: int

    def __post_init__(self) -> None:
        if type(self.value) is not int:
            raise UnsupportedError(f"ConstantBackground needs a whole number of stored units, not {self.value!r}.")


Quality = NearLossless | Target | ConstantBackground


def _check_number(sentence: str, value: float, least: float, most: float = 1e9) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise UnsupportedError(f"{sentence}, not {value!r}.")


@dataclass(frozen=True)
class SampleStep:
    """How coarse a codec may become, in samples: the step of a uniform quantiser of the same error."""

    step: float


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
