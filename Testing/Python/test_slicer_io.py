"""Reader and writer plug-ins: exact types, and each trap of Slicer's IO manager."""

import gc
import sys
from pathlib import Path

import numpy as np
import pytest

import MedCompressLib as mc

pytest_plugins = ["harness.fixtures"]


def addVolume(value=0, name="CT"):
    import slicer

    voxels = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7) + np.int16(1000 * value)
    return slicer.util.addVolumeFromArray(voxels, np.diag([-1.0, -1.0, 2.0, 1.0]), name)


def voxels(node):
    import slicer

    return slicer.util.arrayFromVolume(node)


@pytest.fixture
def reader(application, scene):
    return next(r for r in application.coreIOManager().readers if r.fileType() == "MedCompressFile")


@pytest.fixture
def writer(application, scene):
    return next(w for w in application.coreIOManager().writers if w.fileType() == "MedCompressFile")


# Exact types ------------------------------------------------------------------------------------------------------
def test_reader_answers_with_exact_types(reader, logic, tmp_path):
    plugin = reader.python
    assert type(plugin.description()) is str and type(plugin.fileType()) is str
    assert plugin.extensions() == ["MedCompress volume (*.mcz)"] and type(plugin.extensions()) is list
    path = tmp_path / "any name without extension"
    logic.compressVolume(addVolume(), path, codec="raw")
    assert type(plugin.canLoadFileConfidence(str(path))) is float
    assert plugin.canLoadFileConfidence(str(path)) == 0.9
    assert plugin.load({"fileName": str(path)}) is True
    assert type(plugin.parent.loadedNodes) is list


@pytest.mark.parametrize("content", [b"", b"\x89MC", b"NRRD0005\n" + bytes(100)])
def test_reader_declines_other_files(reader, tmp_path, content):
    path = tmp_path / "other.mcz"
    path.write_bytes(content)
    assert reader.python.canLoadFileConfidence(str(path)) == 0.0


def test_reader_declines_what_it_cannot_open(reader, tmp_path):
    assert reader.python.canLoadFileConfidence(str(tmp_path / "absent.mcz")) == 0.0
    assert reader.python.canLoadFileConfidence(str(tmp_path)) == 0.0


def test_reader_reads_only_the_start(reader, tmp_path):
    """Add Data asks every reader about every file; a terabyte of something else must cost nothing."""
    path = tmp_path / "huge.mcz"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    assert reader.python.canLoadFileConfidence(str(path)) == 0.0


def test_reader_says_what_is_wrong(reader, logic, tmp_path):
    import slicer

    path = tmp_path / "damaged.mcz"
    logic.compressVolume(addVolume(), path, codec="raw")
    path.write_bytes(path.read_bytes()[:-5])
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
    with pytest.raises(RuntimeError, match=r"damaged.mcz - .{20,}"):
        slicer.util.loadNodeFromFile(str(path), None, {})
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == count
    assert reader.python.load({"fileName": str(path)}) is False


