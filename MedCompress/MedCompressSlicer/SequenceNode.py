"""From a sequence node to a `MedCompressLib.Volume` with a time axis and back: nodes, browser, index.

`Volume.metadata["Slicer"]` is that of one frame, with the display, transform and folder of the volume that shows the
frames, and beside it

    sequence: {name, description, indexType, attributes, frames: [{name, attributes}, ...]}
"""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

import MedCompressLib as mc

from .VolumeNode import (
    describeNode,
    fillNode,
    refusal,
    requireShowable,
    restorePlacement,
    storedProperties,
    volumeFromNode,
    voxelsOfNode,
)


def isSequence(node) -> bool:
    """Whether a node is a sequence node."""
    return node is not None and node.IsA("vtkMRMLSequenceNode")


def refusalOf(node) -> str:
    """Why a volume or sequence node cannot be compressed: one sentence, empty if it can."""
    if not isSequence(node):
        return refusal(node)
    frames = framesOf(node)
    # Times of modification are counted for all objects together, so that these are no other node's.
    state = node.GetMTime(), max((frame.GetMTime() for frame in frames), default=0)
    if state not in _refusals:
        _refusals.clear()
        _refusals[state] = _refusalOfFrames(node, frames)
    return _refusals[state]


_refusals = {}  # of the sequence that was asked for last, as the panel asks at every change


def _refusalOfFrames(node, frames):
    if not frames:
        return _("Sequence {name} has no frames.").format(name=node.GetName())
    first = frames[0]
    for number, frame in enumerate(frames):
        reason = refusal(frame)
        if reason:
            return _("Frame {number} of sequence {name}: {reason}").format(number=number, name=node.GetName(),
                                                                          reason=reason)
        if _layoutOf(frame) != _layoutOf(first):
            return _("Frame {number} of sequence {name} differs from the first one in type, size or geometry; such "
                     "sequences are compressed frame by frame only.").format(number=number, name=node.GetName())
    return ""


def framesOf(node) -> list:
    """The volume nodes that a sequence node holds; none of another node."""
    return [node.GetNthDataNode(number) for number in range(node.GetNumberOfDataNodes())] if isSequence(node) else []


def frameOf(node):
    """A volume node that has the grid of a volume or sequence node: itself, the shown frame, or the first one."""
    if not isSequence(node):
        return node
    return _proxyOf(node) or node.GetNthDataNode(0)


def showSameFrame(sequence, other):
    """Let the browser of another sequence show the frame that `frameOf` gives of the first; nothing for other nodes."""
    if not (isSequence(sequence) and isSequence(other)):
        return
    logic = slicer.modules.sequences.logic()
    browser, otherBrowser = (logic.GetFirstBrowserNodeForSequenceNode(node) for node in (sequence, other))
    if otherBrowser is not None:
        otherBrowser.SetSelectedItemNumber(browser.GetSelectedItemNumber() if browser is not None else 0)
        logic.UpdateProxyNodesFromSequences(otherBrowser)


def sequenceOf(volumeNode):
    """The sequence node of which a volume node shows a frame, or None."""
    if volumeNode is None or volumeNode.GetScene() is not slicer.mrmlScene:
        return None
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(volumeNode)
    return browser.GetSequenceNode(volumeNode) if browser else None


def volumeOf(node, properties=None) -> mc.Volume:
    """A volume or sequence node as a Volume; shares the memory of a single volume.

    :param properties: result of `describe`; that of `node` if absent.
    :raises ValueError: a node that cannot be compressed; the message says why.
    """
    properties = describe(node) if properties is None else properties
    if not isSequence(node):
        return volumeFromNode(node, properties)
    frames = framesOf(node)
    first = volumeFromNode(frames[0], properties)
    voxels = np.stack([voxelsOfNode(frame) for frame in frames])
    axis = mc.SequenceAxis(node.GetIndexName() or "", node.GetIndexUnit() or "",
                           [node.GetNthIndexValue(number) for number in range(len(frames))])
    return mc.Volume(voxels, first.ijk_to_ras, "t" + first.axes, axis, first.metadata)


