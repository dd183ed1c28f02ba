"""Training a model on volumes of the scene, in the background, and using it."""

import numpy as np
import pytest
from harness.driving import childProcesses, choose, leftovers, waitForJob, waitUntil
from harness.pythonqt import usesPythonQt

import MedCompressLib as mc

pytest_plugins = ["harness.fixtures"]
usesPythonQt(__name__)


def addScan(name, seed=0):
    """Waves with noise, enough for a few steps."""
    import slicer

    k, j, i = np.meshgrid(np.arange(12), np.arange(40), np.arange(44), indexing="ij")
    voxels = 300 * np.sin(j / 7 + seed) * np.cos(i / 9) + 20 * k
    voxels += np.random.default_rng(seed).normal(0, 8, voxels.shape)
    return slicer.util.addVolumeFromArray(voxels.astype(np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]), name)


@pytest.fixture
def quick(panel, monkeypatch):
    """The panel with a training of a few steps."""
    start = panel.logic.startTraining
    monkeypatch.setattr(panel.logic, "startTraining", lambda *arguments, **callbacks: start(*arguments, steps=24,
                                                                                            **callbacks))
    return panel


def check(panel, *nodes):
    import qt

    for node in nodes:
        panel.ui.trainingVolumesSelector.setCheckState(node, qt.Qt.Checked)


def test_train_and_use_it(quick, tmp_path):
    panel, ui = quick, quick.ui
    first, second, third = (addScan(name, seed) for seed, name in enumerate(("First", "Second", "Third")))
    check(panel, first, second)
    choose(ui.trainingPresetComboBox, "fast")
    ui.trainedModelPathLineEdit.currentPath = str(tmp_path / "site")
    assert ui.trainButton.enabled is True
    ui.trainButton.click()
    assert ui.trainButton.enabled is False and ui.applyButton.text == "Cancel"
    waitForJob(panel)
    path = tmp_path / "site.mcmodel"
    assert path.is_file() and "slices that were not trained on" in ui.resultLabel.text
    assert (ui.codecComboBox.currentText, ui.presetComboBox.currentText) == ("neural", "fast")
    assert ui.modelPathLineEdit.currentPath == str(path)
    assert leftovers() == [] and childProcesses() == []
    panel._parameterNode.inputVolume = third
    ui.outputPathLineEdit.currentPath = str(tmp_path / "third.mcz")
    ui.applyButton.click()
    waitForJob(panel)
    assert "Identical: yes" in ui.resultLabel.text
    volume = panel.logic.decompressFile(tmp_path / "third.mcz")
    assert volume.GetName().startswith("Third")
    expected = mc.compress(mc.read(tmp_path / "third.mcz"), "neural", "fast", model=path)
    assert (tmp_path / "third.mcz").read_bytes() == expected, "the model was used"


def test_trained_while_another_module_is_open(quick, tmp_path):
    panel, ui = quick, quick.ui
    check(panel, addScan("First", 0), addScan("Second", 1))
    choose(ui.trainingPresetComboBox, "fast")
    ui.trainedModelPathLineEdit.currentPath = str(tmp_path / "site.mcmodel")
    ui.trainButton.click()
    panel.exit()
    waitForJob(panel)
    panel.enter()
    assert (ui.codecComboBox.currentText, ui.presetComboBox.currentText) == ("neural", "fast")
    assert ui.modelPathLineEdit.currentPath == str(tmp_path / "site.mcmodel")


def test_train_says_why_it_is_disabled(panel, tmp_path):
    import slicer

    ui, button = panel.ui, panel.ui.trainButton
    assert button.enabled is False and "Check the volumes" in button.toolTip
    scan = addScan("First")
    check(panel, scan)
    assert button.enabled is False and "Choose the file" in button.toolTip
    ui.trainedModelPathLineEdit.currentPath = "/no/such/folder/a.mcmodel"
    assert button.enabled is False and "does not exist" in button.toolTip
    ui.trainedModelPathLineEdit.currentPath = str(tmp_path / "a.mcmodel")
    assert button.enabled is True and "Train a model" in button.toolTip
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    check(panel, empty)
    assert button.enabled is False and "no voxels" in button.toolTip
    slicer.mrmlScene.RemoveNode(empty)
    panel._checkCanApply()
    assert button.enabled is True
    slicer.mrmlScene.RemoveNode(scan)
    panel._checkCanApply()
    assert button.enabled is False and "Check the volumes" in button.toolTip


def test_cancel_leaves_no_model(panel, tmp_path):
    check(panel, addScan("First"))
    panel.ui.trainedModelPathLineEdit.currentPath = str(tmp_path / "a.mcmodel")
    panel.ui.trainButton.click()
    waitUntil(childProcesses)
    panel.ui.applyButton.click()
    assert panel.ui.resultLabel.text == "Canceled." and panel.ui.modelPathLineEdit.currentPath == ""
    assert list(tmp_path.iterdir()) == [] and leftovers() == [] and childProcesses() == []


def test_existing_model_is_replaced_only_when_confirmed(quick, tmp_path, monkeypatch):
    import slicer

    path = tmp_path / "a.mcmodel"
    path.write_text("mine")
    check(quick, addScan("First"))
    quick.ui.trainedModelPathLineEdit.currentPath = str(path)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: False)
    quick.ui.trainButton.click()
    assert quick.job is None and path.read_text() == "mine"


def test_nothing_to_learn_is_one_sentence(logic, tmp_path):
    import slicer

    flat = slicer.util.addVolumeFromArray(np.zeros((2, 8, 8), np.int16), np.eye(4), "Flat")
    job = logic.startTraining([flat], tmp_path / "a.mcmodel", steps=12)
    job.waitForFinished()
    assert "at least four slices" in job.error and list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="at least one volume"):
        logic.startTraining([], tmp_path / "a.mcmodel")
    with pytest.raises(ValueError, match="Select a volume"):
        logic.startTraining([None], tmp_path / "a.mcmodel")


@pytest.mark.parametrize("codec, model, words", [
    ("neural", "/no/such.mcmodel", "There is no model"), ("wavelet", "/no/such.mcmodel", "uses no model")])
def test_models_that_do_not_fit(logic, codec, model, words):
    with pytest.raises(ValueError, match=words):
        logic.roundTrip(addScan("First"), codec, model=model)
