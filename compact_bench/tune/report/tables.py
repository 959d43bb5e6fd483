"""Search -> tables: tuned settings beside the default on test; what was tried, and its cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from compact_bench.analysis import claims, statistics
from compact_bench.analysis.forgetting import RETENTION, difference_between
from compact_bench.analysis.results import Results, Row, difference
from compact_bench.analysis.statistics import Difference
from compact_bench.report.parts import captions as report_captions
from compact_bench.report.parts import formats
from compact_bench.report.parts.captions import Caption
from compact_bench.report.parts.formats import Entry, Table
from compact_bench.report.parts.numbers import (
    NONE,
    compact,
    heading,
    number,
    points,
    with_spread,
)
from compact_bench.suite.schema import IN_DOMAIN
from compact_bench.tune.report import captions
from compact_bench.tune.trials import FAILED, OBJECTIVES, PRUNED, Search, Study, Trial
from compact_bench.tune.winners import winners

STAR = "*"


@dataclass(frozen=True)
class Winner:
    """A winning trial; own, tuned: the rows of its test, None where that isn't run."""

    study: Study
    label: str
    trial: Trial
    own: Row | None = None
    tuned: Row | None = None

    @property
    def sides(self) -> tuple[Row, Row] | None:
        """Both rows of the test, the tuned one first."""
        return (self.tuned, self.own) if self.tuned and self.own else None


def build(search: Search, test: Results | None) -> list[Table]:
    """All tables, the one of the test first where there is one."""
    rows = {row.name: row for row in reversed(test.rows)} if test else {}
    lines = [
        Winner(study, label, trial, rows.get(study.label), rows.get(label))
        for study in search.studies
        for label, trial in winners(study)
    ]
    of_test = [tuned_vs_default(test, lines), optimism(search, test, lines)] if test else []
    tables = [*of_test, settings(search, lines), cost(search, test), trials(search)]
    # Where every trial failed there is no winner to show.
    return [table for table in tables if table and table.rows]


def _table(
    name: str,
    title: str,
    caption: Caption,
    rows: Sequence[Mapping[str, str]],
    numbers: Sequence[Mapping[str, Any]],
) -> Table:
    """A table from rows of texts by heading; a row without one has a dash there."""
    headings = dict.fromkeys(heading for row in rows for heading in row)
    columns = {one: [Entry(row.get(one, NONE)) for row in rows] for one in headings}
    return formats.table(name, title, caption, columns, pd.DataFrame(list(numbers)))


def tuned_vs_default(test: Results, lines: Sequence[Winner]) -> Table:
    """Default against tuned settings on test, paired by seed and item."""
    measures = [*test.headlines("reasoning")[:1]]
    measures += [m for m in test.main_measures if (m.task, m.metric) == (IN_DOMAIN, "marginal_nll")]
    rows: list[dict[str, str]] = [{"method": line.label} for line in lines]
    numbers: list[dict[str, Any]] = [{"label": line.label} for line in lines]
    corrected: list[float] = []
    for measure in measures:
        differences = [difference(*line.sides, measure) if line.sides else None for line in lines]
        adjusted = statistics.holm([one.p if one else math.nan for one in differences])
        corrected = corrected or list(adjusted)  # of the first measure, the only one that's tested
        tested = measure == measures[0]
        for line, row, values, one, p in zip(
            lines, rows, numbers, differences, adjusted, strict=True
        ):
            for name, side in {"own settings": line.own, "tuned": line.tuned}.items():
                found = side.summary(measure) if side else None
                row[f"{heading(measure)}, {name}"] = with_spread(found, measure) if found else NONE
                values[f"{measure.key}.{name.split()[0]}"] = found.mean if found else math.nan
            star = STAR if tested and one and claims.claimed(p, one) else ""
            row[f"Δ {heading(measure)}"] = with_spread(one, measure) + star
            values |= _numbers(measure.key, one)
    retained = [
        difference_between(test, *line.sides, RETENTION) if line.sides else None for line in lines
    ]
    if any(retained):
        for row, values, one in zip(rows, numbers, retained, strict=True):
            row["Δ old skill kept, points"] = points(one)
            values |= _numbers("retention", one)
    caption = report_captions.caption(
        test,
        "Test split, fresh seeds: each row's own settings with the suite's learning rate, and the "
        "settings that the search found. Differences are tuned minus own, paired by seed and item, "
        "± the half-width of the 95% interval by the crossed test",
        f"{STAR} survives Holm's correction over the lines of the first difference, given from "
        f"{claims.MARK_SEEDS} seeds on"
        if any(map(math.isfinite, corrected))
        else "Without at least two seeds there is no interval, and no claim",
    )
    return _table("tuned", "What tuning bought", caption, rows, numbers)


def _numbers(key: str, one: Difference | None) -> dict[str, float]:
    names = ("mean", "half_width", "p")
    return {f"{key}.delta.{n}": getattr(one, n) if one else math.nan for n in names}


