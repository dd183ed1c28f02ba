"""The encoder's side of `contexts`: weights fitted to a volume by least squares.

Floats are free here: only the integers that come out travel.
"""

from __future__ import annotations

import numpy as np

from .contexts import LOW_TAPS, WEIGHT_BITS, Known, Terms, Weights, mean_terms, spread_terms
from .lattice import Pass
from .lifting import BandName

ROWS = 12_000            # coefficients looked at for each pass; more gains less than 0.1 %
_LARGEST = 1 << 13       # no weight beyond +-8
_CENTRE = len(LOW_TAPS)
_BLOCK = 64


def fit_weights(known: Known, name: BandName, step: Pass, shape: tuple[int, ...]) -> Weights:
    """Weights of one pass, from the values in `known.bands[name]`, a band of that shape, here complete.

    The mean is a weighted ridge regression, repeated once with weights 1 / |residual|, which approaches the least sum
    of absolute differences; the spread is a regression of the absolute residual.
    """
    columns, magnitudes, targets = [], [], []
    for component in step.components:
        inside = known.lattice.inside(np.arange(known.lattice.size), component, shape).ravel()
        places = inside[::max(1, 2 * len(inside) // ROWS)]
        columns.append(_rows(known.values, mean_terms(known.lattice, name, step, component), places))
        magnitudes.append(_rows(known.values, spread_terms(known.lattice, name, step, component), places))
        targets.append(known.bands[name][component][places].astype(np.float64))
    x, a, y = np.concatenate(columns), np.concatenate(magnitudes), np.concatenate(targets)
    n_mean, n_spread = x.shape[1] - 1, a.shape[1]
    if len(y) < max(4 * n_mean, _BLOCK):
        return Weights(np.zeros(n_mean, np.int32), np.append(np.full(n_spread, 40, np.int32), 1 << WEIGHT_BITS))

    x[:, :_CENTRE] -= x[:, -1:]
    x = x[:, :-1]
    beta = _ridge(x, y, 1 / (1 + a.mean(1)))
    residual = np.abs(y - _predict(x, beta))
    beta = _ridge(x, y, 1 / np.maximum(residual, 0.5 + 0.15 * residual.mean()))
    mean = _to_integers(beta)
    residual = np.abs(y - _predict(x, mean / 2.0**WEIGHT_BITS))

    a = np.column_stack([a, np.ones(len(a))])
    spread = _ridge(a, residual, 1 / (1 + a[:, :-1].mean(1))**2)
    return Weights(mean, _to_integers(spread))


def _rows(values: np.ndarray, terms: Terms, places: np.ndarray) -> np.ndarray:
    return np.stack([sum(values.take(places + offset) for offset in term) for term in terms], 1).astype(np.float64)


def _ridge(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The coefficients of the weighted least-squares fit, lightly pulled towards zero.

    The products are made of blocks too small for a BLAS to start threads of its own: several volumes or candidates
    are fitted at the same time, and the result should not depend on the machine's thread settings.
    """
    rows = len(y) // _BLOCK * _BLOCK
    both = np.column_stack([x, y])[:rows].reshape(-1, _BLOCK, x.shape[1] + 1)
    weighted = (x * weights[:, None])[:rows].reshape(-1, _BLOCK, x.shape[1])
    products = np.matmul(weighted.transpose(0, 2, 1), both).sum(0)
    gram, right = products[:, :-1], products[:, -1]
    gram[np.diag_indices_from(gram)] += 1e-4 * np.trace(gram) / len(gram) + 1e-6
    return np.linalg.solve(gram, right)


def _predict(x: np.ndarray, beta: np.ndarray) -> np.ndarray:
    return np.einsum("ij,j->i", x, beta)


def _to_integers(weights: np.ndarray) -> np.ndarray:
    return np.rint(weights * 2.0**WEIGHT_BITS).clip(-_LARGEST, _LARGEST).astype(np.int32)
