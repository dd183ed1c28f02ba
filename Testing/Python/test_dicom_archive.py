"""Archives of DICOM files: every byte of every file comes back, whatever the files are, and the series is a volume."""

import hashlib
import io
import os
import shutil
import struct
import time
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from reference.archive import restore
from reference.refuse import RefusedError

import MedCompressLib as mc
from MedCompressLib.checksum import crc32c
from MedCompressLib.dicom import SeveralSeriesError, read_series
from MedCompressLib.dicom_archive import Archive, folders
from MedCompressLib.dicom_archive.catalogue import Entry
from MedCompressLib.dicom_archive.columns import decode_column, encode_column
from MedCompressLib.dicom_archive.elements import BARE, Step, parse, rebuild
from MedCompressLib.dicom_archive.file import Contents, write_archive
from MedCompressLib.dicom_archive.images import Layout, join, split
from MedCompressLib.dicom_export import export_file
from MedCompressLib.entropy.varint import ByteReader

CODEC = "wavelet"


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def words(seed, shape=(6, 7), dtype="<u2", high=4096):
    smooth = np.add.outer(np.arange(shape[-2]), np.arange(shape[-1])) * 20
    return ((smooth + np.random.default_rng(seed).integers(0, 50, shape)) % high).astype(dtype)


def image(number, array=None, syntax=ExplicitVRLittleEndian, series="1.2.3", **elements):
    """The bytes of a CT image, one of a series 2 mm apart."""
    array = words(number) if array is None else array
    bits = 8 * array.dtype.itemsize
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    frames = array.shape[0] if array.ndim == 3 and "SamplesPerPixel" not in elements else None
    defaults = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": f"1.2.3.4.{100 + number}",
        "SeriesInstanceUID": series, "StudyInstanceUID": "1.2", "Modality": "CT", "PatientName": "Some^One",
        "PatientID": "secret", "InstanceNumber": number, "ContentTime": f"1234{number:02}.5", "SliceLocation": number,
        "Rows": array.shape[-2], "Columns": array.shape[-1], "SamplesPerPixel": 1, "NumberOfFrames": frames,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1,
        "PixelRepresentation": int(array.dtype.kind == "i"), "PixelSpacing": [0.5, 0.25], "SliceThickness": 2,
        "ImagePositionPatient": [-1.5, 2, 2 * number], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    for name, value in (defaults | elements).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def folder_of(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def packed(tmp_path, files, **options):
    """Archive of files, restored and compared; the archive's path."""
    folder = folder_of(tmp_path / "files", files)
    mc.pack(folder, tmp_path / "a.mcz", codec=CODEC, threads=1, **options)
    names = mc.unpack(tmp_path / "a.mcz", tmp_path / "again", threads=1)
    assert contents(tmp_path / "again") == contents(folder) and sorted(names) == sorted(contents(folder))
    return tmp_path / "a.mcz"


def stacks(path):
    with open(path, "rb") as file:
        return Archive(file, 1).contents.stacks


class TestElements:
    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_is_taken_apart_and_rebuilt(self, syntax):
        item = Dataset()
        item.CodeValue, item.CodeMeaning = "1", "one"
        data = image(1, syntax=syntax, ProcedureCodeSequence=[item, item], ReferencedImageSequence=[])
        steps, values = parse(data)
        assert len(steps) > 25 and rebuild(steps, values) == data

    def test_defined_lengths(self):
        element = b"\x08\0\x16\0" + b"UI" + struct.pack("<H", 2) + b"1\0"
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(element)) + element
        sequence = b"\x08\0\x40\x11SQ\0\0" + struct.pack("<I", len(item)) + item
        steps, values = parse(sequence)
        assert rebuild(steps, values) == sequence and values == [b"1\0"]

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=300))
    def test_anything_comes_back(self, data):
        assert rebuild(*parse(data)) == data

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8), st.integers(0, 10**6))
    def test_damaged_files_come_back(self, changes, end):
        data = bytearray(image(3))
        for at, byte in changes:
            data[at % len(data)] = byte
        data = bytes(data[:end % (len(data) + 1)])
        assert rebuild(*parse(data)) == data

    def test_sequences_without_end(self):
        data = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 200
        assert rebuild(*parse(data)) == data


