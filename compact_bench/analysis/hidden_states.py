"""How far training moved hidden states and weights, and what a probe reads of the states.

States are (...,n,d): n prompts, d numbers each; leading dimensions, such as layers, are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial

import numpy as np
from scipy.linalg import subspace_angles

from compact_bench.analysis.results import Results, Row, cached
from compact_bench.analysis.statistics import NAN, Summary, summarise
from compact_bench.records.hidden_states import LatentRecord, read_record
from compact_bench.records.parquet import Seed
from compact_bench.utils.processes import mapped

SUBSPACE = 8  # principal components whose span is compared
FEWEST_PROMPTS = 4  # that the unbiased estimator needs
FOLDS, FEWEST = 5, 5  # of a probe's cross-validation; right and wrong answers that it needs
STRENGTH = 0.1  # C of scikit-learn: the inverse weight of the squared length
_ROUNDING = 1e-10  # of the whole variance: what is below it is rounding

NUMBERS = (
    *("cka", "cka_random", "cka_reference", "cka_reference_other_seeds", "cka_seeds"),
    *("drift", "drift_random", "angle_largest", "angle_mean", "probe_base", "probe"),
)

ByLayer = dict[tuple[Seed, int], float]  # a number by seed and layer


def centred(states: np.ndarray) -> np.ndarray:
    """States less their mean. states: (...,n,d) float; returns float64."""
    return states - states.mean(axis=-2, dtype=np.float64, keepdims=True)


def centred_similarities(states: np.ndarray) -> np.ndarray:
    """What the debiased linear CKA of two sets of states is the inner product of.

    The upper triangle, at length 1, of the U-centred matrix of inner products K = X X' without its
    diagonal: A_ij = K_ij - r_i/(n-2) - r_j/(n-2) + t/((n-1)(n-2)), r the sums of rows, t of all.

    CKA(X,Y) = HSIC(X,Y) / sqrt(HSIC(X,X) HSIC(Y,Y)) with the unbiased estimator
    HSIC = [tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1] / (n(n-3)), K of X and L of Y.  1:
    equal up to rotation and scale; 0 on average where unrelated (it can be below).

    states: (...,n,d) float, n >= 4 (else ValueError).  Returns (...,n(n-1)/2) float64, NaN where
    the states don't differ.  Sources: Szekely and Rizzo 2014 (U-centring), Song et al. 2012
    (estimator), Kornblith et al. 2019 (CKA), Nguyen et al. 2021 (both together).
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
    triangle = products[..., np.triu(np.ones((n, n), dtype=bool), 1)]
    length = np.linalg.norm(triangle, axis=-1, keepdims=True)
    size = (states.astype(np.float64) ** 2).sum(axis=(-1, -2))[..., None]
    # What is left of equal states is rounding.
    return triangle / np.where(length > 1e-12 * size, length, NAN)


def drift(states: np.ndarray, base: np.ndarray) -> np.ndarray:
    """How far states moved, in units of the base's spread: mean_i |h_i - b_i| / spread(b).

    The spread is the root mean squared distance from the mean.
    states, base: (...,n,d) float, rows paired.  Returns (...), NaN where the base's don't differ.
    """
    unit = np.sqrt((centred(base) ** 2).sum(axis=-1).mean(axis=-1))
    moved = np.linalg.norm(states - base.astype(np.float64), axis=-1).mean(axis=-1)
    return moved / np.where(unit > 0, unit, NAN)


@dataclass(frozen=True)
class PrincipalAxes:
    """Principal components, the largest first. mean: (d,); components: (k,d), orthonormal rows;
    shares: (k,) of the variance."""

    mean: np.ndarray
    components: np.ndarray
    shares: np.ndarray

    def project(self, states: np.ndarray) -> np.ndarray:
        """Coordinates of states on these components. states: (n,d); returns (n,k)."""
        return (states - self.mean) @ self.components.T


