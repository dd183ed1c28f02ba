"""NRRD (attached) and NHDR (detached header) files, as specified at https://teem.sourceforge.net/nrrd/format.html, and
the conventions 3D Slicer adds for sequences (`axis 3 index values`).
"""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import numpy as np

from ..codecs import Progress
from ..errors import FormatError, UnsupportedError
from ..lazy import LazyVolume
from ..volume import Volume
from .nrrd_header import (
    FRAME_KINDS,
    INDEX_KEY,
    LISTED_FILES,
    SPACES,
    UNKNOWN_KINDS,
    Axes,
    Header,
    read_header,
    space_name,
)
from .plain import PlainSlabs, pieces
from .streams import check_declared_size, damage_reported, opened, read_into, skip, write_gzip

_TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}
_DTYPE_OF = {alias: dtype for dtype, aliases in _TYPES.items() for alias in aliases}
_ENCODINGS = {"raw": "raw", "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2", "hex": "hex", "txt": "text",
              "text": "text", "ascii": "text"}
# What the volume itself holds, or what is only about how the file stores it.
_FIELDS_NOT_KEPT = ("type", "dimension", "sizes", "encoding", "endian", "data file", "line skip", "byte skip",
                    "block size", "space directions", "space origin", "spacings", "axis mins", "axis maxs")
