"""The choices of the panel, kept in the scene."""

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class MedCompressParameterNode:
    """
    inputVolume - The volume to compress; label map and vector volumes are scalar volumes to MRML.
    codec - Id of the codec, or "auto".
    preset - Preset of the codec; empty for its default one.
    outputPath - The file to write; empty for none. A text, because an empty pathlib.Path reads ".".
    loadRestored - Whether the restored volume is added to the scene.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    codec: str = "auto"
    preset: str = ""
    outputPath: str = ""
    loadRestored: bool = True
