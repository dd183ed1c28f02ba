"""read, write, compress, decompress, verify, info: what goes in comes out, what cannot is refused in one sentence."""

import json
import math
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import MedCompressLib as mc
from MedCompressLib.codecs import codec_ids
from MedCompressLib.codecs.raw import RawCodec
from MedCompressLib.encode import choose_codec
from MedCompressLib.volume import DTYPES

LEFT_HANDED = np.array([[-0.7, 0.1, 0.3, -101.25], [0.2, 0.8, -0.1, 33.3], [0.05, -0.2, -2.5, 1e-7], [0, 0, 0, 1]])
SHAPES = {"kji": (7, 11, 13), "kjic": (7, 9, 5, 3), "tkji": (4, 3, 11, 13), "tkjic": (3, 4, 5, 6, 2)}


def example(dtype: np.dtype, axes: str) -> mc.Volume:
    """Random bits: with floats also NaN of all kinds, infinities, subnormals and negative zeros."""
    shape = SHAPES[axes]
    rng = np.random.default_rng(len(axes) + DTYPES.index(dtype))
    voxels = np.frombuffer(rng.bytes(math.prod(shape) * dtype.itemsize), dtype=dtype).reshape(shape).copy()
    if dtype.kind == "f":
        voxels.ravel()[:4] = -0.0, np.inf, -np.inf, np.nan
    sequence = mc.SequenceAxis("b-value", "s/mm²", [f"{n}.50" for n in range(shape[0])]) if "t" in axes else None
    return mc.Volume(voxels, LEFT_HANDED, axes, sequence, {"name": "Ω", "list": [1, 1.5, None, {}]})


@pytest.fixture
def several_slabs(monkeypatch):
    """Also small volumes are cut."""
    monkeypatch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
    monkeypatch.setattr("MedCompressLib.slabs.SLAB_VOXELS", 600)


class TestRoundTrip:
    @pytest.mark.parametrize("axes", SHAPES)
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("codec", ["raw", "auto"])
    def test_every_type_and_axes(self, codec, dtype, axes, several_slabs):
        volume = example(dtype, axes)
        data = mc.compress(volume, codec=codec)
        again = mc.decompress(data)
        assert again.equals(volume)
        assert again.voxels.flags.c_contiguous and again.voxels.flags.writeable
        assert again.sequence == volume.sequence
        assert mc.verify(data).ok

    @pytest.mark.parametrize("codec", codec_ids())
    @pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 7), (3, 1, 1), (20, 30, 31), (2, 5, 6, 7)])
    def test_every_codec(self, codec, shape):
        rng = np.random.default_rng(1)
        voxels = np.add.accumulate(rng.integers(-20, 21, shape), axis=-1).astype(np.int16)
        data = mc.compress(voxels, codec=codec)
        assert np.array_equal(mc.decompress(data).voxels, voxels)
        assert mc.info(data)["codec"] in (codec, "raw")

    @pytest.mark.parametrize("array", [
        np.asfortranarray(np.arange(60, dtype=np.uint16).reshape(3, 4, 5)),
        np.arange(480, dtype=np.int32).reshape(6, 8, 10)[::2, ::-2, ::3],
        np.arange(60, dtype=">i2").reshape(3, 4, 5),
        np.broadcast_to(np.float32(-0.0), (3, 4, 5))], ids=["fortran", "strided", "big-endian", "broadcast"])
    def test_any_layout(self, array):
        again = mc.decompress(mc.compress(array)).voxels
        assert np.array_equal(again, array)
        assert again.dtype == array.dtype.newbyteorder("=")

    def test_input_is_not_changed(self):
        volume = example(np.dtype("float32"), "tkji")
        before = volume.voxels.copy()
        volume.voxels.flags.writeable = False
        mc.compress(volume)
        assert volume.voxels.tobytes() == before.tobytes()

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_noise_does_not_grow(self, dtype):
        rng = np.random.default_rng(2)
        voxels = np.frombuffer(rng.bytes(4 * 40 * 40 * dtype.itemsize), dtype=dtype).reshape(4, 40, 40)
        data = mc.compress(voxels)
        assert len(data) <= voxels.nbytes + 640  # fixed part, header, one index entry
        assert mc.decompress(data).voxels.tobytes() == voxels.tobytes()

    @pytest.mark.parametrize("codec", codec_ids())
    def test_a_model_that_does_not_pay_is_left_out(self, codec):
        data = mc.compress(np.arange(6, dtype=np.uint8).reshape(1, 2, 3), codec=codec)
        assert len(data) < 640 and mc.info(data)["section_bytes"]["model"] <= 6

    @pytest.mark.parametrize(("name", "slices"), [("train/dwi4d_canon_galan.nrrd", 1),
                                                  ("train/mr_phase_prisma_fieldmap.nrrd", 40),
                                                  ("public/us_reconstructed_lnlate_f32.nrrd", 1),
                                                  ("public/seg_body_siemens_mct_total.nrrd", 6)])
    def test_real_volumes(self, name, slices, data_file, tmp_path):
        volume = mc.read(data_file(name))
        volume = mc.decompress(mc.compress(volume, codec="raw"), slices=slice(0, slices))
        path = tmp_path / "volume.mcz"
        mc.write(path, volume, threads=2)
        assert mc.read(path).equals(volume)
        assert mc.compress(volume, threads=1) == path.read_bytes()
        assert path.stat().st_size < volume.voxels.nbytes


