"""Sizes of whole files beside the figures of JPEG XL and tomoz in a manifest: the table of docs/decisions.

    python Testing/benchmark/public_sizes.py DATA --preset small                 all of DATA/public that have figures
    python Testing/benchmark/public_sizes.py DATA --volumes mr_ --max-error 2    some of them, near-lossless

DATA holds `manifest.csv` with columns `path`, `jxl_e7 bpv` and `tomoz 0.2.0 bpv`. The mean is that of the logarithms of
the ratios over what is CT or MR and no sequence. `run.py` measures speed, memory and rivals; this one only sizes,
which do not depend on the machine's load.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

import MedCompressLib as mc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--codec", default="neural")
    parser.add_argument("--preset")
    parser.add_argument("--volumes", nargs="+", default=[""], metavar="NAME", help="those whose names contain this")
    parser.add_argument("--max-error", type=int, default=0)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    with (options.data / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["jxl_e7 bpv"]
                and any(name in row["path"] for name in options.volumes)]
    quality = mc.NearLossless(options.max_error) if options.max_error else None
    print("| volume | bits per voxel | to JPEG XL | to tomoz |\n|---|---|---|---|", flush=True)
    logs = []
    for row in sorted(rows, key=lambda row: (options.data / row["path"]).stat().st_size):
        volume = mc.read(options.data / row["path"])
        data = mc.compress(volume, codec=options.codec, preset=options.preset, quality=quality,
                           threads=options.threads)
        ratios = 8 * len(data) / volume.voxels.size / np.array([float(row["jxl_e7 bpv"]),
                                                                 float(row["tomoz 0.2.0 bpv"])])
        if volume.axes == "kji" and Path(row["path"]).name.startswith(("ct_", "mr_")):
            logs.append(np.log(ratios))
        print(f"| {Path(row['path']).stem} | {8 * len(data) / volume.voxels.size:.4f} | "
              + " | ".join(f"{100 * (ratio - 1):+.1f} %" for ratio in ratios) + " |", flush=True)
    if logs:
        print("| mean of log ratios | | "
              + " | ".join(f"**{100 * np.expm1(mean):+.1f} %**" for mean in np.mean(logs, axis=0)) + " |")


if __name__ == "__main__":
    main()
