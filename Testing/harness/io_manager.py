"""A model of Slicer's choice of readers and writers, from what qSlicerCoreIOManager and the scripted plug-ins do.

Modelled with care because the traps are here: exact result types, the temporary scene of an export with its own
node numbering, the writer asked for its extensions with that scene's node, properties remembered between calls.
"""

import logging
import os
import traceback

import slicer
import vtk


def _asVariantMap(properties):
    """A QVariantMap has no place for a pathlib.Path or a NumPy value."""
    for key, value in properties.items():
        if not isinstance(value, (str, bool, int, float, list)):
            raise TypeError(f"Qt cannot convert {type(value)} of property {key!r}.")
    return dict(properties)


class PluginParent:
    """What a scripted plug-in sees as `self.parent`. There is no mrmlScene here, as in the application."""

    def __init__(self):
        self.loadedNodes = []
        self.writtenNodes = []
        self._messages = slicer.vtkMRMLMessageCollection()

    def userMessages(self):
        return self._messages


class Plugin:
    """A Python reader or writer as the C++ side calls it."""

    def __init__(self, cls):
        self.parent = PluginParent()
        self.python = cls(self.parent)

    def call(self, method, *arguments, expected):
        """The result, or None where C++ would fall back to its default."""
        function = getattr(self.python, method, None)
        if function is None:
            return None
        try:
            result = function(*arguments)
        except Exception:
            traceback.print_exc()
            return None
        # PyFloat_Check lets subclasses of float pass (numpy.float64), bool and list are checked as they are.
        if not isinstance(result, expected):
            logging.warning("%s.%s is expected to return %s, got %r", type(self.python).__name__, method,
                            expected.__name__, result)
            return expected()
        return result

    def fileType(self):
        return self.call("fileType", expected=str)

    def extensions(self, *arguments):
        return self.call("extensions", *arguments, expected=list) or []


class Reader(Plugin):
    def confidence(self, path):
        result = self.call("canLoadFileConfidence", path, expected=float)
        if result is not None:
            return result
        extensions = [e.strip("*") for f in self.extensions() for e in f[f.index("(") + 1:-1].split()]
        matching = [e for e in extensions if path.lower().endswith(e.lower())]
        return 0.5 + 0.01 * max(map(len, matching)) if matching else 0.0

    def load(self, properties):
        self.parent.loadedNodes = []
        return self.call("load", _asVariantMap(properties), expected=bool) or False


class Writer(Plugin):
    def confidence(self, node):
        result = self.call("canWriteObjectConfidence", node, expected=float)
        return 0.5 if result is None else result

    def write(self, properties):
        self.parent.writtenNodes = []
        return self.call("write", _asVariantMap(properties), expected=bool) or False


class VolumeWriter:
    """Slicer's own writer of volumes: the default storage node's formats, confidence 0.5."""

    def __init__(self):
        self.parent = PluginParent()
        self.scene = None

    def fileType(self):
        return "VolumeFile"

    def confidence(self, node):
        return 0.5 if node.IsA("vtkMRMLVolumeNode") else 0.0

    def extensions(self, node):
        return ["NRRD (.nrrd)", "MetaImage (.mha)", "NIfTI (.nii.gz)"] if node.IsA("vtkMRMLVolumeNode") else []

    def write(self, properties):
        node = self.scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(properties["fileName"])
        node.GetStorageNode().SetFileName(properties["fileName"])
        self.parent.writtenNodes = [node.GetID()]
        return bool(node.GetStorageNode().WriteData(node))


class VolumeReader:
    """Slicer's own reader of volumes."""

    def __init__(self):
        self.parent = PluginParent()

    def fileType(self):
        return "VolumeFile"

    def confidence(self, path):
        return 0.55 if path.lower().endswith((".nrrd", ".mha", ".nii.gz")) else 0.0

    def load(self, properties):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        storage.SetFileName(properties["fileName"])
        self.parent.loadedNodes = [node.GetID()]
        return bool(storage.ReadData(node))


