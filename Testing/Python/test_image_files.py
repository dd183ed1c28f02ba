"""Image files: what is read equals what SimpleITK reads wherever SimpleITK is exact, and what is written comes back."""

import io
import os
import zlib

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_volumes import OBLIQUE, SMALL, itk_matrix, random_voxels, without_metadata

from MedCompressLib.errors import FormatError, MedCompressError, UnsupportedError
from MedCompressLib.image_files import is_image_file, read_image, streams, write_image
from MedCompressLib.lazy import LazyVolume
from MedCompressLib.volume import AXES, DTYPES, SequenceAxis, Volume

SUFFIXES = [".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"]
MATRICES = {
    "identity": np.eye(4),
    "left-handed": np.diag([-0.7, 1.1, 2.3, 1.0]) + np.array([[0, 0, 0, 0.1]] * 3 + [[0] * 4]),
    "sheared": OBLIQUE,
    "permuted": np.array([[0, 0, 3.3, 1], [-1 / 3, 0, 0, 2], [0, 0.1, 0, 3], [0, 0, 0, 1.0]]),
}


def shape_of(axes):
    return tuple({"t": 2, "k": 3, "j": 4, "i": 5, "c": 3}[axis] for axis in axes)


# Round trips


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axes", AXES)
def test_every_type_and_every_order_of_axes_comes_back(tmp_path, suffix, dtype, axes):
    volume = Volume(random_voxels(shape_of(axes), dtype), OBLIQUE, axes)
    write_image(tmp_path / f"a{suffix}", volume)
    assert without_metadata(read_image(tmp_path / f"a{suffix}")).equals(volume)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", MATRICES)
def test_every_matrix_comes_back(tmp_path, suffix, name):
    volume = Volume(random_voxels((2, 3, 4), "int16"), MATRICES[name])
    write_image(tmp_path / f"a{suffix}", volume)
    assert np.array_equal(read_image(tmp_path / f"a{suffix}").ijk_to_ras, MATRICES[name])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(-1e4, 1e4, allow_subnormal=False), min_size=12, max_size=12), st.sampled_from(SUFFIXES))
def test_random_matrices_come_back_to_the_last_bit(tmp_path, numbers, suffix):
    matrix = np.vstack([np.reshape(numbers, (3, 4)), [0, 0, 0, 1]])
    try:
        volume = Volume(np.zeros((1, 1, 1), np.uint8), matrix)
        write_image(tmp_path / f"a{suffix}", volume, overwrite=True)
    except UnsupportedError:
        return
    assert np.array_equal(read_image(tmp_path / f"a{suffix}").ijk_to_ras, volume.ijk_to_ras)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("sequence", [
    SequenceAxis("time", "s", ["0", "0.72", "1.44"]), SequenceAxis("time", "ms", ["5", "7.5", "10"]),
    SequenceAxis("b-value", "s/mm2", ["0", "1000", "1000"]), SequenceAxis("frame", "", ["0", "2", "4"]),
    SequenceAxis('say "x" \\ y', "°", ["a b", "", "100 %"])], ids=lambda sequence: sequence.index_name[:4])
def test_every_sequence_axis_comes_back(tmp_path, suffix, sequence):
    volume = Volume(random_voxels((3, 2, 3, 4), "uint16"), np.eye(4), "tkji", sequence)
    write_image(tmp_path / f"a{suffix}", volume)
    assert read_image(tmp_path / f"a{suffix}").sequence == sequence


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("axes", "shape"), [("kjic", (2, 3, 4, 1)), ("tkji", (1, 2, 3, 4)), ("tkjic", (1, 2, 3, 4, 1)),
                                             ("kji", (1, 1, 1)), ("tkjic", (1, 2, 3, 4, 2))])
def test_axes_of_one_entry_come_back(tmp_path, suffix, axes, shape):
    volume = Volume(random_voxels(shape, "int16"), np.eye(4), axes)
    write_image(tmp_path / f"a{suffix}", volume)
    assert without_metadata(read_image(tmp_path / f"a{suffix}")).equals(volume)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_reading_and_writing_again_keeps_everything(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", Volume(random_voxels((2, 3, 4, 5), "float32"), OBLIQUE, "tkji"))
    first = read_image(tmp_path / f"a{suffix}")
    write_image(tmp_path / f"b{suffix}", first)
    assert read_image(tmp_path / f"b{suffix}").equals(first)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_volumes_give_equal_files(tmp_path, suffix):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / f"a{suffix}", Volume(random_voxels((2, 3, 4), "int16"), OBLIQUE))
    for one in (tmp_path / "one").iterdir():
        assert one.read_bytes() == (tmp_path / "two" / one.name).read_bytes()


