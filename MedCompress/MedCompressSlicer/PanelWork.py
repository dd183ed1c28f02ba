"""The part of the panel that shows work: one job at a time, its progress and time left, and what became of it."""

import time

import slicer
from slicer.i18n import tr as _

from .BackgroundJob import JobState


class PanelWork:
    """Starts and cancels jobs.

    job - The running job, or None.
    """

    def __init__(self, ui, onChanged):
        """
        :param ui: the widgets of the panel.
        :param onChanged: called without arguments when a job has started or ended.
        """
        self.job, self._ui, self._onChanged, self._started = None, ui, onChanged, 0.0
        ui.progressBar.visible = False
        self.say("")

    def start(self, makeJob, onDone):
        """Start a job.

        :param makeJob: called with the callbacks onProgress and onFinished; returns the started job.
        :param onDone: called with the job when it has been done, not when it has failed or was cancelled; returns what
            is to be shown, and may take its time.
        """
        self.job = makeJob(onProgress=self._onProgress, onFinished=lambda job: self._onFinished(job, onDone))
        self._started = time.monotonic()
        self._ui.progressBar.value = 0
        self._ui.progressBar.visible = True
        self.say(_("Preparing..."))
        self._onChanged()

    def cancel(self):
        """End the running job, if any."""
        if self.job is not None:
            self.job.cancel()

    def say(self, text):
        """Show what there is to say; empty for nothing."""
        self._ui.resultLabel.text = text
        self._ui.resultLabel.visible = bool(text)

    def _onProgress(self, fraction):
        self._ui.progressBar.value = round(1000 * fraction)
        elapsed = time.monotonic() - self._started
        if 0.05 < fraction < 1.0 and elapsed > 1.0:
            self.say(_("Working, about {time} left...").format(
                time=_durationText(elapsed * (1.0 - fraction) / fraction)))
        else:
            self.say(_("Working..."))

    def _onFinished(self, job, onDone):
        self.job = None
        self._ui.progressBar.visible = False
        if job.state is JobState.DONE:
            self.say(onDone(job))
        elif job.state is JobState.CANCELLED:
            self.say(_("Canceled."))
        else:
            self.say(_("Failed: {reason}").format(reason=job.error))
        self._onChanged()
        if job.state is JobState.FAILED:
            slicer.util.errorDisplay(_("The work could not be done.") + "\n\n" + job.error)


def _durationText(seconds):
    if seconds < 90:
        return _("{count} s").format(count=max(1, round(seconds)))
    return _("{count} min").format(count=round(seconds / 60))
