"""What a compression cost and gave."""

from dataclasses import asdict, dataclass

from slicer.i18n import tr as _


@dataclass(frozen=True)
class CompressionReport:
    """Figures of one compression.

    codec, preset - How the volume was compressed.
    compressedBytes - Size of the file.
    memoryBytes - Size of the voxels in memory.
    samples - Number of values: voxels times components.
    compressSeconds, restoreSeconds - Times of compression and of restoration.
    identical - Whether the restored volume equals the original bit by bit.
    """

    codec: str
    preset: str
    compressedBytes: int
    memoryBytes: int
    samples: int
    compressSeconds: float
    restoreSeconds: float
    identical: bool

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

    def requireIdentical(self):
        """Refuse a result that is not the original.

        :raises RuntimeError: it is not.
        """
        if not self.identical:
            raise RuntimeError(_("The restored volume differs from the original, so no file was written. Please report "
                                 "this with the volume."))

    def summary(self) -> str:
        """The figures for the user."""
        return _("{memory} in memory became {size}: ratio {ratio:.2f}, {bits:.2f} bits per voxel, codec {codec}. "
                 "Compressed in {compressSeconds:.1f} s ({compressSpeed:.1f} MB/s), restored in {restoreSeconds:.1f} s "
                 "({restoreSpeed:.1f} MB/s). Identical: {identical}.").format(
            size=_sizeText(self.compressedBytes), memory=_sizeText(self.memoryBytes), ratio=self.ratio,
            bits=self.bitsPerVoxel, codec=self.codec,
            compressSeconds=self.compressSeconds, compressSpeed=self._speed(self.compressSeconds),
            restoreSeconds=self.restoreSeconds, restoreSpeed=self._speed(self.restoreSeconds),
            identical=_("yes") if self.identical else _("NO"))

    def _speed(self, seconds):
        return self.memoryBytes / 1e6 / max(seconds, 1e-6)


def _sizeText(byteCount):
    if byteCount < 1000:
        return _("{count} bytes").format(count=byteCount)
    if byteCount < 1_000_000:
        return _("{size:.1f} kB").format(size=byteCount / 1e3)
    return _("{size:.2f} MB").format(size=byteCount / 1e6)
