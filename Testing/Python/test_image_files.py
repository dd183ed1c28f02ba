"""Image files: what is read equals what SimpleITK reads wherever SimpleITK is exact, and what is written comes back."""

import gzip
import io
import struct
import zlib

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MedCompressLib.errors import FormatError, MedCompressError, UnsupportedError
from MedCompressLib.image_files import is_image_file, read_image, streams, write_image
from MedCompressLib.lazy import LazyVolume
from MedCompressLib.volume import AXES, DTYPES, SequenceAxis, Volume

SUFFIXES = [".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"]
LPS_TO_RAS = np.diag([-1.0, -1, 1, 1])
OBLIQUE = np.array([[0.7, 0.02, -0.3, 11.1], [-0.1, 0.8, 0.4, -222.2], [0.2, -0.3, 2.9, 1 / 3], [0, 0, 0, 1]])
MATRICES = {
    "identity": np.eye(4),
    "left-handed": np.diag([-0.7, 1.1, 2.3, 1.0]) + np.array([[0, 0, 0, 0.1]] * 3 + [[0] * 4]),
    "sheared": OBLIQUE,
    "permuted": np.array([[0, 0, 3.3, 1], [-1 / 3, 0, 0, 2], [0, 0.1, 0, 3], [0, 0, 0, 1.0]]),
}


def random_voxels(shape, dtype, seed=0):
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(np.random.default_rng(seed).bytes(count), dtype).reshape(shape).copy()


def shape_of(axes):
    return tuple({"t": 2, "k": 3, "j": 4, "i": 5, "c": 3}[axis] for axis in axes)


def without_metadata(volume):
    return Volume(volume.voxels, volume.ijk_to_ras, volume.axes, volume.sequence)


def itk_matrix(image):
    dimension = image.GetDimension()
    matrix = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)
    matrix[:3, :3] = (direction @ np.diag(image.GetSpacing()))[:3, :3]
    matrix[:3, 3] = image.GetOrigin()[:3]
    return LPS_TO_RAS @ matrix


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


# NRRD


def write_nrrd(path, header, data=b"", magic="NRRD0005"):
    path.write_bytes(f"{magic}\n{header.strip()}\n\n".encode() + data)


SMALL = np.arange(24, dtype="<i2").reshape(2, 3, 4)
SMALL_HEADER = "type: short\ndimension: 3\nsizes: 4 3 2\nendian: little\n"


@pytest.mark.parametrize(("space", "signs"), [
    ("right-anterior-superior", (1, 1, 1)), ("RAS", (1, 1, 1)), ("left-anterior-superior", (-1, 1, 1)),
    ("LPS", (-1, -1, 1)), ("scanner-xyz", (-1, -1, 1))])
def test_nrrd_spaces(tmp_path, space, signs):
    write_nrrd(tmp_path / "a.nrrd", SMALL_HEADER + f"space: {space}\nencoding: raw\nspace origin: (5,6,7)\n"
               "space directions: (0.1,0.2,0.3) (0,1,0) (0,0.5,3)", SMALL.tobytes())
    expected = np.diag([*signs, 1.0]) @ [[0.1, 0, 0, 5], [0.2, 1, 0.5, 6], [0.3, 0, 3, 7], [0, 0, 0, 1]]
    volume = read_image(tmp_path / "a.nrrd")
    assert np.array_equal(volume.ijk_to_ras, expected)
    write_image(tmp_path / "b.nrrd", volume)
    again = read_image(tmp_path / "b.nrrd")
    assert without_metadata(again).equals(without_metadata(volume))
    assert again.metadata["NRRD"]["fields"]["space"].startswith("right" if signs == (1, 1, 1) else "left")


@pytest.mark.parametrize("lines", ["", "spacings: 1 2 3", "spacings: nan 2 -3", "spacings: 1 2 3\naxis mins: 10 20 30",
                                   "spacings: 1 2 3\naxis mins: 10 20 30\ncenters: node node node"])