class IOManager:
    def __init__(self):
        self.readers = [VolumeReader()]
        self.writers = [VolumeWriter()]

    def registerIO(self, module, name):
        """Register the plug-in classes of a module, which are found by their names."""
        if hasattr(module, name + "FileReader"):
            self.readers.append(Reader(getattr(module, name + "FileReader")))
        if hasattr(module, name + "FileWriter"):
            self.writers.append(Writer(getattr(module, name + "FileWriter")))

    # Reading -----------------------------------------------------------------------------------------------------
    def fileType(self, path):
        ranked = sorted((r for r in self.readers if r.confidence(str(path)) > 0), key=lambda r: r.confidence(str(path)))
        return ranked[-1].fileType() if ranked else "NoFile"

    def loadNodes(self, fileType, properties, loadedNodes=None, userMessages=None):
        for reader in self.readers:
            if reader.fileType() != fileType or reader.confidence(properties["fileName"]) <= 0.0:
                continue
            reader.parent.userMessages().ClearMessages()
            success = reader.load(properties)
            if userMessages is not None:
                userMessages.AddMessages(reader.parent.userMessages(), f"Loading {properties['fileName']} - ")
            if success:
                for nodeID in reader.parent.loadedNodes:
                    loadedNodes.AddItem(slicer.mrmlScene.GetNodeByID(nodeID))
                return True
        return False

    # Writing -----------------------------------------------------------------------------------------------------
    def _writer(self, node, fileFormat=""):
        ranked = [(w.confidence(node), w) for w in self.writers]
        ranked = [(confidence, w) for confidence, w in ranked if confidence > 0.0]
        best = [(c, w) for c, w in ranked if not fileFormat or fileFormat in w.extensions(node)]
        return max(best or ranked, key=lambda pair: pair[0])[1] if ranked else None

    def fileWriterFileType(self, node, fileFormat=""):
        writer = self._writer(node, fileFormat)
        return writer.fileType() if writer else "NoFile"

    def fileWriterExtensions(self, node):
        ranked = sorted(((w.confidence(node), w) for w in self.writers), key=lambda pair: -pair[0])
        return [extension for confidence, w in ranked if confidence > 0.0 for extension in w.extensions(node)]

    def extractKnownExtension(self, path, node):
        found = [e[e.index("(") + 1:-1] for e in self.fileWriterExtensions(node)]
        return max((e for e in found if str(path).lower().endswith(e)), key=len, default="." + str(path).split(".")[-1])

    def saveNodes(self, fileType, properties, userMessages=None, scene=None):
        scene = scene or slicer.mrmlScene
        path = properties["fileName"]
        node = scene.GetNodeByID(properties["nodeID"])
        matching = [w for w in self.writers if w.fileType() == fileType and any(
            path.lower().endswith(e[e.index("(") + 1:-1].lower()) for e in w.extensions(node))]
        if not matching:
            if userMessages is not None:
                userMessages.AddMessage(vtk.vtkCommand.ErrorEvent, f"No writer found to write file {path}.")
            return False
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        for writer in matching:
            writer.scene = scene
            writer.parent.userMessages().ClearMessages()
            success = writer.write(properties)
            if userMessages is not None:
                userMessages.AddMessages(writer.parent.userMessages())
            if success:
                return bool(writer.parent.writtenNodes)
        return False

    def exportNodes(self, nodeIDs, fileNames, properties, hardenTransforms=False, userMessages=None):
        temporaryScene = slicer.vtkMRMLScene()
        slicer.mrmlScene.CopyDefaultNodesToScene(temporaryScene)
        slicer.mrmlScene.CopyRegisteredNodesToScene(temporaryScene)
        temporaryScene.SetDataIOManager(slicer.mrmlScene.GetDataIOManager())
        success = True
        for nodeID, path in zip(nodeIDs, fileNames, strict=True):
            node = slicer.mrmlScene.GetNodeByID(nodeID)
            copy = temporaryScene.AddNewNodeByClass(node.GetClassName())
            copy.CopyContent(node, hardenTransforms)
            if hardenTransforms and node.GetParentTransformNode():
                general = vtk.vtkGeneralTransform()
                node.GetParentTransformNode().GetTransformFromWorld(general)
                transform = temporaryScene.AddNewNodeByClass("vtkMRMLTransformNode")
                transform.SetAndObserveTransformFromParent(general)
                copy.SetAndObserveTransformNodeID(transform.GetID())
                copy.HardenTransform()
            fileType = self.fileWriterFileType(node, properties["fileFormat"])
            copy.AddDefaultStorageNode()
            if node.GetDisplayNode():
                display = temporaryScene.AddNewNodeByClass(node.GetDisplayNode().GetClassName())
                display.CopyContent(node.GetDisplayNode(), False)
                copy.SetAndObserveDisplayNodeID(display.GetID())
            success &= self.saveNodes(fileType, {**properties, "nodeID": copy.GetID(), "fileName": path}, userMessages,
                                      temporaryScene)
        return success
