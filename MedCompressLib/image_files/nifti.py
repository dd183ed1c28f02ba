"""NIfTI-1 and NIfTI-2 single files (`.nii`, `.nii.gz`), as specified at https://nifti.nimh.nih.gov.

A NIfTI-1 header holds its matrix in 32-bit floats. What a volume has beyond that (the exact matrix, frames that are not
evenly spaced in time) is written into a comment extension, which other programs skip and `read` honours as long as the
header beside it has not been changed.
"""

from __future__ import annotations

import base64
import json
import math
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..codecs import Progress
from ..errors import FormatError, UnsupportedError
from ..lazy import LazyVolume
from ..rescale import rescaled
from ..volume import SequenceAxis, Volume, is_invertible
from .nifti_header import (
    DATATYPES,
    HEADERS,
    RGB_CODES,
    affine_of_qform,
    code_of,
    kept_fields,
    qform_of,
    restore_fields,
)
from .plain import pieces
from .streams import check_declared_size, damage_reported, opened, read_into, skip, write_gzip, write_raw

_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
_TIME_UNITS = {0: ("frame", ""), 8: ("time", "s"), 16: ("time", "ms"), 24: ("time", "us"), 32: ("frequency", "Hz"),
               40: ("shift", "ppm"), 48: ("frequency", "rad/s")}
_COMMENT = 6
_VECTOR_INTENT, _INTENTS_OF_VECTORS = 1007, range(1004, 1012)  # matrices, displacements, points, colours, ...
# ITK, and so Slicer, takes a file without orientation to have its axes along left, posterior, superior.
_NO_ORIENTATION = np.diag([-1.0, -1.0, 1.0, 1.0])


def file_names(name: str) -> list[str]:
    """The files that `write` makes."""
    return [name]


def read(path: Path) -> Volume:
    """Read a NIfTI file; see `MedCompressLib.image_files.read_image`."""
    with path.open("rb") as file:
        encoding = "gzip" if file.read(2) == b"\x1f\x8b" else "raw"
        file.seek(0)
        with damage_reported(path), opened(file, encoding) as stream:
            header, order, extensions = _read_header(stream, path)
            shape, axes = _shape_and_axes(header, path)
            dtype = _dtype(header, path).newbyteorder(order)
            count = math.prod(shape)
            check_declared_size(count * dtype.itemsize, path.stat().st_size, encoding, path)
            samples = np.empty(count, dtype)
            read_into(stream, samples, path)
    if not dtype.isnative:
        samples = samples.byteswap(inplace=True).view(dtype.newbyteorder("="))
    metadata = kept_fields(header)
    voxels, metadata["rescale"] = _rescaled(samples.reshape(shape), header)
    if axes.startswith("c"):  # the vector axis of NIfTI is the slowest one, components of colours the fastest
        voxels, axes = np.moveaxis(voxels, 0, -1), axes[1:] + "c"
    matrix, metadata["transform"] = _matrix(header)
    sequence = _sequence(header, voxels.shape[0]) if axes.startswith("t") else None
    beyond, others = _split_extensions(extensions)
    if others:
        metadata["extensions"] = others
    if beyond is not None:
        voxels, axes, sequence, matrix = _go_beyond(beyond, voxels, axes, sequence, matrix)
    return Volume(voxels, matrix, axes, sequence, {"NIfTI": metadata})


def write(path: Path, volume: Volume | LazyVolume, progress: Progress, threads: int) -> None:
    """Write a NIfTI file; see `MedCompressLib.image_files.write_image`."""
    kept = volume.metadata.get("NIfTI")
    kept = kept if isinstance(kept, dict) else {}
    header = _make_header(volume, kept)
    extensions = _make_extensions(volume, header, kept)
    header["vox_offset"] = header.nbytes + 4 + len(extensions)
    start = header.astype(header.dtype.newbyteorder("<")).tobytes() + bytes([bool(extensions), 0, 0, 0]) + extensions
    voxels = pieces(volume, progress)
    if "c" in volume.axes and int(header["datatype"]) not in RGB_CODES:
        whole = np.concatenate([piece.reshape(-1, volume.components) for piece in voxels])
        voxels = (np.ascontiguousarray(component) for component in whole.T)
    with path.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            write_gzip(file, chain([start], voxels), threads)
        else:
            write_raw(file, chain([start], voxels))


