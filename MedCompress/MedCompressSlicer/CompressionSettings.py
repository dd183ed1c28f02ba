"""How a volume is to be compressed, whether it may be, and what goes into the file with it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from slicer.i18n import tr as _

from MedCompressLib.codecs import has_previews

from .Lossy import lossyName, lossyProperties, lossyRefusal
from .SegmentROI import SegmentROI
from .SequenceNode import describe, frameOf, refusalOf
from .VolumeNode import voxelsOfNode

_MODEL_CODEC = "neural"


@dataclass(frozen=True)
class CompressionSettings:
    """All choices of a user.

    codec - Codec ID, or "auto", which lets the library choose.
    preset - Preset of the codec, its default one if empty.
    maxError - By how many stored units (HU in a CT) a voxel may be off where no segment says otherwise; 0 for not at
    all.
    targetRatio - How many times smaller than in memory the file has to be, with whatever errors that takes; 0 for as it
    comes. Not together with bounds on the error.
    roi - SegmentROI: segments with bounds of their own, or, of a lossless file with layers, what it begins with; or
    None.
    background - What all voxels outside the segments become, which are lossless then; None for no such value.
    force - Compress mammograms with loss, too.
    model - File of a model trained for the codec neural; empty for the one that everybody has.
    segmentation - Segmentation node whose segments travel in the file, or None.
    """

    codec: str = "auto"
    preset: str = ""
    maxError: int = 0
    targetRatio: float = 0.0
    roi: SegmentROI | None = None
    background: int | None = None
    force: bool = False
    model: str = ""
    segmentation: object = None

    @property
    def largestError(self) -> int:
        """Allowed anywhere, where there is a bound."""
        return max([self.maxError, *(self.roi.maxErrors.values() if self.roi is not None else ())])

    @property
    def lossy(self) -> bool:
        """Whether any voxel may be off."""
        return self.largestError != 0 or self.targetRatio != 0 or self.background is not None

    def refusal(self, node) -> str:
        """Why a volume or sequence node cannot be compressed like this: one sentence, empty if it can."""
        reason = refusalOf(node) or self._modelRefusal()
        if reason:
            return reason
        if self.targetRatio and (self.largestError or self.roi is not None):
            return _("A target ratio leaves no choice of errors; choose it without maxError and without segments.")
        if self.background is not None:
            return self._backgroundRefusal(node)
        if self.lossy:
            return lossyRefusal(node, frameOf(node), self.codec, self.roi, self.force, bounded=not self.targetRatio)
        if self.roi is None:
            return ""
        return self.roi.refusal() or ("" if has_previews(self.codec) else _(
            "All of these segments are lossless, and so is what lies outside: allow an error outside (maxError) or in "
            "a segment, or use the codec progressive, whose files begin with them."))

    def _backgroundRefusal(self, node):
        if self.roi is None:
            return _("Select a segmentation, and the segments that are to be kept.")
        if self.largestError:
            return _("Where all else becomes one value, every segment is lossless: allow no errors.")
        reason = lossyRefusal(node, frameOf(node), "auto", self.roi, self.force)
        if reason:
            return reason
        limits = np.iinfo(voxelsOfNode(frameOf(node)).dtype)
        return "" if limits.min <= self.background <= limits.max else _(
            "The voxels of {name} cannot be {value}: choose a value from {lowest} to {highest}.").format(
            name=node.GetName(), value=self.background, lowest=limits.min, highest=limits.max)

    def _modelRefusal(self):
        if not self.model:
            return ""
        if self.codec not in ("auto", _MODEL_CODEC):
            return _("The codec {codec} uses no model; choose neural, or clear the model.").format(codec=self.codec)
        if not Path(self.model).is_file():
            return _("There is no model {path}; choose another, or clear it.").format(path=self.model)
        return ""

    def properties(self, node) -> dict:
        """What is stored with the voxels of a volume or sequence node, if it may be compressed like this.

        :raises ValueError: it may not; the message says why.
        """
        reason = self.refusal(node)
        if reason:
            raise ValueError(reason)
        properties = describe(node)
        if not self.lossy:
            return properties
        properties = lossyProperties(properties)
        return properties if self.roi is None else {**properties, "segmentsOfInterest": self.roi.describe()}

    def forWorker(self) -> dict:
        """What the library needs, as plain JSON."""
        return {"codec": self.codec, "preset": self.preset, "maxError": self.maxError,
                "targetRatio": self.targetRatio, "background": self.background, "model": self.model}

    def restoredName(self, node) -> str:
        """How the restored volume is called by default; where voxels may be off, the name tells by how much."""
        if self.targetRatio:
            return _("{name} lossy (ratio {ratio:g})").format(name=node.GetName(), ratio=self.targetRatio)
        if self.background is not None:
            return _("{name} lossy (segments only)").format(name=node.GetName())
        if self.lossy:
            return lossyName(node.GetName(), self.largestError)
        return _("{name} restored").format(name=node.GetName())