def test_nrrd_without_orientation_is_as_simpleitk_has_it(tmp_path, lines):
    write_nrrd(tmp_path / "a.nrrd", SMALL_HEADER + f"encoding: raw\n{lines}", SMALL.tobytes())
    expected = itk_matrix(SimpleITK.ReadImage(str(tmp_path / "a.nrrd")))
    if "node" in lines:  # which ITK takes no notice of
        expected = LPS_TO_RAS @ [[1, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1.0]]
    assert np.array_equal(read_image(tmp_path / "a.nrrd").ijk_to_ras, expected)


@pytest.mark.parametrize(("encoding", "data"), [
    ("raw", SMALL.tobytes()), ("gzip", gzip.compress(SMALL.tobytes())), ("gz", gzip.compress(SMALL.tobytes())),
    ("hex", SMALL.tobytes().hex().encode()), ("text", " ".join(map(str, SMALL.ravel())).encode()),
    ("ascii", "\n".join(map(str, SMALL.ravel())).encode())],
    ids=lambda value: value if isinstance(value, str) else "")
def test_nrrd_encodings(tmp_path, encoding, data):
    write_nrrd(tmp_path / "a.nrrd", SMALL_HEADER + f"encoding: {encoding}", data)
    assert np.array_equal(read_image(tmp_path / "a.nrrd").voxels, SMALL)


def test_nrrd_bzip2_and_big_endian(tmp_path):
    import bz2
    write_nrrd(tmp_path / "a.nrrd", SMALL_HEADER.replace("little", "big") + "encoding: bzip2",
               bz2.compress(SMALL.astype(">i2").tobytes()))
    volume = read_image(tmp_path / "a.nrrd")
    assert np.array_equal(volume.voxels, SMALL) and volume.dtype.isnative


@pytest.mark.parametrize("detached", [
    "data file: d.raw", "datafile: d.raw\nbyte skip: -1", "data file: LIST\nd0.raw\nd1.raw",
    "data file: d%d.raw 0 1 1", "data file: d.raw\nline skip: 1\nbyte skip: 2"])
def test_nhdr_ways_to_name_the_data(tmp_path, detached):
    prefix = b"a line\nxx" if "skip" in detached else b""
    (tmp_path / "d.raw").write_bytes(prefix + SMALL.tobytes())
    for k in range(2):
        (tmp_path / f"d{k}.raw").write_bytes(SMALL[k].tobytes())
    (tmp_path / "a.nhdr").write_text(f"NRRD0004\r\n{SMALL_HEADER}encoding: raw\n# a comment\n{detached}\n")
    assert np.array_equal(read_image(tmp_path / "a.nhdr").voxels, SMALL)


@pytest.mark.parametrize("name", ["LIST.nhdr", "50%.nhdr", "a b%d c.nhdr", "a%d 1 2 1.nhdr", "ü.nhdr", "x.seq.nhdr"])
def test_names_that_look_like_something_else(tmp_path, name):
    write_image(tmp_path / name, Volume(SMALL))
    assert np.array_equal(read_image(tmp_path / name).voxels, SMALL)


LIST_AXES = [
    ("4 3 2 5", "domain domain domain list", "(1,0,0) (0,1,0) (0,0,1) none", "tkji", (5, 2, 3, 4)),
    ("5 4 3 2", "list domain domain domain", "none (1,0,0) (0,1,0) (0,0,1)", "tkji", (5, 2, 3, 4)),
    ("5 4 3 2", "vector domain domain domain", "none (1,0,0) (0,1,0) (0,0,1)", "kjic", (2, 3, 4, 5)),
    ("3 4 3 2", "RGB-color space space space", "none (1,0,0) (0,1,0) (0,0,1)", "kjic", (2, 3, 4, 3)),
    ("4 5 3 2", "domain list domain domain", "(1,0,0) none (0,1,0) (0,0,1)", "tkji", (5, 2, 3, 4)),
    ("3 4 3 2 5", "vector domain domain domain list", "none (1,0,0) (0,1,0) (0,0,1) none", "tkjic", (5, 2, 3, 4, 3)),
    ("5 3 4 3 2", "list vector domain domain domain", "none none (1,0,0) (0,1,0) (0,0,1)", "tkjic", (5, 2, 3, 4, 3)),
    ("4 3 2 5", "domain domain domain time", "(1,0,0,0) (0,1,0,0) (0,0,1,0) (0,0,0,2)", "tkji", (5, 2, 3, 4)),
    ("3 4 3 2", "??? space space space", "none (1,0,0) (0,1,0) (0,0,1)", "kjic", (2, 3, 4, 3)),
    ("4 3 2 5", "", "", "tkji", (5, 2, 3, 4)),
    ("4 3", "domain domain", "(1,0,0) (0,0,2)", "kji", (1, 3, 4)),
]


