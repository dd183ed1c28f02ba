"""How well the networks serve scanners that they never saw: train without one, encode its volumes.

    python Testing/training/leave_one_scanner_out.py DATA [--preset default] [--steps 4000]

For each scanner of `DATA/train` a network is trained on crops of all other volumes, and one on all of them, both with
the same few steps. Each takes the place of the shipped network while crops of the scanner's volumes are encoded; sizes
are payload and model, beside JPEG XL at effort 7 slice by slice (imagecodecs). A Markdown table of bits per voxel is
printed. Only crops are trained on and encoded, so the figures are those of small volumes and short trainings: it is
their difference that says what a new scanner costs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest.mock import patch

import imagecodecs
import numpy as np
from shipped_models import BATCH, RATE, samples_of

from MedCompressLib import read
from MedCompressLib.codecs.blas import one_thread_blas
from MedCompressLib.codecs.neural import NeuralCodec
from MedCompressLib.codecs.neural.model_file import Model
from MedCompressLib.codecs.neural.network import IntegerNetwork
from MedCompressLib.codecs.neural.presets import PRESETS
from MedCompressLib.codecs.neural.training import Samples, initial_weights, to_integer, train
from MedCompressLib.samples import SampleMap

SCANNERS = {"GE LightSpeed": "_ge_", "Philips Brilliance 16": "_brilliance16_", "Siemens Sensation 10": "_sensation10_",
            "Siemens Prisma": "_prisma_", "Philips Elition": "_elition_", "Canon Galan": "_canon_"}
FRAMES, SLICES, ROWS = 2, 12, 192


def crop(voxels: np.ndarray) -> np.ndarray:
    """The middle of a (frames, k, j, i) volume."""
    k, j, i = (max(0, (n - most) // 2) for n, most in zip(voxels.shape[1:], (SLICES, ROWS, ROWS), strict=True))
    voxels = voxels[:FRAMES, k:k + SLICES, j:j + ROWS, i:i + ROWS]
    return np.ascontiguousarray(SampleMap.fit([voxels]).forward(voxels)[0])


def trained(parts: list[Samples], preset: str, steps: int) -> IntegerNetwork:
    """A network trained from chance."""
    samples = Samples.join(parts)
    layers = initial_weights([samples.inputs.shape[1], *PRESETS[preset].hidden, 2], np.random.default_rng(7))
    return to_integer(train(layers, samples, steps, BATCH, RATE, 3))


def bits(slab: np.ndarray, preset: str, network: IntegerNetwork) -> float:
    """Bits per voxel of payload and model when this were the shipped network."""
    with patch("MedCompressLib.codecs.neural.codec.shipped_model", lambda name: Model(network, {})):
        codec = NeuralCodec.fit([slab], int(slab.max()), preset, (1.0, 1.0, 1.0))
    return 8 * (len(codec.encode(slab)) + len(codec.model)) / slab.size


def jpeg_xl(slab: np.ndarray) -> float:
    """Bits per voxel of JPEG XL at effort 7, slice by slice."""
    slices = slab.reshape(-1, *slab.shape[2:]).astype(np.uint16)
    return 8 * sum(len(imagecodecs.jpegxl_encode(one, effort=7, lossless=True)) for one in slices) / slab.size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", choices=PRESETS, default="default")
    parser.add_argument("--steps", type=int, default=4000)
    options = parser.parse_args()
    print("| scanner left out | volume | JPEG XL | seen | not seen | seen to JPEG XL | not seen to JPEG XL |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with one_thread_blas():
        slabs = {path.stem: crop(read(path).as_frames()) for path in sorted((options.data / "train").glob("*.nrrd"))}
        samples = {name: samples_of(slab, PRESETS[options.preset]) for name, slab in slabs.items()}
        everything = trained(list(samples.values()), options.preset, options.steps)
        logs = []
        for scanner, part in SCANNERS.items():
            others = trained([one for name, one in samples.items() if part not in name], options.preset, options.steps)
            for name in (name for name in slabs if part in name):
                xl, *ours = jpeg_xl(slabs[name]), *(bits(slabs[name], options.preset, network)
                                                    for network in (everything, others))
                logs.append(np.log(np.array(ours) / xl))
                print(f"| {scanner} | {name} | {xl:.3f} | {ours[0]:.3f} | {ours[1]:.3f} | "
                      + " | ".join(f"{100 * (one / xl - 1):+.1f} %" for one in ours) + " |", flush=True)
    seen, unseen = 100 * np.expm1(np.mean(logs, axis=0))
    print(f"| mean of log ratios | | | | | **{seen:+.1f} %** | **{unseen:+.1f} %** |")


if __name__ == "__main__":
    main()
