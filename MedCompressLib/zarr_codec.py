"""Our codecs for Zarr arrays and everything else that takes numcodecs codecs (`pip install medcompress[zarr]`).

    import zarr
    from MedCompressLib.zarr_codec import ZarrCodec
    array = zarr.create_array("volume.zarr", shape=(2000, 2048, 2048), chunks=(32, 512, 512), dtype="uint16",
                              compressors=ZarrCodec(codec="wavelet"), zarr_format=2)

The codec is registered with numcodecs under the id "medcompress" when this module is imported, and found without that
by the entry point of the installed package. Each chunk is a whole `.mcz` file without geometry.
"""

from __future__ import annotations

import math

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_contiguous_ndarray, ensure_ndarray, ndarray_copy
from numcodecs.registry import register_codec

from .api import compress, decompress
from .errors import UnsupportedError
from .volume import DTYPES, Volume

# Types that are stored as the integers with the same bits.
_AS_INTEGERS = {"bool": "uint8", "float16": "uint16"}


class ZarrCodec(Codec):
    """Compresses chunks without loss.

    Parameters
    ----------
    codec, preset, threads
        As `MedCompressLib.compress` takes them. Zarr works on several chunks at a time, so one thread for each is
        enough.
    """

    codec_id = "medcompress"

    def __init__(self, codec: str = "auto", preset: str | None = None, threads: int = 1) -> None:
        self.codec, self.preset, self.threads = codec, preset, threads

    def get_config(self) -> dict:
        """Plain JSON of how chunks are encoded; decoding needs none of it."""
        return {"id": self.codec_id, "codec": self.codec, "preset": self.preset, "threads": self.threads}

    def encode(self, buf: object) -> bytes:
        """A chunk as a file.

        Parameters
        ----------
        buf : array or buffer
            Of any shape: the last two axes are rows and columns, the one before them slices, those before it frames.
            A type other than bool, float16 and those of a `Volume` raises UnsupportedError.
        """
        array = ensure_ndarray(buf)
        shape = array.shape
        if not array.flags.c_contiguous and array.flags.f_contiguous:
            array = array.T  # chunks of order "F" travel as they lie
        metadata = {}
        if not array.dtype.isnative:
            metadata["byteorder"] = ">" if array.dtype.newbyteorder("<").isnative else "<"
        native = array.dtype.newbyteorder("=")
        stored = np.dtype(_AS_INTEGERS.get(native.name, native))
        if stored not in DTYPES:
            raise UnsupportedError(f"Chunks of type {array.dtype} are not supported; use integers, floats or bool.")
        if 0 in shape:
            raise UnsupportedError(f"A chunk of shape {shape} has nothing in it.")
        array = np.ascontiguousarray(array, native).view(stored)
        array = array.reshape((1,) * (3 - array.ndim) + array.shape)
        if array.ndim > 3:
            array = array.reshape(math.prod(array.shape[:-3]), *array.shape[-3:])
        return compress(Volume(array, axes="kji" if array.ndim == 3 else "tkji", metadata=metadata), self.codec,
                        self.preset, threads=self.threads)

    def decode(self, buf: object, out: object | None = None) -> np.ndarray:
        """The bytes of the chunk again, as an array of one axis; FormatError where the file is damaged."""
        volume = decompress(bytes(ensure_bytes(buf)), threads=self.threads)
        voxels = volume.voxels.reshape(-1)
        if "byteorder" in volume.metadata:
            voxels = voxels.byteswap()
        if out is None:
            return voxels
        target = ensure_contiguous_ndarray(out)
        return ndarray_copy(voxels.view(np.uint8), target.view(np.uint8))


register_codec(ZarrCodec)
