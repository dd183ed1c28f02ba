"""A segmentation node that travels in the file of a volume: `Volume.metadata["Slicer"]["segmentation"]`."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

import MedCompressLib as mc

from .SegmentLayers import SegmentLayers
from .SegmentROI import ensureReferenceGeometry
from .VolumeNode import METADATA_KEY, storedProperties

STORED_KEY = "segmentation"


def rasterizeLayers(segmentationNode, volumeNode):
    """All segments on the grid of a volume; a generator that yields after each and returns SegmentLayers.

    :raises ValueError: there are no segments.
    """
    segmentation = segmentationNode.GetSegmentation()
    if not segmentation.GetNumberOfSegments():
        raise ValueError(_("Segmentation {name} has no segments to store.").format(name=segmentationNode.GetName()))
    ensureReferenceGeometry(segmentationNode, volumeNode)
    stored = SegmentLayers({"name": segmentationNode.GetName(), "segments": []}, [])
    for segmentID in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentID)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode)
        stored.add(np.asarray(mask) != 0, segment.GetName(), segment.GetColor())
        yield True
    return stored


def withSegmentation(volume: mc.Volume, segmentationNode, volumeNode) -> mc.Volume:
    """The volume with a segmentation in its metadata; shares the voxels."""
    steps = rasterizeLayers(segmentationNode, volumeNode)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            properties = {**volume.metadata[METADATA_KEY], STORED_KEY: finished.value.asJSON()}
            return mc.Volume(volume.voxels, volume.ijk_to_ras, volume.axes, volume.sequence,
                             {**volume.metadata, METADATA_KEY: properties})


def storedSegmentation(volume: mc.Volume) -> SegmentLayers | None:
    """The segmentation that came with a volume in its file, or None.

    :raises ValueError: what the file says of it is not valid.
    """
    properties = storedProperties(volume).get(STORED_KEY)
    if properties is None:
        return None
    return SegmentLayers.fromJSON(properties, volume.voxels.shape["t" in volume.axes:][:3])


def addSegmentation(stored: SegmentLayers, ijkToRAS, volumeNode):
    """Add a segmentation where a volume lies.

    :param ijkToRAS: of the volume.
    :param volumeNode: the volume node that was made of it, or that shows its frames.
    :return: the new segmentation node.
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", slicer.mrmlScene.GetUniqueNameByString(
        stored.described["name"] or _("Segmentation")))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    segmentation, found = node.GetSegmentation(), {}
    for number, layer in enumerate(stored.layers):
        before = set(segmentation.GetSegmentIDs())
        slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(
            _orientedImage(layer, ijkToRAS), node, "")
        for segmentID in segmentation.GetSegmentIDs():
            if segmentID not in before:
                found[number, segmentation.GetSegment(segmentID).GetLabelValue()] = segmentID
    for index, described in enumerate(stored.described["segments"]):
        segmentID = found.get((described["layer"], described["label"])) or segmentation.AddEmptySegment()
        segmentation.GetSegment(segmentID).SetName(described["name"])
        segmentation.GetSegment(segmentID).SetColor(*described["color"])
        segmentation.SetSegmentIndex(segmentID, index)
    return node


def segmentationOf(volumeNode):
    """The segmentation node whose reference geometry is that of a volume node, or None."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return next((node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
                 if node.GetNodeReference(role) is volumeNode), None)


def _orientedImage(layer, ijkToRAS):
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*(int(n) for n in reversed(layer.shape)))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(layer.shape)[...] = layer
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijkToRAS))
    return image
