"""Fixtures: what has once been written is decoded for ever, by the library and by the decoder written from FORMAT.md,
and is written again in the same bytes."""

import hashlib
import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import reference
import surgery
from fixtures.make import CODECS, METADATA, OBLIQUE, RESEARCH, sha256_of_voxels

import MedCompressLib as mc
from MedCompressLib.codecs import get_codec
from MedCompressLib.samples import SampleMap

FOLDER = Path(__file__).resolve().parents[1] / "fixtures"
EVERYTHING = json.loads((FOLDER / "manifest.json").read_text())
MANIFEST, ARCHIVES = EVERYTHING["volumes"], EVERYTHING["archives"]


def data_of(name: str) -> bytes:
    return (FOLDER / f"{name}.mcz").read_bytes()


def planes_of(residue: bytes) -> list[bytes]:
    """The planes of residue bytes, without what may be deflated in many ways."""
    planes = []
    while residue:
        how, length = residue[0], int.from_bytes(residue[1:5], "little")
        plane, residue = residue[5:5 + length], residue[5 + length:]
        planes.append(zlib.decompress(plane) if how else plane)
    return planes


def test_the_folder_holds_what_the_manifest_says():
    entries = {**MANIFEST, **ARCHIVES}
    assert sorted(entries) == sorted(path.stem for path in FOLDER.glob("*.mcz"))
    for name, entry in entries.items():
        data = data_of(name)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["file_sha256"]), name
    assert sum(entry["bytes"] for entry in entries.values()) < 1_000_000


def test_they_cover_the_format():
    entries = list(MANIFEST.values())
    assert {entry["codec"] for entry in entries} == {*CODECS, *RESEARCH}
    assert {(codec, preset) for codec in CODECS + RESEARCH for preset in get_codec(codec).presets} <= {
        (entry["codec"], entry["preset"]) for entry in entries}
    assert {entry["axes"] for entry in entries} == {"kji", "kjic", "tkji", "tkjic"}
    assert {entry["dtype"] for entry in entries} == {
        "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"}
    assert {tuple(entry["samples"]) for entry in entries} >= {(), ("scale",), ("shift",), ("zeros",)}
    assert any(0 < entry["slabs_as_they_are"] < entry["slabs"] for entry in entries)


@pytest.mark.parametrize("name", MANIFEST)
def test_the_library_decodes(name):
    volume = mc.decompress(data_of(name), threads=1)
    entry = MANIFEST[name]
    assert (volume.axes, list(volume.shape), volume.dtype.name) == (entry["axes"], entry["shape"], entry["dtype"])
    assert sha256_of_voxels(volume.voxels) == entry["voxels_sha256"]
    assert mc.verify(data_of(name), threads=1).ok


@pytest.mark.parametrize("name", MANIFEST)
def test_the_reference_decodes(name):
    volume, again = mc.decompress(data_of(name), threads=1), reference.decode(data_of(name))
    assert again.voxels.dtype == volume.voxels.dtype and again.voxels.shape == volume.voxels.shape
    assert sha256_of_voxels(again.voxels) == MANIFEST[name]["voxels_sha256"]
    assert again.axes == volume.axes and np.array_equal(again.ijk_to_ras, volume.ijk_to_ras)
    assert json.dumps(again.metadata) == json.dumps(volume.metadata)
    if volume.sequence is None:
        assert again.sequence is None
    else:
        assert again.sequence == {"index_name": volume.sequence.index_name, "unit": volume.sequence.unit,
                                  "values": volume.sequence.values}


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_library_unpacks(name, tmp_path):
    mc.unpack(FOLDER / f"{name}.mcz", tmp_path / "files", threads=1)
    for place, digest in ARCHIVES[name]["files_sha256"].items():
        assert hashlib.sha256((tmp_path / "files" / place).read_bytes()).hexdigest() == digest, place


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_reference_unpacks(name):
    files = reference.restore(data_of(name))
    assert {place: hashlib.sha256(data).hexdigest() for place, data in files.items()} == ARCHIVES[name]["files_sha256"]


@pytest.mark.parametrize("name", [name for name, entry in MANIFEST.items() if entry["golden"]])
def test_the_same_bytes_again(name):
    """With the configuration and model in the file, samples are coded in the bytes that the file has."""
    file, voxels = surgery.File.split(data_of(name)), mc.decompress(data_of(name), threads=1).as_frames()
    fields = file.fields
    samples = SampleMap.from_config(fields["samples"])
    codec = get_codec(fields["codec"]["id"]).from_config(fields["codec"]["config"], file.model)
    assert samples.get_config() == fields["samples"]
    assert codec.get_config() == fields["codec"]["config"] and codec.model == file.model
    for slab, place in zip(file.slabs, surgery.grid(fields), strict=True):
        if slab.storage == 0:
            mapped, residue = samples.forward(voxels[place])
            chunks = codec.encode_layers(mapped)
            assert b"".join(chunks) == slab.payload and tuple(map(len, chunks)) == (slab.cuts or (len(slab.payload),))
            assert planes_of(residue) == planes_of(slab.residue)


def test_metadata_and_geometry():
    volume = mc.decompress(data_of("metadata"))
    assert json.dumps(volume.metadata) == json.dumps(METADATA)
    assert np.array_equal(volume.ijk_to_ras, OBLIQUE)


@pytest.mark.parametrize("name", ["raw-plain", "runs-default", "wavelet-default", "progressive-default"])
def test_the_reference_refuses_damage(name):
    data = data_of(name)
    rng = np.random.default_rng(7)
    for place in rng.integers(0, len(data), 8):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(reference.RefusedError):
            reference.decode(bytes(damaged))
    for cut in rng.integers(0, len(data), 4):
        with pytest.raises(reference.RefusedError):
            reference.decode(data[:cut])


def test_the_reference_stands_alone():
    """It imports neither the library nor the entropy coder that the library uses."""
    script = ("import sys, reference\n"
              "assert not [name for name in sys.modules if name.split('.')[0] in ('MedCompressLib', 'constriction')]\n")
    subprocess.run([sys.executable, "-c", script], cwd=FOLDER.parent, check=True)


def test_the_reference_on_the_command_line():
    result = subprocess.run([sys.executable, "-m", "reference", FOLDER / "runs-one.mcz", FOLDER / "manifest.json"],
                            cwd=FOLDER.parent, check=True, capture_output=True, text=True)
    whole, refused = result.stdout.splitlines()
    assert whole.endswith(f"kji 5x21x70 int32 SHA-256 {MANIFEST['runs-one']['voxels_sha256']}")
    assert "manifest.json: refused: the magic is missing" in refused
