"""NIfTI beyond what all image formats are tested for: forms of the matrix, scaling, units, extensions, NIfTI-2."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK
from image_volumes import OBLIQUE, SMALL, random_voxels, without_metadata

from MedCompressLib.errors import FormatError, UnsupportedError
from MedCompressLib.image_files import read_image, write_image
from MedCompressLib.volume import SequenceAxis, Volume


def test_nibabel_agrees_on_nifti(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    voxels = random_voxels((2, 3, 4, 5), "int16")
    write_image(tmp_path / "a.nii.gz", Volume(voxels, OBLIQUE, "tkji", SequenceAxis("time", "s", ["0", "2.5"])))
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj).T, voxels)
    assert np.array_equal(image.affine, OBLIQUE.astype(np.float32))
    assert image.header.get_zooms()[3] == 2.5 and image.header.get_xyzt_units() == ("mm", "sec")
    nibabel.save(nibabel.Nifti1Image(voxels.T, OBLIQUE), tmp_path / "b.nii")
    again = read_image(tmp_path / "b.nii")
    assert np.array_equal(again.voxels, voxels) and np.array_equal(again.ijk_to_ras, OBLIQUE.astype(np.float32))
    rotated = np.diag([-2.0, 3, 4, 1])
    quaternion = nibabel.Nifti1Image(voxels[0].T, None)
    quaternion.set_qform(rotated, 1)
    nibabel.save(quaternion, tmp_path / "c.nii")
    assert np.allclose(read_image(tmp_path / "c.nii").ijk_to_ras, rotated)


def nifti_header(order="<", dims=(4, 3, 2), datatype=4, slope=0.0, intercept=0.0, qform=0, sform=0, srow=None, units=2,
                 quaternion=(0, 0, 0), pixdim=(1, 1, 2, 3, 1), offset=352, magic=b"n+1\0"):
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, len(dims), *dims, *[1] * (7 - len(dims)))
    struct.pack_into(f"{order}h", header, 70, datatype)
    struct.pack_into(f"{order}8f", header, 76, *pixdim, *[0] * (8 - len(pixdim)))
    struct.pack_into(f"{order}fff", header, 108, offset, slope, intercept)
    header[123] = units
    struct.pack_into(f"{order}hh6f", header, 252, qform, sform, *quaternion, 5, 6, 7)
    struct.pack_into(f"{order}12f", header, 280, *np.ravel(np.eye(4)[:3] if srow is None else srow))
    header[344:348] = magic
    return bytes(header)


def write_nifti(path, data=SMALL, **fields):
    path.write_bytes(nifti_header(**fields) + data.tobytes())
    return path


def test_nifti_keeps_nan_and_infinity(tmp_path):
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38] * 4, "<f4").reshape(2, 3, 4)
    volume = read_image(write_nifti(tmp_path / "a.nii", values, datatype=16))
    assert volume.voxels.tobytes() == values.tobytes()


@pytest.mark.parametrize(("slope", "intercept", "dtype", "applied"), [
    (1, 0, "int16", True), (1, 5, "int16", True), (2, -7, "int16", True), (1000, 0, "int16", True),
    (10000, 0, "int32", True), (0.5, 0, "int16", False), (1, 0.5, "int16", False), (np.nan, np.nan, "int16", True)])
def test_nifti_scaling_is_applied_where_it_is_exact(tmp_path, slope, intercept, dtype, applied):
    volume = read_image(write_nifti(tmp_path / "a.nii", slope=slope, intercept=intercept))
    record = volume.metadata["NIfTI"]["rescale"]
    assert record["applied"] is applied and volume.dtype == dtype
    stored = (volume.voxels - record["intercept"]) / record["slope"] if applied else volume.voxels
    assert np.array_equal(stored, SMALL)
    write_image(tmp_path / "b.nii", volume)
    image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "b.nii")))
    assert np.array_equal(image, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nii"))))


def test_nifti_forms_of_the_matrix(tmp_path):
    srow = [[1, 0.5, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30]]
    for fields, matrix, transform in [
        ({"sform": 2, "srow": srow, "qform": 1}, [*srow, [0, 0, 0, 1]], "sform"),
        ({"qform": 1}, [[1, 0, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]], "qform"),
        ({"qform": 1, "pixdim": (-1, 1, 2, 3)}, [[1, 0, 0, 5], [0, 2, 0, 6], [0, 0, -3, 7], [0, 0, 0, 1]], "qform"),
        ({"qform": 1, "quaternion": (0, 0, 1)}, [[-1, 0, 0, 5], [0, -2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]], "qform"),
        ({"sform": 1, "srow": np.zeros((3, 4)), "qform": 1}, [[1, 0, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]],
         "qform"),
        ({}, np.diag([-1, -2, 3, 1]), "none"),
        ({"qform": 1, "units": 3}, [[.001, 0, 0, .005], [0, .002, 0, .006], [0, 0, .003, .007], [0, 0, 0, 1]], "qform"),
    ]:
        volume = read_image(write_nifti(tmp_path / "a.nii", **fields))
        assert np.allclose(volume.ijk_to_ras, matrix, rtol=1e-15, atol=0), fields
        assert volume.metadata["NIfTI"]["transform"] == transform


def test_nifti_big_endian_and_extensions(tmp_path):
    extension = struct.pack(">ii", 32, 4) + b"<afni>".ljust(24, b"\0")
    data = nifti_header(">", offset=384, sform=1)
    (tmp_path / "a.nii").write_bytes(data[:348] + b"\1\0\0\0" + extension + SMALL.astype(">i2").tobytes())
    volume = read_image(tmp_path / "a.nii")
    assert np.array_equal(volume.voxels, SMALL)
    assert volume.metadata["NIfTI"]["extensions"][0]["code"] == 4
    write_image(tmp_path / "b.nii", volume)
    again = read_image(tmp_path / "b.nii")
    assert without_metadata(again).equals(without_metadata(volume))
    assert again.metadata["NIfTI"]["extensions"] == volume.metadata["NIfTI"]["extensions"]


def test_nifti_exact_matrix_yields_to_a_changed_header(tmp_path):
    write_image(tmp_path / "a.nii", Volume(SMALL, OBLIQUE))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", data, 280 + 12, 99.0)
    (tmp_path / "a.nii").write_bytes(data)
    expected = OBLIQUE.astype(np.float32)
    expected[0, 3] = 99
    assert np.array_equal(read_image(tmp_path / "a.nii").ijk_to_ras, expected)


def test_nifti_2_for_long_axes(tmp_path):
    volume = Volume(np.arange(40000, dtype=np.uint16).reshape(1, 1, 40000), OBLIQUE)
    write_image(tmp_path / "a.nii.gz", volume)
    assert without_metadata(read_image(tmp_path / "a.nii.gz")).equals(volume)
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[4:7] == b"n+2"


def test_nifti_colours(tmp_path):
    colors = random_voxels((2, 3, 4, 3), "uint8")
    volume = read_image(write_nifti(tmp_path / "a.nii", colors, datatype=128))
    assert volume.axes == "kjic" and np.array_equal(volume.voxels, colors)


@pytest.mark.parametrize(("fields", "kind", "message"), [
    ({"datatype": 32}, UnsupportedError, "NIfTI type 32"), ({"magic": b"ni1\0"}, UnsupportedError, "hdr/.img pair"),
    ({"magic": b"xxx\0"}, FormatError, "magic"), ({"dims": (4, 0, 2)}, FormatError, "impossible dimensions"),
    ({"dims": (4, 3, 2, 1, 1, 2)}, UnsupportedError, "more than five axes"),
    ({"dims": (4, 3, 30)}, FormatError, "truncated"), ({"offset": 1e6}, FormatError, "truncated"),
])
def test_bad_nifti_gives_one_sentence(tmp_path, fields, kind, message):
    with pytest.raises(kind, match=message):
        read_image(write_nifti(tmp_path / "a.nii", **fields))


def test_nifti_keeps_steps_without_a_unit_and_intents_of_vectors(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    frames = nibabel.Nifti1Image(random_voxels((2, 3, 4, 5), "int16").T, np.eye(4))
    frames.header.set_zooms((1, 1, 1, 2.5))
    frames.header.set_xyzt_units("mm", None)
    nibabel.save(frames, tmp_path / "a.nii")
    volume = read_image(tmp_path / "a.nii")
    assert volume.sequence == SequenceAxis("frame", "", ["0", "2.5"])
    write_image(tmp_path / "b.nii", volume)
    assert nibabel.load(tmp_path / "b.nii").header.get_zooms()[3] == 2.5
    assert without_metadata(read_image(tmp_path / "b.nii")).equals(without_metadata(volume))
    for code in (1005, 1006, 2):
        vectors = nibabel.Nifti1Image(np.zeros((5, 4, 3, 1, 3), np.float32), np.eye(4))
        vectors.header["intent_code"] = code
        nibabel.save(vectors, tmp_path / "c.nii")
        write_image(tmp_path / "d.nii", read_image(tmp_path / "c.nii"), overwrite=True)
        assert nibabel.load(tmp_path / "d.nii").header["intent_code"] == (code if code > 1000 else 1007)


@pytest.mark.parametrize(("slope", "version"), [(0.5, 1), (0.1, 2)])
def test_scaling_of_64_bits_is_written_again(tmp_path, slope, version):
    """Version 1 would round it to 32 bits."""
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti2Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    nibabel.save(image, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[176:192] = np.array([slope, 0.25], "<f8").tobytes()
    (tmp_path / "a.nii").write_bytes(data)
    volume = read_image(tmp_path / "a.nii")
    assert volume.metadata["NIfTI"]["rescale"] == {"slope": slope, "intercept": 0.25, "applied": False,
                                                   "storedType": "int16"}
    write_image(tmp_path / "b.nii", volume)
    written = nibabel.load(tmp_path / "b.nii")
    assert isinstance(written, nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image)
    assert (written.dataobj.slope, written.dataobj.inter) == (slope, 0.25)
    again = read_image(tmp_path / "b.nii")
    assert np.array_equal(again.voxels, volume.voxels) and again.metadata["NIfTI"]["rescale"]["slope"] == slope
