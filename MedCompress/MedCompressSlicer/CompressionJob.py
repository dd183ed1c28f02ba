"""One compression in the background: hand the voxels over, follow the worker, place the file, load the result."""

import dataclasses
import enum
import json
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

import MedCompressLib as mc
from MedCompressLib.replacing import replacing

from .BackgroundProcess import BackgroundProcess
from .Report import CompressionReport
from .RestoredNode import addRestoredNode, describeFor
from .Sample import sampleIndices, sampleOf
from .SequenceNode import frameOf, volumeOf

_PIECE_BYTES = 16_000_000  # written between two turns of the event loop
_TURN_MILLISECONDS = 5


class JobState(enum.Enum):
    """Where a job stands. Every job ends in one of the last three."""

    HANDING_OVER = enum.auto()
    IN_PROGRESS = enum.auto()
    IMPORTING = enum.auto()
    DONE = enum.auto()
    FAILED = enum.auto()
    CANCELLED = enum.auto()


class CompressionJob:
    """Compresses one volume or sequence node in a process of its own.

    Everything is written into a temporary folder that is always deleted; the file appears at its path only when it
    is complete and verified. Callbacks are called in the main thread.
    """

    def __init__(self, volumeNode, path="", codec="auto", preset="", restoreAs="", onProgress=None, onFinished=None,
                 maxError=0, roi=None, force=False, sampleOnly=False):
        """Start the work.

        :param volumeNode: volume or sequence to compress; is not modified.
        :param path: file to write, replaced if it exists; empty for none.
        :param codec: codec id, or "auto".
        :param preset: preset of the codec, its default one if empty.
        :param restoreAs: name of a new node with the restored volume beside the original; empty for none.
        :param onProgress: called with a fraction from 0 to 1.
        :param onFinished: called once with this job when it is done, failed or cancelled.
        :param maxError: by how many stored units a voxel may be off; 0 is lossless.
        :param roi: SegmentROI with bounds of its own, or None.
        :param force: compress mammograms with loss, too.
        :param sampleOnly: compress only a sample, to see what to expect; `path` and `restoreAs` must be empty.
        :raises ValueError: a volume that cannot be compressed.
        """
        self.state = JobState.HANDING_OVER
        self.report: CompressionReport | None = None
        self.error = ""
        self.restoredNode = None
        self._volumeNode, self._path, self._codec, self._preset = volumeNode, str(path), codec, preset
        self._restoreAs, self._maxError, self._roi = restoreAs, maxError, roi
        self._onProgress = onProgress or (lambda fraction: None)
        self._onFinished = onFinished or (lambda job: None)
        self._figures, self._otherLines, self._process = None, [], None
        self._volume = volumeOf(volumeNode, describeFor(volumeNode, codec, maxError, roi, force))
        self.samples = self._volume.voxels.size
        self._sample = None
        if sampleOnly:
            self._sample = sampleIndices(self._volume.voxels.shape, self._volume.axes)
            self._volume = sampleOf(self._volume, self._sample)
        self._folder = Path(tempfile.mkdtemp(prefix="MedCompress-", dir=slicer.app.temporaryPath))
        self._steps = self._handOver()
        self._copying, self._stopCopying, self._copyError = None, False, None
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._onTimer)
        self._timer.start(_TURN_MILLISECONDS)

    @property
    def running(self) -> bool:
        """Whether there is still something to wait for or to cancel."""
        return self.state in (JobState.HANDING_OVER, JobState.IN_PROGRESS, JobState.IMPORTING)

    @property
    def processID(self) -> int | None:
        """ID of the background process; None before it has started."""
        return self._process.processID if self._process else None

    @property
    def folder(self) -> Path:
        """The job's temporary folder; gone when the job has ended."""
        return self._folder

    def cancel(self):
        """Stop now: no process, no file and no node is left behind."""
        if self.running:
            self._end(JobState.CANCELLED)

    def waitForFinished(self):
        """Let the event loop run until the job has ended; for scripts and tests."""
        while self.running:
            slicer.app.processEvents()
            time.sleep(0.01)

    def _onTimer(self):
        """One step of what the main thread does itself, before and after the process."""
        try:
            if next(self._steps, None) is None:
                self._timer.stop()
                if self.state is JobState.HANDING_OVER:
                    self._startProcess()
                else:
                    self._end(JobState.DONE)
        except Exception as error:
            self._fail(error)

    def _startProcess(self):
        self._process = BackgroundProcess(
            [_pythonExecutable(), "-m", "MedCompressSlicer.Worker", str(self._folder / "job.json")],
            _workerEnvironment(), self._onLine, self._onProcessFinished)
        self.state = JobState.IN_PROGRESS

    def _handOver(self):
        """Write voxels and job description for the worker; a generator, so that the event loop turns in between."""
        volume = self._volume
        with open(self._folder / "voxels.npy", "wb") as file:
            np.lib.format.write_array_header_2_0(file, np.lib.format.header_data_from_array_1_0(volume.voxels))
            data = memoryview(volume.voxels).cast("B")
            for start in range(0, len(data), _PIECE_BYTES):
                file.write(data[start:start + _PIECE_BYTES])
                yield True
        segments = None
        if self._roi is not None:
            regions = yield from self._roi.rasterize(frameOf(self._volumeNode))
            bits = regions.bits if self._sample is None else regions.bits[np.ix_(*self._sample[-3:])]
            np.save(self._folder / "segments.npy", bits)
            segments = {"bits": str(self._folder / "segments.npy"), "names": regions.names,
                        "maxErrors": regions.maxErrors, "margin": regions.margin}
        job = {
            "voxels": str(self._folder / "voxels.npy"),
            "ijkToRAS": volume.ijk_to_ras.tolist(),
            "axes": volume.axes,
            "sequence": volume.sequence and dataclasses.asdict(volume.sequence),
            "metadata": volume.metadata,
            "codec": self._codec,
            "preset": self._preset,
            "maxError": self._maxError,
            "segments": segments,
            "compressed": str(self._folder / "compressed.mcz"),
            "restored": str(self._folder / "restored.npy") if self._restoreAs else "",
        }
        (self._folder / "job.json").write_text(json.dumps(job), encoding="utf-8")

    def _onLine(self, line):
        kind, _separator, rest = line.partition(" ")
        if kind == "progress":
            self._onProgress(float(rest))
        elif kind == "report":
            self._figures = json.loads(rest)
        elif kind == "error":
            self.error = rest
        else:
            self._otherLines.append(line)

    def _onProcessFinished(self, exitCode):
        try:
            if exitCode != 0 or self._figures is None:
                lines = "\n".join(self._otherLines[-20:]) or _("no message")
                raise RuntimeError(self.error or _("The background process ended with code {code}: {lines}").format(
                    code=exitCode, lines=lines))
            self.report = CompressionReport.fromFigures(self._figures)
            self.report.requirePromise()
        except Exception as error:
            self._fail(error)
            return
        self.state = JobState.IMPORTING
        self._steps = self._importResults()
        self._timer.start(_TURN_MILLISECONDS)

    def _importResults(self):
        """Put the file in its place and the node into the scene; a generator like `_handOver`."""
        if self._path:
            self._copying = threading.Thread(target=self._copyToPath)
            self._copying.start()
            while self._copying.is_alive():
                yield True
            if self._copyError:
                raise self._copyError
        if self._restoreAs:
            voxels = np.load(self._folder / "restored.npy", mmap_mode="r")
            volume = self._volume
            restored = mc.Volume(voxels, volume.ijk_to_ras, volume.axes, volume.sequence, volume.metadata)
            beside = self._volumeNode if self._volumeNode.GetScene() is slicer.mrmlScene else None
            self.restoredNode = addRestoredNode(restored, self.report.info(), self._restoreAs, beside)

    def _copyToPath(self):
        """In a thread, because bringing a file to the disk takes long; touches files only."""
        try:
            with open(self._folder / "compressed.mcz", "rb") as source, replacing(self._path, overwrite=True) as target:
                while piece := source.read(_PIECE_BYTES):
                    target.write(piece)
                target.flush()
                os.fsync(target.fileno())
                if self._stopCopying:
                    raise mc.Cancelled("Canceled.")
        except Exception as error:
            self._copyError = error

    def _fail(self, error):
        self.error = str(error)
        self._end(JobState.FAILED)

    def _end(self, state):
        self._timer.stop()
        self._steps.close()
        if self._process is not None:
            self._process.kill()
        if self._copying is not None:
            self._stopCopying = True
            self._copying.join()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._volumeNode = self._volume = self._roi = self._process = None
        self.state = state
        self._onFinished(self)


def _pythonExecutable():
    executable = shutil.which("PythonSlicer")
    if not executable:
        raise RuntimeError(_("PythonSlicer, the Python of this Slicer, was not found in PATH; reinstall Slicer."))
    return executable


def _workerEnvironment():
    """This process's environment, with both packages importable."""
    folders = [str(Path(__file__).resolve().parents[1]), str(Path(mc.__file__).resolve().parents[1])]
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders + ([inherited] if inherited else []))}
