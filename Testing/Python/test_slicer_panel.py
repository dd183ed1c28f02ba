"""The panel's controls, driven as a user drives them."""

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from harness.driving import addSegmentation, addVolume, choose, chooseSegments, rowOf, shownSegments, waitForJob
from harness.pythonqt import usesPythonQt

pytest_plugins = ["harness.fixtures"]
usesPythonQt(__name__)


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
            assert panel.ui.presetDescriptionLabel.text == sentence[:1].upper() + sentence[1:]
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
REGION_CONTROLS = ("segmentsTable", "outsideComboBox", "marginSpinBox")


def test_what_has_no_effect_is_disabled_and_says_why(panel):
    volume = addVolume()
    ui = panel.ui
    panel._parameterNode.inputVolume = volume
    segmentation = addSegmentation(volume, ("liver",))
    for quality in ("lossless", "near", "lossless"):
        choose(ui.qualityComboBox, quality)
        assert ui.maxErrorSpinBox.enabled is (quality == "near")
        assert ("By how much" in ui.maxErrorSpinBox.toolTip) is (quality == "near")
        for name in (*REGION_CONTROLS, "storeSegmentationCheckBox", "editSegmentationButton"):
            assert getattr(ui, name).enabled is False
            assert getattr(ui, name).toolTip.startswith(("Select a segmentation.", "Everything is lossless; choose"))
    assert "auto" in ui.presetComboBox.toolTip and "Only the codec neural" in ui.modelPathLineEdit.toolTip
    ui.segmentationSelector.setCurrentNode(segmentation)
    assert ui.storeSegmentationCheckBox.enabled is True and ui.editSegmentationButton.enabled is True
    choose(ui.qualityComboBox, "near")
    for name in REGION_CONTROLS:
        assert getattr(ui, name).enabled is True
        assert getattr(ui, name).toolTip not in ("", "Select a segmentation.")
    assert ui.backgroundSpinBox.enabled is False and "one value" in ui.backgroundSpinBox.toolTip
    choose(ui.outsideComboBox, "lossless")
    assert ui.maxErrorSpinBox.enabled is False and "outside" in ui.maxErrorSpinBox.toolTip
    assert ui.backgroundSpinBox.enabled is False
    assert ui.targetRatioSpinBox.enabled is False and "Choose the quality" in ui.targetRatioSpinBox.toolTip
    choose(ui.qualityComboBox, "target")
    assert ui.targetRatioSpinBox.enabled is True and ui.maxErrorSpinBox.enabled is False
    assert "leaves no choice" in ui.segmentsTable.toolTip and ui.segmentsTable.enabled is False
    assert ui.applyButton.enabled is True and ui.storeSegmentationCheckBox.enabled is True
    choose(ui.codecComboBox, "neural")
    assert ui.applyButton.enabled is False and "knows no target ratio" in ui.applyButton.toolTip
    assert ui.presetComboBox.enabled is True and ui.modelPathLineEdit.enabled is True


def test_an_input_that_is_filled_later(panel):
    import slicer

    voxels = np.ones((2, 3, 4), np.int16)
    for kind, fill in (
            ("vtkMRMLScalarVolumeNode", lambda node: slicer.util.updateVolumeFromArray(node, voxels)),
            ("vtkMRMLSequenceNode", lambda node: node.SetDataNodeAtValue(addVolume(), "0"))):
        node = slicer.mrmlScene.AddNewNodeByClass(kind)
        panel._parameterNode.inputVolume = node
        assert panel.ui.applyButton.enabled is False and panel.ui.estimateButton.enabled is False
        fill(node)
        assert panel.ui.applyButton.enabled is True and panel.ui.estimateButton.enabled is True
    panel.exit()
    assert not [kept for kept in panel.Observations if kept[0] is node]


def test_one_value_of_volumes_beyond_the_spin_box(panel):
    import slicer

    voxels = np.arange(3_000_000_000, 3_000_000_000 + 12 * 14 * 15, dtype=np.uint32).reshape(12, 14, 15)
    volume = slicer.util.addVolumeFromArray(voxels)
    panel._parameterNode.inputVolume = volume
    panel.ui.segmentationSelector.setCurrentNode(addSegmentation(volume, ("liver",)))
    choose(panel.ui.qualityComboBox, "near")
    choose(panel.ui.outsideComboBox, "one value")
    chooseSegments(panel, liver=0)
    assert panel.ui.backgroundSpinBox.value == 2**31 - 1 and panel.ui.applyButton.enabled is True


