"""How good the beginning of a file of the codec `progressive` is already."""

from __future__ import annotations

import numpy as np
from lossy import dice, fidelity, ssim

import MedCompressLib as mc

SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)


def preview_curve(voxels: np.ndarray) -> list[dict]:
    """Rows as those of `lossy.rate_distortion`, of ever longer prefixes of one file; `asked` is the share of its bytes.

    Parameters
    ----------
    voxels : (k, j, i) integer array
    """
    data = mc.compress(voxels, codec="progressive")
    rows = []
    for share in SHARES:
        try:
            decoded = mc.preview(data, budget=share).voxels
        except mc.MedCompressError:  # not even the coarsest level is complete
            continue
        rows.append({"codec": "MedCompress progressive, prefix", "asked": share,
                     "bits_per_voxel": 8 * share * len(data) / voxels.size} | fidelity(voxels, decoded) | {
            "ssim": ssim(voxels, decoded), "dice": dice(voxels, decoded)})
    return rows
