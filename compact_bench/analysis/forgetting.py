"""What was forgotten and learned: by item with luck taken out, along training, and relearned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats as distributions

from compact_bench.analysis import statistics
from compact_bench.analysis.results import Results, Row, cached, peers, seed_means
from compact_bench.analysis.statistics import NAN, Difference
from compact_bench.records.parquet import NO_SEED, Seed, joined
from compact_bench.suite.metrics import KL_FROM_BASE, Measure
from compact_bench.suite.schema import IN_DOMAIN
from compact_bench.utils.processes import mapped

CHECKPOINT, SCALE, RELEARNED = "checkpoint", "scale", "relearned"  # kinds of points of a curve

# Records that have one of these are of a version whose evaluation keeps all that is read here.
_RECENT = (KL_FROM_BASE, "text_nll", "majority")


@dataclass(frozen=True)
class TaskAccuracy:
    """One task's accuracy at one point of a curve, on n items."""

    role: str
    value: float
    n: int
    chance: float


Accuracies = Mapping[str, TaskAccuracy]  # by task

Curve = Mapping[tuple[str, float], Accuracies]  # by kind and place


def diagnostics_recorded(results: Results) -> bool:
    """Whether the records are recent enough; tables of older ones stay as they were published."""
    return any(measure.metric in _RECENT for measure in results.measures)


@cached
def curves(results: Results) -> dict[str, dict[Seed, Curve]]:
    """Every row's curve by label and seed; cells without one are left out."""
    by_row = mapped(_curves, results.rows)
    return {row.label: by_seed for row, by_seed in zip(results.rows, by_row, strict=True)}


def _curves(row: Row) -> dict[Seed, Curve]:
    """The accuracies of curve.parquet; other metrics and filters of a task are not compared."""
    frame = joined((seed, cell.table("curve")) for seed, cell in row.done.items())
    if frame.empty:
        return {}
    frame = frame[frame["metric"].eq("accuracy") & frame["filter"].isin(["strict", "none"])]
    by_seed: dict[Seed, dict[tuple[str, float], dict[str, TaskAccuracy]]] = {}
    columns = ["seed", "kind", "at", "task", "role", "value", "n", "chance"]
    for seed, kind, at, task, role, value, n, chance in frame[columns].itertuples(index=False):
        curve = by_seed.setdefault(None if seed == NO_SEED else int(seed), {})
        accuracies = curve.setdefault((str(kind), round(float(at), 6)), {})
        accuracies[str(task)] = TaskAccuracy(str(role), float(value), int(n), float(chance))
    return dict(by_seed)


def base_accuracies(results: Results) -> Accuracies | None:
    """The untrained student's own accuracies on the items of the curves; None without them."""
    untrained = [
        curve[CHECKPOINT, 0.0]
        for row in results.rows
        if not row.trained
        for curve in curves(results)[row.label].values()
        if (CHECKPOINT, 0.0) in curve
    ]
    return next(iter(untrained), None)


def retention_by_task(after: Accuracies, before: Accuracies) -> dict[str, float]:
    """Retention of each forgetting task with equally many items on both sides."""
    shares = {
        task: statistics.retention(accuracy.value, before[task].value, accuracy.chance, accuracy.n)
        for task, accuracy in after.items()
        if accuracy.role == "forgetting" and task in before and before[task].n == accuracy.n
    }
    return {task: share for task, share in shares.items() if math.isfinite(share)}


@dataclass(frozen=True)
class Point:
    """A student on a path: accuracy gained in domain, and mean retention over tasks."""

    at: float
    gain: float
    retention: float


def path_point(at: float, after: Accuracies, before: Accuracies) -> Point | None:
    """The point of a student beside the untrained one's; None where a part is missing."""
    shares = retention_by_task(after, before)
    mine, base = after.get(IN_DOMAIN), before.get(IN_DOMAIN)
    if mine is None or base is None or mine.n != base.n or not shares:
        return None
    return Point(at, mine.value - base.value, float(np.mean(list(shares.values()))))


