"""Segments as regions of interest, on real MRML."""

import numpy as np
import pytest

pytest_plugins = ["harness.fixtures"]
SHAPE = (6, 30, 34)
IJK_TO_RAS = np.diag([-0.8, -0.8, 2.0, 1.0])


def addVolume(name="CT", shape=SHAPE, ijkToRAS=IJK_TO_RAS):
    import slicer

    voxels = np.random.default_rng(1).normal(100, 30, shape).astype(np.int16)
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS, name)


def box(k=slice(None), j=slice(5, 15), i=slice(4, 20), shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask[k, j, i] = 1
    return mask


def addSegmentation(volumeNode, **masks):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    for name, mask in masks.items():
        segmentID = node.GetSegmentation().AddEmptySegment("id of " + name, name, [1.0, 0.5, 0.0])
        if mask is not None:
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segmentID, volumeNode)
    return node


def errorsOf(node, other):
    import slicer

    return np.abs(slicer.util.arrayFromVolume(other).astype(int) - slicer.util.arrayFromVolume(node).astype(int))


def shift(millimeters):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = millimeters
    node.SetAndObserveMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


# Bounds -----------------------------------------------------------------------------------------------------------
def test_segments_have_bounds_of_their_own(logic):
    ct = addVolume()
    liver, spleen = box(), box(j=slice(18, 25))
    segmentation = addSegmentation(ct, liver=liver, spleen=spleen, bone=box(i=slice(25, 30)))
    roi = logic.segmentROI(segmentation, {"liver": 0, "id of spleen": 2})
    restored, report = logic.roundTrip(ct, maxError=12, roi=roi)
    errors = errorsOf(ct, restored)
    assert errors[liver == 1].max() == 0
    assert 0 < errors[spleen == 1].max() <= 2
    assert 2 < errors[(liver | spleen) == 0].max() <= 12
    assert [(r.name, r.voxels, r.allowedError, r.maxError) for r in report.regions] == [
        ("", errors.size, 12, errors.max()), ("liver", liver.sum(), 0, 0),
        ("spleen", spleen.sum(), 2, errors[spleen == 1].max()),
        ("outside", ((liver | spleen) == 0).sum(), 12, errors[(liver | spleen) == 0].max())]
    assert report.regions[1].dice == 1.0 and report.regions[1].hausdorff95 == 0 and report.regions[1].psnr is None
    assert "Exact: liver." in report.summary()
    assert restored.GetAttribute("MedCompress.quality").endswith("regions 0 2 12")


def test_names_colors_and_bounds_travel_in_the_file(logic, tmp_path):
    import MedCompressLib as mc

    ct = addVolume()
    logic.compressVolume(ct, tmp_path / "a.mcz", maxError=9,
                         roi=logic.segmentROI(addSegmentation(ct, liver=box()), ["liver"], margin=1.5))
    stored = mc.info(tmp_path / "a.mcz")["metadata"]["Slicer"]["segmentsOfInterest"]
    assert stored == {"segmentation": "Organs", "margin": 1.5,
                      "segments": [{"name": "liver", "color": [1.0, 0.5, 0.0], "maxError": 0}]}


def test_where_segments_overlap_the_tighter_bound_counts(logic):
    """Whatever the order: of a label map exported by Slicer, the later segment would win."""
    ct = addVolume()
    big, small = box(), box(j=slice(8, 12), i=slice(8, 12))
    for masks in ({"big": big, "small": small}, {"small": small, "big": big}):
        segmentation = addSegmentation(ct, **masks)
        restored, report = logic.roundTrip(ct, maxError=12, roi=logic.segmentROI(segmentation, {"big": 6, "small": 0}))
        errors = errorsOf(ct, restored)
        assert errors[small == 1].max() == 0 and 0 < errors[big == 1].max() <= 6
        assert {r.name: r.voxels for r in report.regions}["big"] == big.sum(), "counted with what overlaps"


def test_margin(logic):
    ct = addVolume()
    mask = box(k=slice(2, 4))
    restored, _report = logic.roundTrip(ct, maxError=12, roi=logic.segmentROI(addSegmentation(ct, a=mask), ["a"], 2.0))
    errors = errorsOf(ct, restored)
    assert errors[1:5, 5:15, 4:20].max() == 0 and errors[2:4, 3:17, 4:20].max() == 0
    assert errors[2:4, 5:15, 2:22].max() == 0
    assert errors[0].max() > 0


