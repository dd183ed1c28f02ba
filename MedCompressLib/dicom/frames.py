"""The single images of a DICOM file with what their headers say of each, classic and enhanced alike."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FormatError, MedCompressError, UnsupportedError

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
# Where enhanced files keep what classic ones have at the top: sequence, element.
_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "NominalCardiacTriggerDelayTime": "CardiacSynchronizationSequence",
}
# What may tell images at the same position apart, the most telling first: element, name and unit of the index.
FRAME_INDICES = (
    ("TemporalPositionIndex", "temporal position", ""),
    ("TemporalPositionIdentifier", "temporal position", ""),
    ("TriggerTime", "trigger time", "ms"),
    ("NominalCardiacTriggerDelayTime", "trigger delay", "ms"),
    ("DiffusionBValue", "b-value", "s/mm2"),
    ("EchoTime", "echo time", "ms"),
    ("EffectiveEchoTime", "echo time", "ms"),
    ("AcquisitionNumber", "acquisition", ""),
)


@dataclass
class Frame:
    """One image.

    Attributes
    ----------
    path, index : Path, int
        File, and place in it counted from 0.
    position : (3,) ndarray
        Centre of the first voxel, mm, LPS.
    orientation : (2, 3) ndarray
        Direction along a row (i), along a column (j), LPS.
    spacing : (2,) ndarray
        Distance of voxels along i and along j, mm.
    thickness : float
        Distance to the next slice if nothing else tells it, mm.
    indices : dict
        Those of `FRAME_INDICES` that the header has.
    """

    path: Path
    index: int
    instance_uid: str
    instance_number: int | None
    rows: int
    columns: int
    components: int
    position: np.ndarray
    orientation: np.ndarray
    spacing: np.ndarray
    thickness: float
    slope: float
    intercept: float
    indices: dict[str, float]

    @property
    def place(self) -> tuple:
        """Where it is in space and along the other axes, as one key."""
        return (*self.position.tolist(), *self.orientation.ravel().tolist(), *self.spacing.tolist(),
                *sorted(self.indices.items()))


@contextlib.contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn into one sentence whatever pydicom raises: it converts an element only when asked for it."""
    try:
        yield
    except (MedCompressError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise FormatError(f"{path.name} is a damaged DICOM file: {reason}.") from error


def frames_of(dataset, path: Path) -> list[Frame]:
    """All images of one file.

    Raises
    ------
    UnsupportedError
        The header does not say where the images are in the patient.
    FormatError
        An element of the header is not what it has to be.
    """
    with damage_reported(path):
        if dataset.get("SOPClassUID") == _SEGMENTATION:
            raise UnsupportedError(f"{path.name} is a DICOM segmentation, not an image; export its segments as label "
                                   "maps first.")
        count = int(dataset.get("NumberOfFrames") or 1)
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
        groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
        if groups and len(groups) != count:
            raise FormatError(f"{path.name} describes {len(groups)} frames but declares {count}.")
        offsets = [float(offset) for offset in dataset.get("GridFrameOffsetVector") or []]
        return [_frame(dataset, path, index, (groups[index] if groups else None, shared),
                       offsets[index] - offsets[0] if len(offsets) == count else None, count)
                for index in range(count)]


def _frame(dataset, path: Path, index: int, groups: tuple, offset: float | None, count: int) -> Frame:
    def element(name: str):
        for group in groups:
            sequence = group.get(_GROUPS[name]) if group is not None and name in _GROUPS else None
            if sequence and sequence[0].get(name) not in (None, ""):
                return sequence[0].get(name)
        return dataset.get(name)

    position = _numbers(element("ImagePositionPatient"), 3)
    orientation = _numbers(element("ImageOrientationPatient"), 6)
    if position is None or orientation is None:
        raise UnsupportedError(f"{path.name} does not say where it is in the patient (it has no Image Position and "
                               "Orientation), so the images cannot be stacked to a volume.")
    if offset is not None:
        position = position + offset * np.cross(orientation[:3], orientation[3:])
    elif count > 1 and not _has_own_position(groups[0]):
        raise UnsupportedError(f"The frames of {path.name} have no positions of their own, so they are not known to be "
                               "a volume.")
    spacing = _numbers(element("PixelSpacing") or dataset.get("ImagerPixelSpacing"), 2)
    if spacing is None or (spacing <= 0).any():
        raise UnsupportedError(f"{path.name} does not say how far its pixels are apart (it has no Pixel Spacing).")
    thickness = [abs(float(element(name) or 0)) for name in ("SpacingBetweenSlices", "SliceThickness")]
    slope, intercept = element("RescaleSlope"), element("RescaleIntercept")
    number = dataset.get("InstanceNumber")
    return Frame(path, index, str(dataset.get("SOPInstanceUID") or ""), None if number in (None, "") else int(number),
                 int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel") or 1), position,
                 orientation.reshape(2, 3), spacing[::-1], thickness[0] or thickness[1] or 1.0,
                 1.0 if slope in (None, "") else _finite(slope), 0.0 if intercept in (None, "") else _finite(intercept),
                 {name: float(element(name)) for name, *_ in FRAME_INDICES if element(name) not in (None, "")})


def _has_own_position(group) -> bool:
    return group is not None and bool(group.get("PlanePositionSequence"))


def _numbers(value, count: int) -> np.ndarray | None:
    if value is None or len(value) != count:
        return None
    numbers = np.array([float(number) for number in value])
    return numbers if np.isfinite(numbers).all() else None


def _finite(value) -> float:
    if not math.isfinite(float(value)):
        raise ValueError(f"{value} is not a number")
    return float(value)


def plain(value):
    """An element's value as plain JSON."""
    if isinstance(value, bool | type(None)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) or type(value).__name__ == "DSdecimal":
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return str(value)
    try:
        return [plain(item) for item in value]
    except TypeError:
        return str(value)
