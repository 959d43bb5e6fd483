"""What tuning bought: tuned settings beside a row's own, on test; and how far dev promised more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from compact_bench.analysis import claims, statistics
from compact_bench.analysis.forgetting import RETENTION, difference_between
from compact_bench.analysis.results import Results, Row, difference
from compact_bench.analysis.statistics import Difference
from compact_bench.report.parts import captions as report_captions
from compact_bench.report.parts import formats
from compact_bench.report.parts.formats import Entry, Table
from compact_bench.report.parts.numbers import (
    NONE,
    compact,
    heading,
    number,
    points,
    with_half_width,
    with_sd,
)
from compact_bench.suite.metrics import Measure
from compact_bench.suite.schema import IN_DOMAIN
from compact_bench.tune.report import captions
from compact_bench.tune.trials import FAILED, OBJECTIVES, PRUNED, Search, Study, Trial
from compact_bench.tune.winners import winners

STAR = "*"


@dataclass(frozen=True)
class Bought:
    """One winner beside the method's own settings. rows: of the test, None where it isn't run."""

    study: Study
    label: str
    trial: Trial
    own: Row | None = None
    tuned: Row | None = None


def bought(search: Search, test: Results | None) -> list[Bought]:
    """A line for each winner, in the order of the studies."""

    def row(label: str) -> Row | None:
        return next((one for one in test.rows if one.name == label), None) if test else None

    return [
        Bought(study, label, trial, row(study.label), row(label))
        for study in search.studies
        for label, trial in winners(study)
    ]


def tuned(test: Results, lines: Sequence[Bought]) -> Table:
    """Default against tuned settings on test, paired by seed and item."""
    measures = [*test.headlines("reasoning")[:1]]
    measures += [m for m in test.main_measures if (m.task, m.metric) == (IN_DOMAIN, "marginal_nll")]
    columns: dict[str, list[Entry]] = {"method": [Entry(line.label) for line in lines]}
    numbers: list[dict[str, Any]] = [{"label": line.label} for line in lines]
    for measure in measures:
        found = [_difference(line, measure) for line in lines]
        marks = _marks(found) if measure == measures[0] else [""] * len(lines)
        title = heading(measure)
        columns[f"{title}, own settings"] = [_value(line.own, measure) for line in lines]
        columns[f"{title}, tuned"] = [_value(line.tuned, measure) for line in lines]
        columns[f"Δ {title}"] = [
            Entry(with_half_width(one, measure) + mark)
            for one, mark in zip(found, marks, strict=True)
        ]
        for line, values, one in zip(lines, numbers, found, strict=True):
            values |= _numbers(line, measure, one)
    kept = [_kept(test, line) for line in lines]
    if any(kept):
        columns["Δ old skill kept, points"] = [Entry(points(one)) for one in kept]
        for values, one in zip(numbers, kept, strict=True):
            values |= _difference_numbers("retention", one)
    text = report_captions.caption(
        test,
        "Test split, fresh seeds: each row's own settings with the suite's learning rate, and the "
        "settings that the search found. Differences are tuned minus own, paired by seed and item, "
        "± the half-width of the 95% interval by the crossed test",
        f"{STAR} survives Holm's correction over the lines of the first difference"
        if any(math.isfinite(values[f"{measures[0].key}.delta.p"]) for values in numbers)
        else "Without at least two seeds there is no interval, and no claim",
    )
    return formats.table("tuned", "What tuning bought", text, columns, pd.DataFrame(numbers))


def _difference(line: Bought, measure: Measure) -> Difference | None:
    if line.own is None or line.tuned is None:
        return None
    return difference(line.tuned, line.own, measure)


def _kept(test: Results, line: Bought) -> Difference | None:
    if line.own is None or line.tuned is None:
        return None
    return difference_between(test, line.tuned, line.own, RETENTION)


def _marks(found: Sequence[Difference | None]) -> list[str]:
    known = [one.p if one else math.nan for one in found]
    adjusted = statistics.holm(known)
    return [STAR if p < claims.LEVEL else "" for p in adjusted]


def _value(row: Row | None, measure: Measure) -> Entry:
    return Entry(with_sd(row.summary(measure), measure) if row else NONE)


def _numbers(line: Bought, measure: Measure, found: Difference | None) -> dict[str, Any]:
    values = {
        f"{measure.key}.{name}": row.summary(measure).mean if row else math.nan
        for name, row in (("own", line.own), ("tuned", line.tuned))
    }
    return values | _difference_numbers(measure.key, found)


def _difference_numbers(key: str, found: Difference | None) -> dict[str, float]:
    names = ("mean", "half_width", "p")
    return {f"{key}.delta.{n}": getattr(found, n) if found else math.nan for n in names}


def optimism(search: Search, test: Results, lines: Sequence[Bought]) -> Table | None:
    """The winner's dev score against test: what the search promised, and what came of it."""
    name = search.studies[0].objectives[0]
    measure = next(
        (m for m in test.measures if (m.task, m.metric) == (IN_DOMAIN, name) and
         m.filter in ("strict", "none")), None)  # fmt: skip
    if measure is None:
        return None
    columns: dict[str, list[Entry]] = {"method": []}
    numbers = []
    for line in lines:
        own = line.study.default
        dev = [trial.values[0] if trial else math.nan for trial in (own, line.trial)]
        asked = [row.summary(measure).mean if row else math.nan for row in (line.own, line.tuned)]
        better = measure.shown.better
        promised, got = (better * (pair[1] - pair[0]) for pair in (dev, asked))
        shown = {
            "dev, own settings": number(dev[0], measure),
            "dev, winner": number(dev[1], measure),
            "test, own settings": number(asked[0], measure),
            "test, winner": number(asked[1], measure),
            "better on dev by": number(promised, measure, signed=True),
            "better on test by": number(got, measure, signed=True),
            "optimism": number(promised - got, measure, signed=True),
        }
        columns["method"].append(Entry(line.label))
        for title, said in shown.items():
            columns.setdefault(title, []).append(Entry(said))
        keys = ("dev.own", "dev.winner", "test.own", "test.winner", "promised", "got", "optimism")
        found = (*dev, *asked, promised, got, promised - got)
        numbers.append({"label": line.label, **dict(zip(keys, found, strict=True))})
    text = report_captions.caption(
        test,
        f"{heading(measure)}: on dev, by the search's seeds, and on test, by fresh ones. Optimism: "
        "what the winner gained on dev over the row's own settings, less what it gained on test. "
        "The best of many noisy trials looks better than it is; what it is, the test says",
    )
    title = "The winner's dev score against test"
    return formats.table("optimism", title, text, columns, pd.DataFrame(numbers))


