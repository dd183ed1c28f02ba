"""MetaImage beyond what all image formats are tested for: fields, voxels beside the header, names."""

import numpy as np
import pytest
from image_volumes import SMALL, without_metadata

from MedCompressLib.errors import FormatError, UnsupportedError
from MedCompressLib.image_files import read_image, write_image
from MedCompressLib.volume import Volume


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


@pytest.mark.parametrize("key", ["ElementDataFile", "elementdatafile", "DimSize", "NDims", "ElementType", "Offset",
                                 "CompressedData", "ObjectType", "TransformMatrix", "HeaderSize"])
def test_metadata_that_would_be_taken_for_the_image(tmp_path, key):
    volume = Volume(SMALL, metadata={"MetaImage": {key: "2", "Note": "kept"}})
    write_image(tmp_path / "a.mha", volume)
    again = read_image(tmp_path / "a.mha")
    assert np.array_equal(again.voxels, SMALL) and again.metadata["MetaImage"] == {"Note": "kept"}


@pytest.mark.parametrize("length", [29_000, 40_000])
def test_long_fields_are_read_again_or_refused(tmp_path, length):
    volume = Volume(SMALL, metadata={"MetaImage": {"Note": "n" * length}})
    if length > 30_000:
        with pytest.raises(UnsupportedError, match="'Note' is too long for MetaImage"):
            write_image(tmp_path / "a.mha", volume)
        assert list(tmp_path.iterdir()) == []
        return
    write_image(tmp_path / "a.mha", volume)
    assert read_image(tmp_path / "a.mha").equals(volume)
