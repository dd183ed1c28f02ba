"""The choices of the panel, kept in the scene."""

from slicer import vtkMRMLSegmentationNode, vtkMRMLStorableNode
from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class MedCompressParameterNode:
    """
    inputVolume - The volume or sequence to compress.
    codec - Id of the codec, or "auto".
    preset - Preset of the codec; empty for its default one.
    nearLossless - Whether voxels may be off.
    maxError - By how many stored units, where no segment says otherwise.
    segmentation - Where segments of interest come from; none for the same bound everywhere.
    segmentBounds - JSON: ID of each segment that is not background to the error allowed in it, 0 for lossless.
    margin - In mm, by which segments grow.
    outputPath - The file to write; empty for none. A text, because an empty pathlib.Path reads ".".
    loadRestored - Whether the restored volume is added to the scene.
    """

    inputVolume: vtkMRMLStorableNode
    codec: str = "auto"
    preset: str = ""
    nearLossless: bool = False
    maxError: int = 5
    segmentation: vtkMRMLSegmentationNode
    segmentBounds: str = "{}"
    margin: float = 0.0
    outputPath: str = ""
    loadRestored: bool = True