@pytest.mark.parametrize("background", [False, True])
def test_everything_outside_can_be_lossless(logic, background):
    """Only what a segment allows is off, by what it allows; where a lossless one overlaps it, nothing is."""
    ct = addVolume()
    bone, tumor = box(), box(j=slice(8, 12), i=slice(8, 12))
    roi = logic.segmentROI(addSegmentation(ct, bone=bone, tumor=tumor), {"bone": 6, "tumor": 0})
    if background:
        job = logic.startCompression(ct, restoreAs="B", roi=roi)
        job.waitForFinished()
        restored, report = job.restoredNode, job.report
    else:
        restored, report = logic.roundTrip(ct, roi=roi)
        assert restored.GetName() == "CT lossy (error up to 6)"
    errors = errorsOf(ct, restored)
    assert errors[bone == 0].max() == 0 and errors[tumor == 1].max() == 0 and 0 < errors.max() <= 6
    assert [(r.name, r.allowedError) for r in report.regions] == [("", 6), ("bone", 6), ("tumor", 0), ("outside", 0)]
    assert "Exact: tumor, outside." in report.summary()


@pytest.mark.parametrize("background", [False, True])
def test_one_value_outside(logic, background):
    """Only the segments are kept, with their margin; everybody can see that the rest is gone."""
    import slicer

    ct = addVolume()
    liver = box()
    roi = logic.segmentROI(addSegmentation(ct, liver=liver), ["liver"], margin=2.0)
    if background:
        job = logic.startCompression(ct, restoreAs="CT lossy (segments only)", roi=roi, background=-1000)
        job.waitForFinished()
        assert not job.error
        restored, report = job.restoredNode, job.report
    else:
        restored, report = logic.roundTrip(ct, roi=roi, background=-1000)
    assert restored.GetName() == "CT lossy (segments only)"
    assert restored.GetAttribute("MedCompress.quality") == "regions of interest exact, all else -1000"
    before, after = (slicer.util.arrayFromVolume(node) for node in (ct, restored))
    assert np.array_equal(after[liver == 1], before[liver == 1])
    assert np.count_nonzero(after == -1000) > after.size / 3 and np.all(after[0, 0] == -1000)
    whole, inside, outside = report.regions
    assert (whole.allowedError, inside.allowedError, inside.maxError, outside.allowedError) == (None, 0, 0, None)
    assert outside.changedVoxels > 0 and inside.bits > outside.bits
    assert "LOSSY" in report.summary() and "Exact: liver." in report.summary()


@pytest.mark.parametrize("wrong, words", [
    ({"roi": None}, "Select a segmentation"), ({"maxError": 3}, "every segment is lossless"),
    ({"background": 70_000}, "from -32768 to 32767"), ({"targetRatio": 8}, "no choice of errors")])
def test_one_value_outside_is_refused(logic, wrong, words):
    ct = addVolume()
    roi = logic.segmentROI(addSegmentation(ct, liver=box()), ["liver"])
    with pytest.raises(ValueError, match=words):
        logic.roundTrip(ct, **{"roi": roi, "background": -1000, **wrong})


def test_a_progressive_file_begins_with_a_segment(logic, tmp_path, monkeypatch):
    import MedCompressLib as mc

    asked, compress = [], mc.compress
    monkeypatch.setattr(mc, "compress", lambda *volume, **given: asked.append(given) or compress(*volume, **given))
    ct, lesion = addVolume(), box()
    roi = logic.segmentROI(addSegmentation(ct, lesion=lesion), ["lesion"])
    report = logic.compressVolume(ct, tmp_path / "first.mcz", codec="progressive", roi=roi)
    assert report.identical and not report.regions
    assert asked[0]["quality"] is None and np.array_equal(asked[0]["roi"].labels, lesion)


def test_bits_spent(logic):
    """The whole is the file; regions share it, a lossless one more for each voxel than a bounded one."""
    ct = addVolume()
    roi = logic.segmentROI(addSegmentation(ct, liver=box(), spleen=box(j=slice(18, 28))), {"liver": 0, "spleen": 6})
    _restored, report = logic.roundTrip(ct, maxError=40, roi=roi)
    whole, liver, spleen, outside = report.regions
    assert whole.bits == 8 * report.compressedBytes
    assert liver.bits + spleen.bits + outside.bits == pytest.approx(whole.bits, abs=3)
    assert 2 * outside.bits / outside.voxels < spleen.bits / spleen.voxels < liver.bits / liver.voxels


