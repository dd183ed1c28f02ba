"""Segmentations that travel in the file of a volume, on real MRML."""

import numpy as np
import pytest
from harness.driving import addSegmentation, addVolume, leftovers, waitForJob
from harness.pythonqt import usesPythonQt

import MedCompressLib as mc

pytest_plugins = ["harness.fixtures"]
usesPythonQt(__name__)


def addOverlapping(volume):
    """Three segments, of which two overlap, and an empty one; with colors."""
    import slicer

    node = addSegmentation(volume, ("liver", "spleen"))
    segmentation = node.GetSegmentation()
    mask = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    mask[2:6, 3:20, 5:25] = 1
    segmentation.AddEmptySegment("t", "tumor", [0.25, 0.5, 1.0])
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "t", volume)
    segmentation.AddEmptySegment("none", "Größe <0>", [1.0, 0.0, 0.0])
    return node


def contents(segmentation, volume):
    """Of each segment in order: name, color, mask."""
    import slicer

    found = []
    for segmentID in segmentation.GetSegmentation().GetSegmentIDs():
        segment = segmentation.GetSegmentation().GetSegment(segmentID)
        mask = np.asarray(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentID, volume)) != 0
        found.append((segment.GetName(), segment.GetColor(), np.flatnonzero(mask).tolist()))
    return found


@pytest.mark.parametrize("through", ["memory", "background", "lossy"])
def test_segments_travel_in_the_file(logic, tmp_path, through):
    import slicer

    volume = addVolume()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetAndObserveMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1.0, 1, 1, 1]) + np.array(
        [[0, 0, 0, 7.0]] + [[0, 0, 0, 0]] * 3)))
    segmentation = addOverlapping(volume)
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    expected, path = contents(segmentation, volume), tmp_path / "a.mcz"
    if through == "background":
        job = logic.startCompression(volume, path, segmentation=segmentation)
        job.waitForFinished()
        assert job.error == "" and job.report.identical and leftovers() == []
    else:
        roi = logic.segmentROI(segmentation, ["liver"]) if through == "lossy" else None
        logic.compressVolume(volume, path, maxError=4 if roi else 0, roi=roi, segmentation=segmentation)
    assert [len(marks) for _name, _color, marks in expected].count(0) == 1
    for node in (volume, segmentation):
        slicer.mrmlScene.RemoveNode(node)
    restored = slicer.util.loadNodeFromFile(str(path), "MedCompressFile", {})
    again = logic.segmentationOf(restored)
    assert restored.IsA("vtkMRMLScalarVolumeNode") and again.GetName() == "Organs"
    assert restored.GetTransformNodeID() == again.GetTransformNodeID() == transform.GetID()
    assert contents(again, restored) == expected
    assert again.GetDisplayNode() is not None


def test_without_segments_there_is_nothing_more_in_the_file(logic, tmp_path):
    volume = addVolume()
    addOverlapping(volume)
    logic.compressVolume(volume, tmp_path / "a.mcz")
    assert "segmentation" not in mc.info(tmp_path / "a.mcz")["metadata"]["Slicer"]
    assert logic.segmentationOf(logic.decompressFile(tmp_path / "a.mcz")) is None


def test_empty_segmentation_is_refused(logic, tmp_path):
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    with pytest.raises(ValueError, match="no segments to store"):
        logic.compressVolume(addVolume(), tmp_path / "a.mcz", segmentation=empty)
    assert list(tmp_path.iterdir()) == []


def test_of_a_sequence(logic, tmp_path):
    import slicer

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Cine")
    for number in range(3):
        frame = addVolume("frame")
        slicer.util.arrayFromVolume(frame)[...] += number
        sequence.SetDataNodeAtValue(frame, str(number))
        slicer.mrmlScene.RemoveNode(frame)
    frame = sequence.GetNthDataNode(0)
    segmentation = addSegmentation(frame, ("liver",))
    expected = contents(segmentation, frame)
    logic.compressVolume(sequence, tmp_path / "a.mcz", segmentation=segmentation)
    restored = logic.decompressFile(tmp_path / "a.mcz")
    assert contents(logic.segmentationOf(restored), restored.GetNthDataNode(0)) == expected


