"""The choices of the panel, kept in the scene."""

from typing import Annotated

from slicer import vtkMRMLSegmentationNode, vtkMRMLStorableNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from MedCompressLib.quality import MAX_ERROR


@parameterNodeWrapper
class MedCompressParameterNode:
    """
    inputVolume - The volume or sequence to compress.
    codec - Id of the codec, or "auto".
    preset - Preset of the codec; empty for its default one.
    model - Model file for the codec neural; empty for the one that everybody has.
    quality - "lossless", "near-lossless" or "ratio".
    maxError - By how many stored units a voxel may be off, where no segment says otherwise.
    targetRatio - How many times smaller than in memory the file has to be.
    segmentation - Where segments of interest come from; none for the same bound everywhere.
    segmentBounds - JSON: ID of each segment that is not background to the error allowed in it, 0 for lossless.
    outside - What happens outside these segments: "bounded" by maxError, "lossless", or "constant".
    background - The value of all voxels outside if that is constant, in stored units.
    margin - In mm, by which segments grow.
    storeSegmentation - Whether the segmentation travels in the file.
    outputPath - The file to write; empty for none. A text, because an empty pathlib.Path reads ".".
    loadRestored - Whether the restored volume is added to the scene.
    trainingVolumes - Volumes and sequences to train on.
    trainingPreset - The preset that the new model is for; empty for the default one.
    trainedModel - The model file to write.
    """

    inputVolume: vtkMRMLStorableNode
    codec: str = "auto"
    preset: str = ""
    model: str = ""
    quality: str = "lossless"
    maxError: Annotated[int, WithinRange(1, MAX_ERROR)] = 5
    targetRatio: Annotated[float, WithinRange(1, 1000)] = 10.0
    segmentation: vtkMRMLSegmentationNode
    segmentBounds: str = "{}"
    outside: str = "bounded"
    background: Annotated[int, WithinRange(-(1 << 31), (1 << 31) - 1)] = 0
    margin: Annotated[float, WithinRange(0, 100)] = 0.0
    storeSegmentation: bool = False
    outputPath: str = ""
    loadRestored: bool = True
    trainingVolumes: list[vtkMRMLStorableNode]
    trainingPreset: str = ""
    trainedModel: str = ""
