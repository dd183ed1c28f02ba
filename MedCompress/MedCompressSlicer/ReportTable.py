"""The figures of a compression as a table node, and as a table of the panel."""

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from .Choices import fitHeight


def fillReportTable(tableNode, report):
    """Replace what is in a table by the figures of a report: the whole volume in the first row, then its regions.

    :param tableNode: table node.
    :param report: CompressionReport; without loss there is one row.
    """
    tableNode.RemoveAllColumns()
    rows = report.regions or (None,)
    whole = [True] + [False] * (len(rows) - 1)

    def add(name, values, arrayClass=vtk.vtkStringArray):
        column = arrayClass()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(value)
        tableNode.AddColumn(column)

    def number(name, value):
        """A column of numbers; what does not exist is not a number."""
        add(name, [_finite(value(row)) for row in rows], vtk.vtkDoubleArray)

    add(_("Region"), [row.name or _("whole volume") if row else _("whole volume") for row in rows])
    number(_("Voxels"), lambda row: row.voxels if row else report.samples)
    number(_("Changed voxels"), lambda row: row.changedVoxels if row else 0)
    number(_("Bits spent"), lambda row: row.bits if row else 8 * report.compressedBytes)
    number(_("Allowed error"), lambda row: row.allowedError if row else 0)
    number(_("Largest error"), lambda row: row.maxError if row else 0)
    number(_("RMSE"), lambda row: row.rmse if row else 0)
    number(_("PSNR (dB)"), lambda row: row.psnr if row else None)
    number(_("Mean change"), lambda row: row.meanChange if row else 0)
    number(_("Dice of threshold segmentation"), lambda row: row.dice if row else 1)
    number(_("95 % Hausdorff distance (mm)"), lambda row: row.hausdorff95 if row else 0)
    for name, value in ((_("File (bytes)"), report.compressedBytes), (_("Memory (bytes)"), report.memoryBytes),
                        (_("Ratio"), report.ratio), (_("Bits per voxel"), report.bitsPerVoxel),
                        (_("Compression (s)"), report.compressSeconds), (_("Restoration (s)"), report.restoreSeconds)):
        add(name, [_finite(value if first else None) for first in whole], vtk.vtkDoubleArray)
    add(_("Codec"), [f"{report.codec} {report.preset}" if first else "" for first in whole])
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    tableNode.Modified()


def reportTable(name):
    """The table node of that name, made if there is none."""
    for node in slicer.util.getNodesByClass("vtkMRMLTableNode"):
        if node.GetName() == name:
            return node
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)


def showReport(tableWidget, report):
    """The most important of these figures in the panel.

    :param tableWidget: QTableWidget of six columns.
    :param report: CompressionReport, or None; without regions there is nothing that its summary would not say.
    """
    rows = report.regions if report is not None else ()
    tableWidget.visible = bool(rows)
    tableWidget.rowCount = len(rows)
    for number, row in enumerate(rows):
        texts = (row.name or _("whole volume"), f"{row.bits / 8e3:.1f}", f"{row.maxError:g}", f"{row.rmse:.2f}",
                 _("exact") if row.psnr is None else f"{row.psnr:.1f}", "" if row.dice is None else f"{row.dice:.4f}")
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter if column else qt.Qt.AlignVCenter)
            tableWidget.setItem(number, column, item)
    tableWidget.resizeColumnsToContents()
    tableWidget.resizeRowsToContents()
    fitHeight(tableWidget)


def _finite(value):
    return float("nan") if value is None else float(value)