@cached
def path(results: Results, row: Row, kind: str) -> dict[Seed, tuple[Point, ...]]:
    """From the untrained (0) to the trained student (1), by seed.

    Seeds without a point in between, or without both ends, are left out.
    """
    before = base_accuracies(results)
    if before is None or not row.trained:
        return {}
    paths = {}
    for seed, curve in curves(results)[row.label].items():
        between = {at: point for (of, at), point in curve.items() if of == kind and 0 < at < 1}
        if between and (CHECKPOINT, 1.0) in curve:
            places = {0.0: before, **between, 1.0: curve[CHECKPOINT, 1.0]}
            points = [path_point(at, places[at], before) for at in sorted(places)]
            if points[0] and points[-1]:
                paths[seed] = tuple(point for point in points if point)
    return paths


def mean_path(paths: Mapping[Seed, Sequence[Point]]) -> tuple[Point, ...]:
    """Mean over seeds, at the places that every seed has."""
    by_seed = [
        {point.at: (point.gain, point.retention) for point in path} for path in paths.values()
    ]
    places = sorted(set.intersection(*map(set, by_seed))) if by_seed else []
    return tuple(Point(at, *np.mean([path[at] for path in by_seed], axis=0)) for at in places)


def front(results: Results) -> set[str]:
    """Names of the trained rows that no other is at least as good as in reasoning and old skill.

    Means over seeds, of the first reasoning task and over the forgetting tasks; with conditions
    under the first one. A row without one of the two is on no front.
    """
    measure = next(iter(results.headlines("reasoning")), None)
    if measure is None:
        return set()
    condition = str(results.conditions[0]["name"]) if results.conditions else ""
    points = {
        row.name: (
            measure.shown.better * row.summary(measure).mean,
            results.retention_summary(row).mean if results.headlines("forgetting") else 0.0,
        )
        for row in results.rows
        if row.trained and row.condition == condition
    }
    known = {name: point for name, point in points.items() if np.isfinite(point).all()}
    return {
        name
        for name, (gain, kept) in known.items()
        if not any(
            one >= gain and other >= kept and (one, other) != (gain, kept)
            for one, other in known.values()
        )
    }


def retention_at_gain(points: Sequence[Point], gain: float) -> float | None:
    """Retention where the path first reaches a gain, linear between points; None where it doesn't.

    A path that falls back and comes again counts where it is first: the least change that gives
    the gain.

    >>> retention_at_gain([Point(0, 0.0, 1.0), Point(1, 0.4, 0.8)], 0.1)
    0.95
    """
    for here, there in pairwise(points):
        if here.gain == gain:
            return here.retention
        if min(here.gain, there.gain) < gain <= max(here.gain, there.gain):
            share = (gain - here.gain) / (there.gain - here.gain)
            return here.retention + share * (there.retention - here.retention)
    return None


def forgotten(before: np.ndarray, after: np.ndarray, chance: float) -> np.ndarray:
    """Per item, an estimate whose mean is the share of items known before and not known after.

    F = ([right, then wrong] - c / (1 - c) [wrong, then wrong]) / (1 - c), c the chance of a guess.

    It takes off what guessing alone turns over, see docs/evidence.md.  With c = 0 it is the
    observed share.  What was learned is the same with before and after exchanged.

    before, after: bool or 0/1 of one broadcast shape.  Returns float64 of that shape; single
    values and means of few items may be negative.  ValueError unless 0 <= c < 1.
    Source: Harmon et al. 2025 (arXiv 2510.17776) count such transitions and take off guessing;
    Cor and Sood 2018, "Guessing and Forgetting", have the latent classes.

    >>> forgotten(np.array([1, 0, 1, 1]), np.array([0, 0, 1, 1]), 0.5).tolist()
    [2.0, -2.0, 0.0, 0.0]
    """
    if not 0 <= chance < 1:
        raise ValueError(f"chance is {chance}; it must be at least 0 and below 1")
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    lost, never = before * (1 - after), (1 - before) * (1 - after)
    return np.asarray((lost - chance / (1 - chance) * never) / (1 - chance))


