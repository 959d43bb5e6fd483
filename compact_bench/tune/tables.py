"""The tables of a search: what tuning bought, what it chose, what it cost; and all its trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from compact_bench import formats
from compact_bench.formats import Entry, Table
from compact_bench.outcomes import Results
from compact_bench.printing import NONE, compact
from compact_bench.tune import captions
from compact_bench.tune.bought import Bought, bought, optimism, tuned
from compact_bench.tune.trials import FAILED, OBJECTIVES, PRUNED, Search


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