# Reading


def _read_header(stream: BinaryIO, path: Path) -> tuple[np.ndarray, str, list[tuple[int, bytes]]]:
    """The header, the byte order of the file ("<" or ">") and the extensions; `stream` then stands at the voxels."""
    start = stream.read(4)
    kinds = [(version, order) for version in HEADERS for order in "<>"
             if start == np.array(HEADERS[version].itemsize, f"{order}i4").tobytes()]
    if not kinds:
        raise FormatError(f"{path.name} is not a NIfTI file.")
    [(version, order)] = kinds
    size = HEADERS[version].itemsize
    data = start + stream.read(size - 4)
    if len(data) < size:
        raise FormatError(f"{path.name} is truncated: its NIfTI header is not whole.")
    header = np.frombuffer(data, HEADERS[version].newbyteorder(order))[0].astype(HEADERS[version])
    magic = bytes(header["magic"])[:3]
    if magic in (b"ni1", b"ni2"):
        raise UnsupportedError(f"{path.name} is the header of a .hdr/.img pair; convert it to a single .nii file.")
    if magic != b"n+%d" % version:
        raise FormatError(f"{path.name} is not a NIfTI-{version} file: its magic is {magic!r}.")
    offset = float(header["vox_offset"])
    room = int(offset) - size if math.isfinite(offset) else 4
    return header, order, _read_extensions(stream, max(room, 4), order, path)


def _read_extensions(stream: BinaryIO, room: int, order: str, path: Path) -> list[tuple[int, bytes]]:
    flag = stream.read(4)
    room -= 4
    found = []
    while flag[:1] not in (b"", b"\0") and room >= 8:
        head = stream.read(8)
        if len(head) < 8:
            break
        size, code = np.frombuffer(head, f"{order}i4").tolist()
        room -= 8
        if not 8 <= size <= room + 8:
            break
        found.append((code, stream.read(size - 8)))
        room -= size - 8
    skip(stream, room, path)
    return found


def _shape_and_axes(header: np.ndarray, path: Path) -> tuple[tuple[int, ...], str]:
    """Shape in file order, slowest axis first, and the names of its axes."""
    dim = [int(size) for size in header["dim"]]
    if not 1 <= dim[0] <= 7 or any(size < 1 for size in dim[1:dim[0] + 1]):
        raise FormatError(f"{path.name} declares the impossible dimensions {dim}.")
    i, j, k, t, c, *rest = dim[1:dim[0] + 1] + [1] * (7 - dim[0])
    if any(size > 1 for size in rest):
        raise UnsupportedError(f"{path.name} has more than five axes.")
    rgb = RGB_CODES.get(int(header["datatype"]))
    if rgb and c > 1:
        raise UnsupportedError(f"{path.name} has vectors of colours, which a volume cannot hold.")
    shape, axes = [k, j, i], "kji"
    if t > 1:
        shape, axes = [t, *shape], "t" + axes
    if c > 1:
        shape, axes = [c, *shape], "c" + axes
    if rgb:
        shape, axes = [*shape, rgb], axes + "c"
    return tuple(shape), axes


def _dtype(header: np.ndarray, path: Path) -> np.dtype:
    code = int(header["datatype"])
    name = "uint8" if code in RGB_CODES else DATATYPES.get(code)
    if name is None:
        raise UnsupportedError(f"{path.name} has samples of NIfTI type {code}, which is none of the eight integer "
                               "types, float32, float64 and colours of 8 bits.")
    return np.dtype(name)


def _rescaled(samples: np.ndarray, header: np.ndarray) -> tuple[np.ndarray, dict]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0 or int(header["datatype"]) in RGB_CODES:
        slope, intercept = 1.0, 0.0
    if not math.isfinite(intercept):
        intercept = 0.0
    record = {"slope": slope, "intercept": intercept, "applied": True, "storedType": samples.dtype.name}
    if (slope, intercept) == (1.0, 0.0):
        return samples, record
    result = rescaled(samples, [slope], [intercept])
    record["applied"] = result is not None
    return (samples if result is None else result), record


