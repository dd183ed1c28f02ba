"""Exact, much smaller files for medical volumes.

    import MedCompressLib as mc
    volume = mc.read("chest.nrrd")
    mc.write("chest.mcz", volume)
    data = mc.compress(volume, quality=mc.NearLossless(max_error=20), roi=mc.RegionOfInterest(mask))
    part = mc.decompress("chest.mcz", slices=slice(40, 56))
    with mc.open("chest.mcz") as lazy:
        middle = lazy[len(lazy) // 2]
    mc.pack("series", "series.mcz")                 # DICOM files, byte for byte
    mc.unpack("series.mcz", "restored")
"""

from .api import VerifyReport, compress, decompress, info, open, pack, read, unpack, verify, write
from .errors import Cancelled, FormatError, MedCompressError, UnsupportedError
from .lazy import LazyVolume
from .quality import NearLossless
from .roi import RegionOfInterest
from .volume import SequenceAxis, Volume

__version__ = "0.1.0"

__all__ = ["Cancelled", "FormatError", "LazyVolume", "MedCompressError", "NearLossless", "RegionOfInterest",
           "SequenceAxis", "UnsupportedError", "VerifyReport", "Volume", "compress", "decompress", "info", "open",
           "pack", "read", "unpack", "verify", "write"]
