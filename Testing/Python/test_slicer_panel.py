"""The panel, driven as a user drives it."""

import os
import re
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from harness.pythonqt import usesPythonQt

pytest_plugins = ["harness.fixtures"]
usesPythonQt(__name__)


def addVolume(name="CT", shape=(12, 40, 44)):
    import slicer

    k, j, i = np.ogrid[-1:1:shape[0] * 1j, -1:1:shape[1] * 1j, -1:1:shape[2] * 1j]
    voxels = (1000 * (i * i + j * j + k * k < 0.8) + np.random.default_rng(0).integers(0, 30, shape)).astype(np.int16)
    return slicer.util.addVolumeFromArray(voxels, np.diag([-0.7, -0.7, 2.0, 1.0]), name)


def addSegmentation(volumeNode, names, name="Organs"):
    """Boxes one after the other, two rows high."""
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


def rowOf(panel, name):
    table = panel.ui.segmentsTable
    row = next(row for row in range(table.rowCount) if table.item(row, 0).text() == name)
    return table.cellWidget(row, 1), table.cellWidget(row, 2)


def chooseSegments(panel, **bounds):
    for name, bound in bounds.items():
        choice, spinBox = rowOf(panel, name)
        choice.currentIndex = 2 if bound else 1
        if bound:
            spinBox.value = bound


def shownSegments(panel):
    table = panel.ui.segmentsTable
    names = [table.item(row, 0).text() for row in range(table.rowCount)]
    return {name: (choice.currentText, spinBox.enabled and spinBox.value)
            for name in names for choice, spinBox in [rowOf(panel, name)]}


def processEvents(seconds):
    import slicer

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.005)


def waitForJob(panel, seconds=60):
    end = time.monotonic() + seconds
    while panel._job is not None:
        processEvents(0.02)
        assert time.monotonic() < end, "the job does not end"


def childProcesses():
    return psutil.Process().children(recursive=True)


def leftovers():
    import slicer

    return [name for name in os.listdir(slicer.app.temporaryPath) if name.startswith("MedCompress")]


# What is shown ----------------------------------------------------------------------------------------------------
def test_without_volumes(panel):
    assert panel.ui.applyButton.enabled is False
    assert "Select a volume" in panel.ui.applyButton.toolTip


def test_first_volume_is_selected(panel):
    panel.exit()
    node = addVolume()
    addVolume("Second")
    panel.enter()
    assert panel.ui.inputVolumeSelector.currentNode() is node
    assert panel.ui.applyButton.enabled is True


def test_codecs_and_presets_are_the_librarys(panel, logic):
    codecs = panel.ui.codecComboBox
    assert [codecs.itemText(index) for index in range(codecs.count)] == ["auto", *logic.presetsByCodec()]
    assert codecs.currentText == "auto"
    assert panel.ui.presetComboBox.enabled is False
    for codec, presets in logic.presetsByCodec().items():
        codecs.currentIndex = codecs.findText(codec)
        box = panel.ui.presetComboBox
        assert [box.itemText(index) for index in range(box.count)] == list(presets)
        for index, (preset, sentence) in enumerate(presets.items()):
            box.currentIndex = index
            assert panel.ui.presetDescriptionLabel.text == sentence
            assert (panel._parameterNode.codec, panel._parameterNode.preset or preset) == (codec, preset)


@pytest.mark.parametrize("path, words", [
    ("/no/such/folder/a.mcz", "does not exist"), ("a.mcz", "not a full path"), ("{tmp_path}", "is a folder")])
def test_apply_says_why_it_is_disabled(panel, tmp_path, path, words):
    panel._parameterNode.inputVolume = addVolume()
    assert panel.ui.applyButton.enabled is True
    panel.ui.outputPathLineEdit.currentPath = path.format(tmp_path=tmp_path)
    assert panel.ui.applyButton.enabled is False
    assert words in panel.ui.applyButton.toolTip
    panel.ui.outputPathLineEdit.currentPath = ""
    assert panel.ui.applyButton.enabled is True