def _matrix(header: np.ndarray) -> tuple[np.ndarray, str]:
    """IJK to RAS in mm, and where it comes from. The sform goes first, as the specification suggests."""
    scale = np.diag([*[_MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)] * 3, 1.0])
    sform = np.vstack([[header[f"srow_{axis}"] for axis in "xyz"], [0, 0, 0, 1]]).astype(np.float64)
    if int(header["sform_code"]) > 0 and np.isfinite(sform).all() and is_invertible(sform[:3, :3]):
        return scale @ sform, "sform"
    spacing = np.abs(header["pixdim"][1:4].astype(np.float64))
    spacing = np.where(np.isfinite(spacing) & (spacing > 0), spacing, 1.0)
    if int(header["qform_code"]) > 0:
        return scale @ affine_of_qform(header, spacing), "qform"
    return scale @ _NO_ORIENTATION @ np.diag([*spacing, 1.0]), "none"


def _sequence(header: np.ndarray, frames: int) -> SequenceAxis:
    """The frames as the header spaces them."""
    name, unit = _TIME_UNITS.get(int(header["xyzt_units"]) & 56, _TIME_UNITS[0])
    step, start = header["pixdim"][4], header["toffset"]
    if not np.isfinite([step, start]).all() or step <= 0:
        return SequenceAxis.evenly_spaced("frame", "", frames, 0, 1)
    return SequenceAxis.evenly_spaced(name, unit, frames, start, step)


def _split_extensions(extensions: list[tuple[int, bytes]]) -> tuple[dict | None, list[dict]]:
    """Our own extension, and the others as plain JSON."""
    beyond, others = None, []
    for code, data in extensions:
        if code == _COMMENT and data.startswith(b'{"MedCompress"'):
            try:
                beyond = json.loads(data.rstrip(b"\0"))["MedCompress"]
                continue
            except (ValueError, RecursionError):
                pass
        others.append({"code": code, "base64": base64.b64encode(data).decode("ascii")})
    return (beyond if isinstance(beyond, dict) else None), others


def _go_beyond(beyond: dict, voxels: np.ndarray, axes: str, sequence: SequenceAxis | None, matrix: np.ndarray):
    """Apply our own extension where it still agrees with the header."""
    if beyond.get("axes") == "t" + axes:
        voxels, axes = voxels[np.newaxis], beyond["axes"]
    elif beyond.get("axes") == axes + "c":
        voxels, axes = voxels[..., np.newaxis], beyond["axes"]
    elif beyond.get("axes") == f"t{axes}c":
        voxels, axes = voxels[np.newaxis, ..., np.newaxis], beyond["axes"]
    try:
        exact = np.array(beyond["ijkToRas"], np.float64)
        if exact.shape == (4, 4) and np.array_equal(exact.astype(np.float32), matrix.astype(np.float32)):
            matrix = exact
    except (KeyError, TypeError, ValueError):
        pass
    try:
        described = SequenceAxis(**beyond["sequence"])
        if axes.startswith("t") and len(described.values) == voxels.shape[0]:
            sequence = described
    except (KeyError, TypeError, ValueError):
        pass
    return voxels, axes, sequence, matrix


# Writing


def _make_header(volume: Volume, kept: dict) -> np.ndarray:
    t, c = volume.frames, volume.components
    rgb = "c" in volume.axes and volume.dtype == np.uint8 and c in (3, 4)
    k, j, i = volume.shape[1 if "t" in volume.axes else 0:][:3]
    dim = [3 if t == 1 else 4, i, j, k, t, 1, 1, 1]
    if c > 1 and not rgb:
        dim[0], dim[5] = 5, c
    slope, intercept = _scaling(kept)
    # Version 1 has 16 bits for a length, and floats of 32 bits.
    with np.errstate(over="ignore"):
        short = float(np.float32(slope)) == slope and float(np.float32(intercept)) == intercept
    version = 1 if max(dim) < 1 << 15 and short else 2
    header = np.zeros((), HEADERS[version])
    header["sizeof_hdr"] = header.nbytes
    header["magic"] = b"n+1" if version == 1 else b"n+2\0\r\n\x1a\n"
    header["dim"] = dim
    header["datatype"] = code_of(volume.dtype, c if rgb else 1)
    header["bitpix"] = 8 * volume.dtype.itemsize * (c if rgb else 1)
    restore_fields(header, kept)
    if dim[5] > 1 and int(header["intent_code"]) not in _INTENTS_OF_VECTORS:
        header["intent_code"] = _VECTOR_INTENT
    _write_matrix(header, volume, kept)
    _write_sequence(header, volume.sequence)
    header["scl_slope"], header["scl_inter"] = slope, intercept
    return header


