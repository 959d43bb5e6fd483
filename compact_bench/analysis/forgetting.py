"""What was forgotten and what was learned, item by item, with luck taken out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats as distributions

from compact_bench.analysis import statistics
from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.retention import CHECKPOINT, RELEARNED, curves_of, kept, start
from compact_bench.analysis.statistics import Difference
from compact_bench.records.joining import Seed
from compact_bench.suite.metrics import KL_FROM_BASE, Measure
from compact_bench.suite.schema import IN_DOMAIN
from compact_bench.utils.processes import mapped


def forgotten(before: np.ndarray, after: np.ndarray, chance: float) -> np.ndarray:
    """Per item, an estimate whose mean is the share of items known before and not known after.

    F = ([right, then wrong] - c / (1 - c) [wrong, then wrong]) / (1 - c), c the chance of a guess.

    An item is known (always answered right) or guessed (right with chance c, anew each time).
    Let f be the share known before only, u the share known neither time.  Then
    P(right, wrong) = f (1 - c) + u c (1 - c) and P(wrong, wrong) = u (1 - c)^2, since an item
    known after is never wrong then.  The second gives what guessing alone turns over,
    u c (1 - c) = c / (1 - c) P(wrong, wrong); the rest over 1 - c is f.  Where nothing is learned
    this equals what the accuracy before says, c (1 - accuracy); where something is, that would
    take off too much.  With c = 0 it is the observed share.

    before, after: bool or 0/1 of one broadcast shape.  Returns float64 of that shape; single
    values and means of few items may be negative.  ValueError unless 0 <= c < 1.
    Source: Harmon et al. 2025 (arXiv 2510.17776) count such transitions and take off guessing;
    Cor and Sood 2018, "Guessing and Forgetting", have the latent classes.

    >>> forgotten(np.array([1, 0, 1, 1]), np.array([0, 0, 1, 1]), 0.5).tolist()
    [2.0, -2.0, 0.0, 0.0]
    """
    if not 0 <= chance < 1:
        raise ValueError(f"chance is {chance}; it must be at least 0 and below 1")
    was, is_now = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    lost, never = was * (1 - is_now), (1 - was) * (1 - is_now)
    return np.asarray((lost - chance / (1 - chance) * never) / (1 - chance))


def learned(before: np.ndarray, after: np.ndarray, chance: float) -> np.ndarray:
    """The reverse: the share of items not known before and known after, by the same estimate.

    Its mean and that of `forgotten` differ by (accuracy after - accuracy before) / (1 - c).
    """
    return forgotten(after, before, chance)


ALL = ""  # stands for the mean over the forgetting tasks

BEFORE, AFTER, RETENTION = "before", "after", "retention"

LOST, GAINED = "right_to_wrong", "wrong_to_right"

FORGOTTEN, LEARNED = "forgotten", "learned"

PERPLEXITY, KL = "perplexity_ratio", KL_FROM_BASE

SAME_ITEMS, RELEARNT = "retention_same_items", "retention_relearned"

Values = Mapping[str, Mapping[Seed, float]]  # by task, then seed

_PER_ITEM: Mapping[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    LOST: lambda was, is_now, chance: was * (1 - is_now),
    GAINED: lambda was, is_now, chance: (1 - was) * is_now,
    FORGOTTEN: forgotten,
    LEARNED: learned,
}

QUANTITIES = (
    *(BEFORE, AFTER, RETENTION, LOST, GAINED, FORGOTTEN, LEARNED),
    *(PERPLEXITY, KL, SAME_ITEMS, RELEARNT),
)

PAIRED = (RETENTION, FORGOTTEN, LEARNED)


@dataclass(frozen=True)
class Forgetting:
    """A row's numbers by quantity; the task ALL is their mean over forgetting tasks."""

    row: Row
    values: Mapping[str, Values]
    examples: float  # old-task examples of the second reading; NaN without one

    @property
    def told(self) -> bool:
        """Whether there is any number."""
        return any(self.summary(quantity).n for quantity in self.values)

    def summary(self, quantity: str, task: str = ALL) -> statistics.Summary:
        """Mean and sd over seeds."""
        return statistics.summarise(list(self.values.get(quantity, {}).get(task, {}).values()))


def forgetting(results: Results) -> dict[str, Forgetting]:
    """Every row's numbers by label, of rows that are done."""
    if "forgetting" not in results.computed:
        curves_of(results)  # read once for all rows
        rows = [row for row in results.rows if row.done]
        every = mapped(lambda row: _of(results, row), rows)
        results.computed["forgetting"] = {
            row.label: Forgetting(row, *found) for row, found in zip(rows, every, strict=True)
        }
    found: dict[str, Forgetting] = results.computed["forgetting"]
    return found


