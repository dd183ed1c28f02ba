"""DICOM in the headless Slicer: archives become nodes as the DICOM module makes them."""

import numpy as np
import pytest

import MedCompressLib as mc

pytest_plugins = ["harness.fixtures"]


@pytest.fixture
def archive(data_file, tmp_path):
    folder = data_file("dicom/ct_gantry_tilt_siemens")
    mc.pack(folder, tmp_path / "tilt.mcz", codec="raw")
    return folder, tmp_path / "tilt.mcz"


def hierarchy():
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def test_archive_opens_as_the_dicom_module_would(application, logic, archive):
    import slicer

    folder, path = archive
    volume = mc.read(folder)
    node = logic.decompressFile(path)
    assert np.array_equal(slicer.util.arrayFromVolume(node), volume.voxels)
    uids = volume.metadata["DICOM"]["instanceUIDs"]
    assert node.GetAttribute("DICOM.instanceUIDs") == " ".join(uids)
    item = hierarchy().GetItemByDataNode(node)
    assert hierarchy().GetItemUID(item, "DICOM") == volume.metadata["DICOM"]["SeriesInstanceUID"]
    assert hierarchy().GetItemUID(item, "DICOMInstanceUID").split() == uids
    study = hierarchy().GetItemParent(item)
    patient = hierarchy().GetItemParent(study)
    assert hierarchy().GetItemUID(study, "DICOM") == volume.metadata["DICOM"]["StudyInstanceUID"]
    assert [hierarchy().GetItemLevel(one) for one in (patient, study)] == ["Patient", "Study"]
    assert hierarchy().GetItemAttribute(item, "DICOM.Modality") == "CT"


def test_second_copy_does_not_take_the_place_of_the_first(application, logic, archive):
    first, second = logic.decompressFile(archive[1]), logic.decompressFile(archive[1])
    uids = [hierarchy().GetItemUID(hierarchy().GetItemByDataNode(node), "DICOM") for node in (first, second)]
    assert uids[0] and not uids[1] and first.GetName() != second.GetName()


def test_reader_takes_archives(application, scene, archive):
    reader = next(r for r in application.coreIOManager().readers if r.fileType() == "MedCompressFile")
    assert reader.python.canLoadFileConfidence(str(archive[1])) == 0.9
    assert reader.python.load({"fileName": str(archive[1])}) is True


# The export dialog ------------------------------------------------------------------------------------------------
class Exportable:
    """What the dialog hands over: Slicer's qSlicerDICOMExportable, as far as Python sees it."""

    def __init__(self):
        self._tags = {}
        self.name = self.tooltip = self.pluginClass = self.directory = ""
        self.subjectHierarchyItemID, self.confidence = 0, 0.0

    def setTag(self, name, value):
        assert isinstance(name, str) and isinstance(value, str), "the C++ method takes texts only"
        self._tags[name] = value

    def tag(self, name):
        return self._tags.get(name, "")


class Database:
    """The DICOM database, as far as it is asked: from an instance UID to a file."""

    def __init__(self, folder):
        import pydicom

        self._files = {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID): str(path)
                       for path in folder.iterdir()}

    def fileForInstance(self, uid):
        return self._files.get(uid, "")


@pytest.fixture
def plugin(application, scene, monkeypatch):
    import sys
    import types

    import slicer
    from harness.application import loadModule
    from harness.fixtures import PROJECT

    library = types.ModuleType("DICOMLib")
    library.DICOMPlugin = type("DICOMPlugin", (), {"__init__": lambda self: None})
    monkeypatch.setitem(sys.modules, "DICOMLib", library)
    monkeypatch.setattr(slicer, "qSlicerDICOMExportable", Exportable, raising=False)
    loadModule(PROJECT / "MedCompress" / "MedCompressDICOMPlugin.py")
    return slicer.modules.dicomPlugins["MedCompressDICOMPlugin"]()


def exportables(plugin, node, directory):
    item = hierarchy().GetItemByDataNode(node) or hierarchy().CreateItem(hierarchy().GetSceneItemID(), node)
    offered = plugin.examineForExport(item)
    for one in offered:
        one.directory = str(directory)
    return offered


def exportable(plugin, node, directory, syntax):
    [one] = exportables(plugin, node, directory)
    one.setTag("TransferSyntax", syntax)
    return one


def exported(directory):
    [folder] = directory.iterdir()
    return folder


