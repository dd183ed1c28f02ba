"""Tables and plots from what was measured: docs/benchmark.md, its plots, and the part of README.md between markers."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
# Sizes are compared with the strongest of the standard codecs.
REFERENCE = "JPEG XL e7"
BOOTSTRAPS = 10_000


@dataclass(frozen=True)
class Standing:
    """A contender on the volumes of images: how small and how fast.

    Attributes
    ----------
    ratio, low, high : float
        Its size by that of `REFERENCE`: geometric mean over the volumes that both hold, and its 95 % interval.
    volumes : int
        How many these are.
    encode, decode : dict of int to float
        Million voxels a second by number of threads, over all volumes it holds.
    memory : (encode, decode) in MB at the peak, of the volume with the highest; None where it is not known
    """

    name: str
    ratio: float
    low: float
    high: float
    volumes: int
    encode: dict[int, float]
    decode: dict[int, float]
    memory: tuple[float, float] | None

    @property
    def ours(self) -> bool:
        return self.name.startswith("MedCompress")


def write_report(data: dict, folder: Path, readme: Path | None) -> None:
    """Write `benchmark.md` with its plots, and the summary into a README that has the markers."""
    table = Table(data)
    standings = table.standings(label_maps=False)
    plots = {"size-and-speed": plot_standings(standings, folder / "benchmark-size-and-speed.svg"),
             "scaling": plot_scaling(table, folder / "benchmark-scaling.svg"),
             "loss": plot_lossy(data.get("lossy", {}), folder / "benchmark-loss.svg")}
    summary = summary_table(standings) + "\n" + dominance(standings)
    labels = table.standings(label_maps=True)
    sections = [
        "# Benchmark", INTRODUCTION, machine(data),
        "## Images", figure("size and speed", "benchmark-size-and-speed.svg", plots["size-and-speed"]), summary,
        "### Bits per voxel", table.bits_per_voxel(label_maps=False),
        "### Paired differences in size", PAIRED, paired_table(table, standings),
        *(["## Label maps", summary_table(labels), table.bits_per_voxel(label_maps=True)] if labels else []),
        "## Scaling", figure("scaling", "benchmark-scaling.svg", plots["scaling"]), scaling_table(table),
        *(["## With loss", LOSS, figure("rate and distortion", "benchmark-loss.svg", plots["loss"]),
           lossy_table(data["lossy"])] if data.get("lossy") else []),
        "## What has no figure", left_out(data),
    ]
    (folder / "benchmark.md").write_text("\n\n".join(section.strip() for section in sections if section) + "\n")
    if readme is not None:
        text = readme.read_text()
        picture = figure("size and speed", "docs/benchmark-size-and-speed.svg", plots["size-and-speed"])
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        readme.write_text(f"{before}{BEGIN}\n{picture}\n\n{summary.strip()}\n\n{MORE}\n{END}{after}")


INTRODUCTION = """\
Made by `python Testing/benchmark/run.py FOLDER --publish` from Testing/benchmark/results.json. Every contender encoded
and decoded every volume and gave the same voxels back. MedCompress files are whole: header, index, checksums, model,
geometry. Codecs for 2D images get the slices; their size is the sum of the slices without any container. Bits are per
voxel of the stored samples.