class TestThreads:
    @pytest.mark.parametrize("codec", codec_ids(research=False))
    def test_same_bytes(self, codec, monkeypatch):
        monkeypatch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
        monkeypatch.setattr("MedCompressLib.slabs.SLAB_VOXELS", 4000)
        rng = np.random.default_rng(3)
        voxels = np.add.accumulate(rng.integers(-9, 10, (17, 20, 40)), axis=1).astype(np.int16)
        alone = mc.compress(voxels, codec=codec, threads=1)
        for threads in (2, 5, None):
            assert mc.compress(voxels, codec=codec, threads=threads) == alone
        assert mc.info(alone)["slabs"]["count"] > 2
        for threads in (1, 2, 5):
            assert np.array_equal(mc.decompress(alone, threads=threads).voxels, voxels)

    @pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
    def test_wrong_number(self, threads):
        with pytest.raises(mc.UnsupportedError, match="number of threads"):
            mc.compress(np.zeros((1, 2, 3), np.uint8), threads=threads)


class TestSlices:
    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(st.one_of(st.none(), st.integers(-60, 60)), st.one_of(st.none(), st.integers(-60, 60)))
    def test_like_indexing(self, start, stop):
        volume, data = self.cut_volume()
        wanted = volume.voxels[:, start:stop]
        if not wanted.size:
            with pytest.raises(mc.UnsupportedError, match="no slices"):
                mc.decompress(data, slices=slice(start, stop))
            return
        part = mc.decompress(data, slices=slice(start, stop))
        assert np.array_equal(part.voxels, wanted)
        first = slice(start, stop).indices(40)[0]
        assert np.allclose(part.ijk_to_ras @ [3, 2, 1, 1], volume.ijk_to_ras @ [3, 2, 1 + first, 1], atol=1e-12)
        assert np.array_equal(part.ijk_to_ras[:, :3], volume.ijk_to_ras[:, :3])
        assert part.sequence == volume.sequence and part.metadata == volume.metadata

    @staticmethod
    def cut_volume():
        """A sequence cut both ways."""
        voxels = np.random.default_rng(4).integers(0, 1000, (5, 40, 6, 7), dtype=np.int16)
        volume = mc.Volume(voxels, LEFT_HANDED, "tkji", metadata={"a": 1})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
            patch.setattr("MedCompressLib.slabs.SLAB_VOXELS", 2 * 14 * 6 * 7)
            data = mc.compress(volume, codec="raw")
        assert mc.info(data)["slabs"] == {"count": 9, "frames": 2, "slices": 14, "stored_verbatim": 0}
        return volume, data

    @pytest.mark.parametrize("slices", [slice(0, 4, 2), slice(4, 0, -1), 3, (1, 2), slice("a", None), slice(0.5, 2)])
    def test_refused(self, slices):
        with pytest.raises(mc.UnsupportedError, match="lices"):
            mc.decompress(mc.compress(np.zeros((9, 2, 2), np.uint8)), slices=slices)


