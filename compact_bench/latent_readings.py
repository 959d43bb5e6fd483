"""What the records of hidden states and changes of weights say of each row, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from compact_bench import correctness, latent
from compact_bench.correctness import Probe
from compact_bench.latent_records import LatentRecord, read_record
from compact_bench.outcomes import Results, Row, Seed
from compact_bench.records import Cell
from compact_bench.stats import NAN, Summary, summarise

NUMBERS = (
    *("cka", "cka_random", "cka_reference", "cka_reference_other_seeds", "cka_seeds"),
    *("drift", "drift_random", "angle_largest", "angle_mean", "probe_base", "probe"),
)
THREADS = 2
Key = tuple[str, Seed, int]  # a number's name, seed and layer


@dataclass(frozen=True)
class Base:
    """The untrained student: its states, axes and probe by layer, and the tasks of its probes."""

    label: str
    record: LatentRecord
    groups: np.ndarray  # (n,) int, the task of each probe

    @property
    def layers(self) -> list[int]:
        """The layers that were recorded, 0 being the embeddings."""
        return list(self.record.states)

    @cached_property
    def similarities(self) -> dict[int, np.ndarray]:
        """By layer: `latent.centred_similarities`."""
        return similarities(self.record.states)

    @cached_property
    def axes(self) -> dict[int, latent.Axes]:
        """By layer: the principal components."""
        states = self.record.states
        return {layer: latent.principal_axes(states[layer], latent.SUBSPACE) for layer in states}

    @cached_property
    def probes(self) -> dict[int, Probe]:
        """By layer: the probe for correctness; none where right or wrong answers are too few."""
        right, known = self.record.right, self.record.known
        if not known.any():
            return {}
        states = self.record.states
        found = {
            layer: correctness.fit(states[layer][known], right[known], self.groups[known])
            for layer in states
        }
        return {layer: probe for layer, probe in found.items() if probe is not None}


@dataclass
class Latent:
    """All rows' numbers. values: row label -> (name, seed, layer) -> value."""

    base: Base
    values: dict[str, dict[Key, float]] = field(default_factory=dict)
    changes: dict[str, dict[Seed, np.ndarray]] = field(default_factory=dict)
    other_probes: int = 0  # cells whose probes are not the base's

    @cached_property
    def units(self) -> dict[str, dict[Seed, np.ndarray]]:
        """The changes at length 1, so that inner products are cosines; NaN where nothing moved."""
        with np.errstate(invalid="ignore"):
            return {
                label: {seed: one / np.linalg.norm(one) for seed, one in by_seed.items()}
                for label, by_seed in self.changes.items()
            }

    def summary(self, label: str, name: str, layer: int | None = None) -> Summary:
        """Mean and sd over seeds, at a layer or (None) of the mean over layers."""
        by_seed: dict[Seed, list[float]] = {}
        for (known, seed, at), value in self.values.get(label, {}).items():
            if known == name and (layer is None or at == layer):
                by_seed.setdefault(seed, []).append(value)
        return summarise([float(np.mean(found)) for found in by_seed.values()])