def test_volume_that_cannot_be_compressed_disables_apply(panel):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLDiffusionWeightedVolumeNode", "DWI")
    panel.ui.inputVolumeSelector.setCurrentNode(node)
    assert panel.ui.applyButton.enabled is False
    assert "Diffusion-weighted" in panel.ui.applyButton.toolTip


# Quality and regions ----------------------------------------------------------------------------------------------
def test_lossless_disables_what_only_counts_with_loss(panel):
    volume = addVolume()
    panel._parameterNode.inputVolume = volume
    addSegmentation(volume, ("liver",))
    ui = panel.ui
    for allowed in (False, True, False):
        ui.nearLosslessCheckBox.checked = allowed
        assert ui.maxErrorSpinBox.enabled is allowed and ui.segmentationSelector.enabled is allowed
        assert ui.segmentsTable.enabled is False and ui.marginSpinBox.enabled is False
    ui.nearLosslessCheckBox.checked = True
    ui.segmentationSelector.setCurrentNode(addSegmentation(volume, ("spleen",), "Second"))
    assert ui.segmentsTable.enabled is True and ui.marginSpinBox.enabled is True


def test_bounds_are_in_the_units_of_the_volume(panel):
    import slicer

    volume = addVolume()
    panel._parameterNode.inputVolume = volume
    assert panel.ui.maxErrorSpinBox.suffix == ""
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    volume.SetVoxelValueUnits(units)
    panel.ui.segmentationSelector.setCurrentNode(addSegmentation(volume, ("liver",)))
    assert panel.ui.maxErrorSpinBox.suffix == " HU"
    assert rowOf(panel, "liver")[1].suffix == " HU"


@pytest.mark.parametrize("what, words", [
    ("wavelet", "lossless only"), ("mammogram", "mammogram"), ("floats", "whole-number"),
    ("no segment", "at least one segment")])
def test_apply_says_why_loss_is_refused(panel, what, words):
    import slicer

    volume = addVolume()
    if what == "floats":
        volume = slicer.util.addVolumeFromArray(np.random.default_rng(0).random((4, 8, 8)), name="Floats")
    panel._parameterNode.inputVolume = volume
    panel.ui.nearLosslessCheckBox.checked = True
    if what == "wavelet":
        panel.ui.codecComboBox.currentIndex = panel.ui.codecComboBox.findText("wavelet")
    elif what == "mammogram":
        volume.SetAttribute("DICOM.Modality", "MG")
        panel._checkCanApply()
    elif what == "no segment":
        assert panel.ui.applyButton.enabled is True
        panel.ui.segmentationSelector.setCurrentNode(addSegmentation(volume, ("liver",)))
    assert panel.ui.applyButton.enabled is False and words in panel.ui.applyButton.toolTip
    panel.ui.nearLosslessCheckBox.checked = False
    assert panel.ui.applyButton.enabled is True


def test_segments_that_come_and_go(panel):
    volume = addVolume()
    panel._parameterNode.inputVolume = volume
    segmentation = addSegmentation(volume, ("liver", "spleen"))
    panel.ui.nearLosslessCheckBox.checked = True
    panel.ui.segmentationSelector.setCurrentNode(segmentation)
    chooseSegments(panel, liver=0, spleen=4)
    segmentation.GetSegmentation().AddEmptySegment("new", "new")
    assert list(shownSegments(panel)) == ["liver", "spleen", "new"]
    assert shownSegments(panel)["spleen"] == ("largest error", 4)
    segmentation.GetSegmentation().GetSegment("new").SetName("renamed")
    assert list(shownSegments(panel)) == ["liver", "spleen", "renamed"]
    segmentation.GetSegmentation().RemoveSegment("id of liver")
    segmentation.GetSegmentation().RemoveSegment("id of spleen")
    assert panel.ui.applyButton.enabled is False and "at least one" in panel.ui.applyButton.toolTip
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert panel.ui.segmentsTable.rowCount == 0 and panel.ui.applyButton.enabled is True
    segmentation.GetSegmentation().AddEmptySegment("other", "other")
    assert panel.ui.segmentsTable.rowCount == 0


