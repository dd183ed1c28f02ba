"""DICOM plug-in of MedCompress: volumes through the DICOM module's export dialog, in the transfer syntax of choice.

Slicer's own scalar volume plug-in writes uncompressed files (or whatever CreateDICOMSeries is told); this one offers
each lossless transfer syntax, keeps the header and the UIDs of the source series where the voxels are still the same,
and marks a lossy result as the standard demands.
"""

import os
import sys

import slicer
from DICOMLib import DICOMPlugin
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

try:
    import MedCompressLib  # noqa: F401
except ImportError:  # run from a source checkout, where the library is beside this module's folder
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from MedCompressSlicer.DicomExport import MAX_ERROR_TAG, SYNTAX_TAG, exportItem, offeredFor

from MedCompressLib.dicom_export import SYNTAXES


class MedCompressDICOMPluginClass(DICOMPlugin):
    """Exports only: files of any transfer syntax are read by Slicer's own plug-ins."""

    def __init__(self):
        super().__init__()
        self.loadType = _("MedCompress")

    def examineForImport(self, fileLists):
        return []

    def examineForExport(self, subjectHierarchyItemID):
        """One exportable, as the dialog hands all that a plug-in offers for an item to `export` at once; its table of
        tags has the transfer syntax and the error that is allowed."""
        tags = offeredFor(subjectHierarchyItemID)
        if not tags:
            return []
        exportable = slicer.qSlicerDICOMExportable()
        exportable.name = self.loadType
        exportable.tooltip = _("Creates a series of DICOM files. Set {syntax} to one of {known}, and {error} above 0 "
                               "to allow an error in stored units.").format(
            syntax=SYNTAX_TAG, known=", ".join(SYNTAXES), error=MAX_ERROR_TAG)
        exportable.subjectHierarchyItemID = subjectHierarchyItemID
        exportable.pluginClass = self.__module__
        exportable.confidence = 0.3  # below Slicer's own plug-in, which stays the default
        for tag, value in {**tags, SYNTAX_TAG: "explicit", MAX_ERROR_TAG: "0"}.items():
            exportable.setTag(tag, value)
        return [exportable]

    def export(self, exportables):
        """Write the series; an empty text, or what went wrong."""
        for exportable in exportables:
            try:
                exportItem(exportable)
            except (ValueError, RuntimeError, OSError, ImportError) as error:
                return str(error)
        return ""


class MedCompressDICOMPlugin(ScriptedLoadableModule):
    """Registers the plug-in with the DICOM module; not a module to be opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MedCompress DICOM Export Plugin")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Developer Tools") + ".DICOM Plugins"]
        parent.contributors = ["The MedCompress contributors"]
        parent.helpText = _("Exports volumes as DICOM series in lossless transfer syntaxes from the DICOM module.")
        parent.acknowledgementText = ""
        parent.hidden = True
        if not hasattr(slicer.modules, "dicomPlugins"):
            slicer.modules.dicomPlugins = {}
        slicer.modules.dicomPlugins["MedCompressDICOMPlugin"] = MedCompressDICOMPluginClass