class TestColumns:
    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.one_of(st.binary(max_size=12), st.from_regex(rb"-?\d{1,4}(\.\d{1,3})? ?", fullmatch=True),
                              st.from_regex(rb"1\.2\.\d{1,25}\0?", fullmatch=True)), min_size=1, max_size=9))
    def test_come_back(self, values):
        aside = bytearray()
        reader = ByteReader(encode_column(values, aside))
        assert decode_column(reader, len(values), ByteReader(aside).take) == values and reader.remaining == 0

    @pytest.mark.parametrize("pattern", ["{:d} ", "{:03d}", "1.2.840.{:d}\0", "IM-0001-{:04d}.dcm", "-12.5\\{:d}.25"])
    def test_what_counts_costs_little(self, pattern):
        values = [pattern.format(number).encode() for number in range(100, 400)]
        assert len(encode_column(values, bytearray())) < 2 * len(values)

    def test_what_does_not_get_smaller_is_put_aside(self):
        aside, values = bytearray(), [np.random.default_rng(n).bytes(9000) for n in range(3)]
        coded = encode_column(values, aside)
        assert len(coded) < 20 and bytes(aside) == b"".join(values)


class TestBits:
    @pytest.mark.parametrize("dtype", ["u2", "i2", "u1", "i4"])
    @pytest.mark.parametrize("dirt", ["none", "overlay", "noise"])
    @pytest.mark.parametrize("moved", [0, 2])
    def test_every_bit_comes_back(self, dtype, dirt, moved):
        rng = np.random.default_rng(5)
        bits = 8 * np.dtype(dtype).itemsize
        stored = bits - 4
        array = rng.integers(0, 1 << min(stored, 31), (2, 5, 5, 1)).astype(f"u{bits // 8}")
        if dirt == "overlay":
            array[:, 2:4] |= array.dtype.type(1 << (bits - 1))
        if dirt == "noise":
            array = rng.integers(0, np.iinfo(array.dtype).max, array.shape, array.dtype)
        layout = Layout(np.dtype(dtype).str, 5, 5, 1, False, stored, stored - 1 + moved)
        array = array.view(dtype)
        assert np.array_equal(join(split(array, layout)), array)

    def test_sign_and_zeros_above_the_samples(self):
        signed = np.arange(-8, 8, dtype=np.int16).reshape(1, 4, 4, 1)
        layout = Layout("<i2", 4, 4, 1, False, 12, 11)
        for array in (signed, signed & 0xFFF):
            parts = split(array, layout)
            assert parts.others is None and parts.samples.min() == -8 and np.array_equal(join(parts), array)

    def test_overlay_is_a_volume_of_its_own(self, tmp_path):
        arrays = [words(n) for n in range(4)]
        for array in arrays:
            array[2:4, 1:5] |= 0x8000
        path = packed(tmp_path, {f"{n}.dcm": image(n, array, BitsStored=12, HighBit=11)
                                 for n, array in enumerate(arrays)})
        [stack] = stacks(path)
        assert len(stack.volume_lengths) == 2 and stack.stored == 12
        assert np.array_equal(mc.read(path).voxels, np.array(arrays) & 0xFFF)


