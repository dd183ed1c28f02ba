"""A volume as a DICOM series in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..dicom import read_files
from ..dicom.folder import candidates, files_in, scan
from ..dicom.geometry import same_geometry
from ..dicom.pixels import has_overlay_in_pixels
from ..errors import UnsupportedError
from ..replacing import replacing_files
from ..volume import Volume
from .fresh import fresh_datasets
from .loss import Loss, mark_lossy
from .syntaxes import set_pixels, uid_of


def export_series(volume: Volume, folder: str | os.PathLike, syntax: str = "explicit",
                  source: str | os.PathLike | Iterable[Path] | None = None, loss: Loss | None = None,
                  modality: str = "OT", elements: dict[str, object] | None = None,
                  overwrite: bool = False) -> list[str]:
    """Write a volume as a DICOM series.

    After a source series, without loss, every element stays as it is, the UIDs too, except for:

    * Transfer Syntax UID (0002,0010) and the rest of the file's group 2, which tells who wrote it;
    * Pixel Data (7FE0,0010), of which only the Bits Stored are kept; Extended Offset Table (7FE0,0001) and Lengths
      (7FE0,0002) go; Photometric Interpretation (0028,0004) and Planar Configuration (0028,0006) follow the encoding of
      colours; bits above Bits Stored become copies of the sign or zeros, High Bit (0028,0102) becomes Bits Stored - 1;
    * overlays that stand in unused bits of the pixel data are refused.

    Lossy Image Compression (0028,2110) is not touched: once 01 it stays 01.

    With `loss` these change as well:

    * SOP Instance UID (0008,0018) and Media Storage SOP Instance UID (0002,0003): new;
    * Series Instance UID (0020,000E): new, one for the series;
    * Image Type (0008,0008) and every Frame Type (0008,9007): value 1 becomes DERIVED;
    * Lossy Image Compression (0028,2110): 01;
    * Lossy Image Compression Ratio (0028,2112) and Method (0028,2114): one value appended to each;
    * Derivation Description (0008,2111): the description of the loss and the ratio appended;
    * Derivation Code Sequence (0008,9215): (113040, DCM, Lossy Compression) appended;
    * Source Image Sequence (0008,2112): the source image appended, as (121320, DCM, Uncompressed predecessor);
    * Smallest and Largest Image Pixel Value and those of the series (0028,0106 to 0109), Digital Signatures Sequence
      (FFFA,FFFA) and MAC Parameters Sequence (4FFE,0001): removed, as they no longer hold.

    A fresh series (no `source`) has the elements that its kind of image needs; `loss` is described in it likewise, but
    without a source image.

    Parameters
    ----------
    volume : Volume
        Integers. After a source it has the shape that the source has when it is read.
    folder : str or path
        Where to write the files; nothing appears there before all are written.
    syntax : str
        "explicit" (Explicit VR Little Endian), "rle", "jpeg-ls", "jpeg-2000" or "htj2k"; all without loss.
    source : path or iterable of paths, optional
        The series that the volume came from: a folder, or files (`dicom_archive.Archive.files` will do).
    loss : Loss, optional
        How the voxels differ from the original ones. Without it they must be equal to those of `source`.
    modality : str
        Of a fresh series: "CT", "MR" or "OT" (secondary capture).
    elements : dict of str to object, optional
        Of a fresh series: PatientName, PatientID and others by keyword.
    overwrite : bool
        Whether existing files may be replaced.

    Returns
    -------
    list of str
        Names of the files, in the order of the slices.

    Raises
    ------
    UnsupportedError
        DICOM, the transfer syntax, or the source cannot hold the volume; the message says why.
    MedCompressError
        The folder cannot be written, or an encoder failed.
    """
    uid_of(syntax)
    if source is None:
        images = _fresh(volume, modality, elements or {}, loss)
    elif elements:
        raise UnsupportedError("Elements are set in a fresh series only; after a source they stay as they are.")
    else:
        images = _after(volume, source, loss)
    names = [f"{number:0{max(4, len(str(len(images))))}}.dcm" for number in range(1, len(images) + 1)]
    with replacing_files(folder, names, overwrite) as temporary:
        for name, (dataset, samples) in zip(names, images, strict=True):
            set_pixels(dataset, samples, syntax)
            dataset.save_as(temporary / name, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return names


def _fresh(volume: Volume, modality: str, elements: dict[str, object], loss: Loss | None) -> list[tuple]:
    datasets = fresh_datasets(volume, modality, elements)
    if loss is not None:
        for dataset in datasets:
            mark_lossy(dataset, loss, {})
            del dataset.SourceImageSequence  # there is no image that it came from
    return [(dataset, voxels[np.newaxis]) for dataset, voxels in zip(datasets, volume.voxels, strict=True)]


def _after(volume: Volume, source: str | os.PathLike | Iterable[Path], loss: Loss | None) -> list[tuple]:
    """Data sets of the source in the order of the slices, each with its new samples."""
    import pydicom
    from pydicom.uid import generate_uid

    where = source if isinstance(source, (str, os.PathLike)) else "the source"
    files = files_in(Path(source)) if isinstance(source, (str, os.PathLike)) else list(source)
    wanted = volume.metadata.get("DICOM", {}).get("SeriesInstanceUID")
    series = [one for one in scan(candidates(files))[0] if not wanted or one.uid == wanted]
    if wanted and not series:
        raise UnsupportedError(f"The volume came from the series {wanted}, which is not in {where}; give that series.")
    original = read_files(files, where, wanted)
    if volume.shape != original.shape or volume.axes != original.axes:
        raise UnsupportedError(f"The volume has the shape {volume.shape} and its source {original.shape}; give the "
                               "series that it came from.")
    if not same_geometry(volume.ijk_to_ras, original.ijk_to_ras):
        raise UnsupportedError("The volume lies elsewhere than its source, whose headers would put it back; export it "
                               "without a source.")
    if loss is None and not np.array_equal(volume.voxels, original.voxels):
        raise UnsupportedError("The voxels differ from those of the source; say how (a Loss), because a lossy image "
                               "must tell that it is one.")
    identity = original.metadata["DICOM"]
    stored = _stored(volume, identity["rescale"])
    if not all(identity["instanceUIDs"]) or len(set(identity["instanceUIDs"])) < len(identity["instanceUIDs"]):
        raise UnsupportedError(f"Images in {where} have no SOP Instance UID of their own, so that their headers cannot "
                               "be told apart; export the volume without a source.")
    frames = identity.get("frames") or [[number, 1] for number in range(len(stored))]
    by_uid = {}
    for file in series[0].paths:
        with file.open("rb") as opened:
            header = pydicom.dcmread(opened, force=True, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        by_uid[str(header.get("SOPInstanceUID") or "")] = file
    series_uid = generate_uid()
    images = []
    for number, uid in enumerate(identity["instanceUIDs"]):
        with by_uid[uid].open("rb") as opened:
            dataset = pydicom.dcmread(opened, force=True)
        mine = sorted((frame, place) for place, (file_number, frame) in enumerate(frames) if file_number == number)
        samples = stored[[place for _, place in mine]]
        _prepare(dataset, samples)
        if loss is not None:
            mark_lossy(dataset, loss, {"SOPInstanceUID": generate_uid(), "SeriesInstanceUID": series_uid})
        images.append((dataset, samples))
    return images


def _stored(volume: Volume, rescale: dict) -> np.ndarray:
    """Stored values, (images, rows, columns) or with components last, from rescaled ones; exactly or not at all."""
    frames = volume.voxels.reshape(-1, *volume.voxels.shape[2 if "t" in volume.axes else 1:])
    dtype = np.dtype(rescale["storedType"])
    if not rescale["applied"]:
        return frames.astype(dtype, copy=False)
    slopes, intercepts = (np.array(rescale[name], dtype=np.int64).reshape(-1, *(1,) * (frames.ndim - 1))
                          for name in ("slope", "intercept"))
    stored, rest = np.divmod(frames.astype(np.int64) - intercepts, slopes)
    limits = np.iinfo(dtype)
    if rest.any() or stored.min() < limits.min or stored.max() > limits.max:
        raise UnsupportedError("Some voxels are not values that the rescale slope and intercept of the source can "
                               "give; compress the stored values instead of the rescaled ones.")
    return stored.astype(dtype)


def _prepare(dataset, samples: np.ndarray) -> None:
    """Make the header of a source fit its new samples, or refuse where it cannot."""
    from pydicom.uid import ExplicitVRBigEndian

    if getattr(dataset, "file_meta", None) is None or "SOPClassUID" not in dataset:
        raise UnsupportedError("The source is no complete DICOM file (it has no SOP Class UID or no file header), so "
                               "no PACS would take it.")
    if has_overlay_in_pixels(dataset):
        raise UnsupportedError("The source has overlays in the unused bits of its images, which would be lost; archive "
                               "the series instead, or remove the overlays first.")
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise UnsupportedError("The source has colours from a palette, which are not exported; archive the series "
                               "instead.")
    if dataset.file_meta.get("TransferSyntaxUID") == ExplicitVRBigEndian:
        raise UnsupportedError("The source is big-endian, which was retired from DICOM; convert it to little-endian "
                               "first.")
    stored = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    low, high = (-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if samples.dtype.kind == "i" else (0, (1 << stored) - 1)
    if samples.dtype.kind not in "iu" or samples.min() < low or samples.max() > high:
        raise UnsupportedError(f"Some samples do not fit the {stored} bits that the source stores them in.")
    dataset.HighBit = stored - 1
    if samples.ndim == 4:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