Speeds with one thread count processor time (of all threads and processes), which other work on the machine disturbs
less than it does the clock; speeds with two threads are by the clock. Slow contenders were run once, with two threads,
and their processor time stands for one thread as well. Memory is the peak beyond what was held before,
so it includes the result."""

WHY = """\
Those that are faster look at a few neighbours within a slice, or at bytes, and fit nothing to the volume: JPEG-LS or
HTJ2K are the choice where a second counts more than a tenth of the size, and standards that any viewer reads. Ours find
their contexts, experts and networks for each volume, in three dimensions, and decode with integers only; their loops
are compiled where numba is installed, as it was here."""

MORE = """\
[docs/benchmark.md](docs/benchmark.md) has every volume, label maps, paired differences, memory, and how speed grows
with slabs and threads."""

LOSS = """\
Bits per voxel of whole files of ours and of the slices of JPEG 2000 (irreversible; the better of the same bytes for
each slice and the same quality for all). PSNR and SSIM (windows of 7 x 7) take the range of the volume, its largest
voxel less its least, as the peak and the data range. Dice is the overlap of what lies above the original's Otsu
threshold, before and after. A prefix is the beginning of a lossless file of the codec `progressive`, restored as far as
that goes."""

PAIRED = """\
How much smaller (-) or larger (+) the files of the row are than those of the column: the mean over the volumes of the
logarithm of the ratio, as per cent, with its 95 % interval from 10,000 bootstrap samples of the volumes. An interval
that does not hold 0 is unlikely to be chance of these volumes."""


class Table:
    """What was measured, by volume, contender and threads."""

    def __init__(self, data: dict) -> None:
        self.volumes = data["volumes"]
        kept = [one for one in data["measured"].values() if "bytes" in one]
        self.whole = {(one["volume"], one["contender"], one["threads"]): one for one in kept if "slices" not in one}
        self.scaled = [one for one in kept if "slices" in one]
        self.names = list(dict.fromkeys(one["contender"] for one in kept))
        self.threads = sorted({one["threads"] for one in kept})

    def of_kind(self, label_maps: bool) -> list[str]:
        """Names of the volumes of images, or of label maps."""
        return [name for name, volume in sorted(self.volumes.items()) if volume["label_map"] == label_maps]

    def size(self, volume: str, name: str) -> int | None:
        """Bytes, which do not depend on threads."""
        return next((self.whole[volume, name, threads]["bytes"] for threads in self.threads
                     if (volume, name, threads) in self.whole), None)

    def logarithms(self, name: str, other: str, volumes: list[str]) -> np.ndarray:
        """Logarithms of the ratios of sizes on the volumes that both hold."""
        sizes = [(self.size(volume, name), self.size(volume, other)) for volume in volumes]
        return np.array([math.log(one / two) for one, two in sizes if one and two])

    def standings(self, label_maps: bool) -> list[Standing]:
        """All contenders that hold any of these volumes and share one with the reference; the smallest first."""
        volumes = self.of_kind(label_maps)
        found = []
        for name in self.names:
            ratios = self.logarithms(name, REFERENCE, volumes)
            if len(ratios):
                mean, low, high = np.exp(interval(ratios))
                found.append(Standing(name, mean, low, high, len(ratios), self._speeds(name, volumes, "encode"),
                                      self._speeds(name, volumes, "decode"), self._memory(name, volumes)))
        return sorted(found, key=lambda one: one.ratio)

    def _speeds(self, name: str, volumes: list[str], way: str) -> dict[int, float]:
        speeds = {}
        for threads in self.threads:
            runs = self._runs(name, volumes, threads)
            clock = "processor_seconds" if threads == 1 else "seconds"
            if runs:
                speeds[threads] = sum(run["voxels"] for run in runs) / 1e6 / sum(run[way][clock] for run in runs)
        return speeds

    def _runs(self, name: str, volumes: list[str], threads: int) -> list[dict]:
        """What was measured with so many threads; for one thread, what was measured with more where that is all."""
        counts = self.threads if threads == 1 else [threads]
        found = [[self.whole[volume, name, count] for count in counts if (volume, name, count) in self.whole]
                 for volume in volumes]
        return [runs[0] for runs in found if runs]

    def _memory(self, name: str, volumes: list[str]) -> tuple[float, float] | None:
        runs = self._runs(name, volumes, 1)
        if not runs or "peak_mb" not in runs[0]["encode"]:
            return None
        return tuple(max(run[way]["peak_mb"] for run in runs) for way in ("encode", "decode"))

    def bits_per_voxel(self, label_maps: bool) -> str:
        """A row for each contender, a column for each volume."""
        volumes = self.of_kind(label_maps)
        rows = []
        for name in self.names:
            sizes = [self.size(volume, name) for volume in volumes]
            if any(sizes):
                rows.append([name] + ["" if size is None else f"{8 * size / self.volumes[volume]['voxels']:.3f}"
                                      for size, volume in zip(sizes, volumes, strict=True)])
        return markdown([[""] + [volume.replace("_", " ") for volume in volumes], *rows])


def interval(logarithms: np.ndarray) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval from bootstrap samples."""
    samples = np.random.default_rng(0).choice(logarithms, (BOOTSTRAPS, len(logarithms))).mean(axis=1)
    return float(logarithms.mean()), *(float(end) for end in np.percentile(samples, [2.5, 97.5]))


