"""MetaImage files (`.mha`, and `.mhd` with its voxels beside it), through SimpleITK, which keeps their voxels and their
geometry exactly; only zlib streams are read here. What the format has no place for stands in a field of its own, which
other programs skip.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from ..codecs import Progress
from ..errors import FormatError, UnsupportedError
from ..lazy import LazyVolume
from ..volume import SequenceAxis, Volume
from .plain import PlainSlabs
from .streams import check_declared_size, inflate_into

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_AXES_OF_DIMENSION = {2: "ji", 3: "kji", 4: "tkji"}
_OWN_FIELD = "MedCompress"
# MetaIO reads a field into a buffer of 32 KiB.
_MAXIMUM_FIELD = 30_000
_MAXIMUM_LINE = 1 << 16
# Fields that say what and where the voxels are, which no metadata may say again.
_FIELDS_OF_FORMAT = {name.lower() for name in (
    "ObjectType", "ObjectSubType", "NDims", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB",
    "CompressedData", "CompressedDataSize", "CompressionLevel", "TransformMatrix", "Rotation", "Orientation", "Offset",
    "Position", "Origin", "CenterOfRotation", "AnatomicalOrientation", "DistanceUnits", "ElementSpacing", "ElementSize",
    "ElementNBits", "ElementType", "ElementNumberOfChannels", "ElementToIntensityFunctionSlope",
    "ElementToIntensityFunctionOffset", "ElementDataFile", "DimSize", "HeaderSize", "HeaderSizePerSlice")}


def file_names(name: str) -> list[str]:
    """The files that `write` makes, the header first."""
    return [name, f"{name[:-len('.mhd')]}.zraw"] if name.lower().endswith(".mhd") else [name]


def read(path: Path) -> Volume:
    """Read a MetaImage file; see `MedCompressLib.image_files.read_image`."""
    import SimpleITK

    with _readable(path) as image:
        stored = _Stored.of(path)
        voxels = _inflated(image, stored) if stored.compressed else SimpleITK.GetArrayFromImage(image.Execute())
        shape, axes, rest = _description(image, path)
    return Volume(voxels.reshape(shape), axes=axes, **rest)


def open_plain(path: Path, threads: int) -> LazyVolume | None:
    """The file for reading slab by slab; None when its voxels do not lie there as they are."""
    with _readable(path) as image:
        stored = _Stored.of(path)
        if stored.compressed or stored.path is None:
            return None
        shape, axes, rest = _description(image, path)
        lengths = dict(zip(axes, shape, strict=True))
        dtype = np.dtype(_dtype_name(image.GetPixelID())).newbyteorder(">" if stored.big_endian else "<")
    offset = stored.offset
    if offset < 0:
        offset = stored.path.stat().st_size - math.prod(shape) * dtype.itemsize
    slabs = PlainSlabs([(stored.path, max(0, offset))], dtype, tuple(lengths.get(axis, 1) for axis in "tkjic"))
    return LazyVolume(slabs, lengths.get("c", 1), axes=axes, threads=threads, **rest)


@contextmanager
def _readable(path: Path) -> Iterator:
    """SimpleITK's reader of the file, which has read the header; what it raises comes out as one sentence."""
    import SimpleITK

    image = SimpleITK.ImageFileReader()
    image.SetFileName(str(path))
    image.SetImageIO("MetaImageIO")
    try:
        image.ReadImageInformation()
        yield image
    except RuntimeError as error:
        if "determinant is 0" in str(error) or "Zero-valued spacing" in str(error):
            raise UnsupportedError(f"{path.name} has a singular matrix: its axes do not span a space.") from error
        raise FormatError(f"{path.name} is not a readable MetaImage file: it is damaged or truncated, or the file with "
                          "its voxels is not beside it.") from error


def _description(image, path: Path) -> tuple[tuple[int, ...], str, dict]:
    """Shape and axes of the voxels, and everything else that a volume is made of."""
    axes = _AXES_OF_DIMENSION.get(image.GetDimension())
    if axes is None:
        raise UnsupportedError(f"{path.name} has {image.GetDimension()} axes; a volume has up to four and components.")
    shape = tuple(reversed(image.GetSize()))
    if "k" not in axes:
        shape, axes = (1, *shape), "k" + axes
    if image.GetNumberOfComponents() > 1:
        shape, axes = (*shape, image.GetNumberOfComponents()), axes + "c"
    matrix, start, step = _geometry(image, path)
    fields = _fields(image)
    own = _own_field(fields.pop(_OWN_FIELD, ""))
    if own.get("axes") == axes + "c":
        shape, axes = (*shape, 1), own["axes"]
    sequence = None
    if "t" in axes:
        sequence = _described_sequence(own, shape[0]) or _sequence(shape[0], start, step)
    return shape, axes, {"ijk_to_ras": matrix, "sequence": sequence, "metadata": {"MetaImage": fields}}


