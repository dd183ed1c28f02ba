"""What loss buys: `python Testing/benchmark/lossy.py SCAN ... [--rates 0.25 0.5 1 2] [--json FILE]`.

Each scan is stored at the same bit rates by this library (`TargetBitrate`, the whole file counted) and by JPEG 2000,
slice by slice without any container: irreversible, once with the same bytes for every slice, once with the same quality
for all slices, and the better of the two is kept. `--targets` instead shows how near every kind of target comes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import MedCompressLib as mc

RATES = (0.25, 0.5, 1.0, 2.0)
_WINDOW = 7  # of SSIM
_HALVINGS = 10


def rate_distortion(voxels: np.ndarray, rates: tuple[float, ...] = RATES) -> list[dict]:
    """Rows of both codecs at each rate.

    Parameters
    ----------
    voxels : (k, j, i) integer array
    rates : tuple of float
        Bits per voxel.

    Returns
    -------
    list of dict
        `codec`, `asked` and `bits_per_voxel`, `psnr_db` (peak: range of the volume), `max_error`, `rmse`, `ssim` (data
        range: range of the volume) and `dice` (voxels above the original's Otsu threshold).
    """
    rows = []
    for rate in rates:
        data = mc.compress(voxels, codec="wavelet", quality=mc.TargetBitrate(rate))
        rows.append(_row("MedCompress wavelet", rate, 8 * len(data) / voxels.size, voxels, mc.decompress(data).voxels))
        trials = [jpeg2000(voxels, rate, each) for each in (False, True)]
        bits, decoded = max(trials, key=lambda trial: fidelity(voxels, trial[1])["psnr_db"])
        rows.append(_row("JPEG 2000", rate, bits, voxels, decoded))
    return rows


def _row(codec: str, asked: float, bits: float, original: np.ndarray, decoded: np.ndarray) -> dict:
    return {"codec": codec, "asked": asked, "bits_per_voxel": bits} | fidelity(original, decoded) | {
        "ssim": ssim(original, decoded), "dice": dice(original, decoded)}


def fidelity(original: np.ndarray, decoded: np.ndarray) -> dict:
    """`max_error`, `rmse` and `psnr_db` with the range of the original as the peak (none where nothing differs)."""
    error = np.abs(decoded.astype(np.float64) - original.astype(np.float64))
    rmse, peak = float(np.sqrt((error**2).mean())), float(original.max()) - float(original.min())
    return {"max_error": float(error.max()), "rmse": rmse,
            "psnr_db": 20 * float(np.log10(peak / rmse)) if rmse else float("inf")}


def ssim(original: np.ndarray, decoded: np.ndarray) -> float:
    """Mean structural similarity (Wang et al. 2004) of all slices, in windows of 7 x 7 pixels of equal weight."""
    peak = float(original.max()) - float(original.min())
    c1, c2 = (0.01 * peak)**2, (0.03 * peak)**2
    values = []
    for a, b in zip(original.astype(np.float64), decoded.astype(np.float64), strict=True):
        mean_a, mean_b = _windowed(a), _windowed(b)
        var_a, var_b = _windowed(a * a) - mean_a**2, _windowed(b * b) - mean_b**2
        both = _windowed(a * b) - mean_a * mean_b
        values.append(((2 * mean_a * mean_b + c1) * (2 * both + c2)
                       / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())
    return float(np.mean(values))


def _windowed(image: np.ndarray) -> np.ndarray:
    window = np.lib.stride_tricks.sliding_window_view
    return window(window(image, _WINDOW, 0).mean(-1), _WINDOW, 1).mean(-1)


def dice(original: np.ndarray, decoded: np.ndarray) -> float:
    """Overlap of what lies above the original's Otsu threshold before and after."""
    import SimpleITK as sitk

    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(original.astype(np.float32)))
    a, b = original > otsu.GetThreshold(), decoded > otsu.GetThreshold()
    return float(2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b)))


def jpeg2000(voxels: np.ndarray, rate: float, each: bool) -> tuple[float, np.ndarray]:
    """Bits per voxel and voxels of the best JPEG 2000 of at most that rate: irreversible, every slice an image.

    Parameters
    ----------
    each : bool
        Whether every slice gets the rate, or all of them the one quality with which their sum has it.
    """
    import imagecodecs

    offset = int(voxels.min())
    images = (voxels.astype(np.int64) - offset).astype(np.uint16)

    def encode(slices: np.ndarray, quality: float) -> list[bytes]:
        return [imagecodecs.jpeg2k_encode(image, level=quality, reversible=False) for image in slices]

    parts = [images[k:k + 1] for k in range(len(images))] if each else [images]
    coded = [image for part in parts for image in _largest(part.size * rate / 8, lambda q, part=part: encode(part, q))]
    decoded = np.stack([imagecodecs.jpeg2k_decode(image) for image in coded]).astype(np.int64) + offset
    return 8 * sum(map(len, coded)) / voxels.size, decoded


def _largest(limit: float, encode: Callable[[float], list[bytes]]) -> list[bytes]:
    """The images of the highest quality (in dB, as OpenJPEG takes it) that are within a limit of bytes together."""
    low, high, best = 1.0, 140.0, None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        coded = encode(middle)
        if sum(map(len, coded)) <= limit:
            low, best = middle, coded
        else:
            high = middle
    return best if best is not None else encode(low)


def targets(volume: mc.Volume) -> list[dict]:
    """How near each kind of quality comes: what was asked, what was stored, ratio and errors."""
    rows = []
    for quality in (mc.TargetRatio(10), mc.TargetRatio(30), mc.TargetBitrate(1.0), mc.TargetPSNR(40),
                    mc.TargetPSNR(55), mc.NearLossless(2), mc.NearLossless(10)):
        started = time.perf_counter()
        try:
            data = mc.compress(volume, codec="wavelet" if isinstance(quality, mc.NearLossless) else "auto",
                               quality=quality)
        except mc.UnsupportedError as error:
            rows.append({"asked": repr(quality), "refused": str(error)})
            continue
        facts = mc.info(data)
        rows.append({"asked": repr(quality), "codec": facts["codec"], "quality": facts["quality"]["kind"],
                     "ratio": facts["ratio"], "bits_per_voxel": facts["bits_per_voxel"]}
                    | fidelity(volume.voxels, mc.decompress(data).voxels)
                    | {"seconds": time.perf_counter() - started})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--targets", action="store_true", help="how near every kind of target comes")
    parser.add_argument("--json", type=Path, help="write all rows here as well")
    options = parser.parse_args()
    found = {}
    for scan in options.scans:
        volume = mc.read(scan)
        rows = targets(volume) if options.targets else rate_distortion(volume.voxels, tuple(options.rates))
        found[scan.name] = rows
        for row in rows:
            print(scan.name, " ".join(f"{name}={value:.5g}" if isinstance(value, float) else f"{name}={value}"
                                      for name, value in row.items()), flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
