"""Images of DICOM files as stacks of samples, and back to the very same bits.

A *layout* says how the bits of an image lie in a file. Images of one series and layout make a *stack*, ordered as they
follow each other in the patient where the headers tell it, so that each slice predicts the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..entropy.varint import ByteReader, write_varint
from ..errors import FormatError
from .elements import CLOSE, HAS_VALUE, LEAF, OPEN, OPEN_UNDEFINED, Step

_ROWS, _COLUMNS, _SAMPLES, _PLANAR = (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0002), (0x0028, 0x0006)
_ALLOCATED, _STORED, _HIGH = (0x0028, 0x0100), (0x0028, 0x0101), (0x0028, 0x0102)
_SIGNED, _FRAMES = (0x0028, 0x0103), (0x0028, 0x0008)
_SERIES = (0x0020, 0x000E)
_PIXELS = {(0x7FE0, 0x0010): "", (0x7FE0, 0x0008): "f4", (0x7FE0, 0x0009): "f8"}
_KINDS = "uif"
SAMPLES_LIMIT = 4
AXIS_LIMIT = 1 << 16
# With more different patterns than this in the bits that should not matter, they hold no overlay: they are a part of
# the samples, whatever Bits Stored says.
_OVERLAY_PATTERNS = 64


@dataclass(frozen=True)
class Layout:
    """How an image lies in a file.

    Attributes
    ----------
    dtype : str
        Type of a word as NumPy writes it, byte order included: "<u2", ">i2", "|u1", "<f4".
    rows, columns, samples : int
    planar : bool
        Whether each sample (colour) is a plane of its own.
    stored, high : int
        Bits Stored and High Bit; for floats all bits.
    """

    dtype: str
    rows: int
    columns: int
    samples: int
    planar: bool
    stored: int
    high: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one image."""
        return self.rows * self.columns * self.samples * np.dtype(self.dtype).itemsize

    def words(self, data: bytes) -> np.ndarray:
        """(frames, rows, columns, samples) words of whole images, a view."""
        words = np.frombuffer(data, self.dtype)
        if self.planar:
            return np.moveaxis(words.reshape(-1, self.samples, self.rows, self.columns), 1, 3)
        return words.reshape(-1, self.rows, self.columns, self.samples)

    def data(self, words: np.ndarray) -> bytes:
        """The inverse of `words`."""
        words = np.moveaxis(words, 3, 1) if self.planar else words
        return words.astype(self.dtype, copy=False).tobytes()

    def write(self, out: bytearray) -> None:
        """Append the layout as FORMAT.md has it."""
        dtype = np.dtype(self.dtype)
        out += bytes((dtype.itemsize, _KINDS.index(dtype.kind), dtype.str[0] == ">", self.planar, self.samples))
        for number in (self.rows, self.columns, self.stored, self.high):
            write_varint(out, number)

    @classmethod
    def read(cls, reader: ByteReader) -> Layout:
        """Raise FormatError where there is no valid layout."""
        size, kind, big, planar, samples = reader.take(5)
        rows, columns, stored, high = (reader.varint(AXIS_LIMIT) for _ in range(4))
        valid = (size in (1, 2, 4, 8) and kind < len(_KINDS) and (_KINDS[kind] != "f" or size in (4, 8)) and big < 2
                 and planar < 2 and 1 <= samples <= SAMPLES_LIMIT and rows and columns
                 and 1 <= stored <= high + 1 <= 8 * size)
        if not valid:
            raise FormatError("The archive is damaged: it declares an impossible layout of an image.")
        return cls(_dtype(_KINDS[kind], size, bool(big)), rows, columns, samples, bool(planar), stored, high)


@dataclass(frozen=True)
class Image:
    """The images in one file: at which of its steps and values, how they lie there, how many, and their series."""

    step: int
    value: int
    layout: Layout
    frames: int
    series: bytes


