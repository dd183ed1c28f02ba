"""Stored sample values of a DICOM file, exactly as the standard defines them.

Uncompressed and RLE pixel data go through pydicom. The other transfer syntaxes go through the decoders in SimpleITK,
which needs nothing more to be installed, and failing that through whatever decoders pydicom finds.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np

from ..errors import FormatError, UnsupportedError

_IMPLICIT, _EXPLICIT_LITTLE, _EXPLICIT_BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_DEFLATED, _RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
_BY_PYDICOM = (_IMPLICIT, _EXPLICIT_LITTLE, _EXPLICIT_BIG, _DEFLATED, _RLE)
_GRAYSCALE = ("MONOCHROME1", "MONOCHROME2")
_EXACT_COLORS = ("YBR_RCT", "YBR_ICT")  # inside the compressed stream only; decoders give RGB
_MULTI_FRAME_CAPTURES = {(1, 8): "1.2.840.10008.5.1.4.1.1.7.2", (1, 16): "1.2.840.10008.5.1.4.1.1.7.3",
                         (3, 8): "1.2.840.10008.5.1.4.1.1.7.4"}
_IMAGE_PIXEL_MODULE = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
                       "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames", "PixelData")

_OVERLAY_BIT_POSITION = 0x0102     # in the groups 6000, 6002, ... 60FE


def has_overlay_in_pixels(dataset) -> bool:
    """Whether unused bits of the samples hold an overlay."""
    return any(element.tag.group & 0xFF01 == 0x6000 and element.tag.element == _OVERLAY_BIT_POSITION and element.value
               for element in dataset)


def decode_file(dataset, path: Path) -> tuple[np.ndarray, dict]:
    """Samples of all frames of a file, (frames, rows, columns) or (frames, rows, columns, 3) for colours.

    Colours come as RGB: luminance and chrominance are converted, palettes looked up.

    Returns
    -------
    samples : ndarray
        Unsigned or signed integers as Pixel Representation says, of Bits Allocated; or floats.
    facts : dict
        Plain JSON: the transfer syntax, and the colour space the samples were converted from.

    Raises
    ------
    UnsupportedError
        No decoder for the transfer syntax, or samples that are no integers of 8 to 64 bits and no floats.
    FormatError
        The pixel data is damaged.
    """
    syntax = _transfer_syntax(dataset)
    facts = {"TransferSyntaxUID": syntax}
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise FormatError(f"{path.name} is truncated or empty: it has no pixel data.")
    photometric = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
    grayscale = photometric in _GRAYSCALE and "PixelData" in dataset
    layout = _bit_layout(dataset, path) if grayscale else None
    if syntax in _BY_PYDICOM:
        if grayscale:  # all bits, because pydicom would take the lowest ones whatever High Bit says
            dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
        samples = _by_pydicom(dataset, path, raw=grayscale)
    else:
        samples = _by_simpleitk(dataset, syntax)
        samples = samples if samples is not None else _by_pydicom(dataset, path, raw=False)
    frames, components = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
    shape = (frames, int(dataset.Rows), int(dataset.Columns), *[components] * (components > 1))
    if samples.size != math.prod(shape):
        raise FormatError(f"{path.name} is damaged: its pixel data is not of the size that its header declares.")
    samples = samples.reshape(shape)
    if grayscale:
        return _significant_bits(samples, *layout, moved=syntax in _BY_PYDICOM), facts
    if photometric == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        facts["colorsConvertedFrom"] = photometric
        samples = apply_color_lut(samples, dataset)
    elif photometric.startswith("YBR") and photometric not in _EXACT_COLORS:
        facts["colorsConvertedFrom"] = photometric
    if samples.ndim == 4:
        facts["PhotometricInterpretation"] = "RGB"
    return samples, facts


def _bit_layout(dataset, path: Path) -> tuple[int, int, int, bool]:
    """Bits Allocated, Bits Stored, High Bit, and whether the samples are signed."""
    allocated, stored, high = (dataset.get(name) for name in ("BitsAllocated", "BitsStored", "HighBit"))
    stored = allocated if stored is None else stored
    high = stored - 1 if high is None else high
    if allocated not in (1, 8, 16, 32, 64) or not 1 <= stored <= high + 1 <= allocated:
        raise FormatError(f"{path.name} has an impossible layout of bits: {stored} stored up to bit {high} of "
                          f"{allocated} allocated.")
    return allocated, stored, high, dataset.get("PixelRepresentation") == 1


def _transfer_syntax(dataset) -> str:
    """The transfer syntax, guessed for files without the part that tells it."""
    import pydicom

    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = _IMPLICIT if implicit else _EXPLICIT_LITTLE if little else _EXPLICIT_BIG
    return str(dataset.file_meta.TransferSyntaxUID)


def _by_pydicom(dataset, path: Path, raw: bool) -> np.ndarray:
    from pydicom.pixels import pixel_array
    from pydicom.uid import UID

    try:
        return pixel_array(dataset, raw=raw)
    except Exception as error:  # decoders raise whatever they meet
        if isinstance(error, NotImplementedError) or "missing dependencies" in str(error):
            name = UID(_transfer_syntax(dataset)).name
            raise UnsupportedError(f"{path.name} is compressed as {name}, which cannot be decoded here; install "
                                   "pylibjpeg[all] or convert the file to an uncompressed transfer syntax.") from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise FormatError(f"{path.name} has damaged pixel data: {reason}.") from error


def _by_simpleitk(dataset, syntax: str) -> np.ndarray | None:
    """Samples decoded by SimpleITK, or None if it cannot.

    It sees a file of nothing but the compressed pixel data, because it would apply a rescale slope that it knew of.
    """
    import SimpleITK
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    bare = Dataset()
    for name in _IMAGE_PIXEL_MODULE:
        if name in dataset:
            bare[name] = dataset[name]
    frames = int(dataset.get("NumberOfFrames") or 1)
    capture = (int(dataset.get("SamplesPerPixel") or 1), int(dataset.get("BitsAllocated") or 0))
    bare.SOPClassUID = _MULTI_FRAME_CAPTURES.get(capture) if frames > 1 else "1.2.840.10008.5.1.4.1.1.7"
    bare.SOPInstanceUID = "2.25.1"
    bare.Modality = "OT"
    if bare.get("PhotometricInterpretation") == "MONOCHROME1":
        bare.PhotometricInterpretation = "MONOCHROME2"
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = UID(syntax)
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pixels.dcm"
        try:
            bare.save_as(file, enforce_file_format=True)
            return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file), imageIO="GDCMImageIO"))
        except Exception:  # the next decoder decides whether this is damage or merely unknown here
            return None


def _significant_bits(samples: np.ndarray, allocated: int, stored: int, high: int, signed: bool,
                      moved: bool) -> np.ndarray:
    """Only the Bits Stored below High Bit, sign-extended where signed; what stands in the other bits means nothing.

    Parameters
    ----------
    moved : bool
        Whether a High Bit other than Bits Stored - 1 is still to be undone; decoders of compressed data have done it.
    """
    if allocated == 1:
        return samples
    width = allocated // 8
    samples = samples.astype(f"{samples.dtype.kind}{width}", copy=False)
    bits = samples.view(f"u{width}")
    if stored < allocated:
        unsigned = bits.dtype.type
        if moved and high + 1 > stored:
            bits = bits >> unsigned(high + 1 - stored)
        bits = bits & unsigned((1 << stored) - 1)
        if signed:
            sign = unsigned(1 << (stored - 1))
            bits = (bits ^ sign) - sign
    return bits.view(f"i{width}") if signed else bits
