"""`LazyVolume` against the array in memory: the contract of an array proxy, in the manner of nibabel's."""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import MedCompressLib as mc
from MedCompressLib import lazy as lazy_module
from MedCompressLib.container import Reader
from MedCompressLib.decode import StoredSlabs
from MedCompressLib.slabs import SlabGrid

MATRIX = np.array([[0.5, 0, 0, 1], [0, -0.5, 0, 2], [0, 0.25, 2.0, 3], [0, 0, 0, 1]])
SHAPES = {"kji": (23, 9, 8), "kjic": (14, 7, 6, 3), "tkji": (5, 9, 6, 7), "tkjic": (4, 6, 5, 4, 3)}
INDICES = [0, -1, np.int64(2), ..., None, (), slice(None), slice(2, 7), slice(7, 2, -1), slice(None, None, -3),
           slice(4, 4), (slice(1, None, 2), slice(None, None, -1), slice(2, 5)), (..., 1), (1, ..., 2),
           (..., slice(None, None, -2), -1), (None, 2, ..., None), (slice(3), 2, slice(1, 4))]


def volume_of(axes: str) -> mc.Volume:
    shape = SHAPES[axes]
    voxels = (np.cumsum(np.random.default_rng(len(axes)).integers(-3, 4, shape), axis=-1)).astype(np.int16)
    sequence = mc.SequenceAxis("time", "s", [f"{n}.5" for n in range(shape[0])]) if "t" in axes else None
    return mc.Volume(voxels, MATRIX, axes, sequence, {"patient": {"name": "none"}})


@pytest.fixture(params=SHAPES)
def volume(request):
    return volume_of(request.param)


@pytest.fixture(params=["slices", "frames", "everything"])
def cut_small(request, monkeypatch):
    """Make the encoder cut small volumes into many slabs, along k, along the frames, or along both."""
    def choose(shape, preferred_slices):
        frames, slices = {"slices": (shape[0], 4), "frames": (2, shape[1]), "everything": (2, 4)}[request.param]
        return SlabGrid(shape, min(frames, shape[0]), min(slices, shape[1]))

    monkeypatch.setattr(SlabGrid, "choose", choose)


def plain_files(volume, folder):
    """The volume in every format whose voxels can be read in place."""
    import SimpleITK

    from MedCompressLib.image_files import nrrd
    header = "\n".join(nrrd._header_lines("x.nrrd", volume)).replace("encoding: gzip", "encoding: raw")
    (folder / "attached.nrrd").write_bytes(header.encode() + b"\n\n" + volume.voxels.tobytes())
    (folder / "big.nrrd").write_bytes(header.replace("endian: little", "endian: big").encode() + b"\n\n"
                                      + volume.voxels.astype(">i2").tobytes())
    (folder / "detached.nhdr").write_bytes(header.encode() + b"\nbyte skip: 7\ndata file: voxels.raw\n")
    (folder / "voxels.raw").write_bytes(b"skip me" + volume.voxels.tobytes())
    (folder / "skipped.nhdr").write_bytes(header.encode() + b"\nbyte skip: -1\ndata file: voxels.raw\n")
    names = ["attached.nrrd", "big.nrrd", "detached.nhdr", "skipped.nhdr"]
    parts = len(volume.voxels)
    listing = "\n".join(f"part{number}.raw" for number in range(parts))
    (folder / "parts.nhdr").write_bytes(header.encode() + f"\ndata file: LIST\n{listing}\n".encode())
    for number, part in enumerate(volume.voxels):
        (folder / f"part{number}.raw").write_bytes(part.tobytes())
    image = SimpleITK.GetImageFromArray(volume.voxels, isVector="c" in volume.axes)
    for name in ("image.mha", "image.mhd"):
        SimpleITK.WriteImage(image, str(folder / name), useCompression=False)
    np.save(folder / "array.npy", volume.voxels)
    return [folder / name for name in [*names, "parts.nhdr", "image.mha", "image.mhd", "array.npy"]]


