"""The work that runs outside Slicer's process: compress an array, restore it, compare.

Run as `PythonSlicer -m MedCompressSlicer.Worker job.json`. Imports neither slicer nor qt. Writes lines to stdout:

    progress 0.42         fraction of the work
    report {...}          figures, as JSON, at the end
    error One sentence.   what is wrong, for the user; the exit code is 1
"""

import json
import sys
from pathlib import Path

import numpy as np

import MedCompressLib as mc
from MedCompressSlicer.Regions import Regions
from MedCompressSlicer.RoundTrip import compressAndRestore


def run(job: dict) -> dict:
    """Do one job.

    :param job: `voxels` (.npy file), `ijkToRAS`, `axes`, `sequence`, `metadata`, `codec`, `preset`, `compressed` (file
        to write), `restored` (.npy file to write, empty for none), `maxError`, `segments` (null, or `bits` (.npy
        file), `names`, `maxErrors` and `margin`, see Regions).
    :return: the figures of the report.
    """
    voxels = np.load(job["voxels"], mmap_mode="r")
    sequence = mc.SequenceAxis(**job["sequence"]) if job["sequence"] else None
    volume = mc.Volume(voxels, np.array(job["ijkToRAS"]), job["axes"], sequence, job["metadata"])
    segments = job["segments"]
    regions = segments and Regions(np.load(segments["bits"]), tuple(segments["names"]), tuple(segments["maxErrors"]),
                                   segments["margin"])
    data, restored, figures = compressAndRestore(volume, job["codec"], job["preset"], _sayProgress, job["maxError"],
                                                 regions)
    Path(job["compressed"]).write_bytes(data)
    if job["restored"]:
        np.save(job["restored"], restored.voxels)
    return figures


def _sayProgress(fraction):
    print(f"progress {fraction:.4f}", flush=True)


def main(path: str) -> int:
    """Run the job described in a JSON file; the exit code."""
    sys.stdout.reconfigure(encoding="utf-8")
    try:
        figures = run(json.loads(Path(path).read_text(encoding="utf-8")))
    except (mc.MedCompressError, ImportError, MemoryError, OSError) as error:
        print(f"error {str(error) or type(error).__name__}", flush=True)
        return 1
    print(f"report {json.dumps(figures)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