# SimpleITK as the other party


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("axes", AXES)
def test_reads_what_simpleitk_writes(tmp_path, suffix, axes):
    voxels = random_voxels(shape_of(axes), "int16")
    image = SimpleITK.GetImageFromArray(voxels, isVector="c" in axes)
    dimension = image.GetDimension()
    direction = np.eye(dimension)
    direction[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0]
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing([0.7, 1.3, 2.1, 2.5][:dimension])
    image.SetOrigin([1.1, 2.2, 3.3, 4.5][:dimension])
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    volume = read_image(tmp_path / f"a{suffix}")
    assert volume.axes == axes
    assert np.array_equal(volume.voxels, voxels)
    assert np.allclose(volume.ijk_to_ras, itk_matrix(image), rtol=0, atol=1e-6 if "nii" in suffix else 1e-15)
    if "t" in axes:
        assert volume.sequence.values == ["4.5", "7"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("axes", AXES)
def test_simpleitk_reads_what_is_written(tmp_path, suffix, axes):
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0] * [0.7, 1.3, 2.1]
    matrix[:3, 3] = 10, -20, 30
    volume = Volume(random_voxels(shape_of(axes), "uint8"), matrix, axes)
    write_image(tmp_path / f"a{suffix}", volume)
    image = SimpleITK.ReadImage(str(tmp_path / f"a{suffix}"))
    voxels = SimpleITK.GetArrayFromImage(image)
    if axes == "tkji" and suffix in (".nrrd", ".nhdr"):
        voxels = np.moveaxis(voxels, -1, 0)  # SimpleITK shows a list axis as vector components
    assert np.array_equal(voxels, volume.voxels)
    assert np.allclose(itk_matrix(image), matrix, atol=3e-5 if "nii" in suffix else 1e-14)


@pytest.mark.parametrize("name", ["LIST.nhdr", "50%.nhdr", "a b%d c.nhdr", "a%d 1 2 1.nhdr", "ü.nhdr", "x.seq.nhdr"])
def test_names_that_look_like_something_else(tmp_path, name):
    write_image(tmp_path / name, Volume(SMALL))
    assert np.array_equal(read_image(tmp_path / name).voxels, SMALL)


def test_metadata_cannot_inject_header_lines(tmp_path):
    metadata = {"NRRD": {"fields": {"content": "x\nsizes: 9 9 9", "old min": 3, "kinds": "\ntype: float"},
                         "keyValues": {"a\nsizes": "9", "b: c": "d", "": "e", "ok": "1\nsizes: 9"}},
                "NIfTI": {"descrip": 5, "intent_code": 1 << 40, "extensions": [7, {"code": "x"}], "rescale": 3},
                "MetaImage": {"DimSize": "9 9\nx = y", "a b": "c", "n": 5}}
    for suffix in SUFFIXES:
        volume = Volume(SMALL, metadata=metadata)
        write_image(tmp_path / f"a{suffix}", volume)
        assert np.array_equal(read_image(tmp_path / f"a{suffix}").voxels, SMALL)


# Damage and bad targets


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_damage_never_gives_other_voxels(tmp_path, suffix):
    volume = Volume(np.random.default_rng(0).integers(0, 1000, (10, 20, 30)).astype(np.int16))
    write_image(tmp_path / f"a{suffix}", volume)
    good = (tmp_path / f"a{suffix}").read_bytes()
    start = good.find(b"LOCAL\n") if suffix == ".mha" else good.find(b"\n\n") if suffix == ".nrrd" else 20
    generator = np.random.default_rng(1)
    errors = 0
    for trial in range(60):
        bad = bytearray(good[:generator.integers(start, len(good))] if trial % 3 == 0 else good)
        for _ in range(1 + trial % 3 if trial % 3 else 0):
            bad[generator.integers(start + 16, len(bad))] ^= 1 << int(generator.integers(8))
        (tmp_path / f"b{suffix}").write_bytes(bad)
        try:
            assert np.array_equal(read_image(tmp_path / f"b{suffix}").voxels, volume.voxels)
        except FormatError as error:
            assert "\n" not in str(error)
            errors += 1
    assert errors > 40


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"NRRD0004\n", b"\x1f\x8b\x08\0 nonsense",
                                     b"ObjectType = Image\n"])
def test_nonsense_gives_one_sentence(tmp_path, suffix, content):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_image(tmp_path / f"a{suffix}")
    assert f"a{suffix}" in str(caught.value) or "NRRD header" in str(caught.value)


# Compressed by several threads


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".nii.gz"])
def test_compressed_files_depend_on_the_voxels_alone(tmp_path, suffix):
    volume = Volume(random_voxels((7, 500, 510), "int16") & 1023, OBLIQUE)     # 3.6 MB
    for folder, written, threads in [("one", volume, 1), ("several", volume, 3), ("pieces", LazyVolume.of(volume), 2)]:
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / f"a{suffix}", written, threads=threads)
    one, *others = [{file.name: file.read_bytes() for file in (tmp_path / folder).iterdir()}
                    for folder in ("one", "several", "pieces")]
    assert others == [one, one]
    assert without_metadata(read_image(tmp_path / "several" / f"a{suffix}")).equals(volume)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40)), st.integers(1, 3))
