"""An archive that is open: its files again, byte for byte, all of them or one by one."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np

from ..checksum import crc32c
from ..codecs import Progress
from ..container import Reader
from ..decode import StoredSlabs
from ..errors import FormatError
from ..lazy import LazyArray
from .catalogue import Entry
from .elements import HAS_VALUE, IMAGE, rebuild
from .file import Contents, read_archive
from .images import Split, join
from .names import check_names
from .stacks import Stack

_LOADED = 0.8


class Archive:
    """The files of an archive.

    Parameters
    ----------
    file : binary file
        Open for reading and seeking, as long as the archive is used.
    threads : int

    Attributes
    ----------
    contents : Contents
    names : list of str
        Path of each file within the folder that was archived, parts divided by "/".
    section_lengths : dict of str to int
        Bytes of fixed part, catalogue, values put aside and volumes.
    volumes : list of list of Reader
        For each stack its volumes: the samples and, if there is one, the other bits.

    Raises
    ------
    FormatError
        The file is no archive, or is damaged.
    """

    def __init__(self, file: BinaryIO, threads: int) -> None:
        self.contents: Contents
        self.contents, windows, self.section_lengths = read_archive(file)
        self.names = [entry.name.decode("utf-8", "surrogateescape") for entry in self.contents.entries]
        check_names(self.names)
        self.volumes = [[Reader(window) for window in mine] for mine in windows]
        self._stacks = [_StackReader(stack, mine, threads)
                        for stack, mine in zip(self.contents.stacks, self.volumes, strict=True)]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def files(self) -> list[ArchivedFile]:
        """The files, to be opened like those in a folder."""
        return [ArchivedFile(self, number) for number in range(len(self))]

    def data(self, number: int) -> bytes:
        """The bytes of the file with that number. Only the slabs that hold its images are decoded.

        Raises
        ------
        FormatError
            They are not those that were archived; nothing is returned then.
        """
        entry, values = self.contents.entries[number], self.contents.entries[number].values
        if number in self.contents.images:
            stack, first, count = self.contents.images[number]
            image = self._stacks[stack].image_bytes(first, count)
            at = _image_at(entry)[1]
            values = [*values[:at], image + values[at], *values[at + 1:]]
        data = rebuild(entry.steps, values)
        if crc32c(data) != entry.crc:
            raise FormatError(f"The file {self.names[number]} in the archive does not come back as it was.")
        return data

    def start(self, number: int) -> bytes:
        """The bytes of that file up to its image, for which nothing is decoded; all where it has none in a stack."""
        entry = self.contents.entries[number]
        if number not in self.contents.images:
            return self.data(number)
        step, value = _image_at(entry)
        length = self._image_length(number) + len(entry.values[value])
        return (rebuild(entry.steps[:step], entry.values[:value]) + entry.steps[step].header
                + entry.steps[step].length_field(length))

    def sizes(self) -> list[int]:
        """How many bytes each file has."""
        return [len(rebuild(entry.steps, entry.values)) + self._image_length(number)
                for number, entry in enumerate(self.contents.entries)]

    def all_data(self, progress: Progress) -> Iterator[bytes]:
        """The bytes of all files in turn; after the last one the digest of them all is checked."""
        total = sum(len(stack) for stack in self._stacks)
        done = 0
        for stack in self._stacks:
            for slices in stack.load():
                done += slices
                progress(_LOADED * done / total)
        digests = hashlib.sha256()
        for number in range(len(self)):
            data = self.data(number)
            digests.update(hashlib.sha256(data).digest())
            progress(_LOADED + (1 - _LOADED) * (number + 1) / len(self))
            yield data
        if digests.digest() != self.contents.digest:
            raise FormatError("The files in the archive do not have the SHA-256 that it states.")

    def _image_length(self, number: int) -> int:
        stack, _, count = self.contents.images.get(number, (0, 0, 0))
        return count * self.contents.stacks[stack].layout.frame_bytes if count else 0


class ArchivedFile:
    """A file in an archive, opened like a path.

    Parameters
    ----------
    archive : Archive
    number : int
    """

    def __init__(self, archive: Archive, number: int) -> None:
        self._archive, self._number = archive, number

    @property
    def name(self) -> str:
        """Its name without the folders."""
        return PurePosixPath(str(self)).name

    def __str__(self) -> str:
        return self._archive.names[self._number]

    def is_file(self) -> bool:
        """An archive holds nothing else."""
        return True

    def open(self, mode: str = "rb") -> BinaryIO:
        """The file for reading; its image is decoded when it is read."""
        if mode != "rb":
            raise ValueError(f"A file in an archive can be read as it is ('rb'), not opened with {mode!r}.")
        return _LateFile(self._archive, self._number)


class _LateFile(io.BytesIO):
    """Begins as the bytes before the image; the rest comes when somebody reads on."""

    def __init__(self, archive: Archive, number: int) -> None:
        super().__init__(archive.start(number))
        self._archive, self._number, self._whole = archive, number, number not in archive.contents.images

    def read(self, size: int | None = -1) -> bytes:
        if not self._whole and (size is None or size < 0 or self.tell() + size > len(self.getbuffer())):
            self._load()
        return super().read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and not self._whole:
            self._load()
        return super().seek(offset, whence)

    def _load(self) -> None:
        self._whole = True
        at = self.tell()
        super().seek(0)
        self.write(self._archive.data(self._number))
        super().seek(at)


class _StackReader:
    """The images of one stack, from its volumes."""

    def __init__(self, stack: Stack, volumes: list[Reader], threads: int) -> None:
        self._stack = stack
        layout = stack.layout
        dtype = np.dtype(layout.dtype).newbyteorder("=")
        count, repeats = stack.slice_count, stack.repeats
        shape = (repeats * layout.samples, count // repeats, layout.rows, layout.columns)
        unsigned = np.dtype(f"u{dtype.itemsize}")
        for reader, expected in zip(volumes, (dtype, unsigned), strict=False):
            if reader.header.frames_shape != shape or reader.header.dtype != expected:
                raise FormatError("A volume in the archive is not of the size or type that its catalogue states.")
        self._volumes: list[LazyArray | np.ndarray] = [LazyArray(StoredSlabs(reader), "tkji", 1, threads)
                                                       for reader in volumes]

    def __len__(self) -> int:
        return self._stack.slice_count

    def load(self) -> Iterator[int]:
        """Decode everything now and keep it; tells after each part how many slices are done."""
        share = len(self) / max(1, len(self._volumes))
        for place, volume in enumerate(self._volumes):
            if isinstance(volume, LazyArray):
                voxels = np.empty(volume.shape, volume.dtype)
                for index, part in volume.slabs():
                    voxels[index] = part
                    yield share * part.size / voxels.size
                self._volumes[place] = voxels

    def image_bytes(self, first: int, count: int) -> bytes:
        """The bytes of these images as they lie in their file."""
        layout = self._stack.layout
        frames = [self._words(number) for number in self._stack.slices[first:first + count]]
        return layout.data(np.stack(frames))

    def _words(self, number: int) -> np.ndarray:
        """(rows, columns, samples) words of one slice."""
        t, k = self._stack.place(number)
        samples = self._stack.layout.samples
        parts = [np.moveaxis(np.asarray(volume[t * samples:(t + 1) * samples, k]), 0, 2) for volume in self._volumes]
        return join(Split(np.ascontiguousarray(parts[0]), parts[1] if len(parts) > 1 else None, self._stack.stored,
                          self._stack.high, self._stack.zeros))


def _image_at(entry: Entry) -> tuple[int, int]:
    """Which step and which value of a file is that with its image."""
    step = next(number for number, step in enumerate(entry.steps) if step.kind == IMAGE)
    return step, sum(before.kind in HAS_VALUE for before in entry.steps[:step])