def summary_table(standings: list[Standing]) -> str:
    """Size, speed and memory of each."""
    threads = sorted({count for one in standings for count in one.encode})
    heads = [f"{way}, Mvoxel/s, {count} thread{'s' * (count > 1)}" for way in ("encode", "decode") for count in threads]
    rows = [["", f"size, {REFERENCE} = 100", "95 % interval", "volumes", *heads, "memory, MB, encode / decode"]]
    for one in standings:
        speeds = [f"{speed[count]:.3g}" if count in speed else "" for speed in (one.encode, one.decode)
                  for count in threads]
        memory = "" if one.memory is None else f"{one.memory[0]:.0f} / {one.memory[1]:.0f}"
        rows.append([f"**{one.name}**" if one.ours else one.name, f"{100 * one.ratio:.1f}",
                     f"{100 * one.low:.1f} to {100 * one.high:.1f}", str(one.volumes), *speeds, memory])
    return markdown(rows)


def dominance(standings: list[Standing]) -> str:
    """Which rivals one of ours beats in size and speed at once, and what speaks for the others."""
    lines = []
    ours = [one for one in standings if one.ours and 1 in one.encode]
    for way in ("encode", "decode"):
        beaten, faster, smaller = [], [], []
        for rival in (one for one in standings if not one.ours and 1 in one.encode):
            speed = getattr(rival, way)[1]
            no_larger = [one for one in ours if one.ratio <= rival.ratio]
            if not no_larger:
                smaller.append(rival.name)
                continue
            fastest = max(no_larger, key=lambda one: getattr(one, way)[1])
            times = speed / getattr(fastest, way)[1]
            if times <= 1:
                beaten.append(f"{rival.name} (by {fastest.name.removeprefix('MedCompress ')})")
            else:
                faster.append(f"{rival.name} ({times:.1f} times)")
        lines.append(f"* **{way[:-1].capitalize()}ing**, one thread. One of ours is both smaller and faster than: "
                     f"{', '.join(beaten) or 'none'}. Faster than all of ours that are smaller: "
                     f"{', '.join(faster) or 'none'}. Smaller than all of ours: {', '.join(smaller) or 'none'}.")
    return "\n".join(lines) + "\n\n" + WHY + "\n"


def paired_table(table: Table, standings: list[Standing]) -> str:
    """Each of ours against each rival."""
    ours = [one.name for one in standings if one.ours]
    rows = [["", *ours]]
    volumes = table.of_kind(label_maps=False)
    for rival in (one.name for one in standings if not one.ours):
        row = [f"against {rival}"]
        for name in ours:
            logarithms = table.logarithms(name, rival, volumes)
            if len(logarithms):
                mean, low, high = (100 * (math.exp(end) - 1) for end in interval(logarithms))
                row.append(f"{mean:+.1f} % ({low:+.1f} to {high:+.1f})")
            else:
                row.append("")
        rows.append(row)
    return markdown(rows)


def scaling_table(table: Table) -> str:
    """Speeds by the clock for volumes of 1, 2, 4, .. slabs."""
    rows = [["", "Mvoxel", "threads", "encode, Mvoxel/s", "decode, Mvoxel/s", "memory, MB, encode / decode"]]
    for one in sorted(table.scaled, key=lambda one: (one["contender"], one["threads"], one["slices"])):
        encode, decode = one["encode"], one["decode"]
        millions = one["voxels"] / 1e6
        rows.append([f"{one['contender']}, {one['slices']} slices", f"{millions:.1f}", str(one["threads"]),
                     f"{millions / encode['seconds']:.2f}", f"{millions / decode['seconds']:.2f}",
                     f"{encode['peak_mb']:.0f} / {decode['peak_mb']:.0f}"])
    return markdown(rows) if len(rows) > 1 else "Not measured."


def lossy_table(lossy: dict[str, list[dict]]) -> str:
    """Errors at each bit rate."""
    rows = [["", "bits per voxel", "PSNR, dB", "largest error", "SSIM", "Dice"]]
    rows += [[f"{name.replace('_', ' ')}, {one['codec']}", f"{one['bits_per_voxel']:.3f}", f"{one['psnr_db']:.2f}",
              f"{one['max_error']:.0f}", f"{one['ssim']:.4f}", f"{one['dice']:.4f}"]
             for name, found in lossy.items() for one in found]
    return markdown(rows)


def machine(data: dict) -> str:
    """The machine, its load, and the versions of all software."""
    found = data["machine"]
    loads = [one["load"] for one in data["measured"].values() if "load" in one]
    versions = sorted({one["version"] for one in data["measured"].values() if "version" in one})
    versions = [f"MedCompress {one}" if one[0].isdigit() else one for one in versions]
    load = f"from {min(loads)} to {max(loads)}, median {statistics.median(loads):.1f}" if loads else "not known"
    return (f"Machine: {found['processor']}, {found['cores']} cores, {found['system']}, Python {found['python']}; load "
            f"while measuring: {load}. Versions: {', '.join(versions)}.")


