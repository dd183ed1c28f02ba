"""Damaged files by the hundred, killed writers, full disks. docs/robustness.md says how to run more of each."""

import json
import os
import resource
import shutil
import subprocess
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import reference
import surgery
from reference.entropy import Bytes
from reference.neural import Neural, find_network
from robustness.differential import compare
from robustness.fuzz import BYTES, CORPUS, TARGETS, fuzz, is_good, limited_memory, outcome
from robustness.kills import kill_writers

import MedCompressLib as mc
from MedCompressLib.codecs import codec_ids
from MedCompressLib.entropy import encode_groups
from MedCompressLib.image_files import SUFFIXES

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
COUNT = int(os.environ.get("MEDCOMPRESS_FUZZ_COUNT", 200))
SEED = int(os.environ.get("MEDCOMPRESS_FUZZ_SEED", 1))


def fixture(name: str) -> surgery.File:
    return surgery.File.split((FIXTURES / f"{name}.mcz").read_bytes())


def refusal(file: surgery.File) -> str:
    """What is said against a file that must be refused, quickly and without taking much memory."""
    data = file.join()
    with limited_memory(BYTES):
        result = outcome(data)
    assert result == "refused"
    with pytest.raises(mc.FormatError) as caught:
        mc.decompress(data, threads=1)
    assert not mc.verify(data, threads=1).ok
    return str(caught.value)


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_files(target):
    results = fuzz(target, COUNT, SEED)
    print(f"{target}: {COUNT} files, seed {SEED}, {dict(results)}")
    assert results["broken"] == 0 and results["refused"] > COUNT / 2


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_files_by_both_decoders(target):
    """With any digest, so that what mutated payloads and models decode to is compared."""
    results = compare(target, COUNT // (8 if target in ("neural", "nagoor") else 2), SEED)
    print(f"{target}: seed {SEED}, {dict(results)}")
    assert results["differ"] == 0 and results["refused"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_many_mutated_files(target):
    assert fuzz(target, 20_000, SEED + 1)["broken"] == 0


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.mcz")), ids=lambda path: path.stem)
def test_corpus(path):
    """Files that reached new lines of the library when they were found, and those that once broke something."""
    result = outcome(path.read_bytes())
    assert is_good(result) if path.stem.startswith("crash-") else path.stem.startswith(f"{result}-")


# Decompression bombs


def test_metadata_that_inflates_far():
    file = fixture("metadata")
    squeezer = zlib.compressobj(1)
    file.metadata = b"".join(squeezer.compress(bytes(1 << 24)) for _ in range(24)) + squeezer.flush()
    assert "metadata" in refusal(file)


def test_intervals_that_inflate_far():
    import base64

    file = fixture("raw-plain")
    fields = file.fields
    fields["samples"]["intervals"] = base64.b64encode(zlib.compress(bytes(1 << 27), 9)).decode()[:2**18]
    file.fields = fields
    refusal(file)


def test_residue_that_inflates_far():
    file = fixture("raw-float32-noise")
    plane = zlib.compress(bytes(1 << 28), 9)
    file.slabs[0].residue = b"\x01" + len(plane).to_bytes(4, "little") + plane
    refusal(file)


@pytest.mark.parametrize("shape", [[2**31 - 1] * 3, [2**31, 1, 1], [1, 2**26, 2], [2**20, 2**10, 2**10], [0, 1, 1],
                                   [-1, -1, 1], [1e3, 1, 1], [2**70, 1, 1], [True, 1, 1], [4, 4], []])
def test_impossible_shapes(shape):
    file = fixture("raw-plain")
    file.fields = {**file.fields, "shape": shape}
    refusal(file)


@pytest.mark.parametrize("name", ["neural-tiny", "wavelet-tiny", "runs-tiny", "raw-plain"])
def test_more_voxels_than_the_payload_holds(name):
    """A slab of 16 million voxels is declared, which a payload of some hundred bytes may well be."""
    file = fixture(name)
    fields = file.fields
    fields.update(shape=[16, 1024, 1024], slab={"frames": 1, "slices": 16})
    file.fields, file.slabs = fields, file.slabs[:1]
    refusal(file)


@pytest.mark.parametrize(("name", "shape", "reason"), [
    ("wavelet-components", [1, 1, 1, 2**18], "levels"), ("progressive-components", [1, 1, 1, 2**18], "levels"),
    ("neural-tiny", [1, 1, 2**17 + 1], "steps"), ("nagoor-dark", [1, 1, 2**17 + 1], "steps"),
    ("runs-tiny", [2**14 + 1, 1, 1], "slices")])
def test_many_short_lines(name, shape, reason):
    """What would take gigabytes for margins, or minutes for steps of one voxel."""
    file = fixture(name)
    frames = shape[3] if len(shape) == 4 else 1
    file.fields = {**file.fields, "shape": shape, "slab": {"frames": frames, "slices": shape[0]}}
    file.slabs = file.slabs[:1]
    assert reason in refused_by_both(file)


@pytest.mark.parametrize("head", [
    b"\xff" * 9 + b"\x01",                       # 2^63 groups
    b"\x80\x80\x04",                             # 65536 groups, and nothing after
    b"\xf1\x01" + b"\xff\xff\xff\x7f" * 241,     # each group with 2^28 symbols
    b"\xf1\x01" + b"\x01" * 241 + b"\x1f\x00\x80\x80\x08" * 241,  # tables of 2^17 entries for single symbols
])
def test_tables_larger_than_their_use(head):
    for name in ("wavelet-tiny", "runs-tiny"):
        file = fixture(name)
        file.slabs[0].payload = (b"\x01\x01\x01" if name == "runs-tiny" else b"") + head
        refusal(file)


def test_a_million_slabs_that_are_not_there():
    file = fixture("raw-plain")
    file.fields = {**file.fields, "shape": [2**20, 1, 1], "slab": {"frames": 1, "slices": 1}}
    file.forced = {"slab_count": 2**20}
    refusal(file)


# JSON


NO_JSON = [b"[" * 2**20, b"",
           b'{"a":' * 2**18, b'{"a":' * 101 + b"1" + b"}" * 101, b"[" * 10**5 + b"]" * 10**5, b"null",
           b"\xef\xbb\xbf{}", b"\xff\xfe", b'{"axes":NaN}', b'{"axes":"kji","axes":"kji"}',
           b'{"shape":' + b"9" * 10**5 + b"}", b"{} {}", b"{}\0"]


@pytest.mark.parametrize("text", NO_JSON)
def test_text_that_is_no_json(text):
    file = fixture("raw-plain")
    file.header = text
    refusal(file)
    file = fixture("raw-plain")
    file.set_metadata(text)
    refusal(file)


@pytest.mark.parametrize("text", [b"{}", b'{"shape":[' + b"1," * 10**6 + b"1]}", b'{"axes":"\\ud800"}'])
def test_headers_that_say_nothing(text):
    file = fixture("raw-plain")
    file.header = text
    refusal(file)


def test_header_beyond_its_limit():
    file = fixture("raw-plain")
    file.header += b" " * 2**22
    refusal(file)


# Index


def test_slabs_that_overlap_or_repeat():
    whole = fixture("one-slice-slabs")
    place = 220 + len(whole.header) + len(whole.metadata) + 32 * len(whole.slabs) + len(whole.model)
    for number, offset in ((1, place), (0, place + 1), (0, 0), (3, 220), (1, 2**63), (1, 2**64 - 1)):
        file = fixture("one-slice-slabs")
        file.slabs[number].offset = offset
        refusal(file)
    swapped = fixture("one-slice-slabs")
    swapped.slabs[0], swapped.slabs[1] = swapped.slabs[1], swapped.slabs[0]
    refusal(swapped)
    every_slab_the_first = fixture("one-slice-slabs")
    for slab in every_slab_the_first.slabs:
        slab.offset = place
    refusal(every_slab_the_first)
    longer = fixture("one-slice-slabs")
    longer.slabs[0].payload_length = 2**32 - 1
    refusal(longer)


@pytest.mark.parametrize(("name", "where", "value"), [
    ("wavelet-default", "codec.config.more", 1), ("wavelet-default", "codec.config.points", [1, 2]),
    ("wavelet-default", "codec.config.maximum", 0), ("wavelet-default", "codec.more", 1),
    ("wavelet-default", "codec.preset", 1), ("wavelet-default", "slab.more", 1),
    ("wavelet-frames", "sequence.more", 1), ("wavelet-default", "samples.scale", None),
    ("wavelet-float32-scale", "samples.zeros", 0), ("wavelet-float32-scale", "samples.scale", 10**400),
    ("wavelet-default", "codec.config.bound", None), ("wavelet-default", "codec.config.regions", [0]),
    ("progressive-default-tables", "codec.config.bound", [1, 0, 2]),
    ("progressive-default-tables", "codec.config.steps", "none"),
    ("progressive-default-tables", "codec.config.more", 1), ("progressive-default-tables", "codec.config.tables", None),
    ("progressive-default-tables", "codec.config.regions", [0]),
    ("neural-default", "codec.config.more", 1), ("neural-default", "codec.config.temporal", 0),
    ("neural-default", "codec.config.maximum", "300"), ("neural-default", "codec.config.inputs", 1000),
    ("neural-default", "codec.config.radii", [[4.0, 3]]), ("neural-default", "codec.config.bound", None),
    ("neural-default", "codec.config.bound", [0, 0, 1]), ("neural-default", "codec.config.bound", [2**20 + 1, 0, 1]),
    ("neural-default", "codec.config.regions", [0]), ("neural-default", "codec.config.network", 5),
    ("neural-frames", "codec.config.temporal", False),
    ("neural-regions", "codec.config.regions", [0] * 4), ("neural-regions", "quality.regions", []),
    ("neural-regions", "quality.regions", [-1] * 4), ("neural-regions", "quality.max_error", 0),
    ("nagoor-dark", "codec.config.more", 1), ("nagoor-dark", "codec.config.maximum", 4),
    ("runs-tiny", "codec.config.more", 1), ("raw-plain", "codec.config.more", 1)])
def test_headers_beyond_the_description(name, where, value):
    """Each of these entries makes a file invalid, to both decoders."""
    file = fixture(name)
    fields = entry = file.fields
    *path, last = where.split(".")
    for key in path:
        entry = entry[key]
    entry[last] = value
    file.fields = fields
    refused_by_both(file)


def test_headers_with_what_a_decoder_ignores():
    """What a later encoder may add, and what may be left out."""
    file = fixture("wavelet-default")
    file.fields = {key: value for key, value in file.fields.items() if key != "sequence"} | {"more": [{"a": 1}]}
    assert mc.decompress(file.join(), threads=1).equals(
        mc.decompress((FIXTURES / "wavelet-default.mcz").read_bytes(), threads=1))
    assert reference.decode(file.join()).sequence is None


@pytest.mark.parametrize(("text", "good"), [
    (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", True), (b'{"a":' + b"[" * 64 + b"1" + b"]" * 64 + b"}", False),
    (b'{"a":' + b"[" * 65 + b"]" * 65 + b"}", False), (b'{"a":1e999}', False), (b'{"a":-1e999}', False),
    (b'{"a":"\\ud800"}', False), (b'{"\\ud800":1}', False), (b'{"a":"\\ud83d\\ude00"}', True)])
def test_metadata_at_and_beyond_its_limits(text, good):
    file = fixture("raw-plain")
    file.set_metadata(text)
    if good:
        assert mc.decompress(file.join()).metadata == json.loads(text)
        reference.decode(file.join())
    else:
        refused_by_both(file)


@pytest.mark.parametrize(("steps", "good"), [
    ([1e-200, 1, 1e200], True), ([0, 1, 1], False), ([1, 1, float("inf")], False)])
def test_matrices_at_and_beyond_their_limits(steps, good):
    file = fixture("raw-plain")
    for shear, fits in ((0, good), (3e8, good), (3e9, False)):
        matrix = np.diag([*steps, 1.0])
        matrix[0, 1] = shear * steps[0]
        matrix[0, 1] *= steps[1] / steps[0] if good else 1
        file.matrix = tuple(matrix.ravel().tolist())
        if fits:
            assert np.array_equal(mc.decompress(file.join()).ijk_to_ras, matrix)
            reference.decode(file.join())
        else:
            refused_by_both(file)


def test_models_with_what_is_not_described():
    for name in ("wavelet-tiny", "progressive-tiny", "runs-tiny", "raw-plain", "nagoor-dark"):
        file = fixture(name)
        file.model = b"\1\0"
        refused_by_both(file)


@pytest.mark.parametrize("name", ["wavelet-default", "neural-tiny", "runs-tiny", "nagoor-dark"])
def test_streams_of_another_number_of_groups(name):
    """None of those groups has a symbol, but they are not described."""
    file = fixture(name)
    reader = Bytes(file.slabs[0].payload)
    head = b"".join(varint(reader.varint()) for _ in range(3 if name == "runs-tiny" else 0))
    groups = reader.varint()
    assert groups in (241, 15, 108) or name == "neural-tiny"
    counts = [reader.varint() for _ in range(groups)] if name != "neural-tiny" else []
    rest = reader.take(len(reader.data) - reader.place)
    more = b"" if name == "neural-tiny" else b"\0"
    file.slabs[0].payload = head + varint(groups + 1) + b"".join(map(varint, counts)) + more + rest
    assert "groups" in refused_by_both(file)


# Models that try to leave the range in which floats are exact


def neural_file(experts: bytes | None, change: bytes) -> surgery.File:
    """A small neural file with other experts (None: its own) and a change of the network."""
    file = fixture("neural-tiny")
    own = Bytes(file.model)
    experts = own.take(own.varint()) if experts is None else experts
    file.model = b"".join(varint(len(part)) + part for part in (experts, change))
    return file


def varint(number: int) -> bytes:
    return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])