ALL = ""  # stands for the mean over the forgetting tasks

BEFORE, AFTER, RETENTION = "before", "after", "retention"
LOST, GAINED = "right_to_wrong", "wrong_to_right"
FORGOTTEN, LEARNED = "forgotten", "learned"
PERPLEXITY, KL = "perplexity_ratio", KL_FROM_BASE
SAME_ITEMS, RELEARNT = "retention_same_items", "retention_relearned"
QUANTITIES = (
    *(BEFORE, AFTER, RETENTION, LOST, GAINED, FORGOTTEN, LEARNED),
    *(PERPLEXITY, KL, SAME_ITEMS, RELEARNT),
)
PAIRED = (RETENTION, FORGOTTEN, LEARNED)  # that have a difference by item

Values = Mapping[str, Mapping[Seed, float]]  # by task, then seed

_PER_ITEM: Mapping[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    LOST: lambda before, after, chance: before * (1 - after),
    GAINED: lambda before, after, chance: (1 - before) * after,
    FORGOTTEN: forgotten,
    LEARNED: lambda before, after, chance: forgotten(after, before, chance),
}


@dataclass(frozen=True)
class Forgetting:
    """A row's numbers by quantity; the task ALL is their mean over forgetting tasks.

    examples: of the old task, that the student relearned on; NaN without any.
    """

    row: Row
    values: Mapping[str, Values]
    examples: float

    @property
    def has_values(self) -> bool:
        """Whether there is any number."""
        return any(self.summary(quantity).n for quantity in self.values)

    def summary(self, quantity: str, task: str = ALL) -> statistics.Summary:
        """Mean and sd over seeds."""
        return statistics.summarise(list(self.values.get(quantity, {}).get(task, {}).values()))


@cached
def forgetting(results: Results) -> dict[str, Forgetting]:
    """Every row's numbers by label, of rows that are done."""
    curves(results)  # once for all rows: each is computed in a process of its own
    rows = [row for row in results.rows if row.done]
    by_row = mapped(lambda row: _values(results, row), rows)
    return {row.label: Forgetting(row, *values) for row, values in zip(rows, by_row, strict=True)}


def _values(results: Results, row: Row) -> tuple[dict[str, Values], float]:
    """The values of `Forgetting`, and its examples."""
    values: dict[str, dict[str, dict[Seed, float]]] = {name: {} for name in QUANTITIES}
    for measure in results.headlines("forgetting"):
        task, after = measure.task, row.values.get(measure, {})
        values[AFTER][task] = dict(after)
        values[BEFORE][task] = dict.fromkeys(after, results.before.get(measure, NAN))
        values[RETENTION][task] = results.retention(row, measure)
        values[PERPLEXITY][task] = _perplexity_ratio(results, row, task)
        for name in _PER_ITEM if row.trained else ():
            table = per_item(results, row, measure, name)
            if table is not None:
                values[name][task] = dict(
                    zip(table.index, table.to_numpy().mean(axis=1).tolist(), strict=True)
                )
    for name, by_task in values.items():
        by_task[ALL] = _over_tasks(by_task, geometric=name == PERPLEXITY)
    values[KL][ALL] = next(
        (dict(v) for m, v in row.values.items() if (m.task, m.metric) == (IN_DOMAIN, KL)), {}
    )
    relearned, examples = _relearned(results, row)
    return {**values, **relearned}, examples


def _over_tasks(by_task: Values, geometric: bool = False) -> dict[Seed, float]:
    """Mean by seed over the tasks where there is a value."""
    seeds = dict.fromkeys(seed for by_seed in by_task.values() for seed in by_seed)
    means = {}
    for seed in seeds:
        values = [by_seed.get(seed, NAN) for by_seed in by_task.values()]
        known = [value for value in values if math.isfinite(value)]
        if geometric and known:  # scipy's gmean takes longer than all else here
            means[seed] = float(np.exp(np.mean(np.log(known))))
        else:
            means[seed] = float(np.mean(known)) if known else NAN
    return means


