"""The headline tables: the main one, parts of its items, all differences and all metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from compact_bench.analysis import claims, descriptive, statistics
from compact_bench.analysis.results import Results, Row, peers, seed_means
from compact_bench.analysis.statistics import Difference
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Entry, Table
from compact_bench.report.parts.numbers import (
    NONE,
    compact,
    heading,
    p_value,
    points,
    share,
    spread,
    with_spread,
)
from compact_bench.suite.metrics import METRICS, Measure
from compact_bench.suite.schema import IN_DOMAIN

KEPT = "old skill kept, % ↑"

ALL, CLEAN, REST = "all", "template-clean", "the rest"  # of the items in domain


def main(results: Results) -> Table:
    """The main table: headline metrics, difference in the reasoning ones, cost, seeds done."""
    rows = results.rows
    columns: dict[str, list[Any]] = {"method": [row.label for row in rows]}
    for measure in results.main_measures:
        best = claims.not_worse(results, measure)
        values = {row.label: with_spread(row.summary(measure), measure) for row in rows}
        columns[heading(measure)] = [Entry(text, label in best) for label, text in values.items()]
        if measure.role == "reasoning" and measure.metric != "marginal_nll":
            title = f"Δ {measure.task_title} to {captions.reference(results)}"
            columns[title] = marked_differences(results, rows, measure)
    if results.headlines("forgetting"):
        best = claims.retention_not_worse(results)
        columns[KEPT] = [Entry(old_skill_kept(results, r), r.label in best) for r in rows]
    for name, title in (("tokens", "tokens"), ("flops", "FLOPs"), ("train_seconds", "seconds")):
        columns[title] = [compact(row.cost(name).mean) for row in rows]
    columns["done"] = [f"{len(row.done)}/{len(row.cells)}" for row in rows]
    columns["gold"] = [{True: "yes", False: "no", None: NONE}[row.uses_gold] for row in rows]
    if any(map(reads_dev, rows)):
        columns["dev"] = ["yes" if reads_dev(row) else "no" for row in rows]
    if any(row.problems() for row in rows):
        notes = ["; ".join(row.problems()) for row in rows]
        columns["note"] = [n if len(n) <= 48 else n[:47].rstrip() + "…" for n in notes]
    headline = next(iter(results.headlines("reasoning")), None)
    text = captions.caption(
        results,
        _averaged(results),
        captions.bold(results),
        captions.differences(results, headline),
        "Old skill kept: (after − chance) / (before − chance), mean over the forgetting tasks"
        if results.headlines("forgetting")
        else "",
        "Tokens, FLOPs and seconds are of training, a cell's mean. Gold: the method sees the gold "
        "answer when it weights or selects",
        "Dev: it chooses by gradients or losses of dev questions" if "dev" in columns else "",
    )
    problems = tuple(f"{row.label}: {why}" for row in rows for why in row.problems())
    return formats.table("main", "Methods", text, columns, main_numbers(results), problems)


def reads_dev(row: Row) -> bool:
    """Whether dev questions were laid open to the method, with their gold answers."""
    return any(cell.status.get("dev_questions") for cell in row.done.values())


def _averaged(results: Results) -> str:
    several = len(results.seeds) > 1
    return "Mean ± standard deviation over seeds" if several else "Values of a single run"


def marked_differences(results: Results, rows: Iterable[Row], measure: Measure) -> list[str]:
    """The differences to the reference row, * where one survives the correction."""
    family = claims.family(results)
    return [
        with_spread(results.difference(row, measure), measure)
        + ("*" if family.survives(row, measure) else "")
        for row in rows
    ]


def old_skill_kept(results: Results, row: Row) -> str:
    """Retention, mean over the forgetting tasks, as percent ± sd over seeds."""
    return spread(results.retention_summary(row), scale=100)


def main_numbers(results: Results) -> pd.DataFrame:
    """The main table unrounded: for each measure mean, sd, n and the paired difference."""
    rows = []
    for row in results.rows:
        line: dict[str, Any] = {**results.key(row), "method": row.method}
        for measure in results.main_measures:
            one = row.summary(measure)
            found = results.difference(row, measure) or Difference(math.nan)
            values = {"mean": one.mean, "sd": one.sd, "seeds": one.n, "difference": found.mean}
            values |= {"half_width": found.half_width, "p": found.p}
            values["p_holm"] = claims.family(results).p(row, measure)
            line |= {f"{measure.key}.{name}": value for name, value in values.items()}
        kept = results.retention_summary(row)
        line |= {"kept.mean": kept.mean, "kept.sd": kept.sd}
        line |= {name: row.cost(name).mean for name in ("tokens", "flops", "train_seconds")}
        line |= {"done": len(row.done), "planned": len(row.cells), "uses_gold": row.uses_gold}
        line |= {"reads_dev": True} if reads_dev(row) else {}
        rows.append(line | {"note": "; ".join(row.problems())})
    return pd.DataFrame(rows)


def differences(results: Results) -> Table:
    """Every headline measure's difference to the reference row, with its 95% half-width.

    Primary measures have their p corrected beside it; the CSV file also holds p as it is and the
    minimum detectable difference.
    """
    reference, rows = captions.reference(results), results.rows
    columns = {"method": [row.label for row in rows]}
    family, primary = claims.family(results), claims.primary(results)
    lines = []
    for measure in results.main_measures:
        columns[heading(measure)] = marked_differences(results, rows, measure)
        if measure in primary and family.size:
            title = f"{measure.task_title}: p (Holm)"
            columns[title] = [p_value(family.p(row, measure)) for row in rows]
        for row in rows:
            if (found := results.difference(row, measure)) is not None:
                task = {"task": measure.task, "metric": measure.metric, "filter": measure.filter}
                key = results.key(row) | {"reference": reference, **task}
                more = {"p_holm": family.p(row, measure), "detectable": found.detectable}
                lines.append(key | vars(found) | more)
    text = captions.caption(results, captions.differences(results, None))
    fields = [*results.key_columns, "reference", "task", "metric", "filter", *vars(Difference(0.0))]
    numbers = pd.DataFrame(lines, columns=[*fields, "p_holm", "detectable"])
    return formats.table("differences", f"Differences to {reference}", text, columns, numbers)


def metrics(results: Results) -> Table:
    """Every metric of every task; as CSV, every seed's value."""
    kinds = dict.fromkeys((m.metric, m.filter) for m in results.measures)
    order = sorted(kinds, key=lambda kind: [*METRICS].index(kind[0]) if kind[0] in METRICS else 99)
    titles = {k: heading(Measure("", *k, "")).removeprefix(": ") for k in order}
    # A written task's strict accuracy and a choice task's share a title, and so a column.
    columns: dict[str, list[str]] = {"method": [], "task": [], **{titles[k]: [] for k in order}}
    lines = []
    for row in results.rows:
        for task in dict.fromkeys(measure.task for measure in row.values):
            columns["method"].append(row.label)
            columns["task"].append(task.replace("_", " "))
            here = {(m.metric, m.filter): m for m in row.values if m.task == task}
            for title in dict.fromkeys(titles.values()):
                measure = next((here[k] for k in order if titles[k] == title and k in here), None)
                value = with_spread(row.summary(measure), measure) if measure else NONE
                columns[title].append(value)
            for m in here.values():
                key = results.key(row) | {"task": task, "metric": m.metric, "filter": m.filter}
                lines += [key | {"seed": s, "value": v} for s, v in row.values[m].items()]
    text = captions.caption(results, f"Every metric. {_averaged(results)}")
    fields = [*results.key_columns, "seed", "task", "metric", "filter", "value"]
    numbers = pd.DataFrame(lines, columns=fields).astype({"seed": "Int64"})
    return formats.table("metrics", "All metrics", text, columns, numbers)