class TestSeries:
    def test_series_is_one_volume(self, tmp_path):
        files = {f"IM{n}.dcm": image(n) for n in range(12)}
        path = packed(tmp_path, files)
        [stack] = stacks(path)
        assert stack.slices == list(range(12))
        assert mc.read(path).equals(read_series(tmp_path / "files"))
        assert path.stat().st_size < sum(map(len, files.values())) / 4

    def test_order_of_names_is_not_that_of_positions(self, tmp_path):
        names = ["c", "a", "d", "b", "sub/e"]
        path = packed(tmp_path, {name: image(n) for n, name in enumerate(names)})
        assert sorted(stacks(path)[0].slices) == list(range(5)) and stacks(path)[0].slices != list(range(5))
        assert mc.read(path).equals(read_series(tmp_path / "files"))

    def test_slices_on_demand(self, tmp_path, monkeypatch):
        path = packed(tmp_path, {f"{n}.dcm": image(n, words(n, (176, 176))) for n in range(36)})
        loaded = []
        load = mc.decode.StoredSlabs.load
        monkeypatch.setattr(mc.decode.StoredSlabs, "load", lambda self, n: loaded.append(n) or load(self, n))
        part = mc.decompress(path, slices=slice(1, 3))
        assert loaded == [0] and len(stacks(path)[0].volume_lengths) == 1
        whole = read_series(tmp_path / "files")
        assert np.array_equal(part.voxels, whole.voxels[1:3])
        assert np.array_equal(part.ijk_to_ras[:3, 3], (whole.ijk_to_ras @ [0, 0, 1, 1])[:3])
        assert part.metadata["DICOM"]["instanceNumbers"] == [1, 2]

    @pytest.mark.parametrize(("files", "count"), [
        ({"a": image(1), "b": image(2), "copy": image(2)}, 1),
        ({"a": image(1), "b": image(4), "c": image(5)}, 1),  # a gap
        ({"a": image(1), "b": image(2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])}, 1),
        ({"a": image(1), "b": image(2, words(0, (9, 4)))}, 2),
        ({"a": image(1, words(0, (5, 6, 3), "u1"), SamplesPerPixel=3, PhotometricInterpretation="RGB",
                     PlanarConfiguration=0)}, 1),
        ({"a": image(1, words(0, (3, 5, 6), "u1"), SamplesPerPixel=3, PhotometricInterpretation="RGB",
                     PlanarConfiguration=1)}, 1),
        ({"a": image(1, words(0, (8, 5, 6)))}, 1),
        ({"a": image(1, syntax=ImplicitVRLittleEndian), "b": image(2, syntax=ExplicitVRLittleEndian)}, 1),
        ({"a": image(1, words(1, dtype=">u2"), ExplicitVRBigEndian)}, 1),
        ({"a": image(1, words(1, dtype="<i2"), PixelRepresentation=1)}, 1),
        ({"a": image(1, words(1, (5, 5), "u1"))}, 1),  # padded to an even length
        ({"a": image(1, ImagePositionPatient=None)}, 1),
        ({"a": image(1, series="1.1"), "b": image(2, series="1.2")}, 2),
        ({"a": image(1) + b"garbage behind"}, 1),
        ({"a": b"\x07" * 128 + image(1)[128:]}, 1),
        ({"a": image(1)[132:]}, 1),  # no preamble
        ({"a": image(1, BitsAllocated=12)}, 0),
    ], ids=range(17))
    def test_odd_ones(self, tmp_path, files, count):
        assert len(stacks(packed(tmp_path, files))) == count

    def test_float_pixels(self, tmp_path):
        dataset = pydicom.dcmread(io.BytesIO(image(1)))
        del dataset.PixelData
        dataset.BitsAllocated = 32
        dataset.FloatPixelData = np.linspace(-1, 1, 42, dtype="<f4").tobytes()
        file = io.BytesIO()
        dataset.save_as(file)
        assert stacks(packed(tmp_path, {"a": file.getvalue()}))[0].layout.dtype == "<f4"

    def test_several_series(self, tmp_path):
        path = packed(tmp_path, {f"{s}/{n}": image(n, series=f"1.2.{s}", SOPInstanceUID=f"1.{s}.{n}")
                                 for s in (7, 8) for n in range(3)})
        with pytest.raises(SeveralSeriesError, match=r"1\.2\.8"):
            mc.read(path)
        assert mc.read(path, series_uid="1.2.8").equals(read_series(tmp_path / "files", "1.2.8"))
        mc.pack(tmp_path / "files", tmp_path / "one.mcz", codec=CODEC, series_uid="1.2.7")
        assert mc.info(tmp_path / "one.mcz")["files"] == 3
        with pytest.raises(mc.MedCompressError, match="no series 9"):
            mc.pack(tmp_path / "files", tmp_path / "none.mcz", series_uid="9")

    def test_headers_cost_little(self, tmp_path):
        path = packed(tmp_path, {f"{n:03}.dcm": image(n) for n in range(300)})
        assert mc.info(path)["section_bytes"]["catalogue"] < 300 * 14  # of which 4 are a checksum


