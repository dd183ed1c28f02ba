"""The codec `raw`: packed samples."""

import numpy as np
import pytest
from codec_contract import CodecContract

from MedCompressLib.codecs.raw import RawCodec
from MedCompressLib.errors import FormatError


class TestRawContract(CodecContract):
    codec_id = "raw"


@pytest.mark.parametrize(("maximum", "width"),
                         [(0, 1), (1, 1), (255, 1), (256, 2), (65535, 2), (65536, 3), (2**24 - 1, 3)])
def test_fewest_bytes(maximum, width):
    codec = RawCodec.for_maximum(maximum)
    slab = np.full((1, 2, 3, 5), maximum, np.int32)
    assert len(codec.encode(slab)) == codec.size(30) == 30 * width
    assert np.array_equal(codec.decode(codec.encode(slab), slab.shape), slab)


def test_golden_bytes():
    slab = np.array([1, 0x203, 0x40506], np.int32).reshape(1, 1, 1, 3)
    assert RawCodec(3).encode(slab) == bytes([1, 0, 0, 3, 2, 0, 6, 5, 4])
    assert RawCodec.for_maximum(0x203).encode(slab[..., :2]) == bytes([1, 0, 3, 2])


@pytest.mark.parametrize("length", [0, 59, 61, 30])
def test_wrong_length(length):
    with pytest.raises(FormatError, match=f"has {length} bytes; it should have 60"):
        RawCodec(2).decode(bytes(length), (1, 2, 3, 5))
