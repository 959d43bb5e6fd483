"""What the records of hidden states and changes of weights say of each row, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from compact_bench import correctness, latent
from compact_bench.correctness import Probes
from compact_bench.forked import mapped
from compact_bench.latent_records import LatentRecord, read_record
from compact_bench.outcomes import Results, Row, Seed
from compact_bench.records import Cell
from compact_bench.stats import NAN, Summary, summarise

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
        return latent.centred_similarities(self.record.states)

    @cached_property
    def axes(self) -> latent.Axes:
        """The principal components of the last layer."""
        return latent.principal_axes(self.record.states[-1], SUBSPACE)

    @cached_property
    def probes(self) -> Probes | None:
        """The probes for correctness; None where right or wrong answers are too few."""
        known = self.record.known
        states, right = self.record.states[:, known], self.record.right[known]
        return correctness.fit(states, right, self.groups[known])


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
        mine = latent.centred_similarities(matched.states)
        return _Read(pair[0], record, mine, dict(_numbers(base, matched, mine)))

    mine: dict[Seed, np.ndarray] = {}
    values = found.values.setdefault(row.label, {})
    for done in map(one, row.done.items()):
        if done.record is not None and done.record.change is not None:
            found.changes.setdefault(row.label, {})[done.seed] = latent.unit(done.record.change)
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
    yield "drift", latent.drift(record.states, base.record.states)
    if record.random is not None:
        control = latent.centred_similarities(record.random)
        yield "cka_random", (control * base.similarities).sum(axis=-1)
        yield "drift_random", latent.drift(record.random, base.record.states)
    largest, mean = np.full((2, len(mine)), NAN)
    angles = latent.subspace_angles(latent.principal_axes(record.states[-1], SUBSPACE), base.axes)
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