class TestArguments:
    @pytest.mark.parametrize(("arguments", "reason"), [
        ({"codec": "zip"}, "no codec 'zip'; use one of auto, "), ({"codec": None}, "no codec None"),
        ({"codec": "raw", "preset": "best"}, "no preset 'best'; use one of plain"),
        ({"preset": 7}, "no preset 7")])
    def test_codec_and_preset(self, arguments, reason):
        with pytest.raises(mc.UnsupportedError, match=reason):
            mc.compress(np.zeros((1, 2, 3), np.uint8), **arguments)

    @pytest.mark.parametrize("volume", [None, [[1, 2]], "chest.nrrd", np.zeros((2, 2)), np.zeros((0, 2, 2)),
                                        np.zeros((1, 2, 3), complex), np.zeros((1, 2, 3), bool)])
    def test_not_a_volume(self, volume):
        with pytest.raises(mc.UnsupportedError):
            mc.compress(volume)

    @pytest.mark.parametrize("data", [None, 7, [1, 2]])
    def test_not_data(self, data):
        for function in (mc.decompress, mc.verify, mc.info):
            with pytest.raises(mc.UnsupportedError, match=r"Give the bytes of an .mcz file or its path"):
                function(data)

    @pytest.mark.parametrize("function", [mc.decompress, mc.verify, mc.info, mc.read])
    def test_no_such_file(self, function, tmp_path):
        with pytest.raises(mc.MedCompressError, match=r"There is no file .*nothing.mcz"):
            function(tmp_path / "nothing.mcz")

    @pytest.mark.parametrize("function", [mc.decompress, mc.verify, mc.info])
    def test_folder(self, function, tmp_path):
        with pytest.raises(mc.MedCompressError, match="cannot be read"):
            function(tmp_path)


class TestProgress:
    @pytest.mark.parametrize("threads", [1, 3])
    def test_rises_to_one_in_this_thread(self, threads, tmp_path, several_slabs):
        volume = example(np.dtype("int16"), "tkji")
        data = mc.compress(volume, codec="raw")
        calls = {"compress": lambda report: mc.compress(volume, codec="raw", progress=report,
                                                           threads=threads),
                 "write": lambda report: mc.write(tmp_path / "a.mcz", volume, codec="raw", progress=report,
                                                  threads=threads),
                 "decompress": lambda report: mc.decompress(data, progress=report, threads=threads),
                 "read": lambda report: mc.read(tmp_path / "a.mcz", progress=report, threads=threads),
                 "verify": lambda report: mc.verify(data, progress=report, threads=threads)}
        for name, call in calls.items():
            seen = []
            call(lambda fraction, seen=seen: seen.append((fraction, threading.get_ident())))
            fractions = [fraction for fraction, _ in seen]
            assert fractions == sorted(set(fractions)) and 0 <= fractions[0] and fractions[-1] == 1, name
            assert len(fractions) >= 3, name
            assert {thread for _, thread in seen} == {threading.get_ident()}, name

    @pytest.mark.parametrize("error", [mc.Cancelled("enough"), KeyboardInterrupt(), BrokenPipeError("gone")])
    @pytest.mark.parametrize("old", [b"the old file", None])
    def test_raising_cancels_and_leaves_nothing(self, error, old, tmp_path, several_slabs):
        volume = example(np.dtype("int16"), "tkji")
        path = tmp_path / "a.mcz"
        threads_before = threading.active_count()
        for stop_at in range(100):
            if old is not None:
                path.write_bytes(old)
            seen = []

            def stop(fraction, seen=seen, stop_at=stop_at):
                seen.append(fraction)
                if len(seen) > stop_at:
                    raise error

            try:
                mc.write(path, volume, codec="raw", progress=stop, threads=2, overwrite=True)
            except type(error) as raised:
                assert raised is error
            else:
                break
            assert [entry.name for entry in tmp_path.iterdir()] == ([] if old is None else ["a.mcz"])
            assert old is None or path.read_bytes() == old
        assert stop_at >= 5
        assert mc.read(path).equals(volume)
        assert threading.active_count() == threads_before


