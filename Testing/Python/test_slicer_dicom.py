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