def test_only_the_segments_are_kept(panel):
    """The value outside starts as the lowest of the volume; a sample could not tell the size."""
    import slicer

    volume = addVolume()
    ui = panel.ui
    panel._parameterNode.inputVolume = volume
    ui.segmentationSelector.setCurrentNode(addSegmentation(volume, ("liver", "spleen")))
    choose(ui.qualityComboBox, "near")
    choose(ui.outsideComboBox, "one value")
    lowest = int(slicer.util.arrayFromVolume(volume).min())
    assert ui.backgroundSpinBox.enabled is True and ui.backgroundSpinBox.value == lowest
    assert ui.maxErrorSpinBox.enabled is False and "one value" in ui.maxErrorSpinBox.toolTip
    assert ui.applyButton.enabled is False and "at least one segment" in ui.applyButton.toolTip
    chooseSegments(panel, liver=0, spleen=3)
    assert ui.applyButton.enabled is False and "every segment is lossless" in ui.applyButton.toolTip
    chooseSegments(panel, liver=0, spleen=0)
    assert ui.applyButton.enabled is True
    assert ui.estimateButton.enabled is False and "A sample tells little" in ui.estimateButton.toolTip
    assert "suits the volume" in ui.presetDescriptionLabel.text
    ui.backgroundSpinBox.value = 40_000
    assert ui.applyButton.enabled is False and "from -32768 to 32767" in ui.applyButton.toolTip


def test_a_progressive_file_begins_with_segments(panel, tmp_path):
    import MedCompressLib as mc

    volume = addVolume()
    ui = panel.ui
    panel._parameterNode.inputVolume = volume
    ui.segmentationSelector.setCurrentNode(addSegmentation(volume, ("liver", "spleen")))
    assert ui.segmentsTable.enabled is False and "progressive can begin" in ui.segmentsTable.toolTip
    choose(ui.codecComboBox, "progressive")
    assert ui.segmentsTable.enabled is True and ui.marginSpinBox.enabled is True
    assert ui.outsideComboBox.enabled is False and ui.applyButton.enabled is True
    chooseSegments(panel, liver=3)
    assert ui.applyButton.enabled is False and "lossless only" in ui.applyButton.toolTip
    chooseSegments(panel, liver=0)
    assert ui.applyButton.enabled is True and ui.estimateButton.enabled is True
    ui.outputPathLineEdit.currentPath = str(tmp_path / "first.mcz")
    ui.applyButton.click()
    waitForJob(panel)
    assert "Identical: yes" in ui.resultLabel.text and ui.resultLabel.text.count("LOSSY") == 0
    assert mc.verify(tmp_path / "first.mcz").ok


def test_numbers_have_the_range_that_makes_sense(panel):
    """Slicer's parameterNodeWrapper sets it, whatever stands in the .ui file."""
    assert (panel.ui.maxErrorSpinBox.minimum, panel.ui.maxErrorSpinBox.maximum) == (1, 1 << 20)
    assert (panel.ui.targetRatioSpinBox.minimum, panel.ui.targetRatioSpinBox.maximum) == (1, 1000)
    assert (panel.ui.marginSpinBox.minimum, panel.ui.marginSpinBox.maximum) == (0, 100)
    with pytest.raises(ValueError):
        panel._parameterNode.maxError = 0


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
    ("runs", "lossless only"), ("mammogram", "mammogram"), ("floats", "whole-number"),
    ("no segment", "at least one segment")])
def test_apply_says_why_loss_is_refused(panel, what, words):
    import slicer

    volume = addVolume()
    if what == "floats":
        volume = slicer.util.addVolumeFromArray(np.random.default_rng(0).random((4, 8, 8)), name="Floats")
    panel._parameterNode.inputVolume = volume
    choose(panel.ui.qualityComboBox, "near")
    if what == "runs":
        choose(panel.ui.codecComboBox, "runs")
    elif what == "mammogram":
        volume.SetAttribute("DICOM.Modality", "MG")
        panel._checkCanApply()
    elif what == "no segment":
        assert panel.ui.applyButton.enabled is True
        panel.ui.segmentationSelector.setCurrentNode(addSegmentation(volume, ("liver",)))
    assert panel.ui.applyButton.enabled is False and words in panel.ui.applyButton.toolTip
    choose(panel.ui.qualityComboBox, "lossless")
    assert panel.ui.applyButton.enabled is True


def test_segments_that_come_and_go(panel):
    volume = addVolume()
    panel._parameterNode.inputVolume = volume
    segmentation = addSegmentation(volume, ("liver", "spleen"))
    choose(panel.ui.qualityComboBox, "near")
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


# Life cycle -------------------------------------------------------------------------------------------------------
def nodeOf(name):
    import slicer

    return slicer.util.getNode(name)


def checkVolumes(ui, *names):
    import qt

    for name in names:
        ui.trainingVolumesSelector.setCheckState(nodeOf(name), qt.Qt.Checked)


