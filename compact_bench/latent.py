"""How far training moved hidden states and weights: functions of arrays, no records, no files.

States are (...,n,d): n prompts, d numbers each; leading dimensions, such as layers, are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from compact_bench.stats import NAN

_NOTHING = 1e-10  # of the whole variance: what is below it is rounding


def centred(states: np.ndarray) -> np.ndarray:
    """States less their mean. states: (...,n,d) float; returns float64."""
    return states - states.mean(axis=-2, dtype=np.float64, keepdims=True)


def centred_similarities(states: np.ndarray) -> np.ndarray:
    """The upper triangle of the U-centred matrix of inner products, scaled to length 1.

    K = X X' with its diagonal left out; A_ij = K_ij - r_i/(n-2) - r_j/(n-2) + t/((n-1)(n-2)), r the
    sums of rows and t of everything.  The inner product of two such vectors is the debiased CKA.
    NaN where the states don't differ.  ValueError below four states.

    states: (...,n,d) float.  Returns (...,n(n-1)/2) float64.
    Source: Szekely and Rizzo 2014, for the U-centring; it gives the estimator of Song et al. 2012.
    """
    n = states.shape[-2]
    if n < 4:
        raise ValueError(f"{n} states; the unbiased estimator needs 4")
    moved = centred(states)  # no effect but on rounding
    products = moved @ moved.swapaxes(-1, -2)
    products[..., range(n), range(n)] = 0.0
    sums = products.sum(axis=-1) / (n - 2)
    products -= sums[..., :, None] + sums[..., None, :]
    products += sums.sum(axis=-1)[..., None, None] / (n - 1)
    found = products[..., _upper(n)]
    length = np.linalg.norm(found, axis=-1, keepdims=True)
    size = (states.astype(np.float64) ** 2).sum(axis=(-1, -2))[..., None]
    # What is left of equal states is rounding.
    return found / np.where(length > 1e-12 * size, length, NAN)


@lru_cache(maxsize=8)
def _upper(n: int) -> np.ndarray:
    """Where the upper triangle of an (n,n) matrix is, as (n,n) bool."""
    return np.triu(np.ones((n, n), dtype=bool), 1)


def cka(first: np.ndarray, second: np.ndarray) -> float:
    """Debiased linear CKA of two sets of states of the same inputs.

    HSIC(X,Y) / sqrt(HSIC(X,X) HSIC(Y,Y)) with the unbiased estimator
    HSIC = [tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1] / (n(n-3)), K = X X' and L = Y Y'
    without their diagonals.  1: equal up to rotation and scale; 0 on average where unrelated (it
    can be below); NaN where one's states don't differ.

    first: (n,d), second: (n,e), float, rows paired.  Sources: Song et al. 2012 (estimator),
    Kornblith et al. 2019 (CKA), Nguyen et al. 2021 (both together).
    """
    return float(centred_similarities(first) @ centred_similarities(second))


def spread(states: np.ndarray) -> np.ndarray:
    """Root mean squared distance of states from their mean. (...,n,d) float; returns (...)."""
    return np.sqrt((centred(states) ** 2).sum(axis=-1).mean(axis=-1))


def drift(states: np.ndarray, base: np.ndarray) -> np.ndarray:
    """How far states moved, in units of the base's spread: mean_i |h_i - b_i| / spread(b).

    states, base: (...,n,d) float, rows paired.  Returns (...), NaN where the base's don't differ.
    """
    unit = spread(base)
    moved = np.linalg.norm(states - base.astype(np.float64), axis=-1).mean(axis=-1)
    return moved / np.where(unit > 0, unit, NAN)


@dataclass(frozen=True)
class Axes:
    """Principal components, the largest first. mean: (d,); ways: (k,d), orthonormal rows;
    shares: (k,) of the variance."""

    mean: np.ndarray
    ways: np.ndarray
    shares: np.ndarray

    def places(self, states: np.ndarray) -> np.ndarray:
        """Coordinates of states on these components. states: (n,d); returns (n,k)."""
        return (states - self.mean) @ self.ways.T


def principal_axes(states: np.ndarray, count: int) -> Axes:
    """The first components of states; the largest entry of each is positive, so that signs hold.

    states: (n,d) float.  Returns at most `count` components, fewer where the states span less.
    """
    moved = centred(states)
    whole = max(float((moved**2).sum()), 1e-300)
    # The smaller of the two matrices of products has the same eigenvalues.
    wide = moved.shape[1] > moved.shape[0]
    values, vectors = np.linalg.eigh(moved @ moved.T if wide else moved.T @ moved)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    there = values > _NOTHING * whole
    values, vectors = values[there], vectors[:, there]
    ways = (moved.T @ vectors / np.sqrt(values)).T if wide else vectors.T
    largest = np.abs(ways).argmax(axis=1)
    ways = ways * np.where(ways[np.arange(len(ways)), largest] < 0, -1.0, 1.0)[:, None]
    return Axes(states.mean(axis=0, dtype=np.float64), ways, values / whole)


def subspace_angles(first: Axes, second: Axes) -> np.ndarray:
    """Principal angles between the spans of components, in degrees, the largest first.

    cos of the angles: the singular values of V W', V and W the components as rows.  Returns
    (min(k,m),).  Source: Bjorck and Golub 1973; scipy.linalg.subspace_angles gives the same to
    about 1e-6 degrees, and takes longer.
    """
    cosines = np.linalg.svd(first.ways @ second.ways.T, compute_uv=False)
    return np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))[::-1]


def unit(change: np.ndarray) -> np.ndarray:
    """A vector at length 1, so that the inner product of two is the cosine; NaN where it is 0.

    Of two count sketches the cosine estimates that of what they sketch: its standard deviation is
    about 1/sqrt(m) or less.  change: (m,) float; returns float64.
    Source: Charikar, Chen and Farach-Colton 2002; Weinberger et al. 2009.
    """
    length = float(np.linalg.norm(change.astype(np.float64)))
    return change.astype(np.float64) / (length or NAN)