def _perplexity_ratio(results: Results, row: Row, task: str) -> dict[Seed, float]:
    """exp(NLL after - NLL before), NLL in nats a token of what it wrote before."""
    for measure, by_seed in row.values.items():
        if (measure.task, measure.metric) == (task, "text_nll") and measure in results.before:
            before = results.before[measure]
            return {seed: math.exp(after - before) for seed, after in by_seed.items()}
    return {}


def _relearned(results: Results, row: Row) -> tuple[dict[str, dict[str, dict[Seed, float]]], float]:
    """Retention before and after relearning, on the same items, and the number of examples.

    Relearned is after the largest number of examples that there is.  Both stand against the
    untrained student's own value on these items.
    """
    before, most = base_accuracies(results), NAN
    values: dict[str, dict[str, dict[Seed, float]]] = {SAME_ITEMS: {}, RELEARNT: {}}
    trained = CHECKPOINT, 1.0 if row.trained else 0.0
    for seed, curve in curves(results)[row.label].items():
        examples = max((at for kind, at in curve if kind == RELEARNED), default=None)
        if before is None or examples is None or trained not in curve:
            continue
        most = float(np.fmax(most, examples))
        same_items = retention_by_task(curve[trained], before)
        relearnt = retention_by_task(curve[RELEARNED, examples], before)
        for task in [task for task in same_items if task in relearnt]:
            values[SAME_ITEMS].setdefault(task, {})[seed] = same_items[task]
            values[RELEARNT].setdefault(task, {})[seed] = relearnt[task]
    return {name: {ALL: _over_tasks(by_task), **by_task} for name, by_task in values.items()}, most


@cached
def per_item(results: Results, row: Row, measure: Measure, quantity: str) -> pd.DataFrame | None:
    """(seed x item) values whose mean is retention or a share of flips; None without items.

    Items whose mean isn't the recorded value belong to another filter, and are not used.
    """
    chance, after = results.chance.get(measure, 0.0), _items(results, row, measure)
    if after is None:
        return None
    if quantity == RETENTION:
        skill = results.skill(measure)
        return (after - chance) / skill if math.isfinite(skill) else None
    base = _base_items(results, measure)
    if base is None:
        return None
    items = after.columns.intersection(base.index, sort=False)
    values = _PER_ITEM[quantity](base[items].to_numpy(), after[items].to_numpy(), chance)
    return pd.DataFrame(values, index=after.index, columns=items)


@cached
def _items(results: Results, row: Row, measure: Measure) -> pd.DataFrame | None:
    table = row.items.get((measure.task, measure.shown.item_column))
    recorded = row.values.get(measure, {})
    if table is None or any(seed not in recorded for seed in table.index):
        return None
    values = table.to_numpy()
    apart = np.nanmean(values, axis=1) - [recorded[seed] for seed in table.index]
    return table.loc[:, ~np.isnan(values).any(axis=0)] if (abs(apart) < 1e-5).all() else None


@cached
def _base_items(results: Results, measure: Measure) -> pd.Series | None:
    """What the untrained student had right: the row whose value is the one before training."""
    for row in results.rows:
        values = row.values.get(measure, {})
        if not row.trained and results.before.get(measure) in values.values():
            table = _items(results, row, measure)
            if table is not None and len(table) == 1:
                return table.iloc[0]
    return None


def difference(results: Results, row: Row, quantity: str, task: str = ALL) -> Difference | None:
    """A quantity of PAIRED minus the reference row's; None for the reference row itself.

    An untrained row has no flips: it would repeat every guess.
    """
    other = results.reference_of(row)
    if other is None or other is row or not (row.trained or quantity == RETENTION):
        return None
    return difference_between(results, row, other, quantity, task)


