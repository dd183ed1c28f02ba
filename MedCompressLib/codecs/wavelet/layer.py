"""The second layer: in regions of interest, what the first layer is off by, coded in the samples themselves.

The differences are treated like a band of a level whose low part is the first layer: the same taps, passes, fitted
weights and groups, but only the places of one region at a time, the tightest bound first. So a region may have any
shape, and is exact although wavelets reach across its border.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...entropy import GroupDecoder, encode_groups
from .contexts import N_GROUPS, Known, Weights, predict
from .fitting import fit_weights
from .lattice import Lattice, Pass, passes
from .lifting import BandName

NAME: BandName = (0, 1, 0)      # the differences take the place of this band, the first of a level


class Layer:
    """Differences of one slab from its first layer.

    Parameters
    ----------
    base : (frames, k, j, i) int32 array
        Samples that the first layer decodes to.
    regions : array of that shape
        Region of each sample.
    errors : sequence of int or None
        For each region how much its samples may be off; None where there is no second layer.
    weights : dict of Pass to Weights
    unit, dtype
        As `contexts.predict` takes them.
    """

    def __init__(self, base: np.ndarray, regions: np.ndarray, errors: Sequence[int | None],
                 weights: dict[Pass, Weights], unit: int, dtype: type):
        self._base, self._regions, self._errors, self.weights = base, regions, errors, weights
        self._unit, self._dtype = unit, dtype
        self._lattice = Lattice(base.shape, cut_depth=True)

    @property
    def parts(self) -> list[int]:
        """The regions with a second layer, in coding order."""
        return [region for region, error in enumerate(self._errors) if error is not None]

    def fit(self, samples: np.ndarray) -> None:
        """Choose the weights, from the samples that the second layer has to restore."""
        wanted = np.isin(self._regions, self.parts)
        differences = np.where(wanted, samples - self._base, 0)
        known = Known(self._lattice, self._base)
        self._lattice.cut(differences, "zero", known.bands[NAME])
        for step in passes(True):
            chosen = {component: self._places(wanted, component) for component in step.components}
            self.weights[step] = fit_weights(known, NAME, step, self._base.shape, chosen=chosen)
            for component in step.components:
                mean, _ = self._predict(known, step, component)
                values, magnitudes = self._inside(known, component)
                np.abs(np.where(chosen[component], values - mean, 0), out=magnitudes)

    def encode(self, samples: np.ndarray) -> list[bytes]:
        """One payload for each of `parts`; empty where the slab has no such region."""
        differences = samples - self._base

        def choose(component: tuple, mean: np.ndarray, group: np.ndarray, here: np.ndarray,
                   error: int) -> np.ndarray:
            wanted = self._places(differences, component)[here] - mean
            found.append(((wanted + error) // (2 * error + 1), group))
            return found[-1][0]

        payloads, known = [], Known(self._lattice, self._base)
        for region in self.parts:
            found: list[tuple[np.ndarray, np.ndarray]] = []
            self._code(known, region, choose)
            symbols, groups = (np.concatenate(part) for part in zip(*found, strict=True))
            payloads.append(encode_groups(symbols, groups, N_GROUPS) if len(symbols) else b"")
        return payloads

    def decode(self, payloads: list[bytes], low: int, high: int) -> np.ndarray:
        """The samples, where there is a second layer as it says; beyond `low` and `high` only what the first has."""
        known = Known(self._lattice, self._base)
        for region, payload in zip(self.parts, payloads, strict=True):
            if payload or np.any(self._regions == region):
                decoder = GroupDecoder(payload, N_GROUPS, self._base.size)
                self._code(known, region, lambda _component, _mean, group, _here, _error, decoder=decoder:
                           decoder.decode(group))
                decoder.finish()
        samples = self._base + self._lattice.join(known.bands[NAME], self._base.shape)
        inside = (self._base >= low) & (self._base <= high)
        return np.where(inside, samples.clip(low, high), self._base).astype(np.int32)

    def _code(self, known: Known, region: int, code: Callable) -> None:
        error, inside = self._errors[region], self._regions == region
        for step in passes(True):
            for component in step.components:
                here = self._places(inside, component)
                mean, group = self._predict(known, step, component)
                mean, group = mean[here], group[here]
                off = code(component, mean, group, here, error) * np.int32(2 * error + 1)
                values, magnitudes = self._inside(known, component)
                values[here] = mean + off
                magnitudes[here] = np.abs(off)

    def _predict(self, known: Known, step: Pass, component: tuple) -> tuple[np.ndarray, np.ndarray]:
        return predict(known, NAME, step, component, self._base.shape, self.weights[step], self._unit, self._dtype)

    def _inside(self, known: Known, component: tuple) -> list[np.ndarray]:
        return [self._lattice.inside(held[NAME][component], component, self._base.shape)
                for held in (known.bands, known.residuals)]

    @staticmethod
    def _places(array: np.ndarray, component: tuple) -> np.ndarray:
        """The elements of a component."""
        return array[:, component[0]::2, component[1]::2, component[2]::2]