def build(search: Search, test: Results | None) -> list[Table]:
    """All tables, the one of the test first where there is one."""
    lines = bought(search, test)
    found = [
        tuned(test, lines) if test else None,
        optimism(search, test, lines) if test else None,
        chosen(search, lines),
        cost(search, test),
        trials(search),
    ]
    return [table for table in found if table]


def chosen(search: Search, lines: Sequence[Bought]) -> Table:
    """Each winner's settings beside the method's own."""
    names = dict.fromkeys(knob.name for study in search.studies for knob in study.knobs)
    columns: dict[str, list[Entry]] = {"method": [], "trial": []}
    columns |= {name: [] for name in names}
    numbers = []
    for line in lines:
        knobs = {knob.name: knob for knob in line.study.knobs}
        own = {name: knob.default for name, knob in knobs.items()}
        for label, trial, values in (
            (line.study.label, "own", own),
            (line.label, str(line.trial.number), line.trial.settings),
        ):
            columns["method"].append(Entry(label))
            columns["trial"].append(Entry(trial))
            for name in names:
                columns[name].append(Entry(f"{values[name]:.3g}" if name in values else NONE))
            numbers.append({"label": label, "trial": trial, **values})
    text = captions.caption(
        search,
        search.studies,
        "The settings that were searched: the methods' own, and those of the best trials",
    )
    return formats.table("settings", "Settings", text, columns, pd.DataFrame(numbers))


def cost(search: Search, test: Results | None) -> Table:
    """What the search of each row cost."""
    lines = []
    for study in search.studies:
        row = next((one for one in test.rows if one.name == study.label), None) if test else None
        cell = row.cost("flops").mean if row else math.nan
        flops = math.fsum(one.flops for one in study.trials)
        lines.append(
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
    columns = {
        title: [Entry(_cost(key, one[key])) for one in lines] for key, title in titles.items()
    }
    text = captions.caption(
        search,
        search.studies,
        "What the search of each row cost. Trials are finished ones, the same number asked for of "
        "every row; a trial with settings that were trained already takes that result and costs "
        "nothing more. Failed ones were tried again. Tokens and FLOPs are of training; asking the "
        "dev split is not in them. × a cell's: FLOPs over those of one cell of the row's own "
        "settings",
    )
    return formats.table("tuning_cost", "What tuning cost", text, columns, pd.DataFrame(lines))


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
    columns: dict[str, list[Entry]] = {}
    numbers = []
    names = dict.fromkeys(knob.name for study in search.studies for knob in study.knobs)
    for study in search.studies:
        for trial in study.trials:
            values = dict(zip(study.objectives, trial.values, strict=False))
            shown = {
                "method": study.label, "trial": str(trial.number), "state": trial.state,
                **{_title(one): _shown(one, values.get(one)) for one in study.objectives},
                **{n: f"{trial.settings[n]:.3g}" if n in trial.settings else NONE for n in names},
            }  # fmt: skip
            for title, entry in shown.items():
                columns.setdefault(title, []).append(Entry(entry))
            numbers.append(
                {"label": study.label, "trial": trial.number, "state": trial.state, **values,
                 **trial.settings, "tokens": trial.tokens, "flops": trial.flops,
                 "seconds": trial.seconds, "retry_of": trial.retry_of, "reason": trial.reason}
            )  # fmt: skip
    text = captions.caption(
        search,
        search.studies,
        "Every trial, on the dev split. These numbers serve to choose; they are no results. A "
        "pruned trial was stopped before its end, or diverged, and has no value",
    )
    return formats.table("trials", "Trials", text, columns, pd.DataFrame(numbers))


def _title(objective: str) -> str:
    shown = OBJECTIVES[objective]
    return f"{shown.title}{', %' if shown.percent else ''}"


def _shown(objective: str, value: float | None) -> str:
    if value is None:
        return NONE
    scale, digits = (100, 1) if OBJECTIVES[objective].percent else (1, 3)
    return f"{scale * value:.{digits}f}"