def test_writer_answers_with_exact_types(writer, tmp_path):
    import slicer

    plugin = writer.python
    node = addVolume()
    assert type(plugin.description()) is str and type(plugin.fileType()) is str
    assert plugin.extensions(node) == ["MedCompress volume (.mcz)"] and type(plugin.extensions(node)) is list
    assert type(plugin.canWriteObjectConfidence(node)) is float
    assert plugin.canWriteObjectConfidence(node) == 0.3
    for other in (None, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode"),
                  slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")):
        assert plugin.canWriteObjectConfidence(other) == 0.0
        assert type(plugin.canWriteObjectConfidence(other)) is float
    assert plugin.extensions(None) == ["MedCompress volume (.mcz)"]
    plugin.extensions(node)
    assert plugin.write({"nodeID": node.GetID(), "fileName": str(tmp_path / "a.mcz")}) is True
    assert plugin.parent.writtenNodes == [node.GetID()]


def test_writer_says_what_is_wrong(logic, tmp_path):
    node = addVolume()
    (tmp_path / "folder.mcz").mkdir()
    with pytest.raises(RuntimeError, match="folder"):
        logic.saveVolume(node, tmp_path / "folder.mcz")


def test_missing_package_is_explained(logic, tmp_path, monkeypatch):
    from MedCompressSlicer import Logic

    path = tmp_path / "a.mcz"
    logic.compressVolume(addVolume(), path, codec="raw")

    def lacking(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'constriction'", name="constriction")

    monkeypatch.setattr(Logic.mc, "decompress", lacking)
    with pytest.raises(RuntimeError, match=r"slicer\.util\.pip_install\('constriction>=0\.5,<0\.6'\)"):
        logic.decompressFile(path)


# The traps --------------------------------------------------------------------------------------------------------
def test_trap_1_save_node_ignores_the_file_type(logic, tmp_path):
    """NRRD stays the default for volumes; our own format is reached by saveVolume."""
    import slicer

    node = addVolume()
    assert slicer.util.saveNode(node, str(tmp_path / "a.nrrd"), {})
    assert not slicer.util.saveNode(node, str(tmp_path / "a.mcz"), {"fileType": "MedCompressFile"})
    logic.saveVolume(node, tmp_path / "a.mcz")
    assert np.array_equal(voxels(logic.decompressFile(tmp_path / "a.mcz")), voxels(node))


def test_trap_2_export_numbers_nodes_anew(logic, tmp_path):
    """Exporting the second volume writes the second, with name, units and transform that the copy has lost."""
    import slicer

    addVolume(1, "First")
    second = addVolume(2, "Second")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    second.SetAndObserveTransformNodeID(transform.GetID())
    second.SetAttribute("key", "value")
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("mm2/s", "UCUM", "mm2/s")
    second.SetVoxelValueUnits(units)
    path = tmp_path / "second.mcz"
    assert slicer.util.exportNode(second, str(path), {})
    restored = logic.decompressFile(path)
    assert np.array_equal(voxels(restored), voxels(second))
    assert restored.GetName() == "Second_1"
    assert restored.GetAttribute("key") == "value"
    assert restored.GetVoxelValueUnits().GetCodeMeaning() == "mm2/s"
    assert restored.GetTransformNodeID() == transform.GetID()


def test_trap_2_properties_of_another_volume_are_not_borrowed(writer, tmp_path, logic):
    """After an export of one volume, a direct save of another must not get the first one's name."""
    import slicer

    first, second = addVolume(1, "First"), addVolume(2, "Second")
    assert slicer.util.exportNode(first, str(tmp_path / "first.mcz"), {})
    logic.saveVolume(second, tmp_path / "second.mcz")
    restored = logic.decompressFile(tmp_path / "second.mcz")
    assert restored.GetName() == "Second_1"
    assert np.array_equal(voxels(restored), voxels(second))


def test_trap_2_writer_refuses_to_guess(writer, tmp_path):
    first, second = addVolume(1, "First"), addVolume(2, "Second")
    writer.python.extensions(first)
    assert writer.python.write({"nodeID": second.GetID(), "fileName": str(tmp_path / "a.mcz")}) is False
    assert "certain" in writer.parent.userMessages().GetAllMessagesAsString()
    assert list(tmp_path.iterdir()) == []


def test_writer_keeps_no_volume_alive(writer):
    import slicer
    import vtk

    node = addVolume()
    writer.python.canWriteObjectConfidence(node)
    writer.python.extensions(node)
    watch = vtk.vtkWeakReference()
    watch.Set(node)
    slicer.mrmlScene.RemoveNode(node)
    del node
    gc.collect()     # wrappers of VTK objects may be part of cycles
    assert watch.Get() is None


def test_trap_3_no_volume_is_stored_in_an_mcz_file(logic, tmp_path):
    import slicer

    node = addVolume()
    assert slicer.util.saveNode(node, str(tmp_path / "a.nrrd"), {})
    assert slicer.util.exportNode(node, str(tmp_path / "a.mcz"), {})
    assert node.GetStorageNode().GetFileName() == str(tmp_path / "a.nrrd")
    restored = slicer.util.loadNodeFromFile(str(tmp_path / "a.mcz"), None, {})
    assert restored.GetStorageNode() is None
    assert restored.GetModifiedSinceRead(), "Slicer must offer to save it"


def test_trap_3_saving_warns_and_exporting_does_not(logic, writer, tmp_path):
    """The Save dialog writes the node itself, and shows what the writer says."""
    import slicer
    import vtk

    node = addVolume()
    manager = slicer.app.coreIOManager()
    for scene, warned in ((slicer.mrmlScene, True), (None, False)):
        messages = slicer.vtkMRMLMessageCollection()
        if scene is None:
            assert slicer.util.exportNode(node, str(tmp_path / "a.mcz"), {})
            messages.AddMessages(writer.parent.userMessages(), "")
        else:
            properties = {"nodeID": node.GetID(), "fileName": str(tmp_path / "a.mcz")}
            assert manager.saveNodes("MedCompressFile", properties, messages, scene)
        kinds = [messages.GetNthMessageType(number) for number in range(messages.GetNumberOfMessages())]
        assert kinds == [vtk.vtkCommand.WarningEvent] * warned
        assert ("own formats too" in messages.GetAllMessagesAsString()) is warned


def test_trap_4_a_bundle_keeps_a_restored_volume(logic, tmp_path):
    """An MRB is written in Slicer's own format whatever we do; the restored volume and its state survive it."""
    import slicer

    restored, _report = logic.roundTrip(addVolume(name="CT"), codec="raw")
    restored.SetAttribute("key", "value")
    expected = voxels(restored).copy()
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    again = slicer.util.getNode("CT restored")
    assert np.array_equal(voxels(again), expected)
    assert again.GetAttribute("key") == "value"


def test_trap_5_left_handed_volumes_are_not_flipped(logic, tmp_path):
    import slicer
    import vtk

    node = slicer.util.addVolumeFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1.0, 1, -2, 1]))
    path = tmp_path / "left.mcz"
    assert slicer.util.exportNode(node, str(path), {})
    restored = slicer.util.loadNodeFromFile(str(path), None, {})
    assert np.array_equal(voxels(restored), voxels(node))
    directions = vtk.vtkMatrix4x4()
    restored.GetIJKToRASMatrix(directions)
    assert directions.GetElement(2, 2) == -2.0


