"""Exact, much smaller files for medical volumes.

    import MedCompressLib as mc
    volume = mc.read("chest.nrrd")
    mc.write("chest.mcz", volume)
    data = mc.compress(volume, quality=mc.NearLossless(max_error=20), roi=mc.RegionOfInterest(mask))
    data = mc.compress(volume, quality=mc.TargetRatio(20))
    part = mc.decompress("chest.mcz", slices=slice(40, 56))
    small = mc.preview(mc.compress(volume, codec="progressive"), reduction=1)
    with mc.open("chest.mcz") as lazy:
        middle = lazy[len(lazy) // 2]
    mc.pack("series", "series.mcz")                 # DICOM files, byte for byte
    mc.unpack("series.mcz", "restored")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import VerifyReport, compress, decompress, info, open, pack, preview, read, unpack, verify, write
    from .errors import Cancelled, FormatError, MedCompressError, UnsupportedError
    from .lazy import LazyVolume
    from .quality import ConstantBackground, NearLossless, TargetBitrate, TargetPSNR, TargetRatio
    from .roi import RegionOfInterest
    from .volume import SequenceAxis, Volume

__version__ = "0.1.0"

__all__ = ["Cancelled", "ConstantBackground", "FormatError", "LazyVolume", "MedCompressError", "NearLossless",
           "RegionOfInterest", "SequenceAxis", "TargetBitrate", "TargetPSNR", "TargetRatio", "UnsupportedError",
           "VerifyReport", "Volume", "compress", "decompress", "info", "open", "pack", "preview", "read", "unpack",
           "verify", "write"]

# Where these come from; loaded when they are first asked for, so that the import costs next to nothing.
_HOMES = {".errors": ("Cancelled", "FormatError", "MedCompressError", "UnsupportedError"), ".lazy": ("LazyVolume",),
          ".quality": ("ConstantBackground", "NearLossless", "TargetBitrate", "TargetPSNR", "TargetRatio"),
          ".roi": ("RegionOfInterest",),
          ".volume": ("SequenceAxis", "Volume")}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), ".api")
    globals()[name] = getattr(import_module(home, __name__), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
