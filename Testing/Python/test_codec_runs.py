"""Codec `runs`: the contract of every codec, and label maps far below gzip."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from codec_contract import CodecContract

from MedCompressLib.codecs import get_codec
from MedCompressLib.codecs.runs import NEIGHBOURS
from MedCompressLib.errors import FormatError
from MedCompressLib.samples import SampleMap


class TestRunsContract(CodecContract):
    codec_id = "runs"


CODEC = get_codec("runs").from_config({}, b"")


def check_slabs(labels):
    """Code (frames, k, j, i) samples slab by slab; returns all bytes."""
    total = 0
    for k in range(0, labels.shape[1], CODEC.slab_slices):
        slab = labels[:, k:k + CODEC.slab_slices].astype(np.int32)
        payload = CODEC.encode(slab)
        assert np.array_equal(CODEC.decode(payload, slab.shape), slab)
        total += len(payload)
    return total


def balls(shape=(24, 96, 96)):
    """Overlapping organs: later balls hide earlier ones."""
    grid = np.indices(shape)
    labels = np.zeros(shape, np.uint8)
    rng = np.random.default_rng(7)
    for label in range(1, 9):
        centre = rng.uniform(0.2, 0.8, 3) * shape
        radius = rng.uniform(0.15, 0.35) * np.array(shape)
        labels[sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radius, strict=True)) < 1] = label
    return labels


def test_balls_take_half_of_gzip():
    labels = balls()
    assert check_slabs(labels[None]) < len(gzip.compress(labels.tobytes(), 9)) / 2


def test_frames_are_coded_together():
    labels = np.stack([balls((8, 40, 44)), balls((8, 40, 44))[:, ::-1], balls((8, 40, 44))[:, :, ::-1]])
    check_slabs(labels)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 1, 500), (1, 1, 500, 1), (1, 500, 1, 1), (500, 1, 1, 1),
                                   (1, 3, 2, 200), (1, 3, 200, 2), (1, 2, 31, 33), (1, 2, 32, 32), (1, 2, 17, 16)])
@pytest.mark.parametrize("n_labels", [1, 2, 7, 300])
def test_thin_shapes(shape, n_labels):
    rng = np.random.default_rng(8)
    check_slabs(np.repeat(rng.integers(0, n_labels, shape), 3, axis=3)[..., :shape[3]])


def test_an_empty_map_costs_next_to_nothing():
    assert len(CODEC.encode(np.full((1, 32, 256, 256), 9, np.int32))) < 40


def test_labels_of_any_size():
    values = np.array([0, 1, 255, 256, 65535, 65536, 2**24 - 1])
    check_slabs(values[balls((6, 40, 40)) % 7][None])
    check_slabs(np.arange(70000).reshape(1, 7, 100, 100) * 239)


def test_every_flipped_byte_is_refused_or_decodes():
    labels = balls((5, 24, 28)).astype(np.int32)[None]
    payload = CODEC.encode(labels)
    refused = 0
    for at in range(len(payload)):
        broken = bytearray(payload)
        broken[at] ^= 1 << at % 8
        try:
            decoded = CODEC.decode(bytes(broken), labels.shape)
            assert decoded.shape == labels.shape and decoded.min() >= 0 and decoded.max() < 2**24
        except FormatError:
            refused += 1
    assert refused


@pytest.mark.parametrize("name", ["seg_body_siemens_mct_total", "seg_brain_spl_hncma",
                                  "seg_headneck_deepmind_0522c0576"])
def test_real_label_maps_take_half_of_gzip(data_file, name):
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(data_file(f"public/{name}.nrrd"))))
    samples, _ = SampleMap.fit([labels[None]]).forward(labels[None])
    assert check_slabs(samples) < len(gzip.compress(labels.tobytes(), 9)) / 2


def test_the_specification_has_the_table_of_neighbours():
    section = (Path(__file__).parents[2] / "FORMAT.md").read_text(encoding="utf-8").split("section:runs -->")[1]
    pattern = r"^ {4}([ABC ])  (near|    )  below (\d)  unit (\w)  ((?:\(\d,\d\) ?)+) +(-?\d+) +(-?\d+) +(-?\d+)$"
    rows = re.findall(pattern, section, re.MULTILINE)
    specified, name = {}, None
    for lattice, near, below, unit, places, *votes in rows:
        name = lattice.strip() or name
        count, kinds = specified.get(name, (0, ()))
        place_list = [tuple(map(int, place)) for place in re.findall(r"(\d),(\d)", places)]
        kinds += ((int(below), unit, place_list, tuple(map(int, votes))),)
        specified[name] = count + (near == "near"), kinds
    assert specified == NEIGHBOURS