class TestContract:
    """What every proxy promises, whatever it reads from."""

    def check(self, lazy, volume):
        assert lazy.is_proxy
        assert (lazy.shape, lazy.dtype, lazy.ndim) == (volume.shape, volume.dtype, volume.voxels.ndim)
        assert (lazy.size, lazy.nbytes, len(lazy)) == (volume.voxels.size, volume.voxels.nbytes, len(volume.voxels))
        assert np.array_equal(lazy.ijk_to_ras, volume.ijk_to_ras)
        assert (lazy.axes, lazy.sequence, lazy.metadata) == (volume.axes, volume.sequence, volume.metadata)
        assert (lazy.frames, lazy.components, lazy.spacing) == (volume.frames, volume.components, volume.spacing)
        with pytest.raises(AttributeError):
            lazy.shape = (1,)
        with pytest.raises(TypeError):
            lazy[0] = 0
        assert lazy.load().equals(volume)
        for array in (np.asarray(lazy), np.array(lazy), lazy[...]):
            assert array.dtype == volume.dtype and np.array_equal(array, volume.voxels)
        assert np.asarray(lazy, dtype=np.float32).dtype == np.float32
        with pytest.raises(ValueError, match="without a copy"):
            np.asarray(lazy, copy=False)
        for index in INDICES:
            expected, got = volume.voxels[index], lazy[index]
            assert type(got) is type(expected) or isinstance(got, np.ndarray)
            assert got.shape == expected.shape and np.array_equal(got, expected), index
        single = (1,) * lazy.ndim
        assert isinstance(lazy[single], np.int16) and lazy[single] == volume.voxels[single]
        first = lazy[0]
        first[...] = 77  # a copy of the caller's, which later calls do not see
        assert np.array_equal(lazy[0], volume.voxels[0])
        assert np.array_equal(np.stack(list(lazy)), volume.voxels)
        assert np.array_equal(np.mean(lazy, axis=0), np.mean(volume.voxels, axis=0))
        pieces = list(lazy.slabs())
        assert all(np.array_equal(volume.voxels[index], piece) for index, piece in pieces)
        assert b"".join(piece.tobytes() for _, piece in pieces) == volume.voxels.tobytes()
        assert np.array_equal(np.asarray(lazy.as_frames()), volume.as_frames())
        for bad in (len(lazy), -len(lazy) - 1, (0,) * (lazy.ndim + 1), (..., ...)):
            with pytest.raises(IndexError):
                lazy[bad]
        for bad in ([0, 1], np.array([True]), True, 1.0, "k", volume.voxels > 0):
            with pytest.raises(IndexError):
                lazy[bad]

    def test_compressed(self, volume, cut_small):
        with mc.open(mc.compress(volume)) as lazy:
            self.check(lazy, volume)

    def test_compressed_file(self, volume, tmp_path):
        mc.write(tmp_path / "a.mcz", volume)
        with mc.open(tmp_path / "a.mcz", threads=1) as lazy:
            self.check(lazy, volume)
        with pytest.raises(mc.MedCompressError, match="closed"):
            lazy[0]

    def test_plain_files(self, volume, tmp_path, monkeypatch):
        monkeypatch.setattr("MedCompressLib.image_files.plain.PIECE_VOXELS", 200)
        for path in plain_files(volume, tmp_path):
            with mc.open(path) as lazy:
                assert type(lazy._source).__name__ == "PlainSlabs", path.name
                self.check(lazy, mc.read(path))
            for use in (lambda lazy: lazy[0], np.asarray, list, lambda lazy: lazy.load()):
                with pytest.raises(mc.MedCompressError, match="closed"):
                    use(lazy)

    def test_files_that_are_read_whole(self, volume, tmp_path):
        for name in ("a.nrrd", "a.nii.gz"):
            mc.write(tmp_path / name, volume)
            with mc.open(tmp_path / name) as lazy:
                self.check(lazy, mc.read(tmp_path / name))

    def test_pickling_is_refused_in_one_sentence(self, volume):
        with mc.open(mc.compress(volume)) as lazy, pytest.raises(mc.UnsupportedError, match="open the file again"):
            pickle.dumps(lazy)

    def test_of_a_volume_in_memory(self, volume):
        self.check(mc.LazyVolume.of(volume), volume)

    @settings(deadline=None, max_examples=60)
    @given(data=st.data(), axes=st.sampled_from(list(SHAPES)))
    def test_any_index(self, data, axes):
        volume = volume_of(axes)
        lazy = mc.LazyVolume.of(volume)
        frames, slices = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
        lazy._source.grid = SlabGrid(lazy._source.grid.shape, frames, slices)
        index = tuple(data.draw(st.one_of(st.integers(-length, length - 1), st.slices(length)))
                      for length in volume.shape[:data.draw(st.integers(0, volume.voxels.ndim))])
        assert np.array_equal(lazy[index], volume.voxels[index])


