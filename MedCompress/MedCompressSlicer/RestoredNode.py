"""How a node that comes out of a file is named, marked and shown."""

import slicer

import MedCompressLib as mc

from .Lossy import isLossy, lossyName, markLossy
from .SequenceNode import addSequenceNodes, frameOf
from .VolumeNode import addVolumeNode


def addRestoredNode(volume: mc.Volume, info, name="", beside=None, defaultName=""):
    """Add what was restored to the scene; if it is not the original, name and attributes tell.

    :param volume: a volume or a sequence.
    :param info: result of `MedCompressLib.info`, or that of `CompressionReport.info`; None for the original files.
    :param name: of the node, used as it is.
    :param beside: node whose transform, folder and display the new one gets.
    :param defaultName: used if there is no name; where voxels are not the original ones, their possible error follows.
    :return: the new volume or sequence node.
    """
    lossy = info is not None and isLossy(info)
    if not name:
        # Without a bound, what was reached.
        name = lossyName(defaultName, info["quality"].get("max_error", info["quality"]["reached"]["max_error"])) \
            if lossy else defaultName
    node = addSequenceNodes(volume, name, beside) if "t" in volume.axes else addVolumeNode(volume, name, beside)
    if lossy:
        markLossy(node, info)
    return node


def showInSliceViews(node, fit=False):
    """Show a volume node, or the frame that is shown of a sequence node, as the background or, for labels, on top.

    :param fit: whether the views move to where it is.
    """
    shown = frameOf(node)
    isLabelMap = shown.IsA("vtkMRMLLabelMapVolumeNode")
    slicer.util.setSliceViewerLayers(**{"label" if isLabelMap else "background": shown}, fit=fit)