def principal_axes(states: np.ndarray, count: int) -> PrincipalAxes:
    """The first components of states; the largest entry of each is positive, so that signs hold.

    states: (n,d) float.  Returns at most `count` components, fewer where the states span less.
    """
    _, lengths, components = np.linalg.svd(centred(states), full_matrices=False)
    shares = lengths**2 / max(float((lengths**2).sum()), 1e-300)
    count = min(count, int((shares > _ROUNDING).sum()))
    components = components[:count]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    mean = states.mean(axis=0, dtype=np.float64)
    return PrincipalAxes(mean, components * np.where(largest < 0, -1.0, 1.0), shares[:count])


def unit_vector(change: np.ndarray) -> np.ndarray:
    """A vector at length 1, so that the inner product of two is the cosine; NaN where it is 0.

    Of two count sketches the cosine estimates that of what they sketch: its standard deviation is
    about 1/sqrt(m) or less.  change: (m,) float; returns float64.
    Source: Charikar, Chen and Farach-Colton 2002; Weinberger et al. 2009.
    """
    length = float(np.linalg.norm(change.astype(np.float64)))
    return change.astype(np.float64) / (length or NAN)


@dataclass(frozen=True)
class Probes:
    """A direction of the base's states for each layer; `own`: cross-validated AUROC on the base."""

    directions: np.ndarray  # (L,d)
    own: np.ndarray  # (L,)

    def auroc(self, states: np.ndarray, right: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """AUROC within tasks on other states and their labels. (L,n,d), (n,) bool, (n,) int."""
        scores = (states @ self.directions[..., None])[..., 0]
        return auroc_within_tasks(scores, right, groups)


def auroc_within_tasks(scores: np.ndarray, right: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """AUROC over pairs of a right and a wrong answer of the same task, ties as half.

    Pairs across tasks would reward a probe that only tells an easy task from a hard one.  NaN with
    fewer than FEWEST right or wrong answers in tasks that have both.

    scores: (...,n) float, right: (n,) bool, groups: (n,) int, the task.  Returns (...).
    """
    pairs = right[:, None] & ~right[None, :] & (groups[:, None] == groups[None, :])
    if min(pairs.any(axis=1).sum(), pairs.any(axis=0).sum()) < FEWEST:
        return np.full(scores.shape[:-1], NAN)
    first, second = np.nonzero(pairs)
    won = scores[..., first] - scores[..., second]
    return ((won > 0) + 0.5 * (won == 0)).mean(axis=-1)


def fit_probes(states: np.ndarray, right: np.ndarray, groups: np.ndarray) -> Probes | None:
    """Fit a probe a layer on the base: logistic regression with an L2 penalty, standardised states.

    Each task's mean is taken off first, so that the task itself tells nothing.  Its own AUROC is of
    scores from FOLDS-fold cross-validation (seed 0), each fold's probe fitted without the fold.
    None with fewer than FEWEST right or wrong answers in tasks that have both.

    states: (L,n,d) float; right: (n,) bool; groups: (n,) int.  Source: Alain and Bengio 2017.
    """
    from sklearn.model_selection import StratifiedKFold

    if np.isnan(auroc_within_tasks(np.zeros(len(right)), right, groups)):
        return None
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(right, right))
    directions, own = [], []
    states = states.astype(np.float64)
    for group in np.unique(groups):
        chosen = groups == group
        states[:, chosen] -= states[:, chosen].mean(axis=1, keepdims=True)
    for layer in states:
        scores = np.zeros(len(right))
        for train, test in folds:
            scores[test] = layer[test] @ _direction(layer[train], right[train])
        own.append(auroc_within_tasks(scores, right, groups))
        directions.append(_direction(layer, right))
    return Probes(np.stack(directions), np.stack(own))


def _direction(states: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The probe's direction in the units of the states; its constant tells nothing of order."""
    from sklearn.linear_model import LogisticRegression

    scale = states.std(axis=0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(C=STRENGTH, solver="newton-cholesky", tol=1e-8).fit(
        states / scale, right
    )
    return np.asarray(model.coef_[0] / scale, dtype=np.float64)


@dataclass(frozen=True)
class BaseStates:
    """The untrained student: its states, axes and probes; groups: (n,) int, its prompts' tasks."""

    label: str
    record: LatentRecord
    groups: np.ndarray

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that were recorded, 0 being the embeddings."""
        return self.record.layers

    @cached_property
    def similarities(self) -> np.ndarray:
        """`centred_similarities` by layer, (L,n(n-1)/2)."""
        return centred_similarities(self.record.states)

    @cached_property
    def axes(self) -> PrincipalAxes:
        """The principal components of the last layer."""
        return principal_axes(self.record.states[-1], SUBSPACE)

    @cached_property
    def probes(self) -> Probes | None:
        """The probes for correctness; None where right or wrong answers are too few."""
        known = self.record.known
        return fit_probes(
            self.record.states[:, known], self.record.right[known], self.groups[known]
        )


@dataclass
class StateStats:
    """All rows' numbers. values: row label -> name -> (seed, layer) -> value; changes: of the
    weights, at length 1; other_probes: cells whose prompts or layers are not the base's."""

    base: BaseStates
    values: dict[str, dict[str, ByLayer]] = field(default_factory=dict)
    changes: dict[str, dict[Seed, np.ndarray]] = field(default_factory=dict)
    other_probes: int = 0

    def summary(self, label: str, name: str, layer: int | None = None) -> Summary:
        """Mean and sd over seeds, at a layer or (None) of the mean over layers."""
        by_seed: dict[Seed, list[float]] = {}
        for (seed, at), value in self.values.get(label, {}).get(name, {}).items():
            if layer is None or at == layer:
                by_seed.setdefault(seed, []).append(value)
        return summarise([float(np.mean(by_layer)) for by_layer in by_seed.values()])


def base_states(results: Results) -> BaseStates | None:
    """The untrained row's states; None where there are none or too few prompts."""
    for row in [row for row in results.rows if not row.trained]:
        for _, record in _records(row):
            tasks = [task for task, _ in record.probes]
            if len(tasks) < FEWEST_PROMPTS:
                return None
            return BaseStates(row.label, record, np.unique(tasks, return_inverse=True)[1])
    return None


def _records(row: Row) -> Iterator[tuple[Seed, LatentRecord]]:
    """The states of the row's cells that have some, with which prompts each answered rightly."""
    # Cells of one row have the same prompts: to look for them in each costs as much as its states.
    right_of = lru_cache(maxsize=1)(partial(_right, row))
    for seed, cell in row.done.items():
        if (record := read_record(cell)) is not None:
            yield seed, record.labelled(right_of(record.probes).get(seed, {}))


def _right(row: Row, probes: Sequence[tuple[str, str]]) -> dict[Seed, dict[tuple[str, str], float]]:
    """By seed whether each of these prompts was answered rightly; NaN where it wasn't asked."""
    right: dict[Seed, dict[tuple[str, str], float]] = {}
    for task in dict.fromkeys(task for task, _ in probes):
        table = row.items.get((task, "right"))
        if table is not None:
            keys = [probe for probe in probes if probe[0] == task]
            asked = table.reindex(columns=[question for _, question in keys])
            for seed, values in zip(asked.index, asked.to_numpy(), strict=True):
                right.setdefault(seed, {}).update(zip(keys, values, strict=True))
    return right


@cached
def state_stats(results: Results) -> StateStats | None:
    """The numbers of every row; None without records of states."""
    base = base_states(results)
    if base is None:
        return None
    _ = base.similarities, base.axes, base.probes  # once for all rows
    references: dict[str, dict[Seed, np.ndarray]] = {}

    def row_stats(row: Row) -> StateStats:
        stats = StateStats(base)
        mine = _add_row(stats, row)
        other = results.reference_of(row)
        _add_similarities(stats, row.label, mine, mine, {False: "cka_seeds"})
        if other is row:
            references[row.label] = mine
        elif other is not None:
            names = {True: "cka_reference", False: "cka_reference_other_seeds"}
            _add_similarities(stats, row.label, mine, references.get(other.label, {}), names)
        return stats

    trained = [row for row in results.rows if row.trained]
    compared_to = [row for row in trained if results.reference_of(row) is row]
    # A reference row is read in this process, for those that are compared to it.
    parts = [row_stats(row) for row in compared_to]
    parts += mapped(row_stats, [row for row in trained if row not in compared_to])
    every = StateStats(base)
    for part in parts:
        every.values |= part.values
        every.changes |= part.changes
        every.other_probes += part.other_probes
    return every


def _add_row(stats: StateStats, row: Row) -> dict[Seed, np.ndarray]:
    """Add the row's numbers; its similarities by seed, (L,n(n-1)/2) float32."""
    similarities: dict[Seed, np.ndarray] = {}
    values = stats.values.setdefault(row.label, {})
    for seed, record in _records(row):
        if record.change is not None:
            stats.changes.setdefault(row.label, {})[seed] = unit_vector(record.change)
        matched = record.matched(stats.base.record)
        if matched is None:
            stats.other_probes += 1
            continue
        mine = centred_similarities(matched.states)
        similarities[seed] = mine.astype(np.float32)  # half the memory
        for name, by_layer in _numbers(stats.base, matched, mine):
            for layer, value in zip(stats.base.layers, by_layer, strict=True):
                values.setdefault(name, {})[seed, layer] = float(value)
    return similarities


def _numbers(
    base: BaseStates, record: LatentRecord, mine: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """By name, one number a layer (L,)."""
    yield "cka", (mine * base.similarities).sum(axis=-1)
    yield "drift", drift(record.states, base.record.states)
    if record.random is not None:
        control = centred_similarities(record.random)
        yield "cka_random", (control * base.similarities).sum(axis=-1)
        yield "drift_random", drift(record.random, base.record.states)
    largest, mean = np.full((2, len(mine)), NAN)
    # Of the last layer only: components take longer than all else together.
    axes = principal_axes(record.states[-1], SUBSPACE)
    if min(len(axes.components), len(base.axes.components)):
        angles = np.degrees(subspace_angles(axes.components.T, base.axes.components.T))
        largest[-1], mean[-1] = angles[0], angles.mean()
    yield "angle_largest", largest
    yield "angle_mean", mean
    if base.probes is not None:
        yield "probe_base", base.probes.own
        known = record.known
        states, right = record.states[:, known], record.right[known]
        yield "probe", base.probes.auroc(states, right, base.groups[known])


def _add_similarities(
    stats: StateStats,
    label: str,
    mine: Mapping[Seed, np.ndarray],
    other: Mapping[Seed, np.ndarray],
    names: Mapping[bool, str],
) -> None:
    """For each seed the CKA with the other's same seed (True) and the mean over its others.

    One product of matrices a layer: pair by pair, forty seeds would take forty times as long.
    """
    if not mine or not other:
        return
    left, right = (np.stack([*side.values()], axis=1) for side in (mine, other))  # (L,S,...)
    products = (left @ right.swapaxes(-1, -2)).astype(np.float64)  # (L,S,T)
    for layer, by_seed in zip(stats.base.layers, products, strict=True):
        for seed, line in zip(mine, by_seed, strict=True):
            same = np.array([theirs == seed for theirs in other])
            for chosen, name in ((same, names.get(True)), (~same, names.get(False))):
                if name is not None and chosen.any():
                    values = stats.values[label].setdefault(name, {})
                    values[seed, layer] = float(line[chosen].mean())
