"""What to expect of a compression, from that of a small sample."""

from dataclasses import dataclass

import numpy as np
from slicer.i18n import tr as _

import MedCompressLib as mc

from .Report import CompressionReport

_FRAMES = 4
_SLICES = 8
_BAND = 16  # neighboring rows, so that the sample looks to a codec like the volume
_SAMPLES = 400_000


@dataclass(frozen=True)
class Expectation:
    """Figures of a whole volume, extrapolated.

    compressedBytes - Size of the file.
    ratio - How many times smaller than in memory.
    compressSeconds, restoreSeconds - On this machine, as busy as it is; rather too long, because a sample keeps fewer
    processors busy than a volume.
    """

    compressedBytes: int
    ratio: float
    compressSeconds: float
    restoreSeconds: float

    @classmethod
    def of(cls, report: CompressionReport, samples):
        """From the report on a sample.

        :param samples: number of values of the whole volume.
        """
        scale = samples / report.samples
        return cls(round(scale * report.compressedBytes), report.ratio, scale * report.compressSeconds,
                   scale * report.restoreSeconds)

    def summary(self) -> str:
        """The figures for the user."""
        return _("Estimate from a sample: a file of about {size:.1f} MB, ratio {ratio:.1f}; at most {compress:.0f} s "
                 "to compress and {restore:.0f} s to restore.").format(
            size=self.compressedBytes / 1e6, ratio=self.ratio, compress=self.compressSeconds,
            restore=self.restoreSeconds)


def sampleIndices(shape, axes):
    """Indices along each axis but that of components: middle frames and slices, bands of rows from all over.

    :param shape: of the voxels.
    :param axes: as in MedCompressLib.Volume.
    """
    frames, slices, rows, columns = ([1] if "t" not in axes else []) + list(shape[:3 + ("t" in axes)])
    chosen = _middle(frames, _FRAMES), _middle(slices, _SLICES)
    perRow = len(chosen[0]) * len(chosen[1]) * columns * (shape[-1] if "c" in axes else 1)
    bands = max(1, min(_SAMPLES // (perRow * _BAND), -(-rows // _BAND)))
    centers = (np.arange(bands) + 0.5) * rows / bands
    starts = np.clip(centers - _BAND // 2, 0, max(0, rows - _BAND)).astype(int)
    chosenRows = np.unique(np.concatenate([np.arange(start, min(start + _BAND, rows)) for start in starts]))
    if bands * _BAND >= rows:
        chosenRows = np.arange(rows)
    indices = (*chosen, chosenRows, np.arange(columns))
    return indices if "t" in axes else indices[1:]


def sampleOf(volume: mc.Volume, indices) -> mc.Volume:
    """That part of a volume, as a volume."""
    sequence = volume.sequence and mc.SequenceAxis(volume.sequence.index_name, volume.sequence.unit,
                                                   [volume.sequence.values[number] for number in indices[0]])
    return mc.Volume(np.ascontiguousarray(volume.voxels[np.ix_(*indices)]), volume.ijk_to_ras, volume.axes, sequence,
                     volume.metadata)


def _middle(count, wanted):
    start = max(0, count - wanted) // 2
    return np.arange(start, min(start + wanted, count))
