"""Every real volume there is, through files, with every codec: minutes to an hour, so marked slow.

    pytest -m slow Testing/Python/test_every_volume.py -k wavelet
"""

import numpy as np
import pytest
from conftest import DATA_FOLDER

import MedCompressLib as mc
from MedCompressLib.dicom import list_series

pytestmark = pytest.mark.slow


def sources():
    if not (DATA_FOLDER / "manifest.csv").is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the folder with real volumes is not there"))]
    files = [*sorted(DATA_FOLDER.glob("train/*.nrrd")), *sorted(DATA_FOLDER.glob("public/*.nrrd"))]
    folders = sorted(path for path in DATA_FOLDER.glob("dicom/*") if path.is_dir())
    return [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in files + folders]


@pytest.mark.parametrize("codec", ["auto", "wavelet", "neural"])
@pytest.mark.parametrize("source", sources())
def test_there_and_back_through_files(source, codec, tmp_path):
    try:
        volume = mc.read(source)
    except mc.UnsupportedError as refusal:
        assert source.is_dir() and list_series(source)
        pytest.skip(f"refused: {refusal}")
    mc.write(tmp_path / "two.mcz", volume, codec=codec, threads=2)
    mc.write(tmp_path / "one.mcz", volume, codec=codec, threads=1, verify=False)
    assert (tmp_path / "one.mcz").read_bytes() == (tmp_path / "two.mcz").read_bytes()
    again = mc.read(tmp_path / "two.mcz")
    assert again.equals(volume)
    assert again.voxels.dtype == volume.voxels.dtype and np.array_equal(again.ijk_to_ras, volume.ijk_to_ras)
    facts = mc.info(tmp_path / "two.mcz")
    assert facts["file_bytes"] <= volume.voxels.nbytes + 4096
    print(f"{source.name} {codec}: {facts['bits_per_voxel']:.4f} bits per voxel, codec {facts['codec']}")
