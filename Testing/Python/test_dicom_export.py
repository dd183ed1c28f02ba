"""Export to standard DICOM: the same pixels for every reader, and honest headers."""

import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

import MedCompressLib as mc
from MedCompressLib.dicom import read_series
from MedCompressLib.dicom_archive import Archive
from MedCompressLib.dicom_export import SYNTAXES, Loss, export_series
from MedCompressLib.dicom_export.syntaxes import set_pixels
from MedCompressLib.errors import UnsupportedError

PACKAGES = {"jpeg-ls": "jpeg_ls", "jpeg-2000": "openjpeg", "htj2k": "imagecodecs"}
LOSS = Loss(12.5, "Near-lossless: no stored value is off by more than 2")
CHANGED = {0x00080008, 0x00282110, 0x00282112, 0x00282114, 0x00082111, 0x00089215, 0x00082112, 0x00080018, 0x0020000E}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(params=SYNTAXES)
def syntax(request):
    if request.param in PACKAGES:
        pytest.importorskip(PACKAGES[request.param])
    return request.param


@pytest.fixture
def tilt(data_file):
    return data_file("dicom/ct_gantry_tilt_siemens")


def datasets(folder):
    return [pydicom.dcmread(path) for path in sorted(Path(folder).iterdir())]


def in_order_of(volume, source):
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in datasets(source)}
    return [by_uid[uid] for uid in volume.metadata["DICOM"]["instanceUIDs"]]


def plain(dataset, left_out):
    return {element.tag: str(element.value) for element in dataset if element.tag not in left_out}


class TestLossless:
    @pytest.mark.parametrize("name", ["ct_gantry_tilt_siemens", "mr_compressed_rle", "mr_hyperfine_multiframe",
                                      "mr_hitachi_implicit", "mr_enhanced_philips_achieva"])
    def test_same_pixels_same_header(self, data_file, tmp_path, syntax, name):
        source = data_file(f"dicom/{name}")
        volume = read_series(source)
        names = export_series(volume, tmp_path / "out", syntax, source)
        again = read_series(tmp_path / "out")
        assert np.array_equal(again.voxels, volume.voxels) and np.array_equal(again.ijk_to_ras, volume.ijk_to_ras)
        assert again.metadata["DICOM"]["TransferSyntaxUID"] == SYNTAXES[syntax]
        for before, after in zip(in_order_of(volume, source), datasets(tmp_path / "out"), strict=True):
            assert plain(before, {0x7FE00010}) == plain(after, {0x7FE00010})
        assert len(names) == len(list((tmp_path / "out").iterdir()))

    def test_read_by_gdcm(self, tilt, tmp_path, syntax):
        if syntax == "htj2k":
            pytest.skip("GDCM in SimpleITK does not decode HTJ2K")
        volume = read_series(tilt)
        export_series(volume, tmp_path / "out", syntax, tilt)
        for path, voxels in zip(sorted((tmp_path / "out").iterdir()), volume.voxels, strict=True):
            assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0], voxels)

    def test_read_by_dcmtk(self, tilt, tmp_path, syntax):
        tool = {"jpeg-ls": "dcmdjpls", "rle": "dcmdrle"}.get(syntax, "dcmdump")
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} of dcmtk is not installed")
        volume = read_series(tilt)
        export_series(volume, tmp_path / "out", syntax, tilt)
        for path, voxels in zip(sorted((tmp_path / "out").iterdir()), volume.voxels, strict=True):
            plain_file = tmp_path / "plain.dcm"
            if tool == "dcmdump":
                result = subprocess.run([tool, "-q", str(path)], capture_output=True)
            else:
                result = subprocess.run([tool, str(path), str(plain_file)], capture_output=True)
                dataset = pydicom.dcmread(plain_file)
                assert np.array_equal(dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept, voxels)
            assert result.returncode == 0 and not result.stderr

    def test_signed(self, tilt, tmp_path, syntax):
        (tmp_path / "in").mkdir()
        for number, path in enumerate(sorted(tilt.iterdir())):
            dataset = pydicom.dcmread(path)
            array = dataset.pixel_array.astype(np.int16) - 2048
            dataset.PixelRepresentation, dataset.RescaleIntercept = 1, 0
            dataset.PixelData = array.tobytes()
            dataset.save_as(tmp_path / "in" / f"{number}.dcm")
        volume = read_series(tmp_path / "in")
        assert volume.voxels.min() < 0
        export_series(volume, tmp_path / "out", syntax, tmp_path / "in")
        assert np.array_equal(read_series(tmp_path / "out").voxels, volume.voxels)

    def test_source_in_an_archive(self, tilt, tmp_path):
        mc.pack(tilt, tmp_path / "a.mcz", codec="raw")
        with open(tmp_path / "a.mcz", "rb") as file:
            export_series(mc.read(tmp_path / "a.mcz"), tmp_path / "out", source=Archive(file, 1).files)
        assert read_series(tmp_path / "out").equals(read_series(tilt))

    def test_once_lossy_stays_lossy(self, tilt, tmp_path):
        (tmp_path / "in").mkdir()
        for path in tilt.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.LossyImageCompression = "01"
            dataset.save_as(tmp_path / "in" / path.name)
        export_series(read_series(tmp_path / "in"), tmp_path / "out", "rle", tmp_path / "in")
        assert {dataset.LossyImageCompression for dataset in datasets(tmp_path / "out")} == {"01"}


