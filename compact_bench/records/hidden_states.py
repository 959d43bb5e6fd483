"""latent.parquet as arrays: the states of one cell's student, and the change of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from compact_bench.errors import UserError
from compact_bench.records.cells import LATENT_COLUMNS, Cell

STUDENT, RANDOM, CHANGE = "student", "random", "change"
_KEYS = ["kind", "layer", "task", "question_id"]


@dataclass(frozen=True)
class LatentRecord:
    """One cell's states by layer, and whether each prompt (probe) was answered rightly.

    layers: L numbers, 0 the embeddings.  probes: n times (task, question_id).  states: (L,n,d)
    float32; random: the same or None.  change: (m,) float32 or None.  right, known: (n,) bool,
    known where the cell's answers say it.
    """

    layers: tuple[int, ...]
    probes: tuple[tuple[str, str], ...]
    states: np.ndarray
    random: np.ndarray | None = None
    change: np.ndarray | None = None
    right: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    known: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def labelled(self, right: Mapping[tuple[str, str], float]) -> LatentRecord:
        """With the labels of its probes; NaN is not known."""
        labels = np.array([right.get(probe, np.nan) for probe in self.probes])
        return replace(self, right=labels == 1.0, known=~np.isnan(labels))

    def matched(self, base: LatentRecord) -> LatentRecord | None:
        """With the base's order of probes; None where probes, layers or widths are others."""
        same = self.layers == base.layers and self.states.shape == base.states.shape
        if not same or set(self.probes) != set(base.probes):
            return None
        if self.probes == base.probes:
            return self
        place = {probe: i for i, probe in enumerate(self.probes)}
        order = np.array([place[probe] for probe in base.probes])
        random = None if self.random is None else self.random[:, order]
        labels = {"right": self.right[order], "known": self.known[order]}
        return replace(
            self, probes=base.probes, states=self.states[:, order], random=random, **labels
        )


def read_record(cell: Cell) -> LatentRecord | None:
    """Read a cell's latent.parquet; None where it isn't there.

    Reads through Arrow: a table of lists costs pandas a hundred times as much.  UserError where
    it can't be read.
    """
    table = cell.table("latent", LATENT_COLUMNS.__contains__)
    try:
        return None if table is None else _record(table)
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot read latent.parquet of {cell.folder}: {error}") from error


@dataclass(frozen=True)
class _Places:
    """In which rows of the file what stands. mine, other: (L,n) int; change: (0 or more,) int."""

    layers: tuple[int, ...]
    probes: tuple[tuple[str, str], ...]
    mine: np.ndarray
    other: np.ndarray
    change: np.ndarray


def _record(table: pa.Table) -> LatentRecord:
    keys = pa.BufferOutputStream()
    with pa.ipc.new_stream(keys, (chosen := table.select(_KEYS)).schema) as stream:
        stream.write_table(chosen)
    places = _places(keys.getvalue().to_pybytes())
    lists = table["values"].combine_chunks()
    numbers, starts = lists.values.to_numpy(), lists.offsets.to_numpy()
    random = _stacked(numbers, starts, places.other)
    at = places.change
    change = numbers[starts[at[0]] : starts[at[0] + 1]] if len(at) else None
    states = _stacked(numbers, starts, places.mine)
    random_states = random if len(random) else None
    record = LatentRecord(places.layers, places.probes, states, random_states, change)
    return record.labelled({})


@lru_cache(maxsize=4)  # cells of one suite have the same prompts: finding them takes a third
def _places(keys: bytes) -> _Places:
    """Where things are in a file whose columns _KEYS, as a stream of Arrow, are these."""
    table = pa.ipc.open_stream(keys).read_all()
    kinds, layers = (table[name].to_numpy() for name in ("kind", "layer"))
    probes = _codes(table)
    mine = _rows(layers, probes, kinds == STUDENT)
    other = _rows(layers, probes, kinds == RANDOM, mine)
    if len(other) and not np.array_equal(layers[other], layers[mine]):
        raise ValueError("random and student have different layers")
    asked = table.select(["task", "question_id"]).take(mine[0] if len(mine) else [])
    names = tuple(zip(*(column.to_pylist() for column in asked.columns), strict=True))
    depth = tuple(int(layers[line[0]]) for line in mine)
    return _Places(depth, names, mine, other, np.flatnonzero(kinds == CHANGE))


def _codes(table: pa.Table) -> np.ndarray:
    """A number for each prompt. (rows,) int."""
    task, question = (
        table[name].combine_chunks().dictionary_encode().indices.to_numpy()
        for name in ("task", "question_id")
    )
    return task.astype(np.int64) * len(table) + question


def _rows(
    layers: np.ndarray, probes: np.ndarray, chosen: np.ndarray, like: np.ndarray | None = None
) -> np.ndarray:
    """Where each layer's prompts are, in the order of the first layer, or of `like`'s. (L,n) int.

    ValueError where the layers have different prompts.
    """
    rows: np.ndarray = np.flatnonzero(chosen)
    count = len(np.unique(layers[rows]))
    if not count:
        return np.zeros((0, 0), dtype=np.int64)
    rows = rows[np.argsort(layers[rows], kind="stable")]
    rows = rows.reshape(count if len(rows) % count == 0 else 1, -1)
    wanted = probes[rows[0] if like is None or not len(like) else like[0]]
    if len(wanted) == rows.shape[1] and not (probes[rows] == wanted).all():
        orders = np.argsort(probes[rows], axis=1, kind="stable")
        back = np.argsort(np.argsort(wanted, kind="stable"), kind="stable")
        rows = np.take_along_axis(rows, orders[:, back], axis=1)
    by_layer = (layers[rows] == layers[rows[:, :1]]).all()
    same = len(wanted) == rows.shape[1] and (probes[rows] == wanted).all()
    if not by_layer or not same or len(set(wanted)) < len(wanted):
        raise ValueError("its layers have different prompts")
    return rows


def _stacked(numbers: np.ndarray, starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The lists of these rows, (L,n), as one array; ValueError where lengths differ. (L,n,d)."""
    widths = np.unique(starts[rows + 1] - starts[rows])
    if len(widths) > 1:
        raise ValueError("its states have different widths")
    if not rows.size:
        return np.zeros((*rows.shape, 0), dtype=np.float32)
    width, firsts = int(widths[0]), rows[:, :1]
    if np.array_equal(rows, firsts + np.arange(rows.shape[1])):  # as cells are written
        ends = starts[rows[:, -1] + 1]
        layers = [numbers[a:b] for a, b in zip(starts[firsts[:, 0]], ends, strict=True)]
        return np.stack(layers).reshape(*rows.shape, width)
    return numbers[starts[rows][..., None] + np.arange(width)]