class TestFolder:
    def mixed(self, tmp_path, dicomdir=b"no directory at all"):
        whole = image(9)
        return {"one/1.dcm": image(1, series="1.1"), "one/2.dcm": image(2, series="1.1"),
                "two/1.dcm": image(3, series="1.2"), "DICOMDIR": dicomdir, "notes.txt": "Tëxt\r\n".encode(),
                "cut.dcm": whole[:len(whole) - 31], "empty.dcm": b"", ".hidden": b"x"}

    def test_everything_is_kept(self, tmp_path):
        path = packed(tmp_path, self.mixed(tmp_path))
        facts = mc.info(path)
        assert facts["files"] == 8 and facts["files_without_image"] == 4 and len(facts["series"]) == 3

    def test_or_refused_by_name(self, tmp_path):
        folder = folder_of(tmp_path / "files", self.mixed(tmp_path))
        with pytest.raises(mc.FormatError) as caught:
            mc.pack(folder, tmp_path / "a.mcz", others="refuse")
        assert all(name in str(caught.value) for name in ("DICOMDIR", "notes.txt", "empty.dcm", ".hidden",
                                                             "cut.dcm"))
        assert not (tmp_path / "a.mcz").exists()

    def test_refusing_takes_what_can_be_read(self, tmp_path, data_file):
        packed(tmp_path, {"a.dcm": image(1), "copy.dcm": image(1), "b.dcm": image(2)}, others="refuse")
        mc.pack(data_file("dicom/mr_compressed_rle"), tmp_path / "rle.mcz", others="refuse")
        whole = next(data_file("dicom/mr_compressed_rle").iterdir()).read_bytes()
        folder = folder_of(tmp_path / "cut", {"fragments.dcm": whole[:-3000]})
        with pytest.raises(mc.FormatError, match="truncated"):
            mc.pack(folder, tmp_path / "cut.mcz", others="refuse")

    def test_nothing_to_archive(self, tmp_path):
        (tmp_path / "empty").mkdir()
        for folder, reason in ((tmp_path / "empty", "no file to archive"), (tmp_path / "absent", "no folder")):
            with pytest.raises(mc.MedCompressError, match=reason):
                mc.pack(folder, tmp_path / "a.mcz")

    def test_hidden_files_are_no_images_in_a_folder_nor_in_an_archive(self, tmp_path):
        hidden = {".hidden.dcm": image(90), "s/DICOMDIR": image(91)}
        path = packed(tmp_path, {f"{n}.dcm": image(n) for n in range(9, 12)} | hidden)
        volume = mc.read(path)
        assert volume.shape[0] == 3 and volume.equals(mc.read(tmp_path / "files"))
        facts = mc.info(path)
        assert facts["files_without_image"] == 2 and facts["series"][0]["files"] == 3
        assert mc.read(packed(tmp_path / "alone", {".hidden.dcm": image(1)})).equals(
            mc.read(tmp_path / "alone" / "files" / ".hidden.dcm"))

    def test_the_first_file_of_a_series_is_the_same_in_a_folder_and_in_an_archive(self, tmp_path):
        path = packed(tmp_path, {f"{n}.dcm": image(n, WindowCenter=n) for n in range(9, 12)})
        volume = mc.read(path)
        assert volume.metadata["DICOM"]["WindowCenter"] == 9 and volume.equals(mc.read(tmp_path / "files"))

    def test_links_are_followed(self, tmp_path):
        elsewhere = folder_of(tmp_path / "elsewhere", {"2.dcm": image(2), "deep/3.dcm": image(3)})
        folder = folder_of(tmp_path / "files", {"1.dcm": image(1)})
        (folder / "link").symlink_to(elsewhere)
        mc.pack(folder, tmp_path / "a.mcz", codec=CODEC)
        assert sorted(mc.unpack(tmp_path / "a.mcz", tmp_path / "again")) == ["1.dcm", "link/2.dcm", "link/deep/3.dcm"]
        assert mc.read(folder).shape[0] == 3 and mc.read(folder).equals(mc.read(tmp_path / "again"))

    def test_links_that_lead_back(self, tmp_path):
        folder = folder_of(tmp_path / "files", {"s/1.dcm": image(1)})
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "back").symlink_to(folder)
        (folder / "s" / "link").symlink_to(tmp_path / "elsewhere")
        for use in (mc.read, lambda path: mc.pack(path, tmp_path / "a.mcz")):
            with pytest.raises(mc.MedCompressError, match="link/back leads back"):
                use(folder)

    def test_pipes_are_left_out_or_refused(self, tmp_path):
        folder = folder_of(tmp_path / "files", {"1.dcm": image(1)})
        os.mkfifo(folder / "2.dcm")
        with pytest.warns(UserWarning, match=r"2\.dcm \(not a regular file\)"):
            volume = mc.read(folder)
        export_file(folder, tmp_path / "out")
        assert volume.shape[0] == 1 and np.array_equal(mc.read(tmp_path / "out").voxels, volume.voxels)
        for options in ({}, {"series_uid": "1.2.3"}, {"others": "refuse"}):
            with pytest.raises(mc.UnsupportedError, match=r"2\.dcm is a pipe"):
                mc.pack(folder, tmp_path / "a.mcz", **options)

    def test_archive_in_its_own_folder(self, tmp_path):
        folder = folder_of(tmp_path / "files", {"a.dcm": image(1)})
        mc.pack(folder, folder / "a.mcz", codec=CODEC)
        mc.pack(folder, folder / "a.mcz", codec=CODEC, overwrite=True)
        assert mc.info(folder / "a.mcz")["files"] == 1

    def test_file_that_changes_meanwhile(self, tmp_path):
        folder = folder_of(tmp_path / "files", {"a.dcm": image(1), "b.dcm": image(2)})

        def change(fraction):
            (folder / "a.dcm").write_bytes(image(3))

        with pytest.raises(mc.MedCompressError, match="changed while"):
            mc.pack(folder, tmp_path / "a.mcz", codec=CODEC, progress=change)
        assert list(tmp_path.iterdir()) == [folder]

    def test_cancel(self, tmp_path):
        folder = folder_of(tmp_path / "files", {"a.dcm": image(1), "b.dcm": image(2)})

        def stop(fraction):
            if fraction > 0.5:
                raise mc.Cancelled("stop")

        with pytest.raises(mc.Cancelled):
            mc.pack(folder, tmp_path / "a.mcz", codec=CODEC, progress=stop)
        mc.pack(folder, tmp_path / "b.mcz", codec=CODEC)
        with pytest.raises(mc.Cancelled):
            mc.unpack(tmp_path / "b.mcz", tmp_path / "again", progress=stop)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["b.mcz", "files"]

    def test_unpack_beside_other_files(self, tmp_path):
        path = packed(tmp_path, {"a.dcm": image(1), "s/b.dcm": image(2)})
        folder = folder_of(tmp_path / "other", {"mine.txt": b"mine", "a.dcm": b"old"})
        with pytest.raises(mc.MedCompressError, match=r"a\.dcm exists"):
            mc.unpack(path, folder)
        assert contents(folder) == {"mine.txt": b"mine", "a.dcm": b"old"}
        mc.unpack(path, folder, overwrite=True)
        assert contents(folder) == {"mine.txt": b"mine"} | contents(tmp_path / "files")

    def test_unpack_where_somebody_works(self, tmp_path, monkeypatch):
        path = packed(tmp_path, {"a.dcm": image(1)})
        (tmp_path / "here").mkdir(mode=0o750)
        monkeypatch.chdir(tmp_path / "here")
        before = Path().stat()
        mc.unpack(path, ".")
        assert Path("a.dcm").read_bytes() == image(1) and os.listdir() == ["a.dcm"]
        assert (Path("../here").stat().st_ino, Path().stat().st_mode) == (before.st_ino, before.st_mode)

    @pytest.mark.parametrize("kind", ["folder where a file belongs", "file where a folder belongs"])
    def test_nothing_is_lost_where_names_are_taken(self, tmp_path, kind):
        path = packed(tmp_path, {"a.dcm": image(1), "s/b.dcm": image(2)})
        mine = {"a.dcm": b"mine", "s/b.dcm/mine": b"mine"} if kind.startswith("folder") else {"a.dcm": b"a", "s": b"s"}
        folder = folder_of(tmp_path / "other", mine)
        with pytest.raises(mc.MedCompressError, match="choose another folder"):
            mc.unpack(path, folder, overwrite=True)
        assert contents(folder) == mine

    @pytest.mark.parametrize("moves", range(5))
    def test_failure_while_files_get_their_places(self, tmp_path, monkeypatch, moves):
        path = packed(tmp_path, {"a.dcm": image(1), "new/b.dcm": image(2), "s/c.dcm": image(3)})
        mine = {"a.dcm": b"mine", "s/c.dcm": b"mine too", "d": b""}
        folder = folder_of(tmp_path / "other", mine)
        done, replace = [], os.replace

        def fail(*names):
            if len(done) == moves:
                done.append("failure")
                raise OSError(28, "No space left on device")
            done.append(names)
            replace(*names)

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(mc.MedCompressError, match="No space left"):
            mc.unpack(path, folder, overwrite=True)
        assert contents(folder) == mine and sorted(os.listdir(folder)) == ["a.dcm", "d", "s"]

    def test_file_that_comes_into_being_meanwhile(self, tmp_path):
        path = packed(tmp_path, {"a.dcm": image(1)})
        folder = folder_of(tmp_path / "other", {"mine": b""})
        with pytest.raises(mc.MedCompressError, match="exists"):
            mc.unpack(path, folder, progress=lambda fraction: (folder / "a.dcm").write_bytes(b"mine"))
        assert contents(folder) == {"mine": b"", "a.dcm": b"mine"}

    def test_name_that_the_disk_cannot_have(self, tmp_path):
        with pytest.raises(mc.MedCompressError, match="again cannot be written: File name too long"):
            mc.unpack(archive_of_names("long" * 99), tmp_path / "again")
        assert not list(tmp_path.iterdir())

    def test_progress_rises_to_one(self, tmp_path):
        folder = folder_of(tmp_path / "files", {"a.dcm": image(1), "b.dcm": image(2)})
        seen = []
        mc.pack(folder, tmp_path / "a.mcz", codec=CODEC, progress=seen.append)
        assert seen == sorted(seen) and seen[-1] == 1.0


