"""From a volume node to a `MedCompressLib.Volume` and back, with everything that a volume node carries.

The voxels and the IJK-to-RAS matrix become the Volume's; all the rest is plain JSON in `Volume.metadata["Slicer"]`:

    nodeClass, name, description, attributes, voxelVectorType, quantity, units,
    display: {properties, windowLevelPresets, color: {id, name, colors}},
    transform: {id, name, matrix}, hierarchy: {parents: [[name, level], ...], uids, attributes}
"""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

import MedCompressLib as mc

from .ColorNode import describeColorNode, findOrAddColorNode

METADATA_KEY = "Slicer"
SUPPORTED_CLASSES = ("vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode")

# The automatic modes come last: they would recompute what stands before them.
_DISPLAY_PROPERTIES = (
    "Window", "Level", "LowerThreshold", "UpperThreshold", "ApplyThreshold", "Interpolate",
    "InvertDisplayScalarRange", "WindowMappingMethod", "WindowLevelLocked", "Visibility", "Visibility2D",
    "Visibility3D", "Opacity", "SliceIntersectionThickness", "SliceIntersectionOpacity", "ScalarMode", "GlyphMode",
    "VisualizationMode", "AutoThreshold", "AutoWindowLevel",
)


def refusal(node) -> str:
    """Why a node cannot be compressed: one sentence, empty if it can.

    :param node: any MRML node or None.
    """
    if node is None:
        return _("Select a volume to compress.")
    className = node.GetClassName()
    if className not in SUPPORTED_CLASSES:
        reasons = {
            "vtkMRMLDiffusionWeightedVolumeNode": _("Diffusion-weighted volumes are not supported, because their "
                                                    "gradients would be lost; save them as NRRD."),
            "vtkMRMLDiffusionTensorVolumeNode": _("Diffusion tensor volumes are not supported; save them as NRRD."),
            "vtkMRMLMultiVolumeNode": _("Multi-volumes are not supported; convert it to a sequence or to volumes."),
            "vtkMRMLStreamingVolumeNode": _("Streaming volumes are compressed already and are not supported."),
        }
        return reasons.get(className) or _("Nodes of type {type} are not supported; select a scalar, label map or "
                                           "vector volume.").format(type=node.GetNodeTagName() or className)
    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return _("Volume {name} has no voxels.").format(name=node.GetName())
    if scalars.GetDataType() in (vtk.VTK_LONG, vtk.VTK_UNSIGNED_LONG, vtk.VTK_LONG_LONG, vtk.VTK_UNSIGNED_LONG_LONG,
                                 vtk.VTK_ID_TYPE):
        return _("Volume {name} has 64-bit integer voxels, which Slicer does not display correctly; convert it with "
                 "the Cast Scalar Volume module first.").format(name=node.GetName())
    if scalars.GetDataType() == vtk.VTK_BIT:
        return _("Volume {name} has one-bit voxels; convert it with the Cast Scalar Volume module "
                 "first.").format(name=node.GetName())
    return ""


def voxelsOfNode(node) -> np.ndarray:
    """The voxels as an array (k, j, i) or (k, j, i, components) that shares the node's memory."""
    image = node.GetImageData()
    components = image.GetNumberOfScalarComponents()
    shape = tuple(reversed(image.GetDimensions()))
    shape = shape if components == 1 else (*shape, components)
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)


def volumeFromNode(node, properties=None) -> mc.Volume:
    """A Volume that shares the node's voxels.

    :param node: volume node with voxels and geometry.
    :param properties: result of `describeNode`; that of `node` if absent.
    :raises ValueError: a node that cannot be compressed; the message says why.
    """
    reason = refusal(node)
    if reason:
        raise ValueError(reason)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ijkToRAS = slicer.util.arrayFromVTKMatrix(matrix)
    # The matrix counts from index zero, the array from the start of the image's extent.
    start = np.append(node.GetImageData().GetExtent()[::2], 1.0)
    ijkToRAS[:, 3] = ijkToRAS @ start
    voxels = voxelsOfNode(node)
    metadata = {METADATA_KEY: describeNode(node) if properties is None else properties}
    return mc.Volume(voxels, ijkToRAS, "kji" if voxels.ndim == 3 else "kjic", metadata=metadata)


def describeNode(node) -> dict:
    """Everything that a volume node carries besides voxels and geometry, as plain JSON."""
    return {
        "nodeClass": node.GetClassName(),
        "name": node.GetName() or "",
        "description": node.GetDescription() or "",
        "attributes": {name: node.GetAttribute(name) for name in node.GetAttributeNames()},
        "voxelVectorType": node.GetVoxelVectorTypeAsString(node.GetVoxelVectorType())
        if node.IsA("vtkMRMLVectorVolumeNode") else "",
        "quantity": _codedText(node.GetVoxelValueQuantity()),
        "units": _codedText(node.GetVoxelValueUnits()),
        "display": _describeDisplay(node.GetDisplayNode()),
        "transform": _describeTransform(node.GetParentTransformNode()),
        "hierarchy": _describeHierarchy(node),
    }