def _of(results: Results, row: Row) -> tuple[dict[str, dict[str, dict[Seed, float]]], float]:
    """A row's values, and the old-task examples of its second reading."""
    values: dict[str, dict[str, dict[Seed, float]]] = {name: {} for name in QUANTITIES}
    for measure in results.headlines("forgetting"):
        task, after = measure.task, row.values.get(measure, {})
        values[AFTER][task] = dict(after)
        values[BEFORE][task] = dict.fromkeys(after, results.before.get(measure, math.nan))
        values[RETENTION][task] = results.kept(row, measure)
        values[PERPLEXITY][task] = _perplexity_ratio(results, row, task)
        for name in _PER_ITEM if row.trained else ():
            table = per_item(results, row, measure, name)
            if table is not None:
                values[name][task] = dict(table.mean(axis=1).items())
    for name, by_task in values.items():
        by_task[ALL] = _over_tasks(by_task, geometric=name == PERPLEXITY)
    values[KL][ALL] = next(
        (dict(v) for m, v in row.values.items() if (m.task, m.metric) == (IN_DOMAIN, KL)), {}
    )
    return values, _relearned(results, row, values)


def _over_tasks(by_task: Values, geometric: bool = False) -> dict[Seed, float]:
    """Mean by seed over the tasks where there is a value."""
    seeds = dict.fromkeys(seed for by_seed in by_task.values() for seed in by_seed)
    means = {}
    for seed in seeds:
        found = [by_seed.get(seed, math.nan) for by_seed in by_task.values()]
        known = [value for value in found if math.isfinite(value)]
        mean = distributions.gmean(known) if geometric and known else np.mean(known or math.nan)
        means[seed] = float(mean)
    return means


def _perplexity_ratio(results: Results, row: Row, task: str) -> dict[Seed, float]:
    """exp(NLL after - NLL before), NLL in nats a token of what it wrote before."""
    for measure, by_seed in row.values.items():
        if (measure.task, measure.metric) == (task, "text_nll") and measure in results.before:
            before = results.before[measure]
            return {seed: math.exp(after - before) for seed, after in by_seed.items()}
    return {}


def _relearned(
    results: Results, row: Row, values: dict[str, dict[str, dict[Seed, float]]]
) -> float:
    """Fill in retention before and after the second reading, on the same items.

    The second reading is taken after the largest number of examples that there is; that number is
    returned.  Both stand against the untrained student's own value on these items.
    """
    before, most = start(results), math.nan
    for seed, curve in curves_of(results)[row.label].items() if before else ():
        place = 1.0 if row.trained else 0.0
        again = max((at for kind, at in curve if kind == RELEARNED), default=None)
        if again is None or (CHECKPOINT, place) not in curve or before is None:
            continue
        most = again if math.isnan(most) else max(most, again)
        parts = {SAME_ITEMS: curve[CHECKPOINT, place], RELEARNT: curve[RELEARNED, again]}
        shares = {name: kept(reading, before) for name, reading in parts.items()}
        for task in [name for name in shares[SAME_ITEMS] if name in shares[RELEARNT]]:
            for name, found in shares.items():
                values[name].setdefault(task, {})[seed] = found[task]
    for name in (SAME_ITEMS, RELEARNT):
        values[name][ALL] = _over_tasks({t: v for t, v in values[name].items() if t != ALL})
    return most


def per_item(results: Results, row: Row, measure: Measure, quantity: str) -> pd.DataFrame | None:
    """(seed x item) values whose mean is retention or a share of flips; None without items.

    Items whose mean isn't the recorded value belong to another filter, and are not used.
    """
    known = results.computed.setdefault("forgetting per item", {})
    key = row.label, measure, quantity
    if key not in known:
        known[key] = _per_item(results, row, measure, quantity)
    found: pd.DataFrame | None = known[key]
    return found


def _per_item(results: Results, row: Row, measure: Measure, quantity: str) -> pd.DataFrame | None:
    chance, before = results.chance.get(measure, 0.0), results.before.get(measure, math.nan)
    table = _items(row, measure)
    if table is None:
        return None
    if quantity == RETENTION:
        skill = before - chance
        return (table - chance) / skill if skill >= statistics.LEAST_SKILL else None
    was = _base_items(results, measure)
    if was is None:
        return None
    items = table.columns.intersection(was.index, sort=False)
    found = _PER_ITEM[quantity](was[items].to_numpy(), table[items].to_numpy(), chance)
    return pd.DataFrame(found, index=table.index, columns=items)


