"""Compression with a bound on the error, on real MRML: what is promised, what is refused, what everybody can see."""

import numpy as np
import pytest

import MedCompressLib as mc

pytest_plugins = ["harness.fixtures"]


def addVolume(dtype="int16", className="vtkMRMLScalarVolumeNode"):
    import slicer

    voxels = np.random.default_rng(1).normal(100, 30, (5, 24, 28)).astype(dtype)
    return slicer.util.addVolumeFromArray(voxels, np.diag([-0.7, -0.7, 2.0, 1.0]), "CT", className)


def differenceOf(node, other):
    import slicer

    return slicer.util.arrayFromVolume(other).astype(int) - slicer.util.arrayFromVolume(node).astype(int)


def hierarchy():
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def test_bound_is_kept_and_reported(logic):
    node = addVolume()
    restored, report = logic.roundTrip(node, maxError=4)
    difference = differenceOf(node, restored)
    assert 0 < np.abs(difference).max() <= 4
    (whole,) = report.regions
    assert (whole.name, whole.voxels, whole.allowedError) == ("", difference.size, 4)
    assert whole.maxError == np.abs(difference).max() and whole.changedVoxels == np.count_nonzero(difference)
    assert whole.rmse == pytest.approx(np.sqrt(np.mean(difference ** 2.0)))
    assert whole.meanChange == pytest.approx(difference.mean())
    assert 0.5 < whole.dice < 1 and whole.hausdorff95 > 0 and whole.psnr > 30
    assert not report.identical and "LOSSY: largest error" in report.summary()


@pytest.mark.parametrize("through", ["memory", "file", "background"])
def test_lossy_is_visible(logic, tmp_path, through):
    node = addVolume()
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    node.SetAttribute("Reader", "me")
    hierarchy().SetItemUID(hierarchy().GetItemByDataNode(node), "DICOM", "1.2")
    path = tmp_path / "a.mcz"
    if through == "memory":
        restored, report = logic.roundTrip(node, maxError=4)
    elif through == "file":
        report = logic.compressVolume(node, path, maxError=4)
        import slicer

        slicer.mrmlScene.RemoveNode(node)    # so that its UID is free to be claimed
        restored = logic.decompressFile(path)
    else:
        job = logic.startCompression(node, path, restoreAs="Mine", maxError=4)
        job.waitForFinished()
        assert job.error == ""
        restored, report = job.restoredNode, job.report
    error = report.regions[0].maxError
    assert restored.GetName() == ("Mine" if through == "background" else "CT lossy (error up to 4)")
    expected = {"codec": "neural", "preset": report.preset, "quality": "near-lossless, allowed error 4",
                "maxError": str(error), "sourceInstanceUIDs": "1.2.3 1.2.4"}
    for name, value in expected.items():
        assert restored.GetAttribute("MedCompress." + name) == value
    assert float(restored.GetAttribute("MedCompress.ratio")) == pytest.approx(report.ratio, abs=1e-3)
    assert restored.GetAttribute("DICOM.instanceUIDs") is None and restored.GetAttribute("Reader") == "me"
    assert not hierarchy().GetItemUID(hierarchy().GetItemByDataNode(restored), "DICOM")


def test_constant_background_is_visible(logic, tmp_path):
    voxels = np.random.default_rng(1).normal(100, 30, (5, 24, 28)).astype(np.int16)
    roi = mc.RegionOfInterest(np.indices(voxels.shape)[2] > 9)
    mc.write(tmp_path / "a.mcz", voxels, quality=mc.ConstantBackground(-1024), roi=roi)
    restored = logic.decompressFile(tmp_path / "a.mcz")
    assert restored.GetAttribute("MedCompress.quality") == "regions of interest exact, all else -1024"
    assert restored.GetAttribute("DICOM.instanceUIDs") is None


def test_lossless_results_are_not_marked(logic):
    node = addVolume()
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    restored, report = logic.roundTrip(node)
    assert report.identical and report.regions == ()
    assert restored.GetAttributeNames() == ("DICOM.instanceUIDs",) and restored.GetName() == "CT restored"


@pytest.mark.parametrize("where", ["hierarchy", "attribute"])
def test_mammograms_are_refused_unless_forced(logic, where):
    node = addVolume()
    if where == "hierarchy":
        hierarchy().SetItemAttribute(hierarchy().GetItemByDataNode(node), "DICOM.Modality", "MG")
    else:
        node.SetAttribute("DICOM.Modality", "MG")
    with pytest.raises(ValueError, match="mammogram"):
        logic.roundTrip(node, maxError=4)
    assert logic.roundTrip(node)[1].identical
    assert logic.roundTrip(node, maxError=4, force=True)[1].regions[0].maxError <= 4


@pytest.mark.parametrize("dtype, className, codec, words", [
    ("float32", "vtkMRMLScalarVolumeNode", "auto", "whole-number"),
    ("uint8", "vtkMRMLLabelMapVolumeNode", "auto", "label map"),
    ("int16", "vtkMRMLScalarVolumeNode", "runs", "lossless only")])