@pytest.mark.parametrize("stored", ["", "[1]", "no JSON", '{"gone": 3}', '{"id of liver": "x"}'])
def test_stored_segments_of_another_version(panel, stored):
    volume = addVolume()
    panel._parameterNode.inputVolume = volume
    panel._parameterNode.segmentation = addSegmentation(volume, ("liver",))
    panel._parameterNode.segmentBounds = stored
    assert shownSegments(panel) == {"liver": ("background", False)}


def test_edit_in_segment_editor(panel, monkeypatch):
    import types

    import slicer

    volume = addVolume()
    panel._parameterNode.inputVolume = volume
    assert panel.ui.editSegmentationButton.enabled is False
    segmentation = addSegmentation(volume, ("liver",))
    panel.ui.segmentationSelector.setCurrentNode(segmentation)
    editor = slicer.vtkMRMLSegmentEditorNode()
    slicer.mrmlScene.AddNode(editor)
    opened = []
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    monkeypatch.setattr(slicer.modules, "SegmentEditorWidget", types.SimpleNamespace(parameterSetNode=editor),
                        raising=False)
    panel.ui.editSegmentationButton.click()
    assert opened == ["SegmentEditor"]
    assert editor.GetSegmentationNode() is segmentation and editor.GetSourceVolumeNode() is volume


def test_regions_from_the_panel(panel, tmp_path):
    """Chosen by clicks, compressed in the background, shown, compared, and all figures in a table."""
    import slicer

    volume = addVolume("Head")
    panel._parameterNode.inputVolume = volume
    panel.ui.nearLosslessCheckBox.checked = True
    panel.ui.maxErrorSpinBox.value = 9
    panel.ui.segmentationSelector.setCurrentNode(addSegmentation(volume, ("liver", "spleen", "bone")))
    chooseSegments(panel, liver=0, spleen=3)
    panel.ui.outputPathLineEdit.currentPath = str(tmp_path / "head.mcz")
    assert panel.ui.compareButton.enabled is False
    panel.ui.applyButton.click()
    assert panel.ui.compareButton.enabled is False
    waitForJob(panel)
    restored = slicer.util.getNode("Head lossy (error up to 9)")
    errors = np.abs(slicer.util.arrayFromVolume(restored).astype(int) - slicer.util.arrayFromVolume(volume))
    assert errors[:, 5:11, 10:30].max() == 0 and 0 < errors[:, 11:17, 10:30].max() <= 3 < errors.max() <= 9
    assert "LOSSY" in panel.ui.resultLabel.text and "Exact: liver" in panel.ui.resultLabel.text
    table = slicer.util.getNode("MedCompress figures").GetTable()
    names = [table.GetColumnByName("Region").GetValue(row) for row in range(table.GetNumberOfRows())]
    assert names == ["whole volume", "liver", "spleen", "outside"]
    assert [table.GetColumnByName("Largest error").GetValue(row) for row in (0, 1)] == [errors.max(), 0]
    assert table.GetColumnByName("File (bytes)").GetValue(0) == (tmp_path / "head.mcz").stat().st_size
    panel.ui.compareButton.click()
    difference = slicer.util.arrayFromVolume(slicer.util.getNode("Head lossy (error up to 9) minus Head"))
    assert np.array_equal(difference, slicer.util.arrayFromVolume(restored) - slicer.util.arrayFromVolume(volume))
    slicer.mrmlScene.RemoveNode(restored)
    panel._checkCanApply()
    assert panel.ui.compareButton.enabled is False


