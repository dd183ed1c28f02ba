"""Whether this machine computes exactly: golden streams, decoded and encoded again.

The files in `golden/` were written on another machine, one for each codec and preset. Each must decode to the voxels
whose SHA-256 it holds, and its voxels must encode to the same bytes again; anything else means that a processor, a BLAS
or a library here does not do what the format asks for, and that files written here may not be readable elsewhere.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .codecs import Progress, get_codec
from .container import CODED, Reader
from .decode import decode_volume
from .errors import MedCompressError
from .samples import SampleMap
from .slabs import SlabSequence, default_threads

GOLDEN_FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class SelfTestReport:
    """What `self_test` found.

    Attributes
    ----------
    problems : dict of str to str
        Name of a stream to what is wrong with it here; empty when all is exact.
    streams : int
        How many were tried.
    seconds : float
    """

    problems: dict[str, str]
    streams: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether this machine is exact."""
        return not self.problems

    def __str__(self) -> str:
        machine = f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}"
        if self.ok:
            return (f"exact on this machine: {self.streams} streams decoded and encoded again to the same bytes in "
                    f"{self.seconds:.1f} s ({machine}).")
        found = "; ".join(f"{name}: {problem}" for name, problem in self.problems.items())
        return f"NOT EXACT on this machine ({machine}), please do not store images with it and report this: {found}"


def self_test(progress: Progress | None = None) -> SelfTestReport:
    """Decode and encode the golden streams that come with the library.

    Parameters
    ----------
    progress : callable, optional
        Called with a fraction from 0 to 1; may raise to cancel.

    Returns
    -------
    SelfTestReport
        Its text is one line.

    Raises
    ------
    MedCompressError
        The streams are not there: the installation is not whole.
    """
    begin = time.perf_counter()
    paths = sorted(GOLDEN_FOLDER.glob("*.mcz"))
    if not paths:
        raise MedCompressError(f"There are no golden streams in {GOLDEN_FOLDER}; install MedCompress again.")
    problems = {}
    for number, path in enumerate(paths, start=1):
        try:
            problem = _problem(path)
        except MedCompressError as error:
            problem = str(error)
        if problem:
            problems[path.stem] = problem
        if progress is not None:
            progress(number / len(paths))
    return SelfTestReport(problems, len(paths), time.perf_counter() - begin)


def _problem(path: Path) -> str:
    """What is not as it should be; nothing if all is."""
    with path.open("rb") as file:
        reader = Reader(file)
        volume = decode_volume(reader, None, default_threads(), lambda fraction: None)
        header = reader.header
        samples = SampleMap.from_config(header.samples_config)
        codec = get_codec(header.codec_id).from_config(header.codec_config, reader.model)
        for number, slab in enumerate(SlabSequence(volume.as_frames(), reader.grid)):
            stored = reader.read_slab(number)
            mapped, residue = samples.forward(slab)
            coded = codec.encode_layers(mapped), residue
            if stored.storage == CODED and coded != (stored.chunks, stored.residue):
                return f"slab {number} is encoded to other bytes"
    return ""
