"""`Volume`: voxels, where they are in the patient, and what else must survive.

Leaf module: knows arrays and nothing about files or codecs.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from .errors import UnsupportedError

DTYPES = tuple(np.dtype(name) for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
                                           "float32", "float64"))
AXES = ("kji", "kjic", "tkji", "tkjic")

_MAXIMUM_METADATA_DEPTH = 64
# Determinant of the matrix with its columns brought to length one: below this the three axes lie in a plane for
# every practical purpose, and inverting the matrix would return noise.
_MINIMUM_UNIT_DETERMINANT = 1e-9


@dataclass
class SequenceAxis:
    """What the frames of a sequence stand for.

    Attributes
    ----------
    index_name : str
        What the index counts: "frame", "time", "b-value".
    unit : str
        Unit of the index values, empty where there is none.
    values : list of str
        One per frame; text, so that they survive exactly.
    """

    index_name: str = "frame"
    unit: str = ""
    values: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if isinstance(self.values, str):
            raise UnsupportedError("The values of a sequence axis must be a list, one text per frame.")
        self.values = list(self.values)
        for text in (self.index_name, self.unit, *self.values):
            if type(text) is not str:
                raise UnsupportedError(f"The name, unit and values of a sequence axis must be text, not {text!r}; "
                                       "use str().")
            _check_text(text, "the sequence axis")

    @classmethod
    def evenly_spaced(cls, index_name: str, unit: str, frames: int, start: float | np.floating,
                      step: float | np.floating) -> SequenceAxis:
        """Values `start`, `start + step`, ... computed in decimal from the shortest decimals of `start` and `step`, so
        that a step of 0.72 gives 2.16 and not 2.1599999999999997."""
        first, distance = Decimal(str(start)), Decimal(str(step))
        return cls(index_name, unit, [_plain(first + frame * distance) for frame in range(frames)])


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(eq=False)
class Volume:
    """Voxels on a grid in the patient.

    Attributes
    ----------
    voxels : ndarray
        C order, one of the eight integer types, float32 or float64. Not copied when it is so already.
    ijk_to_ras : (4, 4) float64 ndarray
        From the voxel indices (i, j, k, 1) of a voxel's centre to millimetres right, anterior, superior. Any invertible
        affine matrix: left-handed, oblique and sheared ones too. Negative zeros become zeros.
    axes : str
        Names of the axes of `voxels`: "kji", "kjic" (components), "tkji" (sequence) or "tkjic".
    sequence : SequenceAxis, optional
        What the frames stand for. Only with a t axis, where the default numbers them "0", "1", ...
    metadata : dict
        Plain JSON that survives untouched.

    Raises
    ------
    UnsupportedError
        Something of this does not fit together; the message says what.
    """

    voxels: np.ndarray
    ijk_to_ras: np.ndarray = field(default_factory=lambda: np.eye(4))
    axes: str = "kji"
    sequence: SequenceAxis | None = None
    metadata: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.axes not in AXES:
            raise UnsupportedError(f"There is no axis order {self.axes!r}; use one of {', '.join(AXES)}.")
        self.voxels = _checked_voxels(self.voxels, self.axes)
        self.ijk_to_ras = _checked_matrix(self.ijk_to_ras)
        self._check_sequence()
        if type(self.metadata) is not dict:
            raise UnsupportedError(f"Metadata must be a dictionary of plain JSON, not {type(self.metadata).__name__}.")
        _check_json(self.metadata, "metadata", 0)

    @classmethod
    def from_array(cls, array: np.ndarray, ijk_to_ras: np.ndarray | None = None, axes: str | None = None,
                   sequence: SequenceAxis | None = None, metadata: dict | None = None) -> Volume:
        """A volume of an array, its axes guessed from its shape where they are not given.

        Three axes are (k, j, i), five are (t, k, j, i, components). Four axes are (k, j, i, components) when the last
        one has at most 4 entries and the first more than 4, else (t, k, j, i); a given `sequence` means the latter.
        """
        array = np.asarray(array)
        if axes is None:
            if array.ndim == 4:
                like_colors = sequence is None and array.shape[3] <= 4 < array.shape[0]
                axes = "kjic" if like_colors else "tkji"
            elif array.ndim in (3, 5):
                axes = "kji" if array.ndim == 3 else "tkjic"
            else:
                raise UnsupportedError(f"An array of {array.ndim} axes is no volume, which has three to five; "
                                       "array[numpy.newaxis] makes a single slice a volume.")
        return cls(array, np.eye(4) if ijk_to_ras is None else ijk_to_ras, axes, sequence,
                   {} if metadata is None else metadata)

    @classmethod
    def from_frames(cls, frames: np.ndarray, components: int = 1, ijk_to_ras: np.ndarray | None = None,
                    axes: str = "kji", sequence: SequenceAxis | None = None, metadata: dict | None = None) -> Volume:
        """The inverse of `as_frames`.

        Parameters
        ----------
        frames : (frames, k, j, i) ndarray
            frames = t * components, the component running fastest.
        components : int
            Number of components, 1 without a c axis.
        """
        frames = np.asarray(frames)
        t_count, rest = divmod(frames.shape[0], components) if frames.ndim == 4 and components > 0 else (0, 1)
        if rest or ("t" not in axes and t_count != 1) or ("c" not in axes and components != 1):
            raise UnsupportedError(f"Frames of shape {frames.shape} with {components} components do not make a volume "
                                   f"with axes {axes!r}.")
        voxels = frames.reshape(t_count, components, *frames.shape[1:])
        voxels = np.moveaxis(voxels, 1, 4)
        voxels = voxels if "c" in axes else voxels[..., 0]
        voxels = voxels if "t" in axes else voxels[0]
        return cls(voxels, np.eye(4) if ijk_to_ras is None else ijk_to_ras, axes, sequence,
                   {} if metadata is None else metadata)

    def as_frames(self) -> np.ndarray:
        """The voxels as (frames, k, j, i), frames = t * components with the component running fastest.

        A view of `voxels`, not always contiguous, except for axes "tkjic", where it is a copy.
        """
        voxels = self.voxels if "t" in self.axes else self.voxels[np.newaxis]
        voxels = voxels if "c" in self.axes else voxels[..., np.newaxis]
        return np.moveaxis(voxels, 4, 1).reshape(-1, *voxels.shape[1:4])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `voxels`, in the order of `axes`."""
        return self.voxels.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of one sample."""
        return self.voxels.dtype

    @property
    def frames(self) -> int:
        """Number of frames of the sequence, 1 without a t axis."""
        return self.voxels.shape[0] if "t" in self.axes else 1

    @property
    def components(self) -> int:
        """Number of components of a voxel, 1 without a c axis."""
        return self.voxels.shape[-1] if "c" in self.axes else 1

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along (k, j, i), in mm."""
        i, j, k = (math.hypot(*column) for column in self.ijk_to_ras[:3, :3].T)
        return k, j, i

    def equals(self, other: Volume) -> bool:
        """Whether everything is the same: voxels bit by bit (NaN and -0.0 included), type, shape, matrix, axes,
        sequence and metadata (as JSON, the order of keys aside)."""
        return (isinstance(other, Volume)
                and self.axes == other.axes
                and self.dtype == other.dtype
                and self.shape == other.shape
                and self.sequence == other.sequence
                and np.array_equal(self.ijk_to_ras, other.ijk_to_ras)
                and _canonical_json(self.metadata) == _canonical_json(other.metadata)
                and np.array_equal(_bit_patterns(self.voxels), _bit_patterns(other.voxels)))

    def _check_sequence(self) -> None:
        if "t" not in self.axes:
            if self.sequence is not None:
                raise UnsupportedError(f"A volume with axes {self.axes!r} has no t axis, so it cannot have a sequence.")
            return
        if self.sequence is None:
            self.sequence = SequenceAxis()
        if not isinstance(self.sequence, SequenceAxis):
            raise UnsupportedError(f"The sequence must be a SequenceAxis, not {type(self.sequence).__name__}.")
        if not self.sequence.values:
            self.sequence = SequenceAxis.evenly_spaced(self.sequence.index_name, self.sequence.unit, self.frames, 0, 1)
        if len(self.sequence.values) != self.frames:
            raise UnsupportedError(f"The sequence axis has {len(self.sequence.values)} values for {self.frames} "
                                   "frames; give one per frame.")