class TestWrite:
    def test_existing_file_is_kept(self, tmp_path):
        path = tmp_path / "a.mcz"
        path.write_bytes(b"precious")
        with pytest.raises(mc.MedCompressError, match=r"a.mcz exists"):
            mc.write(path, np.zeros((1, 2, 3), np.uint8))
        assert path.read_bytes() == b"precious"
        mc.write(path, np.zeros((1, 2, 3), np.uint8), overwrite=True)
        assert mc.read(path).shape == (1, 2, 3)
        assert os.listdir(tmp_path) == ["a.mcz"]

    def test_a_file_that_appears_meanwhile_is_kept(self, tmp_path):
        path = tmp_path / "a.mcz"
        with pytest.raises(mc.MedCompressError, match="exists"):
            mc.write(path, np.zeros((1, 2, 3), np.uint8), progress=lambda fraction: path.write_bytes(b"precious"))
        assert path.read_bytes() == b"precious"
        assert os.listdir(tmp_path) == ["a.mcz"]

    @pytest.mark.parametrize(("name", "reason"), [("nowhere/a.mcz", "no folder .*nowhere"), ("", "is a folder"),
                                                  ("x" * 300, "cannot be written|name too long|File name")])
    def test_impossible_names(self, name, reason, tmp_path):
        with pytest.raises(mc.MedCompressError, match=reason):
            mc.write(tmp_path / name, np.zeros((1, 2, 3), np.uint8))
        assert os.listdir(tmp_path) == []

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
    def test_permissions(self, tmp_path):
        path = tmp_path / "a.mcz"
        umask = os.umask(0o027)
        try:
            mc.write(path, np.zeros((1, 2, 3), np.uint8))
        finally:
            os.umask(umask)
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o600)
        mc.write(path, np.zeros((1, 2, 3), np.uint8), overwrite=True)
        assert path.stat().st_mode & 0o777 == 0o600

    @pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make links")
    def test_link_stays_a_link(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "link.mcz").symlink_to(tmp_path / "folder" / "real.mcz")
        mc.write(tmp_path / "link.mcz", np.zeros((1, 2, 3), np.uint8))
        assert (tmp_path / "link.mcz").is_symlink()
        assert mc.read(tmp_path / "folder" / "real.mcz").shape == (1, 2, 3)

    def test_what_does_not_decode_to_the_same_is_discarded(self, tmp_path, monkeypatch):
        path = tmp_path / "a.mcz"
        path.write_bytes(b"precious")
        encode = RawCodec.encode
        monkeypatch.setattr(RawCodec, "encode", lambda codec, slab: encode(codec, np.minimum(slab, 5)))
        voxels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
        with pytest.raises(mc.MedCompressError):
            mc.write(path, voxels, codec="raw", overwrite=True)
        assert path.read_bytes() == b"precious"
        assert os.listdir(tmp_path) == ["a.mcz"]
        mc.write(path, voxels, codec="raw", overwrite=True, verify=False)
        with pytest.raises(mc.FormatError, match="other voxels"):
            mc.read(path)

    def test_image_formats_by_name(self, tmp_path):
        volume = mc.Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), LEFT_HANDED)
        mc.write(tmp_path / "a.nrrd", volume)
        assert mc.read(tmp_path / "a.nrrd").voxels.tobytes() == volume.voxels.tobytes()
        assert (tmp_path / "a.nrrd").read_bytes().startswith(b"NRRD")
        with pytest.raises(mc.UnsupportedError, match=r"only for .mcz files"):
            mc.write(tmp_path / "b.nrrd", volume, codec="raw")

    def test_memory(self, tmp_path):
        """Beside the volume, a few slabs and nothing of the volume's size."""
        voxels = np.random.default_rng(5).integers(0, 4096, (640, 256, 256), dtype=np.uint16)
        volume = mc.Volume(voxels)
        slab_bytes = 16 * 256 * 256 * 4
        tracemalloc.start()
        mc.write(tmp_path / "a.mcz", volume, codec="raw", threads=2)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12 * slab_bytes < voxels.nbytes


class TestRead:
    def test_mcz_by_content(self, tmp_path):
        mc.write(tmp_path / "noname", np.zeros((1, 2, 3), np.uint8))
        assert mc.read(str(tmp_path / "noname")).shape == (1, 2, 3)

    def test_mcz_by_name(self, tmp_path):
        (tmp_path / "a.MCZ").write_bytes(b"NRRD0004\n")
        with pytest.raises(mc.FormatError, match=r"a\.MCZ: This is not an .mcz file"):
            mc.read(tmp_path / "a.MCZ")

    def test_image(self, data_file):
        assert mc.read(data_file("public/mr_brain_aera_flair.nrrd")).shape == (30, 320, 270)

    def test_series_in_a_file(self, tmp_path):
        (tmp_path / "a.nrrd").write_bytes(b"")
        with pytest.raises(mc.UnsupportedError, match="not DICOM"):
            mc.read(tmp_path / "a.nrrd", series_uid="1.2.3")

    def test_dicom(self, data_file, tmp_path):
        folder = data_file("dicom/mr_multiframe_siemens")
        volume = mc.read(folder)
        first = sorted(path for path in folder.rglob("*") if path.is_file())[0]
        (tmp_path / "noname").write_bytes(first.read_bytes())
        assert mc.read(tmp_path / "noname").voxels.size <= volume.voxels.size
        assert mc.read(folder, series_uid=volume.metadata["DICOM"]["SeriesInstanceUID"]).equals(volume)
        with pytest.raises(mc.MedCompressError, match=r"no series 1\.2\.3"):
            mc.read(folder, series_uid="1.2.3")

    def test_unknown(self, tmp_path):
        (tmp_path / "a.txt").write_text("hello")
        with pytest.raises(mc.MedCompressError):
            mc.read(tmp_path / "a.txt")


