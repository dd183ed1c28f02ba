"""The loops of prediction, compiled: the same integers as `predictor` and `wavefront` give in NumPy, voxel by voxel.

Cells are flat arrays; a tap of a voxel is the cell at place + offset. Network inputs and activations have one row a
voxel here, so that what belongs to a voxel is written together. Offsets, places and indices of taps are unsigned, as
signed ones would be checked for counting from the end; rows end in zeros that make their lengths multiples of `LANES`.
"""

from __future__ import annotations

import numpy as np

from ...compiled import compiled

LANES = 16
"""So many steps of an inner loop are done at once by what the compiler makes of it; what is over goes one by one."""


@compiled
def begin_step(t, active, starts, surroundings, place_of, index_of, stride, rows, width, length, row_length, delays,
               moves, offsets, places, index, bounds):
    """Fill in the `offsets` of taps at step t, and for its voxels, column by column, the `places` in a row of the ring
    and the `index` in the flat slab. Returns the number of voxels.

    A tap comes `delays` steps before and lies `moves` places away. A column is a slice of a frame; `starts` are the t
    of its first voxel, `place_of` and `index_of` where that lies; only the `active` have voxels in this step. `bounds`
    get where each surrounding begins.
    """
    for tap in range(len(delays)):
        offsets[tap] = (t + delays[tap]) % length * row_length + moves[tap]
    n = 0
    bounds[:] = 0
    for column in active:
        late = t - starts[column]
        for j in range(max(0, (late - width) // stride + 1), min(late // stride + 1, rows)):
            places[n] = place_of[column] + j
            index[n] = index_of[column] + j * width + late - stride * j
            n += 1
        bounds[surroundings[column] + 1:] = n
    return n


@compiled
def refer(cells, offsets, places, weights, thresholds, pairs, flat_taps, highest, references, flat):
    """Fill in (n, 3) `references` (of the voxel's own expert, the lower and the higher) and (n,) `flat`.

    See `Predictor.reference` and `Predictor.flat`; all voxels have the same surrounding.
    """
    taps = np.zeros(weights.shape[1], np.int32)
    for v in range(len(places)):
        place = places[v]
        for tap in range(len(offsets)):
            taps[tap] = cells[place + offsets[tap]]
        same = True
        for index in range(1, len(flat_taps)):
            same &= taps[flat_taps[index]] == taps[flat_taps[0]]
        flat[v] = same
        if same:
            references[v, :] = 16 * np.int64(taps[0])
            continue
        activity = np.int64(0)
        for index in range(pairs.shape[1]):
            activity += abs(np.int64(taps[pairs[0, index]]) - taps[pairs[1, index]])
        chosen = 0
        for index in range(len(thresholds)):
            chosen += thresholds[index] <= activity
        own, low, high = weights[chosen], weights[max(chosen - 1, 0)], weights[min(chosen + 1, len(thresholds))]
        a, b, c = np.int64(512), np.int64(512), np.int64(512)
        for tap in range(len(taps)):
            value = np.int64(taps[tap])
            a += value * own[tap]
            b += value * low[tap]
            c += value * high[tap]
        references[v, 0] = min(max(a >> 10, 0), highest)
        references[v, 1] = min(max(b >> 10, 0), highest)
        references[v, 2] = min(max(c >> 10, 0), highest)


@compiled
def scale(cells, offsets, residual_cells, residual_offsets, places, references, residual_weights, level_of, thresholds,
          gains, unused, first_extra, extra, inputs, levels):
    """Fill in (n, row length) float32 `inputs` of the network and (n,) noise `levels`; see `Predictor.inputs`.

    `level_of` are the levels of the lowest noises; column `first_extra` is that of the lower expert; `unused` inputs
    are 0; `extra` are the last three, that are the same for all voxels.
    """
    n_taps = len(offsets)
    residuals, values = np.zeros(len(residual_weights), np.int32), np.zeros(inputs.shape[1], np.float64)
    for v in range(len(places)):
        place = places[v]
        for tap in range(len(residual_offsets)):
            residuals[tap] = residual_cells[place + residual_offsets[tap]]
        noise = np.int64(0)
        for tap in range(len(residuals)):
            noise += np.int64(residual_weights[tap]) * np.int64(abs(residuals[tap]))
        if noise < len(level_of):
            level, step = np.int64(level_of[noise]), 0
        else:
            level, step = 0, 64
        while step:
            if thresholds[level + step - 1] <= noise:
                level += step
            step >>= 1
        levels[v] = level
        gain, reference = gains[level], references[v, 0]
        for tap in range(n_taps):
            values[tap] = 16 * np.int64(cells[place + offsets[tap]]) - reference
        for tap in range(len(residual_offsets)):
            values[n_taps + tap] = residuals[tap]
        values[first_extra] = references[v, 1] - reference
        values[first_extra + 1] = references[v, 2] - reference
        values[first_extra + 2] = reference
        row = inputs[v]
        for column in range(len(row)):
            row[column] = min(max(np.floor(values[column] * gain + 0.5), -511.0), 511.0)
        row[first_extra + 3] = (min(level, 64) - 24) * 4
        for index in range(3):
            row[first_extra + 4 + index] = extra[index]
        for index in range(len(unused)):
            row[unused[index]] = 0


@compiled
def activate(sums, one):
    """Turn (n, n_out + 1) float32 sums into activations, in place; the last column is `one`."""
    n_out = sums.shape[1] - 1
    for v in range(len(sums)):
        row = sums[v]
        for unit in range(n_out):
            row[unit] = min(max(np.floor(row[unit]), np.float32(0)), np.float32(1023))
        row[n_out] = one


@compiled
def mean_and_group(outputs, levels, references, flat, highest, widths, phase_shifts, first_groups, centres, signs,
                   groups):
    """Fill in (n,) `centres`, `signs` and `groups` from (n, 2) sums of the last layer; see `Predictor`."""
    for v in range(len(levels)):
        mean = np.float64(references[v, 0])
        level = levels[v]
        if not flat[v]:
            mean += np.floor(np.floor(np.float64(outputs[v, 0])) * widths[level] * 2.0**-14 + 0.5)
            mean = min(max(mean, 0.0), np.float64(highest))
        centre = np.floor(mean * 0.0625 + 0.5)
        rest = mean - 16 * centre
        centres[v] = centre
        signs[v] = -1.0 if rest < 0 else 1.0
        if flat[v]:
            groups[v] = 0
        else:
            level += np.int64(np.floor(np.floor(np.float64(outputs[v, 1])) * 0.0625 + 0.5))
            level = min(max(level, 0), len(widths) - 1)
            groups[v] = first_groups[level] + (min(np.int64(abs(rest)), 7) >> phase_shifts[level])


@compiled
def take_symbols(slab, index, centres, signs, voxels, symbols):
    """Fill in the (n,) `voxels` that lie at `index` in the flat slab, and the `symbols` that say so without loss."""
    for v in range(len(index)):
        voxel = slab[index[v]]
        voxels[v] = voxel
        symbols[v] = signs[v] * (voxel - centres[v])


@compiled
def put_symbols(symbols, index, centres, signs, maximum, slab, voxels):
    """Fill in what `symbols` say without loss, in the (n,) `voxels` and the flat slab. Returns whether none lies
    outside 0 ... maximum."""
    right = True
    for v in range(len(index)):
        voxel = np.int64(centres[v] + signs[v] * symbols[v])
        right &= 0 <= voxel <= maximum
        voxels[v] = voxel
        slab[index[v]] = voxel
    return right


@compiled
def end_step(t, active, starts, columns, place_of, strides, place_strides, shape, before, behind, depth, row_length,
             voxels, references, cells, residual_cells):
    """Put the (n,) `voxels` of step t into the ring, with what they stand for outside the slab, and their residuals.

    `columns` are (n_columns, 2): frame, k. The row that a later step writes first is cleared.
    """
    length = len(cells) // row_length
    here = t % length * row_length
    v = 0
    for column in active:
        late, f, k = t - starts[column], columns[column, 0], columns[column, 1]
        f_first, f_last = -before[0] if f == 0 else 0, behind[0] if f == shape[0] - 1 else 0
        k_first, k_last = -before[1] if k == 0 else 0, behind[1] if k == shape[1] - 1 else 0
        at_border = f_first < f_last or k_first < k_last
        for j in range(max(0, (late - shape[3]) // strides[2] + 1), min(late // strides[2] + 1, shape[2])):
            i = late - strides[2] * j
            place = place_of[column] + j
            value = np.int64(voxels[v])
            cells[here + place] = value
            residual_cells[here + place] = 16 * value - references[v, 0]
            v += 1
            if at_border or i == 0 or i == shape[3] - 1 or j == 0 or j == shape[2] - 1:
                j_first, j_last = -before[2] if j == 0 else 0, behind[2] if j == shape[2] - 1 else 0
                i_first, i_last = -before[3] if i == 0 else 0, behind[3] if i == shape[3] - 1 else 0
                for df in range(f_first, f_last + 1):
                    for dk in range(k_first, k_last + 1):
                        for dj in range(j_first, j_last + 1):
                            late_here = df * strides[0] + dk * strides[1] + dj * strides[2]
                            place_here = place + df * place_strides[0] + dk * place_strides[1] + dj
                            for di in range(i_first, i_last + 1):
                                if late_here + di >= -depth:
                                    cells[(t + late_here + di) % length * row_length + place_here] = value
    ahead = behind[0] * strides[0] + behind[1] * strides[1] + behind[2] * strides[2] + behind[3]
    oldest = (t + ahead + 2) % length * row_length
    cells[oldest:oldest + row_length] = 0
    residual_cells[oldest:oldest + row_length] = 0
