"""A second decoder of `.mcz` files: FORMAT.md as a program, in plain Python and NumPy.

It was written from FORMAT.md alone and shares no line with `MedCompressLib`, nor does it use `constriction`, so that
what both of them say is what the document says. It is slow and meant to be read beside the document: each module is a
section of it.

    section 1             integers.py      arithmetic modulo powers of 2
    sections 2 to 7, 12   container.py    fixed part, header, metadata, index, slabs, limits
    section 8             checksums.py    CRC-32C, digests of voxels
    section 9             samples.py      from samples to voxels
    section 10            raw.py, wavelet.py, progressive.py, runs.py, neural.py, nagoor.py
    section 11            entropy.py      group streams, rANS
    section 13            decode.py       how to decode
    section 15            archive.py      archives of files

From the folder `Testing`, `python -m reference volume.mcz` says what the file holds.
"""

from .archive import restore
from .decode import Decoded, decode, preview
from .refuse import RefusedError

__all__ = ["Decoded", "RefusedError", "decode", "preview", "restore"]
