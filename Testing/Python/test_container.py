"""The `.mcz` file: bytes where FORMAT.md says, checksums, and refusal of everything that is not a valid file."""

import io
import json
import math
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import surgery
from stopwatch import least_seconds

import MedCompressLib as mc
from MedCompressLib import header
from MedCompressLib.container import METADATA_LIMIT, START_LENGTH, Reader
from MedCompressLib.slabs import SlabGrid

MATRIX = np.array([[-0.7, 0.1, 0.3, -101.25], [0.2, 0.8, -0.1, 33.3], [0.05, -0.2, 2.5, 1e-7], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def volume():
    rng = np.random.default_rng(0)
    return mc.Volume(rng.integers(-1000, 3000, (40, 18, 20), dtype=np.int16), MATRIX,
                     metadata={"b": "Schädel ☃", "a": [1, 2.5, None, True, {"z": {}, "y": []}]})


@pytest.fixture(scope="module")
def data(volume):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
        return mc.compress(volume, codec="raw")


@pytest.fixture
def parts(data):
    return surgery.File.split(data)


def refused(data: bytes, reason: str) -> None:
    with pytest.raises(mc.FormatError, match=reason):
        mc.decompress(data)
    report = mc.verify(data)
    assert not report.ok and any(re.search(reason, problem) for problem in report.problems)


class TestDigest:
    def test_does_not_depend_on_slabs_or_codec(self, volume, data, monkeypatch):
        monkeypatch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
        monkeypatch.setattr("MedCompressLib.slabs.SLAB_VOXELS", 18 * 20 * 3)
        other = mc.compress(volume, codec="raw")
        assert mc.info(other)["slabs"]["slices"] == 3 != mc.info(data)["slabs"]["slices"]
        assert mc.info(other)["voxel_sha256"] == mc.info(data)["voxel_sha256"]
        assert mc.info(data)["voxel_sha256"] == surgery.digest(volume.as_frames()).hex()


class TestLayout:
    def test_everything_is_where_the_specification_says(self, volume, data, parts):
        assert parts.magic == b"\x89MCZ\r\n\x1a\n" and parts.version == 1
        assert np.array_equal(np.reshape(parts.matrix, (4, 4)), MATRIX)
        assert parts.voxel_digest == surgery.digest(volume.as_frames())
        assert parts.fields == {
            "axes": "kji", "codec": {"config": {"width": 2}, "id": "raw", "preset": "plain"}, "dtype": "int16",
            "quality": {"kind": "lossless"}, "samples": parts.fields["samples"], "sequence": None,
            "shape": [40, 18, 20], "slab": {"frames": 1, "slices": 14}}
        assert [slab.digest for slab in parts.slabs] == [
            surgery.digest(volume.as_frames()[:, k:k + 14])[:8] for k in (0, 14, 28)]
        first = np.frombuffer(parts.slabs[0].payload, "<u2").reshape(14, 18, 20).astype(int) - 1000
        assert np.array_equal(first, volume.voxels[:14])
        assert parts.join() == data

    def test_two_layers(self, monkeypatch):
        monkeypatch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
        monkeypatch.setattr("MedCompressLib.slabs.SLAB_VOXELS", 18 * 20 * 2)
        volume = mc.Volume(np.random.default_rng(0).integers(0, 2, (6, 18, 20), np.uint8))
        data = mc.compress(volume, codec="progressive")
        parts = surgery.File.split(data)
        assert parts.fields["layers"] == 2 and [len(slab.cuts) for slab in parts.slabs] == [2, 2, 2]
        assert parts.join() == data and mc.decompress(data).equals(volume)
        assert np.array_equal(mc.decompress(data, slices=slice(2, 4)).voxels, volume.voxels[2:4])
        finest = len(data) - sum(slab.cuts[1] for slab in parts.slabs)
        damaged = data[:finest] + bytes([data[finest] ^ 1]) + data[finest + 1:]
        with pytest.raises(mc.FormatError, match="checksum of its slab 0, layer 1"):
            mc.preview(damaged, budget=len(data) - 1)

    def test_header_is_canonical(self, parts):
        text = json.dumps(parts.fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        assert parts.header == text.encode()

    def test_metadata_keeps_order_and_text(self, volume, data):
        again = mc.info(data)["metadata"]
        assert json.dumps(again) == json.dumps(volume.metadata)
        assert list(again) == ["b", "a"]

    def test_empty_metadata_takes_no_bytes(self):
        assert mc.info(mc.compress(np.zeros((1, 2, 3), np.uint8)))["section_bytes"]["metadata"] == 0

    def test_matrix_survives_bit_for_bit(self):
        matrix = MATRIX.copy()
        matrix[:3] = np.nextafter(MATRIX[:3], 1)
        matrix[0, 3] = 5e-324
        again = mc.decompress(mc.compress(mc.Volume(np.zeros((1, 2, 3), np.uint8), matrix))).ijk_to_ras
        assert again.tobytes() == matrix.tobytes()


# What version 1 of the format makes of a small volume. It has to be read for ever.
GOLDEN = bytes.fromhex("""
894d435a0d0a1a0a01000000f5000000fe886152000000000000000001000000105e505c00000000000000000000000009020000000000
002f212bf8c30a608f5353d69e903c279f4b02aa62ffcde86e94cdf001e3681766666666666666e6bf0000000000000000000000000000
0000000000000000f83f0000000000000000666666666666e6bf9a9999999999b93f00000000000000c000000000000000000000000000
000000000000000000044048afbc9af2d77a3e000000000000000000000000000000000000000000000000000000000000f03f2d4f869c
7b2261786573223a226b6a69222c22636f646563223a7b22636f6e666967223a7b227769647468223a317d2c226964223a22726177222c
22707265736574223a22706c61696e227d2c226474797065223a22696e743136222c227175616c697479223a7b226b696e64223a226c6f
73736c657373227d2c2273616d706c6573223a7b226474797065223a22696e743136222c22696e74657276616c73223a22654e6f376c31
6a5067417741475a454272773d3d227d2c2273657175656e6365223a6e756c6c2c227368617065223a5b322c332c345d2c22736c616222
3a7b226672616d6573223a312c22736c69636573223a327d7df1010000000000001800000000000000f2b58b1c000000002f212bf8c30a
608f00254a0a2f5414395e1e4303284d0d3257173c612146062b
""")


def test_golden_file():
    voxels = (np.arange(24) * 37 % 101 - 50).astype(np.int16).reshape(2, 3, 4)
    volume = mc.Volume(voxels, np.array([[-0.7, 0, 0, 1.5], [0, -0.7, 0.1, -2], [0, 0, 2.5, 1e-7], [0, 0, 0, 1]]))
    assert mc.decompress(GOLDEN).equals(volume)
    assert mc.compress(volume, codec="raw") == GOLDEN


class CountingFile(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


class TestPartialReading:
    def test_only_the_slabs_needed(self, volume, data):
        file = CountingFile(data)
        part = mc.decompress(file, slices=slice(15, 20), threads=1)
        sections = mc.info(data)["section_bytes"]
        front = sum(length for name, length in sections.items() if name != "slabs")
        assert np.array_equal(part.voxels, volume.voxels[15:20])
        assert file.count == START_LENGTH + front + 14 * 18 * 20 * 2

    def test_info_reads_no_slab_and_no_model(self, data):
        file = CountingFile(data)
        facts = mc.info(file)
        front = sum(facts["section_bytes"][name] for name in ("fixed", "header", "metadata", "index"))
        assert file.count == START_LENGTH + front

    def test_damage_elsewhere_does_not_matter(self, volume, data):
        damaged = bytearray(data)
        damaged[-1] ^= 1
        part = mc.decompress(bytes(damaged), slices=slice(0, 28))
        assert np.array_equal(part.voxels, volume.voxels[:28])
        refused(bytes(damaged), r"slab 2 \(slices 28 to 39\)")
        report = mc.verify(bytes(damaged))
        assert (report.slabs, report.damaged_slabs, report.damaged_slices) == (3, [2], [(28, 39)])


class TestRefusal:
    @pytest.mark.parametrize(("damage", "reason"), [
        (lambda data: b"", "empty"),
        (lambda data: b"NRRD0004\n", "not an .mcz file"),
        (lambda data: bytes(len(data)), "interrupted"),
        (lambda data: bytes([data[0] & 127]) + data[1:], "text mode"),
        (lambda data: data.replace(b"\r\n", b"\n"), "text mode"),
        (lambda data: data.replace(b"\n", b"\r\n"), "text mode"),
        (lambda data: data[:100], "truncated"),
        (lambda data: data[:-1], "truncated"),
        (lambda data: data[:220], "truncated"),
        (lambda data: data + b"\0", "added"),
        (lambda data: data[:8] + b"\3" + data[9:], "update"),
        (lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], "checksum of its fixed part"),
        (lambda data: data[:230] + bytes([data[230] ^ 1]) + data[231:], "checksum of its header")])
    def test_damage(self, data, damage, reason):
        refused(damage(data), reason)

    @pytest.mark.parametrize("section", ["metadata", "index", "slabs"])
    def test_checksum_of_section(self, data, section):
        lengths = mc.info(data)["section_bytes"]
        order = ["fixed", "header", "metadata", "index", "model", "slabs"]
        place = sum(lengths[name] for name in order[:order.index(section)])
        refused(data[:place] + bytes([data[place] ^ 128]) + data[place + 1:], "checksum of its " + section[:4])

    @pytest.mark.parametrize(("forced", "reason"), [
        ({"header_length": 2**32 - 1}, "limit"), ({"metadata_length": 2**32 - 1}, "limit"),
        ({"slab_count": 2**32 - 1}, "limit"), ({"model_length": 2**63}, "limit"),
        ({"header_length": 2**22}, "do not fit"), ({"header_length": 2**22 + 1}, "limit"),
        ({"metadata_length": 2**24}, "do not fit"), ({"metadata_length": 2**24 + 1}, "limit"),
        ({"slab_count": 2**20}, "do not fit"), ({"slab_count": 2**20 + 1}, "limit"),
        ({"model_length": 2**26}, "do not fit"), ({"model_length": 2**26 + 1}, "limit"),
        ({"file_length": 2**63}, "should have"), ({"header_length": 0}, "checksum of its header"),
        ({"model_length": 1}, "follow each other"), ({"model_length": 1, "model_crc": 7}, "follow each other"),
        ({"slab_count": 2}, "checksum of its index")])
    def test_lengths(self, parts, forced, reason):
        parts.forced = forced
        refused(parts.join(), reason)

    def test_model(self, parts):
        parts.model = b"unasked"
        refused(parts.join(), "width")
        parts.forced = {"model_crc": 1}
        refused(parts.join(), "checksum of its model")

    @pytest.mark.parametrize(("number", "change", "reason"), [
        (1, {"offset": 0}, "follow"), (1, {"offset": 2**64 - 1}, "follow"),
        (0, {"payload_length": 2**32 - 1}, "follow"), (0, {"residue_length": 2**32 - 1}, "follow"),
        (2, {"payload_length": 0}, "follow"), (2, {"storage": 2}, "update"),
        (1, {"crc": 0}, "checksum of its slab 1"), (1, {"digest": bytes(8)}, "other voxels")])
    def test_index(self, parts, number, change, reason):
        for name, value in change.items():
            setattr(parts.slabs[number], name, value)
        refused(parts.join(), reason)

    def test_same_slab_twice(self, parts):
        parts.slabs[1].offset = parts.slabs[0].offset if parts.slabs[0].offset else 220
        refused(parts.join(), "follow")

    @pytest.mark.parametrize("count", [0, 2, 4])
    def test_number_of_slabs(self, parts, count):
        parts.slabs = (parts.slabs * 2)[:count]
        refused(parts.join(), f"has {count} slabs")

    def test_swapped_slabs(self, parts):
        parts.slabs[0], parts.slabs[1] = parts.slabs[1], parts.slabs[0]
        refused(parts.join(), "SHA-256")

    def test_bytes_behind_the_last_slab(self, parts):
        parts.tail = b"\0"
        refused(parts.join(), "follow each other")

    def test_reserved(self, parts):
        parts.reserved = 2
        refused(parts.join(), "does not exist")

    @pytest.mark.parametrize("matrix", [(math.nan, *range(15)), (0.0,) * 16, tuple(map(float, range(16)))])
    def test_matrix(self, parts, matrix):
        parts.matrix = matrix
        refused(parts.join(), "no valid volume")

    @pytest.mark.parametrize(("change", "reason"), [
        ({"dtype": "complex64"}, "type"), ({"dtype": 7}, "dtype"), ({"axes": "ijk"}, "Axes"),
        ({"axes": "tkji"}, "Axes"),
        ({"shape": [40, 18]}, "Axes"), ({"shape": [40, 18, 0]}, "limits"), ({"shape": [40, 18, -20]}, "limits"),
        ({"shape": [40, 18, 20.0]}, "whole numbers"), ({"shape": [40, 18, True]}, "whole numbers"),
        ({"shape": [2**31, 1, 1]}, "limits"), ({"shape": [2**30, 2**30, 1]}, "limits"),
        ({"shape": [40, 10**4, 10**4]}, "limits"), ({"shape": [40, 18, 21]}, "raw slab"),
        ({"shape": None}, "shape"), ({"shape": [10**400, 1, 1]}, "limits"),
        ({"sequence": {}}, "values"), ({"sequence": {"index_name": "t", "unit": "s", "values": ["0"]}}, "sequence"),
        ({"slab": {"frames": 1, "slices": 0}}, "Slabs"), ({"slab": {"frames": 2, "slices": 14}}, "Slabs"),
        ({"slab": {"frames": 1, "slices": 41}}, "Slabs"), ({"slab": {"frames": 1, "slices": 13}}, "slabs"),
        ({"slab": {"frames": True, "slices": 14}}, "frames"),
        ({"quality": {"kind": "lossy"}}, "quality"), ({"quality": {"kind": "lossless", "bits": 1}}, "quality"),
        ({"codec": {"id": "best", "config": {}, "preset": ""}}, "best"), ({"codec": []}, "codec"),
        ({"codec": {"id": "raw", "config": {"width": 4}, "preset": ""}}, "width"),
        ({"codec": {"id": "raw", "config": {"width": 1}, "preset": ""}}, "raw slab"),
        ({"samples": {}}, "sample map"), ({"dtype": "uint16"}, "sample map")])
    def test_header(self, parts, change, reason):
        parts.fields = {**parts.fields, **change}
        refused(parts.join(), reason)

    @pytest.mark.parametrize(("quality", "known"), [
        ({"kind": "near-lossless", "max_error": 1, "reached": {}, "regions": [0, 1]}, True),
        ({"kind": "near-lossless", "max_error": 1, "reached": {}, "regions": [1]}, True),
        ({"kind": "near-lossless", "max_error": 1, "reached": {}, "regions": []}, False),
        ({"kind": "lossy", "target": {"ratio": 0}, "reached": {}, "regions": [0]}, True),
        ({"kind": "lossy", "target": {"ratio": 0}, "reached": {}, "regions": []}, False),
        ({"kind": "near-lossless", "max_error": 0, "reached": {}}, False),
        ({"kind": "near-lossless", "max_error": 1, "reached": {}, "regions": [-1]}, False),
        ({"kind": "near-lossless", "max_error": 1, "reached": {}, "regions": [None]}, False),
        ({"kind": "lossy", "target": {"ratio": 0}, "reached": {}, "regions": [0, None]}, True),
        ({"kind": "lossy", "target": {"ratio": -1e-9}, "reached": {}}, False),
        ({"kind": "lossy", "target": {"ratio": 9, "psnr_db": 9}, "reached": {}}, False),
        ({"kind": "lossy", "target": {"psnr_db": 9}, "reached": {}, "regions": [-1]}, False)])
    def test_qualities(self, parts, quality, known):
        fields = json.dumps({**parts.fields, "quality": quality}).encode()
        if known:
            assert header.Header.from_json(fields).quality == quality
        else:
            with pytest.raises(mc.FormatError, match="quality"):
                header.Header.from_json(fields)

    @pytest.mark.parametrize(("first", "exists"), [
        ({"after": 1, "slabs": [[0], [2]]}, True), ({"after": 0, "slabs": [[0]]}, False),
        ({"after": 3, "slabs": [[0]]}, False), ({"after": 1, "slabs": [[-1]]}, False),
        ({"after": 1, "slabs": [[3]]}, False), ({"after": 1, "slabs": [[]]}, False),
        ({"after": 1, "slabs": [[0], [0]]}, False)])
    def test_slabs_that_come_first(self, parts, first, exists):
        fields = json.dumps({**parts.fields, "layers": 3, "first": first}).encode()
        if exists:
            assert header.Header.from_json(fields).first.groups == ((0,), (2,))
        else:
            with pytest.raises(mc.FormatError, match="come first"):
                header.Header.from_json(fields)

    @pytest.mark.parametrize("name", ["axes", "shape", "dtype", "sequence", "slab", "samples", "codec", "quality"])
    def test_header_without(self, parts, name):
        parts.fields = {key: value for key, value in parts.fields.items() if key != name}
        if name == "sequence":
            assert mc.decompress(parts.join()).sequence is None
        else:
            refused(parts.join(), name)

    @pytest.mark.parametrize(("at_the_limit", "slab", "layers"), [
        ([2**31 - 1, 1, 1], 1, 1), ([2**20, 2**10, 2**10], 1, 1), ([1, 2**13, 2**13], 1, 1), ([2, 2**12, 2**11], 2, 1),
        ([2, 3, 4], 1, 256), ([2**21, 1, 1], 1, 2)])
    def test_limits_of_the_specification(self, parts, at_the_limit, slab, layers):
        def parse(shape, layers):
            fields = {**parts.fields, "shape": shape, "slab": {"frames": 1, "slices": slab}, "layers": layers}
            return header.Header.from_json(json.dumps(fields).encode())

        assert parse(at_the_limit, layers).shape == tuple(at_the_limit)
        k, j, i = at_the_limit
        with pytest.raises(mc.FormatError, match="beyond the format's limits"):
            if layers == 256:
                parse(at_the_limit, 257)
            else:
                parse([k + 1, j, i] if k > 2 else [k, j, i + 1], layers)

    @pytest.mark.parametrize("slices", [2**14, 2**14 + 1])
    def test_limit_of_slices(self, slices):
        grid = SlabGrid((1, 2**15, 8, 8), 1, slices)
        if slices > 2**14:
            with pytest.raises(mc.FormatError, match="beyond the format's limits"):
                header.check_grid(grid, mc.FormatError)
        else:
            header.check_grid(grid, mc.FormatError)

    def test_limits_of_slabs(self, parts):
        parts.fields = {**parts.fields, "shape": [40, 2**13, 2**13], "slab": {"frames": 1, "slices": 20}}
        refused(parts.join(), "beyond the format's limits")

    @pytest.mark.parametrize(("text", "reason"), [
        (b"", "JSON"), (b"[]", "not a JSON object"), (b"{} {}", "JSON"), (b'{"a":NaN}', "NaN"),
        (b'{"a":1,"a":1}', "repeated"), (b'{"a":"\xff"}', "JSON"), (b'{"a":' + b"[" * 10**6, "nested"),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "nested"),
        (b'{"a":"]]]]","b":' + b'[{"c":' * 60 + b"1" + b"}]" * 60 + b"}", "nested"),
        (b'{"a":' + b"1" * 5000 + b"}", "JSON"), (b'{"a":"', "JSON"), (b"\xef\xbb\xbf{}", "JSON")])
    def test_json(self, parts, text, reason):
        parts.set_metadata(text)
        refused(parts.join(), reason)
        parts.metadata, parts.header = b"", text
        refused(parts.join(), reason)

    def test_deepest_json(self):
        assert header.parse_json(b'{"a":' + b"[" * 99 + b"]" * 99 + b"}", "header")
        with pytest.raises(mc.FormatError, match="nested deeper"):
            header.parse_json(b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "header")

    @pytest.mark.parametrize("text", [b'{"a":1e999}', b'{"a":' + b"[" * 90 + b"]" * 90 + b"}"])
    def test_metadata_that_a_volume_cannot_have(self, parts, text):
        parts.set_metadata(text)
        refused(parts.join(), "no valid volume")

    def test_brackets_in_strings_are_no_nesting(self, parts):
        parts.set_metadata(json.dumps({"a": "[" * 500, 'q"\\': '"[[' * 300}).encode())
        assert mc.decompress(parts.join()).metadata["a"] == "[" * 500

    @pytest.mark.parametrize("text", [b'{"a":"' + b'\\"' * 2**20, b'"' * (2**21 + 1), b"\\" * 2**20])
    def test_strings_that_never_end_take_no_time(self, text):
        def parse():
            with pytest.raises(mc.FormatError):
                header.parse_json(text, "metadata")

        assert least_seconds(parse) < 2

    @pytest.mark.parametrize("stored", [b"x", b"x\x9c", b"\0" * 50])
    def test_metadata_that_is_not_deflated(self, parts, stored):
        parts.metadata = stored
        refused(parts.join(), "metadata of the file")

    def test_metadata_with_something_behind_it(self, parts):
        parts.metadata += b"\0"
        refused(parts.join(), "does not end")

    def test_metadata_bomb(self, parts):
        parts.set_metadata(b" " * (METADATA_LIMIT + 1))
        bomb = parts.join()
        assert len(bomb) < 4_000_000
        tracemalloc.start()
        with pytest.raises(mc.FormatError, match="larger than the limit"):
            Reader(io.BytesIO(bomb))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 * METADATA_LIMIT

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_metadata_of_nothing_but_brackets(self):
        """What takes the most memory for its length: at the limit it stays below a gigabyte."""
        program = """if True:
            import re
            from MedCompressLib.header import parse_json
            def peak():            # of this program alone; ru_maxrss counts what started it
                return int(re.search("VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
            before = peak()
            text = b'{"a":[' + b"{}," * 10**6 + b"{}]}"
            parse_json(text, "metadata")
            print((peak() - before) * 1024 / len(text))
            """
        result = subprocess.run([sys.executable, "-c", program], cwd=Path(mc.__file__).parents[1], capture_output=True,
                                text=True, check=True)
        assert 0 < float(result.stdout) * METADATA_LIMIT < 900 << 20

    def test_declared_volume_is_not_allocated_before_its_slabs_are_there(self, parts):
        """A terabyte that the index cannot back."""
        parts.fields = {**parts.fields, "shape": [2**14, 2**13, 2**13], "slab": {"frames": 1, "slices": 1}}
        refused(parts.join(), "slabs")


class TestWritingLimits:
    def test_metadata_too_large(self):
        with pytest.raises(mc.UnsupportedError, match="metadata takes"):
            mc.compress(mc.Volume(np.zeros((1, 1, 1), np.uint8), metadata={"a": "x" * (METADATA_LIMIT + 1)}))

    def test_header_too_large(self):
        frames = 70_000
        volume = mc.Volume(np.zeros((frames, 1, 1, 1), np.uint8), axes="tkji",
                           sequence=mc.SequenceAxis("time", "s", ["x" * 64] * frames))
        with pytest.raises(mc.UnsupportedError, match="header takes"):
            mc.compress(volume, codec="raw")

    def test_slice_too_large(self):
        voxels = np.broadcast_to(np.uint8(0), (1, 2**14, 2**14))
        volume = mc.Volume(np.zeros((1, 1, 1), np.uint8))
        volume.voxels = voxels
        with pytest.raises(mc.UnsupportedError, match="beyond the format's limits"):
            mc.compress(volume, codec="raw")

    def test_huge_integers_in_metadata(self):
        with pytest.raises(mc.UnsupportedError, match="JSON"):
            mc.compress(mc.Volume(np.zeros((1, 1, 1), np.uint8), metadata={"a": 10**5000}))


def test_fixed_part_has_the_size_in_the_specification():
    assert struct.calcsize("<8sHHIIIIIIIQQ32s16d") + 4 == surgery.FIXED.size + 4 == 220
    assert surgery.ENTRY.size == 32
