"""How far training moved hidden states and weights: functions of arrays, no records, no files.

States are (...,n,d): n prompts, d numbers each; leading dimensions, such as layers, are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from compact_bench.analysis import answer_probe
from compact_bench.analysis.answer_probe import Probes
from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.statistics import NAN, Summary, summarise
from compact_bench.records.cells import Cell
from compact_bench.records.hidden_states import LatentRecord, read_record
from compact_bench.records.joining import Seed
from compact_bench.utils.processes import mapped

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
class PrincipalAxes:
    """Principal components, the largest first. mean: (d,); ways: (k,d), orthonormal rows;
    shares: (k,) of the variance."""

    mean: np.ndarray
    ways: np.ndarray
    shares: np.ndarray

    def places(self, states: np.ndarray) -> np.ndarray:
        """Coordinates of states on these components. states: (n,d); returns (n,k)."""
        return (states - self.mean) @ self.ways.T


def principal_axes(states: np.ndarray, count: int) -> PrincipalAxes:
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
    return PrincipalAxes(states.mean(axis=0, dtype=np.float64), ways, values / whole)


def subspace_angles(first: PrincipalAxes, second: PrincipalAxes) -> np.ndarray:
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


SUBSPACE = 8  # principal components whose span is compared

FEWEST = 4  # prompts that the unbiased estimator needs

NUMBERS = (
    *("cka", "cka_random", "cka_reference", "cka_reference_other_seeds", "cka_seeds"),
    *("drift", "drift_random", "angle_largest", "angle_mean", "probe_base", "probe"),
)

Key = tuple[str, Seed, int]  # a number's name, seed and layer


@dataclass(frozen=True)
class Base:
    """The untrained student: its states, axes and probes, and the tasks of its prompts."""

    label: str
    record: LatentRecord
    groups: np.ndarray  # (n,) int, the task of each prompt

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that were recorded, 0 being the embeddings."""
        return self.record.layers

    @cached_property
    def similarities(self) -> np.ndarray:
        """`latent.centred_similarities` by layer, (L,n(n-1)/2)."""
        return centred_similarities(self.record.states)

    @cached_property
    def axes(self) -> PrincipalAxes:
        """The principal components of the last layer."""
        return principal_axes(self.record.states[-1], SUBSPACE)

    @cached_property
    def probes(self) -> Probes | None:
        """The probes for correctness; None where right or wrong answers are too few."""
        known = self.record.known
        states, right = self.record.states[:, known], self.record.right[known]
        return answer_probe.fit(states, right, self.groups[known])


@dataclass
class Latent:
    """All rows' numbers. values: row label -> (name, seed, layer) -> value."""

    base: Base
    values: dict[str, dict[Key, float]] = field(default_factory=dict)
    changes: dict[str, dict[Seed, np.ndarray]] = field(default_factory=dict)  # at length 1
    other_probes: int = 0  # cells whose probes are not the base's

    def summary(self, label: str, name: str, layer: int | None = None) -> Summary:
        """Mean and sd over seeds, at a layer or (None) of the mean over layers."""
        by_seed: dict[Seed, list[float]] = {}
        for (known, seed, at), value in self.values.get(label, {}).items():
            if known == name and (layer is None or at == layer):
                by_seed.setdefault(seed, []).append(value)
        return summarise([float(np.mean(found)) for found in by_seed.values()])


def latents(results: Results) -> Latent | None:
    """The numbers of every row, computed once for all who ask; None without records of states."""
    if "latent" not in results.computed:
        base = find_base(results)
        results.computed["latent"] = None if base is None else _read(results, base)
    return results.computed["latent"]


def find_base(results: Results) -> Base | None:
    """The untrained row's states; None where there are none or fewer than four probes."""
    for row in results.rows:
        for seed, cell in row.done.items():
            if not row.trained and (record := _record(row, seed, cell)) is not None:
                tasks = [task for task, _ in record.probes]
                groups = np.unique(tasks, return_inverse=True)[1]
                return Base(row.label, record, groups) if len(tasks) >= FEWEST else None
    return None


