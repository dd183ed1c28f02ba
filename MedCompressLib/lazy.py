"""`LazyVolume`: a volume whose voxels are read, or decoded, when they are asked for.

It is indexed as a numpy array is (whole numbers, slices with any step, `...`, `numpy.newaxis`), and only the slabs that
hold what was asked for are touched. Knows slabs and arrays, and nothing about the files they come from.
"""

from __future__ import annotations

import math
import operator
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from .errors import MedCompressError, UnsupportedError
from .slabs import SlabGrid, default_threads, ordered_map
from .volume import SequenceAxis, Volume

# Slabs that were used last are kept up to this many bytes, so that going through a volume slice by slice, up or down,
# decodes each slab once.
CACHE_BYTES = 64 << 20
# Voxels that need no decoding are taken in pieces of about so many.
PIECE_VOXELS = 1 << 22


class SlabSource(ABC):
    """Voxels (frames, k, j, i) that can be had slab by slab, from several threads at once.

    Parameters
    ----------
    grid : SlabGrid
        How the slabs lie.
    dtype : numpy.dtype
        Of a voxel, in the byte order of this machine.
    """

    def __init__(self, grid: SlabGrid, dtype: np.dtype) -> None:
        self.grid, self.dtype = grid, dtype
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def check_open(self) -> None:
        """MedCompressError after `close`."""
        if self._closed:
            raise MedCompressError("The file was closed, so no more can be read from it.")

    def slab(self, number: int) -> np.ndarray:
        """The (frames, k, j, i) voxels of the slab with that number, which nobody may change."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        slab = self.load(number)
        slab.flags.writeable = False
        with self._lock:
            self._kept[number] = slab
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > CACHE_BYTES:
                self._kept.popitem(last=False)
        return slab

    def prepare(self, n_slabs: int) -> None:  # noqa: B027  (most sources have nothing to prepare)
        """Get ready for so many slabs, one after the other."""

    @abstractmethod
    def load(self, number: int) -> np.ndarray:
        """Read or decode a slab."""

    def close(self) -> None:
        """Let go of what is kept, and of the file."""
        with self._lock:
            self._kept.clear()
        self._closed = True


class ArraySlabs(SlabSource):
    """Slabs of an array, which as a rule is in memory.

    Parameters
    ----------
    voxels : (frames, k, j, i) ndarray or LazyArray
    """

    def __init__(self, voxels: np.ndarray | LazyArray) -> None:
        frames, k, j, i = voxels.shape
        super().__init__(SlabGrid((frames, k, j, i), 1, min(k, max(1, PIECE_VOXELS // (j * i)))), voxels.dtype)
        self._voxels = voxels

    def slab(self, number: int) -> np.ndarray:
        return self.load(number)

    def load(self, number: int) -> np.ndarray:
        return self._voxels[self.grid.ranges(number)]


class LazyArray:
    """An array-like over slabs: shape, dtype, indexing and `numpy.asarray`, in the manner of nibabel's array proxies.

    Parameters
    ----------
    source : SlabSource
    axes : str
        As in `Volume`.
    components : int
        Of a voxel, 1 without a c axis.
    threads : int, optional
        How many slabs are worked on at a time; by default one per processor, at most 8.
    """

    is_proxy = True

    def __init__(self, source: SlabSource, axes: str, components: int = 1, threads: int | None = None) -> None:
        self._source, self._axes, self._components = source, axes, components
        self._threads = threads or default_threads()

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes, in the order of `axes`."""
        return tuple(length for axis, length in self._lengths.items() if axis in self._axes)

    @property
    def dtype(self) -> np.dtype:
        """Type of one sample."""
        return self._source.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._axes)

    @property
    def size(self) -> int:
        """Number of samples."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the array would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' x '.join(map(str, self.shape))} ({self._axes}) of {self.dtype}>"

    def __reduce__(self) -> str:
        raise UnsupportedError("Voxels that are read from an open file cannot be pickled; open the file again where "
                               "they are needed, or give numpy.asarray(volume) away.")

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Voxels that are not in memory cannot become an array without a copy.")
        voxels = self[...]
        return voxels if dtype is None else voxels.astype(dtype, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        """A new array, or a number where the index is a single voxel's; the same that the array in memory would give.

        Raises
        ------
        IndexError
            Out of bounds, or an index other than whole numbers, slices, `...` and `numpy.newaxis`.
        FormatError
            The file is damaged there.
        MedCompressError
            It was closed.
        """
        self._source.check_open()
        picked, shape = self._resolved(index)
        t, k, j, i, c = (picked.get(axis, range(1)) for axis in "tkjic")
        voxels = np.empty([len(part) for part in (t, k, j, i, c)], self.dtype)
        if voxels.size:
            numbers = self._source.grid.holding((frame * self._components + one for frame in t for one in c), k)
            self._source.prepare(len(numbers))
            with closing(ordered_map(self._source.slab, numbers, min(self._threads, len(numbers)))) as slabs:
                for number, slab in zip(numbers, slabs, strict=True):
                    self._put(voxels, slab, number, t, k, c, (_as_slice(j), _as_slice(i)))
        return voxels.reshape(shape)[()]

    def slabs(self) -> Generator[tuple[tuple[slice, ...], np.ndarray]]:
        """The whole array in pieces of about a slab, in C order: an index, and what is there.

        Where slabs hold several frames of a sequence, a piece is all slices of these frames. Close the iterator
        (`contextlib.closing`) when leaving early.
        """
        indices = self._pieces()
        self._source.prepare(len(self._source.grid))
        with closing(ordered_map(self.__getitem__, indices, self._threads)) as pieces:
            yield from zip(indices, pieces, strict=True)

    @property
    def _lengths(self) -> dict[str, int]:
        frames, k, j, i = self._source.grid.shape
        return {"t": frames // self._components, "k": k, "j": j, "i": i, "c": self._components}

    def _pieces(self) -> list[tuple[slice, ...]]:
        grid, lengths = self._source.grid, self._lengths
        frames = max(1, grid.frames // self._components)
        slices = grid.slices if frames == 1 else lengths["k"]
        steps = [slice(first, min(first + frames, lengths["t"])) for first in range(0, lengths["t"], frames)]
        layers = [slice(first, min(first + slices, lengths["k"])) for first in range(0, lengths["k"], slices)]
        return [(step, layer)["t" not in self._axes:] for step in steps for layer in layers]

    def _resolved(self, index: Any) -> tuple[dict[str, range], tuple[int, ...]]:
        """Which indices along each axis, and the shape of the result."""
        parts = list(index) if isinstance(index, tuple) else [index]
        for part in parts:
            if not (part is None or part is Ellipsis or isinstance(part, slice)
                    or (hasattr(part, "__index__") and not isinstance(part, (bool, np.bool_, np.ndarray)))):
                raise IndexError("Only whole numbers, slices, ... and numpy.newaxis select voxels that are not in "
                                 f"memory, not {type(part).__name__}; index numpy.asarray(volume) instead.")
        # An array of this shape without memory knows what is out of bounds, and the shape of the result.
        shape = np.broadcast_to(np.empty((), np.uint8), self.shape)[index].shape
        parts = [part for part in parts if part is not None]
        if Ellipsis not in parts:
            parts.append(Ellipsis)
        at = parts.index(Ellipsis)
        parts[at:at + 1] = [slice(None)] * (self.ndim - len(parts) + 1)
        picked = {}
        for axis, part, length in zip(self._axes, parts, self.shape, strict=True):
            if isinstance(part, slice):
                picked[axis] = range(length)[part]
            else:
                picked[axis] = range(length)[operator.index(part):][:1]
        return picked, shape

    def _put(self, voxels: np.ndarray, slab: np.ndarray, number: int, t: range, k: range, c: range,
             inside: tuple[slice, slice]) -> None:
        """Copy what a slab has of the voxels (t, k, j, i, c) that are wanted."""
        frames, slices = self._source.grid.ranges(number)
        wanted = np.arange(k.start, k.stop, k.step)
        here = np.flatnonzero((wanted >= slices.start) & (wanted < slices.stop))
        places = slice(int(here[0]), int(here[-1]) + 1)
        first = k[places.start] - slices.start
        part = slab[(slice(None), _as_slice(range(first, first + k.step * len(here), k.step)), *inside)]
        for at_t, frame in enumerate(t):
            for at_c, component in enumerate(c):
                at = frame * self._components + component - frames.start
                if 0 <= at < frames.stop - frames.start:
                    voxels[at_t, places, :, :, at_c] = part[at]


class LazyVolume(LazyArray):
    """A volume on disk, with the attributes of a `Volume` but for `voxels`; a context manager that closes the file.

    Slabs that were used last stay in memory, up to 64 MiB. Several threads may use one object.

    Parameters
    ----------
    source, components, threads
        As in `LazyArray`.
    ijk_to_ras, axes, sequence, metadata
        As in `Volume`.
    """

    def __init__(self, source: SlabSource, components: int, ijk_to_ras: np.ndarray, axes: str,
                 sequence: SequenceAxis | None, metadata: dict, threads: int | None = None) -> None:
        super().__init__(source, axes, components, threads)
        # `Volume` checks, and keeps, all but the voxels. One voxel stands for each frame of a sequence.
        frames = source.grid.shape[0] // components if "t" in axes else 1
        stand_in = np.zeros([frames if axis == "t" else 1 for axis in axes], np.uint8)
        self._described = Volume(stand_in, ijk_to_ras, axes, sequence, metadata)

    @classmethod
    def of(cls, volume: Volume, threads: int | None = None) -> LazyVolume:
        """The same interface over a volume that is in memory."""
        return cls(ArraySlabs(volume.as_frames()), volume.components, volume.ijk_to_ras, volume.axes, volume.sequence,
                   volume.metadata, threads)

    @property
    def axes(self) -> str:
        """Names of the axes, as in `Volume`."""
        return self._axes

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """From voxel indices (i, j, k, 1) to millimetres, as in `Volume`."""
        return self._described.ijk_to_ras

    @property
    def sequence(self) -> SequenceAxis | None:
        """What the frames stand for."""
        return self._described.sequence

    @property
    def metadata(self) -> dict:
        """Plain JSON of the user's."""
        return self._described.metadata

    @property
    def frames(self) -> int:
        """Number of frames of the sequence, 1 without a t axis."""
        return self._lengths["t"]

    @property
    def components(self) -> int:
        """Number of components of a voxel, 1 without a c axis."""
        return self._components

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along (k, j, i), in mm."""
        return self._described.spacing

    def as_frames(self) -> LazyArray:
        """The voxels as (frames, k, j, i), frames = t * components with the component running fastest."""
        return LazyArray(self._source, "tkji", 1, self._threads)

    def load(self) -> Volume:
        """All of it, as a `Volume` in memory."""
        return Volume(self[...], self.ijk_to_ras, self.axes, self.sequence, self.metadata)

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._source.close()

    def __enter__(self) -> LazyVolume:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _as_slice(part: range) -> slice:
    if not part:
        return slice(0, 0)
    stop = part[-1] + part.step
    return slice(part[0], None if stop < 0 else stop, part.step)
