"""The standard codecs on a sample of a volume, in the background."""

from .BackgroundJob import BackgroundJob


class StandardCodecsJob(BackgroundJob):
    """See BackgroundJob and StandardCodecs.

    rows - When done: [name, bytes, seconds to compress, seconds to restore] of each codec.
    """

    def __init__(self, volume, onProgress=None, onFinished=None):
        """Start the work.

        :param volume: a MedCompressLib.Volume.
        """
        self.rows, self._volume = [], volume
        super().__init__(onProgress, onFinished)

    def _handOver(self):
        return {"task": "standard", "volume": (yield from self._handOverVolume(self._volume))}

    def _takeFigures(self, figures):
        self.rows = figures["rows"]

    def _importResults(self):
        yield from ()

    def _release(self):
        self._volume = None
