"""The codec `progressive`: the shared contract, and that every part of a file makes a preview of it."""

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import reference
import surgery
from codec_contract import CodecContract, check_limit_of_weights, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.progressive import Progressive

import MedCompressLib as mc
from MedCompressLib.codecs import get_codec
from MedCompressLib.codecs.progressive import ProgressiveCodec, schedule
from MedCompressLib.codecs.progressive.contexts import first_groups, plane_groups
from MedCompressLib.codecs.progressive.symbols import SymbolDecoder
from MedCompressLib.codecs.progressive.tables import Counter, Tables, check_numbers
from MedCompressLib.codecs.wavelet import lifting
from MedCompressLib.codecs.wavelet.contexts import Weights
from MedCompressLib.compiled import SWITCH
from MedCompressLib.container import Reader
from MedCompressLib.entropy.varint import write_varint
from MedCompressLib.errors import FormatError, UnsupportedError
from MedCompressLib.sources import open_file

MATRIX = np.array([[-0.5, 0, 0.2, 10], [0, 0.7, 0, -20], [0, 0.1, 3, 30], [0, 0, 0, 1.0]])


class TestProgressiveContract(CodecContract):
    codec_id = "progressive"
    examples = 8
    time_limit = 20.0
    damaged_shape = (1, 3, 16, 18)
    damages = 6


@cache
def scan() -> mc.Volume:
    """Like a CT: smooth parts, edges, noise; of several slabs."""
    return mc.Volume(anatomy((10, 64, 56)), MATRIX, metadata={"Modality": "CT"})


def anatomy(shape: tuple[int, int, int]) -> np.ndarray:
    k, j, i = np.indices(shape) * np.reshape([1, 96 / shape[1], 88 / shape[2]], (3, 1, 1, 1))
    body = 1000 * ((j - 48)**2 + (i - 44)**2 < 1400 + 40 * k) + 300 * ((j - 40)**2 + (i - 50)**2 < 99)
    waves = 150 * np.sin(j / 11) * np.cos(i / 9 + k / 5)
    noise = np.random.default_rng(1).normal(0, 9, body.shape)
    return (body + waves + noise - 1000).astype(np.int16)


@cache
def file() -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
        return mc.compress(scan(), codec="progressive")


def psnr(volume: mc.Volume) -> float:
    error = volume.voxels.astype(float) - scan().voxels
    return float(20 * np.log10(np.ptp(scan().voxels.astype(int)) / max(1e-9, np.sqrt((error**2).mean()))))


def slabs_start(data: bytes) -> int:
    return Reader(open_file(data)).slabs_start


def test_whole_file_is_exact():
    assert mc.decompress(file()).equals(scan())
    assert mc.preview(file()).equals(scan())
    assert mc.decompress(file(), budget=len(file())).equals(scan())
    assert mc.verify(file()).ok
    part = mc.decompress(file(), slices=slice(7, 9))
    assert np.array_equal(part.voxels, scan().voxels[7:9])


def test_it_costs_little():
    """On an image this small tables and weights count most; the benchmark has the figures for real ones."""
    volume = anatomy((8, 96, 88))
    assert len(mc.compress(volume, codec="progressive")) < 1.05 * len(mc.compress(volume, codec="wavelet"))


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**9))
def test_any_prefix_is_a_preview_or_refused(cut):
    cut %= len(file())
    data = file()[:cut]
    with pytest.raises(FormatError):
        mc.decompress(data)
    if cut < slabs_start(file()):
        with pytest.raises(FormatError):
            mc.preview(data)
        return
    volume = mc.preview(data)
    assert volume.shape == scan().shape and volume.dtype == scan().dtype
    mark = volume.metadata.pop("preview")
    assert mark["bytes"] <= cut and mark["file_bytes"] == len(file())
    assert volume.metadata == scan().metadata and np.array_equal(volume.ijk_to_ras, MATRIX)
    assert np.array_equal(mc.decompress(file(), budget=cut).voxels, volume.voxels)


