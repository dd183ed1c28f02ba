"""Sequences as one file with a time axis, on real MRML."""

import numpy as np
import pytest

import MedCompressLib as mc

pytest_plugins = ["harness.fixtures"]
IJK_TO_RAS = np.array([[-3.0, 0, 0, 10], [0, 0, 3.3, -20], [0, 3, 0, 30.5], [0, 0, 0, 1]])


def addSequence(frames, values=None, indexName="time", unit="s", indexType="numeric", name="Bold", browse=True):
    import slicer

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName(indexName)
    sequence.SetIndexUnit(unit)
    sequence.SetIndexTypeFromString(indexType)
    for number, voxels in enumerate(frames):
        node = slicer.vtkMRMLVectorVolumeNode() if voxels.ndim == 4 else slicer.vtkMRMLScalarVolumeNode()
        node.SetName(f"frame {number}")
        node.SetAttribute("Number", str(number))
        temporary = slicer.util.addVolumeFromArray(voxels, IJK_TO_RAS, "temporary", node.GetClassName())
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(IJK_TO_RAS))
        node.SetAndObserveImageData(temporary.GetImageData())
        sequence.SetDataNodeAtValue(node, values[number] if values else str(2.5 * number))
        slicer.mrmlScene.RemoveNode(temporary)
    if browse:
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", name + " browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        browser.GetProxyNode(sequence).CreateDefaultDisplayNodes()
    return sequence


def randomFrames(count=4, dtype="int16", shape=(3, 8, 9)):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 200, shape).astype(dtype) for _ in range(count)]


def proxyOf(sequence):
    import slicer

    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)
    return browser.GetProxyNode(sequence)


def assertSameSequence(sequence, other):
    from MedCompressSlicer.VolumeNode import describeNode, voxelsOfNode

    assert other is not sequence and other.IsA("vtkMRMLSequenceNode")
    for read in ("GetIndexName", "GetIndexUnit", "GetIndexType", "GetNumberOfDataNodes"):
        assert getattr(other, read)() == getattr(sequence, read)(), read
    assert (other.GetDescription() or "") == (sequence.GetDescription() or "")
    for number in range(sequence.GetNumberOfDataNodes()):
        assert other.GetNthIndexValue(number) == sequence.GetNthIndexValue(number)
        a, b = sequence.GetNthDataNode(number), other.GetNthDataNode(number)
        assert voxelsOfNode(a).dtype == voxelsOfNode(b).dtype
        assert voxelsOfNode(a).tobytes() == voxelsOfNode(b).tobytes()
        assert b.GetName() == a.GetName()
        assert describeNode(a)["attributes"] == describeNode(b)["attributes"]


@pytest.mark.parametrize("options", [
    {}, {"indexType": "text", "values": ["rest", "b", "a", "late"], "unit": "", "indexName": "phase"},
    {"browse": False}, {"values": ["0.1", "0.30000000000000004", "1e3", "2000"]}],
    ids=["numbers", "text", "no browser", "odd numbers"])
def test_everything_comes_back(logic, tmp_path, options):
    import slicer

    sequence = addSequence(randomFrames(), **options)
    sequence.SetDescription("Task")
    sequence.SetAttribute("Task", "one-back")
    report = logic.compressVolume(sequence, tmp_path / "a.mcz", codec="raw")
    assert report.identical
    assert mc.info(tmp_path / "a.mcz")["axes"] == "tkji"
    restored = logic.decompressFile(tmp_path / "a.mcz")
    assertSameSequence(sequence, restored)
    assert restored.GetName() == "Bold_1" and restored.GetAttribute("Task") == "one-back"
    proxy = proxyOf(restored)
    assert np.array_equal(slicer.util.arrayFromVolume(proxy), randomFrames()[0])
    assert proxy.GetDisplayNode() is not None
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(restored)
    browser.SetSelectedItemNumber(2)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    assert np.array_equal(slicer.util.arrayFromVolume(proxy), randomFrames()[2])


