"""The two checks of a file: CRC-32C of bytes, and the digest of voxels."""

import hashlib

import numpy as np
import pytest
import surgery
from stopwatch import least_seconds

from MedCompressLib import checksum


class TestCrc32c:
    @pytest.mark.parametrize(("message", "crc"), [
        (b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E), (bytes(range(31, -1, -1)), 0x113FDB5C)])
    def test_vectors_of_rfc_3720(self, message, crc):
        assert checksum.crc32c(message) == crc
        assert surgery.crc32c(message) == crc

    def test_every_short_length(self):
        message = np.random.default_rng(1).bytes(300)
        for length in range(300):
            assert checksum.crc32c(message[:length]) == surgery.crc32c(message[:length])

    @pytest.mark.parametrize("length", [27103, 27104, 27105, 27108, 27109, 52276, 52277, 52281, 200_001])
    def test_around_the_fold(self, length):
        message = np.random.default_rng(length).bytes(length)
        assert checksum.crc32c(message) == surgery.crc32c(message)

    def test_views(self):
        message = bytearray(range(256))
        assert checksum.crc32c(memoryview(message)[3:99]) == surgery.crc32c(bytes(message[3:99]))

    def test_sparse_polynomial_is_a_multiple(self):
        def power(exponent):
            remainder = 1
            for _ in range(exponent):
                remainder <<= 1
                remainder ^= 0x11EDC6F41 if remainder >> 32 else 0
            return remainder

        assert power(checksum._DEGREE) ^ power(checksum._LOWER[0]) ^ power(checksum._LOWER[1]) == 1

    def test_speed(self):
        message = bytes(16 << 20)
        # 100 MB/s, ten times less than on an idle machine
        assert least_seconds(lambda: checksum.crc32c(message)) < 0.16


class TestDigest:
    def test_definition(self):
        voxels = np.arange(2 * 3 * 4 * 5, dtype=">i2").reshape(2, 3, 4, 5)
        outer = hashlib.sha256()
        for f in range(2):
            for k in range(3):
                outer.update(hashlib.sha256(voxels[f, k].astype("<i2").tobytes()).digest())
        assert checksum.combined_digest(checksum.slice_digests(voxels)) == outer.digest()
