"""The experiment of Nagoor et al. 2020 on volumes that one has: docs/nagoor.md.

    python Testing/benchmark/nagoor.py VOLUME... [--training VOLUME] [--results FILE] [--only NAME...]

Whole volumes are coded by our codecs and, slice by slice, by JPEG-LS, JPEG 2000 and JPEG XL. The two networks are too
slow for that: they predict every voxel of some blocks of rows all over the volume, and the residuals of these are
coded as in the codec nagoor. With --training, slices are first resampled to the distance of those of that volume, on
which the networks were trained (cubic B-splines, rounded), and the middle 24 taken: that is not lossless for whoever
has the original. `plain` is the entropy of residuals with one table for all. What is in FILE already is not measured
again. Prints the table of all that is in FILE.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import SimpleITK
from contenders import all_contenders

import MedCompressLib as mc
from MedCompressLib.codecs.nagoor import NagoorCodec
from MedCompressLib.codecs.nagoor.codec import N_GROUPS
from MedCompressLib.entropy import encode_groups
from MedCompressLib.samples import SampleMap

RIVALS = ("JPEG-LS", "JPEG 2000", "JPEG XL e7", "MedCompress wavelet", "MedCompress neural default")
MIDDLE = 24
BLOCKS, SLICES, ROWS = 12, 2, 8  # counted; a slice and two rows before are predicted for their errors' sake only


def resampled(volume: mc.Volume, thickness: float) -> mc.Volume:
    """The middle slices of the volume, that far apart in mm."""
    image = SimpleITK.GetImageFromArray(volume.voxels.astype(np.float32))
    image.SetSpacing((1.0, 1.0, float(volume.spacing[0])))
    slices = int((len(volume.voxels) - 1) * volume.spacing[0] / thickness) + 1
    number = min(slices, MIDDLE)
    origin = (0.0, 0.0, (slices - number) // 2 * thickness)
    again = SimpleITK.Resample(image, (*image.GetSize()[:2], number), SimpleITK.Transform(), SimpleITK.sitkBSpline,
                               origin, (1, 1, thickness))
    limits = np.iinfo(volume.dtype)
    return mc.Volume(np.rint(SimpleITK.GetArrayFromImage(again)).clip(limits.min, limits.max).astype(volume.dtype))


def bits_of_rival(volume: mc.Volume, name: str) -> float:
    """Bits per voxel of one of the codecs that are compared with."""
    contender = next(one for one in all_contenders() if one.name == name)
    parts = contender.encode(contender.prepare(volume), threads=1)
    return 8 * sum(map(len, parts)) / volume.voxels.size


def blocks_of(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of what is predicted of (k, j, i) voxels, and which of them count."""
    rng = np.random.default_rng(0)
    voxels, counted = [], []
    for _ in range(BLOCKS):
        k = rng.integers(0, max(1, shape[0] - SLICES)) + np.arange(SLICES + 1)
        j = rng.integers(0, max(1, shape[1] - ROWS - 2)) + np.arange(ROWS + 2)
        k, j = k[k < shape[0]], j[j < shape[1]]
        voxels.append(((k[:, None, None] * shape[1] + j[:, None]) * shape[2] + np.arange(shape[2])).ravel())
        counted.append(np.broadcast_to(((k > k[0])[:, None] & (j > j[1]))[..., None],
                                       (len(k), len(j), shape[2])).ravel())
    return np.concatenate(voxels), np.concatenate(counted)


def bits_of_network(volume: mc.Volume, preset: str) -> dict[str, float]:
    """Bits per voxel of one of the networks, with our groups and with one table."""
    frames = volume.as_frames()
    samples = SampleMap.fit([frames])
    voxels, counted = blocks_of(frames.shape[1:])
    codec = NagoorCodec.fit([], samples.maximum, preset, (1.0, 1.0, 1.0))
    residuals, groups = (part[counted] for part in codec.residuals(samples.forward(frames)[0], voxels))
    shares = np.unique(residuals, return_counts=True)[1] / residuals.size
    return {preset: 8 * len(encode_groups(residuals, groups, N_GROUPS)) / residuals.size,
            f"{preset} plain": float(-(shares * np.log2(shares)).sum())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", type=Path, nargs="+")
    parser.add_argument("--training", type=Path, help="resample to the distance of this volume's slices")
    parser.add_argument("--only", nargs="+", default=[*RIVALS, *NagoorCodec.presets], metavar="NAME")
    parser.add_argument("--results", type=Path, default=Path("nagoor.json"))
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    thickness = float(mc.read(options.training).spacing[0]) if options.training else None
    for path in options.volumes:
        volume = mc.read(path)
        if thickness is not None:
            volume = resampled(volume, thickness)
        entry = results.setdefault(path.stem if thickness is None else f"{path.stem} resampled", {})
        for name in options.only:
            if name not in entry:
                entry |= {name: bits_of_rival(volume, name)} if name in RIVALS else bits_of_network(volume, name)
                options.results.write_text(json.dumps(results, indent=1))
    columns = [*RIVALS, *(f"{preset}{kind}" for preset in NagoorCodec.presets for kind in ("", " plain"))]
    print(f"| volume | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, entry in results.items():
        print(f"| {name} | {' | '.join(f'{entry[column]:.3f}' if column in entry else '-' for column in columns)} |")


if __name__ == "__main__":
    main()
