"""MedCompress, a 3D Slicer module: compresses volumes into `.mcz` files and restores them exactly.

Slicer looks for the classes MedCompress, MedCompressWidget, MedCompressLogic, MedCompressTest, MedCompressFileReader
and MedCompressFileWriter in this file; they live in the package MedCompressSlicer beside it, because Slicer takes
every .py file of this folder for a module.
"""

import os
import sys

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

try:
    import MedCompressLib  # noqa: F401
except ImportError:  # run from a source checkout, where the library is beside this module's folder
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from MedCompressSlicer.FilePlugins import MedCompressFileReader, MedCompressFileWriter
from MedCompressSlicer.Logic import MedCompressLogic
from MedCompressSlicer.SampleScan import registerSampleData
from MedCompressSlicer.SelfTest import MedCompressTest
from MedCompressSlicer.Widget import MedCompressWidget

__all__ = [
    "MedCompress",
    "MedCompressFileReader",
    "MedCompressFileWriter",
    "MedCompressLogic",
    "MedCompressTest",
    "MedCompressWidget",
]


class MedCompress(ScriptedLoadableModule):
    """What Slicer shows of the module in its menus and help."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MedCompress")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Utilities")]
        parent.dependencies = []
        parent.contributors = ["The MedCompress contributors"]
        parent.helpText = _(
            "Compresses a volume into a much smaller .mcz file from which every voxel, the geometry, the units, the "
            "attributes and the display come back exactly. Such files also load by drag and drop and by Add Data, and "
            "are written by Export to file. From the Python console: <code>from MedCompress import MedCompressLogic; "
            "MedCompressLogic().compressVolume(node, path)</code>."
        )
        parent.acknowledgementText = _("Entropy coding uses the open-source package constriction.")
        slicer.app.connect("startupCompleted()", lambda: registerSampleData(self.resourcePath))