def test_more_bytes_are_never_worse():
    start = slabs_start(file())
    reached = [psnr(mc.preview(file(), budget=int(start + share * (len(file()) - 1 - start))))
               for share in np.linspace(0, 1, 7)]
    assert all(later > earlier - 0.3 for earlier, later in itertools.pairwise(reached))
    assert reached[1] > 25 and reached[-1] > 50


@pytest.mark.parametrize("reduction", [1, 2, 3])
def test_reduced_volumes_lie_where_the_volume_lies(reduction):
    small = mc.preview(file(), reduction=reduction)
    step = 2**reduction
    assert small.shape == (10, 64 // step, 56 // step)
    assert np.allclose(small.ijk_to_ras[:, :2], step * MATRIX[:, :2])
    assert np.array_equal(small.ijk_to_ras[:, 2:], MATRIX[:, 2:])
    half = step // 2                       # (j, i) stands at (step j, step i), the middle of its square of voxels
    moved = np.pad(scan().voxels, ((0, 0), (half, 0), (half, 0)), "edge")[:, :64, :56]
    means = moved.reshape(10, 64 // step, step, 56 // step, step).mean((2, 4))
    assert np.corrcoef(small.voxels.ravel(), means.ravel())[0, 1] > 0.9
    early = mc.preview(file(), reduction=reduction, budget=0.15)
    assert early.metadata["preview"]["bytes"] <= 0.15 * len(file())


def test_a_reduction_reads_only_its_layers():
    small = mc.preview(file(), reduction=2)
    start = slabs_start(file())
    assert small.metadata["preview"]["bytes"] - start < 0.2 * (len(file()) - start)
    spoiled = bytearray(file())
    spoiled[-9] ^= 255                     # in the last layer of the last slab
    assert np.array_equal(mc.preview(bytes(spoiled), reduction=2).voxels, small.voxels)
    with pytest.raises(FormatError, match="checksum"):
        mc.preview(bytes(spoiled), budget=len(spoiled))


@pytest.mark.parametrize("budget", [0.3, 0.5, 0.9])
def test_slabs_decoded_together_are_the_same(monkeypatch, budget):
    """Also where the budget ends between two slabs."""
    volume = mc.Volume(anatomy((34, 40, 44)))
    monkeypatch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
    data = mc.compress(volume, codec="progressive")
    together = mc.preview(data, reduction=1, budget=budget, threads=1)
    monkeypatch.setattr("MedCompressLib.partial._BATCH_VOXELS", 1)
    assert np.array_equal(mc.preview(data, reduction=1, budget=budget, threads=2).voxels, together.voxels)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([np.int32, np.int64]), st.integers(0, 20))
def test_compiled_groups_are_the_same(seed, dtype, shift):
    pytest.importorskip("numba")
    rng = np.random.default_rng(seed)
    size = 2**int(rng.integers(1, 22))
    mean = rng.integers(-size, size, (3, 9, 11), dtype)
    spread = rng.integers(1, 1 + 2**int(rng.integers(0, 28)), mean.shape, dtype)
    steps = (rng.integers(-size, size, mean.shape) >> shift + 1).astype(np.int32)
    steps[rng.random(mean.shape) < 0.3] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "0")
        plain = [*first_groups(mean, spread, shift), plane_groups(steps, mean, spread, shift)]
    import numba  # noqa: F401
    compiled = [*first_groups(mean, spread, shift), plane_groups(steps, mean, spread, shift)]
    assert all(np.array_equal(*pair) for pair in zip(plain, compiled, strict=True))


@pytest.mark.parametrize(("shape", "axes"), [((1, 1, 1), "kji"), ((1, 1, 40), "kji"), ((40, 1, 1), "kji"),
                                             ((3, 2, 2), "kji"), ((3, 4, 30, 31), "tkji"), ((4, 30, 31, 3), "kjic"),
                                             ((2, 3, 30, 26, 2), "tkjic")])
