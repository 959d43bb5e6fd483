"""latent.parquet as arrays: the states of one cell's student, and the change of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from compact_bench.errors import UserError
from compact_bench.records import LATENT_COLUMNS, Cell

STUDENT, RANDOM, CHANGE = "student", "random", "change"


@dataclass(frozen=True)
class LatentRecord:
    """One cell's states by layer, a row a probe, and whether each probe was answered rightly.

    probes: (task, question_id) in order.  states, random: layer -> (n,d) float32.  right, known:
    (n,) bool, known where the cell's answers say it.  change: (m,) float32, or None.
    """

    probes: tuple[tuple[str, str], ...]
    states: dict[int, np.ndarray]
    random: dict[int, np.ndarray] = field(default_factory=dict)
    change: np.ndarray | None = None
    right: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    known: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def told(self, right: Mapping[tuple[str, str], float]) -> LatentRecord:
        """With the labels of its probes; NaN is not known."""
        found = np.array([right.get(probe, np.nan) for probe in self.probes])
        return replace(self, right=found == 1.0, known=~np.isnan(found))

    def matched(self, base: LatentRecord) -> LatentRecord | None:
        """The probes in the base's order; None where probes, layers or widths are others."""
        if self.states.keys() != base.states.keys() or set(self.probes) != set(base.probes):
            return None
        if any(self.states[layer].shape != base.states[layer].shape for layer in base.states):
            return None
        if self.probes == base.probes:
            return self
        place = {probe: i for i, probe in enumerate(self.probes)}
        order = np.array([place[probe] for probe in base.probes])
        states, random = (
            {layer: one[order] for layer, one in kind.items()}
            for kind in (self.states, self.random)
        )
        right, known = self.right[order], self.known[order]
        return LatentRecord(base.probes, states, random, self.change, right, known)


def read_record(cell: Cell) -> LatentRecord | None:
    """Read a cell's latent.parquet; None where it isn't there or holds no states.

    Reads through Arrow: a table of lists costs pandas a hundred times as much.  UserError where
    it can't be read.
    """
    path = cell.folder / "latent.parquet"
    if not path.exists():
        return None
    try:
        # Cells are read side by side, so none takes more than one thread.
        table = pyarrow.parquet.read_table(path, columns=list(LATENT_COLUMNS), use_threads=False)
        return _record(table)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _record(table: pa.Table) -> LatentRecord | None:
    kinds, layers = (table[name].to_numpy() for name in ("kind", "layer"))
    asked = list(zip(table["task"].to_pylist(), table["question_id"].to_pylist(), strict=True))
    lists = table["values"].combine_chunks()
    numbers = lists.values.to_numpy(zero_copy_only=False)
    starts = lists.offsets.to_numpy()
    probes: tuple[tuple[str, str], ...] = ()
    found: dict[str, dict[int, np.ndarray]] = {STUDENT: {}, RANDOM: {}}
    for kind, by_layer in found.items():
        for layer in np.unique(layers[kinds == kind]):
            rows = np.flatnonzero((kinds == kind) & (layers == layer))
            keys = tuple(asked[row] for row in rows)
            probes = probes or keys
            by_layer[int(layer)] = _stacked(numbers, starts, rows[_order(keys, probes)])
    changes = np.flatnonzero(kinds == CHANGE)
    change = numbers[starts[changes[0]] : starts[changes[0] + 1]] if len(changes) else None
    if not found[STUDENT] and change is None:
        return None
    return LatentRecord(probes, found[STUDENT], found[RANDOM], change)


def _order(keys: tuple[tuple[str, str], ...], wanted: tuple[tuple[str, str], ...]) -> np.ndarray:
    """Where each wanted probe is; ValueError where the probes are others."""
    if keys == wanted:
        return np.arange(len(keys))
    place = {key: i for i, key in enumerate(keys)}
    if set(place) != set(wanted) or len(keys) != len(wanted):
        raise ValueError("its layers have different probes")
    return np.array([place[key] for key in wanted])


def _stacked(numbers: np.ndarray, starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The lists of these rows as one array; ValueError where their lengths differ. (n,d)."""
    widths = starts[rows + 1] - starts[rows]
    if len(set(widths.tolist())) != 1:
        raise ValueError("its states have different widths")
    return numbers[starts[rows][:, None] + np.arange(widths[0])[None, :]]