def _items(row: Row, measure: Measure) -> pd.DataFrame | None:
    table = row.items.get((measure.task, measure.shown.item_column))
    recorded = row.values.get(measure, {})
    if table is None or any(seed not in recorded for seed in table.index):
        return None
    means = table.mean(axis=1)
    agree = all(abs(means.iloc[i] - recorded[s]) < 1e-5 for i, s in enumerate(table.index))
    return table.dropna(axis=1) if agree else None


def _base_items(results: Results, measure: Measure) -> pd.Series | None:
    """What the untrained student had right: the row whose value is the one before training."""
    for row in results.rows:
        values = row.values.get(measure, {})
        if not row.trained and results.before.get(measure) in values.values():
            table = _items(row, measure)
            if table is not None and len(table) == 1:
                return table.iloc[0]
    return None


def difference(results: Results, row: Row, quantity: str, task: str = ALL) -> Difference | None:
    """A quantity of PAIRED minus the reference row's, by the crossed test; None where neither is.

    Over several tasks items are weighted so that each task counts the same: an item of task t by
    N / (T n_t), N items in all, T tasks, n_t items of the task.  An untrained row has no flips: it
    would repeat every guess.
    """
    known = results.computed.setdefault("forgetting differences", {})
    if (row.label, quantity, task) not in known:
        known[row.label, quantity, task] = _difference(results, row, quantity, task)
    found: Difference | None = known[row.label, quantity, task]
    return found


def _difference(results: Results, row: Row, quantity: str, task: str) -> Difference | None:
    other = results.reference_of(row)
    if other is None or row.label == other.label or not (row.trained or quantity == RETENTION):
        return None
    measures = [m for m in results.headlines("forgetting") if task in (ALL, m.task)]
    found = [_pairs(results, row, other, measure, quantity) for measure in measures]
    parts = [part for part in found if part is not None]
    if not parts or len({len(part) for part in parts}) > 1 or not all(p.size for p in parts):
        return None
    total = sum(part.shape[1] for part in parts)
    return statistics.crossed(
        np.hstack([part * total / (len(parts) * part.shape[1]) for part in parts])
    )


def _pairs(
    results: Results, row: Row, other: Row, measure: Measure, quantity: str
) -> np.ndarray | None:
    """(S,n) differences row - other of one task, kept for the mean over tasks."""
    known = results.computed.setdefault("forgetting pairs", {})
    key = row.label, measure, quantity
    if key not in known:
        left, right = (per_item(results, one, measure, quantity) for one in (row, other))
        known[key] = None if left is None or right is None else statistics.paired(left, right)
    found: np.ndarray | None = known[key]
    return found


def numbers(results: Results) -> Iterator[dict[str, object]]:
    """A line a row, quantity and task, with the difference; then a line each of its seeds."""
    fields = ("mean", "half_width", "p", "df", "seeds", "items", "test")
    for one in forgetting(results).values():
        for quantity, by_task in one.values.items():
            for task, by_seed in by_task.items():
                if not any(math.isfinite(value) for value in by_seed.values()):
                    continue
                key = results.key(one.row) | {"task": task or "mean", "quantity": quantity}
                summary = one.summary(quantity, task)
                found = difference(results, one.row, quantity, task) if quantity in PAIRED else None
                against = vars(found or Difference(math.nan))
                yield (
                    key
                    | {"seed": None, "value": summary.mean, "sd": summary.sd}
                    | {f"difference.{name}": against[name] for name in fields}
                )
                for seed, value in by_seed.items():
                    yield key | {"seed": seed, "value": value}


def covariates(results: Results) -> dict[str, tuple[float, int, float, int]]:
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
    retained = [results.kept_mean(row) for row in rows]
    found = {}
    for name, source in sources.items():
        pairs = [
            [(value, kept.get(s, math.nan)) for s, value in source(row).items()]
            for row, kept in zip(rows, retained, strict=True)
        ]
        known = [[p for p in by_row if np.isfinite(p).all()] for by_row in pairs]
        cells = [pair for by_row in known for pair in by_row]
        means = [tuple(np.mean(by_row, axis=0)) for by_row in known if by_row]
        if len(means) > 2:
            found[name] = (_spearman(cells), len(cells), _spearman(means), len(means))
    return found


def _spearman(pairs: list[tuple[float, float]]) -> float:
    x, y = np.array(pairs).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan  # without any spread there is no order
    return float(distributions.spearmanr(x, y).statistic)
