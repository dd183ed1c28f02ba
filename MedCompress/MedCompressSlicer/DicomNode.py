"""DICOM archives in the scene: a node with the attributes, and at the place in the subject hierarchy, that Slicer's own
DICOM module gives it, so that whatever looks for the source images of a node finds them."""

import slicer
from slicer.i18n import tr as _

from MedCompressLib.container import START_LENGTH, is_archive

INSTANCE_UIDS = "DICOM.instanceUIDs"
_SERIES = ("SeriesDescription", "SeriesDate", "SeriesTime", "ContentDate", "ContentTime", "Manufacturer")
_PATIENT = (("PatientName", "PatientName"), ("PatientID", "PatientID"), ("PatientSex", "PatientSex"),
            ("PatientBirthDate", "PatientBirthDate"), ("PatientComments", "PatientComments"))
_STUDY = (("StudyInstanceUID", "StudyInstanceUID"), ("StudyID", "StudyID"), ("StudyDescription", "StudyDescription"),
          ("StudyDate", "StudyDate"), ("StudyTime", "StudyTime"))


def isArchive(path) -> bool:
    """Whether a file is an archive of DICOM files, by its first bytes."""
    with open(path, "rb") as file:
        return is_archive(file.read(START_LENGTH))


def seriesHeader(path, seriesUID):
    """Data set, without the image, of the first file of that series in an archive."""
    import pydicom

    from MedCompressLib.dicom_archive import Archive

    with open(path, "rb") as file:
        for archived in Archive(file, 1).files:
            with archived.open() as one:
                header = pydicom.dcmread(one, force=True, stop_before_pixels=True)
            if "Rows" in header and str(header.get("SeriesInstanceUID") or "") == seriesUID:
                return header
    raise ValueError(_("The archive {path} has no series {uid}.").format(path=path, uid=seriesUID))


def seriesName(header) -> str:
    """How the DICOM module calls a series: its number and description."""
    description = _text(header, "SeriesDescription") or _("Unnamed Series")
    number = _text(header, "SeriesNumber")
    return f"{number}: {description}" if number else description


def placeInStudy(node, header, instanceUIDs):
    """Tell the node and the subject hierarchy where a series comes from.

    :param node: volume node in the scene.
    :param header: result of `seriesHeader`.
    :param instanceUIDs: SOP Instance UIDs of the images in the order of the slices.
    """
    node.SetAttribute(INSTANCE_UIDS, " ".join(instanceUIDs))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    names = slicer.vtkMRMLSubjectHierarchyConstants
    uidName, prefix = names.GetDICOMUIDName(), names.GetDICOMAttributePrefix()
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    seriesUID, studyUID = _text(header, "SeriesInstanceUID"), _text(header, "StudyInstanceUID")
    patientID = _text(header, "PatientID") or "Patient-" + studyUID
    taken = hierarchy.GetItemByUID(uidName, seriesUID)
    if not seriesUID or not studyUID or (taken and taken != item):
        return  # without UIDs there is no such place, and a second copy of a series cannot have it too
    hierarchy.SetItemUID(item, uidName, seriesUID)
    hierarchy.SetItemUID(item, names.GetDICOMInstanceUIDName(), " ".join(instanceUIDs))
    hierarchy.SetItemAttribute(item, names.GetDICOMSeriesModalityAttributeName(), _text(header, "Modality"))
    hierarchy.SetItemAttribute(item, names.GetDICOMSeriesNumberAttributeName(), _text(header, "SeriesNumber"))
    hierarchy.SetItemAttribute(item, names.GetDICOMFrameOfReferenceUIDAttributeName(),
                               _text(header, "FrameOfReferenceUID"))
    for name in _SERIES:
        hierarchy.SetItemAttribute(item, prefix + name, _text(header, name))
    hierarchy.SetItemAttribute(item, prefix + "Model", _text(header, "ManufacturerModelName"))
    known = {uid: bool(hierarchy.GetItemByUID(uidName, uid)) for uid in (patientID, studyUID)}
    slicer.vtkSlicerSubjectHierarchyModuleLogic.InsertDicomSeriesInHierarchy(hierarchy, patientID, studyUID, seriesUID)
    date = _text(header, "StudyDate")
    date = f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 else date
    study = " ".join(part for part in (_text(header, "StudyDescription") or _("No study description"),
                                       f"({date})" if date else "") if part)
    for uid, keywords, name in ((patientID, _PATIENT, f"{_text(header, 'PatientName')} ({patientID})"),
                                (studyUID, _STUDY, study)):
        parent = hierarchy.GetItemByUID(uidName, uid)
        if not known[uid]:
            hierarchy.SetItemName(parent, name.strip())
            for attribute, keyword in keywords:
                hierarchy.SetItemAttribute(parent, prefix + attribute, _text(header, keyword))


def _text(header, keyword) -> str:
    value = header.get(keyword)
    return "" if value is None else str(value)
