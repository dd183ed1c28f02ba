"""What tests of the panel share: data in the scene, clicks as a user makes them, and waiting."""

import os
import time

import numpy as np
import psutil

from .pythonqt import usesPythonQt

usesPythonQt(__name__)


def addVolume(name="CT", shape=(12, 40, 44)):
    """A ball with noise."""
    import slicer

    k, j, i = np.ogrid[-1:1:shape[0] * 1j, -1:1:shape[1] * 1j, -1:1:shape[2] * 1j]
    voxels = (1000 * (i * i + j * j + k * k < 0.8) + np.random.default_rng(0).integers(0, 30, shape)).astype(np.int16)
    return slicer.util.addVolumeFromArray(voxels, np.diag([-0.7, -0.7, 2.0, 1.0]), name)


def addSegmentation(volumeNode, names, name="Organs"):
    """Boxes one after the other, six rows high."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    shape = slicer.util.arrayFromVolume(volumeNode).shape
    for number, segment in enumerate(names):
        mask = np.zeros(shape, np.uint8)
        mask[:, 6 * number + 5:6 * number + 11, 10:30] = 1
        node.GetSegmentation().AddEmptySegment("id of " + segment, segment)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "id of " + segment, volumeNode)
    return node


def choose(comboBox, start):
    """Select the item that starts so."""
    comboBox.currentIndex = next(index for index in range(comboBox.count) if comboBox.itemText(index).startswith(start))


def rowOf(panel, name):
    """The widgets of a segment in the table: choice and bound."""
    table = panel.ui.segmentsTable
    row = next(row for row in range(table.rowCount) if table.item(row, 0).text() == name)
    return table.cellWidget(row, 1), table.cellWidget(row, 2)


def chooseSegments(panel, **bounds):
    """Make segments lossless (0) or bounded."""
    for name, bound in bounds.items():
        choice, spinBox = rowOf(panel, name)
        choice.currentIndex = 2 if bound else 1
        if bound:
            spinBox.value = bound


def shownSegments(panel):
    """What the table shows: name to choice and bound."""
    table = panel.ui.segmentsTable
    names = [table.item(row, 0).text() for row in range(table.rowCount)]
    return {name: (choice.currentText, spinBox.enabled and spinBox.value)
            for name in names for choice, spinBox in [rowOf(panel, name)]}


def processEvents(seconds):
    """Let the event loop run."""
    import slicer

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.005)


def waitForJob(panel, seconds=300):
    """Let the event loop run until nothing is worked on; a busy machine may take its time."""
    end = time.monotonic() + seconds
    while panel.job is not None:
        processEvents(0.02)
        assert time.monotonic() < end, "the job does not end"


def waitUntil(condition, seconds=60):
    """Let the event loop run until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        processEvents(0.01)
        assert time.monotonic() < end, "it does not happen"


def childProcesses():
    """All processes that this one has started, directly or not."""
    return psutil.Process().children(recursive=True)


def leftovers():
    """Temporary folders of jobs."""
    import slicer

    return [name for name in os.listdir(slicer.app.temporaryPath) if name.startswith("MedCompress")]
