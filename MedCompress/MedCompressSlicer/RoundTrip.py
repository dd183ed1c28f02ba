"""Compress a volume, restore it and compare the two. Knows arrays only: it also runs outside Slicer's process."""

import time

import MedCompressLib as mc

_COMPRESSION_SHARE = 0.6  # of the progress


def compressAndRestore(volume: mc.Volume, codec="auto", preset="", progressCallback=None):
    """Compress in memory, restore, compare bit by bit.

    :param volume: what to compress.
    :param codec: codec id, or "auto" to let the library choose.
    :param preset: preset of the codec, its default one if empty.
    :param progressCallback: called with a fraction from 0 to 1; may raise `MedCompressLib.Cancelled`.
    :return: the bytes of the file, the restored Volume, and the figures that a CompressionReport needs.
    :raises MedCompressLib.MedCompressError: unknown codec or preset, or a volume that the format cannot hold.
    """
    report = progressCallback or (lambda fraction: None)
    started = time.perf_counter()
    data = mc.compress(volume, codec, preset or None, progress=lambda fraction: report(_COMPRESSION_SHARE * fraction))
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
    }