def test_bit_shares_of_known_noise(application):
    """Of independent noise, which costs its entropy, the shares are those of the entropies."""
    from MedCompressSlicer.BitShares import bitShares

    generator = np.random.default_rng(0)
    voxels = np.concatenate([generator.normal(0, scale, (2, 200, 200)) for scale in (4, 64)]).round().astype(np.int16)
    masks = [np.zeros(voxels.shape, bool), np.zeros(voxels.shape, bool)]
    masks[0][:2], masks[1][2:] = True, True
    entropies = [np.log2(scale * np.sqrt(2 * np.pi * np.e)) for scale in (4, 64)]
    shares = bitShares(voxels[None], 0, masks)
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(entropies[0] / sum(entropies), abs=0.03)
    assert bitShares(voxels[None] * 0, 0, masks) == [0.5, 0.5], "nothing to share out"


# Geometry ---------------------------------------------------------------------------------------------------------
def test_segmentation_on_another_grid(logic):
    """A grid of half the spacing covers the same voxels."""
    ct = addVolume()
    fine = IJK_TO_RAS / 2
    fine[3, 3] = 1
    fine[:3, 3] = -0.5 * fine[:3, :3] @ np.ones(3) - 0   # the first of two fine voxels lies half a fine step before
    reference = addVolume("Fine", tuple(2 * n for n in SHAPE), fine)
    mask = box()
    segmentation = addSegmentation(reference, a=mask.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    restored, report = logic.roundTrip(ct, maxError=12, roi=logic.segmentROI(segmentation, ["a"]))
    assert errorsOf(ct, restored)[:, 6:14, 5:19].max() == 0
    assert report.regions[1].voxels == pytest.approx(mask.sum(), rel=0.15)


@pytest.mark.parametrize("moved", ["volume", "segmentation", "both"])
def test_transforms(logic, moved):
    """What counts is where things lie in the world: 4 mm are 5 voxels of 0.8 mm along negative i."""
    ct = addVolume()
    mask = box()
    segmentation = addSegmentation(ct, a=mask)
    transform = shift(4.0)
    for node, name in ((ct, "volume"), (segmentation, "segmentation")):
        if moved in (name, "both"):
            node.SetAndObserveTransformNodeID(transform.GetID())
    expected = np.roll(mask, {"volume": 5, "segmentation": -5, "both": 0}[moved], axis=2)
    if moved == "segmentation":
        expected = box(i=slice(0, 15))
    restored, report = logic.roundTrip(ct, maxError=12, roi=logic.segmentROI(segmentation, ["a"]))
    assert report.regions[1].voxels == expected.sum()
    assert errorsOf(ct, restored)[expected == 1].max() == 0
    assert restored.GetTransformNodeID() == ct.GetTransformNodeID()


def test_closed_surface(logic):
    """Converted on the volume's grid; the default one would have voxels of a fraction of a millimetre."""
    import slicer
    import vtk

    ct = addVolume()
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(-12.0, -12.0, 6.0)
    sphere.SetRadius(5.0)
    sphere.SetThetaResolution(24)
    sphere.SetPhiResolution(24)
    sphere.Update()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surfaces")
    segmentation.GetSegmentation().SetSourceRepresentationName("Closed surface")
    segmentation.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", [0.0, 1.0, 0.0], "ball")
    restored, report = logic.roundTrip(ct, maxError=12, roi=logic.segmentROI(segmentation, ["ball"]))
    assert report.regions[1].voxels == pytest.approx(4 / 3 * np.pi * 5 ** 3 / (0.8 * 0.8 * 2.0), rel=0.15)
    assert report.regions[1].maxError == 0
    k, j, i = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    deep = (0.8 * i - 12) ** 2 + (0.8 * j - 12) ** 2 + (2.0 * k - 6) ** 2 < 3.5 ** 2
    assert errorsOf(ct, restored)[deep].max() == 0


# What does not fit ------------------------------------------------------------------------------------------------
def test_some_empty_segments_are_reported(logic):
    ct = addVolume()
    far = addVolume("Far", ijkToRAS=IJK_TO_RAS + np.array([[0, 0, 0, 500.0]] + [[0, 0, 0, 0]] * 3))
    segmentation = addSegmentation(ct, a=box(), empty=None)
    segmentation.GetSegmentation().AddEmptySegment("far", "far")
    import slicer

    slicer.util.updateSegmentBinaryLabelmapFromArray(box(), segmentation, "far", far)
    _restored, report = logic.roundTrip(ct, maxError=9, roi=logic.segmentROI(segmentation, ["a", "empty", "far"]))
    assert [r.voxels for r in report.regions[1:4]] == [box().sum(), 0, 0]
    assert "Not in the volume: empty, far." in report.summary()


@pytest.mark.parametrize("background", [False, True])
def test_only_empty_segments_are_refused(logic, background):
    import slicer

    ct = addVolume()
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
    roi = logic.segmentROI(addSegmentation(ct, empty=None), ["empty"])
    if background:
        job = logic.startCompression(ct, maxError=9, roi=roi)
        job.waitForFinished()
        assert "None of the chosen segments" in job.error
    else:
        with pytest.raises(ValueError, match="None of the chosen segments has a voxel in volume CT"):
            logic.roundTrip(ct, maxError=9, roi=roi)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == count


def test_mistakes(logic):
    ct = addVolume()
    segmentation = addSegmentation(ct, a=box())
    for segments, words in ((["b"], "no segment b"), ([], "at least one segment")):
        with pytest.raises(ValueError, match=words):
            logic.segmentROI(segmentation, segments)
    for node in (None, ct):
        with pytest.raises(ValueError, match="Select a segmentation"):
            logic.segmentROI(node, ["a"])
    roi = logic.segmentROI(segmentation, ["a"])
    with pytest.raises(ValueError, match="allow an error outside"):
        logic.roundTrip(ct, roi=roi)
    for bad in (logic.segmentROI(segmentation, {"a": -1}), logic.segmentROI(segmentation, ["a"], margin=-1)):
        with pytest.raises(ValueError, match=r"whole number|margin"):
            logic.roundTrip(ct, maxError=9, roi=bad)
    segmentation.GetSegmentation().RemoveSegment("id of a")
    with pytest.raises(ValueError, match="no segment"):
        logic.roundTrip(ct, maxError=9, roi=roi)


def test_many_segments(logic):
    """More than 32 need an array of 64-bit numbers; more than 64 are refused."""
    from MedCompressSlicer.Regions import Regions

    ct = addVolume()
    masks = {f"s{n}": box(j=slice(n % 30, n % 30 + 1), i=slice(n // 30, n // 30 + 1)) for n in range(40)}
    segmentation = addSegmentation(ct, **masks)
    regions = logic.segmentROI(segmentation, list(masks)).regions(ct)
    assert regions.bits.dtype == np.uint64
    assert all(np.array_equal(regions.mask(n), masks[f"s{n}"] == 1) for n in range(40))
    assert [Regions.emptyBits((1,), n).dtype.itemsize for n in (1, 8, 9, 17, 33, 64)] == [1, 1, 2, 4, 8, 8]
    for number in range(40, 65):
        segmentation.GetSegmentation().AddEmptySegment(f"s{number}", f"s{number}")
    with pytest.raises(ValueError, match="at most 64"):
        logic.segmentROI(segmentation, [f"s{n}" for n in range(65)])


def test_background_job_gives_the_same(logic, tmp_path):
    ct = addVolume()
    roi = logic.segmentROI(addSegmentation(ct, liver=box(), other=box(j=slice(18, 25))), {"liver": 0, "other": 3}, 1.0)
    report = logic.compressVolume(ct, tmp_path / "a.mcz", maxError=12, roi=roi)
    job = logic.startCompression(ct, tmp_path / "b.mcz", maxError=12, roi=roi, restoreAs="B")
    job.waitForFinished()
    assert job.error == ""
    assert job.report.regions == report.regions
    assert (tmp_path / "b.mcz").read_bytes() == (tmp_path / "a.mcz").read_bytes()
    assert not errorsOf(job.restoredNode, logic.decompressFile(tmp_path / "a.mcz")).any()