def refused_by_both(file: surgery.File) -> str:
    with pytest.raises(reference.RefusedError):
        reference.decode(file.join())
    return refusal(file)


@pytest.mark.parametrize(("layer", "weight", "grain"), [
    (0, 2**14, 1), (1, 2**14, 1), (-1, -2**15, 1), (0, 2**31 - 1, 255), (1, -2**31, 255), (0, 2**24, 128),
    (-1, 2**8, 255)])
def test_networks_that_leave_the_exact_range(layer, weight, grain):
    """All weights of a layer grow as far as that."""
    network = find_network(fixture("neural-tiny").fields["codec"]["config"]["network"])
    symbols = [np.zeros(each.size, np.int32) for each in network]
    symbols[layer][:] = weight
    groups = np.repeat(np.arange(len(network), dtype=np.uint8), [each.size for each in network])
    change = bytes([grain]) + encode_groups(np.concatenate(symbols), groups, len(network))
    assert "exact" in refused_by_both(neural_file(None, change)) or abs(weight * grain) >= 2**15


@pytest.mark.parametrize("weight", [2**27, 2**31 - 1, -2**31])
def test_experts_that_leave_the_exact_range(weight):
    number = len(Neural(fixture("neural-tiny").fields["codec"]["config"], fixture("neural-tiny").model).taps)
    symbols, groups = [1] * 4, [0] * 4
    for tap in list(range(1, number)) * 4:
        symbols.append(weight)
        groups.append(1 + tap.bit_length())
    for shift in (0, 14):
        experts = bytes([shift]) + encode_groups(np.array(symbols), np.array(groups, np.uint8), 16)
        refused_by_both(neural_file(experts, b""))