def addVolumeNode(volume: mc.Volume, name: str = "", beside=None):
    """Add a volume node to the scene that carries all that the Volume holds.

    :param volume: a single volume, scalar or with components.
    :param name: name of the node; the stored one if empty. A number is appended if it is taken.
    :param beside: volume node whose transform, subject hierarchy folder and display the new node gets; without it they
        are the stored ones as far as the scene has them.
    :return: the new node.
    :raises ValueError: a volume that Slicer cannot show; nothing is added then.
    """
    requireShowable(volume)
    properties = storedProperties(volume)
    node = slicer.mrmlScene.AddNewNodeByClass(_classOf(volume), slicer.mrmlScene.GetUniqueNameByString(
        name or storedName(volume) or _("Volume")))
    try:
        fillNode(node, volume, properties)
        node.CreateDefaultDisplayNodes()
        restorePlacement(node, properties, beside)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        for added in (node.GetDisplayNode(), node):
            if added is not None:
                slicer.mrmlScene.RemoveNode(added)
        raise ValueError(_("The Slicer properties of the volume in this file are not valid ({reason}); read the voxels "
                           "in Python with MedCompressLib.read().").format(reason=error)) from error
    return node


def requireShowable(volume: mc.Volume):
    """Refuse voxels that Slicer cannot show.

    :raises ValueError: it cannot.
    """
    if volume.voxels.dtype.kind in "iu" and volume.voxels.dtype.itemsize == 8:
        raise ValueError(_("This file holds 64-bit integers, which Slicer does not display correctly; read it in "
                           "Python with MedCompressLib.read() and convert it."))


def fillNode(node, volume: mc.Volume, properties):
    """Give a volume node voxels, geometry and what describes them.

    :param node: of the right class; a new one outside any scene if None.
    :return: the node.
    """
    node = node if node is not None else getattr(slicer, _classOf(volume))()
    image = vtk.vtkImageData()
    image.SetDimensions(*(int(n) for n in reversed(volume.voxels.shape[:3])))
    image.AllocateScalars(numpy_support.get_vtk_array_type(volume.voxels.dtype), volume.components)
    numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(volume.voxels.shape)[...] = volume.voxels
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    node.SetAndObserveImageData(image)
    _restoreProperties(node, properties)
    return node


def restorePlacement(node, properties, beside=None):
    """Give a node of the scene its display, transform and folder: those of another node, or else the stored ones."""
    if beside is not None:
        _copyPlacement(node, beside)
        return
    _restoreDisplay(node.GetDisplayNode(), properties.get("display") or {})
    _restoreTransform(node, properties.get("transform"))
    _restoreHierarchy(node, properties.get("hierarchy") or {})


def storedName(volume: mc.Volume) -> str:
    """Name of the volume or sequence node that the volume was compressed from; empty if it was no node."""
    properties = storedProperties(volume)
    sequence = properties.get("sequence")
    return str((sequence.get("name") if isinstance(sequence, dict) else properties.get("name")) or "")


def storedProperties(volume: mc.Volume) -> dict:
    """What `describeNode` stored; empty if the volume was no node."""
    properties = volume.metadata.get(METADATA_KEY)
    return properties if isinstance(properties, dict) else {}


def _classOf(volume):
    className = storedProperties(volume).get("nodeClass")
    if className in SUPPORTED_CLASSES:
        return className
    return "vtkMRMLScalarVolumeNode" if "c" not in volume.axes else "vtkMRMLVectorVolumeNode"


def _restoreProperties(node, properties):
    node.SetDescription(properties.get("description") or "")
    for key, value in (properties.get("attributes") or {}).items():
        node.SetAttribute(key, value)
    if node.IsA("vtkMRMLVectorVolumeNode") and properties.get("voxelVectorType"):
        vectorType = node.GetVoxelVectorTypeFromString(properties["voxelVectorType"])
        if vectorType >= 0:  # -1: a type that this version of Slicer does not know
            node.SetVoxelVectorType(vectorType)
    if properties.get("quantity"):
        node.SetVoxelValueQuantity(_codedEntry(properties["quantity"]))
    if properties.get("units"):
        node.SetVoxelValueUnits(_codedEntry(properties["units"]))


def _codedText(entry):
    return entry.GetAsString() if entry is not None else ""


def _codedEntry(text):
    entry = slicer.vtkCodedEntry()
    entry.SetFromString(text)
    return entry


