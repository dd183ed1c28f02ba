"""Data sets for a volume that was never DICOM: CT, MR or secondary capture images of a new series."""

from __future__ import annotations

import datetime

import numpy as np

from ..errors import UnsupportedError
from ..volume import Volume

_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "OT": "1.2.840.10008.5.1.4.1.1.7"}
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_SAME_DIRECTION = 1e-4
# Keywords that people set for a fresh series, with what they are if they are not given.
_GIVEN = {"PatientName": "", "PatientID": "", "PatientBirthDate": "", "PatientSex": "", "StudyID": "",
          "StudyDescription": "", "AccessionNumber": "", "ReferringPhysicianName": "", "SeriesDescription": "",
          "SeriesNumber": 1, "StudyInstanceUID": None, "FrameOfReferenceUID": None}


def fresh_datasets(volume: Volume, modality: str, elements: dict[str, object]) -> list:
    """One data set without pixel data for each slice of a volume.

    Parameters
    ----------
    volume : Volume
        (k, j, i) or, as secondary captures, (k, j, i, 3) uint8; integers of 8 or 16 bits, in an orthogonal matrix.
    modality : str
        "CT", "MR" or "OT".
    elements : dict of str to object
        Values by keyword: any of the patient, study and series (see `_GIVEN`).

    Raises
    ------
    UnsupportedError
        DICOM images cannot hold such a volume, or an element that is not one of these.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import generate_uid

    _check(volume, modality, elements)
    now = datetime.datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    common = {name: elements.get(name, default) for name, default in _GIVEN.items()}
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        common[name] = common[name] or str(generate_uid())
    common["SeriesInstanceUID"] = str(generate_uid())
    columns, origin = volume.ijk_to_ras[:3, :3] * _LPS_TO_RAS[:, None], volume.ijk_to_ras[:3, 3] * _LPS_TO_RAS
    lengths = np.linalg.norm(columns, axis=0)
    bits = 8 * volume.dtype.itemsize
    color = volume.components == 3
    datasets = []
    for k in range(volume.shape[0]):
        dataset = Dataset()
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.SOPClassUID, dataset.SOPInstanceUID = _CLASSES[modality], generate_uid()
        for name, value in common.items():
            setattr(dataset, name, value)
        dataset.Modality = modality
        dataset.ImageType = ["DERIVED", "SECONDARY"] + ([] if modality == "OT" else
                                                        ["AXIAL" if modality == "CT" else "OTHER"])
        dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = date
        dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = time
        dataset.Manufacturer, dataset.PatientPosition, dataset.InstanceNumber = "", "", k + 1
        dataset.PositionReferenceIndicator = dataset.Laterality = ""
        dataset.ImageOrientationPatient = [_decimal(x) for x in (*columns[:, 0] / lengths[0],
                                                                 *columns[:, 1] / lengths[1])]
        dataset.ImagePositionPatient = [_decimal(x) for x in origin + k * columns[:, 2]]
        dataset.PixelSpacing = [_decimal(lengths[1]), _decimal(lengths[0])]
        dataset.SliceThickness = _decimal(lengths[2])
        dataset.SamplesPerPixel = 3 if color else 1
        dataset.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
        if color:
            dataset.PlanarConfiguration = 0
        dataset.Rows, dataset.Columns = volume.shape[1:3]
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(volume.dtype.kind == "i")
        if modality == "CT":
            dataset.KVP, dataset.AcquisitionNumber = None, None
            dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "HU"
        elif modality == "MR":
            dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "RM", "NONE", ""
            dataset.MRAcquisitionType, dataset.EchoTime, dataset.EchoTrainLength = "", None, None
            dataset.RepetitionTime = None
        else:
            dataset.ConversionType, dataset.PatientOrientation = "WSD", ""
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        datasets.append(dataset)
    return datasets


def _check(volume: Volume, modality: str, elements: dict[str, object]) -> None:
    if modality not in _CLASSES:
        raise UnsupportedError(f"A fresh series is made as one of {', '.join(_CLASSES)}, not as {modality!r}.")
    unknown = sorted(set(elements) - set(_GIVEN))
    if unknown:
        raise UnsupportedError(f"{', '.join(unknown)} cannot be set in a fresh series; these can: {', '.join(_GIVEN)}.")
    color = volume.axes == "kjic" and volume.components == 3 and volume.dtype == np.uint8
    if not color and volume.axes != "kji":
        raise UnsupportedError("Only single volumes, of one component or as RGB of 8 bits, become DICOM series; export "
                               "each frame by itself.")
    if color and modality != "OT":
        raise UnsupportedError("Colours are exported as modality OT only.")
    if volume.dtype not in (np.uint8, np.int16, np.uint16) or (modality == "CT" and volume.dtype.itemsize == 1):
        raise UnsupportedError(f"DICOM {modality} images do not hold voxels of type {volume.dtype}; convert them to "
                               "int16 or uint16 first.")
    columns = volume.ijk_to_ras[:3, :3] / np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)
    if np.abs(columns.T @ columns - np.eye(3)).max() > _SAME_DIRECTION:
        raise UnsupportedError("The axes of the volume are not at right angles, which a fresh DICOM series cannot "
                               "hold; resample it, or give the source series.")


def _decimal(number: float) -> str:
    """A number in at most 16 characters (the representation DS), as exactly as they allow."""
    number = float(number) + 0.0
    for digits in range(17, 0, -1):
        text = f"{number:.{digits}g}"
        if len(text) <= 16:
            return text
    raise UnsupportedError(f"The number {number} does not fit into a DICOM file.")
