"""Slabs: the grid that cuts a volume, and the threads that work on its cells."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedCompressLib.slabs import SLAB_VOXELS, SMALL_VOLUME_VOXELS, SlabGrid, SlabSequence, ordered_map


class TestGrid:
    @settings(deadline=None, derandomize=True)
    @given(st.tuples(st.integers(1, 400), st.integers(1, 3000), st.integers(1, 6000), st.integers(1, 6000)),
           st.integers(1, 64))
    def test_bounds(self, shape, preferred):
        grid = SlabGrid.choose(shape, preferred)
        plane = shape[2] * shape[3]
        assert 1 <= grid.frames <= shape[0] and 1 <= grid.slices <= shape[1]
        slices = grid.frames * grid.slices
        assert slices == 1 or slices * plane <= SLAB_VOXELS
        assert grid.slices <= 2**14
        if math.prod(shape) <= SMALL_VOLUME_VOXELS and shape[1] <= 2**14:
            assert len(grid) == 1
        elif plane * preferred <= SLAB_VOXELS:
            assert grid.slices >= min(shape[1], -(-preferred // 2))

    @settings(deadline=None, derandomize=True)
    @given(st.data(), st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)))
    def test_slabs_tile_the_volume(self, data, shape):
        grid = SlabGrid(shape, data.draw(st.integers(1, shape[0])), data.draw(st.integers(1, shape[1])))
        seen = np.zeros(shape, int)
        for number in range(len(grid)):
            seen[grid.ranges(number)] += 1
            assert seen[grid.ranges(number)].shape == grid.slab_shape(number)
        assert (seen == 1).all()
        start = data.draw(st.integers(0, shape[1] - 1))
        stop = data.draw(st.integers(start + 1, shape[1]))
        wanted = [number for number in range(len(grid))
                  if grid.ranges(number)[1].start < stop and grid.ranges(number)[1].stop > start]
        assert grid.touching(start, stop) == wanted

    @pytest.mark.parametrize(("shape", "frames", "slices", "count"), [
        ((1, 96, 512, 512), 1, 16, 6), ((1, 83, 512, 512), 1, 17, 5), ((1, 17, 512, 512), 1, 17, 1),
        ((1, 24, 512, 512), 1, 12, 2), ((1, 30, 64, 64), 1, 30, 1), ((200, 36, 64, 64), 100, 18, 4),
        ((1, 2000, 2048, 2048), 1, 2, 1000), ((1, 3, 6000, 6000), 1, 1, 3), ((3, 40, 512, 512), 2, 14, 6),
        ((2, 2**14, 5, 6), 2, 2**14, 1), ((2, 2**15 + 1, 3, 5), 2, 10923, 3)])
    def test_chosen(self, shape, frames, slices, count):
        grid = SlabGrid.choose(shape, 16)
        assert (grid.frames, grid.slices, len(grid)) == (frames, slices, count)

    def test_sequence_cuts_only_what_is_asked_for(self):
        voxels = np.arange(2 * 5 * 2 * 2).reshape(2, 5, 2, 2)
        sequence = SlabSequence(voxels, SlabGrid(voxels.shape, 1, 3), lambda slab: slab + 1)
        assert len(list(sequence)) == len(sequence) == 4
        assert np.array_equal(sequence[3], voxels[1:, 3:] + 1)
        with pytest.raises(IndexError):
            sequence[4]


class TestOrderedMap:
    def test_order_and_bound(self):
        taken = []

        def items():
            for item in range(50):
                taken.append(item)
                yield item

        for position, result in enumerate(ordered_map(lambda item: item * item, items(), 4)):
            assert result == position * position
            assert len(taken) <= position + 6

    @pytest.mark.parametrize("threads", [1, 3])
    def test_error_comes_out_and_stops(self, threads):
        taken = []

        def items():
            for item in range(1000):
                taken.append(item)
                yield item

        with pytest.raises(ZeroDivisionError):
            list(ordered_map(lambda item: 1 // (item - 5), items(), threads))
        assert len(taken) < 20
