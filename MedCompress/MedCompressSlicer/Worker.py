"""The work that runs outside Slicer's process: compress an array, restore it, compare.

Run as `PythonSlicer -m MedCompressSlicer.Worker job.json`. Imports neither slicer nor qt. Writes lines to stdout:

    progress 0.42         fraction of the work
    report {...}          figures, as JSON, at the end
    error One sentence.   what is wrong, for the user; the exit code is 1
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

import MedCompressLib as mc
from MedCompressSlicer.Regions import Regions
from MedCompressSlicer.RoundTrip import compressAndRestore
from MedCompressSlicer.SegmentLayers import SegmentLayers
from MedCompressSlicer.StandardCodecs import measureStandardCodecs


def run(job: dict) -> dict:
    """Do one job; the figures of its report."""
    return _TASKS[job["task"]](job)


def _compress(job):
    """Compress and restore one volume.

    :param job: `volume` (see `_volume`), `options` (see compressAndRestore), `segments` (null, or `bits` (.npy file),
        `names`, `maxErrors` and `margin`, see Regions), `segmentation` (null, or `layers` (.npy file), `described` and
        its `place` in the metadata, see SegmentLayers), `compressed` (file to write), `restored` (.npy file to write,
        empty for none).
    :return: the figures of a CompressionReport.
    """
    segments, segmentation = job["segments"], job["segmentation"]
    regions = segments and Regions(np.load(segments["bits"]), tuple(segments["names"]), tuple(segments["maxErrors"]),
                                   segments["margin"])
    if segmentation:
        key, stored = segmentation["place"]
        job["volume"]["metadata"][key][stored] = SegmentLayers(segmentation["described"],
                                                     list(np.load(segmentation["layers"]))).asJSON()
    data, restored, figures = compressAndRestore(_volume(job["volume"]), job["options"], _sayProgress, regions)
    Path(job["compressed"]).write_bytes(data)
    if job["restored"]:
        np.save(job["restored"], restored.voxels)
    return figures


def _train(job):
    """Train a model for the codec neural.

    :param job: `volumes` (see `_volume`), `preset`, `steps` and `model` (file to write).
    :return: the figures of a TrainingReport of the library.
    """
    from MedCompressLib.training import train

    report = train(job["model"], [_volume(volume) for volume in job["volumes"]], job["preset"], job["steps"],
                   progress=_sayProgress)
    return asdict(report)


def _standard(job):
    """Compress a volume by what others offer.

    :param job: `volume` (see `_volume`).
    :return: `rows`, see StandardCodecs.
    """
    return {"rows": measureStandardCodecs(_volume(job["volume"]).as_frames(), _sayProgress)}


_TASKS = {"compress": _compress, "train": _train, "standard": _standard}


def _volume(described):
    """A volume from its `voxels` (.npy file), `ijkToRAS`, `axes`, `sequence` and `metadata`."""
    sequence = mc.SequenceAxis(**described["sequence"]) if described["sequence"] else None
    return mc.Volume(np.load(described["voxels"], mmap_mode="r"), np.array(described["ijkToRAS"]), described["axes"],
                     sequence, described["metadata"])


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