def write(path: Path, volume: Volume | LazyVolume, progress: Progress, threads: int) -> None:
    """Write a MetaImage file, compressed; see `MedCompressLib.image_files.write_image`. SimpleITK takes it whole,
    tells no progress and uses one thread."""
    import SimpleITK

    volume = volume.load() if isinstance(volume, LazyVolume) else volume
    image = SimpleITK.GetImageFromArray(volume.voxels, isVector="c" in volume.axes)
    lps = _LPS_TO_RAS @ volume.ijk_to_ras
    dimension = image.GetDimension()
    direction, spacing, origin = np.eye(dimension), np.ones(dimension), np.zeros(dimension)
    for axis in range(3):
        spacing[axis] = _exact_length(lps[:3, axis])
        direction[:3, axis] = lps[:3, axis] / spacing[axis]
    origin[:3] = lps[:3, 3]
    if volume.sequence is not None:
        origin[3], spacing[3] = _even_steps(volume.sequence)
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    kept = volume.metadata.get("MetaImage")
    for key, value in kept.items() if isinstance(kept, dict) else ():
        if (isinstance(value, str) and value and not set(f"{key}{value}") & set("\r\n") and not set(key) & set(" =:")
                and key.lower() not in _FIELDS_OF_FORMAT):
            if len(key.encode()) + len(value.encode()) > _MAXIMUM_FIELD:
                raise UnsupportedError(f"The field {key[:40]!r} is too long for MetaImage; write NRRD instead.")
            image.SetMetaData(key, value)
    own = _what_the_format_lacks(volume, origin, spacing)
    if own:
        text = json.dumps(own)
        if len(text) > _MAXIMUM_FIELD:
            raise UnsupportedError("The frames of this sequence have too long a description for MetaImage; write NRRD "
                                   "instead.")
        image.SetMetaData(_OWN_FIELD, text)
    try:
        written = path.with_suffix(path.suffix.lower())     # SimpleITK knows no other
        SimpleITK.WriteImage(image, str(written), useCompression=True, compressionLevel=1)
        os.replace(written, path)
    except RuntimeError as error:
        raise OSError(f"SimpleITK could not write the file ({str(error).strip().splitlines()[-1]})") from error


def _fields(image) -> dict[str, str]:
    """The fields of the header that are about neither storage nor geometry."""
    # SimpleITK hands over bytes that are not UTF-8 as lone surrogates, and cannot take them back in a name.
    names = [name for name in image.GetMetaDataKeys() if not name.startswith("ITK_") and name.isascii()]
    fields = {name: image.GetMetaData(name) for name in names}
    for name, text in fields.items():
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            fields[name] = text.encode("utf-8", "surrogateescape").decode("latin-1")
    if fields.get("Modality") == "MET_MOD_UNKNOWN":
        del fields["Modality"]
    return fields


@dataclass(frozen=True)
class _Stored:
    """Where the voxels of a file are.

    Attributes
    ----------
    compressed : bool
        They are one zlib stream. SimpleITK would return whatever a damaged one inflates to, without a word.
    path : Path or None
        The file; None when they are text or spread over several.
    offset : int
        Where in that file they begin; -1 stands for so far from its end as they need.
    big_endian : bool
    """

    compressed: bool
    path: Path | None
    offset: int
    big_endian: bool

    @classmethod
    def of(cls, path: Path) -> _Stored:
        fields = {}
        with path.open("rb") as file:
            while line := file.readline(_MAXIMUM_LINE):
                name, _, value = os.fsdecode(line).partition("=")
                fields[name.strip().lower()] = value.strip()
                if name.strip().lower() == "elementdatafile":
                    break
            offset = file.tell()

        def holds(name: str) -> bool:
            return fields.get(name, "").lower().startswith("t")

        target = fields.get("elementdatafile", "")
        big_endian = holds("binarydatabyteordermsb") or holds("elementbyteordermsb")
        several = re.fullmatch(r"LIST(\s.*)?|.*%\d*d.*", target) is not None
        if several and holds("compresseddata"):
            raise UnsupportedError(f"{path.name} has compressed voxels spread over several files; convert it to one "
                                   "file.")
        if several or not (holds("compresseddata") or holds("binarydata")):
            return cls(False, None, 0, big_endian)
        if target.lower() != "local":
            path, offset = path.parent / target, 0
        if not holds("compresseddata") and re.fullmatch(r"-1|\d+", fields.get("headersize", "0")):
            offset = int(fields.get("headersize", "0")) or offset
        return cls(holds("compresseddata"), path, offset, big_endian)


