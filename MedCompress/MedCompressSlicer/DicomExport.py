"""From an item of the subject hierarchy, with the tags that the user chose in the export dialog, to DICOM files."""

from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

import MedCompressLib as mc
from MedCompressLib.dicom import read_files
from MedCompressLib.dicom.geometry import same_geometry
from MedCompressLib.dicom_export import SYNTAXES, Loss, export_series

from .DicomNode import INSTANCE_UIDS
from .VolumeNode import refusal, volumeFromNode

SYNTAX_TAG, MAX_ERROR_TAG = "TransferSyntax", "MaxError"
_MODALITIES = ("CT", "MR", "OT")
_TAGS = {"SeriesDescription": "No series description", "Modality": "CT", "SeriesNumber": "301"}
_ELEMENTS = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDescription",
             "StudyInstanceUID", "SeriesDescription", "SeriesNumber", "FrameOfReferenceUID")


def offeredFor(item) -> dict:
    """Tags with their defaults for the export dialog; none where the item is no volume that can be exported."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = hierarchy.GetItemDataNode(item)
    if node is None or not node.IsA("vtkMRMLScalarVolumeNode") or refusal(node):
        return {}
    modality = hierarchy.GetItemAttribute(
        item, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName())
    return {**_TAGS, **({"Modality": modality} if modality in _MODALITIES else {})}


def exportItem(exportable):
    """Write the series of one exportable into a folder of its own in the exportable's directory.

    :raises ValueError: it cannot be exported; the message says why.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = exportable.subjectHierarchyItemID
    node = hierarchy.GetItemDataNode(item)
    if node is None:
        raise ValueError(_("There is no volume to export any more; choose another item."))
    volume, source = volumeFromNode(node), sourceFiles(node)
    volume.metadata = {}  # what the node says of itself is not for other systems
    syntax = (exportable.tag(SYNTAX_TAG) or "").strip()
    if syntax not in SYNTAXES:
        raise ValueError(_("{tag} must be one of {known}, not {text}.").format(
            tag=SYNTAX_TAG, known=", ".join(SYNTAXES), text=syntax or _("empty")))
    source = source if source and isUnchanged(volume, source) else None
    volume, loss = withLoss(volume, exportable.tag(MAX_ERROR_TAG))
    modality = exportable.tag("Modality")
    elements = {name: exportable.tag(name) for name in _ELEMENTS if exportable.tag(name)}
    folder = Path(exportable.directory) / f"MedCompress_{item}_{syntax}"
    export_series(volume, folder, syntax, source, loss,
                  modality if modality in _MODALITIES else "OT", None if source else elements)


def sourceFiles(node) -> list:
    """The files in the DICOM database that the node was loaded from; none where some are missing."""
    uids = (node.GetAttribute(INSTANCE_UIDS) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    paths = [database.fileForInstance(uid) for uid in uids] if database is not None else []
    return [Path(path) for path in paths] if paths and all(paths) else []


def isUnchanged(volume, files) -> bool:
    """Whether a volume still has the voxels and the geometry that the files have."""
    try:
        original = read_files(files, _("the DICOM database"))
    except mc.MedCompressError:
        return False
    return (volume.shape == original.shape and np.array_equal(volume.voxels, original.voxels)
            and same_geometry(volume.ijk_to_ras, original.ijk_to_ras))


def withLoss(volume, text):
    """The volume as it is, or decoded again after compression with a bound on the error, and the loss.

    :param text: the bound in stored units, as the user wrote it.
    """
    if not (text or "0").strip().isdecimal():
        raise ValueError(_("{tag} must be a whole number of stored units, 0 for no loss, not {text}.").format(
            tag=MAX_ERROR_TAG, text=text))
    maxError = int(text or 0)
    if maxError == 0:
        return volume, None
    data = mc.compress(volume, quality=mc.NearLossless(maxError))
    facts = mc.info(data)
    return mc.decompress(data), Loss.of(facts["quality"], facts["ratio"])