def test_color_sequence(logic):
    sequence = addSequence(randomFrames(3, "uint8", (2, 6, 7, 3)))
    restored, report = logic.roundTrip(sequence)
    assert report.identical
    assertSameSequence(sequence, restored)
    assert restored.GetNthDataNode(0).GetClassName() == "vtkMRMLVectorVolumeNode"


def test_result_is_put_beside_the_original(logic):
    import slicer

    sequence = addSequence(randomFrames())
    shown = proxyOf(sequence)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    shown.SetAndObserveTransformNodeID(transform.GetID())
    shown.GetDisplayNode().SetAutoWindowLevel(False)
    shown.GetDisplayNode().SetWindowLevel(123, 45)
    restored, _report = logic.roundTrip(sequence)
    assert restored.GetName() == "Bold restored"
    proxy = proxyOf(restored)
    assert proxy.GetTransformNodeID() == transform.GetID()
    assert (proxy.GetDisplayNode().GetWindow(), proxy.GetDisplayNode().GetLevel()) == (123, 45)


def test_background_and_reader(logic, application, tmp_path):
    import slicer

    sequence = addSequence(randomFrames())
    job = logic.startCompression(sequence, tmp_path / "a.mcz", restoreAs="Again")
    job.waitForFinished()
    assert job.error == "" and job.report.identical
    assertSameSequence(sequence, job.restoredNode)
    loaded = slicer.util.loadNodeFromFile(str(tmp_path / "a.mcz"), "MedCompressFile", {})
    assertSameSequence(sequence, loaded)


def test_lossy_sequence_with_segments(logic):
    """A bound counts in every frame, and the region of interest too; the segmentation lies on the shown frame."""
    import slicer

    frames = randomFrames(3, shape=(4, 20, 20))
    sequence = addSequence(frames)
    mask = np.zeros(frames[0].shape, np.uint8)
    mask[1:3, 5:12, 5:12] = 1
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(proxyOf(sequence))
    segmentation.GetSegmentation().AddEmptySegment("a", "a")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "a", proxyOf(sequence))
    restored, report = logic.roundTrip(sequence, maxError=10, roi=logic.segmentROI(segmentation, ["a"]))
    for number, frame in enumerate(frames):
        errors = np.abs(slicer.util.arrayFromVolume(restored.GetNthDataNode(number)).astype(int) - frame)
        assert errors[mask == 1].max() == 0 and 0 < errors.max() <= 10
    assert report.regions[1].voxels == 3 * mask.sum() and report.regions[1].dice is None
    assert restored.GetAttribute("MedCompress.maxError") and "lossy" in restored.GetName()


def test_sequence_of_a_frame(logic):
    import slicer

    sequence = addSequence(randomFrames())
    other = slicer.util.addVolumeFromArray(randomFrames()[0], np.eye(4), "Other")
    assert logic.sequenceOf(proxyOf(sequence)) is sequence
    assert logic.sequenceOf(other) is None and logic.sequenceOf(None) is None
    assert logic.roundTrip(proxyOf(sequence))[0].IsA("vtkMRMLScalarVolumeNode"), "a frame stands for itself"


def test_sequences_that_cannot_be_compressed(logic):
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Empty")
    uneven = addSequence([*randomFrames(2), np.zeros((3, 8, 10), np.int16)], name="Uneven", browse=False)
    mixed = addSequence([*randomFrames(2), np.zeros((3, 8, 9), np.int32)], name="Mixed", browse=False)
    transforms = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Transforms")
    transforms.SetDataNodeAtValue(slicer.vtkMRMLLinearTransformNode(), "0")
    for node, words in ((empty, "no frames"), (uneven, "Frame 2 of sequence Uneven differs"),
                        (mixed, "Frame 2 of sequence Mixed differs"), (transforms, "not supported")):
        with pytest.raises(ValueError, match=words):
            logic.roundTrip(node)


