"""Compress a volume, restore it and compare the two. Knows arrays only: it also runs outside Slicer's process."""

import time
from dataclasses import asdict

import MedCompressLib as mc

from .Accuracy import accuracies

_COMPRESSION_SHARE = 0.6  # of the progress


def compressAndRestore(volume: mc.Volume, options, progressCallback=None, regions=None):
    """Compress in memory, restore, compare bit by bit.

    :param volume: what to compress.
    :param options: `codec` ("auto" lets the library choose), `preset` (its default one if empty), `maxError` (by how
        many stored units a voxel may be off; 0 is lossless), `targetRatio` (how many times smaller the file has to be;
        0 for as it comes), `background` (what all voxels outside the regions become, or None) and `model` (file, or
        empty).
    :param progressCallback: called with a fraction from 0 to 1; may raise `MedCompressLib.Cancelled`.
    :param regions: Regions with bounds of their own, or None.
    :return: the bytes of the file, the restored Volume, and the figures that a CompressionReport needs.
    :raises MedCompressLib.MedCompressError: unknown codec or preset, or a volume that the format cannot hold.
    """
    report = progressCallback or (lambda fraction: None)
    maxError, targetRatio = options["maxError"], options["targetRatio"]
    background = options["background"]
    quality = (mc.TargetRatio(targetRatio) if targetRatio
               else mc.ConstantBackground(background) if background is not None
               else mc.NearLossless(maxError) if maxError or (regions is not None and any(regions.maxErrors)) else None)
    started = time.perf_counter()
    data = mc.compress(volume, options["codec"], options["preset"] or None,
                       progress=lambda fraction: report(_COMPRESSION_SHARE * fraction),
                       quality=quality,
                       roi=regions.regionOfInterest() if regions is not None else None,
                       model=options["model"] or None)
    compressed = time.perf_counter()
    restored = mc.decompress(data, progress=lambda fraction: report(
        _COMPRESSION_SHARE + (1.0 - _COMPRESSION_SHARE) * fraction))
    finished = time.perf_counter()
    info = mc.info(data)
    allowed = None if targetRatio or background is not None else maxError
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
        "regions": [asdict(region) for region in accuracies(volume, restored, allowed, regions, 8 * len(data))]
        if quality is not None else [],
    }