def similarities(states: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """By layer: `latent.centred_similarities`, in float32, half the memory."""
    return {
        layer: latent.centred_similarities(one).astype(np.float32) for layer, one in states.items()
    }


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
                return Base(row.label, record, groups) if len(tasks) >= 4 else None
    return None


def _record(row: Row, seed: Seed, cell: Cell) -> LatentRecord | None:
    record = read_record(cell)
    if record is None:
        return None
    tables = {task: row.items.get((task, "right")) for task in {t for t, _ in record.probes}}
    right = {
        (task, question): value
        for task, table in tables.items()
        if table is not None and seed in table.index
        for question, value in zip(table.columns, table.loc[seed], strict=True)
    }
    return record.told(right)


def _read(results: Results, base: Base) -> Latent:
    found = Latent(base)
    references: dict[str, dict[Seed, dict[int, np.ndarray]]] = {}
    # A reference row comes before those that are compared to it.
    ordered = sorted(results.rows, key=lambda row: results.reference_of(row) is not row)
    for row in ordered:
        if not row.trained:
            continue
        mine = _read_row(row, found)
        if results.reference_of(row) is row:
            references[row.label] = mine
        _compare(found.values[row.label], mine, mine, {False: "cka_seeds"})
        other = results.reference_of(row)
        if other is not None and other is not row:
            names = {True: "cka_reference", False: "cka_reference_other_seeds"}
            _compare(found.values[row.label], mine, references.get(other.label, {}), names)
    return found


def _compare(
    values: dict[Key, float],
    mine: Mapping[Seed, Mapping[int, np.ndarray]],
    other: Mapping[Seed, Mapping[int, np.ndarray]],
    names: Mapping[bool, str],
) -> None:
    for same, seed, layer, value in _between(mine, other):
        if same in names:
            values[names[same], seed, layer] = value


def _read_row(row: Row, found: Latent) -> dict[Seed, dict[int, np.ndarray]]:
    """Put the row's numbers into `found`; its similarities by seed and layer."""
    base = found.base
    _ = row.items, base.similarities, base.axes, base.probes  # before threads ask for them

    def one(pair: tuple[Seed, Cell]) -> tuple[Seed, LatentRecord | None]:
        return pair[0], _record(row, *pair)

    mine: dict[Seed, dict[int, np.ndarray]] = {}
    values = found.values.setdefault(row.label, {})
    with ThreadPoolExecutor(THREADS) as pool:
        for seed, record in pool.map(one, row.done.items()):
            if record is None:
                continue
            if record.change is not None:
                found.changes.setdefault(row.label, {})[seed] = record.change.astype(float)
            matched = record.matched(base.record)
            found.other_probes += matched is None and bool(record.states)
            if matched is not None:
                mine[seed] = similarities(matched.states)
                for name, layer, value in _numbers(base, matched, mine[seed]):
                    values[name, seed, layer] = value
    return mine


def _numbers(
    base: Base, record: LatentRecord, mine: Mapping[int, np.ndarray]
) -> Iterator[tuple[str, int, float]]:
    known = record.known
    for layer, states in record.states.items():
        before = base.record.states[layer]
        yield "cka", layer, latent.alignment(mine[layer], base.similarities[layer])
        yield "drift", layer, latent.drift(states, before)
        if layer in record.random:
            changed = record.random[layer]
            control = latent.centred_similarities(changed)
            yield "cka_random", layer, latent.alignment(control, base.similarities[layer])
            yield "drift_random", layer, latent.drift(changed, before)
        axes = base.axes[layer].ways
        angles = latent.principal_angles(latent.principal_axes(states, len(axes)).ways, axes)
        if len(angles):
            yield "angle_largest", layer, float(angles[0])
            yield "angle_mean", layer, float(angles.mean())
        if (probe := base.probes.get(layer)) is not None:
            yield "probe_base", layer, probe.own
            right, groups = record.right[known], base.groups[known]
            yield "probe", layer, probe.auroc(states[known], right, groups)


def _between(
    mine: Mapping[Seed, Mapping[int, np.ndarray]], other: Mapping[Seed, Mapping[int, np.ndarray]]
) -> Iterator[tuple[bool, Seed, int, float]]:
    """The CKA of each seed and layer with the other's same seed (True), and mean over its others.

    One product of matrices a layer: pair by pair, forty seeds would take forty times as long.
    """
    if not mine or not other:
        return
    same = np.array([[left == right for right in other] for left in mine])
    for layer in next(iter(mine.values())):
        left, right = (np.stack([one[layer] for one in side.values()]) for side in (mine, other))
        found = (left @ right.T).astype(np.float64)
        found[~left.any(axis=1)] = NAN
        found[:, ~right.any(axis=1)] = NAN
        for seed, line, chosen in zip(mine, found, same, strict=True):
            if chosen.any():
                yield True, seed, layer, float(line[chosen].mean())
            if not chosen.all():
                yield False, seed, layer, float(line[~chosen].mean())
