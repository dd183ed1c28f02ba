"""What goes into a file with a node's voxels, and how a node that comes out of it is named and marked."""

from slicer.i18n import tr as _

import MedCompressLib as mc

from .Lossy import isLossy, lossyName, lossyProperties, lossyRefusal, markLossy
from .SequenceNode import addSequenceNodes, describe, frameOf
from .VolumeNode import addVolumeNode


def describeFor(node, codec, maxError, roi, force) -> dict:
    """The properties of a node that are to be stored, if it may be compressed like this.

    :param node: volume or sequence node.
    :param codec: codec id, or "auto".
    :param maxError: by how many stored units a voxel may be off; 0 is lossless.
    :param roi: SegmentROI, or None.
    :param force: compress mammograms with loss, too.
    :raises ValueError: it may not; the message says why.
    """
    properties = describe(node)
    if not maxError:
        if roi is not None:
            raise ValueError(_("Segments of interest need a quality for what lies outside: give maxError, the error "
                               "allowed there. Without it everything is lossless."))
        return properties
    reason = lossyRefusal(node, frameOf(node), codec, roi, force)
    if reason:
        raise ValueError(reason)
    properties = lossyProperties(properties)
    return properties if roi is None else {**properties, "segmentsOfInterest": roi.describe()}


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
    name = name or (lossyName(defaultName, info["quality"]["max_error"]) if lossy else defaultName)
    node = addSequenceNodes(volume, name, beside) if "t" in volume.axes else addVolumeNode(volume, name, beside)
    if lossy:
        markLossy(node, info)
    return node
