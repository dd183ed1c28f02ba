"""The encoder's side of `contexts`: weights fitted to a volume by least squares.

Floats are free here: only the integers that come out travel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...compiled import compiled, loaded
from .contexts import LOW_TAPS, WEIGHT_BITS, Known, Terms, Weights, mean_terms, spread_terms
from .lattice import Component, Components, Pass
from .lifting import BandName

ROWS = 12_000            # coefficients looked at for each pass; more gains less than 0.1 %
_LARGEST = 1 << 13       # no weight beyond +-8
WORTH = 50               # of a term: by how many times that of a row the squared error grows without it
_CENTRE = len(LOW_TAPS)
_BLOCK = 64


def fit_weights(known: Known, name: BandName, step: Pass, shape: tuple[int, ...],
                terms: tuple[Callable, Callable] = (mean_terms, spread_terms),
                wanted: Components | None = None,
                chosen: dict[Component, np.ndarray] | None = None, worth: float = WORTH) -> Weights:
    """Weights of one pass for `terms` of mean and spread, from the values of a band of that shape.

    Without `wanted`, they are those in `known.bands[name]`, here complete.

    Of each component only what is `chosen` counts, if that is given.

    The mean is a weighted ridge regression, repeated once with weights 1 / |residual|, which approaches the least sum
    of absolute differences; the spread is a regression of the absolute residual. Terms that are not `worth` it are left
    out of both: their weights are zero, which costs neither bits nor time.
    """
    lattice, values = known.lattice, known.values
    x_parts, a_parts = [], []
    for component in step.components:
        inside = lattice.inside(np.arange(lattice.size), component, shape)
        inside = inside.ravel() if chosen is None else inside[chosen[component]]
        places = inside[::max(1, 2 * len(inside) // ROWS)]
        part = _rows(values, terms[0](lattice, name, step, component), places, 0)
        part[:, :_CENTRE] -= part[:, -1:]
        part[:, -1] = (known.bands[name] if wanted is None else wanted)[component][places]
        x_parts.append(part)
        a_parts.append(_rows(values, terms[1](lattice, name, step, component), places, 2))
    # The last column of x and a is what the others are to predict.
    x, a = np.concatenate(x_parts), np.concatenate(a_parts)
    n_mean, n_spread = x.shape[1] - 1, a.shape[1] - 2
    if len(x) < max(4 * n_mean, _BLOCK):
        return Weights(np.zeros(n_mean, np.int32), np.append(np.full(n_spread, 40, np.int32), 1 << WEIGHT_BITS))

    activity = 1 + a[:, :n_spread].mean(1)
    residual = _errors(x, _ridge(x, 1 / activity))
    mean = _to_integers(_sparse_ridge(x, 1 / np.maximum(residual, 0.5 + 0.15 * residual.mean()), worth))

    a[:, -2] = 1
    a[:, -1] = _errors(x, mean / 2.0**WEIGHT_BITS)
    return Weights(mean, _to_integers(_sparse_ridge(a, 1 / activity**2, worth)))


def _rows(values: np.ndarray, terms: Terms, places: np.ndarray, more: int) -> np.ndarray:
    """The terms at each of some places, one row a place, and so many more columns."""
    rows = np.empty((len(places), len(terms.counts) + more))
    if loaded():
        _gather(values, terms.offsets, terms.counts, places, rows)
    else:
        for number, (first, *others) in enumerate(terms):
            rows[:, number] = sum((values.take(places + other) for other in others), values.take(places + first))
    return rows


@compiled
def _gather(values, offsets, counts, places, rows):
    """A few rows at a time, which stay in the cache while term after term is filled in."""
    for top in range(0, len(places), _BLOCK):
        end = min(top + _BLOCK, len(places))
        at = 0
        for term in range(len(counts)):
            for row in range(top, end):
                total = 0
                for n in range(at, at + counts[term]):
                    total += values[places[row] + offsets[n]]
                rows[row, term] = total
            at += counts[term]


def _ridge(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The coefficients of the weighted least-squares fit of the last column, lightly pulled towards zero."""
    return np.linalg.solve(*_equations(rows, weights))