def with_overlay(data):
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.add_new((0x6000, 0x0102), "US", 12)
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


class TestDeidentified:
    def test_nothing_identifies_the_patient(self, tmp_path):
        pytest.importorskip("dicomanonymizer")
        item = Dataset()
        item.ReferencedSOPInstanceUID, item.PatientName = "1.2.3.4.101", "Some^One"
        files = {f"Some_One_{n}.dcm": image(n, ReferencedImageSequence=[item], PatientBirthDate="19700101",
                                            InstitutionName="Clinic of Someone") for n in range(3)}
        folder = folder_of(tmp_path / "files", files)
        dataset = pydicom.dcmread(folder / "Some_One_0.dcm")
        dataset.file_meta.SourceApplicationEntityTitle = "SOME_CLINIC"
        dataset.file_meta.PrivateInformationCreatorUID = "1.2.3.4.105"
        dataset.file_meta.PrivateInformation = b"Some^One"
        dataset.save_as(folder / "Some_One_0.dcm")
        files["Some_One_0.dcm"] = (folder / "Some_One_0.dcm").read_bytes()
        mc.pack(folder, tmp_path / "a.mcz", codec=CODEC, deidentify=True)
        mc.unpack(tmp_path / "a.mcz", tmp_path / "again")
        out = contents(tmp_path / "again")
        assert len(out) == 3 and contents(folder) == files
        for name, data in out.items():
            assert "Some" not in name
            for secret in (b"Some", b"SOME", b"secret", b"19700101", b"1.2.3.4.10", b"1.2.3\0"):
                assert secret not in data, secret
        assert pydicom.dcmread(io.BytesIO(data)).PatientIdentityRemoved == "YES"
        assert np.array_equal(mc.read(tmp_path / "a.mcz").voxels, mc.read(folder).voxels)

    @pytest.mark.parametrize(("name", "data", "reason"), [("notes.txt", b"Some One", r"notes\.txt cannot be de-ident"),
                                                          ("b.dcm", image(2, BurnedInAnnotation="YES"), "burned"),
                                                          ("c.dcm", with_overlay(image(2)), "overlay")])
    def test_refused_where_it_cannot_be_done(self, tmp_path, name, data, reason):
        pytest.importorskip("dicomanonymizer")
        folder = folder_of(tmp_path / "files", {"a.dcm": image(1), name: data})
        with pytest.raises(mc.MedCompressError, match=reason):
            mc.pack(folder, tmp_path / "a.mcz", deidentify=True)
        assert not (tmp_path / "a.mcz").exists()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = folder_of(tmp_path_factory.mktemp("damage"), {f"{n}": image(n) for n in range(3)} | {"t": b"text"})
    mc.pack(folder, folder.parent / "damage.mcz", codec=CODEC)
    return (folder.parent / "damage.mcz").read_bytes()


