"""How far training moved hidden states and weights: functions of arrays, no records, no files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from compact_bench.stats import NAN

SUBSPACE = 8  # principal components whose span is compared


def centred_similarities(states: np.ndarray) -> np.ndarray:
    """The upper triangle of the U-centred matrix of inner products, scaled to length 1.

    K = X X' with its diagonal left out; A_ij = K_ij - r_i/(n-2) - r_j/(n-2) + t/((n-1)(n-2)), r the
    sums of rows and t of everything.  The inner product of two such vectors is the debiased CKA.
    All 0 where the states don't differ.  ValueError below four states.

    states: (n,d) float, a state a row.  Returns (n(n-1)/2,) float64.
    Source: Szekely and Rizzo 2014, for the U-centring; it gives the estimator of Song et al. 2012.
    """
    n = len(states)
    if n < 4:
        raise ValueError(f"{n} states; the unbiased estimator needs 4")
    centred = states - states.mean(axis=0, dtype=np.float64)  # no effect but on rounding
    products = centred @ centred.T
    np.fill_diagonal(products, 0.0)
    sums = products.sum(axis=0) / (n - 2)
    products -= sums[:, None] + sums[None, :]
    products += sums.sum() / (n - 1)
    found = products[_upper(n)]
    length = np.linalg.norm(found)
    # What is left of equal states is rounding.
    size = float(np.vdot(states.astype(np.float64), states))
    return found / length if length > 1e-12 * size else 0 * found


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
    left, right = centred_similarities(first), centred_similarities(second)
    return alignment(left, right)


def alignment(left: np.ndarray, right: np.ndarray) -> float:
    """The CKA of two vectors of `centred_similarities`; NaN where one is all 0."""
    return float(left @ right) if left.any() and right.any() else NAN


def spread(states: np.ndarray) -> float:
    """Root mean squared distance of states from their mean. states: (n,d) float."""
    centred = states - states.mean(axis=0, dtype=np.float64)
    return float(np.sqrt((centred**2).sum(axis=1).mean()))


def drift(states: np.ndarray, base: np.ndarray) -> float:
    """How far states moved, in units of the base's spread: mean_i |h_i - b_i| / spread(b).

    states, base: (n,d) float, rows paired.  NaN where the base's states don't differ.
    """
    unit = spread(base)
    moved = np.linalg.norm(states - base.astype(np.float64), axis=1).mean()
    return float(moved / unit) if unit > 0 else NAN


@dataclass(frozen=True)
class Axes:
    """Principal components of one set of states. mean: (d,); ways: (k,d), rows of length 1."""

    mean: np.ndarray
    ways: np.ndarray
    shares: np.ndarray  # (k,) of the variance

    def places(self, states: np.ndarray) -> np.ndarray:
        """Coordinates of states on these components. states: (n,d); returns (n,k)."""
        return (states - self.mean) @ self.ways.T


def principal_axes(states: np.ndarray, count: int) -> Axes:
    """The first components of states; the largest entry of each is positive, so that signs hold.

    At most `count`, fewer where the states span less.  states: (n,d) float.
    """
    mean = states.mean(axis=0, dtype=np.float64)
    centred = states - mean
    # The smaller of the two matrices of products has the same eigenvalues.
    wide = centred.shape[1] > centred.shape[0]
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    kept = values > 1e-10 * max((centred**2).sum(), 1e-300)
    values, vectors = values[kept], vectors[:, kept]
    ways = (centred.T @ vectors / np.sqrt(values)).T if wide else vectors.T
    largest = np.abs(ways).argmax(axis=1)
    ways = ways * np.sign(ways[np.arange(len(ways)), largest])[:, None]
    return Axes(mean, ways, values / max((centred**2).sum(), 1e-300))


def principal_angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles between two subspaces, in degrees, the largest first.

    cos of the angles: the singular values of V W'.  first: (k,d), second: (m,d), rows orthonormal.
    Returns (min(k,m),).  Source: Bjorck and Golub 1973; the same as scipy.linalg.subspace_angles
    to about 1e-6 degrees.
    """
    cosines = np.linalg.svd(first @ second.T, compute_uv=False)
    return np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))[::-1]


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine of two vectors; of two count sketches it estimates that of what they sketch.

    The estimate's standard deviation is about 1/sqrt(m) or less, m the sketch's length.  NaN where
    one is all 0.  first, second: (m,) float.
    Source: Charikar, Chen and Farach-Colton 2002; Weinberger et al. 2009.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    length = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / length) if length > 0 else NAN
