"""Voxels that lie in files as they are, read slab by slab, and volumes written piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from ..codecs import Progress
from ..errors import FormatError, MedCompressError
from ..lazy import PIECE_VOXELS, LazyVolume, SlabSource
from ..slabs import SlabGrid
from ..volume import Volume


class PlainSlabs(SlabSource):
    """Uncompressed voxels in C order, in one file or cut into equal parts that stand in several.

    Files are open only while a slab is read.

    Parameters
    ----------
    parts : list of (Path, int)
        Files, and where in them the voxels begin.
    dtype : numpy.dtype
        Of a voxel in the file, with its byte order.
    shape : (t, k, j, i, c)

    Raises
    ------
    FormatError
        The voxels cannot be shared evenly by the files, or a file is too short.
    """

    def __init__(self, parts: list[tuple[Path, int]], dtype: np.dtype, shape: tuple[int, int, int, int, int]) -> None:
        t, k, *self._layer = shape
        j, i, c = self._layer
        slices = min(k, max(1, PIECE_VOXELS // (j * i * c)))
        super().__init__(SlabGrid((t * c, k, j, i), c, slices), dtype.newbyteorder("="))
        self._parts, self._stored = parts, dtype
        self._part_bytes, rest = divmod(math.prod(shape) * dtype.itemsize, len(parts))
        if rest or self._part_bytes % dtype.itemsize:
            raise FormatError(f"{len(parts)} data files cannot share voxels of shape {shape} evenly.")
        for path, offset in parts:
            if path.stat().st_size < offset + self._part_bytes:
                raise FormatError(f"{path.name} is truncated: {self._part_bytes} bytes of voxels are declared, "
                                  f"{max(0, path.stat().st_size - offset)} are there.")

    def load(self, number: int) -> np.ndarray:
        frames, slices = self.grid.ranges(number)
        components = self.grid.frames
        layer_bytes = math.prod(self._layer) * self._stored.itemsize
        t = frames.start // components
        samples = np.empty([slices.stop - slices.start, *self._layer], self._stored)
        try:
            self._read((t * self.grid.shape[1] + slices.start) * layer_bytes, memoryview(samples).cast("B"))
        except OSError as error:
            raise MedCompressError(f"{self._parts[0][0]} cannot be read: {error.strerror or error}.") from error
        samples = samples if self._stored.isnative else samples.byteswap(inplace=True).view(self.dtype)
        return np.moveaxis(samples, -1, 0)

    def _read(self, start: int, buffer: memoryview) -> None:
        while len(buffer):
            number, place = divmod(start, self._part_bytes)
            path, offset = self._parts[number]
            with path.open("rb") as file:
                file.seek(offset + place)
                count = file.readinto(buffer[:self._part_bytes - place])
            if not count:
                raise FormatError(f"{path.name} became shorter while it was read.")
            start, buffer = start + count, buffer[count:]


def pieces(volume: Volume | LazyVolume, progress: Progress) -> Iterator[np.ndarray]:
    """The voxels of a volume in C order, little-endian; of a lazy one, a few slabs at a time.

    `progress` is called with the fraction that has been dealt with; it may raise to cancel.
    """
    volume = LazyVolume.of(volume) if isinstance(volume, Volume) else volume
    done = 0
    with closing(volume.slabs()) as slabs:
        for _, voxels in slabs:
            yield voxels.astype(volume.dtype.newbyteorder("<"), copy=False)
            done += voxels.size
            progress(done / volume.size)