def _write_matrix(header: np.ndarray, volume: Volume, kept: dict) -> None:
    code = kept.get(f"{kept.get('transform')}_code")
    code = code if type(code) is int and 0 < code < 1 << 15 else 1
    with np.errstate(over="ignore"):
        for row, axis in enumerate("xyz"):
            header[f"srow_{axis}"] = volume.ijk_to_ras[row]
        written = np.array([header[f"srow_{axis}"] for axis in "xyz"], np.float64)
        if not np.isfinite(written).all() or not is_invertible(written[:, :3]):
            raise UnsupportedError("The matrix of this volume is beyond NIfTI's 32-bit floats; write NRRD instead.")
        header["pixdim"][:4] = [1, *reversed(volume.spacing)]
    header["sform_code"] = code
    header["xyzt_units"] = 2
    rotation = qform_of(volume.ijk_to_ras)
    if rotation is not None:
        header["qform_code"] = code
        header["pixdim"][0] = rotation[0]
        header["quatern_b"], header["quatern_c"], header["quatern_d"] = rotation[1]
        for row, axis in enumerate("xyz"):
            header[f"qoffset_{axis}"] = volume.ijk_to_ras[row, 3]


def _write_sequence(header: np.ndarray, sequence: SequenceAxis | None) -> None:
    """Unit, start and step, where the frames are evenly spaced in a unit that NIfTI knows."""
    units = [code for code, (_, unit) in _TIME_UNITS.items() if sequence and unit == sequence.unit]
    if not units or len(sequence.values) < 2:
        return
    try:
        start, second = float(sequence.values[0]), Decimal(sequence.values[1]) - Decimal(sequence.values[0])
    except (ValueError, ArithmeticError):
        return
    if math.isfinite(start) and abs(start) < 1e38 and 0 < second < Decimal("1e38"):
        header["toffset"], header["pixdim"][4] = start, float(second)
        header["xyzt_units"] = 2 | units[0]


def _scaling(kept: dict) -> tuple[float, float]:
    """The slope and intercept of the file the volume came from; 0 where they were applied."""
    record = kept.get("rescale")
    if isinstance(record, dict) and record.get("applied") is False:
        slope, intercept = record.get("slope"), record.get("intercept")
        if isinstance(slope, float) and isinstance(intercept, float):
            return slope, intercept
    return 0.0, 0.0


def _make_extensions(volume: Volume, header: np.ndarray, kept: dict) -> bytes:
    beyond = {}
    if not np.array_equal(_matrix(header)[0], volume.ijk_to_ras):
        beyond["ijkToRas"] = volume.ijk_to_ras.tolist()
    if volume.sequence and (volume.frames == 1 or _sequence(header, volume.frames) != volume.sequence):
        beyond["sequence"] = {"index_name": volume.sequence.index_name, "unit": volume.sequence.unit,
                              "values": volume.sequence.values}
    if ("t" in volume.axes and volume.frames == 1) or ("c" in volume.axes and volume.components == 1):
        beyond["axes"] = volume.axes
    found = [(_COMMENT, json.dumps({"MedCompress": beyond}).encode())] if beyond else []
    for extension in kept["extensions"] if isinstance(kept.get("extensions"), list) else []:
        try:
            found.append((int(extension["code"]), base64.b64decode(extension["base64"], validate=True)))
        except (KeyError, TypeError, ValueError):
            continue  # metadata that was not made by `read`
    data = b""
    for code, content in found:
        size = -(-(8 + len(content)) // 16) * 16
        data += np.array([size, code], "<i4").tobytes() + content.ljust(size - 8, b"\0")
    return data