def optimism(search: Search, test: Results, lines: Sequence[Winner]) -> Table | None:
    """The winner's dev score against test: what the search promised, and what came of it."""
    wanted = (IN_DOMAIN, search.studies[0].objectives[0])
    measures = [m for m in test.measures if m.filter in ("strict", "none")]
    measure = next((m for m in measures if (m.task, m.metric) == wanted), None)
    if measure is None:
        return None
    headings = (
        *("method", "dev, own settings", "dev, winner", "test, own settings", "test, winner"),
        *("better on dev by", "better on test by", "optimism"),
    )
    rows, numbers = [], []
    for line in lines:
        own = line.study.default
        values = {
            "dev.own": own.values[0] if own else math.nan,
            "dev.winner": line.trial.values[0],
            "test.own": line.own.summary(measure).mean if line.own else math.nan,
            "test.winner": line.tuned.summary(measure).mean if line.tuned else math.nan,
        }
        better = measure.shown.better
        promised = better * (values["dev.winner"] - values["dev.own"])
        got = better * (values["test.winner"] - values["test.own"])
        gains = {"promised": promised, "got": got, "optimism": promised - got}
        texts = [number(value, measure) for value in values.values()]
        texts += [number(value, measure, signed=True) for value in gains.values()]
        rows.append(dict(zip(headings, [line.label, *texts], strict=True)))
        numbers.append({"label": line.label, **values, **gains})
    caption = report_captions.caption(
        test,
        f"{heading(measure)}: on dev, by the search's seeds, and on test, by fresh ones. Optimism: "
        "what the winner gained on dev over the row's own settings, less what it gained on test. "
        "The best of many noisy trials looks better than it is; what it is, the test says",
    )
    return _table("optimism", "The winner's dev score against test", caption, rows, numbers)


def _texts(search: Search, values: Mapping[str, float]) -> dict[str, str]:
    """The settings by name, in the order of all that were searched."""
    names = dict.fromkeys(one.name for study in search.studies for one in study.hyperparameters)
    return {name: f"{values[name]:.3g}" if name in values else NONE for name in names}


def settings(search: Search, lines: Sequence[Winner]) -> Table:
    """Each winner's settings beside the method's own."""
    rows, numbers = [], []
    for line in lines:
        own = {one.name: one.default for one in line.study.hyperparameters}
        for label, trial, values in (
            (line.study.label, "own", own),
            (line.label, str(line.trial.number), line.trial.settings),
        ):
            rows.append({"method": label, "trial": trial, **_texts(search, values)})
            numbers.append({"label": label, "trial": trial, **values})
    caption = captions.caption(
        search,
        search.studies,
        "The settings that were searched: the methods' own, and those of the best trials",
    )
    return _table("settings", "Settings", caption, rows, numbers)


def cost(search: Search, test: Results | None) -> Table:
    """What the search of each row cost."""
    numbers = []
    for study in search.studies:
        row = next((one for one in test.rows if one.name == study.label), None) if test else None
        cell = row.cost("flops").mean if row else math.nan
        flops = math.fsum(one.flops for one in study.trials)
        numbers.append(
            {
                "label": study.label,
                "finished": len(study.finished),
                "pruned": sum(one.state == PRUNED for one in study.trials),
                "failed": sum(one.state == FAILED for one in study.trials),
                "distinct": len({tuple(sorted(t.settings.items())) for t in study.finished}),
                "tokens": math.fsum(one.tokens for one in study.trials),
                "flops": flops,
                "times": flops / cell if cell else math.nan,
                "seconds": math.fsum(one.seconds for one in study.trials),
            }
        )
    titles = {
        "label": "method", "finished": "trials", "pruned": "of them pruned", "failed": "failed",
        "distinct": "distinct settings", "tokens": "training tokens", "flops": "training FLOPs",
        "times": "× a cell's", "seconds": "seconds of trials",
    }  # fmt: skip
    rows = [{title: _cost(key, one[key]) for key, title in titles.items()} for one in numbers]
    caption = captions.caption(
        search,
        search.studies,
        "What the search of each row cost. Trials are finished ones, the same number asked for of "
        "every row; a trial with settings that were trained already takes that result and costs "
        "nothing more. Failed ones were tried again. Tokens and FLOPs are of training; asking the "
        "dev split is not in them. × a cell's: FLOPs over those of one cell of the row's own "
        "settings",
    )
    return _table("tuning_cost", "What tuning cost", caption, rows, numbers)


def _cost(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return NONE
    if key in ("tokens", "flops"):
        return compact(value)
    return f"{value:.1f}" if key == "times" else f"{value:.0f}"


def trials(search: Search) -> Table:
    """Every trial that was finished or failed."""
    rows, numbers = [], []
    for study in search.studies:
        for trial in study.trials:
            values = dict(zip(study.objectives, trial.values, strict=False))
            shown = {"method": study.label, "trial": str(trial.number), "state": trial.state}
            for name in study.objectives:
                metric = OBJECTIVES[name]
                scale, digits = (100, 1) if metric.percent else (1, 3)
                text = f"{scale * values[name]:.{digits}f}" if name in values else NONE
                shown[f"{metric.title}{', %' if metric.percent else ''}"] = text
            rows.append(shown | _texts(search, trial.settings))
            numbers.append(
                {"label": study.label, "trial": trial.number, "state": trial.state, **values,
                 **trial.settings, "tokens": trial.tokens, "flops": trial.flops,
                 "seconds": trial.seconds, "retry_of": trial.retry_of, "reason": trial.reason}
            )  # fmt: skip
    caption = captions.caption(
        search,
        search.studies,
        "Every trial, on the dev split. These numbers serve to choose; they are no results. A "
        "pruned trial was stopped before its end, or diverged, and has no value",
    )
    return _table("trials", "Trials", caption, rows, numbers)
