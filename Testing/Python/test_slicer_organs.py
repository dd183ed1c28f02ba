"""Five organs of a real CT kept exact, everything else within 20 HU: from the panel and from the console.

A few slices in the default suite, the whole CT with `pytest -m slow`.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from harness.driving import choose, chooseSegments, waitForJob
from harness.pythonqt import usesPythonQt

pytest_plugins = ["harness.fixtures"]
usesPythonQt(__name__)

ORGANS = {"spleen": 1, "liver": 5, "stomach": 6, "aorta": 52, "colon": 20}
PARTS = [pytest.param(np.s_[8:10, 190:270, 160:320], id="part"),
         pytest.param(np.s_[:], id="whole", marks=pytest.mark.slow)]


@pytest.fixture(params=PARTS)
def organs(request, scene, data_file):
    """CT node, segmentation node, voxels and labels."""
    import SimpleITK as sitk
    import slicer

    arrays = []
    for name in ("ct_body_siemens_mct_j2k", "seg_body_siemens_mct_total"):
        image = sitk.ReadImage(str(data_file(f"public/{name}.nrrd")))
        arrays.append(np.ascontiguousarray(sitk.GetArrayFromImage(image)[request.param]))
    voxels, labels = arrays
    ct = slicer.util.addVolumeFromArray(voxels, np.diag([-0.9765625, -0.9765625, 2.0, 1.0]), "CT")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    for name, value in ORGANS.items():
        segmentation.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray((labels == value).astype(np.uint8), segmentation, name, ct)
    return ct, segmentation, voxels, labels


def check(voxels, labels, restored):
    import slicer

    errors = np.abs(slicer.util.arrayFromVolume(restored).astype(int) - voxels)
    inside = np.isin(labels, list(ORGANS.values()))
    assert errors[inside].max() == 0 and 0 < errors[~inside].max() <= 20


def test_from_the_panel(organs, panel, tmp_path, monkeypatch):
    """Clicks, the result loaded, and table and plot nodes filled."""
    import slicer
    from MedCompressSlicer import CodecComparison

    ct, segmentation, voxels, labels = organs
    if len(voxels) < 10:     # a part; measuring every preset takes minutes
        monkeypatch.setattr(panel.logic, "presetsByCodec", lambda: {"wavelet": {"default": ""}})
        monkeypatch.setattr(CodecComparison, "_BOUNDS", (2, 20))
        monkeypatch.setattr(CodecComparison, "_RATIOS", (5, 20))
    ui = panel.ui
    ui.inputVolumeSelector.setCurrentNode(ct)
    choose(ui.codecComboBox, "neural")
    choose(ui.presetComboBox, "fast")
    choose(ui.qualityComboBox, "near")
    ui.maxErrorSpinBox.value = 20
    ui.segmentationSelector.setCurrentNode(segmentation)
    chooseSegments(panel, **dict.fromkeys(ORGANS, 0))
    ui.outputPathLineEdit.currentPath = str(tmp_path / "ct.mcz")
    ui.applyButton.click()
    waitForJob(panel, 3600)
    check(voxels, labels, slicer.util.getNode("CT lossy (error up to 20)"))
    table = slicer.util.getNode("MedCompress figures").GetTable()
    columns = {table.GetColumnName(index): table.GetColumn(index) for index in range(table.GetNumberOfColumns())}
    figures = {columns["Region"].GetValue(row): [columns[name].GetValue(row) for name in (
        "Voxels", "Bits spent", "Largest error")] for row in range(table.GetNumberOfRows())}
    size = (tmp_path / "ct.mcz").stat().st_size
    assert figures.pop("whole volume") == [voxels.size, 8 * size, 20] and size < 0.5 * voxels.nbytes
    assert figures.pop("outside")[2] == 20
    assert {name: (count, error) for name, (count, _bits, error) in figures.items()} == {
        name: (np.count_nonzero(labels == value), 0) for name, value in ORGANS.items()}
    assert all((bits > 0) == (count > 0) for count, bits, _error in figures.values())
    ui.compareCodecsButton.click()
    waitForJob(panel, 3600)
    chart = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")[0]
    series = slicer.mrmlScene.GetNodeByID(chart.GetNthPlotSeriesNodeID(0))
    assert series.GetTableNode().GetTable().GetNumberOfRows() >= 2
    assert slicer.util.getNode("CT codecs").GetTable().GetNumberOfRows() >= 6


def test_console_lines_of_the_readme(organs):
    """The four lines, as they stand there."""
    import slicer

    text = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    lines = re.search(r"Five organs exact.*?\n\n((?:    .+\n)+)", text).group(1)
    assert lines.count("\n") == 4
    _ct, _segmentation, voxels, labels = organs
    names = {"getNode": slicer.util.getNode}
    exec("\n".join(line.strip() for line in lines.splitlines()), names)
    check(voxels, labels, names["restored"])
    assert [(r.name, r.voxels, r.maxError) for r in names["report"].regions[1:-1]] == [
        (name, np.count_nonzero(labels == value), 0) for name, value in ORGANS.items()]
    assert names["report"].regions[-1].dice > 0.95