def test_other_networks():
    """A network that does not come with the software, and models that are no models."""
    file = fixture("neural-tiny")
    fields = file.fields
    fields["codec"]["config"]["network"] = "0" * 64
    file.fields = fields
    assert "model" in refused_by_both(file)
    for model in (b"", b"\0\0", b"\xff" * 20, b"\x01\x00\x00", fixture("neural-tiny").model + b"\0"):
        file = fixture("neural-tiny")
        file.model = model
        refused_by_both(file)


# Interrupted writing


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to be killed")
def test_killed_writers(tmp_path):
    results = kill_writers(tmp_path, 5, SEED, "wavelet")
    assert not [name for name in results if name.isupper()]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to be killed")
@pytest.mark.parametrize("codec", codec_ids(research=False))
def test_fifty_killed_writers(tmp_path, codec):
    results = kill_writers(tmp_path, 50, SEED, codec)
    print(dict(results))
    assert not [name for name in results if name.isupper()]


@contextmanager
def largest_file(size: int):
    """No file can grow beyond that size, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".mcz", *SUFFIXES])
def test_full_disk(tmp_path, suffix):
    path = tmp_path / f"volume{suffix}"
    new = np.random.default_rng(0).integers(0, 1000, (20, 32, 32)).astype(np.int16)
    mc.write(path, new // 10, threads=1)
    before = contents(tmp_path)
    for size in (0, 100, 10_000):
        with largest_file(size), pytest.raises(mc.MedCompressError, match=r"^[^\n]* cannot be written[^\n]*\.$"):
            mc.write(path, new, overwrite=True, threads=1)
        assert contents(tmp_path) == before
    mc.write(path, new, overwrite=True, threads=1)
    assert np.array_equal(mc.read(path).voxels, new)


def test_full_disk_while_the_first_file_is_written(tmp_path):
    with largest_file(300), pytest.raises(mc.MedCompressError):
        mc.write(tmp_path / "volume.mcz", np.arange(6000, dtype=np.int16).reshape(10, 20, 30))
    assert contents(tmp_path) == {}


FULL_FILE_SYSTEM = """
import sys
import numpy as np
import MedCompressLib as mc
from pathlib import Path
folder = Path(sys.argv[1])
new = np.random.default_rng(0).integers(0, 1000, (40, 64, 64)).astype(np.int16)
mc.write(folder / "volume.mcz", new // 50, threads=1)
before = (folder / "volume.mcz").read_bytes()
try:
    mc.write(folder / "volume.mcz", new, overwrite=True, threads=1)
except mc.MedCompressError as error:
    print(error)
assert (folder / "volume.mcz").read_bytes() == before
assert [path.name for path in folder.iterdir()] == ["volume.mcz"]
"""


def test_full_file_system(tmp_path):
    """A small tmpfs in a mount namespace of its own, where the system lets us have one."""
    def run_in_namespace(command: str, *arguments: str) -> subprocess.CompletedProcess:
        mount = f"mount -t tmpfs -o size=192k tmpfs '{tmp_path}'"
        return subprocess.run(["unshare", "-rm", "sh", "-c", f"{mount} && {command}", *arguments],
                              capture_output=True, text=True, check=False)

    if not shutil.which("unshare") or run_in_namespace("true").returncode:
        pytest.skip("this system gives no mount namespace to hold a small file system")
    result = run_in_namespace('exec "$0" -c "$1" "$2"', sys.executable, FULL_FILE_SYSTEM, str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "No space left on device" in result.stdout and result.stdout.count("\n") == 1


def test_reports_are_plain(tmp_path):
    """What `info` says of every file of the corpus that it can read is JSON."""
    for path in sorted(CORPUS.glob("*.mcz")):
        try:
            json.dumps(mc.info(path))
        except mc.FormatError:
            continue


@pytest.mark.parametrize("regions", [[0], [0, 3], 7, None])
def test_regions_that_only_the_codec_has(regions):
    """Without a map there is nothing to look them up in."""
    file = fixture("neural-near-lossless")
    codec = file.fields["codec"]
    file.fields = {**file.fields, "codec": {**codec, "config": {**codec["config"], "regions": regions}}}
    refusal(file)


def test_a_scale_that_is_no_double():
    file = fixture("raw-float32-noise")
    file.fields = {**file.fields, "samples": {**file.fields["samples"], "scale": 10**400}}
    assert "scale" in refusal(file)