def test_every_shape(shape, axes):
    voxels = (np.indices(shape).sum(0) * 37 % 101 + np.random.default_rng(2).integers(0, 9, shape)).astype(np.int16)
    volume = mc.Volume(voxels, axes=axes)
    data = mc.compress(volume, codec="progressive")
    assert mc.decompress(data).equals(volume)
    if mc.info(data)["codec"] == "progressive":         # which it is not where "raw" is smaller
        for budget in np.linspace(slabs_start(data), len(data), 4).astype(int).tolist():
            assert mc.preview(data[:budget]).shape == shape
    constant = mc.Volume(np.full(shape, 7, np.int16), axes=axes)
    assert mc.decompress(mc.compress(constant, codec="progressive")).equals(constant)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "int64", "uint64", "float32", "float64"])
def test_every_type(dtype):
    smooth_part = smooth((1, 6, 40, 42), 100)[0].astype(dtype)
    voxels = smooth_part * np.array(1.37).astype(dtype) if np.dtype(dtype).kind == "f" else smooth_part
    if dtype == "float64":
        voxels = voxels + np.random.default_rng(3).normal(0, 1e-9, voxels.shape)     # with a residue
    data = mc.compress(voxels, codec="progressive")
    assert np.array_equal(mc.decompress(data).voxels, voxels)
    near = mc.preview(data[:len(data) * 3 // 4])
    assert near.dtype == voxels.dtype
    assert np.abs(near.voxels.astype(float) - voxels).max() < 60
    assert mc.preview(data, reduction=1).shape == (6, 20, 21)


@pytest.mark.parametrize(("options", "words"), [
    ({"reduction": 99}, "reduction"), ({"reduction": -1}, "reduction"), ({"reduction": 1.5}, "reduction"),
    ({"budget": 10}, "budget"), ({"budget": -1}, "budget"), ({"budget": "much"}, "budget"),
    ({"budget": 1.5}, "budget")])
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(UnsupportedError, match=words):
        mc.preview(file(), **options)


def test_other_codecs_have_no_previews():
    for codec, words in (("wavelet", "compress with the codec 'progressive'"), ("raw", "samples as they are")):
        with pytest.raises(UnsupportedError, match=words):
            mc.preview(mc.compress(scan(), codec=codec), reduction=1)
    with pytest.raises(UnsupportedError, match="budget"):
        mc.decompress(file(), slices=slice(1), budget=9999)


def test_layers_end_with_every_bit_and_coarse_ones_come_first():
    layers = schedule.choose(lifting.forward(scan().voxels[np.newaxis].astype(np.int32), 3, 1))
    assert schedule.check([list(layer) for layer in layers], 3) == layers
    for level in range(3):
        assert [layer.shift for layer in layers if layer.level == level][-1] == 0
    for wrong in (None, [[0, 0]], [[0, 0], [1, 1]], [[0, 0], [1, 0], [1, 0]], [[0, 0], [1, 0], [2, 0]],
                  [[0, 27], [0, 0], [1, 0]], [[0, 0], [1, True]]):
        with pytest.raises(FormatError):
            schedule.check(wrong, 2)
    assert len(schedule.check([[0, 26], [0, 0], [1, 0]], 2)) == 3


def test_as_many_layers_as_there_may_be():
    all_shifts = [[level, shift] for level in range(9) for shift in reversed(range(27))]
    most = all_shifts + [[9, shift] for shift in reversed(range(12))]
    assert len(schedule.check(most, 10)) == 255
    with pytest.raises(FormatError):
        schedule.check([*all_shifts, *([9, shift] for shift in reversed(range(13)))], 10)


def test_every_plane_has_a_set_of_tables():
    layers = schedule.check([[1, 2], [0, 3], [1, 0], [0, 2], [0, 0]], 2)
    assert schedule.planes(layers) == [1, 1, 2, 1, 2]
    for right in ([0, 0, 1, 1, 1, 1, 1], [0, 1, 2, 3, 2, 4, 2]):
        assert check_numbers(right, layers) == right
    for wrong in (None, {}, [0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 1, 1, 1], [0, 0, 2, 1, 1, 1, 1],
                  [0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, True], [0, 0, 1, 1, 1, 1, -1]):
        with pytest.raises(FormatError, match="sets of tables"):
            check_numbers(wrong, layers)


def test_as_many_sets_as_there_may_be():
    layers = schedule.check([[level, shift] for level in range(10) for shift in (26, 0)], 10)
    assert sum(schedule.planes(layers)) == 270
    assert max(check_numbers([*range(255), *[254] * 15], layers)) == 254
    with pytest.raises(FormatError):
        check_numbers([*range(256), *[255] * 14], layers)


def test_planes_that_are_alike_share_a_set():
    layers = schedule.check([[1, 3], [0, 3], [1, 0], [0, 0]], 2)
    counters = [Counter(False, 1), Counter(False, 1), Counter(True, 3), Counter(True, 3)]
    rng = np.random.default_rng(5)
    for counter, share in zip(counters, (0.5, 0.5, 0.1, 0.1), strict=True):
        for plane in range(len(counter.counts)):
            groups = rng.integers(100, 130, 30_000)
            ones = rng.random(groups.shape) < (0.4 if plane == 2 else share)
            counter.code(groups, ones.astype(np.int32), plane)
    tables = Tables.fit(layers, counters, 1.0)
    assert tables.numbers == [0, 0, 1, 1, 2, 1, 1, 2]
    again = Tables.from_bytes(tables.to_bytes(), layers, tables.numbers)
    for place, count in enumerate(schedule.planes(layers)):
        assert [each.refined for each in again.of_layer(place)] == [place > 1] * count
    shares = [each.rows.lefts[each.rows.starts[110] + 2] / 2.0**24 for each in again.of_layer(3)]
    assert np.allclose(shares, [0.9, 0.9, 0.6], atol=0.02)             # of zeros among -1, 0 and 1


def test_there_are_never_more_sets_than_there_may_be():
    """Planes with so many symbols of so different shares that no two should be one."""
    layers = schedule.check([[level, shift] for level in range(10) for shift in (26, 0)], 10)
    counters = [Counter(refined, count) for refined, count in zip([False, True] * 10, [1, 26] * 10, strict=True)]
    rng = np.random.default_rng(6)
    for counter in counters:
        counter.counts[:, :300] = rng.integers(1, 10**5, (len(counter.counts), 300))
    assert set(Tables.fit(layers, counters, 1.0).numbers) == set(range(255))


def test_headers_with_other_sets_of_tables_are_refused():
    config = surgery.File.split(file()).fields["codec"]["config"]
    for tables in (config["tables"][:-1], [*config["tables"], 0], [0] * len(config["tables"]), "0"):
        check_refused(file(), codec={"id": "progressive", "preset": "default", "config": {**config, "tables": tables}})


def test_files_of_both_versions():
    """In the first, tables were those of the finest level or of all others."""
    folder = Path(__file__).parents[1] / "fixtures"
    for name, version in (("progressive-refined", 1), ("progressive-refined-tables", 2), ("wavelet-default", 1)):
        with open_file(folder / f"{name}.mcz") as stored:
            reader = Reader(stored)
            codec = get_codec(reader.header.codec_id).from_config(reader.header.codec_config, reader.model)
            assert reader.version == codec.format_version == version
    newest = surgery.File.split(file())
    newest.version = 3
    with pytest.raises(FormatError, match="reads up to 2; update"):
        mc.decompress(newest.join())
    with pytest.raises(reference.RefusedError):
        reference.decode(newest.join())


def test_weights_at_and_beyond_their_limit():
    slab = scan().voxels[np.newaxis, :4].astype(np.int32) + 2000
    codec = ProgressiveCodec.fit([slab], int(slab.max()), "default", (3.0, 0.7, 0.5))
    check_limit_of_weights(codec, next(iter(codec.weights[0, 0].values())).mean)


@pytest.mark.parametrize("maximum", [2**16 - 1, 2**24 - 1])
@pytest.mark.parametrize("seed", range(3))
def test_weights_that_no_encoder_chooses(maximum, seed, monkeypatch):
    """Few and of all sizes: means and residuals go far beyond 32 bits, and all decoders have the same."""
    rng = np.random.default_rng(seed)
    shape = (1, 3, 20, 21)
    slab = rng.integers(0, maximum + 1, shape).astype(np.int32)
    codec = ProgressiveCodec.fit([slab], maximum, "default", (3.0, 0.7, 0.5))
    for weights in codec.weights.values():
        for key, each in weights.items():
            weights[key] = Weights(*(
                np.rint(2.0**rng.uniform(0, 20, len(part)) * rng.choice([-1, 0, 1], len(part))).astype(np.int32)
                for part in (each.mean, each.spread)))
    chunks = codec.encode_layers(slab)
    for switch in "01":
        monkeypatch.setenv(SWITCH, switch)
        assert np.array_equal(codec.decode_layers([dict(enumerate(chunks))], shape)[0], slab)
    assert np.array_equal(Progressive(codec.get_config(), codec.model).decode(chunks, shape, 0), slab)


def test_distances_beyond_32_bits(monkeypatch):
    steps, shift = np.array([2**16, -2**16], np.int32), 10
    for switch in "01":
        monkeypatch.setenv(SWITCH, switch)
        first, second = plane_groups(steps, np.zeros(2, np.int32), np.ones(2, np.int32), shift)
        assert first == second == 240 + 11 - 11


def test_escapes_at_and_beyond_their_limit():
    def chunk(beyond: int) -> bytes:
        out = bytearray()
        write_varint(out, 1)
        write_varint(out, beyond)
        return bytes(out)

    SymbolDecoder([], [chunk(1 << 28)], 9)
    with pytest.raises(FormatError):
        SymbolDecoder([], [chunk((1 << 28) + 1)], 9)


def check_refused(data: bytes, **changed):
    """With these header fields neither the library nor the second decoder takes a file."""
    parts = surgery.File.split(data)
    parts.fields = {**parts.fields, **changed}
    with pytest.raises(FormatError):
        mc.decompress(parts.join())
    with pytest.raises(reference.RefusedError):
        reference.decode(parts.join())


@pytest.mark.parametrize("maximum, middle", [(0, 0), (7, 4), (1000, 500)])
def test_what_nothing_is_known_of_is_in_the_middle(maximum, middle):
    slab = np.arange(90, dtype=np.int32).reshape(1, 1, 9, 10) % (maximum + 1)
    codec = ProgressiveCodec.fit([slab], maximum, "default", (1.0, 1.0, 1.0))
    [preview] = codec.decode_layers([{}], slab.shape)
    assert preview.shape == slab.shape and np.all(preview == middle)


def test_headers_with_other_layers_are_refused():
    for layers in (0, 2, 256, 257, "3", None):
        check_refused(file(), layers=layers)


@cache
def middle() -> mc.Volume:
    return mc.Volume(np.ascontiguousarray(scan().voxels[:, 20:46, 20:46]), MATRIX)


def with_regions_first(labels: dict, quality: mc.ConstantBackground | None = None, **options) -> bytes:
    """The middle of the scan with labels at places of slices; slabs have two slices."""
    regions = np.zeros(middle().shape, np.uint8)
    for k, label in labels.items():
        regions[k, 9:15, 9:15] = label
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
        patch.setattr("MedCompressLib.slabs.SLAB_VOXELS", 2 * 26 * 26)
        return mc.compress(middle(), "progressive", quality=quality, roi=mc.RegionOfInterest(regions, **options))


@cache
def one_region_first() -> bytes:
    return with_regions_first({5: 1})


def test_regions_come_first_and_exact():
    data = with_regions_first({5: 1, 8: 2}, priorities={2: 7})
    assert mc.decompress(data).equals(middle())
    assert mc.info(data)["first_slices"] == [[[8, 9]], [[4, 5]]]
    start, found = slabs_start(data), []
    for share in (0.2, 0.45, 0.65):
        volume = mc.preview(data, budget=int(start + share * (len(data) - start)))
        found.append(volume.metadata["preview"]["exact_slices"])
        for first, last in found[-1]:
            assert np.array_equal(volume.voxels[first:last + 1], middle().voxels[first:last + 1])
    assert found == [[], [[8, 9]], [[4, 5], [8, 9]]]
    assert volume.metadata["preview"]["layers"] > 1                # the rest is known coarsely before
    assert mc.preview(data, 1).shape == (10, 13, 13)


def test_a_margin_takes_neighbouring_slabs_first_too():
    assert mc.info(one_region_first())["first_slices"] == [[[4, 5]]]
    assert mc.info(with_regions_first({5: 1}, margin=4.0))["first_slices"] == [[[4, 7]]]
    assert "first_slices" not in mc.info(with_regions_first({}))


def test_without_a_region_nothing_changes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
        nowhere = mc.RegionOfInterest(np.zeros(scan().shape, bool))
        assert mc.compress(scan(), "progressive", roi=nowhere) == file()


def test_a_constant_background_keeps_its_regions_first():
    data = with_regions_first({9: 1}, mc.ConstantBackground(-1000))
    assert mc.info(data)["first_slices"] == [[[8, 9]]]
    voxels = mc.decompress(data).voxels
    assert np.array_equal(voxels[9, 9:15, 9:15], middle().voxels[9, 9:15, 9:15]) and np.all(voxels[:9] == -1000)


@pytest.mark.parametrize("first", [
    None, [], {}, {"after": 1}, {"after": 0, "slabs": [[0]]}, {"after": 99, "slabs": [[0]]},
    {"after": True, "slabs": [[0]]}, {"after": 1, "slabs": 3}, {"after": 1, "slabs": [[]]}, {"after": 1, "slabs": [0]},
    {"after": 1, "slabs": [[0, 0]]}, {"after": 1, "slabs": [[-1]]}, {"after": 1, "slabs": [[0], [0]]},
    {"after": 1, "slabs": [[77]]}, {"after": 1, "slabs": [["0"]]},
    {"after": 1, "slabs": [[1]], "more": 1}])
def test_headers_with_impossible_first_slabs_are_refused(first):
    check_refused(one_region_first(), first=first)


def test_first_slabs_need_layers():
    check_refused(mc.compress(middle(), "wavelet"), first={"after": 1, "slabs": [[0]]})


def test_the_reference_makes_the_same_previews():
    voxels = scan().voxels[:4, 30:56, 31:58]
    last = mc.RegionOfInterest(np.arange(4)[:, None, None] + np.zeros(voxels.shape, np.uint8) == 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
        patch.setattr("MedCompressLib.slabs.SLAB_VOXELS", 2 * 26 * 27)
        plain, last_first = (mc.compress(voxels, codec="progressive", roi=roi) for roi in (None, last))
    for data, budget, reduction in ((plain, 0.6, 0), (last_first, 0.8, 0), (plain, 0.7, 1)):
        ours = mc.preview(data, reduction, budget)
        theirs = reference.preview(data, reduction, int(budget * len(data)))
        assert np.array_equal(ours.voxels, theirs)
    assert mc.preview(last_first, budget=0.8).metadata["preview"]["exact_slices"] == [[2, 3]]
