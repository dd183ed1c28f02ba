"""Work on nodes in a process of its own: hand the voxels over, follow the worker, bring in what it made."""

import abc
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


class BackgroundJob(abc.ABC):
    """One run of the worker. What it is about is in the derived classes.

    Everything is written into a temporary folder that is always deleted; a file appears at its path only when it is
    complete. Callbacks are called in the main thread.

    state, error - What became of it.
    """

    def __init__(self, onProgress=None, onFinished=None):
        """Start the work.

        :param onProgress: called with a fraction from 0 to 1.
        :param onFinished: called once with this job when it is done, failed or cancelled.
        """
        self.state = JobState.HANDING_OVER
        self.error = ""
        self._onProgress = onProgress or (lambda fraction: None)
        self._onFinished = onFinished or (lambda job: None)
        self._figures, self._otherLines, self._process = None, [], None
        self._folder = Path(tempfile.mkdtemp(prefix="MedCompress-", dir=slicer.app.temporaryPath))
        self._steps = self._prepare()
        self._copying, self._stopCopying, self._copyError = None, False, None
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._onTimer)
        self._timer.start(_TURN_MILLISECONDS)

    # What a job is about ------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def _handOver(self):
        """Write what the worker needs; a generator, so that the event loop turns at each yield.

        :return: the job for the worker, plain JSON.
        """

    @abc.abstractmethod
    def _takeFigures(self, figures):
        """Look at what the worker reports; raises if it is not what was promised."""

    @abc.abstractmethod
    def _importResults(self):
        """Put files in their places and nodes into the scene; a generator like `_handOver`."""

    @abc.abstractmethod
    def _release(self):
        """Let go of all nodes: the job has ended."""

    # The same for all ---------------------------------------------------------------------------------------------
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

    def _prepare(self):
        job = yield from self._handOver()
        (self._folder / "job.json").write_text(json.dumps(job), encoding="utf-8")

    def _startProcess(self):
        self._process = BackgroundProcess(
            [_pythonExecutable(), "-m", "MedCompressSlicer.Worker", str(self._folder / "job.json")],
            _workerEnvironment(), self._onLine, self._onProcessFinished)
        self.state = JobState.IN_PROGRESS

    def _handOverVolume(self, volume, name="voxels.npy"):
        """Write a MedCompressLib.Volume for the worker; a generator that returns its description, plain JSON."""
        with open(self._folder / name, "wb") as file:
            np.lib.format.write_array_header_2_0(file, np.lib.format.header_data_from_array_1_0(volume.voxels))
            data = memoryview(volume.voxels).cast("B")
            for start in range(0, len(data), _PIECE_BYTES):
                file.write(data[start:start + _PIECE_BYTES])
                yield True
        return {"voxels": str(self._folder / name), "ijkToRAS": volume.ijk_to_ras.tolist(), "axes": volume.axes,
                "sequence": volume.sequence and dataclasses.asdict(volume.sequence), "metadata": volume.metadata}

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
            self._takeFigures(self._figures)
        except Exception as error:
            self._fail(error)
            return
        self.state = JobState.IMPORTING
        self._steps = self._importResults()
        self._timer.start(_TURN_MILLISECONDS)

    def _place(self, name, path):
        """Bring a file of the worker to its path; a generator."""
        self._copying = threading.Thread(target=self._copy, args=(self._folder / name, path))
        self._copying.start()
        while self._copying.is_alive():
            yield True
        if self._copyError:
            raise self._copyError

    def _copy(self, source, path):
        """In a thread, because bringing a file to the disk takes long; touches files only."""
        try:
            with open(source, "rb") as file, replacing(path, overwrite=True) as target:
                while piece := file.read(_PIECE_BYTES):
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
        self._process = None
        self._release()
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
