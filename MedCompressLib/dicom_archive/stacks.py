"""Which images of an archive make a stack, in which order, and how a stack lies in volumes."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from ..dicom.frames import Frame, frames_of
from ..dicom.geometry import arrange, matrix_of
from ..entropy.varint import ByteReader, write_varint
from ..errors import FormatError, MedCompressError
from ..volume import Volume
from .columns import read_integers, write_integers
from .images import Image, Layout

MEMBER_LIMIT = 1 << 24


@dataclass
class Stack:
    """Images of one series and layout.

    Attributes
    ----------
    layout : Layout
    slices : list of int
        For each image, in the order of files and of the frames in them, its slice. Equal images may share one.
    repeats : int
        How many volumes lie one after the other in the slices.
    stored, high, zeros : int, int, bool
        See `images.Split`.
    volume_lengths : list of int
        Bytes of the `.mcz` volume of the samples and, if there is one, of that of the other bits.
    """

    layout: Layout
    slices: list[int]
    repeats: int
    stored: int
    high: int
    zeros: bool
    volume_lengths: list[int]

    @property
    def slice_count(self) -> int:
        """How many different slices there are."""
        return max(self.slices) + 1

    def place(self, number: int) -> tuple[int, int]:
        """Repeat t and slice k of that slice."""
        return divmod(number, self.slice_count // self.repeats)

    def write(self, out: bytearray) -> None:
        """Append the stack as FORMAT.md has it."""
        self.layout.write(out)
        write_varint(out, len(self.slices))
        write_integers(out, self.slices)
        for number in (self.repeats, self.stored, self.high, self.zeros, len(self.volume_lengths),
                       *self.volume_lengths):
            write_varint(out, number)

    @classmethod
    def read(cls, reader: ByteReader) -> Stack:
        """Raise FormatError where there is no valid stack."""
        layout = Layout.read(reader)
        slices = read_integers(reader, reader.varint(MEMBER_LIMIT))
        repeats, stored, high, zeros, volumes = (reader.varint(limit) for limit in (MEMBER_LIMIT, 64, 63, 1, 2))
        bits = 8 * np.dtype(layout.dtype).itemsize
        used = np.unique(slices)
        if (not slices or used[0] != 0 or used[-1] != len(used) - 1 or not repeats or len(used) % repeats
                or not volumes or (stored, high) not in ((layout.stored, layout.high), (bits, bits - 1))
                or (volumes == 2 and stored == bits)):
            raise FormatError("The archive is damaged: it declares an impossible stack of images.")
        return cls(layout, slices, repeats, stored, high, bool(zeros), [reader.varint(1 << 62) for _ in range(volumes)])


def group(images: dict[int, Image]) -> list[list[int]]:
    """Numbers of the files whose images belong in one stack."""
    groups: dict[tuple[bytes, Layout], list[int]] = {}
    for number, image in images.items():
        groups.setdefault((image.series, image.layout), []).append(number)
    return list(groups.values())


def order(words: np.ndarray, headers: list[bytes], frame_counts: list[int]) -> tuple[list[int], int, np.ndarray]:
    """Where the images of a stack lie best.

    Parameters
    ----------
    words : (images, rows, columns, samples) ndarray
    headers : list of bytes
        Of each file, up to its pixel data.
    frame_counts : list of int
        How many of the images are in each file.

    Returns
    -------
    slices : list of int
        The slice of each image.
    repeats : int
        How many volumes these slices are.
    matrix : (4, 4) ndarray
        IJK to RAS where the slices are a volume, else a unit matrix: it is of no use but to those who look.
    """
    frames = _frames(headers, frame_counts)
    if frames is not None:
        try:
            arranged, sequence = arrange(frames)
            repeats = 1 if sequence is None else len(sequence.values)
            return _ranks(arranged), repeats, _matrix(frames, arranged, repeats)
        except MedCompressError:
            pass  # no volume; each image then lies beside those of its direction and position
    first: dict[bytes, int] = {}
    same = [first.setdefault(hashlib.sha256(image.tobytes()).digest(), number) for number, image in enumerate(words)]
    distinct = sorted(set(same), key=lambda number: (*_position(frames[number]), number) if frames else number)
    rank = {number: place for place, number in enumerate(distinct)}
    return [rank[number] for number in same], 1, np.eye(4)


def volume_of(samples: np.ndarray, repeats: int, matrix: np.ndarray) -> Volume:
    """The volume of (slices, rows, columns, samples) in the order of slices."""
    samples = samples.reshape(repeats, -1, *samples.shape[1:])
    axes = "tkjic"
    if samples.shape[-1] == 1:
        samples, axes = samples[..., 0], axes.replace("c", "")
    if repeats == 1:
        samples, axes = samples[0], axes.replace("t", "")
    return Volume(samples, matrix, axes)


def in_slices(words: np.ndarray, slices: list[int]) -> np.ndarray:
    """Images in the order of slices, each once."""
    source = np.empty(max(slices) + 1, dtype=np.intp)
    source[slices] = np.arange(len(slices))
    return words[source]


def _frames(headers: list[bytes], frame_counts: list[int]) -> list[Frame] | None:
    import pydicom

    frames = []
    for number, (header, count) in enumerate(zip(headers, frame_counts, strict=True)):
        try:
            dataset = pydicom.dcmread(io.BytesIO(header), force=True, stop_before_pixels=True)
            found = frames_of(dataset, PurePosixPath(str(number)))
        except Exception:  # whatever the headers say, the images are archived; only their order may be worse
            return None
        if len(found) != count:
            return None
        frames += found
    return frames


def _ranks(arranged: list[int]) -> list[int]:
    ranks = [0] * len(arranged)
    for place, number in enumerate(arranged):
        ranks[number] = place
    return ranks


def _matrix(frames: list[Frame], arranged: list[int], repeats: int) -> np.ndarray:
    try:
        return matrix_of([frames[number] for number in arranged], repeats)[0]
    except MedCompressError:
        return np.eye(4)


def _position(frame: Frame) -> tuple:
    """What brings neighbours together: the direction of a slice, where it lies along it."""
    normal = np.cross(*frame.orientation)
    return *np.round(frame.orientation, 3).ravel().tolist(), float(frame.position @ normal)
