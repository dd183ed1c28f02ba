"""The module's entry in Slicer's Sample Data: a CT-like volume and its segmentation, made here, not downloaded."""

import os

import numpy as np
import slicer
from slicer.i18n import tr as _

CATEGORY = "MedCompress"
NAME = "MedCompressPhantom"
_SHAPE = (40, 128, 160)
_SPACING = (3.0, 1.5, 1.5)
# Center and half axes in (k, j, i) as shares of the half lengths, HU, color.
_ORGANS = {
    "liver": ((0.0, -0.1, -0.4), (0.7, 0.45, 0.35), 110, (0.87, 0.51, 0.40)),
    "spleen": ((0.1, 0.15, 0.52), (0.4, 0.25, 0.16), 130, (0.62, 0.42, 0.62)),
    "kidney": ((-0.2, 0.3, 0.28), (0.45, 0.17, 0.12), 180, (0.73, 0.40, 0.16)),
    "spine": ((0.0, 0.55, 0.0), (1.5, 0.14, 0.13), 420, (0.95, 0.84, 0.57)),
}


def registerSampleData(resourcePath):
    """Add the sample to the module Sample Data.

    :param resourcePath: function from the name of a resource to its path.
    """
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=_("MedCompress"))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY, sampleName=NAME, uris=[], fileNames=[], nodeNames=[],
        customDownloader=lambda source: addSampleScan(),
        thumbnailFileName=os.path.join(resourcePath("Icons"), NAME + ".png"))


def addSampleScan():
    """Add the volume and the segmentation to the scene, and show them.

    :return: volume node, segmentation node.
    """
    voxels, masks = sampleScan()
    volumeNode = slicer.util.addVolumeFromArray(voxels, np.diag([-_SPACING[2], -_SPACING[1], _SPACING[0], 1.0]), NAME)
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    volumeNode.SetVoxelValueUnits(units)
    volumeNode.GetDisplayNode().SetAutoWindowLevel(False)
    volumeNode.GetDisplayNode().SetWindowLevel(600, 100)
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", _("{name} organs").format(
        name=volumeNode.GetName()))
    segmentationNode.CreateDefaultDisplayNodes()
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    for name, mask in masks.items():
        segmentID = segmentationNode.GetSegmentation().AddEmptySegment(name, name, _ORGANS[name][3])
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentationNode, segmentID, volumeNode)
    slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)
    return volumeNode, segmentationNode


def sampleScan():
    """A body with organs and noise that is smooth as reconstructed images are, in HU.

    :return: int16 voxels (k, j, i), and masks by name, uint8.
    """
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in _SHAPE), indexing="ij")

    def ellipsoid(center, halfAxes):
        return sum(((axis - c) / h) ** 2 for axis, c, h in zip(axes, center, halfAxes, strict=True)) < 1

    voxels = np.full(_SHAPE, -1000, np.float32)
    voxels[ellipsoid((0, 0, 0), (9, 0.86, 0.92))] = -90
    voxels[ellipsoid((0, 0, 0), (9, 0.78, 0.85))] = 50
    masks = {}
    for name, (center, halfAxes, value, _color) in _ORGANS.items():
        inside = ellipsoid(center, halfAxes)
        voxels[inside] = value
        masks[name] = inside.astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 30, _SHAPE).astype(np.float32)
    for axis in (1, 2):
        noise = (noise + np.roll(noise, 1, axis)) / np.sqrt(2)
    voxels[voxels > -1000] += noise[voxels > -1000]
    return np.round(voxels).astype(np.int16), masks
