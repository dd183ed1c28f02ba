"""Difference volumes, views and tables, on real MRML."""

import numpy as np
import pytest
from harness.driving import leftovers, waitForJob

pytest_plugins = ["harness.fixtures"]


def addVolume(voxels, name="CT"):
    import slicer

    return slicer.util.addVolumeFromArray(voxels, np.diag([-0.7, -0.7, 2.0, 1.0]), name)


def test_difference_is_signed_and_in_diverging_colors(logic):
    import slicer

    first = addVolume(np.zeros((3, 4, 5), np.uint8) + 10)
    second = addVolume(np.zeros((3, 4, 5), np.uint8) + 10, "Result")
    slicer.util.arrayFromVolume(second)[0, 0, :2] = 6, 17
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    first.SetAndObserveTransformNodeID(transform.GetID())
    node = logic.compare(first, second)
    difference = slicer.util.arrayFromVolume(node)
    assert difference.dtype == np.int16 and difference[0, 0, :3].tolist() == [-4, 7, 0]
    assert node.GetName() == "Result minus CT" and node.GetTransformNodeID() == transform.GetID()
    display = node.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (14, 0)
    colors = display.GetColorNode()
    rgba = [0.0] * 4
    for index, expected in ((0, [0, 0, 1]), (127, [1, 1, 1]), (254, [1, 0, 0])):
        colors.GetColor(index, rgba)
        assert rgba[:3] == expected
    assert logic.compare(first, second).GetDisplayNode().GetColorNode() is colors, "one table for all"


@pytest.mark.parametrize("dtype, values, expected", [
    ("int32", (-40000, 40000), 80000.0), ("float32", (0.25, -0.5), -0.75), ("float64", (1e300, 1e300), 0.0)])
def test_difference_of_wide_types(logic, dtype, values, expected):
    import slicer

    first, second = (addVolume(np.full((2, 3, 4), value, dtype)) for value in values)
    assert np.all(slicer.util.arrayFromVolume(logic.compare(first, second)) == expected)


def test_volumes_of_different_sizes_are_refused(logic):
    import slicer

    count = slicer.mrmlScene.GetNumberOfNodes
    nodes = addVolume(np.zeros((2, 3, 4), np.int16)), addVolume(np.zeros((2, 3, 5), np.int16))
    before = count()
    with pytest.raises(ValueError, match="different numbers of voxels"):
        logic.compare(*nodes)
    assert count() == before


def test_views(logic):
    """The slice views that the scene knows; of a layout manager there is none here."""
    import slicer

    composites = {}
    for name in ("Red", "Yellow"):
        for className in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
            node = slicer.mrmlScene.CreateNodeByClass(className)
            node.UnRegister(None)
            node.SetLayoutName(name)
            node.SetName(name)
            slicer.mrmlScene.AddNode(node)
            composites[name] = node
    first, second = addVolume(np.zeros((2, 3, 4), np.int16)), addVolume(np.ones((2, 3, 4), np.int16))
    difference = logic.compare(first, second)
    assert composites["Red"].GetBackgroundVolumeID() == first.GetID()
    assert not composites["Red"].GetForegroundVolumeID()
    assert composites["Yellow"].GetBackgroundVolumeID() == second.GetID()
    assert composites["Yellow"].GetForegroundVolumeID() == difference.GetID()
    assert composites["Yellow"].GetForegroundOpacity() == 0.5 and composites["Red"].GetLinkedControl()


def test_table_of_a_lossless_result(logic):
    node = addVolume(np.arange(2000, dtype=np.int16).reshape(10, 10, 20))
    _restored, report = logic.roundTrip(node, "raw")
    table = logic.addReportTable(report).GetTable()
    row = {table.GetColumnName(column): table.GetValue(0, column) for column in range(table.GetNumberOfColumns())}
    assert row["Region"].ToString() == "whole volume" and row["Codec"].ToString() == "raw plain"
    assert row["Voxels"].ToDouble() == 2000 and row["Largest error"].ToDouble() == 0
    assert row["File (bytes)"].ToDouble() == report.compressedBytes
    assert row["Ratio"].ToDouble() == pytest.approx(report.ratio)
    assert np.isnan(row["PSNR (dB)"].ToDouble())


# Codecs -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def fewPresets(monkeypatch):
    from MedCompressSlicer import CodecComparison

    import MedCompress

    monkeypatch.setattr(MedCompress.MedCompressLogic, "presetsByCodec",
                        staticmethod(lambda: {"raw": {"plain": ""}, "wavelet": {"default": ""}}))
    monkeypatch.setattr(CodecComparison, "_BOUNDS", (2, 20))
    monkeypatch.setattr(CodecComparison, "_RATIOS", (5, 20, 5000))