class TestWhatIsTouched:
    @pytest.fixture
    def counted(self, monkeypatch):
        monkeypatch.setattr(SlabGrid, "choose", lambda shape, preferred: SlabGrid(shape, 1, 4))
        data = mc.compress(volume_of("kji"))
        loaded = []
        load = StoredSlabs.load
        monkeypatch.setattr(StoredSlabs, "load", lambda self, number: loaded.append(number) or load(self, number))
        return data, loaded

    def test_only_slabs_that_are_asked_for(self, counted):
        data, loaded = counted
        with mc.open(data) as lazy:
            assert loaded == []
            lazy[9:12, 2]
            assert loaded == [2]
            lazy[::8]
            assert sorted(set(loaded)) == [0, 2, 4]

    def test_slice_by_slice_decodes_each_slab_once(self, counted):
        data, loaded = counted
        with mc.open(data) as lazy:
            for _ in lazy:
                pass
            list(lazy[::-1])
        assert sorted(loaded) == [0, 1, 2, 3, 4, 5]

    def test_kept_slabs_are_bounded(self, counted, monkeypatch):
        data, loaded = counted
        monkeypatch.setattr(lazy_module, "CACHE_BYTES", 2 * 4 * 9 * 8 * 2)
        with mc.open(data, threads=1) as lazy:
            for _ in range(2):
                np.asarray(lazy)
            assert len(loaded) == 12
            assert len(lazy._source._kept) == 2

    def test_many_threads_on_one_object(self, tmp_path, monkeypatch):
        monkeypatch.setattr(SlabGrid, "choose", lambda shape, preferred: SlabGrid(shape, 1, 3))
        monkeypatch.setattr(lazy_module, "CACHE_BYTES", 1)
        volume = volume_of("kji")
        mc.write(tmp_path / "a.mcz", volume)
        order = np.random.default_rng(0).integers(0, len(volume.voxels), 200)
        with mc.open(tmp_path / "a.mcz") as lazy, ThreadPoolExecutor(8) as pool:
            for number, got in zip(order, pool.map(lambda number: lazy[number], order), strict=True):
                assert np.array_equal(got, volume.voxels[number])


class TestDamage:
    def test_a_damaged_slab_is_told_when_it_is_asked_for(self, monkeypatch):
        monkeypatch.setattr(SlabGrid, "choose", lambda shape, preferred: SlabGrid(shape, 1, 4))
        volume = volume_of("kji")
        data = bytearray(mc.compress(volume))
        offset = int(Reader(io.BytesIO(bytes(data))).index["offset"][3])
        data[offset + 4] ^= 1
        with mc.open(bytes(data)) as lazy:
            assert np.array_equal(lazy[:12], volume.voxels[:12])
            with pytest.raises(mc.FormatError, match="slab 3"):
                lazy[13]

    def test_digest_of_the_whole_volume_is_checked(self, monkeypatch):
        monkeypatch.setattr(SlabGrid, "choose", lambda shape, preferred: SlabGrid(shape, 1, 4))
        lazy = mc.open(mc.compress(volume_of("kji")))
        lazy._source._reader.voxel_digest = bytes(32)
        with pytest.raises(mc.FormatError, match="SHA-256"):
            list(lazy.slabs())

    @pytest.mark.parametrize("name", ["attached.nrrd", "voxels.raw", "part3.raw", "image.mha", "image.raw",
                                      "array.npy"])
    def test_truncated_files(self, name, tmp_path):
        plain_files(volume_of("kji"), tmp_path)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[:-10])
        header = {"voxels.raw": "detached.nhdr", "part3.raw": "parts.nhdr", "image.raw": "image.mhd"}.get(name, name)
        with pytest.raises(mc.FormatError, match="truncated"):
            mc.open(tmp_path / header)

    def test_a_file_that_shrinks_while_it_is_read(self, tmp_path):
        plain_files(volume_of("kji"), tmp_path)
        with mc.open(tmp_path / "detached.nhdr") as lazy:
            (tmp_path / "voxels.raw").write_bytes(b"short")
            with pytest.raises(mc.FormatError, match="shorter"):
                lazy[20]

    def test_what_is_no_volume(self, tmp_path):
        with pytest.raises(mc.MedCompressError, match="no file"):
            mc.open(tmp_path / "absent.mcz")
        with pytest.raises(mc.FormatError, match=r"not an \.mcz"):
            mc.open(b"something else entirely")
        with pytest.raises(mc.UnsupportedError, match="not int"):
            mc.open(7)
        (tmp_path / "a.mcz").write_bytes(b"something else entirely")
        with pytest.raises(mc.FormatError, match=r"a\.mcz"):
            mc.open(tmp_path / "a.mcz")


