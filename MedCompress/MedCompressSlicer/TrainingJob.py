"""Training a model for the scans of one's own protocol, in the background."""

from slicer.i18n import tr as _

from .BackgroundJob import BackgroundJob
from .SequenceNode import refusalOf, volumeOf


class TrainingJob(BackgroundJob):
    """Trains a model for the codec neural on volume nodes; see BackgroundJob.

    report - When done, a dict: `before` and `after`, bits per voxel of slices that were not trained on with the model
    that everybody has and with the new one, `steps` and `samples`.
    path, preset - The model file, and the preset that it is for.
    """

    def __init__(self, volumeNodes, path, preset="default", steps=6000, onProgress=None, onFinished=None):
        """Start the work.

        :param volumeNodes: volumes or sequences; not modified. A few slices of each are trained on, some are held back.
        :param path: model file to write, replaced if it exists.
        :param preset: of the codec neural.
        :param steps: at most so many; training stops before when slices held back gain no more.
        :raises ValueError: no volumes, or one that cannot be compressed.
        """
        if not volumeNodes:
            raise ValueError(_("Choose at least one volume to train on."))
        for node in volumeNodes:
            if refusalOf(node):
                raise ValueError(refusalOf(node))
        self.report, self.path, self.preset = None, str(path), preset
        self._trainingSteps, self._nodes = steps, list(volumeNodes)
        super().__init__(onProgress, onFinished)

    def summary(self) -> str:
        """The figures for the user."""
        gain = 100 * (1 - self.report["after"] / self.report["before"])
        return _("Trained {steps} steps on {count} voxels: slices that were not trained on take {gain:.1f} % less than "
                 "with the model that everybody has. The model {path} is chosen under Method.").format(
            steps=self.report["steps"], count=self.report["samples"], gain=gain, path=self.path)

    def _handOver(self):
        volumes = []
        for number, node in enumerate(self._nodes):
            volumes.append((yield from self._handOverVolume(volumeOf(node, {}), f"voxels{number}.npy")))
        return {"task": "train", "volumes": volumes, "preset": self.preset, "steps": self._trainingSteps,
                "model": str(self._folder / "trained.mcmodel")}

    def _takeFigures(self, figures):
        self.report = figures

    def _importResults(self):
        yield from self._place("trained.mcmodel", self.path)

    def _release(self):
        self._nodes = None
