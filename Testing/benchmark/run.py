"""How small and how fast: our codecs beside gzip and, slice by slice, the standard image codecs.

    python Testing/benchmark/run.py FOLDER [--json results.json] [--readme README.md] [--threads 2] [--sizes-only]

Every volume in the folder is coded and decoded by every codec, and every result is compared with the input; a codec
that does not give the same voxels back has no figure. Sizes are whole: our files with header, index, checksums and
tables; the standard codecs as the sum of their slices, without any container. Times are medians of three runs in
memory, ours with `--threads` threads, the others with one, on voxels with their minimum subtracted (the standard codecs
know no negative values). With --readme, the table between the two benchmark markers of that file is replaced. With
--sizes-only everything runs once and no speeds are told: for machines that have other work at the same time.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from MedCompressLib import Volume, compress, decompress, read
from MedCompressLib.codecs import codec_ids
from MedCompressLib.encode import choose_codec

BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
REPEATS = 3


@dataclass(frozen=True)
class Figure:
    """One codec on one volume: bits per voxel, and million voxels a second both ways."""

    volume: str
    codec: str
    bits_per_voxel: float
    encode_mvoxels: float
    decode_mvoxels: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--readme", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes-only", action="store_true")
    parser.add_argument("--codecs", nargs="+", default=[codec for codec in codec_ids() if codec != "raw"],
                        help="which of our own")
    options = parser.parse_args()
    figures = []
    for path in sorted(path for path in options.folder.iterdir() if path.name.endswith((".nrrd", ".nii.gz", ".mha"))):
        volume = read(path)
        for name, encode, decode, same in codecs_for(volume, options.codecs, options.threads):
            figure = measure(path.name.split(".")[0], name, volume, encode, decode, same,
                             repeats=1 if options.sizes_only else REPEATS)
            if figure:
                figures.append(figure)
                print(f"{figure.volume:34} {figure.codec:12} {figure.bits_per_voxel:7.3f} bits per voxel  "
                      f"{figure.encode_mvoxels:7.2f} / {figure.decode_mvoxels:7.2f} Mvoxel/s", flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if options.json:
        results = {"machine": machine, "threads": options.threads, "figures": [asdict(figure) for figure in figures]}
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.readme:
        text = options.readme.read_text()
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        table = markdown(figures) if options.sizes_only else markdown(figures) + speeds(figures)
        options.readme.write_text(f"{before}{BEGIN}\n{table}{END}{after}")


def codecs_for(volume: Volume, ours: list[str], threads: int) -> list[tuple[str, Callable, Callable, Callable]]:
    """(name, encode, decode, equality) of each codec that suits a volume; encoded data is a list of bytes."""
    frames = volume.as_frames()
    rows = [("gzip -6", lambda: [gzip.compress(frames.tobytes(), 6)], lambda data: gzip.decompress(data[0]),
             lambda raw: raw == frames.tobytes())]
    is_label_map = choose_codec(frames) == "runs"
    for codec_id in ours:
        if (codec_id == "runs") == is_label_map:
            rows.append((codec_id, lambda codec_id=codec_id: [compress(volume, codec_id, threads=threads)],
                         lambda data: decompress(data[0], threads=threads), volume.equals))
    return rows + standard_codecs(frames)


def standard_codecs(frames: np.ndarray) -> list[tuple[str, Callable, Callable, Callable]]:
    """JPEG-LS, JPEG 2000 and JPEG XL of imagecodecs on the slices, where it is installed and they have 16 bits."""
    low = frames.min()
    if frames.dtype.kind not in "iu" or int(frames.max()) - int(low) > 65535:
        return []
    try:
        import imagecodecs
    except ModuleNotFoundError:
        return []
    kind = np.uint8 if int(frames.max()) - int(low) < 256 else np.uint16
    slices = (frames.astype(np.int64) - int(low)).astype(kind).reshape(-1, *frames.shape[-2:])

    def row(name: str, encode: Callable, decode: Callable) -> tuple[str, Callable, Callable, Callable]:
        return (name, lambda: [bytes(encode(part)) for part in slices], lambda data: [decode(part) for part in data],
                lambda parts: all(np.array_equal(a, b) for a, b in zip(parts, slices, strict=True)))

    return [
        row("JPEG-LS", imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
        row("JPEG 2000", lambda part: imagecodecs.jpeg2k_encode(part, reversible=True, codecformat="j2k", level=0),
            imagecodecs.jpeg2k_decode),
        row("JPEG XL", lambda part: imagecodecs.jpegxl_encode(part, lossless=True, effort=7, numthreads=1),
            lambda data: imagecodecs.jpegxl_decode(data, numthreads=1)),
    ]


def measure(volume_name: str, name: str, volume: Volume, encode: Callable, decode: Callable,
            same: Callable, repeats: int) -> Figure | None:
    """Run a codec; None, and a line on standard error, when it is not installed or does not restore the volume."""
    encoding, decoding = [], []
    try:
        for _ in range(repeats):
            start = time.perf_counter()
            data = encode()
            encoded = time.perf_counter()
            restored = decode(data)
            decoding.append(time.perf_counter() - encoded)
            encoding.append(encoded - start)
    except (ModuleNotFoundError, RuntimeError) as error:
        print(f"{volume_name}: {name} left out: {error}", file=sys.stderr)
        return None
    if not same(restored):
        print(f"{volume_name}: {name} left out: it does not restore the voxels", file=sys.stderr)
        return None
    voxels = volume.voxels.size
    return Figure(volume_name, name, 8 * sum(map(len, data)) / voxels, voxels / 1e6 / statistics.median(encoding),
                  voxels / 1e6 / statistics.median(decoding))


def markdown(figures: list[Figure]) -> str:
    """A table of bits per voxel, a row for each volume."""
    names = list(dict.fromkeys(figure.codec for figure in figures))
    lines = ["| bits per voxel | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for volume in dict.fromkeys(figure.volume for figure in figures):
        found = {figure.codec: figure for figure in figures if figure.volume == volume}
        cells = [f"{found[name].bits_per_voxel:.3f}" if name in found else "" for name in names]
        lines.append(f"| {volume} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def speeds(figures: list[Figure]) -> str:
    """Two more rows: the median speed of each codec over its volumes, both ways."""
    names = list(dict.fromkeys(figure.codec for figure in figures))
    lines = ""
    for label, field in (("encode", "encode_mvoxels"), ("decode", "decode_mvoxels")):
        medians = [statistics.median(getattr(f, field) for f in figures if f.codec == name) for name in names]
        lines += f"| *{label}, Mvoxel/s* | " + " | ".join(f"{speed:.1f}" for speed in medians) + " |\n"
    return lines


if __name__ == "__main__":
    main()