def left_out(data: dict) -> str:
    """Why some contenders have no figure on some volumes."""
    reasons = {}
    for one in data["measured"].values():
        if "left_out" in one:
            reasons.setdefault((one["contender"], one["left_out"]), []).append(one["volume"])
    lines = [f"* {name}: {reason} ({', '.join(dict.fromkeys(volumes))})" for (name, reason), volumes in reasons.items()]
    return "\n".join(lines) or "Everything was measured."


def figure(title: str, path: str, drawn: bool) -> str:
    """A picture, if there is one."""
    return f"![{title}]({path})" if drawn else ""


def markdown(rows: list[list[str]]) -> str:
    """A table, its first row the heads of the columns."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]]) + "\n"


def plot_standings(standings: list[Standing], path: Path) -> bool:
    """Size against speed, both ways, with the Pareto front; False without matplotlib or figures."""
    axes = _axes(2, 13, 5.5)
    standings = [one for one in standings if 1 in one.encode and one.name != "raw NRRD"]
    if axes is None or not standings:
        return False
    figure, panels = axes
    for way, panel in zip(("encode", "decode"), panels, strict=True):
        points = sorted((getattr(one, way)[1], 100 * one.ratio, one) for one in standings)
        front, best = [], math.inf
        for speed, size, _ in reversed(points):
            if size < best:
                front.append((speed, size))
                best = size
        panel.plot(*zip(*front, strict=True), drawstyle="steps-post", color="0.8", zorder=0)
        for speed, size, one in points:
            panel.plot(speed, size, "o" if one.ours else "s", color="tab:red" if one.ours else "tab:blue", markersize=6)
            panel.annotate(one.name.removeprefix("MedCompress "), (speed, size), xytext=(5, 4), fontsize=8,
                           textcoords="offset points", color="tab:red" if one.ours else "black")
        panel.set(xscale="log", xlabel=f"{way} speed, one thread, Mvoxel/s", ylabel=f"size, {REFERENCE} = 100")
        panel.grid(alpha=0.3)
    panels[0].set_title("red: MedCompress; smaller is lower, faster is right; grey: Pareto front", fontsize=9)
    return _save(figure, path)


def plot_scaling(table: Table, path: Path) -> bool:
    """Speed by the clock against the size of the volume; False without matplotlib or figures."""
    axes = _axes(2, 13, 4.5)
    if axes is None or not table.scaled:
        return False
    figure, panels = axes
    for way, panel in zip(("encode", "decode"), panels, strict=True):
        for name, threads in sorted({(one["contender"], one["threads"]) for one in table.scaled}):
            runs = sorted((one["voxels"] / 1e6, one["voxels"] / 1e6 / one[way]["seconds"]) for one in table.scaled
                          if (one["contender"], one["threads"]) == (name, threads))
            panel.plot(*zip(*runs, strict=True), "o-", label=f"{name.removeprefix('MedCompress ')}, {threads} threads")
        panel.set(xscale="log", yscale="log", xlabel="Mvoxel", ylabel=f"{way} speed, Mvoxel/s")
        panel.grid(alpha=0.3, which="both")
        panel.legend(fontsize=8)
    return _save(figure, path)


def plot_lossy(lossy: dict[str, list[dict]], path: Path) -> bool:
    """PSNR against bits per voxel; False without matplotlib or figures."""
    axes = _axes(max(1, len(lossy)), 5 * max(1, len(lossy)), 4.5)
    if axes is None or not lossy:
        return False
    figure, panels = axes
    for (name, found), panel in zip(lossy.items(), np.atleast_1d(panels), strict=True):
        for codec in dict.fromkeys(one["codec"] for one in found):
            points = [(one["bits_per_voxel"], one["psnr_db"]) for one in found if one["codec"] == codec]
            panel.plot(*zip(*points, strict=True), "o-", label=codec.removeprefix("MedCompress "))
        panel.set(xscale="log", xlabel="bits per voxel", ylabel="PSNR, dB", title=name.replace("_", " "))
        panel.grid(alpha=0.3, which="both")
        panel.legend(fontsize=8)
    return _save(figure, path)


def _axes(panels: int, width: float, height: float):
    try:
        import matplotlib
    except ModuleNotFoundError:
        return None
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "MedCompress"  # equal figures give equal files
    from matplotlib import pyplot

    return pyplot.subplots(1, panels, figsize=(width, height), layout="constrained")


def _save(figure, path: Path) -> bool:
    figure.savefig(path, metadata={"Date": None})
    return True
