"""Write the golden streams of the self-test: python Testing/make_golden.py NAME ...  (all without a name)

They are part of the format: a file that was released is never made anew. The voxels come from integers alone, so that
the test suite can make them again anywhere.
"""

from __future__ import annotations

import sys

import numpy as np

import MedCompressLib as mc
from MedCompressLib.codecs import get_codec
from MedCompressLib.selftest import GOLDEN_FOLDER

MATRIX = np.array([[-0.75, 0, 0, 24], [0, -0.75, 0, 24], [0, 0, 2.5, -10], [0, 0, 0, 1.0]])


def labels() -> np.ndarray:
    """Nested ellipsoids, (10, 64, 64)."""
    k, j, i = np.ogrid[:10, :64, :64]
    distance = (2 * k - 9)**2 * 6 + (j - 30)**2 + (i - 33)**2 * 3 // 2
    return (1 * (distance < 900) + (distance < 500) + 2 * (distance < 120)).astype(np.uint8)


def image() -> np.ndarray:
    """Ellipsoids of different brightness under noise with neighbours alike, like a CT, (10, 64, 64)."""
    noise = np.arange(1, labels().size + 1, dtype=np.uint64)
    for shift in (13, 7, 17):
        noise ^= (noise * np.uint64(2685821657736338717)) >> np.uint64(shift + 20)
    noise = (noise.reshape(labels().shape) % np.uint64(16)).astype(np.int32)
    smooth = (2 * noise + np.roll(noise, 1, axis=2) + np.roll(noise, 1, axis=1)) // 4
    return (np.array([-1000, -120, 40, 60, 700])[labels()] + smooth - 8).astype(np.int16)


def volumes() -> dict[str, tuple[mc.Volume, str, str]]:
    """Name of a stream to its volume, codec and preset."""
    found = {f"{codec}-{preset}": (mc.Volume(image(), MATRIX), codec, preset)
             for codec in ("wavelet", "progressive", "neural") for preset in get_codec(codec).presets}
    found["progressive-tables"] = found["progressive-default"]      # which is of version 1 of the format
    found["runs-default"] = mc.Volume(labels(), MATRIX), "runs", "default"
    found["wavelet-float32"] = mc.Volume((image() * 0.1).astype(np.float32), MATRIX), "wavelet", "default"
    found["wavelet-float64"] = mc.Volume(np.sqrt(image()[:3] + 2000.0), MATRIX), "wavelet", "default"
    found["wavelet-sequence"] = mc.Volume(image().reshape(5, 2, 64, 64), MATRIX, "tkji"), "wavelet", "default"
    return found


if __name__ == "__main__":
    GOLDEN_FOLDER.mkdir(exist_ok=True)
    for name, (volume, codec, preset) in volumes().items():
        if not sys.argv[1:] or name in sys.argv[1:]:
            mc.write(GOLDEN_FOLDER / f"{name}.mcz", volume, codec, preset, overwrite=True)
