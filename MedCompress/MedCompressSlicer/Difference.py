"""Two volumes beside each other, and what differs in colors: blue where the second is less, red where it is more."""

import numpy as np
import slicer
from slicer.i18n import tr as _

from .VolumeNode import fillNode, restorePlacement, volumeFromNode, voxelsOfNode

_COLORS = 255
_COLOR_TABLE = "MedCompressDifference"


def addDifferenceVolume(original, restored, name=""):
    """Add the volume of restored minus original voxels.

    :param original, restored: volume nodes with as many voxels; the result lies where the first does.
    :param name: of the new node; made of both names if empty.
    :return: the new volume node, in a diverging color table whose middle is no difference.
    :raises ValueError: the volumes have different sizes.
    """
    first, second = voxelsOfNode(original), voxelsOfNode(restored)
    if first.shape != second.shape:
        raise ValueError(_("{first} and {second} have different numbers of voxels and cannot be compared.").format(
            first=original.GetName(), second=restored.GetName()))
    volume = volumeFromNode(original, {})
    kind = np.int64 if first.dtype.kind in "iu" and second.dtype.kind in "iu" else np.float64
    difference = second.astype(kind) - first.astype(kind)
    fits = kind is np.int64 and np.abs(difference).max() < 2 ** 15
    volume.voxels = difference.astype(np.int16 if fits else np.float64)
    volume.metadata = {}
    className = "vtkMRMLVectorVolumeNode" if difference.ndim == 4 else "vtkMRMLScalarVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GetUniqueNameByString(
        name or _("{second} minus {first}").format(first=original.GetName(), second=restored.GetName())))
    fillNode(node, volume, {})
    node.CreateDefaultDisplayNodes()
    restorePlacement(node, {}, original)
    display = node.GetDisplayNode()
    largest = float(np.nanmax(np.abs(volume.voxels))) or 1.0
    display.SetApplyThreshold(False)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(2.0 * largest, 0.0)
    display.SetAndObserveColorNodeID(_colorTable().GetID())
    return node


def showComparison(original, restored, difference):
    """Show the original at the left and the restored volume with the difference over it at the right.

    Without a layout manager only the slice views that the scene knows are changed.
    """
    layoutManager = slicer.app.layoutManager()
    if layoutManager is not None:
        layoutManager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        right = composite.GetLayoutName() == "Yellow"
        composite.SetLinkedControl(True)
        composite.SetBackgroundVolumeID((restored if right else original).GetID())
        composite.SetForegroundVolumeID(difference.GetID() if right else None)
        composite.SetForegroundOpacity(0.5 if right else 0.0)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if view.GetLayoutName() in ("Red", "Yellow"):
            view.SetOrientation("Axial")


def _colorTable():
    """Blue over white to red; made once in a scene."""
    node = slicer.mrmlScene.GetFirstNode(_COLOR_TABLE, "vtkMRMLColorTableNode")
    if node is not None:
        return node
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", _COLOR_TABLE)
    node.SetTypeToUser()
    node.SetNumberOfColors(_COLORS)
    for index in range(_COLORS):
        place = 2.0 * index / (_COLORS - 1) - 1.0
        red, green, blue = min(1.0, 1.0 + place), 1.0 - abs(place), min(1.0, 1.0 - place)
        node.SetColor(index, str(round(place, 2)), red, green, blue, 1.0)
    node.NamesInitialisedOn()
    return node