@cached
def difference_between(
    results: Results, row: Row, other: Row, quantity: str, task: str = ALL
) -> Difference | None:
    """A quantity of PAIRED, row - other, by the crossed test; what was known before is a constant.

    None where there is nothing to test, see `_item_differences`.
    """
    values = _item_differences(results, row, other, quantity, task)
    if values is None:
        return None
    tables = [
        _item_differences(results, peer, other, quantity, task)
        for peer in peers(results.rows, row, other)
    ]
    return statistics.crossed(values, peers=seed_means(tables, len(values)))


@cached
def _item_differences(
    results: Results, row: Row, other: Row, quantity: str, task: str
) -> np.ndarray | None:
    """Row - other by seed and item, (S,n) float64.

    Over several tasks items are weighted so that each task counts the same: an item of task t by
    N / (T n_t), N items in all, T tasks, n_t items of the task.  None where tasks have different
    seeds, or where one that retention is the mean of has no items.
    """
    measures = [m for m in results.headlines("forgetting") if task in (ALL, m.task)]
    parts = []
    for measure in measures:
        left, right = (per_item(results, side, measure, quantity) for side in (row, other))
        if left is not None and right is not None:
            parts.append(statistics.paired(left, right))
        elif quantity == RETENTION and math.isfinite(results.skill(measure)):
            return None
    if not parts or len({len(part) for part in parts}) > 1 or not all(p.size for p in parts):
        return None
    total = sum(part.shape[1] for part in parts)
    return np.hstack([part * total / (len(parts) * part.shape[1]) for part in parts])


def numbers(results: Results) -> Iterator[dict[str, object]]:
    """A line a row, quantity and task, with the difference; then a line each of its seeds."""
    fields = ("mean", "half_width", "p", "df", "seeds", "items", "test")
    for row in forgetting(results).values():
        for quantity, by_task in row.values.items():
            for task, by_seed in by_task.items():
                if not any(math.isfinite(value) for value in by_seed.values()):
                    continue
                key = results.key(row.row) | {"task": task or "mean", "quantity": quantity}
                summary = row.summary(quantity, task)
                compared = (
                    difference(results, row.row, quantity, task) if quantity in PAIRED else None
                )
                against = vars(compared or Difference(NAN))
                yield (
                    key
                    | {"seed": None, "value": summary.mean, "sd": summary.sd}
                    | {f"difference.{name}": against[name] for name in fields}
                )
                for seed, value in by_seed.items():
                    yield key | {"seed": seed, "value": value}


def rank_correlations(results: Results) -> dict[str, tuple[float, int, float, int]]:
    """Spearman's rank correlation of retention with what might explain it.

    By name: rho over cells and their number, rho over the rows' means and their number.  Cells of
    one row are not independent, so there is no p value.  Source: Shenfeld et al. 2025, "RL's
    Razor" (arXiv 2509.04259), for KL as what forgetting goes by.
    """
    gain = next(iter(results.headlines("reasoning")), None)
    sources: dict[str, Callable[[Row], Mapping[Seed, float]]] = {
        "KL from the base": lambda row: forgetting(results)[row.label].values[KL][ALL],
        "in-domain accuracy": lambda row: row.values.get(gain, {}) if gain else {},
    }
    rows = [row for row in results.rows if row.trained]
    retained = [results.mean_retention(row) for row in rows]
    correlations = {}
    for name, source in sources.items():
        pairs = [
            [(value, by_seed.get(seed, NAN)) for seed, value in source(row).items()]
            for row, by_seed in zip(rows, retained, strict=True)
        ]
        known = [[pair for pair in by_row if np.isfinite(pair).all()] for by_row in pairs]
        cells = [pair for by_row in known for pair in by_row]
        means = [tuple(np.mean(by_row, axis=0)) for by_row in known if by_row]
        if len(means) > 2:
            correlations[name] = (_spearman(cells), len(cells), _spearman(means), len(means))
    return correlations


def _spearman(pairs: list[tuple[float, float]]) -> float:
    x, y = np.array(pairs).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return NAN  # without any spread there is no order
    return float(distributions.spearmanr(x, y).statistic)