class TestInfo:
    def test_everything_is_json_and_right(self):
        volume = example(np.dtype("float32"), "tkjic")
        data = mc.compress(volume, codec="raw")
        facts = mc.info(data)
        assert json.loads(json.dumps(facts)) == facts
        assert facts["file_bytes"] == len(data) == sum(facts["section_bytes"].values())
        assert facts["voxel_bytes"] == volume.voxels.nbytes
        assert facts["ratio"] == volume.voxels.nbytes / len(data)
        assert facts["bits_per_voxel"] == 8 * len(data) / volume.voxels.size
        assert facts["shape"] == list(volume.shape) and facts["axes"] == "tkjic" and facts["dtype"] == "float32"
        assert facts["spacing_mm"] == list(volume.spacing)
        assert facts["ijk_to_ras"] == volume.ijk_to_ras.tolist()
        assert facts["sequence"]["values"] == volume.sequence.values and facts["metadata"] == volume.metadata
        assert facts["codec"] == "raw" and facts["preset"] == "plain" and facts["quality"] == {"kind": "lossless"}

    def test_paths_and_bytes_agree(self, tmp_path):
        mc.write(tmp_path / "a.mcz", np.zeros((1, 2, 3), np.uint8))
        data = (tmp_path / "a.mcz").read_bytes()
        assert mc.info(tmp_path / "a.mcz") == mc.info(str(tmp_path / "a.mcz")) == mc.info(memoryview(data))


class TestAuto:
    @pytest.mark.parametrize("dtype", ["uint8", "int16", "int64"])
    def test_labels(self, dtype):
        k, j, i = np.indices((20, 64, 64))
        labels = ((k - 10) ** 2 + (j - 30) ** 2 + (i - 30) ** 2 < 100).astype(dtype) * 7
        assert choose_codec(labels[np.newaxis]) == "runs"
        assert choose_codec(labels.astype(np.float32)[np.newaxis]) == "runs"

    def test_images(self):
        rng = np.random.default_rng(6)
        assert choose_codec(rng.normal(0, 5, (1, 4, 40, 40)).astype(np.int16)) == "wavelet"
        assert choose_codec(np.arange(64 * 64 * 4, dtype=np.int32).reshape(1, 4, 64, 64) // 2) == "wavelet"

    def test_tiny(self):
        assert choose_codec(np.zeros((1, 1, 1, 1), np.uint8)) == "runs"

    def test_real_volumes(self, data_folder):
        for path in sorted([*data_folder.glob("public/seg_*.nrrd"), *data_folder.glob("*/mr_*.nrrd")]):
            wanted = "runs" if path.name.startswith("seg_") else "wavelet"
            assert choose_codec(mc.read(path).as_frames()) == wanted, path.name


def test_import_is_light():
    program = ("import sys, MedCompressLib; "
               "print(*{'torch', 'constriction', 'SimpleITK', 'pydicom', 'scipy'} & set(sys.modules))")
    root = Path(mc.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_public_functions_are_documented():
    for name in mc.__all__:
        assert getattr(mc, name).__doc__, name


@pytest.mark.parametrize(("options", "reason"), [
    ({"model": 5}, "path of its file, not as int"), ({"preset": ["default"]}, "no preset"),
    ({"preset": 5}, "no preset"),
    ({"codec": ["wavelet"]}, "no codec"), ({"threads": "2"}, "threads"), ({"quality": "lossless"}, "quality"),
    ({"quality": mc.NearLossless}, "quality"), ({"roi": np.ones((2, 3, 4))}, "RegionOfInterest")])
def test_options_of_the_wrong_kind(options, reason):
    with pytest.raises(mc.UnsupportedError, match=reason):
        mc.compress(np.zeros((2, 3, 4), np.int16), **options)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("call", [mc.read, mc.open, mc.info, mc.verify, mc.decompress, mc.preview])
def test_pipes_are_not_waited_for(tmp_path, call):
    os.mkfifo(tmp_path / "pipe.mcz")
    with pytest.raises(mc.MedCompressError, match="is a pipe"):
        call(tmp_path / "pipe.mcz")
