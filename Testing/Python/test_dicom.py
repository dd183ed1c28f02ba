"""DICOM series: small ones made here for every rule, and the real ones."""

import shutil
import warnings

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, generate_uid

from MedCompressLib.dicom import SeveralSeriesError, list_series, read_series
from MedCompressLib.errors import FormatError, MedCompressError, UnsupportedError
from MedCompressLib.image_files import read_image
from MedCompressLib.rescale import rescaled

ROWS, COLUMNS = 4, 5
LPS_TO_RAS = np.diag([-1.0, -1, 1, 1])


@pytest.fixture(autouse=True)
def no_unexpected_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="pydicom")
        yield


def pixels(seed=0, dtype="uint16", shape=(ROWS, COLUMNS), high=4096):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(max(info.min, -high), min(info.max, high - 1), shape, dtype)


def image(array=None, syntax=ExplicitVRLittleEndian, **elements):
    """A CT image; elements given as None are left out."""
    array = pixels() if array is None else array
    bits = 8 * array.dtype.itemsize
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    defaults = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": generate_uid(), "SeriesInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2", "Modality": "CT", "SeriesDescription": "made", "SeriesNumber": 7,
        "InstanceNumber": 1, "PatientPosition": "HFS", "PatientName": "Some^One", "PatientID": "secret",
        "Rows": array.shape[-2], "Columns": array.shape[-1], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1,
        "PixelRepresentation": int(array.dtype.kind == "i"), "PixelSpacing": [0.5, 0.25], "SliceThickness": 2,
        "ImagePositionPatient": [1, 2, 3], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    for name, value in (defaults | elements).items():
        if value is not None:
            setattr(dataset, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = array.astype(array.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2")
    return dataset


def save(dataset, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path.parent


def save_slices(folder, positions, **elements):
    """One image at each position, in a file order unlike that of the slices; returns their samples in order given."""
    arrays = [pixels(seed) for seed in range(len(positions))]
    for index, (position, array) in enumerate(zip(positions, arrays, strict=True)):
        save(image(array, ImagePositionPatient=list(position), InstanceNumber=index + 1, **elements),
             folder / f"{(7 * index + 3) % 11:02}_{index}.dcm")
    return np.array(arrays)


# Order and geometry


def test_slices_are_ordered_along_the_normal(tmp_path):
    arrays = save_slices(tmp_path, [(1, 2, 3 - 1.5 * k) for k in range(5)])
    volume = read_series(tmp_path)
    assert volume.axes == "kji" and volume.dtype == np.uint16
    assert np.array_equal(volume.voxels, arrays[::-1])
    expected = LPS_TO_RAS @ [[.25, 0, 0, 1], [0, .5, 0, 2], [0, 0, 1.5, -3], [0, 0, 0, 1]]
    assert np.array_equal(volume.ijk_to_ras, expected)
    assert volume.metadata["DICOM"]["instanceNumbers"] == [5, 4, 3, 2, 1]


def test_oblique_series_has_a_right_handed_matrix(tmp_path):
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    rotation[:, 2] = np.cross(rotation[:, 0], rotation[:, 1])
    orientation = [float(f"{number:.12f}") for number in rotation[:, :2].T.ravel()]
    positions = [[float(f"{number:.9f}") for number in 10 + 3.3 * k * rotation[:, 2]] for k in range(4)]
    save_slices(tmp_path, positions, ImageOrientationPatient=orientation)
    volume = read_series(tmp_path)
    assert np.allclose(volume.ijk_to_ras[:3, :3], LPS_TO_RAS[:3, :3] @ rotation * [.25, .5, 3.3], atol=1e-8)
    assert np.linalg.det(volume.ijk_to_ras) > 0 and volume.metadata["DICOM"]["largestPositionDeviation"] < 1e-8


def test_gantry_tilt_gives_a_sheared_matrix(tmp_path):
    tilted = [1, 0, 0, 0, np.cos(.3), -np.sin(.3)]
    arrays = save_slices(tmp_path, [(0, 0, 5 * k) for k in range(4)], ImageOrientationPatient=tilted)
    volume = read_series(tmp_path)
    assert np.array_equal(volume.voxels, arrays)
    assert np.array_equal(volume.ijk_to_ras[:3, 2], [0, 0, 5])
    assert abs(volume.ijk_to_ras[:3, 1] @ volume.ijk_to_ras[:3, 2]) > 0.5


def test_one_slice_takes_its_thickness(tmp_path):
    save(image(SpacingBetweenSlices=None), tmp_path / "a.dcm")
    assert read_series(tmp_path).spacing == (2.0, 0.5, 0.25)
    assert read_series(tmp_path / "a.dcm").shape == (1, ROWS, COLUMNS)


def test_rounded_positions_are_no_uneven_spacing(tmp_path):
    save_slices(tmp_path, [(0, 0, round(k * 0.3333, 2)) for k in range(9)])
    assert 0 < read_series(tmp_path).metadata["DICOM"]["largestPositionDeviation"] < 0.01


@pytest.mark.parametrize(("positions", "message"), [
    ([(0, 0, 0), (0, 0, 2), (0, 0, 6), (0, 0, 8)], "1 slice is missing: slices are 2 mm apart, but 4 mm after slice 2"),
    ([(0, 0, 0), (0, 0, 2), (0, 0, 8)], "2 slices are missing"),
    ([(0, 0, 0), (0, 0, 2), (0, 0, 4.5), (0, 0, 7)], r"varies from 2 to 2\.5 mm"),
    ([(0, 0, 0), (0, 1, 2), (0, 0, 4)], "shifted sideways"),
    ([(0, 0, 0), (0, 0, 0), (0, 0, 0)], "All 3 images are at the same position"),
    ([(0, 0, 0), (0, 0, 0), (0, 0, 2)], "Some positions have 1 images and others 2"),
])
def test_what_is_no_even_stack_is_refused(tmp_path, positions, message):
    save_slices(tmp_path, positions)
    with pytest.raises(UnsupportedError, match=message):
        read_series(tmp_path)


@pytest.mark.parametrize(("elements", "message"), [
    ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, r"differ in orientation \(1 of 3"),
    ({"PixelSpacing": [0.5, 0.3]}, "differ in pixel spacing"),
    ({"Rows": 2, "Columns": 10}, r"differ in size \(2x10, 4x5\)"),
    ({"ImagePositionPatient": None}, "does not say where it is"),
    ({"ImageOrientationPatient": None}, "does not say where it is"),
    ({"ImageOrientationPatient": [0] * 6}, "differ in orientation"),
    ({"PixelSpacing": None}, "no Pixel Spacing"),
    ({"PixelRepresentation": 1}, "differ in size or type"),
    ({"BitsStored": 17}, "impossible layout of bits"),
])
def test_one_odd_image_is_refused(tmp_path, elements, message):
    save_slices(tmp_path, [(0, 0, 0), (0, 0, 1)])
    save(image(**({"ImagePositionPatient": [0, 0, 2]} | elements)), tmp_path / "x.dcm")
    with pytest.raises(MedCompressError, match=message) as caught:
        read_series(tmp_path)
    assert "\n" not in str(caught.value)


# Sequences


@pytest.mark.parametrize(("element", "values", "name", "unit"), [
    ("TemporalPositionIdentifier", [1, 2, 3], "temporal position", ""),
    ("TriggerTime", [0, 12.5, 25], "trigger time", "ms"),
    ("EchoTime", [4.6, 9.2, 13.8], "echo time", "ms"), ("DiffusionBValue", [0, 500, 1000], "b-value", "s/mm2"),
    ("AcquisitionNumber", [3, 5, 9], "acquisition", "")])
def test_several_images_a_position_are_a_sequence(tmp_path, element, values, name, unit):
    arrays = np.array([[pixels(10 * t + k) for k in range(2)] for t in range(3)])
    for t, value in enumerate(values):
        for k in range(2):
            save(image(arrays[t, k], ImagePositionPatient=[0, 0, k], **{element: value}), tmp_path / f"{9 - t}_{k}.dcm")
    volume = read_series(tmp_path)
    assert volume.axes == "tkji" and np.array_equal(volume.voxels, arrays)
    assert (volume.sequence.index_name, volume.sequence.unit) == (name, unit)
    assert [float(value) for value in volume.sequence.values] == values


@pytest.mark.parametrize("number", [lambda t, k: 2 * t + k, lambda t, k: 3 * k + t])
def test_instance_numbers_tell_frames_apart(tmp_path, number):
    arrays = np.array([[pixels(10 * t + k) for k in range(2)] for t in range(3)])
    for t in range(3):
        for k in range(2):
            save(image(arrays[t, k], ImagePositionPatient=[0, 0, k], InstanceNumber=number(t, k)),
                 tmp_path / f"{9 - t}_{k}.dcm")
    volume = read_series(tmp_path)
    assert np.array_equal(volume.voxels, arrays) and volume.sequence.values == ["0", "1", "2"]


def test_an_index_that_some_images_lack_is_none(tmp_path):
    """Of a diffusion series, images without weighting often have no b-value."""
    arrays = np.array([[pixels(10 * t + k) for k in range(2)] for t in range(2)])
    for t, value in enumerate((None, 1000.0)):
        for k in range(2):
            save(image(arrays[t, k], ImagePositionPatient=[0, 0, k], InstanceNumber=2 * t + k, DiffusionBValue=value),
                 tmp_path / f"{9 - t}_{k}.dcm")
    volume = read_series(tmp_path)
    assert np.array_equal(volume.voxels, arrays) and volume.sequence.values == ["0", "1"]


def test_frames_that_nothing_tells_apart_are_refused(tmp_path):
    for index, k in enumerate((0, 0, 1, 1)):
        save(image(ImagePositionPatient=[0, 0, k]), tmp_path / f"{index}.dcm")
    with pytest.raises(UnsupportedError, match="nothing in their headers tells"):
        read_series(tmp_path)


# Stored values


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_sample_types_and_byte_orders(tmp_path, syntax, dtype):
    array = pixels(dtype=dtype, high=1 << 40)
    if array.dtype.itemsize == 1:
        array = np.ascontiguousarray(np.tile(array, (1, 2)))
    save(image(array, syntax), tmp_path / "a.dcm")
    volume = read_series(tmp_path)
    assert volume.dtype == dtype and np.array_equal(volume.voxels[0], array)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("shift", [0, 4])
def test_only_the_stored_bits_count(tmp_path, signed, shift):
    values = pixels(dtype="int16", high=2048) if signed else pixels()
    garbage = np.random.default_rng(1).integers(0, 1 << 16, values.shape, "uint16")
    stored = (values.astype(np.uint16) & 0xFFF) << np.uint16(shift)
    words = stored | (garbage & np.uint16(0xFFFF ^ (0xFFF << shift)))
    save(image(words, BitsStored=12, HighBit=11 + shift, PixelRepresentation=signed), tmp_path / "a.dcm")
    volume = read_series(tmp_path)
    assert volume.dtype == values.dtype and np.array_equal(volume.voxels[0], values)


@pytest.mark.parametrize(("slope", "intercept", "stored", "dtype", "applied"), [
    ("1", "-1024", "uint16", "int16", True), ("1", "0", "uint16", "uint16", True),
    ("2", "-4096", "uint16", "int16", True),
    ("1", "-1024", "int16", "int16", True), ("-1", "0", "uint16", "int16", True),
    ("100", "0", "uint16", "uint32", True),
    ("0.5", "0", "uint16", "uint16", False), ("1", "0.5", "int16", "int16", False), ("0", "1", "int16", "int16", False),
    (None, None, "int16", "int16", True)])
def test_rescaling_is_applied_where_it_is_exact(tmp_path, slope, intercept, stored, dtype, applied):
    array = pixels(dtype=stored, high=4000)
    array.flat[0] = 3999
    save(image(array, RescaleSlope=slope, RescaleIntercept=intercept, PixelPaddingValue=5), tmp_path / "a.dcm")
    volume = read_series(tmp_path)
    record = volume.metadata["DICOM"]["rescale"]
    assert volume.dtype == dtype and record["applied"] is applied and record["storedType"] == stored
    factor, offset = (float(slope or 1), float(intercept or 0)) if applied else (1, 0)
    assert np.array_equal(volume.voxels[0], array * factor + offset)
    if applied:
        assert np.array_equal((volume.voxels[0] - record["intercept"]) / record["slope"], array)


def test_slopes_that_differ_from_slice_to_slice(tmp_path):
    arrays = [pixels(0), pixels(1)]
    for k in range(2):
        save(image(arrays[k], ImagePositionPatient=[0, 0, k], RescaleSlope=str(0.1 + k), RescaleIntercept="0"),
             tmp_path / "pet" / f"{k}.dcm")
        save(image(arrays[k], ImagePositionPatient=[0, 0, k], RescaleSlope=str(1 + k), RescaleIntercept=str(-k)),
             tmp_path / "whole" / f"{k}.dcm")
    pet, whole = read_series(tmp_path / "pet"), read_series(tmp_path / "whole")
    assert pet.metadata["DICOM"]["rescale"] == {"slope": [0.1, 1.1], "intercept": [0.0, 0.0], "applied": False,
                                                "storedType": "uint16"}
    assert np.array_equal(pet.voxels, arrays)
    assert np.array_equal(whole.voxels, [arrays[0], arrays[1] * 2 - 1])


def test_rescaling_takes_the_narrowest_type_and_knows_its_limits():
    top = np.array([[0, 65535]], np.uint16)
    assert rescaled(top.copy(), [1], [-1024]).dtype == np.int32
    assert rescaled(np.array([[-128, 127]], np.int8), [1], [128]).dtype == np.uint8
    assert np.array_equal(rescaled(np.array([[-128, 127]], np.int8), [-2], [0]), [[256, -254]])
    assert rescaled(np.array([[2**64 - 1]], np.uint64), [2], [0]) is None
    assert rescaled(np.array([[2**63 - 1]], np.int64), [1], [1])[0, 0] == 2**63
    assert rescaled(np.array([[0.5]]), [1], [0]) is None


def test_rle_and_colours(tmp_path):
    array = pixels(dtype="int16")
    one = image(array, BitsStored=13, HighBit=12)
    one.compress(RLELossless, generate_instance_uid=False)
    assert np.array_equal(read_series(save(one, tmp_path / "a" / "a.dcm")).voxels[0], array)
    colors = pixels(dtype="uint8", shape=(ROWS, COLUMNS, 3))
    for planar in (0, 1):
        stored = np.ascontiguousarray(colors.transpose(2, 0, 1)) if planar else colors
        folder = save(image(stored, Rows=ROWS, Columns=COLUMNS, SamplesPerPixel=3, PlanarConfiguration=planar,
                            PhotometricInterpretation="RGB"), tmp_path / f"rgb{planar}" / "a.dcm")
        volume = read_series(folder)
        assert volume.axes == "kjic" and np.array_equal(volume.voxels[0], colors)


def test_palettes_are_looked_up(tmp_path):
    indices = pixels(dtype="uint8", high=4)
    palette = {}
    for number, name in enumerate(("Red", "Green", "Blue")):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 8]
        palette[f"{name}PaletteColorLookupTableData"] = bytes([number, 10 + number, 20 + number, 30 + number])
    save(image(indices, PhotometricInterpretation="PALETTE COLOR", **palette), tmp_path / "a.dcm")
    volume = read_series(tmp_path)
    assert np.array_equal(volume.voxels[0], indices[..., np.newaxis] * 10 + np.arange(3))
    assert volume.metadata["DICOM"]["colorsConvertedFrom"] == "PALETTE COLOR"
    assert volume.metadata["DICOM"]["PhotometricInterpretation"] == "RGB"


def test_luminance_and_chrominance_become_rgb(tmp_path):
    colors = pixels(dtype="uint8", shape=(ROWS, COLUMNS, 3))
    stored = pydicom.pixels.convert_color_space(colors, "RGB", "YBR_FULL")
    save(image(np.ascontiguousarray(stored.transpose(2, 0, 1)), Rows=ROWS, Columns=COLUMNS, SamplesPerPixel=3,
               PlanarConfiguration=1, PhotometricInterpretation="YBR_FULL"), tmp_path / "a.dcm")
    volume = read_series(tmp_path)
    assert np.abs(volume.voxels[0].astype(int) - colors).max() <= 2
    assert volume.metadata["DICOM"]["colorsConvertedFrom"] == "YBR_FULL"


def test_jpeg_2000_of_simpleitk_with_sign_and_rescale(tmp_path):
    array = pixels(dtype="int16", shape=(64, 64), high=2000)
    made = SimpleITK.GetImageFromArray(array[np.newaxis])
    SimpleITK.WriteImage(made, str(tmp_path / "j2k.dcm"), useCompression=True)
    dataset = pydicom.dcmread(tmp_path / "j2k.dcm")
    assert dataset.file_meta.TransferSyntaxUID.is_compressed
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.RescaleSlope, dataset.RescaleIntercept = [1, 1], "1", "7"
    dataset.save_as(tmp_path / "j2k.dcm")
    volume = read_series(tmp_path)
    assert np.array_equal(volume.voxels[0], array + 7)


def test_an_undecodable_transfer_syntax_is_one_sentence(tmp_path):
    one = image()
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    one.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" * 8])
    one["PixelData"].is_undefined_length = True
    one["PixelData"].VR = "OB"
    with pytest.raises(MedCompressError) as caught:
        read_series(save(one, tmp_path / "a.dcm"))
    assert "a.dcm" in str(caught.value)


def test_truncated_pixel_data_is_an_error(tmp_path):
    one = image()
    one.PixelData = one.PixelData[:-10]
    with pytest.raises(FormatError, match="damaged pixel data"):
        read_series(save(one, tmp_path / "a.dcm"))
    bare = image()
    del bare.PixelData
    with pytest.raises(FormatError, match="no pixel data"):
        read_series(save(bare, tmp_path / "b" / "a.dcm"))


# Multi-frame


def enhanced(arrays, positions, shared=True, **elements):
    dataset = image(np.array(arrays), NumberOfFrames=len(arrays), ImagePositionPatient=None,
                    ImageOrientationPatient=None, PixelSpacing=None, SliceThickness=None, **elements)

    def group(frame):
        item = Dataset()
        if frame is None or not shared:
            orientation, measures, values = Dataset(), Dataset(), Dataset()
            orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            measures.PixelSpacing, measures.SliceThickness = [0.5, 0.25], 2
            values.RescaleSlope, values.RescaleIntercept = "1", "-10"
            item.PlaneOrientationSequence, item.PixelMeasuresSequence = [orientation], [measures]
            item.PixelValueTransformationSequence = [values]
        if frame is not None:
            place, content = Dataset(), Dataset()
            place.ImagePositionPatient = list(positions[frame])
            content.TemporalPositionIndex = 1 + frame // len(set(positions))
            item.PlanePositionSequence, item.FrameContentSequence = [place], [content]
        return item

    if shared:
        dataset.SharedFunctionalGroupsSequence = [group(None)]
    dataset.PerFrameFunctionalGroupsSequence = [group(frame) for frame in range(len(arrays))]
    return dataset


@pytest.mark.parametrize("shared", [True, False])
def test_enhanced_frames_are_ordered_and_rescaled(tmp_path, shared):
    arrays = np.array([pixels(seed) for seed in range(3)])
    save(enhanced(arrays, [(0, 0, 4), (0, 0, 0), (0, 0, 2)], shared), tmp_path / "a.dcm")
    volume = read_series(tmp_path)
    assert np.array_equal(volume.voxels, arrays[[1, 2, 0]].astype(int) - 10)
    assert volume.spacing == (2.0, 0.5, 0.25)
    assert volume.metadata["DICOM"]["frames"] == [[0, 2], [0, 3], [0, 1]]
    assert len(volume.metadata["DICOM"]["instanceUIDs"]) == 1


def test_enhanced_sequence(tmp_path):
    arrays = np.array([pixels(seed) for seed in range(6)])
    save(enhanced(arrays, [(0, 0, 0), (0, 0, 2), (0, 0, 4)] * 2), tmp_path / "a.dcm")
    volume = read_series(tmp_path)
    assert volume.axes == "tkji" and np.array_equal(volume.voxels, arrays.reshape(2, 3, ROWS, COLUMNS).astype(int) - 10)


def test_dose_grid_offsets(tmp_path):
    arrays = np.array([pixels(seed) for seed in range(3)])
    save(image(arrays, NumberOfFrames=3, GridFrameOffsetVector=[0, 3, 6], Modality="RTDOSE"), tmp_path / "a.dcm")
    volume = read_series(tmp_path)
    assert np.array_equal(volume.voxels, arrays) and volume.spacing == (3.0, 0.5, 0.25)


def test_frames_without_positions_are_refused(tmp_path):
    save(image(np.array([pixels(), pixels()]), NumberOfFrames=2), tmp_path / "a.dcm")
    with pytest.raises(UnsupportedError, match="have no positions of their own"):
        read_series(tmp_path)
    one = enhanced([pixels(), pixels()], [(0, 0, 0), (0, 0, 1)])
    del one.PerFrameFunctionalGroupsSequence[1]
    with pytest.raises(FormatError, match="describes 1 frames but declares 2"):
        read_series(save(one, tmp_path / "b" / "b.dcm"))


def test_segmentations_are_refused(tmp_path):
    save(image(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"), tmp_path / "a.dcm")
    with pytest.raises(UnsupportedError, match="segmentation"):
        read_series(tmp_path)


# Folders


def test_several_series_are_listed_and_one_is_chosen(tmp_path):
    save_slices(tmp_path / "one", [(0, 0, k) for k in range(3)])
    arrays = save_slices(tmp_path / "two" / "deep", [(0, 0, k) for k in range(2)], SeriesInstanceUID="9.9",
                         SeriesNumber=3, Modality="MR", SeriesDescription="T1")
    found = list_series(tmp_path)
    assert [(one.uid, one.modality, one.description, one.number_of_files, one.shape) for one in found] == [
        ("9.9", "MR", "T1", 2, (2, ROWS, COLUMNS)), ("1.2.3", "CT", "made", 3, (3, ROWS, COLUMNS))]
    with pytest.raises(SeveralSeriesError, match=r"2 series.*series_uid") as caught:
        read_series(tmp_path)
    assert caught.value.series == found and "9.9  MR  'T1'  2 files  2x4x5" in str(caught.value)
    assert np.array_equal(read_series(tmp_path, "9.9").voxels, arrays)
    with pytest.raises(MedCompressError, match=r"no series 5\.5"):
        read_series(tmp_path, "5.5")


def test_other_files_are_left_out_and_reported(tmp_path):
    arrays = save_slices(tmp_path, [(0, 0, k) for k in range(3)])
    copy = next(tmp_path.glob("*.dcm"))
    (tmp_path / "zz_copy.dcm").write_bytes(copy.read_bytes())
    (tmp_path / "notes.txt").write_text("The patient moved.")
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "DICOMDIR").write_text("x")
    report = image(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Rows=None, Columns=None)
    save(report, tmp_path / "report.dcm")
    with pytest.warns(UserWarning, match="4 files were left out") as caught:
        volume = read_series(tmp_path)
    assert np.array_equal(volume.voxels, arrays)
    text = str(caught[0].message)
    for reason in ("notes.txt (not DICOM)", "empty.dcm (not DICOM)", "report.dcm (not an image)",
                   f"zz_copy.dcm (another copy of {copy.name})"):
        assert reason in text


def test_a_copy_in_another_encoding_is_a_copy(tmp_path):
    save(image(SOPInstanceUID="1.2.3.9"), tmp_path / "a.dcm")
    again = image(SOPInstanceUID="1.2.3.9", PatientName="Corrected^Name")
    again.compress(RLELossless, generate_instance_uid=False)
    save(again, tmp_path / "b.dcm")
    with pytest.warns(UserWarning, match=r"b\.dcm \(another copy of a\.dcm\)"):
        assert read_series(tmp_path).shape[0] == 1


def test_images_of_one_uid_at_different_positions_are_different_images(tmp_path):
    arrays = save_slices(tmp_path, [(0, 0, k) for k in range(5)], SOPInstanceUID="1.2.3.9")
    assert list_series(tmp_path)[0].shape == (5, ROWS, COLUMNS)
    assert np.array_equal(read_series(tmp_path).voxels, arrays)


@pytest.mark.parametrize("other", [image(pixels(1), SOPInstanceUID="1.2.3.9"),
                                   image(SOPInstanceUID="1.2.3.9", BitsStored=9, HighBit=8),
                                   image(SOPInstanceUID="1.2.3.9", RescaleSlope=2)])
def test_different_images_of_one_uid_at_one_position_are_refused(tmp_path, other):
    save_slices(tmp_path, [(1, 2, 4), (1, 2, 5)])
    save(image(SOPInstanceUID="1.2.3.9"), tmp_path / "a.dcm")
    save(other, tmp_path / "b.dcm")
    with pytest.raises(UnsupportedError, match=r"a\.dcm and b\.dcm have the same SOP Instance UID"):
        read_series(tmp_path)


def test_reasons_are_one_line(tmp_path, monkeypatch):
    save_slices(tmp_path, [(0, 0, 0)])
    shutil.copy(next(tmp_path.glob("*.dcm")), tmp_path / "bad.dcm")
    whole = pydicom.dcmread

    def fails(file, **options):
        if options.get("specific_tags") and file.name.endswith("bad.dcm"):
            raise ValueError("one\ntwo")
        return whole(file, **options)

    monkeypatch.setattr(pydicom, "dcmread", fails)
    with pytest.warns(UserWarning, match=r"bad\.dcm \(damaged: one two\)"):
        list_series(tmp_path)


def test_missing_uids_and_missing_preamble(tmp_path):
    arrays = [pixels(0), pixels(1)]
    for k in range(2):
        one = image(arrays[k], ImplicitVRLittleEndian, ImagePositionPatient=[0, 0, k], SeriesInstanceUID=None,
                    SOPInstanceUID=None, SeriesNumber=None, InstanceNumber=None, Modality=None)
        del one.file_meta
        one.save_as(tmp_path / f"{k}", implicit_vr=True, little_endian=True)
    volume = read_series(tmp_path)
    assert np.array_equal(volume.voxels, arrays)
    assert volume.metadata["DICOM"]["instanceUIDs"] == ["", ""]
    assert "(no UID)" in str(list_series(tmp_path)[0])
    assert np.array_equal(read_series(tmp_path, "").voxels, arrays)


def test_metadata_identifies_the_series_and_not_the_patient(tmp_path):
    save_slices(tmp_path, [(0, 0, k) for k in range(2)], WindowCenter=[40, 300], WindowWidth=[400, 1500],
                LossyImageCompression="00", PixelPaddingValue=0)
    kept = read_series(tmp_path).metadata["DICOM"]
    assert kept["SeriesInstanceUID"] == "1.2.3" and kept["StudyInstanceUID"] == "1.2" and kept["Modality"] == "CT"
    assert kept["PatientPosition"] == "HFS" and kept["WindowCenter"] == [40.0, 300.0] and kept["PixelPaddingValue"] == 0
    assert kept["LossyImageCompression"] == "00" and len(set(kept["instanceUIDs"])) == 2
    assert "secret" not in str(kept) and "Some" not in str(kept)


def test_no_folder_and_no_images(tmp_path):
    with pytest.raises(MedCompressError, match="no folder"):
        list_series(tmp_path / "gone")
    with pytest.raises(MedCompressError, match="no DICOM images"):
        read_series(tmp_path)


# Real series

READABLE = {
    "ct_body_siemens_mct_j2k": ("kji", (20, 512, 512), "int16"),
    "ct_chest_siemens_sensation10_B70f": ("kji", (30, 512, 512), "int16"),
    "ct_gantry_tilt_siemens": ("kji", (4, 512, 512), "int16"),
    "mr_compressed_j2k": ("kji", (4, 256, 256), "uint16"),
    "mr_compressed_jpegll": ("kji", (4, 256, 256), "uint16"),
    "mr_compressed_jpegls": ("kji", (4, 256, 256), "uint16"),
    "mr_compressed_rle": ("kji", (4, 256, 256), "uint16"),
    "mr_enhanced_philips_achieva": ("kji", (8, 256, 256), "uint16"),
    "mr_hitachi_implicit": ("kji", (4, 64, 64), "int16"),
    "mr_hyperfine_multiframe": ("kji", (8, 138, 112), "uint16"),
    "mr_multiframe_siemens": ("kji", (8, 256, 256), "uint16"),
    "mr_rgb_j2k": ("kjic", (4, 77, 52, 3), "uint8"),
}
REFUSED = {
    "ct_missing_slice_ge": "1 slice is missing: slices are 5 mm apart, but 10 mm after slice 3 of 4",
    "ct_not_a_volume_siemens": "All 4 images are at the same position",
    "ct_variable_increment_siemens": "1 slice is missing",
    "mr_mixed_orientation_philips": r"differ in orientation \(2 of 4",
}


@pytest.mark.parametrize("name", READABLE)
def test_real_series(data_file, name):
    volume = read_series(data_file(f"dicom/{name}"))
    assert (volume.axes, volume.shape, volume.dtype.name) == READABLE[name]
    assert np.linalg.det(volume.ijk_to_ras) > 0


@pytest.mark.parametrize("name", REFUSED)
def test_real_series_that_are_no_volume(data_file, name):
    with pytest.raises(UnsupportedError, match=REFUSED[name]):
        read_series(data_file(f"dicom/{name}"))


@pytest.mark.parametrize(("series", "file"), [
    ("ct_body_siemens_mct_j2k", "public/ct_body_siemens_mct_j2k.nrrd"),
    ("ct_chest_siemens_sensation10_B70f", "train/ct_chest_siemens_sensation10_B70f.nrrd")])
def test_real_series_equal_their_nrrd(data_file, series, file):
    volume, expected = read_series(data_file(f"dicom/{series}")), read_image(data_file(file))
    assert volume.dtype == expected.dtype and np.array_equal(volume.voxels, expected.voxels)
    assert np.array_equal(volume.ijk_to_ras, expected.ijk_to_ras)


def test_the_same_series_in_four_compressions_is_the_same(data_file):
    volumes = [read_series(data_file(f"dicom/mr_compressed_{syntax}")) for syntax in ("rle", "j2k", "jpegll", "jpegls")]
    for volume in volumes[1:]:
        assert np.array_equal(volume.voxels, volumes[0].voxels)
        assert np.array_equal(volume.ijk_to_ras, volumes[0].ijk_to_ras)


@pytest.mark.parametrize("name", READABLE)
def test_real_series_hold_what_simpleitk_reads(data_file, name):
    """Sample by sample, wherever SimpleITK's reader gives whole numbers."""
    folder = data_file(f"dicom/{name}")
    volume = read_series(folder)
    files = sorted(path for path in folder.iterdir())
    if len(files) > 1:
        number = {pydicom.dcmread(path, stop_before_pixels=True).get("InstanceNumber"): path for path in files}
        files = [number[one] for one in volume.metadata["DICOM"]["instanceNumbers"]]
    itk = np.concatenate([SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) for path in files])
    if itk.dtype.kind == "f":
        itk = np.rint(itk / volume.metadata["DICOM"]["rescale"]["slope"])
    if "frames" in volume.metadata["DICOM"]:
        itk = itk[[frame - 1 for _, frame in volume.metadata["DICOM"]["frames"]]]
    assert np.array_equal(volume.voxels, itk)