def test_sequence_from_the_panel(panel, monkeypatch):
    """A frame asks which is meant; the sequence itself does not."""
    import slicer

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Bold")
    for number in range(3):
        frame = addVolume("frame")
        slicer.util.arrayFromVolume(frame)[...] += number
        sequence.SetDataNodeAtValue(frame, str(number))
        slicer.mrmlScene.RemoveNode(frame)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    asked = []
    panel._parameterNode.codec = "raw"
    for node, answer, expected in ((browser.GetProxyNode(sequence), True, "vtkMRMLSequenceNode"),
                                   (browser.GetProxyNode(sequence), False, "vtkMRMLScalarVolumeNode"),
                                   (sequence, None, "vtkMRMLSequenceNode")):
        monkeypatch.setattr(slicer.util, "confirmYesNoDisplay",
                            lambda text, answer=answer: asked.append(text) or answer)
        panel.ui.inputVolumeSelector.setCurrentNode(node)
        panel.ui.applyButton.click()
        waitForJob(panel)
        assert "Identical: yes" in panel.ui.resultLabel.text
        assert panel._compared[1].Get().GetClassName() == expected
    assert len(asked) == 2 and "all 3 frames" in asked[0]


# Life cycle -------------------------------------------------------------------------------------------------------
def test_every_control_survives_the_scene_file(panel, tmp_path):
    import slicer

    addVolume("First")
    second = addVolume("Second")
    panel.ui.inputVolumeSelector.setCurrentNode(second)
    panel.ui.codecComboBox.currentIndex = panel.ui.codecComboBox.findText("raw")
    panel.ui.presetComboBox.currentIndex = panel.ui.presetComboBox.count - 1
    preset = panel.ui.presetComboBox.currentText
    panel.ui.outputPathLineEdit.currentPath = str(tmp_path / "a.mcz")
    panel.ui.loadRestoredCheckBox.checked = False
    panel.ui.nearLosslessCheckBox.checked = True
    panel.ui.maxErrorSpinBox.value = 17
    panel.ui.segmentationSelector.setCurrentNode(addSegmentation(second, ("liver", "spleen", "bone")))
    chooseSegments(panel, liver=0, spleen=3)
    panel.ui.marginSpinBox.value = 2.5
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    assert panel.ui.inputVolumeSelector.currentNode() is None
    assert panel.ui.codecComboBox.currentText == "auto"
    assert panel.ui.outputPathLineEdit.currentPath == ""
    assert panel.ui.loadRestoredCheckBox.checked is True
    assert panel.ui.nearLosslessCheckBox.checked is False
    assert (panel.ui.maxErrorSpinBox.value, panel.ui.marginSpinBox.value) == (5, 0.0)
    assert panel.ui.segmentsTable.rowCount == 0
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    panel.enter()
    assert panel.ui.inputVolumeSelector.currentNode().GetName() == "Second"
    assert panel.ui.codecComboBox.currentText == "raw"
    assert panel.ui.presetComboBox.currentText == preset
    assert panel.ui.outputPathLineEdit.currentPath == str(tmp_path / "a.mcz")
    assert panel.ui.loadRestoredCheckBox.checked is False
    assert panel.ui.nearLosslessCheckBox.checked is True
    assert (panel.ui.maxErrorSpinBox.value, panel.ui.marginSpinBox.value) == (17, 2.5)
    assert panel.ui.segmentationSelector.currentNode().GetName() == "Organs"
    assert shownSegments(panel) == {"liver": ("lossless", False), "spleen": ("largest error", 3),
                                    "bone": ("background", False)}


def test_codec_of_another_version_falls_back(panel):
    panel._parameterNode.codec = "fractal"
    assert panel.ui.codecComboBox.currentText == "auto"
    assert panel.ui.applyButton.enabled is False or panel._parameterNode.inputVolume


def test_exit_and_enter(panel):
    panel.exit()
    panel.logic.getParameterNode().outputPath = "/elsewhere.mcz"
    assert panel.ui.outputPathLineEdit.currentPath == ""
    panel.enter()
    assert panel.ui.outputPathLineEdit.currentPath == "/elsewhere.mcz"
    panel.enter()


def test_scene_closed_while_another_module_is_open(panel):
    import slicer

    slicer.modules.medcompress.widgetRepresentation().exit()
    slicer.mrmlScene.Clear()
    slicer.modules.medcompress.widgetRepresentation().enter()
    assert panel._parameterNode is not None