class TestLossy:
    def lossy(self, source):
        volume = read_series(source)
        volume.voxels = volume.voxels + (np.random.default_rng(1).integers(-1, 2, volume.shape)
                                         * (volume.voxels > volume.voxels.min() + 1)).astype(volume.dtype)
        return volume

    def test_every_attribute(self, tilt, tmp_path, syntax):
        volume = self.lossy(tilt)
        export_series(volume, tmp_path / "out", syntax, tilt, LOSS)
        out = datasets(tmp_path / "out")
        assert np.array_equal(read_series(tmp_path / "out").voxels, volume.voxels)
        for before, after in zip(in_order_of(volume, tilt), out, strict=True):
            assert after.SOPInstanceUID != before.SOPInstanceUID == \
                after.SourceImageSequence[-1].ReferencedSOPInstanceUID
            assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
            assert after.SeriesInstanceUID != before.SeriesInstanceUID
            assert after.StudyInstanceUID == before.StudyInstanceUID
            assert after.LossyImageCompression == "01" and after.ImageType[0] == "DERIVED"
            assert list(after.ImageType)[1:] == list(before.ImageType)[1:]
            assert (after.LossyImageCompressionRatio, after.LossyImageCompressionMethod) == (12.5, "99_MEDCOMPRESS")
            assert "off by more than 2" in after.DerivationDescription and "12.5:1" in after.DerivationDescription
            code = after.DerivationCodeSequence[-1]
            assert (code.CodeValue, code.CodingSchemeDesignator) == ("113040", "DCM")
            purpose = after.SourceImageSequence[-1].PurposeOfReferenceCodeSequence[0]
            assert (purpose.CodeValue, purpose.CodeMeaning) == ("121320", "Uncompressed predecessor")
            assert plain(before, CHANGED | {0x7FE00010}) == plain(after, CHANGED | {0x7FE00010})
        assert len({dataset.SOPInstanceUID for dataset in out}) == len(out)
        assert len({dataset.SeriesInstanceUID for dataset in out}) == 1

    def test_second_step_is_appended_in_pairs(self, tilt, tmp_path):
        export_series(self.lossy(tilt), tmp_path / "once", "rle", tilt, LOSS)
        export_series(self.lossy(tmp_path / "once"), tmp_path / "twice", "rle", tmp_path / "once", Loss(3, "2nd", "X"))
        for dataset in datasets(tmp_path / "twice"):
            assert [float(ratio) for ratio in dataset.LossyImageCompressionRatio] == [12.5, 3]
            assert list(dataset.LossyImageCompressionMethod) == ["99_MEDCOMPRESS", "X"]
            assert len(dataset.SourceImageSequence) == len(dataset.DerivationCodeSequence) == 2
            assert "with loss before" in dataset.DerivationDescription

    def test_region_of_interest(self, tilt, tmp_path):
        volume = read_series(tilt)
        mask = np.zeros(volume.shape, bool)
        mask[:, 200:260, 200:260] = True
        data = mc.compress(volume, preset="fast", quality=mc.NearLossless(max_error=8), roi=mc.RegionOfInterest(mask))
        facts, again = mc.info(data), mc.decompress(data)
        loss = Loss.of(facts["quality"], facts["ratio"], "liver")
        export_series(again, tmp_path / "out", "rle", tilt, loss)
        read = read_series(tmp_path / "out").voxels
        assert np.array_equal(read, again.voxels) and np.array_equal(read[mask], volume.voxels[mask])
        text = datasets(tmp_path / "out")[0].DerivationDescription
        assert "exact in regions of interest (liver)" in text and "off by at most 8 elsewhere" in text

    def test_enhanced_frame_types(self, data_file, tmp_path):
        source = data_file("dicom/mr_enhanced_philips_achieva")
        export_series(self.lossy(source), tmp_path / "out", source=source, loss=LOSS)
        [dataset] = datasets(tmp_path / "out")
        frames = [element.value[0] for element in dataset.iterall() if element.keyword == "FrameType"]
        assert set(frames) == {"DERIVED"} and len(frames) == 8 and dataset.ImageType[0] == "DERIVED"

    def test_lossy_regions_are_described(self):
        reached = {"rmse": 3.25, "max_error": 41}
        quality = {"kind": "lossy", "target": {"ratio": 20}, "reached": reached, "regions": [0, 4, None]}
        assert Loss.of(quality, 20.0, "liver, spleen").description.endswith(
            "at most by 41. In regions of interest (liver, spleen) they are exact, off by at most 4.")
        assert "regions" not in Loss.of(quality | {"regions": [None]}, 20.0).description

    def test_constant_background_is_described(self):
        quality = {"kind": "constant-background", "value": -1024, "reached": {}}
        assert Loss.of(quality, 20.0, "brain").description == (
            "Stored values are exact in regions of interest (brain) and -1024 elsewhere.")

    def test_lossless_quality_is_no_loss(self):
        assert Loss.of({"kind": "lossless"}, 2.0) is None

    @pytest.mark.parametrize("arguments", [(0, "x"), (2, ""), (2, "x", "lower"), (2, "x", "A" * 17), (np.nan, "x")])
    def test_loss_that_cannot_be_written(self, arguments):
        with pytest.raises(mc.UnsupportedError):
            Loss(*arguments)

    def test_refusals(self, tilt, tmp_path):
        volume = self.lossy(tilt)
        with pytest.raises(mc.UnsupportedError, match="say how"):
            export_series(volume, tmp_path / "out", source=tilt)
        with pytest.raises(mc.UnsupportedError, match="shape"):
            export_series(mc.Volume(volume.voxels[:2]), tmp_path / "out", source=tilt, loss=LOSS)
        with pytest.raises(mc.UnsupportedError, match="transfer syntax"):
            export_series(volume, tmp_path / "out", "jpeg", tilt, LOSS)
        moved = volume.ijk_to_ras.copy()
        moved[2, 3] += 1
        with pytest.raises(mc.UnsupportedError, match="lies elsewhere"):
            export_series(mc.Volume(volume.voxels, moved), tmp_path / "out", source=tilt, loss=LOSS)
        other = {"DICOM": {**volume.metadata["DICOM"], "SeriesInstanceUID": "1.2.3"}}
        with pytest.raises(mc.UnsupportedError, match=r"came from the series 1\.2\.3"):
            export_series(mc.Volume(volume.voxels, volume.ijk_to_ras, metadata=other), tmp_path / "out", source=tilt,
                          loss=LOSS)
        (tmp_path / "nameless").mkdir()
        for path in tilt.iterdir():
            dataset = pydicom.dcmread(path)
            del dataset.SOPInstanceUID
            dataset.save_as(tmp_path / "nameless" / path.name)
        with pytest.raises(mc.UnsupportedError, match="no SOP Instance UID"):
            export_series(volume, tmp_path / "out", source=tmp_path / "nameless", loss=LOSS)
        (tmp_path / "mg").mkdir()
        for path in tilt.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.Modality = "MG"
            dataset.save_as(tmp_path / "mg" / path.name)
        with pytest.raises(mc.UnsupportedError, match="Mammograms"):
            export_series(volume, tmp_path / "out", source=tmp_path / "mg", loss=LOSS)
        (tmp_path / "unpaired").mkdir()
        for path in tilt.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.LossyImageCompressionRatio = "3"
            dataset.save_as(tmp_path / "unpaired" / path.name)
        with pytest.raises(mc.UnsupportedError, match="earlier lossy"):
            export_series(volume, tmp_path / "out", source=tmp_path / "unpaired", loss=LOSS)
        assert not (tmp_path / "out").exists()