def find_image(steps: list[Step], values: list[bytes]) -> Image | None:
    """The uncompressed pixel data of a file, or None where there is none that makes whole words."""
    top = _top_elements(steps, values)
    found = next((tag for tag in _PIXELS if tag in top), None)
    if found is None:
        return None
    step, value = top[found]
    big = steps[step].big

    def number(tag: tuple[int, int], default: int | None) -> int | None:
        data = values[top[tag][1]] if tag in top else b""
        return int.from_bytes(data, "big" if big else "little") if len(data) == 2 else default

    rows, columns, samples = number(_ROWS, None), number(_COLUMNS, None), number(_SAMPLES, 1)
    if not rows or not columns or not 1 <= samples <= SAMPLES_LIMIT:
        return None
    floats = np.dtype(_PIXELS[found]) if _PIXELS[found] else None
    allocated = 8 * floats.itemsize if floats else number(_ALLOCATED, None)
    if allocated not in (8, 16, 32, 64):
        return None
    stored = number(_STORED, allocated)
    high = number(_HIGH, stored - 1)
    if floats or not 1 <= stored <= high + 1 <= allocated:
        stored, high = allocated, allocated - 1
    kind = "f" if floats else "ui"[number(_SIGNED, 0) == 1]
    layout = Layout(_dtype(kind, allocated // 8, big), rows, columns, samples,
                    samples > 1 and number(_PLANAR, 0) == 1, stored, high)
    text = values[top[_FRAMES][1]].strip(b"\0 ") if _FRAMES in top else b"1"
    frames = min(int(text) if text.isdigit() and len(text) < 9 else 1, len(values[value]) // layout.frame_bytes)
    series = values[top[_SERIES][1]] if _SERIES in top else b""
    return Image(step, value, layout, frames, series) if frames else None


def _top_elements(steps: list[Step], values: list[bytes]) -> dict[tuple[int, int], tuple[int, int]]:
    """Tag to the places of its step and value, for elements outside all sequences."""
    places, depth, value = {}, 0, 0
    for place, step in enumerate(steps):
        depth += (step.kind in (OPEN, OPEN_UNDEFINED)) - (step.kind == CLOSE)
        if step.kind == LEAF and depth == 0:
            places.setdefault(step.tag, (place, value))
        value += step.kind in HAS_VALUE
    return places


def _dtype(kind: str, size: int, big: bool) -> str:
    return np.dtype(f"{'>' if big else '<'}{kind}{size}").str


@dataclass(frozen=True)
class Split:
    """Words as samples of Bits Stored bits and, where they say anything, the other bits.

    Attributes
    ----------
    samples : ndarray
        Native integers (or floats), signed ones extended by their sign.
    others : ndarray or None
        Unsigned: words XOR what the samples alone would give; None where that is 0 everywhere.
    stored, high : int
        As in `Layout`, or all bits of the word.
    zeros : bool
        Whether zeros, not copies of the sign, stand above the samples.
    """

    samples: np.ndarray
    others: np.ndarray | None
    stored: int
    high: int
    zeros: bool


def split(words: np.ndarray, layout: Layout) -> Split:
    """Part the words of a stack."""
    words = words.astype(words.dtype.newbyteorder("="), copy=False)
    bits = 8 * words.dtype.itemsize
    whole = Split(words, None, bits, bits - 1, False)
    if layout.stored == bits:
        return whole
    unsigned = words.view(f"u{words.dtype.itemsize}")
    samples = _significant(unsigned, layout, words.dtype)
    others = [unsigned ^ _expected(samples, layout.stored, layout.high, zeros) for zeros in (False, True)]
    zeros = bool(np.count_nonzero(others[1]) < np.count_nonzero(others[0]))
    if not others[zeros].any():
        return Split(samples, None, layout.stored, layout.high, zeros)
    if len(np.unique(others[zeros])) > _OVERLAY_PATTERNS:
        return whole
    return Split(samples, others[zeros], layout.stored, layout.high, zeros)


def join(parts: Split) -> np.ndarray:
    """The words again."""
    bits = 8 * parts.samples.dtype.itemsize
    if parts.stored == bits:
        return parts.samples
    unsigned = _expected(parts.samples, parts.stored, parts.high, parts.zeros)
    if parts.others is not None:
        unsigned ^= parts.others
    return unsigned.view(parts.samples.dtype)


def _significant(unsigned: np.ndarray, layout: Layout, dtype: np.dtype) -> np.ndarray:
    word = unsigned.dtype.type
    samples = unsigned >> word(layout.high + 1 - layout.stored) & word((1 << layout.stored) - 1)
    if dtype.kind == "i":
        sign = word(1 << (layout.stored - 1))
        samples = (samples ^ sign) - sign
    return samples.view(dtype)


def _expected(samples: np.ndarray, stored: int, high: int, zeros: bool) -> np.ndarray:
    unsigned = samples.view(f"u{samples.dtype.itemsize}")
    word = unsigned.dtype.type
    if zeros:
        unsigned = unsigned & word((1 << stored) - 1)
    return unsigned << word(high + 1 - stored)