def _record(row: Row, seed: Seed, cell: Cell) -> LatentRecord | None:
    record = read_record(cell)
    if record is None:
        return None
    tables = {
        task: row.items.get((task, "right")) for task in dict.fromkeys(t for t, _ in record.probes)
    }
    right = {
        (task, question): value
        for task, table in tables.items()
        if table is not None and seed in table.index
        for question, value in zip(table.columns, table.loc[seed], strict=True)
    }
    return record.told(right)


def _read(results: Results, base: Base) -> Latent:
    _ = base.similarities, base.axes, base.probes  # once for all rows
    references: dict[str, dict[Seed, np.ndarray]] = {}

    def read(row: Row) -> Latent:
        own = Latent(base)
        mine = _read_row(row, own)
        other = results.reference_of(row)
        _compare(own, row.label, mine, mine, {False: "cka_seeds"})
        if other is row:
            references[row.label] = mine
        elif other is not None:
            names = {True: "cka_reference", False: "cka_reference_other_seeds"}
            _compare(own, row.label, mine, references.get(other.label, {}), names)
        return own

    trained = [row for row in results.rows if row.trained]
    known = [row for row in trained if results.reference_of(row) is row]
    rest = [row for row in trained if row not in known]
    # A reference row is read in this process, for those that are compared to it.
    parts = [*map(read, known), *mapped(read, rest)]
    found = Latent(base)
    for part in parts:
        found.values |= part.values
        found.changes |= part.changes
        found.other_probes += part.other_probes
    return found


@dataclass(frozen=True)
class _Read:
    """What was read of a cell; numbers: by name, one a layer."""

    seed: Seed
    record: LatentRecord | None
    similarities: np.ndarray | None = None
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)


def _read_row(row: Row, found: Latent) -> dict[Seed, np.ndarray]:
    """Put the row's numbers into `found`; its similarities by seed, (L,n(n-1)/2) float32."""
    base = found.base

    def one(pair: tuple[Seed, Cell]) -> _Read:
        record = _record(row, *pair)
        matched = record.matched(base.record) if record is not None else None
        if matched is None:
            return _Read(pair[0], record)
        mine = centred_similarities(matched.states)
        return _Read(pair[0], record, mine, dict(_numbers(base, matched, mine)))

    mine: dict[Seed, np.ndarray] = {}
    values = found.values.setdefault(row.label, {})
    for done in map(one, row.done.items()):
        if done.record is not None and done.record.change is not None:
            found.changes.setdefault(row.label, {})[done.seed] = unit(done.record.change)
        if done.similarities is not None:
            mine[done.seed] = done.similarities.astype(np.float32)  # half the memory
            for name, by_layer in done.numbers.items():
                for layer, value in zip(base.layers, by_layer, strict=True):
                    values[name, done.seed, layer] = float(value)
        elif done.record is not None:
            found.other_probes += 1
    return mine


def _numbers(
    base: Base, record: LatentRecord, mine: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """By name, one number a layer (L,)."""
    yield "cka", (mine * base.similarities).sum(axis=-1)
    yield "drift", drift(record.states, base.record.states)
    if record.random is not None:
        control = centred_similarities(record.random)
        yield "cka_random", (control * base.similarities).sum(axis=-1)
        yield "drift_random", drift(record.random, base.record.states)
    largest, mean = np.full((2, len(mine)), NAN)
    angles = subspace_angles(principal_axes(record.states[-1], SUBSPACE), base.axes)
    if len(angles):  # of the last layer only: components take longer than all else together
        largest[-1], mean[-1] = angles[0], angles.mean()
    yield "angle_largest", largest
    yield "angle_mean", mean
    if base.probes is not None:
        yield "probe_base", base.probes.own
        known = record.known
        found = base.probes.auroc(record.states[:, known], record.right[known], base.groups[known])
        yield "probe", found


def _compare(
    found: Latent,
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
    for layer, by_seed in zip(found.base.layers, products, strict=True):
        for seed, line in zip(mine, by_seed, strict=True):
            same = np.array([one == seed for one in other])
            for chosen, name in ((same, names.get(True)), (~same, names.get(False))):
                if name is not None and chosen.any():
                    found.values[label][name, seed, layer] = float(line[chosen].mean())