# Of each control: the parameter that it stands for, what the user does to it, and what can be seen of that.
CONTROLS = {
    "inputVolumeSelector": ("inputVolume", lambda ui: ui.inputVolumeSelector.setCurrentNode(nodeOf("Second")),
                            lambda ui: getattr(ui.inputVolumeSelector.currentNode(), "GetName", str)()),
    "codecComboBox": ("codec", lambda ui: choose(ui.codecComboBox, "neural"), lambda ui: ui.codecComboBox.currentText),
    "presetComboBox": ("preset", lambda ui: setattr(ui.presetComboBox, "currentIndex", ui.presetComboBox.count - 1),
                       lambda ui: ui.presetComboBox.currentText),
    "modelPathLineEdit": ("model", lambda ui: setattr(ui.modelPathLineEdit, "currentPath", "/models/a.mcmodel"),
                          lambda ui: ui.modelPathLineEdit.currentPath),
    "qualityComboBox": ("quality", lambda ui: choose(ui.qualityComboBox, "near"),
                        lambda ui: ui.qualityComboBox.currentText),
    "maxErrorSpinBox": ("maxError", lambda ui: setattr(ui.maxErrorSpinBox, "value", 17),
                        lambda ui: ui.maxErrorSpinBox.value),
    "targetRatioSpinBox": ("targetRatio", lambda ui: setattr(ui.targetRatioSpinBox, "value", 25.0),
                           lambda ui: ui.targetRatioSpinBox.value),
    "segmentationSelector": ("segmentation", lambda ui: ui.segmentationSelector.setCurrentNode(nodeOf("Organs")),
                             lambda ui: getattr(ui.segmentationSelector.currentNode(), "GetName", str)()),
    "segmentsTable": ("segmentBounds", None, None),
    "outsideComboBox": ("outside", lambda ui: choose(ui.outsideComboBox, "lossless"),
                        lambda ui: ui.outsideComboBox.currentText),
    "backgroundSpinBox": ("background", lambda ui: setattr(ui.backgroundSpinBox, "value", -1000),
                          lambda ui: ui.backgroundSpinBox.value),
    "marginSpinBox": ("margin", lambda ui: setattr(ui.marginSpinBox, "value", 2.5), lambda ui: ui.marginSpinBox.value),
    "storeSegmentationCheckBox": ("storeSegmentation",
                                  lambda ui: setattr(ui.storeSegmentationCheckBox, "checked", True),
                                  lambda ui: ui.storeSegmentationCheckBox.checked),
    "outputPathLineEdit": ("outputPath", lambda ui: setattr(ui.outputPathLineEdit, "currentPath", "/results/a.mcz"),
                           lambda ui: ui.outputPathLineEdit.currentPath),
    "loadRestoredCheckBox": ("loadRestored", lambda ui: setattr(ui.loadRestoredCheckBox, "checked", False),
                             lambda ui: ui.loadRestoredCheckBox.checked),
    "trainingVolumesSelector": ("trainingVolumes", lambda ui: checkVolumes(ui, "First", "Second"),
                                lambda ui: [node.GetName() for node in ui.trainingVolumesSelector.checkedNodes()]),
    "trainingPresetComboBox": ("trainingPreset", lambda ui: setattr(ui.trainingPresetComboBox, "currentIndex", 1),
                               lambda ui: ui.trainingPresetComboBox.currentText),
    "trainedModelPathLineEdit": ("trainedModel",
                                 lambda ui: setattr(ui.trainedModelPathLineEdit, "currentPath", "/models/new"),
                                 lambda ui: ui.trainedModelPathLineEdit.currentPath),
}


def test_every_control_stands_for_a_parameter():
    """All that a user can change is in the list above, and so is every parameter."""
    module = Path(__file__).resolve().parents[2] / "MedCompress"
    tree = ast.parse((module / "MedCompressSlicer" / "ParameterNode.py").read_text(encoding="utf-8"))
    parameters = [node.target.id for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
    assert sorted(parameters) == sorted(parameter for parameter, _do, _seen in CONTROLS.values())
    passive = ("qMRMLWidget", "ctkCollapsibleButton", "QLabel", "QPushButton", "QProgressBar")
    controls = {widget.get("name") for widget in ElementTree.parse(
        module / "Resources" / "UI" / "MedCompress.ui").getroot().iter("widget") if widget.get("class") not in passive}
    assert controls - {"reportTable"} == set(CONTROLS)


def test_every_control_survives_the_scene_file(panel, tmp_path):
    import slicer

    addVolume("First")
    addSegmentation(addVolume("Second"), ("liver", "spleen", "bone"))

    def seen():
        return {name: look(panel.ui) for name, (_parameter, _do, look) in CONTROLS.items() if look}

    before = seen()
    for _parameter, do, _seen in CONTROLS.values():
        if do:
            do(panel.ui)
    chooseSegments(panel, liver=0, spleen=3)
    changed = seen()
    assert {name for name in changed if changed[name] == before[name]} == set(), "the test changes nothing"
    bounds = {"liver": ("lossless", False), "spleen": ("largest error", 3), "bone": ("background", False)}
    assert shownSegments(panel) == bounds
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    without = seen()
    assert {name for name in changed if without[name] == changed[name]} == set(), "a new scene starts afresh"
    assert shownSegments(panel) == {}
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    panel.enter()
    assert seen() == changed and shownSegments(panel) == bounds


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