@pytest.mark.parametrize(("sizes", "kinds", "directions", "axes", "shape"), LIST_AXES)
def test_nrrd_list_and_vector_axes(tmp_path, sizes, kinds, directions, axes, shape):
    sizes_ = [int(size) for size in sizes.split()]
    raw = np.arange(np.prod(sizes_), dtype="<u2").reshape(sizes_[::-1])
    header = f"type: uint16\ndimension: {len(sizes_)}\nsizes: {sizes}\nendian: little\nencoding: raw\n"
    if kinds:
        dimension = 4 if "0,0,0" in directions else 3
        header += f"kinds: {kinds}\nspace dimension: {dimension}\nspace directions: {directions}"
    write_nrrd(tmp_path / "a.nrrd", header, raw.tobytes())
    volume = read_image(tmp_path / "a.nrrd")
    assert (volume.axes, volume.shape) == (axes, shape)
    if "space" in header and len(sizes_) == 4 and axes == "tkji":
        place = kinds.replace("time", "list").split().index("list")
        assert np.array_equal(volume.voxels, np.moveaxis(raw, 3 - place, 0))
    if axes == "kjic":
        assert np.array_equal(volume.voxels, raw)
    if len(sizes_) == 2:
        expected = LPS_TO_RAS @ [[1, 0, 0, 0], [0, 0, -1, 0], [0, 2, 0, 0], [0, 0, 0, 1]]
        assert np.array_equal(volume.ijk_to_ras, expected)