_MAXIMUM_FILES = 1 << 20
# Fields that are written again, and of what form they have to be.
_NUMBER, _TEXT, _WORD = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", r'"(?:[^"\\\n\r]|\\[^\n\r])*"', r"[A-Za-z?]+"
_VECTOR = rf"\( *{_NUMBER}(?: *, *{_NUMBER})* *\)"
_RESTORED_FIELDS = {"content": r"[^\n\r]+", "sample units": r"[^\n\r]+", "old min": _NUMBER, "old max": _NUMBER,
                    "measurement frame": rf"{_VECTOR}(?: +{_VECTOR}){{2}}", "space units": f"{_TEXT} {_TEXT} {_TEXT}"}
# The same of the three axes of a volume without components and frames.
_RESTORED_OF_AXES = {"thicknesses": rf"(?:{_NUMBER}|nan)(?: (?:{_NUMBER}|nan)){{2}}",
                     "centers": f"{_WORD} {_WORD} {_WORD}", "labels": f"{_TEXT} {_TEXT} {_TEXT}"}
# How many components the kinds of axes have that fix it; others have any number. Teem does not read its 3-gradient.
_KINDS_OF_COMPONENTS = {
    "complex": 2, "2-vector": 2, "3-color": 3, "RGB-color": 3, "HSV-color": 3, "XYZ-color": 3, "4-color": 4,
    "RGBA-color": 4, "3-vector": 3, "3-normal": 3, "4-vector": 4, "quaternion": 4,
    "2D-symmetric-matrix": 3, "2D-masked-symmetric-matrix": 4, "2D-matrix": 4, "2D-masked-matrix": 5,
    "3D-symmetric-matrix": 6, "3D-masked-symmetric-matrix": 7, "3D-matrix": 9, "3D-masked-matrix": 10,
    "vector": None, "covariant-vector": None, "normal": None, "point": None}


def file_names(name: str) -> list[str]:
    """The files that `write` makes, the header first."""
    return [name, f"{name[:-len('.nhdr')]}.raw.gz"] if _is_detached(name) else [name]


def read(path: Path) -> Volume:
    """Read an NRRD or NHDR file; see `MedCompressLib.image_files.read_image`."""
    with path.open("rb") as file:
        header, axes = _read_description(file, path)
        samples = _read_samples(file, header, axes.sizes, path)
    return Volume(axes.arrange(samples), axes.ijk_to_ras, axes.order, axes.sequence, _metadata(header, axes))


def open_plain(path: Path, threads: int) -> LazyVolume | None:
    """The file for reading slab by slab; None when its voxels do not lie there as they are."""
    with path.open("rb") as file:
        header, axes = _read_description(file, path)
        if _ENCODINGS.get(header.fields["encoding"].lower()) != "raw" or not axes.arranged:
            return None
        dtype = _file_dtype(header, path)
        files = _data_files(header, path)
        part_bytes = math.prod(axes.sizes) * dtype.itemsize // max(1, len(files))
        parts = []
        for one in files or [path]:
            with contextlib.nullcontext(file) if one is path else one.open("rb") as data:
                parts.append((one, _start_of_voxels(data, header, part_bytes)))
    return LazyVolume(PlainSlabs(parts, dtype, axes.lengths), axes.lengths[-1], axes.ijk_to_ras, axes.order,
                      axes.sequence, _metadata(header, axes), threads)


def write(path: Path, volume: Volume | LazyVolume, progress: Progress, threads: int) -> None:
    """Write an NRRD or NHDR file, gzip-encoded; see `MedCompressLib.image_files.write_image`."""
    header = "\n".join(_header_lines(path.name, volume)).encode() + b"\n"
    if _is_detached(path.name):
        path.write_bytes(header)
        with (path.parent / file_names(path.name)[1]).open("wb") as file:
            write_gzip(file, pieces(volume, progress), threads)
    else:
        with path.open("wb") as file:
            file.write(header + b"\n")
            write_gzip(file, pieces(volume, progress), threads)


def _read_description(file: BinaryIO, path: Path) -> tuple[Header, Axes]:
    """The header; an attached file then stands at its voxels."""
    header = read_header(file, path)
    try:
        return header, Axes(header)
    except (ValueError, OverflowError) as error:
        if isinstance(error, FormatError | UnsupportedError):
            raise type(error)(f"{path.name}: {error}") from None
        raise FormatError(f"{path.name} has a damaged NRRD header: {error}.") from error


def _metadata(header: Header, axes: Axes) -> dict:
    return {"NRRD": {
        "fields": {name: text for name, text in header.fields.items()
                   if name not in _FIELDS_NOT_KEPT and not (axes.sequence and name in ("labels", "units"))},
        "keyValues": {key: value for key, value in header.key_values.items()
                      if not (axes.sequence and INDEX_KEY.fullmatch(key))}}}


def _is_detached(name: str) -> bool:
    return name.lower().endswith(".nhdr")


def _read_samples(file: BinaryIO, header: Header, sizes: list[int], path: Path) -> np.ndarray:
    """All samples in file order, native byte order."""
    dtype = _file_dtype(header, path)
    encoding = _ENCODINGS.get(header.fields["encoding"].lower())
    if encoding is None:
        raise UnsupportedError(f"{path.name} has the unknown encoding {header.fields['encoding']!r}.")
    count = math.prod(sizes)
    files = _data_files(header, path)
    available = sum(one.stat().st_size for one in files) if files else path.stat().st_size - file.tell()
    check_declared_size(count * dtype.itemsize if encoding in ("raw", "gzip") else count, available, encoding, path)
    if not files:
        samples = _decode(file, header, encoding, dtype, count, path)
    elif len(files) == 1:
        with files[0].open("rb") as data:
            samples = _decode(data, header, encoding, dtype, count, path)
    else:
        if count % len(files):
            raise FormatError(f"{path.name} has {len(files)} data files, which cannot share its voxels evenly.")
        parts = []
        for one in files:
            with one.open("rb") as data:
                parts.append(_decode(data, header, encoding, dtype, count // len(files), one))
        samples = np.concatenate(parts)
    return samples if dtype.isnative else samples.byteswap(inplace=True).view(dtype.newbyteorder("="))


def _file_dtype(header: Header, path: Path) -> np.dtype:
    name = " ".join(header.fields["type"].lower().split())
    if name not in _DTYPE_OF:
        raise UnsupportedError(f"{path.name} has samples of type {name!r}, which is none of the eight integer types, "
                               "float and double.")
    dtype = np.dtype(_DTYPE_OF[name])
    endian = header.fields.get("endian", "").lower()
    if dtype.itemsize == 1 or _ENCODINGS.get(header.fields["encoding"].lower()) == "text":
        return dtype
    if endian not in ("little", "big"):
        raise FormatError(f"{path.name} does not say whether its samples are little or big endian.")
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _data_files(header: Header, path: Path) -> list[Path]:
    """The files that hold the voxels; none when they follow the header."""
    text = header.fields.get("data file")
    if text is None:
        return []
    if LISTED_FILES.fullmatch(text):
        names = header.listed_files
    else:
        names = _numbered_names(text) or [text]
    files = [path.parent / name for name in names]
    missing = [one for one in files if not one.is_file()]
    if missing or not files:
        raise FormatError(f"{path.name} keeps its voxels in {missing[0].name if missing else 'no file'}, which is not "
                          "there; put it beside the header.")
    return files


def _numbered_names(text: str) -> list[str]:
    """Names of `<format> <first> <last> <step> [<dimension>]`, such as `slice%03d.raw 1 60 1`; none of other texts."""
    match = re.fullmatch(r"([^%]*)%(0?\d*)[du]([^%]*?)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(?:\s+\d+)?", text)
    if not match or int(match[6]) == 0:
        return []
    first, last, step = (int(match[index]) for index in (4, 5, 6))
    numbers = range(first, last + (1 if step > 0 else -1), step)[:_MAXIMUM_FILES]
    return [f"{match[1]}{number:{match[2]}d}{match[3]}" for number in numbers]


def _decode(file: BinaryIO, header: Header, encoding: str, dtype: np.dtype, count: int, path: Path) -> np.ndarray:
    if encoding == "raw":
        file.seek(_start_of_voxels(file, header, count * dtype.itemsize))
        byte_skip = 0
    else:
        byte_skip = _skip_lines(file, header)
    if encoding in ("text", "hex"):
        return _decode_text(file, encoding, dtype, count, path)
    samples = np.empty(count, dtype)
    with damage_reported(path), opened(file, encoding) as stream:
        skip(stream, byte_skip, path)
        read_into(stream, samples, path)
    return samples


def _start_of_voxels(file: BinaryIO, header: Header, length: int) -> int:
    """Where in a raw file, which stands behind the header, `length` bytes of voxels begin."""
    byte_skip = _skip_lines(file, header)
    return max(0, file.seek(0, 2) - length) if byte_skip == -1 else file.tell() + byte_skip


def _skip_lines(file: BinaryIO, header: Header) -> int:
    """Read over the lines that do not count; how many bytes do not count either."""
    lines, count = (header.fields.get(name, "0").strip() for name in ("line skip", "byte skip"))
    if not re.fullmatch(r"\d{1,18}", lines) or not re.fullmatch(r"-1|\d{1,18}", count):
        raise FormatError(f"The NRRD header skips {lines[:40]} lines and {count[:40]} bytes, which is impossible.")
    for _ in range(int(lines)):
        if not file.readline():
            break
    return int(count)


def _decode_text(file: BinaryIO, encoding: str, dtype: np.dtype, count: int, path: Path) -> np.ndarray:
    try:
        if encoding == "hex":
            data = bytes.fromhex(file.read().decode("ascii"))
            return np.frombuffer(data, dtype, count).copy()
        words = file.read().decode("ascii").replace(",", " ").split()[:count]
        if len(words) < count:
            raise FormatError(f"{path.name} is truncated: {count} voxels are declared, {len(words)} are there.")
        return np.array([float(word) if dtype.kind == "f" else int(word) for word in words], dtype)
    except FormatError:
        raise
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{path.name} has damaged {encoding} samples: {error}.") from error


def _header_lines(name: str, volume: Volume | LazyVolume) -> list[str]:
    kept = volume.metadata.get("NRRD")
    kept = kept if isinstance(kept, dict) else {}
    fields = kept["fields"] if isinstance(kept.get("fields"), dict) else {}
    key_values = kept["keyValues"] if isinstance(kept.get("keyValues"), dict) else {}
    space = space_name(str(fields.get("space", "")))
    matrix = np.diag([*SPACES[space], 1]) @ volume.ijk_to_ras + 0.0
    component, frames = "c" in volume.axes, "t" in volume.axes

    directions = " ".join(map(_vector_text, matrix[:3, :3].T))
    lines = ["NRRD0005", f"type: {_TYPES[volume.dtype.name][0 if volume.dtype.kind == 'f' else -2]}",
             f"dimension: {len(volume.shape)}", f"space: {space}",
             f"sizes: {' '.join(str(size) for size in volume.shape[::-1])}",
             f"space directions: {'none ' * component}{directions}{' none' * frames}",
             f"kinds: {f'{_component_kind(fields, volume)} ' * component}domain domain domain{' list' * frames}"]
    if frames:
        empty = '"" ' * (3 + component)
        if volume.sequence.index_name != "frame":
            lines.append(f"labels: {empty}{_quote(volume.sequence.index_name)}")
        if volume.sequence.unit:
            lines.append(f"units: {empty}{_quote(volume.sequence.unit)}")
    if volume.dtype.itemsize > 1:
        lines.append("endian: little")
    lines += ["encoding: gzip", f"space origin: {_vector_text(matrix[:3, 3])}"]
    restored = _RESTORED_FIELDS if component or frames else _RESTORED_FIELDS | _RESTORED_OF_AXES
    lines += [f"{field}: {fields[field]}" for field, form in restored.items()
              if isinstance(fields.get(field), str) and re.fullmatch(form, fields[field])]
    if _is_detached(name):
        lines.append(f"data file: {file_names(name)[1]}")
    return lines + _key_value_lines(key_values, volume)


def _key_value_lines(key_values: dict, volume: Volume | LazyVolume) -> list[str]:
    lines = []
    if volume.sequence is not None:
        # Slicer counts the list axis as axis 3 whether or not there are components.
        kind = "numeric" if all(_is_number(value) for value in volume.sequence.values) else "text"
        values = " ".join(quote(value, safe="") for value in volume.sequence.values)
        lines += [f"axis 3 index type:={kind}", f"axis 3 index values:={values}"]
    for key, value in key_values.items():
        writable = isinstance(value, str) and key and not key.startswith("#") and not re.search(r":=|: |\n|\r", key)
        if writable and not (volume.sequence and INDEX_KEY.fullmatch(key)):
            escaped = value.replace("\\", "\\\\").replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\\n")
            lines.append(f"{key}:={escaped}")
    return lines


def _component_kind(fields: dict, volume: Volume | LazyVolume) -> str:
    """The kind that the component axis had in the file it came from, where it still fits."""
    kinds = [kind for kind in str(fields.get("kinds", "")).split()
             if kind.lower() not in (*FRAME_KINDS, *UNKNOWN_KINDS)]
    fits = len(kinds) == 1 and _KINDS_OF_COMPONENTS.get(kinds[0], 0) in (None, volume.components)
    return kinds[0] if fits else "vector"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _vector_text(vector: np.ndarray) -> str:
    return "(" + ",".join(repr(float(number)).removesuffix(".0") for number in vector) + ")"


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ") + '"'
