"""`Volume` and `SequenceAxis`: what they accept, refuse, and call equal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedCompressLib.errors import UnsupportedError
from MedCompressLib.volume import DTYPES, SequenceAxis, Volume


def volume(shape=(3, 4, 5), dtype="int16", **more):
    return Volume.from_array(np.arange(np.prod(shape)).astype(dtype).reshape(shape), **more)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_accepts_every_sample_type(dtype):
    assert volume(dtype=dtype).dtype == dtype


@pytest.mark.parametrize(("shape", "axes"), [
    ((3, 4, 5), "kji"), ((6, 4, 5, 3), "kjic"), ((6, 4, 5, 4), "kjic"), ((4, 4, 5, 3), "tkji"), ((6, 4, 5, 7), "tkji"),
    ((2, 3, 4, 5, 3), "tkjic")])
def test_axes_are_guessed_from_the_shape(shape, axes):
    assert volume(shape).axes == axes


def test_a_sequence_makes_four_axes_a_sequence():
    assert volume((6, 4, 5, 3), sequence=SequenceAxis("time", "s", list("abcdef"))).axes == "tkji"


def test_frames_are_numbered_where_nothing_else_is_said():
    made = volume((3, 4, 5, 6), axes="tkji", sequence=SequenceAxis("time", "s"))
    assert made.sequence == SequenceAxis("time", "s", ["0", "1", "2"])
    assert volume((3, 4, 5, 6), axes="tkji").sequence == SequenceAxis("frame", "", ["0", "1", "2"])
    assert volume().sequence is None


def test_even_spacing_is_decimal():
    assert SequenceAxis.evenly_spaced("time", "s", 4, 0, 0.72).values == ["0", "0.72", "1.44", "2.16"]
    assert SequenceAxis.evenly_spaced("time", "s", 3, np.float32(0.1), np.float32(10)).values == ["0.1", "10.1", "20.1"]


def test_voxels_are_not_copied_needlessly():
    array = np.zeros((3, 4, 5), np.int16)
    assert np.shares_memory(Volume(array).voxels, array)
    assert np.shares_memory(Volume(array).as_frames(), array)
    colors = np.zeros((3, 4, 5, 3), np.uint8)
    assert np.shares_memory(Volume(colors, axes="kjic").as_frames(), colors)


def test_other_memory_orders_and_byte_orders_are_brought_to_native_c_order():
    array = np.arange(60, dtype=">i2").reshape(3, 4, 5)
    made = Volume(np.asfortranarray(array))
    assert made.voxels.flags.c_contiguous and made.dtype == np.dtype("=i2")
    assert np.array_equal(made.voxels, array)


@settings(deadline=None)
@given(st.sampled_from(["kji", "kjic", "tkji", "tkjic"]), st.lists(st.integers(1, 4), min_size=5, max_size=5))
def test_frames_there_and_back(axes, sizes):
    made = volume(tuple(sizes[:len(axes)]), axes=axes)
    frames = made.as_frames()
    assert frames.shape == (made.frames * made.components, *made.shape[axes.index("k"):][:3])
    again = Volume.from_frames(frames, made.components, made.ijk_to_ras, axes, made.sequence, made.metadata)
    assert again.equals(made)


def test_the_component_runs_fastest_in_frames():
    made = volume((2, 3, 4, 5, 3))
    assert np.array_equal(made.as_frames()[4], made.voxels[1, :, :, :, 1])


def test_spacing_comes_from_the_matrix():
    matrix = np.array([[0, -3, 0, 1], [2, 0, 0, 2], [0, 4, 1, 3], [0, 0, 0, 1.0]])
    assert volume(ijk_to_ras=matrix).spacing == (1.0, 5.0, 2.0)


def test_left_handed_oblique_and_sheared_matrices_are_kept():
    for matrix in (np.diag([-1.0, 1, 1, 1]), np.array([[1, .3, 0, 9], [0, 1e-6, .2, 8], [0, 0, 1e6, 7], [0, 0, 0, 1]])):
        assert np.array_equal(volume(ijk_to_ras=matrix).ijk_to_ras, matrix)
    assert not np.signbit(volume(ijk_to_ras=np.diag([1.0, -0.0, 1, 1]) + np.diag([0, 1.0, 0, 0])).ijk_to_ras).any()


def test_equality_is_bitwise():
    nan = np.array([[[np.nan, -0.0, 1]]])
    assert Volume(nan).equals(Volume(nan.copy()))
    assert not Volume(nan).equals(Volume(np.array([[[np.nan, 0.0, 1]]])))
    other_nan = nan.copy()
    other_nan.view("u8")[0, 0, 0] ^= 1
    assert not Volume(nan).equals(Volume(other_nan))


@pytest.mark.parametrize("change", [
    {"dtype": "uint16"}, {"shape": (4, 3, 5)}, {"ijk_to_ras": np.diag([1, 1, 1 + 2**-52, 1])}, {"metadata": {"a": 1.0}},
    {"metadata": {"a": True}}, {"metadata": {}}])
def test_any_difference_is_seen(change):
    assert not volume(metadata={"a": 1}).equals(volume(**({"metadata": {"a": 1}} | change)))


def test_a_different_sequence_is_seen():
    assert not volume((3, 4, 5, 6)).equals(volume((3, 4, 5, 6), sequence=SequenceAxis("frame", "s")))


def test_the_order_of_metadata_keys_is_no_difference():
    assert volume(metadata={"a": 1, "b": [2, None]}).equals(volume(metadata={"b": [2, None], "a": 1}))


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"": value}
    return value


@pytest.mark.parametrize(("arguments", "message"), [
    ({"voxels": np.zeros((2, 2, 2), bool)}, "type bool are not supported"),
    ({"voxels": np.zeros((2, 2, 2), np.float16)}, "type float16"),
    ({"voxels": np.zeros((2, 2, 2), complex)}, "type complex128"),
    ({"voxels": np.zeros((2, 2, 2), object)}, "type object"),
    ({"voxels": [[[1]]]}, "must be a numpy array, not list"),
    ({"voxels": np.ma.masked_less(np.zeros((2, 3, 4), np.int16), -1)}, "mask"),
    ({"voxels": np.zeros((2, 2))}, "has 2 axes but 'kji' names 3"),
    ({"voxels": np.zeros((2, 0, 2))}, "empty"),
    ({"axes": "ijk"}, "no axis order 'ijk'"),
    ({"ijk_to_ras": np.eye(3)}, "must be 4 x 4"),
    ({"ijk_to_ras": "eye"}, "must be 4 x 4"),
    ({"ijk_to_ras": np.zeros((4, 4))}, "last row"),
    ({"ijk_to_ras": np.diag([1.0, 0, 1, 1])}, "singular"),
    ({"ijk_to_ras": np.array([[1, 2, 0, 0], [2, 4, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])}, "singular"),
    ({"ijk_to_ras": np.diag([1, np.nan, 1, 1])}, "infinite or undefined"),
    ({"sequence": SequenceAxis()}, "no t axis"),
    ({"metadata": [1]}, "must be a dictionary"),
    ({"metadata": {"a": {1: 2}}}, r"keys of metadata\['a'\] must be text"),
    ({"metadata": {"a": (1, 2)}}, r"metadata\['a'\] is a tuple"),
    ({"metadata": {"a": [np.int16(1)]}}, r"metadata\['a'\]\[0\] is a int16"),
    ({"metadata": {"a": float("nan")}}, "JSON has no nan"),
    ({"metadata": {"a": "\ud800"}}, "UTF-8"),
    ({"metadata": nested(100)}, "nested more than"),
])
def test_what_does_not_fit_is_refused_with_the_reason(arguments, message):
    with pytest.raises(UnsupportedError, match=message):
        Volume(**({"voxels": np.zeros((2, 2, 2))} | arguments))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Volume.from_array(np.zeros((2, 2))), "2 axes is no volume"),
    (lambda: Volume.from_array(np.zeros((3, 2, 2, 2)), sequence=SequenceAxis(values=["1"])), "1 values for 3 frames"),
    (lambda: Volume.from_array(np.zeros((3, 2, 2, 2)), sequence="time"), "must be a SequenceAxis"),
    (lambda: SequenceAxis(values="012"), "must be a list"),
    (lambda: SequenceAxis(values=[0, 1]), "must be text, not 0"),
    (lambda: Volume.from_frames(np.zeros((5, 2, 2, 2)), 2, axes="tkjic"), "do not make a volume"),
    (lambda: Volume.from_frames(np.zeros((2, 2, 2, 2))), "do not make a volume"),
])
def test_what_does_not_fit_is_refused_by_the_other_constructors_too(make, message):
    with pytest.raises(UnsupportedError, match=message):
        make()