def test_codecs_are_compared_in_table_and_plot(logic, fewPresets):
    import slicer

    node = addVolume(np.random.default_rng(0).normal(0, 9, (10, 60, 64)).astype(np.int16))
    comparison = logic.startCodecComparison(node)
    comparison.waitForFinished()
    assert comparison.error == ""
    table = comparison.tableNode.GetTable()
    columns = {table.GetColumnName(index): table.GetColumn(index) for index in range(table.GetNumberOfColumns())}
    rows = [{name: column.GetValue(row) for name, column in columns.items()} for row in range(table.GetNumberOfRows())]
    methods = [row["Method"] for row in rows]
    assert methods == ["gzip -6", "JPEG-LS", "JPEG 2000", "JPEG XL", "raw plain", "wavelet default",
                       *["neural fast"] * 2, *["wavelet"] * 2], "and no file is 5000 times smaller"
    assert all(16 / row["Bits per voxel"] == pytest.approx(row["Ratio"]) for row in rows)
    assert all(row["Largest error"] == 0 and np.isnan(row["PSNR (dB)"]) for row in rows[:6])
    assert [row["Largest error"] for row in rows[6:8]] == [2, 20]
    assert [row["Ratio"] for row in rows[8:]] == pytest.approx([5, 20], rel=0.05)
    chart = comparison.chartNode
    for number, part in enumerate((rows[6:8], rows[8:])):
        series = slicer.mrmlScene.GetNodeByID(chart.GetNthPlotSeriesNodeID(number))
        curve = series.GetTableNode().GetTable()
        bits, quality = ([curve.GetColumnByName(name).GetValue(row) for row in range(len(part))]
                         for name in (series.GetXColumnName(), series.GetYColumnName()))
        assert sorted(zip(bits, quality, strict=True)) == sorted((row["Bits per voxel"], row["PSNR (dB)"])
                                                                 for row in part)
        assert quality == sorted(quality), "more bits, fewer errors"


@pytest.mark.parametrize("dtype, shape, expected", [
    ("int16", (1, 3, 20, 24), ["gzip -6", "JPEG-LS", "JPEG 2000", "JPEG XL"]),
    ("uint8", (2, 2, 20, 24), ["gzip -6", "JPEG-LS", "JPEG 2000", "JPEG XL"]),
    ("float32", (1, 3, 20, 24), ["gzip -6"]), ("int32", (1, 3, 20, 24), ["gzip -6"])])
def test_standard_codecs(application, dtype, shape, expected):
    """Those that are installed and can hold the voxels; what they give back has been compared."""
    from MedCompressSlicer.StandardCodecs import measureStandardCodecs

    pytest.importorskip("imagecodecs")
    values = np.random.default_rng(0).integers(0, 100, shape)
    voxels = (values * (1000 if dtype == "int32" else 1) - (50 if dtype == "int16" else 0)).astype(dtype)
    fractions = []
    rows = measureStandardCodecs(voxels, fractions.append)
    assert [row[0] for row in rows] == expected and fractions[-1] == 1
    assert all(0 < size < 2 * voxels.nbytes and compress > 0 and restore > 0 for _n, size, compress, restore in rows)


@pytest.mark.parametrize("missing, expected", [
    (("imagecodecs",), ["gzip -6", "JPEG-LS"]), (("imagecodecs", "jpeg_ls"), ["gzip -6"])])
def test_standard_codecs_that_are_not_installed(application, monkeypatch, missing, expected):
    """As Slicer comes: pyjpegls alone, or not even that."""
    import sys

    from MedCompressSlicer.StandardCodecs import measureStandardCodecs

    pytest.importorskip("jpeg_ls")
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    voxels = np.random.default_rng(0).integers(0, 300, (1, 2, 20, 24)).astype(np.int16)
    assert [row[0] for row in measureStandardCodecs(voxels)] == expected


def test_comparison_from_the_panel_and_cancel(panel, fewPresets):
    import slicer

    panel._parameterNode.inputVolume = addVolume(np.random.default_rng(0).random((6, 20, 20)).astype(np.float32))
    panel.ui.compareCodecsButton.click()
    assert panel.ui.compareCodecsButton.enabled is False and panel.ui.applyButton.text == "Cancel"
    panel.ui.applyButton.click()
    assert panel.ui.resultLabel.text == "Canceled." and panel.ui.compareCodecsButton.enabled is True
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert leftovers() == []
    panel.ui.compareCodecsButton.click()
    waitForJob(panel)
    assert "table CT codecs" in panel.ui.resultLabel.text
    table = slicer.util.getNode("CT codecs").GetTable()
    names = [table.GetValue(row, 0).ToString() for row in range(table.GetNumberOfRows())]
    assert names == ["gzip -6", "raw plain", "wavelet default", "wavelet"], "floats have no bound"