def describe(node) -> dict:
    """All that a volume or sequence node carries besides voxels and geometry.

    :raises ValueError: a node that cannot be compressed; the message says why.
    """
    reason = refusalOf(node)
    if reason:
        raise ValueError(reason)
    if not isSequence(node):
        return describeNode(node)
    frames = framesOf(node)
    properties = describeNode(frames[0])
    proxy = _proxyOf(node)
    if proxy is not None:
        shown = describeNode(proxy)
        properties.update({key: shown[key] for key in ("display", "transform", "hierarchy")})
    return {**properties, "sequence": {
        "name": node.GetName() or "",
        "description": node.GetDescription() or "",
        "indexType": node.GetIndexTypeAsString(node.GetIndexType()),
        "attributes": {name: node.GetAttribute(name) for name in node.GetAttributeNames()},
        "frames": [{"name": frame.GetName() or "",
                    "attributes": {name: frame.GetAttribute(name) for name in frame.GetAttributeNames()}}
                   for frame in frames],
    }}


def addSequenceNodes(volume: mc.Volume, name="", beside=None):
    """Add a sequence, a browser and the volume node that shows the frames.

    :param volume: a Volume with a t axis.
    :param name: name of the sequence; the stored one if empty.
    :param beside: sequence node whose shown volume lends transform, folder and display.
    :return: the sequence node.
    :raises ValueError: a volume that Slicer cannot show; nothing is added then.
    """
    requireShowable(volume)
    properties = storedProperties(volume)
    stored = properties.get("sequence") if isinstance(properties.get("sequence"), dict) else {}
    scene = slicer.mrmlScene
    name = scene.GetUniqueNameByString(name or str(stored.get("name") or "") or _("Sequence"))
    values, details = volume.sequence.values, stored.get("frames") or [{}] * volume.frames
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    added = [sequence]
    try:
        if len(set(values)) != len(values):
            raise ValueError(_("index values occur twice"))
        sequence.SetDescription(stored.get("description") or "")
        for key, value in (stored.get("attributes") or {}).items():
            sequence.SetAttribute(key, value)
        sequence.SetIndexName(volume.sequence.index_name)
        sequence.SetIndexUnit(volume.sequence.unit)
        sequence.SetIndexTypeFromString(stored.get("indexType") or ("numeric" if _areNumbers(values) else "text"))
        for voxels, value, detail in zip(volume.voxels, values, details, strict=True):
            frame = mc.Volume(voxels, volume.ijk_to_ras, volume.axes[1:], metadata=volume.metadata)
            node = fillNode(None, frame, {**properties, "attributes": detail.get("attributes")
                                          or properties.get("attributes")})
            node.SetName(detail.get("name") or name)
            sequence.SetDataNodeAtValue(node, value)
        browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", _("{name} browser").format(name=name))
        added.append(browser)
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        shown = browser.GetProxyNode(sequence)
        if shown is not None:
            added.append(shown)
            shown.CreateDefaultDisplayNodes()
            restorePlacement(shown, properties, _proxyOf(beside) if beside is not None else None)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        for node in reversed(added):
            scene.RemoveNode(node)
        raise ValueError(_("The sequence in this file cannot be shown ({reason}); read it in Python with "
                           "MedCompressLib.read().").format(reason=error)) from error
    return sequence


def _proxyOf(sequence):
    if sequence.GetScene() is not slicer.mrmlScene:
        return None
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)
    return browser.GetProxyNode(sequence) if browser else None


def _layoutOf(node):
    """What all frames have to share."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    image = node.GetImageData()
    return (node.GetClassName(), image.GetDimensions(), image.GetExtent(), image.GetScalarType(),
            image.GetNumberOfScalarComponents(), slicer.util.arrayFromVTKMatrix(matrix).tobytes())


def _areNumbers(values):
    try:
        for value in values:
            float(value)
    except ValueError:
        return False
    return True