def twins(results: Results) -> Table | None:
    """The pairs of rows whose students write the same; None without any."""
    found = descriptive.twins(results)
    if not found:
        return None
    columns = {
        "method": [pair.first.label for pair in found],
        "twin": [pair.second.label for pair in found],
        "equal outputs, %": [share(pair.share) for pair in found],
        "of": [str(pair.outputs) for pair in found],
    }
    numbers = [
        results.key(pair.first)
        | {"twin": pair.second.name, "equal": pair.share, "outputs": pair.outputs}
        for pair in found
    ]
    text = captions.caption(
        results,
        f"Rows with more than {descriptive.EQUAL_SHARE:.0%} equal outputs, of the same seeds, "
        "tasks and items. What tells such rows apart doesn't act in this setting: they are one row",
    )
    return formats.table("twins", "Rows that write the same", text, columns, pd.DataFrame(numbers))


def subsets(results: Results) -> Table | None:
    """Each row on all items, on the template-clean ones and on the rest.

    None where the records don't say which they are, or where all are or none is.
    """
    every, clean = set(results.clean), {key for key, flag in results.clean.items() if flag}
    if not clean or clean == every:
        return None
    parts = {ALL: every, CLEAN: clean, REST: every - clean}
    rows = [row for row in results.rows if (IN_DOMAIN, "right") in row.items]
    means, found = {}, {}
    for row in rows:
        for part, ids in parts.items():
            accuracies = list(_items(row, ids).mean(axis=1))
            means[row.label, part] = statistics.summarise(accuracies)
            found[row.label, part] = difference_on(results, row, ids)
    columns = {"method": [row.label for row in rows]}
    for part, ids in parts.items():
        title = f"{part} ({len(ids)}): accuracy, % ↑"
        columns[title] = [spread(means[row.label, part], scale=100) for row in rows]
    on_clean = [found[row.label, CLEAN] for row in rows]
    columns[f"Δ {CLEAN} to {captions.reference(results)}"] = [points(one) for one in on_clean]
    text = captions.caption(
        results,
        "Accuracy in domain. Template-clean: no training question tells the same story (the text "
        "without its last sentence, numbers masked); on the rest a story that was learned may "
        "help. In parentheses how many items",
        "Differences are on the template-clean items, paired by seed and item",
        captions.intervals(on_clean, "rows"),
    )
    numbers = []
    for row in rows:
        for part, ids in parts.items():
            one = means[row.label, part]
            change = found[row.label, part] or Difference(math.nan)
            numbers.append(
                results.key(row)
                | {"part": part, "n": len(ids), "mean": one.mean, "sd": one.sd, "seeds": one.n}
                | {"difference": change.mean, "half_width": change.half_width, "p": change.p}
            )
    title = "Items whose story a training question tells"
    return formats.table("subsets", title, text, columns, pd.DataFrame(numbers))


def _items(row: Row, ids: set[str]) -> pd.DataFrame:
    """Right or wrong by seed and item, of these items."""
    table = row.items.get((IN_DOMAIN, "right"), pd.DataFrame())
    return table[[key for key in table.columns if key in ids]]


def difference_on(results: Results, row: Row, ids: set[str]) -> Difference | None:
    """Row - reference on these items, seeds and items crossed; None for the reference itself."""
    other = results.compared_to(row)
    if other is None:
        return None
    left, right = _items(row, ids), _items(other, ids)
    if left.empty or right.empty:
        return None
    values = statistics.paired(left, right)
    if not values.size:
        return None
    tables = (_items(peer, ids) for peer in peers(results.rows, row, other))
    differences = (statistics.paired(table, right) for table in tables if not table.empty)
    return statistics.crossed(values, peers=seed_means(differences, len(values)))