def test_reload(panel):
    """The developer's Reload brings in the packages anew and leaves a working panel."""
    import sys

    import slicer

    before = sys.modules["MedCompressSlicer.Widget"], sys.modules["MedCompress"]
    kept = {name: module for name, module in sys.modules.items()
            if name.split(".")[0] in ("MedCompress", "MedCompressSlicer", "MedCompressLib")}
    try:
        panel.onReload()
        assert sys.modules["MedCompressSlicer.Widget"] is not before[0]
        fresh = slicer.modules.MedCompressWidget
        assert fresh is not panel
        fresh.enter()
        assert fresh.ui.applyButton.text == "Apply"
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in
                     ("MedCompress", "MedCompressSlicer", "MedCompressLib")]:
            del sys.modules[name]
        sys.modules.update(kept)


def test_cleanup_removes_all_observers(panel):
    panel.cleanup()
    assert panel.Observations == []
    addVolume()


# Work -------------------------------------------------------------------------------------------------------------
def test_apply_writes_the_file_and_loads_the_result(panel, tmp_path):
    import slicer

    node = addVolume("Head")
    panel._parameterNode.inputVolume = node
    panel.ui.codecComboBox.currentIndex = panel.ui.codecComboBox.findText("raw")
    panel.ui.outputPathLineEdit.currentPath = str(tmp_path / "head")
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Cancel"
    assert not panel.ui.progressBar.isHidden()
    waitForJob(panel)
    assert panel.ui.applyButton.text == "Apply"
    assert panel.ui.progressBar.isHidden()
    path = tmp_path / "head.mcz"
    assert path.is_file(), "the extension is appended"
    text = panel.ui.resultLabel.text
    for words in ("Identical: yes", "ratio", "bits per voxel", "MB/s", f"{path.stat().st_size / 1000:.1f} kB"):
        assert words in text
    restored = slicer.util.getNode("Head restored")
    assert np.array_equal(slicer.util.arrayFromVolume(restored), slicer.util.arrayFromVolume(node))
    assert leftovers() == [] and childProcesses() == []


def test_apply_without_file_and_without_result(panel, tmp_path):
    import slicer

    panel._parameterNode.inputVolume = addVolume()
    panel._parameterNode.codec = "raw"
    panel.ui.loadRestoredCheckBox.checked = False
    panel.ui.applyButton.click()
    waitForJob(panel)
    assert "Identical: yes" in panel.ui.resultLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_requirements_are_asked_for_in_apply(panel, monkeypatch):
    import slicer.packaging

    asked = []
    monkeypatch.setattr(slicer.packaging, "pip_ensure", lambda requirements, requester: asked.append(
        (requester, [requirement.name for requirement in requirements])))
    panel._parameterNode.inputVolume = addVolume()
    panel._parameterNode.codec = "raw"
    assert asked == []
    panel.ui.applyButton.click()
    waitForJob(panel)
    assert asked == [("MedCompress", ["constriction"])]


def test_declined_installation_starts_nothing(panel, monkeypatch):
    import slicer.packaging

    def declined(*args, **kwargs):
        raise RuntimeError("Installation of constriction was declined.")

    monkeypatch.setattr(slicer.packaging, "pip_ensure", declined)
    panel._parameterNode.inputVolume = addVolume()
    with pytest.raises(RuntimeError, match="declined"):
        panel.onApplyButton()
    assert panel._job is None and panel.ui.applyButton.text == "Apply"


def test_existing_file_is_replaced_only_when_confirmed(panel, tmp_path, monkeypatch):
    import slicer

    path = tmp_path / "a.mcz"
    path.write_text("mine")
    panel._parameterNode.inputVolume = addVolume()
    panel._parameterNode.codec = "raw"
    panel.ui.outputPathLineEdit.currentPath = str(path)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: False)
    panel.ui.applyButton.click()
    assert panel._job is None and path.read_text() == "mine"
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: True)
    panel.ui.applyButton.click()
    waitForJob(panel)
    assert path.read_bytes()[1:4] == b"MCZ"


