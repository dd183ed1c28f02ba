"""What each codec and each bound would make of a volume, measured on a sample of it, as a table and a plot."""

import time
from dataclasses import dataclass

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
_RATIOS = (5, 10, 20, 40)
_TARGET_CODEC = "wavelet"
_SERIES_COLORS = ((0.12, 0.47, 0.71), (0.85, 0.37, 0.01))


class CodecComparison:
    """Runs one background job after the other; the nodes are added when all are done.

    state, error - As those of a CompressionJob.
    tableNode, chartNode - The results, when done. The chart shows the PSNR over the bits per voxel.
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
        if not CompressionSettings(targetRatio=2).refusal(volumeNode):
            self._tasks += [CompressionSettings(_TARGET_CODEC, targetRatio=ratio) for ratio in _RATIOS]
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
        settings = self._tasks[0]
        tooSmall = job.state is JobState.FAILED and settings is not None and settings.targetRatio
        if job.state is JobState.DONE or tooSmall:  # there is no file of every size
            self._tasks.pop(0)
            self._rows += [] if tooSmall else self._rowsOf(settings, job)
            if self._tasks:
                try:
                    self._startNext()
                except ValueError as error:  # the volume has changed meanwhile
                    self._end(JobState.FAILED, str(error))
                return
            self._addNodes()
            self._end(JobState.DONE, "")
            return
        self._end(job.state, job.error)

    def _rowsOf(self, settings, job):
        voxels = self._sample.voxels
        if settings is None:
            measured = [(name, size, compress, restore, 0, None) for name, size, compress, restore in job.rows]
        else:
            report = job.report
            whole = report.regions[0] if report.regions else None
            name = f"{settings.codec} {settings.preset}" if settings.preset else settings.codec
            measured = [(name, report.compressedBytes, report.compressSeconds, report.restoreSeconds,
                         whole.maxError if whole else 0, whole.psnr if whole else None)]
        megabytes = voxels.nbytes / 1e6
        return [_Row(name, error, psnr, 8 * size / voxels.size, voxels.nbytes / size, megabytes / max(compress, 1e-6),
                     megabytes / max(restore, 1e-6), settings is not None and settings.lossy)
                for name, size, compress, restore, error, psnr in measured]

    def _end(self, state, error):
        self.state, self.error, self._node, self._sample = state, error, None, None
        self._onFinished(self)

    def _addNodes(self):
        name = _("{name} codecs").format(name=self._name)
        self.tableNode = _tableNode(name, self._rows)
        self.chartNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", _unique(name))
        self.chartNode.SetTitle(_("Rate and distortion"))
        self.chartNode.SetXAxisTitle(_("Bits per voxel"))
        self.chartNode.SetYAxisTitle(_("PSNR (dB)"))
        lossy = [row for row in self._rows if row.lossy and row.psnr is not None]
        for method, color in zip(dict.fromkeys(row.method for row in lossy), _SERIES_COLORS, strict=False):
            points = sorted((row.bits, row.psnr) for row in lossy if row.method == method)
            self.chartNode.AddAndObservePlotSeriesNodeID(_seriesNode(f"{name} {method}", points, color).GetID())


@dataclass(frozen=True)
class _Row:
    """One measurement; `psnr` is None without loss."""

    method: str
    maxError: float
    psnr: float | None
    bits: float
    ratio: float
    compressSpeed: float
    restoreSpeed: float
    lossy: bool


def _seriesNode(name, points, color):
    """The points as a table node, and the series that shows them."""
    table = vtk.vtkTable()
    for title, values in zip((_("Bits per voxel"), _("PSNR (dB)")), zip(*points, strict=True), strict=True):
        _addColumn(table, title, values, vtk.vtkDoubleArray)
    tableNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _unique(name + " " + _("curve")))
    tableNode.SetAndObserveTable(table)
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", _unique(name))
    series.SetAndObserveTableNodeID(tableNode.GetID())
    series.SetXColumnName(_("Bits per voxel"))
    series.SetYColumnName(_("PSNR (dB)"))
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    series.SetColor(*color)
    return series


def _tableNode(name, rows):
    table = vtk.vtkTable()
    _addColumn(table, _("Method"), [row.method for row in rows], vtk.vtkStringArray)
    for title, field in ((_("Largest error"), "maxError"), (_("PSNR (dB)"), "psnr"), (_("Bits per voxel"), "bits"),
                         (_("Ratio"), "ratio"), (_("Compression (MB/s)"), "compressSpeed"),
                         (_("Restoration (MB/s)"), "restoreSpeed")):
        values = [getattr(row, field) for row in rows]
        _addColumn(table, title, [float("nan") if value is None else value for value in values], vtk.vtkDoubleArray)
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