# Display ---------------------------------------------------------------------------------------------------------
def _describeDisplay(display):
    if display is None:
        return {}
    properties = {name: getattr(display, "Get" + name)() for name in _DISPLAY_PROPERTIES
                  if hasattr(display, "Get" + name) and hasattr(display, "Set" + name)}
    described = {
        "properties": {name: value for name, value in properties.items() if np.isfinite(value)},
        "color": describeColorNode(display.GetColorNode()),
    }
    if hasattr(display, "GetNumberOfWindowLevelPresets"):
        described["windowLevelPresets"] = [[display.GetWindowPreset(index), display.GetLevelPreset(index)]
                                           for index in range(display.GetNumberOfWindowLevelPresets())]
    return described


def _restoreDisplay(display, described):
    for preset in described.get("windowLevelPresets") or []:
        display.AddWindowLevelPreset(*preset)
    properties = described.get("properties") or {}
    if "AutoWindowLevel" in properties:
        display.SetAutoWindowLevel(False)
        display.SetAutoThreshold(False)
    for name in _DISPLAY_PROPERTIES:
        if name in properties and hasattr(display, "Set" + name):
            getattr(display, "Set" + name)(properties[name])
    colorNode = findOrAddColorNode(described.get("color") or {})
    if colorNode is not None:
        display.SetAndObserveColorNodeID(colorNode.GetID())


# Transform -------------------------------------------------------------------------------------------------------
def _describeTransform(transform):
    if transform is None:
        return None
    matrix = vtk.vtkMatrix4x4()
    linear = transform.IsTransformToWorldLinear() and transform.GetMatrixTransformToWorld(matrix)
    return {"id": transform.GetID(), "name": transform.GetName(),
            "matrix": slicer.util.arrayFromVTKMatrix(matrix).tolist() if linear else None}


def _restoreTransform(node, described):
    """Only under a transform that is the stored one in ID, name and matrix: a wrong one would move the volume."""
    transform = slicer.mrmlScene.GetNodeByID(described["id"]) if described else None
    if transform is not None and transform.IsA("vtkMRMLTransformNode") and _describeTransform(transform) == described:
        node.SetAndObserveTransformNodeID(transform.GetID())


# Subject hierarchy -----------------------------------------------------------------------------------------------
def _hierarchy():
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def _itemOf(node):
    """The node's subject hierarchy item; made here where no plug-in logic has done so."""
    hierarchy = _hierarchy()
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _describeHierarchy(node):
    if node.GetScene() is not slicer.mrmlScene:
        return {}
    hierarchy = _hierarchy()
    item = hierarchy.GetItemByDataNode(node)
    if not item:
        return {}
    parents, parent = [], hierarchy.GetItemParent(item)
    while parent and parent != hierarchy.GetSceneItemID():
        parents.insert(0, [hierarchy.GetItemName(parent), hierarchy.GetItemLevel(parent)])
        parent = hierarchy.GetItemParent(parent)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    return {
        "parents": parents,
        "uid": hierarchy.GetItemUID(item, constants.GetDICOMUIDName()) or "",
        "instanceUIDs": hierarchy.GetItemUID(item, constants.GetDICOMInstanceUIDName()) or "",
        "attributes": {name: hierarchy.GetItemAttribute(item, name) for name in hierarchy.GetItemAttributeNames(item)},
    }


def _restoreHierarchy(node, described):
    hierarchy = _hierarchy()
    item = _itemOf(node)
    parent = hierarchy.GetSceneItemID()
    for name, level in described.get("parents") or []:
        children = slicer.util.getSubjectHierarchyItemChildren(parent)
        parent = next((child for child in children if hierarchy.GetItemName(child) == name
                       and hierarchy.GetItemLevel(child) == level), 0)
        if not parent:
            break
    else:
        hierarchy.SetItemParent(item, parent)
    for name, value in (described.get("attributes") or {}).items():
        hierarchy.SetItemAttribute(item, name, value)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    for key, uidName in (("uid", constants.GetDICOMUIDName()), ("instanceUIDs", constants.GetDICOMInstanceUIDName())):
        if described.get(key) and not hierarchy.GetItemByUID(uidName, described[key]):
            hierarchy.SetItemUID(item, uidName, described[key])


def _copyPlacement(node, source):
    display, sourceDisplay = node.GetDisplayNode(), source.GetDisplayNode()
    if display is not None and sourceDisplay is not None and display.GetClassName() == sourceDisplay.GetClassName():
        display.CopyContent(sourceDisplay)
        if sourceDisplay.GetColorNodeID():
            display.SetAndObserveColorNodeID(sourceDisplay.GetColorNodeID())
    node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    hierarchy, item, sourceItem = _hierarchy(), _itemOf(node), _itemOf(source)
    hierarchy.SetItemParent(item, hierarchy.GetItemParent(sourceItem))
    for name in hierarchy.GetItemAttributeNames(sourceItem):
        hierarchy.SetItemAttribute(item, name, hierarchy.GetItemAttribute(sourceItem, name))