@pytest.mark.parametrize("delay", [0.0, 0.05, *np.random.default_rng(0).uniform(0.1, 3, 8).round(2)])
def test_cancel_leaves_nothing(panel, tmp_path, delay):
    import slicer

    panel._parameterNode.inputVolume = addVolume(shape=(60, 256, 256))
    panel._parameterNode.codec = "neural"        # takes far longer than any of the delays
    path = tmp_path / "a.mcz"
    panel.ui.outputPathLineEdit.currentPath = str(path)
    panel.ui.applyButton.click()
    processEvents(delay)
    assert panel._job is not None
    started = time.monotonic()
    panel.ui.applyButton.click()
    assert time.monotonic() - started < 1.0
    assert panel._job is None and panel.ui.applyButton.text == "Apply"
    assert panel.ui.resultLabel.text == "Canceled."
    processEvents(0.2)
    assert childProcesses() == [] and leftovers() == []
    assert list(tmp_path.iterdir()) == []
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    panel._parameterNode.inputVolume = addVolume("Next")
    panel._parameterNode.codec = "raw"
    panel.ui.applyButton.click()
    waitForJob(panel)
    assert path.is_file() and "Identical: yes" in panel.ui.resultLabel.text


@pytest.mark.parametrize("event", ["scene closed", "volume removed", "application quits", "module left"])
def test_things_that_happen_during_work(panel, application, tmp_path, event):
    import slicer

    node = addVolume(shape=(30, 128, 128))
    path = tmp_path / "a.mcz"
    panel._parameterNode.inputVolume = node
    panel._parameterNode.codec = "raw"
    panel.ui.outputPathLineEdit.currentPath = str(path)
    panel.ui.applyButton.click()
    processEvents(0.1)
    if event == "scene closed":
        slicer.mrmlScene.Clear()
    elif event == "volume removed":
        slicer.mrmlScene.RemoveNode(node)
    elif event == "application quits":
        application.emit("aboutToQuit()")
    else:
        panel.exit()
    waitForJob(panel)
    assert childProcesses() == [] and leftovers() == []
    finishes = event in ("volume removed", "module left")
    assert path.is_file() == finishes
    assert (slicer.mrmlScene.GetFirstNodeByName("CT restored") is not None) == finishes
    panel.enter()
    assert panel.ui.applyButton.text == "Apply"


def test_failure_is_shown_and_leaves_nothing(panel, tmp_path, monkeypatch):
    import slicer

    shown = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **kwargs: shown.append(text))
    panel._parameterNode.inputVolume = addVolume()
    panel._parameterNode.codec = "raw"
    panel._parameterNode.preset = "of another version"
    panel.ui.applyButton.click()
    waitForJob(panel)
    assert len(shown) == 1 and "of another version" in shown[0]
    assert "Traceback" not in shown[0]
    assert panel.ui.resultLabel.text.startswith("Failed: ")
    assert leftovers() == [] and childProcesses() == []


def test_killed_worker_is_reported(panel, tmp_path):
    panel._parameterNode.inputVolume = addVolume(shape=(60, 256, 256))
    panel._parameterNode.codec = "raw"
    panel.ui.outputPathLineEdit.currentPath = str(tmp_path / "a.mcz")
    panel.ui.applyButton.click()
    processEvents(0.3)
    for child in childProcesses():
        child.kill()
    waitForJob(panel)
    assert "ended with code" in panel.ui.resultLabel.text
    assert list(tmp_path.iterdir()) == [] and leftovers() == []


