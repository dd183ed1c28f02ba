"""A slab's transform as far as it is known: coded layer by layer, and a volume at any moment."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ...compiled import compiled, loaded
from ..wavelet import lifting
from ..wavelet.codec import add_parents
from ..wavelet.contexts import Known, Weights
from ..wavelet.fitting import fit_weights
from ..wavelet.lattice import Lattice, Pass
from ..wavelet.lifting import BandName
from .contexts import POINT_BITS, TERMS, first_groups, plane_groups, predict
from .schedule import Layer

_WORTH = 20      # of a term, as in `fit_weights`; less, for weights of level 1 serve all coarser levels too

WeightKey = tuple[BandName, Pass]
LayerWeights = dict[WeightKey, Weights]


class Coder(Protocol):
    """An encoder returns the symbols it is given, a decoder finds them."""

    def code(self, groups: np.ndarray, symbols: np.ndarray | None, plane: int) -> np.ndarray: ...


class Pyramid:
    """What both sides know of one slab, (batch, depth, j, i).

    A coefficient known to a step of 2**shift has the magnitude bits from `shift` on; where one of them is set, the
    value stands in the middle of what it may be.

    Parameters
    ----------
    shape : of the slab
    levels, depth_levels : as in the codec
    low : array
        The all-low part of the coarsest level.
    dtype : int32, or int64 where int32 could overflow
    """

    def __init__(self, shape: tuple[int, ...], levels: int, depth_levels: int, low: np.ndarray, dtype: type):
        self._shapes = lifting.level_shapes(shape, levels, depth_levels)
        self._depth_levels, self._low, self._dtype = depth_levels, low, dtype
        self._bands = [{name: np.zeros(self._band_shape(number, name), np.int32)
                        for name in lifting.band_names(number < depth_levels)} for number in range(levels)]
        self._held: list[Known | None] = [None] * levels
        self._shifts: list[int | None] = [None] * levels

    def know(self, number: int, bands: dict[BandName, np.ndarray], shift: int) -> None:
        """Take a level as known to a step without coding it."""
        self._bands[number] = {name: _middle(_steps(band, shift), shift) for name, band in bands.items()}

    def volume(self, reduction: int) -> np.ndarray:
        """The volume from the levels from `reduction` on, in full depth."""
        low = self._part(reduction)
        for number in reversed(range(min(reduction, self._depth_levels, len(self._bands)))):
            batch, depth, rows, columns = low.shape
            more = self._shapes[number][1] - depth
            bands = {(d, j, i): np.zeros((batch, more if d else depth, 0 if j else rows, 0 if i else columns), np.int32)
                     for d, j, i in lifting.band_names(True)}
            low = lifting.merge(lifting.Level(low, bands), True)
        return low

    def code(self, layer: Layer, weights: LayerWeights, coder: Coder,
             exact: dict[BandName, np.ndarray] | None = None, fit: bool = False) -> None:
        """Code one layer.

        Parameters
        ----------
        exact : the bands of the level when encoding; None when decoding
        fit : choose the weights first
        """
        number, shift = layer
        known, refined = self._known(number), self._held[number] is not None
        lattice = known.lattice
        for name, band in self._bands[number].items():
            shape = band.shape
            values = {component: np.zeros(lattice.size, np.int32) for component in lattice.components() if exact}
            if exact:
                lattice.cut(exact[name], "zero", values)
            for step in lattice.passes:
                if fit:
                    weights[name, step] = fit_weights(known, name, step, shape, TERMS[refined], values, worth=_WORTH)
                for component in step.components:
                    known_values, residuals = (lattice.inside(held[name][component], component, shape)
                                               for held in (known.bands, known.residuals))
                    if not known_values.size:
                        continue
                    mean, spread = predict(known, name, step, component, shape, weights[name, step], refined,
                                           self._dtype)
                    wanted = lattice.inside(values[component], component, shape) if exact else None
                    steps = self._refined(known_values, mean, spread, self._shifts[number], shift, wanted, coder) \
                        if refined else self._first(mean, spread, shift, wanted, coder)
                    known_values[...] = _middle(steps, shift)
                    np.abs(known_values - (mean >> POINT_BITS), out=residuals, casting="unsafe")
        self._bands[number] = {name: lattice.join(components, self._bands[number][name].shape)
                               for name, components in known.bands.items()}
        self._held[number], self._shifts[number] = known, shift

    @staticmethod
    def _first(mean: np.ndarray, spread: np.ndarray, shift: int, wanted: np.ndarray | None,
               coder: Coder) -> np.ndarray:
        """The coefficients in steps of 2**shift, of which nothing was known."""
        groups, centre = first_groups(mean, spread, shift)
        sign = np.where(mean < 0, -1, 1).astype(np.int32)
        symbols = coder.code(groups, None if wanted is None else _steps(wanted, shift) * sign - centre, 0)
        return ((symbols + centre) * sign).astype(np.int32)

    @staticmethod
    def _refined(values: np.ndarray, mean: np.ndarray, spread: np.ndarray, known_shift: int, shift: int,
                 wanted: np.ndarray | None, coder: Coder) -> np.ndarray:
        """The coefficients in steps of 2**shift, known so far in steps of 2**known_shift."""
        steps = _steps(values, known_shift)
        for number, plane in enumerate(reversed(range(shift, known_shift))):
            groups = plane_groups(steps, mean, spread, plane)
            symbols = coder.code(groups, None if wanted is None else _plane_symbols(steps, mean, wanted, plane), number)
            steps = _finer(steps, mean, symbols)
        return steps

    def _known(self, number: int) -> Known:
        low, known = self._part(number + 1), self._held[number]
        if known is None:
            known = Known(Lattice(low.shape, cut_depth=number >= self._depth_levels), low)
        else:
            known.take_low(low)
        if number + 1 < len(self._bands):
            add_parents(known, self._bands[number + 1], number + 1 < self._depth_levels)
        return known

    def _part(self, number: int) -> np.ndarray:
        """What the levels from `number` on make: the low part of the level below."""
        low = self._low
        for finer in reversed(range(number, len(self._bands))):
            low = lifting.merge(lifting.Level(low, self._bands[finer]), finer < self._depth_levels)
        return low

    def _band_shape(self, number: int, name: BandName) -> tuple[int, ...]:
        return lifting.band_shape(self._shapes[number], name, number < self._depth_levels)


def _steps(values: np.ndarray, shift: int) -> np.ndarray:
    """Whole steps of 2**shift, towards zero."""
    return np.sign(values) * (np.abs(values) >> shift)


def _middle(steps: np.ndarray, shift: int) -> np.ndarray:
    return np.sign(steps) * ((np.abs(steps) << shift) + (1 << shift >> 1))


def _plane_symbols(steps: np.ndarray, mean: np.ndarray, wanted: np.ndarray, plane: int) -> np.ndarray:
    """What a bit plane of `wanted` adds to the steps known so far, which are twice as large as its own: the step in the
    direction of the mean where they are 0, else a bit."""
    if loaded():
        symbols = np.empty(steps.shape, np.int32)
        _plane_symbols_compiled(steps, mean, wanted, plane, symbols)
        return symbols
    finer = _steps(wanted, plane)
    return np.where(steps == 0, np.where(mean < 0, -finer, finer), np.abs(finer) & 1)


@compiled
def _plane_symbols_compiled(steps, mean, wanted, plane, symbols):
    """`_plane_symbols`, one after the other."""
    all_steps, means, values, found = steps.ravel(), mean.ravel(), wanted.ravel(), symbols.ravel()
    for n in range(len(values)):
        size = abs(values[n]) >> plane
        if all_steps[n]:
            found[n] = size & 1
        else:
            found[n] = size if (values[n] < 0) == (means[n] < 0) else -size


def _finer(steps: np.ndarray, mean: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """The steps, half as large, that `_plane_symbols` had the symbols of."""
    if loaded():
        finer = np.empty(steps.shape, np.int32)
        _finer_compiled(steps, mean, symbols, finer)
        return finer
    return np.where(steps == 0, np.where(mean < 0, -symbols, symbols), 2 * steps + np.sign(steps) * symbols)


@compiled
def _finer_compiled(steps, mean, symbols, finer):
    """`_finer`, one after the other."""
    all_steps, means, added, found = steps.ravel(), mean.ravel(), symbols.ravel(), finer.ravel()
    for n in range(len(found)):
        sign = all_steps[n] if all_steps[n] else means[n]
        found[n] = 2 * all_steps[n] + (-added[n] if sign < 0 else added[n])