def test_what_is_known_of_a_sequence_follows_its_changes(logic):
    """It is looked at once, as the panel asks again and again, until something changes."""
    import slicer
    from MedCompressSlicer.SequenceNode import refusalOf

    sequence, other = addSequence(randomFrames(3), browse=False), addSequence([], browse=False)
    assert refusalOf(sequence) == refusalOf(sequence) == ""
    assert "no frames" in refusalOf(other) and refusalOf(sequence) == ""
    frame = sequence.GetNthDataNode(1)
    slicer.util.updateVolumeFromArray(frame, randomFrames(1, "uint8")[0])
    assert "Frame 1" in refusalOf(sequence) and "differs" in refusalOf(sequence)
    slicer.util.updateVolumeFromArray(frame, randomFrames(1)[0])
    assert refusalOf(sequence) == ""
    frame.SetOrigin(1, 2, 3)
    assert "Frame 1" in refusalOf(sequence)
    sequence.RemoveDataNodeAtValue("2.5")
    assert refusalOf(sequence) == ""


def test_files_of_others(logic, tmp_path):
    """Not from Slicer: no names, no attributes; or an index that Slicer cannot hold."""
    import slicer

    path = tmp_path / "mr.mcz"
    volume = mc.Volume(np.stack(randomFrames()), IJK_TO_RAS, "tkji", mc.SequenceAxis("b-value", "s/mm2", list("0123")))
    mc.write(path, volume, codec="raw")
    node = logic.decompressFile(path)
    assert (node.GetName(), node.GetIndexName(), node.GetIndexUnit()) == ("mr", "b-value", "s/mm2")
    assert [node.GetNthIndexValue(number) for number in range(4)] == list("0123")
    count = slicer.mrmlScene.GetNumberOfNodes()
    mc.write(path, mc.Volume(volume.voxels, IJK_TO_RAS, "tkji", mc.SequenceAxis("x", "", list("0113"))), codec="raw",
             overwrite=True)
    with pytest.raises(ValueError, match="twice"):
        logic.decompressFile(path)
    assert slicer.mrmlScene.GetNumberOfNodes() == count


@pytest.mark.parametrize("count", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_real_fmri(logic, data_file, tmp_path, count):
    """Identical in every frame and index value, and at least 5 % smaller than the frames one by one."""
    import SimpleITK as sitk

    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(data_file("public/fmri4d_philips_studyforrest.nrrd"))))
    slices = slice(8, 20) if count < 40 else slice(None)
    frames = [np.ascontiguousarray((voxels[..., number] if voxels.shape[-1] == 40 else voxels[number])[slices])
              for number in range(count)]
    sequence = addSequence(frames, [str(2.00006 * number) for number in range(count)])
    report = logic.compressVolume(sequence, tmp_path / "a.mcz")
    assert report.identical
    assertSameSequence(sequence, logic.decompressFile(tmp_path / "a.mcz"))
    one = sum(len(mc.compress(mc.Volume(frame, IJK_TO_RAS))) for frame in frames)
    assert report.compressedBytes < 0.95 * one


def test_lossy_frames_do_not_claim_to_be_the_source(logic):
    """Whoever takes one frame, or what shows it, sees that it is lossy."""
    sequence = addSequence(randomFrames(3, shape=(4, 20, 20)))
    for number in range(3):
        sequence.GetNthDataNode(number).SetAttribute("DICOM.instanceUIDs", f"1.2.{number}")
    restored, _ = logic.roundTrip(sequence, maxError=5)
    frames = [restored.GetNthDataNode(number) for number in range(3)]
    for node in [restored, proxyOf(restored), *frames]:
        assert node.GetAttribute("DICOM.instanceUIDs") is None
        assert node.GetAttribute("MedCompress.quality") == "near-lossless, allowed error 5"
    assert [frame.GetAttribute("MedCompress.sourceInstanceUIDs") for frame in frames] == ["1.2.0", "1.2.1", "1.2.2"]
    again, _ = logic.roundTrip(proxyOf(restored))
    assert again.GetAttribute("MedCompress.quality") and again.GetAttribute("DICOM.instanceUIDs") is None
