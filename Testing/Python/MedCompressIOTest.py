"""Reading, exporting and saving through Slicer's own IO manager.

ctest runs this inside Slicer (py_MedCompressIOTest); pytest runs it in the headless Slicer.
"""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import slicer
import vtk


class MedCompressIOTest(unittest.TestCase):
    """Needs seconds, no network and no data."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        self.folder = tempfile.TemporaryDirectory()
        self.first = self.addVolume(1, "First")
        self.second = self.addVolume(2, "Second")

    def tearDown(self):
        slicer.mrmlScene.Clear()
        self.folder.cleanup()

    def path(self, name):
        return str(Path(self.folder.name) / name)

    @staticmethod
    def addVolume(value, name):
        voxels = np.arange(8 * 9 * 10, dtype=np.int16).reshape(8, 9, 10) + 1000 * value
        return slicer.util.addVolumeFromArray(voxels.astype(np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]), name)

    def assertSameVoxels(self, node, other):
        self.assertTrue(np.array_equal(slicer.util.arrayFromVolume(node), slicer.util.arrayFromVolume(other)))

    def test_ExportWritesTheVolumeItIsAskedFor(self):
        units = slicer.vtkCodedEntry()
        units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
        self.second.SetVoxelValueUnits(units)
        for node in (self.second, self.first):
            path = self.path(node.GetName() + ".mcz")
            self.assertTrue(slicer.util.exportNode(node, path, {}))
            restored = slicer.util.loadNodeFromFile(path, None, {})
            self.assertSameVoxels(node, restored)
            self.assertTrue(restored.GetName().startswith(node.GetName()))
        path = self.path("Second.mcz")
        restored = slicer.util.loadNodeFromFile(path, "MedCompressFile", {"name": "Renamed"})
        self.assertEqual(restored.GetName(), "Renamed")
        self.assertEqual(restored.GetVoxelValueUnits().GetCodeMeaning(), "Hounsfield unit")

    def test_ExportInWorldCoordinates(self):
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 25.0)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Shift")
        transform.SetMatrixTransformToParent(matrix)
        self.second.SetAndObserveTransformNodeID(transform.GetID())
        path = self.path("world.mcz")
        self.assertTrue(slicer.util.exportNode(self.second, path, {}, world=True))
        restored = slicer.util.loadNodeFromFile(path, None, {})
        self.assertIsNone(restored.GetParentTransformNode())
        self.assertEqual(restored.GetOrigin()[0], 25.0)
        self.assertSameVoxels(self.second, restored)

    def test_SlicersOwnFormatsGoOnWorking(self):
        path = self.path("volume.nrrd")
        self.assertTrue(slicer.util.saveNode(self.second, path, {}))
        self.assertTrue(Path(path).is_file())
        self.assertSameVoxels(self.second, slicer.util.loadNodeFromFile(path, "VolumeFile", {}))

    def test_SaveThroughTheManager(self):
        path = self.path("volume.mcz")
        properties = {"nodeID": self.second.GetID(), "fileName": path}
        self.assertTrue(slicer.app.coreIOManager().saveNodes("MedCompressFile", properties))
        self.assertSameVoxels(self.second, slicer.util.loadNodeFromFile(path, None, {}))

    def test_NoVolumeGetsAnMczFileAsItsStorage(self):
        path = self.path("volume.mcz")
        self.assertTrue(slicer.util.exportNode(self.second, path, {}))
        restored = slicer.util.loadNodeFromFile(path, None, {})
        for node in (self.second, restored):
            storage = node.GetStorageNode()
            self.assertFalse(storage and (storage.GetFileName() or "").endswith(".mcz"))
            self.assertTrue(node.GetModifiedSinceRead())

    def test_OtherFilesAreLeftToOtherReaders(self):
        path = self.path("text.mcz")
        Path(path).write_text("not a volume")
        with self.assertRaises(RuntimeError):
            slicer.util.loadNodeFromFile(path, "MedCompressFile", {})


if __name__ == "__main__":
    unittest.main()
