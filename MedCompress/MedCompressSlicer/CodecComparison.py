"""What each codec and each bound would make of a volume, measured on a sample of it, as a table and a plot."""

import time

import slicer
import vtk
from slicer.i18n import tr as _

from .BackgroundJob import JobState
from .CompressionJob import CompressionJob
from .CompressionSettings import CompressionSettings
from .Sample import sampleIndices, sampleOf
from .SequenceNode import volumeOf
from .StandardCodecsJob import StandardCodecsJob

_BOUNDS = (1, 2, 5, 10, 20)
_BOUNDED_CODEC, _BOUNDED_PRESET = "neural", "fast"


class CodecComparison:
    """Runs one background job after the other; the nodes are added when all are done.

    state, error - As those of a CompressionJob.
    tableNode, chartNode - The results, when done: bits per voxel over the allowed error is the rate-distortion curve.
    """

    def __init__(self, volumeNode, presetsByCodec, onProgress=None, onFinished=None):
        """Start the work.

        :param volumeNode: volume or sequence to take the sample of.
        :param presetsByCodec: codec ids with the names of their presets.
        :param onProgress: called with a fraction from 0 to 1.
        :param onFinished: called once with this when all is done, or one has failed or was cancelled.
        :raises ValueError: a volume that cannot be compressed.
        """
        self.state, self.error = JobState.IN_PROGRESS, ""
        self.tableNode = self.chartNode = None
        self._node, self._name = volumeNode, volumeNode.GetName()
        self._onProgress, self._onFinished = onProgress or (lambda fraction: None), onFinished or (lambda job: None)
        volume = volumeOf(volumeNode)
        self._sample = sampleOf(volume, sampleIndices(volume.voxels.shape, volume.axes))
        self._rows = []
        self._tasks = [None]  # the standard codecs
        self._tasks += [CompressionSettings(codec, preset) for codec, presets in presetsByCodec.items()
                        for preset in presets]
        if not CompressionSettings(maxError=1).refusal(volumeNode):
            self._tasks += [CompressionSettings(_BOUNDED_CODEC, _BOUNDED_PRESET, bound) for bound in _BOUNDS]
        self._count = len(self._tasks)
        self._job = None
        self._startNext()

    def cancel(self):
        """Stop now; nothing is left behind."""
        if self.state is JobState.IN_PROGRESS:
            self._job.cancel()

    def waitForFinished(self):
        """Let the event loop run until the end; for scripts and tests."""
        while self.state is JobState.IN_PROGRESS:
            slicer.app.processEvents()
            time.sleep(0.01)

    def _startNext(self):
        done, settings = self._count - len(self._tasks), self._tasks[0]
        callbacks = {"onProgress": lambda fraction: self._onProgress((done + fraction) / self._count),
                     "onFinished": self._onJobFinished}
        self._job = (StandardCodecsJob(self._sample, **callbacks) if settings is None
                     else CompressionJob(self._node, settings, sampleOnly=True, **callbacks))

    def _onJobFinished(self, job):
        if job.state is JobState.DONE:
            settings = self._tasks.pop(0)
            self._rows += self._rowsOf(settings, job)
            if self._tasks:
                try:
                    self._startNext()
                except ValueError as error:  # the volume has changed meanwhile
                    self._end(JobState.FAILED, str(error))
                return
            self._addNodes()
        self._end(job.state, job.error)

    def _rowsOf(self, settings, job):
        voxels = self._sample.voxels
        if settings is None:
            measured = [(name, 0, size, compress, restore) for name, size, compress, restore in job.rows]
        else:
            report = job.report
            measured = [(f"{settings.codec} {settings.preset}", settings.maxError, report.compressedBytes,
                         report.compressSeconds, report.restoreSeconds)]
        megabytes = voxels.nbytes / 1e6
        return [(name, bound, 8 * size / voxels.size, voxels.nbytes / size, megabytes / max(compress, 1e-6),
                 megabytes / max(restore, 1e-6)) for name, bound, size, compress, restore in measured]

    def _end(self, state, error):
        self.state, self.error, self._node, self._sample = state, error, None, None
        self._onFinished(self)

    def _addNodes(self):
        name = _("{name} codecs").format(name=self._name)
        self.tableNode = _tableNode(name, self._rows)
        bounded = sorted((bound, bits) for method, bound, bits, *_rest in self._rows
                         if method == f"{_BOUNDED_CODEC} {_BOUNDED_PRESET}")
        curve = vtk.vtkTable()
        for title, values in ((_("Largest error"), [bound for bound, _bits in bounded]),
                              (_("Bits per voxel"), [bits for _bound, bits in bounded])):
            _addColumn(curve, title, values, vtk.vtkDoubleArray)
        curveNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _unique(name + " " + _("curve")))
        curveNode.SetAndObserveTable(curve)
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", _unique(name + " " + _("near-lossless")))
        series.SetAndObserveTableNodeID(curveNode.GetID())
        series.SetXColumnName(_("Largest error"))
        series.SetYColumnName(_("Bits per voxel"))
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
        self.chartNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", _unique(name))
        self.chartNode.AddAndObservePlotSeriesNodeID(series.GetID())
        self.chartNode.SetTitle(_("Rate and distortion"))
        self.chartNode.SetXAxisTitle(_("Largest error (units of the volume)"))
        self.chartNode.SetYAxisTitle(_("Bits per voxel"))


def _tableNode(name, rows):
    table = vtk.vtkTable()
    titles = (_("Method"), _("Largest error"), _("Bits per voxel"), _("Ratio"), _("Compression (MB/s)"),
              _("Restoration (MB/s)"))
    for index, title in enumerate(titles):
        _addColumn(table, title, [row[index] for row in rows], vtk.vtkDoubleArray if index else vtk.vtkStringArray)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _unique(name))
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    return node


def _addColumn(table, title, values, arrayClass):
    column = arrayClass()
    column.SetName(title)
    for value in values:
        column.InsertNextValue(value)
    table.AddColumn(column)


def _unique(name):
    return slicer.mrmlScene.GetUniqueNameByString(name)