def test_estimate(panel, tmp_path):
    """Of a sample, in the background; nothing is added or written, and it is not far from what comes out."""
    import slicer

    panel._parameterNode.inputVolume = addVolume(shape=(40, 200, 180))
    assert panel.ui.estimateButton.enabled is True
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.estimateButton.click()
    assert panel.ui.estimateButton.enabled is False and panel.ui.applyButton.text == "Cancel"
    waitForJob(panel)
    assert panel.ui.estimateButton.enabled is True and slicer.mrmlScene.GetNumberOfNodes() == nodes
    expected = float(re.search(r"about ([\d.]+) MB", panel.ui.resultLabel.text).group(1))
    panel.ui.outputPathLineEdit.currentPath = str(tmp_path / "a.mcz")
    panel.ui.applyButton.click()
    waitForJob(panel)
    assert expected == pytest.approx((tmp_path / "a.mcz").stat().st_size / 1e6, rel=0.25, abs=0.1)
    panel.ui.estimateButton.click()
    panel.ui.applyButton.click()
    assert panel.ui.resultLabel.text == "Canceled." and leftovers() == [] and childProcesses() == []


def test_estimate_with_segments(panel):
    volume = addVolume(shape=(20, 64, 64))
    panel._parameterNode.inputVolume = volume
    panel.ui.nearLosslessCheckBox.checked = True
    panel.ui.segmentationSelector.setCurrentNode(addSegmentation(volume, ("liver",)))
    assert panel.ui.estimateButton.enabled is False
    chooseSegments(panel, liver=0)
    panel.ui.estimateButton.click()
    waitForJob(panel)
    assert "Estimate from a sample" in panel.ui.resultLabel.text
    panel._parameterNode.inputVolume = None
    assert panel.ui.estimateButton.enabled is False and "Select a volume" in panel.ui.estimateButton.toolTip


def test_event_loop_stays_alive(panel, tmp_path):
    """A 50 ms timer is never late by more than 300 ms while a volume of 100 MB is worked on."""
    import qt

    panel._parameterNode.inputVolume = addVolume(shape=(100, 512, 512))
    panel._parameterNode.codec = "raw"
    panel.ui.outputPathLineEdit.currentPath = str(tmp_path / "a.mcz")
    ticks = []
    timer = qt.QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(50)
    panel.ui.applyButton.click()
    waitForJob(panel)
    timer.stop()
    assert len(ticks) > 5
    assert max(np.diff(ticks)) < 0.35


def test_screenshot(panel, tmp_path):
    """A picture of the panel, for people to look at; MEDCOMPRESS_SCREENSHOTS names a folder that keeps it."""
    import qt

    folder = Path(os.environ.get("MEDCOMPRESS_SCREENSHOTS") or tmp_path)
    widget = panel._uiWidget
    panel.parent.resize(480, 900)

    def grab(name):
        processEvents(0.05)
        picture = widget.grab()
        assert picture.save(str(folder / f"panel-{name}.png"))
        image = picture.toImage()
        colors = {image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)}
        assert len(colors) > 20, "the picture is empty"

    panel._parameterNode.inputVolume = addVolume("CTChest", shape=(24, 160, 160))
    panel.ui.nearLosslessCheckBox.checked = True
    panel.ui.maxErrorSpinBox.value = 20
    segments = ("liver", "spleen", "left kidney", "right kidney", "vertebra L1")
    panel.ui.segmentationSelector.setCurrentNode(addSegmentation(panel._parameterNode.inputVolume, segments))
    chooseSegments(panel, liver=0, spleen=0, **{"left kidney": 4, "right kidney": 4})
    panel.ui.outputPathLineEdit.currentPath = "/tmp/CTChest.mcz"
    panel.parent.show()
    widget.show()
    grab("ready")
    panel.ui.outputPathLineEdit.currentPath = str(tmp_path / "CTChest.mcz")
    panel.ui.applyButton.click()
    end = time.monotonic() + 20
    while panel._job is not None and panel.ui.progressBar.value < 200 and time.monotonic() < end:
        qt.QApplication.instance().processEvents()
    grab("working")
    waitForJob(panel)
    text = panel.ui.resultLabel.text
    panel.ui.outputPathLineEdit.currentPath = ""
    grab("done")
    assert "LOSSY" in text and panel.ui.resultLabel.text == text
    panel.parent.hide()
