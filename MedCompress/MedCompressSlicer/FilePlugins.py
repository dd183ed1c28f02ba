"""Reader and writer plug-ins: `.mcz` by drag and drop, Add Data and Export to file.

Slicer checks result types exactly: a confidence must be a float, extensions a list, success a bool. It offers a
writer of confidence below 0.5 without making it the default for volumes.
"""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

import MedCompressLib as mc
from MedCompressLib.api import SUFFIX
from MedCompressLib.container import MAGIC

from .Logic import FILE_TYPE, MedCompressLogic
from .RestoredNode import showInSliceViews
from .VolumeNode import describeNode, refusal, volumeFromNode, voxelsOfNode


class MedCompressFileReader:
    """Loads `.mcz` files. The node gets no storage node: scene loading would not find its way back to this reader."""

    def __init__(self, parent):
        self.parent = parent

    def description(self):
        return _("MedCompress volume")

    def fileType(self):
        return FILE_TYPE

    def extensions(self):
        return [_("MedCompress volume") + f" (*{SUFFIX})"]

    def canLoadFileConfidence(self, filePath):
        try:
            with open(filePath, "rb") as file:
                return 0.9 if file.read(len(MAGIC)) == MAGIC else 0.0
        except OSError:
            return 0.0

    def load(self, properties):
        try:
            node = MedCompressLogic().decompressFile(properties["fileName"], properties.get("name", ""))
        except Exception as error:  # the manager shows messages and takes no exceptions
            _report(self.parent, error)
            return False
        if properties.get("show", True):
            showInSliceViews(node, fit=True)
        loaded = [node, MedCompressLogic.segmentationOf(node)]
        self.parent.loadedNodes = [added.GetID() for added in loaded if added is not None]
        return True


class MedCompressFileWriter:
    """Writes volume nodes to `.mcz` files.

    Exporting copies the node into a temporary scene whose IDs start again at one, and passes only the copy's ID, so
    looking the ID up in the application's scene would write another volume. But just before, Slicer asks
    `canWriteObjectConfidence` about the original and `extensions` about the node that it is going to write: both are
    remembered here, weakly.
    """

    def __init__(self, parent):
        self.parent = parent
        self._original = vtk.vtkWeakReference()
        self._toWrite = vtk.vtkWeakReference()

    def description(self):
        return _("MedCompress volume")

    def fileType(self):
        return FILE_TYPE

    def extensions(self, node):
        self._toWrite.Set(node)
        return [_("MedCompress volume") + f" ({SUFFIX})"]

    def canWriteObjectConfidence(self, node):
        if node is None or not node.IsA("vtkMRMLVolumeNode") or refusal(node):
            return 0.0
        self._original.Set(node)
        return 0.3

    def write(self, properties):
        try:
            node = self._nodeToWrite(properties["nodeID"])
            mc.write(properties["fileName"], volumeFromNode(node, self._describe(node)), overwrite=True)
        except Exception as error:  # the manager shows messages and takes no exceptions
            _report(self.parent, error)
            return False
        self.parent.writtenNodes = [properties["nodeID"]]
        if node.GetScene() is slicer.mrmlScene:  # by the Save dialog; what is exported is a copy in a scene of its own
            self.parent.userMessages().AddMessage(vtk.vtkCommand.WarningEvent, _(
                "{name} was exported to {path}. A saved scene does not load volumes from such files; save the volume "
                "in one of Slicer's own formats too, or as part of an .mrb bundle.").format(
                    name=node.GetName(), path=properties["fileName"]))
        return True

    def _nodeToWrite(self, nodeID):
        node = self._toWrite.Get()
        if node is None or node.GetID() != nodeID:
            raise RuntimeError(_("It is not certain which volume to write; use MedCompressLogic().compressVolume()."))
        return node

    def _describe(self, node):
        """The original's properties, because the copy for an export has lost name, units and transform."""
        original = self._original.Get()
        exported = node.GetScene() is not slicer.mrmlScene
        if not exported or original is None or not _isCopy(node, original):
            return describeNode(node)
        properties = describeNode(original)
        # Exported in world coordinates: the transform is in the geometry now or, where it is not linear, in the voxels.
        if not (_sameGeometry(node, original) and np.array_equal(voxelsOfNode(node), voxelsOfNode(original))):
            properties["transform"] = None
        return properties


def _isCopy(node, original):
    return (original.GetScene() is slicer.mrmlScene and original.GetClassName() == node.GetClassName()
            and {name: original.GetAttribute(name) for name in original.GetAttributeNames()}
            == {name: node.GetAttribute(name) for name in node.GetAttributeNames()})


def _sameGeometry(node, other):
    matrices = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrices[0])
    other.GetIJKToRASMatrix(matrices[1])
    return all(matrices[0].GetElement(r, c) == matrices[1].GetElement(r, c) for r in range(4) for c in range(4))


def _report(parent, error):
    parent.userMessages().AddMessage(vtk.vtkCommand.ErrorEvent, str(error))