def _sparse_ridge(rows: np.ndarray, weights: np.ndarray, worth: float) -> np.ndarray:
    """The same with zeros for the columns that are not worth it, by backward elimination: the one that matters least
    goes first, and the others are fitted anew."""
    gram, right = _equations(rows, weights)
    inverse = np.linalg.inv(gram)
    beta = inverse @ right
    error = max(0.0, weights @ rows[:, -1]**2 - beta @ right)
    (_eliminate_compiled if loaded() else _eliminate)(inverse, beta, worth * error / len(rows))
    return beta


def _eliminate(inverse: np.ndarray, beta: np.ndarray, least_growth: float) -> None:
    """Make coefficients zero, in place, until without any other one the sum of squares grows by `least_growth`."""
    left = np.arange(len(beta))
    while len(left):
        growth = beta[left]**2 / inverse[left, left]
        place = int(np.argmin(growth))
        if growth[place] >= least_growth:
            break
        least, left = left[place], np.delete(left, place)
        column = inverse[:, least] / inverse[least, least]
        beta -= beta[least] * column
        beta[least] = 0
        inverse -= np.outer(column, inverse[least])


@compiled
def _eliminate_compiled(inverse, beta, least_growth):
    left = np.ones(len(beta), np.bool_)
    while True:
        least, growth = -1, least_growth
        for n in range(len(beta)):
            if left[n] and beta[n] * beta[n] / inverse[n, n] < growth:
                least, growth = n, beta[n] * beta[n] / inverse[n, n]
        if least < 0:
            return
        left[least] = False
        row, diagonal = inverse[least].copy(), inverse[least, least]
        for n in range(len(beta)):
            if left[n]:
                share = inverse[n, least] / diagonal
                beta[n] -= beta[least] * share
                for m in range(len(beta)):
                    inverse[n, m] -= share * row[m]
        beta[least] = 0


def _equations(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and right side whose solution is the fit of the last column by the others."""
    products = _products(rows, weights)
    gram, right = products[:, :-1], products[:, -1]
    gram[np.diag_indices_from(gram)] += 1e-4 * np.trace(gram) / len(gram) + 1e-6
    return gram, right


def _products(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums over all rows of the products of each column but the last with each column.

    They are made of blocks too small for a BLAS to start threads of its own: several volumes or candidates are fitted
    at the same time, and the result should not depend on the machine's thread settings.
    """
    used, columns = len(rows) // _BLOCK * _BLOCK, rows.shape[1]
    rows, weights = rows[:used], weights[:used]
    if loaded():
        products = np.zeros((columns - 1, columns))
        _add_products(rows, weights, products)
        return products
    weighted = (rows[:, :-1] * weights[:, None]).reshape(-1, _BLOCK, columns - 1)
    return np.matmul(weighted.transpose(0, 2, 1), rows.reshape(-1, _BLOCK, columns)).sum(0)


@compiled
def _add_products(rows, weights, products):
    """Four rows at a time, as many as divide a block; above the diagonal, then mirrored."""
    columns = rows.shape[1]
    for n in range(0, len(rows), 4):
        x0, x1, x2, x3 = rows[n], rows[n + 1], rows[n + 2], rows[n + 3]
        for i in range(columns - 1):
            w0, w1, w2, w3 = (weights[n] * x0[i], weights[n + 1] * x1[i], weights[n + 2] * x2[i],
                              weights[n + 3] * x3[i])
            sums, y0, y1, y2, y3 = products[i, i:], x0[i:], x1[i:], x2[i:], x3[i:]
            for j in range(len(sums)):
                sums[j] += w0 * y0[j] + w1 * y1[j] + w2 * y2[j] + w3 * y3[j]
    for i in range(1, columns - 1):
        for j in range(i):
            products[i, j] = products[j, i]


def _errors(rows: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """How far off each prediction of the last column is."""
    return np.abs(rows[:, -1] - np.einsum("ij,j->i", rows[:, :-1], beta))


def _to_integers(weights: np.ndarray) -> np.ndarray:
    return np.rint(weights * 2.0**WEIGHT_BITS).clip(-_LARGEST, _LARGEST).astype(np.int32)