class TestFresh:
    @pytest.mark.parametrize(("modality", "dtype"), [("CT", "int16"), ("MR", "uint16"), ("OT", "uint8")])
    def test_comes_back(self, tmp_path, syntax, modality, dtype):
        rng = np.random.default_rng(2)
        matrix = np.diag([-0.7, -0.7, 2.5, 1])
        matrix[:3, 3] = 10, -20, 30.25
        volume = mc.Volume(rng.integers(0, 200, (3, 40, 36)).astype(dtype), matrix)
        export_series(volume, tmp_path / "out", syntax, modality=modality, elements={"PatientName": "Müller^A"})
        again = read_series(tmp_path / "out")
        assert np.array_equal(again.voxels, volume.voxels) and again.dtype == volume.dtype
        assert np.allclose(again.ijk_to_ras, matrix, atol=1e-9)
        assert datasets(tmp_path / "out")[0].PatientName == "Müller^A"

    def test_lossy(self, tmp_path):
        export_series(mc.Volume(np.zeros((2, 3, 4), np.int16)), tmp_path / "out", modality="CT", loss=LOSS)
        dataset = datasets(tmp_path / "out")[0]
        assert dataset.LossyImageCompression == "01" and "SourceImageSequence" not in dataset

    @pytest.mark.parametrize(("volume", "options", "reason"), [
        (mc.Volume(np.zeros((2, 3, 4), np.float32)), {}, "float32"),
        (mc.Volume(np.zeros((2, 2, 3, 4), np.uint8), axes="tkji"), {}, "single volumes"),
        (mc.Volume(np.zeros((2, 3, 4), np.int16), np.array([[1, .5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.]])),
         {}, "right angles"),
        (mc.Volume(np.zeros((2, 3, 4), np.int16)), {"modality": "XX"}, "CT, MR, OT"),
        (mc.Volume(np.zeros((2, 3, 4), np.int16)), {"elements": {"Rows": 3}}, "Rows cannot be set")])
    def test_refusals(self, tmp_path, volume, options, reason):
        with pytest.raises(mc.UnsupportedError, match=reason):
            export_series(volume, tmp_path / "out", **options)


@pytest.mark.parametrize(("allocated", "syntax", "reason"), [
    (1, "explicit", "Images of 1 bit are not exported"), (32, "htj2k", "no more than 16 bits")])
def test_images_that_cannot_be_exported(allocated, syntax, reason):
    dataset = pydicom.Dataset()
    dataset.BitsAllocated = allocated
    with pytest.raises(UnsupportedError, match=reason):
        set_pixels(dataset, np.zeros((1, 4, 4), np.uint32), syntax)


def test_the_reason_of_an_encoder_is_told(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("Unable to encode, as all plugins failed:\n  this one: there are too few rows")

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.BitsAllocated = 16
    monkeypatch.setattr(pydicom.Dataset, "compress", fails)
    with pytest.raises(UnsupportedError, match=r"all plugins failed: this one: there are too few rows\."):
        set_pixels(dataset, np.zeros((1, 4, 4), np.uint16), "jpeg-2000")
