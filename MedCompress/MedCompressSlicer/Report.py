"""What a compression cost and gave."""

from dataclasses import asdict, dataclass, field

from slicer.i18n import tr as _

from .Accuracy import RegionAccuracy


@dataclass(frozen=True)
class CompressionReport:
    """Figures of one compression.

    codec, preset - How the volume was compressed.
    compressedBytes - Size of the file.
    memoryBytes - Size of the voxels in memory.
    samples - Number of values: voxels times components.
    compressSeconds, restoreSeconds - Times of compression and of restoration.
    identical - Whether the restored volume equals the original bit by bit.
    allowedError - Error allowed where no segment says otherwise, in stored units; 0 is lossless.
    quality - What the file's header says about it.
    regions - Accuracy of the whole volume, of each segment and of what is in none; empty if lossless.
    """

    codec: str
    preset: str
    compressedBytes: int
    memoryBytes: int
    samples: int
    compressSeconds: float
    restoreSeconds: float
    identical: bool
    allowedError: int = 0
    regions: tuple[RegionAccuracy, ...] = ()
    quality: dict = field(default_factory=lambda: {"kind": "lossless"})

    @classmethod
    def fromFigures(cls, figures):
        """The report on what `compressAndRestore` measured, which may have come as JSON."""
        regions = tuple(RegionAccuracy(**region) for region in figures["regions"])
        return cls(**{**figures, "regions": regions})

    def info(self) -> dict:
        """The part of `MedCompressLib.info` that tells how the voxels came about."""
        return {"codec": self.codec, "preset": self.preset, "ratio": self.ratio, "quality": self.quality}

    @property
    def ratio(self) -> float:
        """How many times smaller than in memory."""
        return self.memoryBytes / self.compressedBytes

    @property
    def bitsPerVoxel(self) -> float:
        """Bits for each value."""
        return 8.0 * self.compressedBytes / self.samples

    def asDict(self) -> dict:
        """All figures by name, for tables and files."""
        return {**asdict(self), "ratio": self.ratio, "bitsPerVoxel": self.bitsPerVoxel}

    def requirePromise(self):
        """Refuse a result that is not the original, or is off by more than was allowed.

        :raises RuntimeError: it is.
        """
        kept = all(region.allowedError is None or region.maxError <= region.allowedError for region in self.regions)
        if not (kept if self.regions else self.identical):
            raise RuntimeError(_("The restored volume differs from the original by more than was allowed, so no file "
                                 "was written. Please report this with the volume."))

    def summary(self) -> str:
        """The figures for the user."""
        return _("{memory} in memory became {size}: ratio {ratio:.2f}, {bits:.2f} bits per voxel, codec {codec}. "
                 "Compressed in {compressSeconds:.1f} s ({compressSpeed:.2f} MB/s), restored in {restoreSeconds:.1f} s "
                 "({restoreSpeed:.2f} MB/s). {faithful}").format(
            size=_sizeText(self.compressedBytes), memory=_sizeText(self.memoryBytes), ratio=self.ratio,
            bits=self.bitsPerVoxel, codec=self.codec,
            compressSeconds=self.compressSeconds, compressSpeed=self._speed(self.compressSeconds),
            restoreSeconds=self.restoreSeconds, restoreSpeed=self._speed(self.restoreSeconds),
            faithful=self._faithful())

    def _faithful(self):
        if self.identical or not self.regions:
            return _("Identical: yes.") if self.identical else _("Identical: NO.")
        whole = self.regions[0]
        text = _("LOSSY: largest error {error:g}, PSNR {psnr:.1f} dB.").format(error=whole.maxError,
                                                                             psnr=whole.psnr or 0)
        missing = [region.name for region in self.regions[1:-1] if not region.voxels]
        if missing:
            text += " " + _("Not in the volume: {segments}.").format(segments=", ".join(missing))
        exact = [region.name for region in self.regions[1:] if region.voxels and not region.maxError]
        return text + (" " + _("Exact: {segments}.").format(segments=", ".join(exact)) if exact else "")

    def _speed(self, seconds):
        return self.memoryBytes / 1e6 / max(seconds, 1e-6)


def _sizeText(byteCount):
    if byteCount < 1000:
        return _("{count} bytes").format(count=byteCount)
    if byteCount < 1_000_000:
        return _("{size:.1f} kB").format(size=byteCount / 1e3)
    return _("{size:.2f} MB").format(size=byteCount / 1e6)
