"""What others make of a volume without loss: gzip, and the image codecs of the Python packages that are installed.

Also runs outside Slicer. Image codecs get the slices, with the least voxel subtracted, because they know no negative
values; their size is that of all slices without any container. Slicer 5.12 and newer bring pyjpegls; imagecodecs is
used where the user has installed it.
"""

import time
import zlib

import numpy as np


def measureStandardCodecs(voxels, progressCallback=None):
    """Compress, restore and compare.

    :param voxels: array (frames, k, j, i).
    :param progressCallback: called with a fraction from 0 to 1.
    :return: a list of [name, bytes, seconds to compress, seconds to restore]. Without a codec that is not installed,
        or that does not give the same voxels back.
    """
    report = progressCallback or (lambda fraction: None)
    codecs = [("gzip -6", [voxels.tobytes()], lambda data: zlib.compress(data, 6), zlib.decompress)]
    slices = _unsignedSlices(voxels)
    if slices is not None:
        codecs += [(name, list(slices), encode, decode) for name, encode, decode in _imageCodecs()]
    rows = []
    for number, (name, parts, encode, decode) in enumerate(codecs):
        started = time.perf_counter()
        coded = [encode(part) for part in parts]
        compressed = time.perf_counter()
        restored = [decode(part) for part in coded]
        finished = time.perf_counter()
        if all(np.array_equal(part, again) for part, again in zip(parts, restored, strict=True)):
            rows.append([name, sum(map(len, coded)), compressed - started, finished - compressed])
        report((number + 1) / len(codecs))
    return rows


def _unsignedSlices(voxels):
    """The slices as 8 or 16 bits; None where they do not fit."""
    if voxels.dtype.kind not in "iu":
        return None
    low, high = int(voxels.min()), int(voxels.max())
    if high - low > 65535:
        return None
    kind = np.uint8 if high - low < 256 else np.uint16
    return (voxels.astype(np.int64) - low).astype(kind).reshape(-1, *voxels.shape[-2:])


def _imageCodecs():
    """Name, encoder and decoder of each that is installed."""
    try:
        import imagecodecs
    except ImportError:
        return _jpegLSAlone()
    options = {"jpegls": ("JPEG-LS", {}), "jpeg2k": ("JPEG 2000", {"reversible": True, "codecformat": "j2k",
                                                                  "level": 0}),
               "jpegxl": ("JPEG XL", {"lossless": True, "effort": 7})}
    encoders = {codec: getattr(imagecodecs, codec + "_encode") for codec in options}
    return [(name, lambda part, codec=codec, chosen=chosen: bytes(encoders[codec](part, **chosen)),
             getattr(imagecodecs, codec + "_decode")) for codec, (name, chosen) in options.items()]


def _jpegLSAlone():
    try:
        import jpeg_ls
    except ImportError:
        return []
    return [("JPEG-LS", lambda part: bytes(jpeg_ls.encode_array(part)),
             lambda data: jpeg_ls.decode(np.frombuffer(data, np.uint8)))]
