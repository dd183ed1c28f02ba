"""From the bytes of an `.mcz` file to voxels, slab by slab.

    Reader -> Codec -> SampleMap -> voxels

Guarantees: every slab that is returned has the digest that was taken of its voxels before they were encoded, also when
only a part of a file is decoded; the same voxels with any number of threads; beside the result, memory for a few slabs.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import BinaryIO

import numpy as np

from .checksum import combined_digest, slice_digests
from .codecs import Progress, get_codec
from .container import CODED, VERBATIM, Reader, StoredSlab
from .errors import FormatError, MedCompressError, UnsupportedError
from .lazy import LazyVolume, SlabSource
from .samples import SampleMap
from .slabs import SlabSequence, ordered_map, slice_bounds
from .volume import Volume


class StoredSlabs(SlabSource):
    """The slabs of an `.mcz` file, decoded when they are asked for.

    Guarantees: every slab has passed its digest; once each has been decoded, the digest of the whole volume is checked.

    Parameters
    ----------
    reader : Reader
    file : binary file, optional
        Closed by `close`.
    """

    def __init__(self, reader: Reader, file: BinaryIO | None = None) -> None:
        super().__init__(reader.grid, reader.header.dtype)
        self._reader, self._file = reader, file
        self._decoder = SlabDecoder(reader)
        self._digests = np.empty((*reader.header.frames_shape[:2], 32), dtype=np.uint8)
        self._missing = set(range(len(reader.grid)))

    def prepare(self, n_slabs: int) -> None:
        self._decoder.prepare(n_slabs)

    def load(self, number: int) -> np.ndarray:
        with closing(self._decoder.decode([number], 1)) as results:
            [(voxels, digests)] = results
        if number in self._missing:
            self._digests[self.grid.ranges(number)] = digests
            self._missing.discard(number)
            if not self._missing:
                check_digest(self._reader, self._digests)
        return voxels

    def close(self) -> None:
        super().close()
        if self._file is not None:
            self._file.close()


class SlabDecoder:
    """Decodes the slabs of one file.

    Parameters
    ----------
    reader : Reader

    Attributes
    ----------
    samples : SampleMap
    codec : Codec

    Raises
    ------
    FormatError
        The configuration of the codec or of the sample map, or the model, is not valid.
    """

    def __init__(self, reader: Reader) -> None:
        header = reader.header
        self._reader = reader
        self._dtype = header.dtype
        self.samples = SampleMap.from_config(header.samples_config)
        if self.samples.dtype != header.dtype:
            raise FormatError("The sample map of the file is for another type of voxel than its header names.")
        self.codec = get_codec(header.codec_id).from_config(header.codec_config, reader.model)
        if header.layers != self.codec.n_layers:
            raise FormatError("The file has not as many layers as its codec.")
        if header.codec_config.get("maximum", self.samples.maximum) != self.samples.maximum:
            raise FormatError("The file's codec is for other samples than its sample map makes.")
        self._n_regions, regions = len(header.quality.get("regions", [])), header.codec_config.get("regions", [])
        if (not isinstance(regions, list) or self._n_regions != len(regions)
                or (self._n_regions and not self.codec.near_lossless)):
            raise FormatError("The file's map of regions does not fit its codec.")

    def prepare(self, n_slabs: int) -> None:
        """Load what makes decoding so many slabs faster."""
        self.codec.prepare(n_slabs * math.prod(self._reader.grid.slab_shape(0)))

    def decode(self, numbers: Sequence[int], threads: int) -> Generator[tuple[np.ndarray, np.ndarray]]:
        """Voxels (frames, k, j, i) of slabs, each with the digests of its slices, in the order asked for.

        Reading happens in the calling thread, decoding in `threads` others; close the iterator when leaving early.
        """
        self.prepare(len(numbers))
        items = ((number, self._reader.read_slab(number)) for number in numbers)
        at_once = self.codec.at_once
        return ordered_map(self._decode, items, threads) if at_once == 1 else self._decode_many(items, at_once, threads)

    def _decode_many(self, items: Iterator[tuple[int, StoredSlab]], at_once: int,
                     threads: int) -> Generator[tuple[np.ndarray, np.ndarray]]:
        """The same for a codec that rather decodes several slabs at once, on a device."""
        while batch := list(islice(items, at_once)):
            coded = [(number, stored) for number, stored in batch if stored.storage == CODED]
            for number, stored in coded:
                self._reader.check_slab(number, stored)
            try:
                samples = self.codec.decode_many([stored.payload for _, stored in coded],
                                                 [self._reader.grid.slab_shape(number) for number, _ in coded])
            except (MedCompressError, MemoryError, RuntimeError):     # too much for the device, or one is damaged:
                samples = [None] * len(coded)                         # one by one we learn which
            decoded = dict(zip((number for number, _ in coded), samples, strict=True))
            with closing(ordered_map(self._decode, ((*item, decoded.get(item[0])) for item in batch),
                                     threads)) as results:
                yield from results

    def _decode(self, item: tuple) -> tuple[np.ndarray, np.ndarray]:
        """Voxels and digests of (number, stored slab), whose samples may follow if they are decoded already."""
        number, stored, *samples = item
        self._reader.check_slab(number, stored)
        shape = self._reader.grid.slab_shape(number)
        try:
            if stored.storage == VERBATIM:
                if stored.residue:
                    raise FormatError("Its voxels are stored as they are, yet with a residue.")
                voxels = verbatim_voxels(stored.payload, shape, self._dtype)
            else:
                voxels = self._coded(stored, shape, *samples)
        except MedCompressError as error:
            raise FormatError(f"Slab {number} cannot be decoded. {error}") from error
        except MemoryError:
            raise FormatError(f"Slab {number} cannot be decoded. That takes more memory than there is.") from None
        digests = slice_digests(voxels)
        if combined_digest(digests)[:8] != stored.digest:
            raise FormatError(f"Slab {number} decodes to other voxels than were stored, so they are not returned: the "
                              "file was tampered with, or this machine does not compute exactly.")
        return voxels, digests

    def _coded(self, stored: StoredSlab, shape: tuple[int, int, int, int],
               samples: np.ndarray | None = None) -> np.ndarray:
        if samples is not None:
            return self.samples.inverse(samples, stored.residue)
        if not self._n_regions:
            [samples] = self.codec.decode_layers([dict(enumerate(stored.chunks))], shape)
            return self.samples.inverse(samples, stored.residue)
        regions = get_codec("runs")().decode(stored.residue, (1, *shape[1:]))
        if regions.max() >= self._n_regions:
            raise FormatError("Its map of regions names one that does not exist.")
        return self.samples.inverse(self.codec.decode(stored.payload, shape, np.broadcast_to(regions, shape)))


def verbatim_voxels(payload: bytes, shape: tuple[int, int, int, int], dtype: np.dtype) -> np.ndarray:
    """The voxels of a slab that is stored as it is."""
    little_endian = dtype.newbyteorder("<")
    if len(payload) != math.prod(shape) * little_endian.itemsize:
        raise FormatError("Its voxels are stored as they are, but not as many as it has.")
    return np.frombuffer(payload, little_endian).astype(dtype, copy=False).reshape(shape)


def decode_volume(reader: Reader, slices: slice | None, threads: int, progress: Progress) -> Volume:
    """The volume, or some slices of it as a volume that lies where they lay.

    Parameters
    ----------
    reader : Reader
    slices : slice, optional
        Along k; its start and stop are understood as in indexing, negative ones too; its step must be 1. Only the slabs
        that hold them are read.
    threads : int
    progress : callable
        Called in this thread with a fraction in [0, 1]; may raise to cancel.
    """
    header = reader.header
    frames, k_count, _, _ = header.frames_shape
    start, stop = (0, k_count) if slices is None else slice_bounds(slices, k_count)
    shape = list(header.shape)
    shape[header.axes.index("k")] = stop - start
    progress(0.0)
    decoder = SlabDecoder(reader)
    try:
        voxels = np.empty(shape, dtype=header.dtype)
    except (MemoryError, ValueError):
        raise UnsupportedError(f"There is not enough memory for a volume of shape {tuple(shape)}; ask for some slices "
                               "of it.") from None
    # (t, k, j, i, c), whatever axes there are: a view, into which frame t * components + c goes.
    by_frame = voxels.reshape(-1, stop - start, *header.frames_shape[2:], header.components)
    digests = np.empty((frames, k_count, 32), dtype=np.uint8)
    numbers = reader.grid.touching(start, stop)
    with closing(decoder.decode(numbers, threads)) as results:
        for done, (number, (slab, slab_digests)) in enumerate(zip(numbers, results, strict=True), start=1):
            f_range, k_range = reader.grid.ranges(number)
            digests[f_range, k_range] = slab_digests
            first, last = max(k_range.start, start), min(k_range.stop, stop)
            for f, frame in zip(range(f_range.start, f_range.stop), slab, strict=True):
                t, c = divmod(f, header.components)
                by_frame[t, first - start:last - start, :, :, c] = frame[first - k_range.start:last - k_range.start]
            progress(done / len(numbers))
    if len(numbers) == len(reader.grid):
        check_digest(reader, digests)
    matrix = reader.ijk_to_ras.copy()
    matrix[:3, 3] += start * matrix[:3, 2]
    return Volume(voxels, matrix, header.axes, header.sequence, reader.metadata)


def decodes_to(reader: Reader, volume: Volume | LazyVolume, threads: int, progress: Progress) -> bool:
    """Whether a file decodes to the very same volume, which is found out slab by slab.

    A near-lossless file need only decode to the voxels it was proven with when it was made, which keep its bound.

    Parameters
    ----------
    reader : Reader
    volume : Volume or LazyVolume
    threads, progress
        As in `decode_volume`.
    """
    header = reader.header
    # `equals` on volumes of one voxel, as everything but the voxels themselves.
    ours, theirs = (Volume(np.zeros((1, 1, 1), np.uint8), matrix, metadata=metadata) for matrix, metadata in
                    ((reader.ijk_to_ras, reader.metadata), (volume.ijk_to_ras, volume.metadata)))
    if not (header.axes == volume.axes and header.dtype == volume.dtype and header.shape == volume.shape
            and header.sequence == volume.sequence and ours.equals(theirs)):
        return False
    bits, exact = f"u{header.dtype.itemsize}", header.quality["kind"] == "lossless"
    slabs = SlabSequence(volume.as_frames(), reader.grid)
    digests = np.empty((*header.frames_shape[:2], 32), dtype=np.uint8)
    with closing(SlabDecoder(reader).decode(range(len(slabs)), threads)) as results:
        for number, (slab, digests[reader.grid.ranges(number)]) in enumerate(results):
            if exact and not np.array_equal(slab.view(bits), slabs[number].view(bits)):
                return False
            progress((number + 1) / len(slabs))
    check_digest(reader, digests)
    return True


def check_digest(reader: Reader, digests: np.ndarray) -> None:
    """Raise FormatError unless the (frames, k, 32) digests of all slices make up the one in the file."""
    if combined_digest(digests) != reader.voxel_digest:
        raise FormatError("The decoded voxels do not have the SHA-256 that the file states, so they are not returned.")