class TestDamage:
    def test_whole(self, archive):
        report = mc.verify(archive)
        assert report.ok and report.slabs == 1 and len(report.voxel_sha256) == 64

    def test_every_damaged_byte_is_found(self, archive):
        for at in range(0, len(archive), 7):
            damaged = bytearray(archive)
            damaged[at] ^= 0x20
            assert not mc.verify(bytes(damaged)).ok, at

    @pytest.mark.parametrize("length", [0, 5, 20, 87, 88, 100, -1])
    def test_truncated(self, archive, length, tmp_path):
        with pytest.raises(mc.FormatError):
            mc.unpack(archive[:length], tmp_path / "again")
        assert not (tmp_path / "again").exists() and not list(tmp_path.iterdir())

    def test_volume_where_an_archive_is_wanted(self, tmp_path):
        with pytest.raises(mc.FormatError, match="single volume"):
            mc.unpack(mc.compress(np.zeros((2, 3, 4), np.uint8)), tmp_path / "again")

    @pytest.mark.parametrize("name", ["../evil", "/evil", "a//b", "a/../../b", "", ".", "a\0b"])
    def test_names_that_lead_elsewhere(self, name, tmp_path):
        with pytest.raises(mc.FormatError, match="impossible name"):
            mc.unpack(archive_of_names(name), tmp_path / "again")
        with pytest.raises(RefusedError):
            restore(archive_of_names(name))

    @pytest.mark.parametrize("name", ["..\\evil", "C:evil", "C:\\evil", "f:stream", "NUL", "sub/aux.txt", "com1 .a",
                                      "a?", "new\nline", "end.", "end /a"])
    def test_names_that_windows_takes_for_others(self, name, tmp_path, monkeypatch):
        assert mc.unpack(archive_of_names(name), tmp_path / "posix") == [name]
        assert contents(tmp_path / "posix") == {name: b"x"}
        monkeypatch.setattr(folders, "WINDOWS", True)
        with pytest.raises(mc.UnsupportedError, match="Windows does not allow"):
            mc.unpack(archive_of_names(name), tmp_path / "windows")
        assert not (tmp_path / "windows").exists()
        assert mc.unpack(archive_of_names("nul-/aux1/con fig"), tmp_path / "windows")

    @pytest.mark.parametrize("names", [("a.dcm", "A.dcm"), ("s/a", "S/b"), ("s", "S/b")])
    def test_names_that_differ_only_in_case(self, names, tmp_path, monkeypatch):
        assert mc.unpack(archive_of_names(*names), tmp_path / "posix") == list(names)
        monkeypatch.setattr(folders, "WINDOWS", True)
        with pytest.raises(mc.UnsupportedError, match="the same name"):
            mc.unpack(archive_of_names(*names), tmp_path / "windows")
        assert not (tmp_path / "windows").exists()