class TestThroughFiles:
    """A lazy volume in, the same bytes out as of the volume in memory."""

    def test_compressing(self, volume, tmp_path):
        for path in plain_files(volume, tmp_path)[:2]:
            with mc.open(path) as lazy:
                assert mc.compress(lazy, "wavelet") == mc.compress(mc.read(path), "wavelet")
                mc.write(tmp_path / "a.mcz", lazy, overwrite=True)
            assert mc.read(tmp_path / "a.mcz").equals(mc.read(path))

    @pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.nii", "a.nii.gz"])
    def test_restoring(self, name, volume, cut_small, tmp_path):
        data = mc.compress(volume)
        mc.write(tmp_path / name, volume)
        files = sorted(path for path in tmp_path.iterdir())
        expected = [path.read_bytes() for path in files]
        seen = []
        with mc.open(data) as lazy:
            mc.write(tmp_path / name, lazy, overwrite=True, progress=seen.append)
        assert [path.read_bytes() for path in files] == expected
        assert seen[-1] == 1 and seen == sorted(seen)

    def test_metaimage_takes_it_whole(self, volume, tmp_path):
        with mc.open(mc.compress(volume)) as lazy:
            mc.write(tmp_path / "a.mha", lazy)
        assert np.array_equal(mc.read(tmp_path / "a.mha").voxels, volume.voxels)

    def test_cancelling_leaves_nothing(self, tmp_path):
        def cancel(fraction):
            raise mc.Cancelled("enough")

        with mc.open(mc.compress(volume_of("kji"))) as lazy, pytest.raises(mc.Cancelled):
            mc.write(tmp_path / "a.nrrd", lazy, progress=cancel)
        assert list(tmp_path.iterdir()) == []


class TestNpy:
    @pytest.mark.parametrize("axes", ["kji", "kjic", "tkji", "tkjic"])
    def test_round_trip(self, axes, tmp_path):
        volume = mc.Volume(volume_of(axes).voxels, axes=axes)
        if axes == "kjic":
            volume = mc.Volume(volume.voxels[..., :2], axes=axes)
        mc.write(tmp_path / "a.npy", volume)
        assert mc.read(tmp_path / "a.npy").equals(volume)
        assert np.array_equal(np.load(tmp_path / "a.npy"), volume.voxels)

    def test_other_orders_are_read(self, tmp_path):
        voxels = np.arange(60, dtype=">u4").reshape(3, 4, 5)
        np.save(tmp_path / "big.npy", voxels)
        np.save(tmp_path / "fortran.npy", np.asfortranarray(voxels.astype("<u4")))
        for name in ("big.npy", "fortran.npy"):
            assert np.array_equal(mc.read(tmp_path / name).voxels, voxels)
            assert np.array_equal(mc.open(tmp_path / name)[1:, ::-1], voxels[1:, ::-1])

    def test_what_it_cannot_hold_is_refused(self, tmp_path):
        voxels = np.zeros((4, 3, 2), np.uint8)
        sequence = mc.SequenceAxis("time", "s", ["1", "2", "3", "4"])
        for volume, word in ((mc.Volume(voxels, MATRIX), "matrix"), (mc.Volume(voxels, metadata={"a": 1}), "metadata"),
                             (mc.Volume(voxels[:, None], axes="tkji", sequence=sequence), "sequence axis"),
                             (mc.Volume(np.zeros((9, 3, 2, 2), np.uint8), axes="tkji"), "axes")):
            with pytest.raises(mc.UnsupportedError, match=word):
                mc.write(tmp_path / "a.npy", volume)
        assert list(tmp_path.iterdir()) == []

    def test_damage(self, tmp_path):
        np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
        (tmp_path / "empty.npy").write_bytes(b"")
        (tmp_path / "text.npy").write_bytes(b"no array at all, but text")
        for name in ("objects.npy", "empty.npy", "text.npy"):
            with pytest.raises(mc.FormatError, match="NPY"):
                mc.read(tmp_path / name)