def test_one_series_is_offered_whose_transfer_syntax_can_be_chosen(plugin, logic, archive, tmp_path):
    """The dialog exports all that a plug-in offers for an item at once."""
    import slicer

    [one] = exportables(plugin, logic.decompressFile(archive[1]), tmp_path / "out")
    (tmp_path / "out").mkdir()
    assert one.pluginClass in slicer.modules.dicomPlugins and one.confidence < 0.5
    assert one.tag("Modality") == "CT" and one.tag("MaxError") == "0" and one.tag("TransferSyntax") == "explicit"
    assert all(syntax in one.tooltip for syntax in ("explicit", "jpeg-ls", "jpeg-2000", "htj2k", "rle"))
    for wrong in ("jpeg", ""):
        one.setTag("TransferSyntax", wrong)
        assert "TransferSyntax must be one of explicit, rle, jpeg-ls, jpeg-2000, htj2k, not" in plugin.export([one])
    assert not list((tmp_path / "out").iterdir())
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    assert plugin.examineForExport(hierarchy().CreateItem(hierarchy().GetSceneItemID(), other)) == []
    assert plugin.examineForImport([["a.dcm"]]) == []


def test_unchanged_series_keeps_its_header(plugin, logic, archive, tmp_path, monkeypatch):
    import slicer

    folder, path = archive
    monkeypatch.setattr(slicer, "dicomDatabase", Database(folder), raising=False)
    (tmp_path / "out").mkdir()
    assert plugin.export([exportable(plugin, logic.decompressFile(path), tmp_path / "out", "rle")]) == ""
    before, after = mc.read(folder), mc.read(exported(tmp_path / "out"))
    assert np.array_equal(before.voxels, after.voxels)
    assert after.metadata["DICOM"]["instanceUIDs"] == before.metadata["DICOM"]["instanceUIDs"]
    assert after.metadata["DICOM"]["TransferSyntaxUID"] == "1.2.840.10008.1.2.5"


def test_moved_series_is_a_new_one(plugin, logic, archive, tmp_path, monkeypatch):
    """A hardened transform changes the geometry only: the header of the source would put it back."""
    import slicer

    folder, path = archive
    monkeypatch.setattr(slicer, "dicomDatabase", Database(folder), raising=False)
    node = logic.decompressFile(path)
    moved = np.diag([-0.5, -0.5, 9.0, 1.0])
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(moved))
    (tmp_path / "out").mkdir()
    assert plugin.export([exportable(plugin, node, tmp_path / "out", "explicit")]) == ""
    before, after = mc.read(folder), mc.read(exported(tmp_path / "out"))
    assert np.array_equal(after.voxels, before.voxels) and np.allclose(after.ijk_to_ras, moved)
    assert after.metadata["DICOM"]["instanceUIDs"] != before.metadata["DICOM"]["instanceUIDs"]


def test_changed_volume_is_a_new_series(plugin, tmp_path):
    import pydicom
    import slicer

    voxels = np.random.default_rng(3).integers(-1000, 1000, (4, 40, 36)).astype(np.int16)
    node = slicer.util.addVolumeFromArray(voxels, np.diag([-0.5, -0.5, 2.0, 1.0]), "filtered")
    (tmp_path / "out").mkdir()
    one = exportable(plugin, node, tmp_path / "out", "explicit")
    one.setTag("PatientName", "Some^One")
    assert plugin.export([one]) == ""
    folder = exported(tmp_path / "out")
    assert np.array_equal(mc.read(folder).voxels, voxels)
    assert pydicom.dcmread(next(folder.iterdir())).PatientName == "Some^One"


def test_lossy_export_says_so(plugin, tmp_path):
    import pydicom
    import slicer

    voxels = np.random.default_rng(3).integers(-1000, 1000, (4, 40, 36)).astype(np.int16)
    node = slicer.util.addVolumeFromArray(voxels, np.eye(4), "noisy")
    (tmp_path / "out").mkdir()
    one = exportable(plugin, node, tmp_path / "out", "rle")
    one.setTag("MaxError", "three")
    assert "whole number" in plugin.export([one]) and not list((tmp_path / "out").iterdir())
    one.setTag("MaxError", "3")
    assert plugin.export([one]) == ""
    folder = exported(tmp_path / "out")
    assert 0 < np.abs(mc.read(folder).voxels.astype(int) - voxels).max() <= 3
    dataset = pydicom.dcmread(next(folder.iterdir()))
    assert dataset.LossyImageCompression == "01" and "more than 3" in dataset.DerivationDescription


def test_what_cannot_be_exported_is_told(plugin, tmp_path):
    import slicer

    node = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.float32), np.eye(4), "floats")
    assert "float32" in plugin.export([exportable(plugin, node, tmp_path, "rle")])
