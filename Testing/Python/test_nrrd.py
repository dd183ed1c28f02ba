"""NRRD and NHDR beyond what all image formats are tested for: fields, encodings, axes, detached data."""

import gzip

import numpy as np
import pytest
import SimpleITK
from image_volumes import LPS_TO_RAS, SMALL, itk_matrix, without_metadata

from MedCompressLib.errors import FormatError, UnsupportedError
from MedCompressLib.image_files import read_image, write_image
from MedCompressLib.volume import SequenceAxis, Volume


def write_nrrd(path, header, data=b"", magic="NRRD0005"):
    path.write_bytes(f"{magic}\n{header.strip()}\n\n".encode() + data)
    return path


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


@pytest.mark.parametrize(("kind", "count"), [
    ("3D-masked-symmetric-matrix", 7), ("3D-symmetric-matrix", 6), ("3D-matrix", 9), ("quaternion", 4), ("complex", 2),
    ("RGB-color", 3), ("3-vector", 3), ("3-normal", 3), ("covariant-vector", 5), ("2D-symmetric-matrix", 3)])
def test_kinds_of_components_are_written_again(tmp_path, kind, count):
    voxels = np.arange(count * 24, dtype=np.float32).reshape(2, 3, 4, count)
    path = write_nrrd(tmp_path / "a.nrrd", f"type: float\ndimension: 4\nsizes: {count} 4 3 2\nendian: little\n"
                      f"kinds: {kind} domain domain domain\nspace: left-posterior-superior\n"
                      "space directions: none (1,0,0) (0,1,0) (0,0,1)\nencoding: raw", voxels.tobytes())
    volume = read_image(path)
    write_image(tmp_path / "b.nrrd", volume)
    assert f"kinds: {kind} domain domain domain" in (tmp_path / "b.nrrd").read_bytes().decode("latin-1")
    assert read_image(tmp_path / "b.nrrd").equals(volume)
    if not kind.startswith("3D-") or kind == "3D-matrix":                # tensors, which SimpleITK does not read
        again = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "b.nrrd"))
        assert np.array_equal(again.view(np.float32).reshape(voxels.shape), voxels)
    volume.metadata["NRRD"]["fields"]["kinds"] = "3D-matrix domain domain domain"     # of 9 components
    write_image(tmp_path / "c.nrrd", volume)
    assert (b"kinds: vector" in (tmp_path / "c.nrrd").read_bytes()) is (count != 9)


def test_what_is_told_of_axes_is_written_again(tmp_path):
    fields = ['thicknesses: nan nan 2.5', 'centers: cell cell node', 'labels: "x" "y \\" z" ""', "old min: -3.5e2",
              "measurement frame: (1, 0,0) (0,-1e0,0)  (0,0,.5)"]
    path = write_nrrd(tmp_path / "a.nrrd", "\n".join([
        "type: uchar", "dimension: 3", "sizes: 4 3 2", "space: left-posterior-superior",
        "space directions: (1,0,0) (0,1,0) (0,0,1)", *fields, "encoding: raw"]), bytes(24))
    write_image(tmp_path / "b.nrrd", read_image(path))
    lines = (tmp_path / "b.nrrd").read_bytes().decode("latin-1").splitlines()
    assert [line for line in fields if line not in lines] == []
    assert SimpleITK.ReadImage(tmp_path / "b.nrrd").GetSize() == (4, 3, 2)


def test_fields_that_are_none_are_left_out(tmp_path):
    """Whatever is in the metadata, other readers take the file."""
    fields = {"old min": "low", "measurement frame": "(1,0,0)", "centers": "cell", "content": "a\nsizes: 1 1 1",
              "labels": '"a', "space units": "mm mm mm", "sizes": "9 9 9", "thicknesses": "1"}
    volume = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), metadata={"NRRD": {
        "fields": fields, "keyValues": {"a\rb": "c", "note": "one\rtwo\r\nthree", "": "d", "#e": "f"}}})
    write_image(tmp_path / "a.nrrd", volume)
    header = (tmp_path / "a.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert [name for name in fields if f"\n{name}: {fields[name]}" in header] == []
    assert "\r" not in header and read_image(tmp_path / "a.nrrd").metadata["NRRD"]["keyValues"] == {
        "note": "one\ntwo\nthree"}
    assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "a.nrrd")), volume.voxels)


@pytest.mark.parametrize("values", [["", "a", ""], ["", "", ""], ["a b", "", "c"]])
def test_empty_index_values_survive(tmp_path, values):
    volume = Volume(np.arange(72, dtype=np.int16).reshape(3, 2, 3, 4), axes="tkji",
                    sequence=SequenceAxis("note", "", values))
    write_image(tmp_path / "a.nrrd", volume)
    assert read_image(tmp_path / "a.nrrd").sequence.values == values


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


@pytest.mark.parametrize("skips", ["byte skip: -2", "byte skip: x", "byte skip: 1.5", "line skip: -1", "line skip: x"])
def test_impossible_skips(tmp_path, skips):
    write_nrrd(tmp_path / "a.nrrd", SMALL_HEADER + f"encoding: raw\n{skips}", SMALL.tobytes())
    with pytest.raises(FormatError, match="impossible"):
        read_image(tmp_path / "a.nrrd")
