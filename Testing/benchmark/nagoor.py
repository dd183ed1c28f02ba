"""The experiment of Nagoor et al. 2020 on volumes that one has: docs/nagoor.md.

    python Testing/benchmark/nagoor.py VOLUME... [--training VOLUME] [--rows N] [--results FILE]

The middle slices and rows of each volume are coded by both networks, by our other codecs and, slice by slice, by
JPEG-LS, JPEG 2000 and JPEG XL; with --training after the slices were resampled to the distance of those of that volume,
which the networks were trained on (cubic B-splines, rounded): that is not lossless for whoever has the original. What
is in FILE already is not measured again. Prints the table of all that is in FILE.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import SimpleITK
from contenders import all_contenders

import MedCompressLib as mc
from MedCompressLib.codecs.nagoor import NagoorCodec
from MedCompressLib.codecs.nagoor.codec import N_GROUPS
from MedCompressLib.entropy import encode_groups
from MedCompressLib.samples import SampleMap

SLICES, ROWS = 8, 256
RIVALS = ("JPEG-LS", "JPEG 2000", "JPEG XL e7", "MedCompress wavelet", "MedCompress neural default")


def resampled(volume: mc.Volume, thickness: float) -> mc.Volume:
    """The volume with slices that far apart, in mm."""
    image = SimpleITK.GetImageFromArray(volume.voxels.astype(np.float32))
    image.SetSpacing((1.0, 1.0, float(volume.spacing[0])))
    slices = int((len(volume.voxels) - 1) * volume.spacing[0] / thickness) + 1
    size = (*image.GetSize()[:2], slices)
    again = SimpleITK.Resample(image, size, SimpleITK.Transform(), SimpleITK.sitkBSpline, (0, 0, 0), (1, 1, thickness))
    limits = np.iinfo(volume.dtype)
    voxels = np.rint(SimpleITK.GetArrayFromImage(again)).clip(limits.min, limits.max)
    return mc.Volume(voxels.astype(volume.dtype))


def middle(voxels: np.ndarray, rows: int) -> np.ndarray:
    """The middle slices and rows of (k, j, i) voxels."""
    k, j = (max(0, (n - wanted) // 2) for n, wanted in zip(voxels.shape, (SLICES, rows), strict=False))
    return np.ascontiguousarray(voxels[k:k + SLICES, j:j + rows])


def bits_of_rivals(voxels: np.ndarray) -> dict[str, float]:
    """Bits per voxel of the codecs that are compared with."""
    found, volume = {}, mc.Volume(voxels)
    for contender in all_contenders():
        if contender.name in RIVALS:
            parts = contender.encode(contender.prepare(volume), threads=1)
            found[contender.name] = 8 * sum(map(len, parts)) / voxels.size
    return found


def bits_of_network(voxels: np.ndarray, preset: str) -> dict[str, float]:
    """Bits per voxel of one of the networks; `plain` is the entropy of the residuals without any groups."""
    frames, started = voxels[np.newaxis], time.process_time()
    samples = SampleMap.fit([frames])
    codec = NagoorCodec.fit([], samples.maximum, preset, (1.0, 1.0, 1.0))
    residuals, groups = codec.residuals(samples.forward(frames)[0])
    shares = np.unique(residuals, return_counts=True)[1] / residuals.size
    return {preset: 8 * len(encode_groups(residuals, groups, N_GROUPS)) / voxels.size,
            f"{preset} plain": float(-(shares * np.log2(shares)).sum()),
            f"{preset} seconds": time.process_time() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", type=Path, nargs="+")
    parser.add_argument("--presets", nargs="+", default=list(NagoorCodec.presets))
    parser.add_argument("--training", type=Path, help="resample to the distance of this volume's slices, too")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--results", type=Path, default=Path("nagoor.json"))
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    thickness = float(mc.read(options.training).spacing[0]) if options.training else None
    for path in options.volumes:
        volume = mc.read(path)
        variants = {"native": volume} if thickness is None else {"resampled": resampled(volume, thickness)}
        for name, variant in variants.items():
            voxels = middle(variant.voxels, options.rows)
            entry = results.setdefault(f"{path.stem} {name} {'x'.join(map(str, voxels.shape))}", {})
            if not set(RIVALS) <= set(entry):
                entry |= bits_of_rivals(voxels)
            for preset in options.presets:
                if preset not in entry:
                    entry |= bits_of_network(voxels, preset)
                options.results.write_text(json.dumps(results, indent=1))
    columns = [*RIVALS, *(f"{preset}{kind}" for preset in NagoorCodec.presets for kind in ("", " plain", " seconds"))]
    print(f"| volume | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, entry in results.items():
        print(f"| {name} | {' | '.join(f'{entry[column]:.3f}' if column in entry else '-' for column in columns)} |")


if __name__ == "__main__":
    main()