def test_slicer_sequence_file(tmp_path):
    header = ("type: short\ndimension: 4\nspace: right-anterior-superior\nsizes: 2 4 3 1\n"
              "space directions: none (1.5,0,0) (0,2,0) (0,0,3)\nkinds: list domain domain domain\n"
              'labels: "time" "" "" ""\nunits: "s" "" "" ""\nendian: little\nencoding: raw\nspace origin: (1,2,3)\n'
              "measurement frame: (1,0,0) (0,1,0) (0,0,1)\nDataNodeClassName:=vtkMRMLScalarVolumeNode\n"
              "axis 0 index type:=text\naxis 0 index values:=0%2E5 a%20b \n")
    write_nrrd(tmp_path / "a.seq.nrrd", header, SMALL.tobytes())
    volume = read_image(tmp_path / "a.seq.nrrd")
    assert volume.sequence == SequenceAxis("time", "s", ["0.5", "a b"])
    assert np.array_equal(volume.voxels[1, 0], SMALL.ravel()[1::2].reshape(3, 4))
    assert volume.metadata["NRRD"]["keyValues"] == {"DataNodeClassName": "vtkMRMLScalarVolumeNode"}
    assert volume.metadata["NRRD"]["fields"]["measurement frame"] == "(1,0,0) (0,1,0) (0,0,1)"
    write_image(tmp_path / "b.seq.nrrd", volume)
    text = (tmp_path / "b.seq.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "axis 3 index values:=0.5 a%20b" in text and "kinds: domain domain domain list" in text
    again = read_image(tmp_path / "b.seq.nrrd")
    assert again.sequence == volume.sequence and np.array_equal(again.voxels, volume.voxels)
    assert again.metadata["NRRD"]["keyValues"] == volume.metadata["NRRD"]["keyValues"]


def test_nrrd_key_values_survive(tmp_path):
    write_nrrd(tmp_path / "a.nrrd", SMALL_HEADER + "encoding: raw\ncontent: a: b\nmodality:=DWMRI\n"
               "DWMRI_gradient_0000:=0 0 1\nwith: colon:=not a key\npath:=C:\\\\x\\ny\nunicode:=µ", SMALL.tobytes())
    volume = read_image(tmp_path / "a.nrrd")
    assert volume.metadata["NRRD"]["keyValues"] == {"modality": "DWMRI", "DWMRI_gradient_0000": "0 0 1",
                                                    "path": "C:\\x\ny", "unicode": "µ"}
    assert volume.metadata["NRRD"]["fields"]["with"] == "colon:=not a key"
    write_image(tmp_path / "b.nrrd", volume)
    again = read_image(tmp_path / "b.nrrd").metadata["NRRD"]
    assert again["keyValues"] == volume.metadata["NRRD"]["keyValues"] and again["fields"]["content"] == "a: b"


def test_metadata_cannot_inject_header_lines(tmp_path):
    metadata = {"NRRD": {"fields": {"content": "x\nsizes: 9 9 9", "old min": 3, "kinds": "\ntype: float"},
                         "keyValues": {"a\nsizes": "9", "b: c": "d", "": "e", "ok": "1\nsizes: 9"}},
                "NIfTI": {"descrip": 5, "intent_code": 1 << 40, "extensions": [7, {"code": "x"}], "rescale": 3},
                "MetaImage": {"DimSize": "9 9\nx = y", "a b": "c", "n": 5}}
    for suffix in SUFFIXES:
        volume = Volume(SMALL, metadata=metadata)
        write_image(tmp_path / f"a{suffix}", volume)
        assert np.array_equal(read_image(tmp_path / f"a{suffix}").voxels, SMALL)


@pytest.mark.parametrize(("change", "kind", "message"), [
    (("type: short", "type: block"), UnsupportedError, "type 'block'"),
    (("encoding: raw", "encoding: zstd"), UnsupportedError, "unknown encoding"),
    (("endian: little", "content: x"), FormatError, "little or big endian"),
    (("sizes: 4 3 2", "sizes: 4 3"), FormatError, "do not fit together"),
    (("sizes: 4 3 2", "sizes: 4 3 -2"), FormatError, "do not fit together"),
    (("sizes: 4 3 2", "sizes: 4 3 2000000000000"), FormatError, "truncated"),
    (("sizes: 4 3 2", "sizes: four 3 2"), FormatError, "damaged NRRD header"),
    (("sizes: 4 3 2", ""), FormatError, "'sizes' is missing"),
    (("dimension: 3", "dimension: 3\nnonsense"), FormatError, "neither a field nor a key"),
    (("dimension: 3", "dimension: 3\nspace directions: (1,0,0) (2,0,0) (0,0,1)"), UnsupportedError, "singular"),
    (("dimension: 3", "dimension: 3\nspace: LPS\nspace directions: (inf,0,0) (0,1,0) (0,0,1)"), UnsupportedError,
     "finite"),
    (("dimension: 3", "dimension: 3\nspace directions: (1,0,0) (0,1,0) [0,0,1]"), FormatError, "not a vector"),
    (("dimension: 3", "dimension: 3\nspace directions: (1,0,0) (0,1,0)"), FormatError, "2 entries for 3 axes"),
    (("dimension: 3", "dimension: 3\nspace directions: (1,0,0) none none"), UnsupportedError, "1 spatial axes"),
    (("dimension: 3\nsizes: 4 3 2", "dimension: 5\nsizes: 4 3 2 1 1\nkinds: domain domain domain list list"),
     UnsupportedError, "2 list axes"),
    (("dimension: 3", "dimension: 3\ndata file: gone.raw"), FormatError, "gone.raw, which is not there"),
    (("NRRD0005", "NRRD0009"), FormatError, "not an NRRD file"),
])
@pytest.mark.filterwarnings("error")
def test_bad_nrrd_gives_one_sentence(tmp_path, change, kind, message):
    text = f"NRRD0005\n{SMALL_HEADER}encoding: raw\n\n".replace(*change)
    (tmp_path / "a.nrrd").write_bytes(text.encode() + SMALL.tobytes())
    with pytest.raises(kind, match=message) as caught:
        read_image(tmp_path / "a.nrrd")
    assert "\n" not in str(caught.value)


# NIfTI


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


# MetaImage


def test_metaimage_fields_survive(tmp_path):
    (tmp_path / "a.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\nDimSize = 4 3 2\n"
        b"UltrasoundImageOrientation = MFA\nSeq_Frame0000_ImageStatus = OK\n"
        b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n" + SMALL.astype(">i2").tobytes())
    volume = read_image(tmp_path / "a.mha")
    assert np.array_equal(volume.voxels, SMALL)
    assert volume.metadata["MetaImage"] == {"UltrasoundImageOrientation": "MFA", "Seq_Frame0000_ImageStatus": "OK"}
    write_image(tmp_path / "b.mha", volume)
    assert read_image(tmp_path / "b.mha").equals(volume)


def test_metaimage_fields_that_are_not_utf8(tmp_path):
    (tmp_path / "a.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 4 3 2\nOperator = M\xfcller\nN\xfc = 1\n"
        b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n" + SMALL.tobytes())
    assert read_image(tmp_path / "a.mha").metadata["MetaImage"] == {"Operator": "Müller"}


def test_metaimage_compressed_big_endian(tmp_path):
    import zlib
    (tmp_path / "a.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\nCompressedData = True\n"
        b"DimSize = 4 3 2\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        + zlib.compress(SMALL.astype(">i2").tobytes()))
    assert np.array_equal(read_image(tmp_path / "a.mha").voxels, SMALL)


def test_metaimage_missing_data_and_singular_matrix(tmp_path):
    text = ("ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 4 3 2\nElementType = MET_SHORT\n"
            "ElementDataFile = gone.raw\n")
    (tmp_path / "a.mhd").write_text(text)
    with pytest.raises(FormatError, match="not beside it"):
        read_image(tmp_path / "a.mhd")
    (tmp_path / "a.mhd").write_text(text.replace("NDims = 3", "NDims = 3\nTransformMatrix = 1 0 0 0 0 0 0 0 1"))
    with pytest.raises(UnsupportedError, match="singular"):
        read_image(tmp_path / "a.mhd")


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


@pytest.mark.parametrize("name", ["V.MHA", "V.MHD", "\u00fcn\u00ef.mhd", "listmode.mhd", "LIST.mhd"])
def test_metaimage_names(tmp_path, name):
    volume = Volume(SMALL, np.diag([-1.0, -1.0, 2.0, 1.0]))
    for _ in range(2):
        write_image(tmp_path / name, volume, overwrite=True)
        assert without_metadata(read_image(tmp_path / name)).equals(volume)


def test_a_name_that_cannot_be_written_leaves_the_old_file(tmp_path):
    """MetaIO takes such names for those of numbered files."""
    volume = Volume(SMALL, np.diag([-1.0, -1.0, 2.0, 1.0]))
    (tmp_path / "50%.zraw").write_bytes(b"old")
    with pytest.raises(UnsupportedError, match="plainer"):
        write_image(tmp_path / "50%.mhd", volume, overwrite=True)
    assert (tmp_path / "50%.zraw").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("skips", ["byte skip: -2", "byte skip: x", "byte skip: 1.5", "line skip: -1", "line skip: x"])
def test_impossible_skips(tmp_path, skips):
    write_nrrd(tmp_path / "a.nrrd", SMALL_HEADER + f"encoding: raw\n{skips}", SMALL.tobytes())
    with pytest.raises(FormatError, match="impossible"):
        read_image(tmp_path / "a.nrrd")


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