def test_what_cannot_be_lossy(logic, tmp_path, dtype, className, codec, words):
    import slicer

    node = addVolume(dtype, className)
    count = slicer.mrmlScene.GetNumberOfNodes()
    for call in (lambda: logic.roundTrip(node, codec, maxError=4),
                 lambda: logic.compressVolume(node, tmp_path / "a.mcz", codec, maxError=4),
                 lambda: logic.startCompression(node, codec=codec, maxError=4)):
        with pytest.raises(ValueError, match=words):
            call()
    assert slicer.mrmlScene.GetNumberOfNodes() == count and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("maxError", [-1, 2.5, 2 ** 21])
def test_bounds_that_are_none(logic, maxError):
    with pytest.raises(ValueError, match="whole number"):
        logic.roundTrip(addVolume(), maxError=maxError)


def test_broken_promise_is_refused(logic):
    """The figures are measured anew, and a voxel that is off by more than allowed stops everything."""
    import dataclasses

    _node, report = logic.roundTrip(addVolume(), maxError=4)
    report.requirePromise()
    worse = dataclasses.replace(report.regions[0], maxError=5)
    with pytest.raises(RuntimeError, match="more than was allowed"):
        dataclasses.replace(report, regions=(worse,)).requirePromise()


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_target_ratio(logic, tmp_path, dtype):
    """The file is as small as asked for, and what that took is reported and visible."""
    import slicer

    k, j, i = np.ogrid[:12, :64, :64]
    waves = 500 * np.sin(j / 9) * np.cos(i / 7) + 9 * k + np.random.default_rng(0).normal(0, 20, (12, 64, 64))
    node = slicer.util.addVolumeFromArray(waves.astype(dtype), np.eye(4), "CT")
    path = tmp_path / "a.mcz"
    report = logic.compressVolume(node, path, targetRatio=8)
    assert 8 <= report.ratio < 8.5 and path.stat().st_size == report.compressedBytes
    restored = logic.decompressFile(path)
    errors = np.abs(slicer.util.arrayFromVolume(restored).astype(float) - slicer.util.arrayFromVolume(node))
    (whole,) = report.regions
    assert whole.allowedError is None and whole.maxError == pytest.approx(errors.max())
    assert whole.rmse == pytest.approx(np.sqrt(np.mean(errors ** 2)), rel=1e-4) and 25 < whole.psnr < 80
    assert "lossy" in restored.GetName() and "ratio 8" in restored.GetAttribute("MedCompress.quality")
    assert "LOSSY" in report.summary() and not report.identical
    again, _report = logic.roundTrip(node, targetRatio=8)
    assert again.GetName() == "CT lossy (ratio 8)"
    table = logic.addReportTable(report).GetTable()
    assert np.isnan(table.GetColumnByName("Allowed error").GetValue(0))


@pytest.mark.parametrize("options, words", [
    ({"targetRatio": 8, "maxError": 3}, "no choice of errors"),
    ({"targetRatio": 8, "codec": "neural"}, "no target ratio"), ({"targetRatio": 0.5}, "ratio of 1 or more")])
def test_target_ratios_that_cannot_be(logic, options, words):
    with pytest.raises(ValueError, match=words):
        logic.roundTrip(addVolume(), **options)


def test_accuracy_of_known_differences(application):
    """Figures against what they are by definition, on a shifted cube."""
    from MedCompressSlicer.Accuracy import accuracies
    from MedCompressSlicer.Regions import Regions

    original = np.zeros((20, 20, 20), np.int16)
    original[5:15, 5:15, 5:15] = 100
    decoded = np.roll(original, 1, axis=2)
    bits = np.zeros(original.shape, np.uint8)
    bits[:, :, :10] = 1
    regions = Regions(bits, ("left",), (100,))
    whole, left, outside = accuracies(mc.Volume(original, np.diag([3.0, 1, 1, 1])),
                                      mc.Volume(decoded, np.diag([3.0, 1, 1, 1])), 100, regions, 8000)
    assert (whole.voxels, whole.changedVoxels, whole.maxError, whole.meanChange) == (8000, 200, 100, 0)
    assert whole.dice == pytest.approx(0.9) and whole.hausdorff95 == pytest.approx(3.0)
    assert (left.name, left.voxels, left.changedVoxels) == ("left", 4000, 100)
    assert left.meanChange == pytest.approx(-100 * 100 / 4000)
    assert (outside.name, outside.voxels, outside.changedVoxels) == ("outside", 4000, 100)
    assert left.dice == pytest.approx(2 * 400 / 900) and left.psnr == pytest.approx(20 * np.log10(1 / np.sqrt(0.025)))


def test_lossless_copy_of_a_mammogram_is_one(logic):
    node = addVolume()
    item = hierarchy().GetItemByDataNode(node) or hierarchy().CreateItem(hierarchy().GetSceneItemID(), node)
    hierarchy().SetItemAttribute(item, "DICOM.Modality", "MG")
    restored, _ = logic.roundTrip(node)
    with pytest.raises(ValueError, match="mammogram"):
        logic.roundTrip(restored, maxError=3)


def test_one_segment_may_be_named_alone(logic):
    from harness.driving import addSegmentation

    segmentation = addSegmentation(addVolume(), ("liver", "spleen"))
    assert logic.segmentROI(segmentation, "liver").maxErrors == logic.segmentROI(segmentation, ["liver"]).maxErrors
