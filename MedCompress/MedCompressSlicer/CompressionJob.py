"""One compression in the background, up to the file in its place and the restored node in the scene."""

import numpy as np
import slicer

import MedCompressLib as mc

from .BackgroundJob import BackgroundJob
from .CompressionSettings import CompressionSettings
from .Report import CompressionReport
from .RestoredNode import addRestoredNode
from .Sample import sampleIndices, sampleOf
from .SequenceNode import frameOf, volumeOf
from .StoredSegmentation import STORED_KEY, rasterizeLayers
from .VolumeNode import METADATA_KEY


class CompressionJob(BackgroundJob):
    """Compresses one volume or sequence node; see BackgroundJob.

    report - A CompressionReport when done.
    restoredNode - The new node when done, if one was asked for.
    samples - Number of values of the whole volume.
    """

    def __init__(self, volumeNode, settings: CompressionSettings, path="", restoreAs="", onProgress=None,
                 onFinished=None, sampleOnly=False):
        """Start the work.

        :param volumeNode: volume or sequence to compress; is not modified.
        :param settings: how.
        :param path: file to write, replaced if it exists; empty for none.
        :param restoreAs: name of a new node with the restored volume beside the original; empty for none.
        :param sampleOnly: compress only a sample, to see what to expect; `path` and `restoreAs` must be empty.
        :raises ValueError: a volume that cannot be compressed.
        """
        self.report: CompressionReport | None = None
        self.restoredNode = None
        self._volumeNode, self._path, self._settings, self._restoreAs = volumeNode, str(path), settings, restoreAs
        self._volume = volumeOf(volumeNode, settings.properties(volumeNode))
        self.samples = self._volume.voxels.size
        self._sample = None
        if sampleOnly:
            self._sample = sampleIndices(self._volume.voxels.shape, self._volume.axes)
            self._volume = sampleOf(self._volume, self._sample)
        super().__init__(onProgress, onFinished)

    def _handOver(self):
        volume, settings = self._volume, self._settings
        described = yield from self._handOverVolume(volume)
        segments = layers = None
        if settings.roi is not None:
            regions = yield from settings.roi.rasterize(frameOf(self._volumeNode))
            bits = regions.bits if self._sample is None else regions.bits[np.ix_(*self._sample[-3:])]
            np.save(self._folder / "segments.npy", bits)
            segments = {"bits": str(self._folder / "segments.npy"), "names": regions.names,
                        "maxErrors": regions.maxErrors, "margin": regions.margin}
        if settings.segmentation is not None and self._sample is None:
            stored = yield from rasterizeLayers(settings.segmentation, frameOf(self._volumeNode))
            np.save(self._folder / "layers.npy", np.stack(stored.layers))
            layers = {"layers": str(self._folder / "layers.npy"), "described": stored.described,
                      "place": [METADATA_KEY, STORED_KEY]}
        return {
            "task": "compress",
            "volume": described,
            "options": settings.forWorker(),
            "segments": segments,
            "segmentation": layers,
            "compressed": str(self._folder / "compressed.mcz"),
            "restored": str(self._folder / "restored.npy") if self._restoreAs else "",
        }

    def _takeFigures(self, figures):
        self.report = CompressionReport.fromFigures(figures)
        self.report.requirePromise()

    def _importResults(self):
        if self._path:
            yield from self._place("compressed.mcz", self._path)
        if self._restoreAs:
            voxels = np.load(self._folder / "restored.npy", mmap_mode="r")
            volume = self._volume
            restored = mc.Volume(voxels, volume.ijk_to_ras, volume.axes, volume.sequence, volume.metadata)
            beside = self._volumeNode if self._volumeNode.GetScene() is slicer.mrmlScene else None
            self.restoredNode = addRestoredNode(restored, self.report.info(), self._restoreAs, beside)

    def _release(self):
        self._volumeNode = self._volume = self._settings = None