def archive_of_names(*names):
    """The bytes of an archive of files that hold "x"."""
    file = io.BytesIO()
    digest = hashlib.sha256(hashlib.sha256(b"x").digest() * len(names)).digest()
    entries = [Entry(name.encode(), [Step(BARE)], [b"x"], crc32c(b"x")) for name in names]
    write_archive(file, Contents(entries, [], {}, digest), [])
    return file.getvalue()


def mutated(data, rng):
    """The bytes of a file with one to five changes, most of them near its beginning."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(min(len(data), 4096) if rng.integers(3) else len(data)))
        kind = rng.integers(4)
        if kind == 0:
            data[at] = rng.integers(256)
        elif kind == 1:
            del data[at:at + int(rng.integers(1, 20))]
        elif kind == 2:
            data[at:at] = rng.bytes(int(rng.integers(1, 20)))
        else:
            data[at:at + 4] = b"\xff\xff\xff\xff"
        data = data or bytearray(b"\0")
    return bytes(data)


class TestFuzz:
    def test_mutated_files(self, tmp_path):
        """An exact archive of whatever the files have become."""
        rng = np.random.default_rng(11)
        originals = [*(image(n) for n in range(4)), image(5, words(0, (4, 6, 7))),
                     image(6, syntax=ImplicitVRLittleEndian)]
        for batch in range(10):
            files = {f"{number}.dcm": mutated(originals[number % len(originals)], rng) for number in range(50)}
            self.archive_exactly(tmp_path / str(batch), files)

    @pytest.mark.slow
    def test_mutated_files_of_real_series(self, data_file, tmp_path):
        """500 of them, up to three beside each other; none takes 10 seconds."""
        rng = np.random.default_rng(12)
        series = [sorted(path for path in folder.iterdir() if path.is_file())[:3]
                  for folder in sorted(data_file("dicom").iterdir()) if folder.is_dir()]
        done = 0
        while done < 500:
            paths = series[done % len(series)]
            files = {path.name: mutated(path.read_bytes(), rng) for path in paths}
            start = time.process_time()
            self.archive_exactly(tmp_path / str(done), files)
            assert time.process_time() - start < 10, paths[0].parent.name
            done += len(files)

    @staticmethod
    def archive_exactly(folder, files):
        path = packed(folder, files)
        mc.info(path, phi=True)
        try:
            mc.read(path)
        except mc.MedCompressError:
            pass  # no volume any more


class TestRealSeries:
    NAMES = ("ct_body_siemens_mct_j2k", "ct_gantry_tilt_siemens", "ct_missing_slice_ge", "ct_not_a_volume_siemens",
             "ct_variable_increment_siemens", "mr_compressed_j2k", "mr_compressed_jpegll", "mr_compressed_jpegls",
             "mr_compressed_rle", "mr_enhanced_philips_achieva", "mr_hitachi_implicit", "mr_hyperfine_multiframe",
             "mr_mixed_orientation_philips", "mr_multiframe_siemens", "mr_rgb_j2k")

    @pytest.mark.parametrize("name", NAMES)
    def test_byte_for_byte(self, data_file, tmp_path, name):
        folder = data_file(f"dicom/{name}")
        mc.pack(folder, tmp_path / "a.mcz", codec=CODEC)
        mc.unpack(tmp_path / "a.mcz", tmp_path / "again")
        assert contents(tmp_path / "again") == contents(folder)
        try:
            volume = read_series(folder)
        except mc.MedCompressError as error:
            with pytest.raises(type(error)):
                mc.read(tmp_path / "a.mcz")
        else:
            assert mc.read(tmp_path / "a.mcz").equals(volume)

    def test_headers_beside_the_voxels(self, data_file, tmp_path):
        """At most 1.5 % larger than the voxels alone."""
        source = data_file("dicom/ct_chest_siemens_sensation10_B70f")
        for path in sorted(source.iterdir())[:3]:
            (tmp_path / "part").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "part")
        mc.pack(tmp_path / "part", tmp_path / "a.mcz", codec=CODEC)
        alone = len(mc.compress(mc.read(tmp_path / "part"), codec=CODEC))
        assert Path(tmp_path / "a.mcz").stat().st_size < 1.015 * alone