def _inflated(image, stored: _Stored) -> np.ndarray:
    """Voxels of one zlib stream, slowest axis first, components last."""
    path = stored.path
    shape = [*reversed(image.GetSize()), *[image.GetNumberOfComponents()] * (image.GetNumberOfComponents() > 1)]
    dtype = np.dtype(_dtype_name(image.GetPixelID()))
    if not path.is_file():
        raise FormatError(f"The voxels of this image are in {path.name}, which is not there; put it beside the header.")
    count = math.prod(shape)
    check_declared_size(count * dtype.itemsize, path.stat().st_size, "gzip", path)
    samples = np.empty(shape, dtype)
    with path.open("rb") as file:
        file.seek(stored.offset)
        inflate_into(file, samples, path)
    return samples.byteswap(inplace=True) if stored.big_endian else samples


def _dtype_name(pixel_id: int) -> str:
    """NumPy's name of a scalar or vector pixel type."""
    import SimpleITK

    kinds = {"Int8": "i1", "UInt8": "u1", "Int16": "i2", "UInt16": "u2", "Int32": "i4", "UInt32": "u4", "Int64": "i8",
             "UInt64": "u8", "Float32": "f4", "Float64": "f8"}
    for kind, name in kinds.items():
        if pixel_id in (getattr(SimpleITK, f"sitk{kind}"), getattr(SimpleITK, f"sitkVector{kind}")):
            return name
    raise UnsupportedError("The samples of this image are of none of the eight integer types, float32 and float64.")


def _geometry(image, path: Path) -> tuple[np.ndarray, float, float]:
    """IJK to RAS, and the start and step of the fourth axis."""
    dimension = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)
    spacing, origin = np.array(image.GetSpacing()), np.array(image.GetOrigin())
    if dimension == 4 and (direction[3, :3].any() or direction[:3, 3].any()):
        raise UnsupportedError(f"{path.name} mixes its fourth axis with the spatial ones, which a volume cannot hold.")
    lps, spatial = np.eye(4), min(dimension, 3)
    lps[:spatial, :spatial] = direction[:spatial, :spatial] * spacing[:spatial]
    lps[:spatial, 3] = origin[:spatial]
    if dimension == 4:
        return _LPS_TO_RAS @ lps, float(origin[3]), float(spacing[3] * direction[3, 3])
    return _LPS_TO_RAS @ lps, 0.0, 1.0


def _sequence(frames: int, start: float, step: float) -> SequenceAxis:
    return SequenceAxis.evenly_spaced("frame", "", frames, start, step)


def _even_steps(sequence: SequenceAxis) -> tuple[float, float]:
    """Start and step of the frames, or 0 and 1 where they are not evenly spaced numbers."""
    try:
        values = [Decimal(value) for value in sequence.values]
        start, step = float(values[0]), float(values[1] - values[0])
    except (InvalidOperation, IndexError, OverflowError, ValueError):
        return 0.0, 1.0
    if not np.isfinite([start, step]).all() or step <= 0:
        return 0.0, 1.0
    return (start, step) if _sequence(len(values), start, step).values == sequence.values else (0.0, 1.0)


def _what_the_format_lacks(volume: Volume, origin: np.ndarray, spacing: np.ndarray) -> dict:
    own = {}
    sequence = volume.sequence
    if sequence is not None and sequence != _sequence(volume.frames, float(origin[3]), float(spacing[3])):
        own["sequence"] = {"index_name": sequence.index_name, "unit": sequence.unit, "values": sequence.values}
    if "c" in volume.axes and volume.components == 1:
        own["axes"] = volume.axes
    return own


def _own_field(text: str) -> dict:
    try:
        own = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return own if isinstance(own, dict) else {}


def _described_sequence(own: dict, frames: int) -> SequenceAxis | None:
    try:
        sequence = SequenceAxis(**own["sequence"])
    except (KeyError, TypeError, ValueError):
        return None
    return sequence if len(sequence.values) == frames else None


def _exact_length(column: np.ndarray) -> float:
    """A length of the column, off by some last bits at most, whose product with `column / length` is `column` again.

    MetaImage stores lengths and directions apart; without this the last bit of the matrix would be lost.
    """
    lengths = np.hypot(np.hypot(column[0], column[1]), column[2]) * (1 + np.arange(1000) * np.finfo(np.float64).eps)
    directions = column / lengths[:, np.newaxis]
    readable = (directions == 0) | (np.abs(directions) >= np.finfo(float).tiny)    # smaller ones are read back as 0
    exact = (readable & (directions * lengths[:, np.newaxis] == column)).all(axis=1)
    if not exact.any():
        raise UnsupportedError("MetaImage cannot hold the matrix of this volume exactly; write NRRD instead.")
    return float(lengths[exact.argmax()])