def _checked_voxels(voxels: np.ndarray, axes: str) -> np.ndarray:
    if not isinstance(voxels, np.ndarray):
        raise UnsupportedError(f"Voxels must be a numpy array, not {type(voxels).__name__}; use numpy.asarray().")
    if hasattr(voxels, "mask"):  # numpy.ma, which takes time to import
        raise UnsupportedError("Voxels with a mask are not supported, as it would be lost; give filled() voxels.")
    native = voxels.dtype.newbyteorder("=")
    if native not in DTYPES:
        raise UnsupportedError(f"Voxels of type {voxels.dtype} are not supported; convert them to one of "
                               f"{', '.join(dtype.name for dtype in DTYPES)}.")
    if voxels.ndim != len(axes):
        raise UnsupportedError(f"The array has {voxels.ndim} axes but {axes!r} names {len(axes)}; pass other axes.")
    if 0 in voxels.shape:
        raise UnsupportedError(f"The array is empty: its shape is {voxels.shape}.")
    return np.ascontiguousarray(voxels, dtype=native)


def _checked_matrix(matrix: np.ndarray) -> np.ndarray:
    try:
        matrix = np.array(matrix, dtype=np.float64) + 0.0  # -0.0 becomes 0.0
    except (TypeError, ValueError):
        raise UnsupportedError("The IJK-to-RAS matrix must be 4 x 4 real numbers.") from None
    if matrix.shape != (4, 4):
        raise UnsupportedError(f"The IJK-to-RAS matrix must be 4 x 4, not of shape {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise UnsupportedError("The IJK-to-RAS matrix has an infinite or undefined entry.")
    if not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise UnsupportedError("The last row of the IJK-to-RAS matrix must be 0, 0, 0, 1.")
    if not is_invertible(matrix[:3, :3]):
        raise UnsupportedError("The IJK-to-RAS matrix is singular: its three axes do not span a space.")
    return matrix


def is_invertible(axes: np.ndarray) -> bool:
    """Whether the three columns of a (3, 3) matrix of finite numbers span a space, whatever their lengths."""
    axes = np.asarray(axes, dtype=np.float64)
    largest = np.abs(axes).max(axis=0)
    if not largest.all():
        return False
    axes = axes / largest  # so that the lengths neither overflow nor vanish
    return bool(abs(np.linalg.det(axes / np.linalg.norm(axes, axis=0))) >= _MINIMUM_UNIT_DETERMINANT)


def _check_text(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsupportedError(f"The text {text!r} in {where} cannot be written as UTF-8.") from None


def _check_json(value: Any, where: str, depth: int) -> None:
    kind = type(value)
    if depth > _MAXIMUM_METADATA_DEPTH:
        raise UnsupportedError(f"Metadata is nested more than {_MAXIMUM_METADATA_DEPTH} deep.")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise UnsupportedError(f"The keys of {where} must be text, not {key!r}.")
            _check_text(key, where)
            _check_json(item, f"{where}[{key!r}]", depth + 1)
    elif kind is list:
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]", depth + 1)
    elif kind is str:
        _check_text(value, where)
    elif kind is float:
        if not math.isfinite(value):
            raise UnsupportedError(f"JSON has no {value}, so {where} cannot be one; write it as text.")
    elif kind not in (int, bool, type(None)):
        raise UnsupportedError(f"{where} is a {kind.__name__}, which is not plain JSON; use dict, list, str, int, "
                               "float, bool or None.")


def _canonical_json(metadata: dict) -> str:
    return json.dumps(metadata, sort_keys=True, allow_nan=False)


def _bit_patterns(voxels: np.ndarray) -> np.ndarray:
    return voxels.view(f"u{voxels.dtype.itemsize}")