def test_many_segments_take_as_many_layers_as_they_need(application):
    """Without overlap one, up to 255 segments; and each that overlaps all others one of its own."""
    from MedCompressSlicer.SegmentLayers import SegmentLayers

    shape = (1, 20, 20)
    layers = SegmentLayers({"name": "many", "segments": []}, [])
    for number in range(300):
        mask = np.zeros(shape, bool)
        mask.flat[number] = True
        layers.add(mask, f"s{number}", (0, 0, 1))
    layers.add(np.ones(shape, bool), "all", (1, 1, 1))
    assert len(layers.layers) == 3
    again = SegmentLayers.fromJSON(layers.asJSON(), shape)
    assert np.array_equal(again.layers, layers.layers) and again.described == layers.described


@pytest.mark.parametrize("change", [
    {"layers": "no base64!"}, {"layers": ""}, {"layers": None}, {"segments": None}, {"segments": []},
    {"segments": [{"name": "a", "color": [1], "layer": 0, "label": 1}]},
    {"segments": [{"name": "a", "color": [1, 1, 1], "layer": 5, "label": 1}]},
    {"segments": [{"name": "a", "color": [1, 1, 1], "layer": 0, "label": 77}]},
    {"segments": [{"name": "a", "color": [1, 1, 1], "layer": "0", "label": 1}]},
    {"segments": [{}]}])
def test_strange_segments_are_refused_and_leave_nothing(logic, tmp_path, change):
    import slicer

    volume, path = addVolume(), tmp_path / "a.mcz"
    logic.compressVolume(volume, path, segmentation=addSegmentation(volume, ("liver",)))
    stored = mc.read(path)
    stored.metadata["Slicer"]["segmentation"].update(change)
    mc.write(path, stored, overwrite=True)
    count = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(ValueError, match="segments in this file are not valid"):
        logic.decompressFile(path)
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_layers_of_another_size_are_refused_before_memory_is_taken(application):
    import base64

    from MedCompressSlicer.SegmentLayers import SegmentLayers

    huge = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (1, 32, 500, 500))
    data = mc.compress(mc.Volume(huge, np.eye(4), "tkji", mc.SequenceAxis("layer", "", ["0"])), codec="runs")
    assert len(data) < 200_000
    segment = {"name": "a", "color": [1, 1, 1], "layer": 0, "label": 0}
    with pytest.raises(ValueError, match="shape"):
        SegmentLayers.fromJSON({"segments": [segment], "layers": base64.b64encode(data).decode()}, (12, 40, 44))


def test_stored_from_the_panel_without_being_a_region(panel, tmp_path):
    """Chosen only to be stored, a segmentation asks for no region of interest."""
    from MedCompressSlicer.Logic import MedCompressLogic

    volume = addVolume()
    panel._parameterNode.inputVolume = volume
    panel.ui.segmentationSelector.setCurrentNode(addSegmentation(volume, ("liver",)))
    panel.ui.outputPathLineEdit.currentPath = str(tmp_path / "a.mcz")
    panel.ui.qualityComboBox.currentIndex = 1
    assert panel.ui.applyButton.enabled is False
    panel.ui.storeSegmentationCheckBox.checked = True
    assert panel.ui.applyButton.enabled is True
    panel.ui.qualityComboBox.currentIndex = 0
    panel.ui.applyButton.click()
    waitForJob(panel)
    assert "Identical: yes" in panel.ui.resultLabel.text
    restored = MedCompressLogic().decompressFile(tmp_path / "a.mcz")
    assert MedCompressLogic.segmentationOf(restored).GetName() == "Organs_1"
