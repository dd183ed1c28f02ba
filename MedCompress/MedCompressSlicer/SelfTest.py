"""`MedCompressTest`: run by the Self Tests module, by "Reload and Test", and by ctest as py_MedCompress."""

import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from .Logic import FILE_TYPE, MedCompressLogic
from .VolumeNode import voxelsOfNode

# Left-handed and sheared: neither order of axes nor angles may be corrected on the way.
_IJK_TO_RAS = np.array([[-0.7, 0.1, 0.0, 12.5], [0.1, 0.7, 0.02, -30.25], [0.0, 0.03, 2.5, 100.125], [0, 0, 0, 1]])


class MedCompressTest(ScriptedLoadableModuleTest):
    """Needs seconds, no network and no data."""

    def setUp(self):
        if find_spec("constriction") is None:  # Slicer installs nothing while it tests
            self.skipTest("The Python package constriction is missing.")
        slicer.mrmlScene.Clear()
        self.logic = MedCompressLogic()
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self.folder.name) / "volume.mcz")

    def tearDown(self):
        self.folder.cleanup()
        slicer.mrmlScene.Clear()

    def test_EveryVoxelType(self):
        """The eight voxel types of Slicer come back bit by bit, through a file."""
        for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64):
            self.delayDisplay(_("Compressing voxels of type {type}").format(type=np.dtype(dtype).name))
            node = self.addVolume((self.phantom() * 50).astype(dtype), "Phantom")
            report = self.logic.compressVolume(node, self.path, overwrite=True)
            self.assertTrue(report.identical)
            self.assertLess(report.compressedBytes, report.memoryBytes)
            self.assertSameVolume(node, self.logic.decompressFile(self.path))

    def test_LabelMapAndVectorVolume(self):
        """Other classes of volumes come back as what they were."""
        labels = self.addVolume((self.phantom() > 1).astype(np.uint8), "Labels", "vtkMRMLLabelMapVolumeNode")
        colors = np.stack([self.phantom() * scale for scale in (10, 20, 30)], axis=-1).astype(np.uint8)
        vectors = self.addVolume(colors, "Colors", "vtkMRMLVectorVolumeNode")
        vectors.SetVoxelVectorType(vectors.VoxelVectorTypeColorRGB)
        for node in (labels, vectors):
            restored, report = self.logic.roundTrip(node)
            self.assertTrue(report.identical)
            self.assertSameVolume(node, restored)
        self.assertEqual(restored.GetVoxelVectorType(), vectors.VoxelVectorTypeColorRGB)

    def test_WhatANodeCarries(self):
        """Attributes, units, transform, folder and display come back."""
        node = self.addVolume(self.phantom().astype(np.int16), "Phantom")
        node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
        node.SetDescription("A phantom")
        units = slicer.vtkCodedEntry()
        units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
        node.SetVoxelValueUnits(units)
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(350, 40)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
        node.SetAndObserveTransformNodeID(transform.GetID())
        restored, _report = self.logic.roundTrip(node)
        self.assertEqual(restored.GetAttribute("DICOM.instanceUIDs"), "1.2.3 1.2.4")
        self.assertEqual(restored.GetDescription(), "A phantom")
        self.assertEqual(restored.GetVoxelValueUnits().GetAsString(), units.GetAsString())
        self.assertEqual(restored.GetDisplayNode().GetWindow(), 350)
        self.assertEqual(restored.GetDisplayNode().GetLevel(), 40)
        self.assertEqual(restored.GetTransformNodeID(), transform.GetID())

    def test_ReaderAndWriter(self):
        """Export to file writes the volume it is asked for, and loading the file finds the reader."""
        self.addVolume(self.phantom().astype(np.int16), "First")
        second = self.addVolume((self.phantom() + 7).astype(np.int16), "Second")
        self.assertTrue(slicer.util.exportNode(second, self.path, {}))
        restored = slicer.util.loadNodeFromFile(self.path, FILE_TYPE, {})
        self.assertSameVolume(second, restored)
        self.assertIsNone(restored.GetStorageNode())

    def test_LossWithinBounds(self):
        """A segment stays exact, the rest is off by no more than allowed, and the segments come back with the file."""
        node = self.addVolume((self.phantom() * 500).astype(np.int16), "Phantom")
        mask = (voxelsOfNode(node) > 400).astype(np.uint8)
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
        segmentation.GetSegmentation().AddEmptySegment("ball", "ball", [0.2, 0.4, 0.6])
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ball", node)
        roi = self.logic.segmentROI(segmentation, ["ball"])
        report = self.logic.compressVolume(node, self.path, maxError=6, roi=roi, segmentation=segmentation)
        restored = self.logic.decompressFile(self.path)
        errors = np.abs(voxelsOfNode(restored).astype(int) - voxelsOfNode(node))
        self.assertEqual(errors[mask != 0].max(), 0)
        self.assertTrue(0 < errors.max() <= 6)
        self.assertEqual([region.maxError for region in report.regions], [errors.max(), 0, errors.max()])
        self.assertIn("lossy", restored.GetName())
        again = self.logic.segmentationOf(restored)
        segment = again.GetSegmentation().GetNthSegmentID(0)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(again, segment, restored)
        self.assertTrue(np.array_equal(found != 0, mask != 0))

    def test_SceneFile(self):
        """What the panel keeps in the scene, and a restored volume, survive saving and loading it."""
        restored, _report = self.logic.roundTrip(self.addVolume(self.phantom().astype(np.int16), "Phantom"))
        expected = voxelsOfNode(restored).copy()
        parameters = self.logic.getParameterNode()
        parameters.inputVolume, parameters.maxError, parameters.codec = restored, 7, "wavelet"
        scene = str(Path(self.folder.name) / "scene.mrb")
        self.assertTrue(slicer.mrmlScene.WriteToMRB(scene))
        slicer.mrmlScene.Clear()
        self.assertTrue(slicer.mrmlScene.ReadFromMRB(scene))
        parameters = self.logic.getParameterNode()
        self.assertEqual((parameters.maxError, parameters.codec), (7, "wavelet"))
        loaded = voxelsOfNode(parameters.inputVolume)  # left-handed, which Slicer's own formats turn over
        self.assertTrue(np.array_equal(loaded, expected) or np.array_equal(loaded[::-1], expected))

    def test_BackgroundJob(self):
        """A job in the background gives the same, and a cancelled one leaves nothing."""
        node = self.addVolume(self.phantom().astype(np.int16), "Phantom")
        job = self.logic.startCompression(node, self.path, restoreAs="Restored")
        job.waitForFinished()
        self.assertEqual(job.error, "")
        self.assertSameVolume(node, job.restoredNode)
        Path(self.path).unlink()
        job = self.logic.startCompression(node, self.path, restoreAs="Canceled")
        job.cancel()
        self.assertFalse(job.running)
        self.assertFalse(Path(self.path).exists())
        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByName("Canceled"))

    def test_DamagedFile(self):
        """A damaged file is one clear error and no node."""
        node = self.addVolume(self.phantom().astype(np.int16), "Phantom")
        self.logic.compressVolume(node, self.path)
        data = bytearray(Path(self.path).read_bytes())
        data[-10] ^= 1
        Path(self.path).write_bytes(data)
        count = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaises(ValueError):
            self.logic.decompressFile(self.path)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), count)

    # Tools. Slicer runs every method with "test" in its name.
    @staticmethod
    def phantom():
        """Two nested balls with a little noise, (k, j, i)."""
        k, j, i = np.ogrid[-1:1:8j, -1:1:24j, -1:1:28j]
        radius = np.sqrt(i * i + j * j + k * k)
        noise = np.random.default_rng(0).random(radius.shape)
        return (radius < 0.9) + (radius < 0.4) + 0.05 * noise

    @staticmethod
    def addVolume(voxels, name, className="vtkMRMLScalarVolumeNode"):
        """A volume node in the scene."""
        return slicer.util.addVolumeFromArray(voxels, _IJK_TO_RAS, name, className)

    def assertSameVolume(self, node, other):
        """Class, voxels bit by bit and geometry."""
        self.assertEqual(node.GetClassName(), other.GetClassName())
        voxels, others = voxelsOfNode(node), voxelsOfNode(other)
        self.assertEqual(voxels.dtype, others.dtype)
        self.assertEqual(voxels.shape, others.shape)
        self.assertEqual(voxels.tobytes(), others.tobytes())
        self.assertTrue(np.array_equal(self.ijkToRAS(node), self.ijkToRAS(other)))

    @staticmethod
    def ijkToRAS(node):
        """The geometry as an array."""
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        return slicer.util.arrayFromVTKMatrix(matrix)
