"""Compress a volume, restore it and compare the two. Knows arrays only: it also runs outside Slicer's process."""

import time
from dataclasses import asdict

import MedCompressLib as mc

from .Accuracy import accuracies

_COMPRESSION_SHARE = 0.6  # of the progress


def compressAndRestore(volume: mc.Volume, codec="auto", preset="", progressCallback=None, maxError=0, regions=None):
    """Compress in memory, restore, compare bit by bit.

    :param volume: what to compress.
    :param codec: codec id, or "auto" to let the library choose.
    :param preset: preset of the codec, its default one if empty.
    :param progressCallback: called with a fraction from 0 to 1; may raise `MedCompressLib.Cancelled`.
    :param maxError: by how many stored units a voxel may be off; 0 is lossless.
    :param regions: Regions with bounds of their own, or None.
    :return: the bytes of the file, the restored Volume, and the figures that a CompressionReport needs.
    :raises MedCompressLib.MedCompressError: unknown codec or preset, or a volume that the format cannot hold.
    """
    report = progressCallback or (lambda fraction: None)
    started = time.perf_counter()
    data = mc.compress(volume, codec, preset or None, progress=lambda fraction: report(_COMPRESSION_SHARE * fraction),
                       quality=mc.NearLossless(maxError) if maxError else None,
                       roi=regions.regionOfInterest() if regions is not None else None)
    compressed = time.perf_counter()
    restored = mc.decompress(data, progress=lambda fraction: report(
        _COMPRESSION_SHARE + (1.0 - _COMPRESSION_SHARE) * fraction))
    finished = time.perf_counter()
    info = mc.info(data)
    return data, restored, {
        "codec": info["codec"],
        "preset": info["preset"],
        "compressedBytes": len(data),
        "memoryBytes": volume.voxels.nbytes,
        "samples": volume.voxels.size,
        "compressSeconds": compressed - started,
        "restoreSeconds": finished - compressed,
        "identical": restored.equals(volume),
        "quality": info["quality"],
        "allowedError": maxError,
        "regions": [asdict(region) for region in accuracies(volume, restored, maxError, regions)] if maxError else [],
    }