def test_one_gzip_member_whatever_the_parts(parts, threads):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(streams, "_DEFLATED_ALONE", 16)
        file = io.BytesIO()
        streams.write_gzip(file, [*parts, np.frombuffer(b"".join(parts), np.uint8)], threads)
    inflater = zlib.decompressobj(wbits=31)     # which checks the sum and the length
    assert inflater.decompress(file.getvalue()) == 2 * b"".join(parts)
    assert inflater.eof and not inflater.unused_data


def test_threads_that_cannot_be(tmp_path):
    with pytest.raises(UnsupportedError, match="number of threads"):
        write_image(tmp_path / "a.nrrd", Volume(SMALL), threads=0)


def test_paths_that_cannot_be(tmp_path):
    with pytest.raises(MedCompressError, match="There is no file"):
        read_image(tmp_path / "a.nrrd")
    with pytest.raises(UnsupportedError, match=r"not named like an image file.*\.nii\.gz"):
        read_image(tmp_path / "a.png")
    with pytest.raises(MedCompressError, match="no folder"):
        write_image(tmp_path / "no" / "a.nrrd", Volume(SMALL))
    assert is_image_file("A.NII.GZ") and not is_image_file(".nrrd") and not is_image_file("a.dcm")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_overwritten_unasked_and_nothing_is_left_behind(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, Volume(SMALL))
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    with pytest.raises(MedCompressError, match="exists"):
        write_image(path, Volume(SMALL + 1))
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before
    write_image(path, Volume(SMALL + 1), overwrite=True)
    assert np.array_equal(read_image(path).voxels, SMALL + 1)
    assert {one.name for one in tmp_path.iterdir()} == set(before)


def test_the_data_file_of_another_header_is_not_overwritten(tmp_path):
    (tmp_path / "a.zraw").write_bytes(b"precious")
    with pytest.raises(MedCompressError, match=r"a\.zraw exists"):
        write_image(tmp_path / "a.mhd", Volume(SMALL))
    assert [one.name for one in tmp_path.iterdir()] == ["a.zraw"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions and lets few users make links")
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".npy"])
def test_links_and_permissions_stay(tmp_path, suffix):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / f"a{suffix}"
    write_image(link, Volume(SMALL))
    for one in list(tmp_path.glob("a.*")):
        one.chmod(0o640)
        one.symlink_to(one.rename(tmp_path / "elsewhere" / f"real-{one.name}"))
    write_image(link, Volume(SMALL + 1), overwrite=True)
    links = list(tmp_path.glob("a.*"))
    assert links and all(one.is_symlink() and one.stat().st_mode & 0o777 == 0o640 for one in links)
    assert len(list((tmp_path / "elsewhere").iterdir())) == len(links) == len(list(tmp_path.iterdir())) - 1
    assert np.array_equal(read_image(link).voxels, SMALL + 1)


@pytest.mark.parametrize("suffix", [".nii", ".nhdr"])
def test_files_reach_the_disk_before_old_ones_go(tmp_path, suffix, monkeypatch):
    path, events = tmp_path / f"a{suffix}", []
    write_image(path, Volume(SMALL))
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: events.append("disk") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda old, new: events.append("name") or replace(old, new))
    write_image(path, Volume(SMALL + 1), overwrite=True)
    assert "".join(event[0] for event in events) == "dnd" * len(list(tmp_path.iterdir()))  # the folder follows


def test_a_failed_write_leaves_nothing(tmp_path):
    huge = np.diag([1e300, 1e300, 1e300, 1.0])
    with pytest.raises(UnsupportedError, match="write NRRD instead"):
        write_image(tmp_path / "a.nii", Volume(SMALL, huge))
    assert not list(tmp_path.iterdir())


# Real volumes


def test_every_real_volume_equals_what_simpleitk_reads(data_folder):
    paths = sorted(data_folder.glob("*/*.nrrd"))
    assert paths
    for path in paths:
        volume = read_image(path)
        image = SimpleITK.ReadImage(str(path))
        voxels = SimpleITK.GetArrayViewFromImage(image)
        if volume.axes == "tkji":
            voxels = np.moveaxis(voxels, -1, 0)
        assert np.array_equal(volume.voxels, voxels), path.name
        assert np.allclose(volume.ijk_to_ras, itk_matrix(image), rtol=1e-14, atol=1e-14), path.name


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["public/ct_head_ge_hispeed.nrrd", "train/dwi4d_siemens_prisma_sag.nrrd",
                                  "public/us_reconstructed_lnlate_f32.nrrd"])
def test_real_volumes_through_every_format(data_file, tmp_path, suffix, name):
    volume = read_image(data_file(name))
    write_image(tmp_path / f"a{suffix}", volume)
    assert without_metadata(read_image(tmp_path / f"a{suffix}")).equals(without_metadata(volume))
