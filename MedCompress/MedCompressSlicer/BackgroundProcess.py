"""A child process whose lines arrive in the main thread and which ends at once when told to."""

import os
import queue
import signal
import subprocess
import threading

import qt

_POLL_MILLISECONDS = 50


class BackgroundProcess:
    """Runs a command without blocking the event loop.

    A thread only moves lines from the pipe to a queue; a timer takes them out in the main thread, so that the
    callbacks may touch Qt and MRML. The command gets a process group of its own: the launchers of Slicer's Python
    start a second process, and killing the launcher alone would leave it running.
    """

    def __init__(self, arguments, environment, onLine, onFinished):
        """Start the command.

        :param arguments: program and arguments, a list of text.
        :param environment: all environment variables of the command.
        :param onLine: called with each line of output, without its line end.
        :param onFinished: called once with the exit code after the last line; not after `kill`.
        """
        self._onLine, self._onFinished = onLine, onFinished
        self._lines = queue.SimpleQueue()
        group = ({"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
                 if os.name == "nt" else {"start_new_session": True})
        self._process = subprocess.Popen(arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", **group)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._deliver)
        self._timer.start(_POLL_MILLISECONDS)

    @property
    def processID(self) -> int:
        """ID of the started process, which leads the process group."""
        return self._process.pid

    def kill(self):
        """End the process and all that it started; no callback is called any more."""
        self._timer.stop()
        if self._process.stdout.closed:
            return  # it has ended and all is delivered
        self._onLine = self._onFinished = lambda value: None
        if os.name == "nt":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(self._process.pid)], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           creationflags=subprocess.CREATE_NO_WINDOW)
        else:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # it has ended by itself; macOS answers the second
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\r\n"))
        self._lines.put(None)

    def _deliver(self):
        while not self._lines.empty():
            line = self._lines.get()
            if line is None:
                self._timer.stop()
                self._reader.join()
                self._process.stdout.close()
                self._onFinished(self._process.wait())
                return
            self._onLine(line)