def test_remembered_properties_of_a_call(logic, tmp_path):
    """`slicer.util.exportNode` without properties keeps the format of its last call; ours still writes and loads."""
    import slicer

    node = addVolume()
    assert slicer.util.exportNode(node, str(tmp_path / "a.mcz"))
    assert slicer.util.exportNode(node, str(tmp_path / "b.mcz"))
    assert (tmp_path / "b.mcz").is_file()
    slicer.util.exportNode.__defaults__[0].clear()
    slicer.util.loadNodeFromFile.__defaults__[1].clear()


def test_export_replaces_a_file_only_when_the_new_one_is_complete(logic, tmp_path, monkeypatch):
    import slicer
    from MedCompressSlicer import FilePlugins

    path = tmp_path / "a.mcz"
    assert slicer.util.exportNode(addVolume(1), str(path), {})
    before = path.read_bytes()

    def fails(*args, **kwargs):
        raise MemoryError("not enough memory")

    with monkeypatch.context() as patch:
        patch.setattr(FilePlugins.mc, "write", fails)
        assert not slicer.util.exportNode(addVolume(2), str(path), {})
    assert path.read_bytes() == before
    assert slicer.util.exportNode(addVolume(2), str(path), {})
    assert path.read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["a.mcz"]


def test_what_ctest_runs_inside_slicer(application):
    import unittest

    sys.path.insert(0, str(Path(__file__).parent))
    suite = unittest.TestLoader().loadTestsFromName("MedCompressIOTest")
    assert suite.countTestCases() >= 6
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    assert result.wasSuccessful(), result.failures + result.errors


def test_instance_uids_of_the_hierarchy_come_back(logic, tmp_path):
    """By them, DICOM segmentations and plans find the volume that they refer to."""
    import slicer

    def hierarchy():
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)

    node = addVolume()
    item = hierarchy().GetItemByDataNode(node) or hierarchy().CreateItem(hierarchy().GetSceneItemID(), node)
    hierarchy().SetItemUID(item, "DICOM", "1.2.3")
    hierarchy().SetItemUID(item, "DICOMInstanceUID", "1.2.3.1 1.2.3.2")
    for maxError in (0, 3):
        logic.compressVolume(node, tmp_path / f"{maxError}.mcz", maxError=maxError)
    slicer.mrmlScene.Clear()
    for maxError, found in ((3, ("", "")), (0, ("1.2.3", "1.2.3.1 1.2.3.2"))):
        item = hierarchy().GetItemByDataNode(logic.decompressFile(tmp_path / f"{maxError}.mcz"))
        assert tuple(hierarchy().GetItemUID(item, name) or "" for name in ("DICOM", "DICOMInstanceUID")) == found


def test_what_is_read_is_shown(logic, application, tmp_path):
    import slicer

    logic.compressVolume(addVolume(), tmp_path / "a.mcz", codec="raw")
    slicer.mrmlScene.Clear()
    composite = slicer.vtkMRMLSliceCompositeNode()
    composite.SetLayoutName("Red")
    slicer.mrmlScene.AddNode(composite)
    slicer.util.loadNodeFromFile(str(tmp_path / "a.mcz"), "MedCompressFile", {"show": False})
    assert composite.GetBackgroundVolumeID() is None
    node = slicer.util.loadNodeFromFile(str(tmp_path / "a.mcz"), "MedCompressFile", {})
    assert composite.GetBackgroundVolumeID() == node.GetID()
    slicer.mrmlScene.RemoveNode(composite)  # a cleared scene keeps its views


def test_export_hardened_by_a_warp_is_not_warped_again(application, scene, tmp_path):
    """A transform that is not linear goes into the voxels and leaves the geometry as it is."""
    import slicer
    import vtk

    voxels = np.zeros((20, 20, 20), np.int16)
    voxels[8:12, 8:12, 8:12] = 500
    node = slicer.util.addVolumeFromArray(voxels, np.eye(4), "CT")
    displacements = vtk.vtkImageData()
    displacements.SetDimensions(20, 20, 20)
    displacements.AllocateScalars(vtk.VTK_DOUBLE, 3)
    field = vtk.util.numpy_support.vtk_to_numpy(displacements.GetPointData().GetScalars()).reshape(20, 20, 20, 3)
    field[...] = 0
    field[6:14, 6:14, 6:14, 0] = 2
    warp = slicer.vtkOrientedGridTransform()
    warp.SetDisplacementGridData(displacements)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
    transform.SetAndObserveTransformToParent(warp)
    node.SetAndObserveTransformNodeID(transform.GetID())
    for hardened in (False, True):
        path = tmp_path / f"{hardened}.mcz"
        assert application.coreIOManager().exportNodes(
            [node.GetID()], [str(path)], {"fileFormat": "MedCompress volume (.mcz)"}, hardened)
        stored = mc.read(path)
        assert np.array_equal(stored.voxels, voxels) != hardened
        assert (stored.metadata["Slicer"]["transform"] is None) == hardened
