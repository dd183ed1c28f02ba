"""Segments of a segmentation as regions of interest of a volume."""

from dataclasses import dataclass, field

import numpy as np
import slicer
from slicer.i18n import tr as _

from .Regions import Regions

_MAX_SEGMENTS = 64


@dataclass(frozen=True)
class SegmentROI:
    """Which segments a compression has to treat with care.

    segmentationNode - Its geometry need not be that of the volume, and both may be under transforms.
    maxErrors - Segment ID to the error that its voxels may have, in stored units; 0 is lossless. Segments that are not
    named count as background.
    margin - In mm, by which segments grow where that is tighter than what is allowed outside.
    """

    segmentationNode: object
    maxErrors: dict = field(default_factory=dict)
    margin: float = 0.0

    @classmethod
    def of(cls, segmentationNode, segments, margin=0.0):
        """From what a user gives.

        :param segments: name or ID of a segment that is to be lossless, or several, or a dict from these to the
            allowed error.
        :raises ValueError: no such segment, or too many; the message says which.
        """
        if segmentationNode is None or not segmentationNode.IsA("vtkMRMLSegmentationNode"):
            raise ValueError(_("Select a segmentation."))
        if isinstance(segments, str):
            segments = [segments]
        bounds = dict(segments) if isinstance(segments, dict) else dict.fromkeys(segments, 0)
        roi = cls(segmentationNode, {_segmentID(segmentationNode, segment): bound
                                     for segment, bound in bounds.items()}, margin)
        reason = roi.refusal()
        if reason:
            raise ValueError(reason)
        return roi

    def refusal(self) -> str:
        """Why this cannot be used: one sentence, empty if it can."""
        if self.segmentationNode is None:
            return _("Select a segmentation.")
        if not self.maxErrors:
            return _("Choose at least one segment of {name} that is not background.").format(
                name=self.segmentationNode.GetName())
        if len(self.maxErrors) > _MAX_SEGMENTS:
            return _("{count} segments are chosen; choose at most {limit}.").format(
                count=len(self.maxErrors), limit=_MAX_SEGMENTS)
        for segmentID in self.maxErrors:
            if self.segmentationNode.GetSegmentation().GetSegment(segmentID) is None:
                return _("Segmentation {name} has no segment {segment}.").format(
                    name=self.segmentationNode.GetName(), segment=segmentID)
        return ""

    def describe(self) -> dict:
        """Names, colors and bounds of the segments, as plain JSON."""
        segments = [self.segmentationNode.GetSegmentation().GetSegment(segmentID) for segmentID in self.maxErrors]
        return {"segmentation": self.segmentationNode.GetName(), "margin": self.margin, "segments": [
            {"name": segment.GetName(), "color": list(segment.GetColor()), "maxError": bound}
            for segment, bound in zip(segments, self.maxErrors.values(), strict=True)]}

    def rasterize(self, volumeNode):
        """The segments on the grid of a volume; a generator that yields after each segment and returns Regions.

        :param volumeNode: has voxels.
        :raises ValueError: none of the segments has a voxel in the volume, or one is gone.
        """
        self._require()
        segmentation = self.segmentationNode.GetSegmentation()
        ensureReferenceGeometry(self.segmentationNode, volumeNode)
        shape = tuple(reversed(volumeNode.GetImageData().GetDimensions()))
        bits = Regions.emptyBits(shape, len(self.maxErrors))
        for index, segmentID in enumerate(self.maxErrors):
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentationNode, segmentID, volumeNode)
            bits[np.asarray(mask) != 0] |= bits.dtype.type(1 << index)
            yield True
            self._require()  # meanwhile, the user may have removed some
        if not bits.any():
            raise ValueError(_("None of the chosen segments has a voxel in volume {name}: they are empty, or lie "
                               "elsewhere. Check the segmentation and the transforms of both.").format(
                name=volumeNode.GetName()))
        names = tuple(segmentation.GetSegment(segmentID).GetName() for segmentID in self.maxErrors)
        return Regions(bits, names, tuple(self.maxErrors.values()), self.margin)

    def _require(self):
        reason = self.refusal()
        if reason:
            raise ValueError(reason)

    def regions(self, volumeNode) -> Regions:
        """The same at once."""
        steps = self.rasterize(volumeNode)
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                return finished.value


def _segmentID(segmentationNode, segment):
    """The ID of a segment that is given by ID or name."""
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSegment(segment) is not None:
        return segment
    return segmentation.GetSegmentIdBySegmentName(segment) or segment


def ensureReferenceGeometry(segmentationNode, volumeNode):
    """Surfaces without it would be converted on a grid of Slicer's choice, so fine that memory may run out."""
    segmentation = segmentationNode.GetSegmentation()
    labelmap = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    if segmentation.GetSourceRepresentationName() != labelmap and not segmentation.GetConversionParameter(parameter):
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
