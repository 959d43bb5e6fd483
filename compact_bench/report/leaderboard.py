"""The index of all results in a folder: tiers instead of ranks, and where each row's gain holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from compact_bench.analysis import claims
from compact_bench.analysis.results import Results, Row, read
from compact_bench.errors import UserError
from compact_bench.report import page
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.captions import Caption
from compact_bench.report.parts.formats import Entry, Table
from compact_bench.report.parts.numbers import NONE, compact, decimals, with_spread
from compact_bench.report.tables.main import KEPT, marked_differences, old_skill_kept
from compact_bench.report.verdict import flops_ratio, verdict
from compact_bench.suite.metrics import Measure
from compact_bench.utils import processes
from compact_bench.utils.files import write_text

MOST_NAMES = 4  # of a tier, in the table of suites
ABOVE, UNCLEAR, BELOW = "above", "no claim", "below"


@dataclass(frozen=True)
class Ranking:
    """The rows of one suite and profile, in tiers by its first reasoning task.

    Of a suite with conditions those under the first. page: its report, from the index.
    """

    name: str
    page: str
    results: Results
    measure: Measure
    tiers: tuple[tuple[Row, ...], ...]

    @property
    def rows(self) -> list[Row]:
        """The rows of all tiers, the best first."""
        return [row for tier in self.tiers for row in tier]

    def link(self, row: Row) -> str:
        """The page of the suite with this row marked."""
        return f"{self.page}#row={quote(row.label)}"

    def state(self, row: Row) -> str:
        """ABOVE or BELOW the row that it is compared to, where that survives the correction."""
        found = self.results.difference(row, self.measure)
        if found is None or not claims.family(self.results).survives(row, self.measure):
            return UNCLEAR
        return ABOVE if found.mean * self.measure.shown.better > 0 else BELOW


def rankings(root: Path) -> list[Ranking]:
    """Those of all results below `root`. Raises UserError where there are none."""
    found = sorted(path.parent for path in Path(root).rglob("suite.json"))
    shown = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    names = [path.relative_to(root).parts[-2:] for path in shown]
    with processes.one_thread():
        made = [_ranking(root, *pair) for pair in zip(shown, names, strict=True)]
    if not (held := [one for one in made if one]):
        raise UserError(f"no results in {root}: name a folder such as results/published")
    return held


def _ranking(root: Path, folder: Path, names: tuple[str, ...]) -> Ranking | None:
    """None where nothing was trained, or nothing of reasoning was measured."""
    results = read(folder)
    measure = next(iter(results.headlines("reasoning")), None)
    condition = str(results.conditions[0]["name"]) if results.conditions else ""
    tiers = claims.tiers(results, measure, condition) if measure else []
    if measure is None or not tiers:
        return None
    address = quote((folder.relative_to(root) / page.PAGE).as_posix())
    return Ranking(" ".join(names), address, results, measure, tuple(map(tuple, tiers)))


def build(root: Path) -> list[Path]:
    """Write the index of all results below `root`, as index.html and index.md there."""
    return [write_text(Path(root) / name, text) for name, text in index(root).items()]


def index(root: Path) -> dict[str, str]:
    """The two files by name, from records alone: the same records, the same bytes."""
    held = rankings(root)
    tables = [suites(held), *filter(None, [worlds(held)]), *map(ranking_table, held)]
    html = page.fill("leaderboard.html.j2", title=TITLE, tables=tables, reading=READING)
    parts = [f"# {TITLE}\n", *(f"{line}\n" for line in READING), *map(formats.markdown, tables)]
    return {"index.html": html, "index.md": "\n".join(parts)}


TITLE = "All results"
READING = (
    "Rows stand in tiers and not in ranks: a tier is the best of the rows that are left and every "
    "row that can't be told from it (the 95% interval of their paired difference includes 0).",
    "Δ: the difference to the row that the suite compares to, with the half-width of its 95% "
    "interval; * survives the correction for the suite's number of comparisons. Old skill kept: "
    "(after − chance) / (before − chance). FLOPs are of training, in a cell's mean.",
    "Suites are worlds of their own: other data, students and budgets. Numbers of two suites don't "
    "compare, and a difference is known to hold where it was found.",
)


def suites(held: Sequence[Ranking]) -> Table:
    """What each suite's world is, and who leads it."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for one in held:
        suite, results = one.results.suite, one.results
        first = [row.name for row in one.tiers[0]]
        more = f" and {len(first) - MOST_NAMES} more" if len(first) > MOST_NAMES else ""
        columns["suite"].append(Entry(one.name, link=one.page))
        columns["first tier"].append("; ".join(first[:MOST_NAMES]) + more)
        columns["question"].append(str(suite.get("title") or NONE))
        columns["student"].append(str(suite.get("student", {}).get("id")))
        columns["data"].append(str(suite.get("data", {}).get("source")))
        columns["items"].append(compact(results.n_items.get(one.measure, float("nan"))))
        columns["seeds"].append(str(len(results.seeds)))
        columns["rows"].append(str(len(one.rows)))
    text = Caption("Data mini: problems generated by this project.", "")
    return formats.table("suites", "Suites", text, columns, pd.DataFrame())


def worlds(held: Sequence[Ranking]) -> Table | None:
    """Where each row is above the row compared to, where below, and in how many it isn't known.

    A world is a suite, or one of its conditions.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in held:
        for row in one.results.rows:
            measured = row.trained and one.measure in row.values
            if measured and one.results.compared_to(row) is not None:
                world = f"{one.name}, {row.condition}" if row.condition else one.name
                found[row.name][one.state(row)].append(world)
    several = {name: by for name, by in found.items() if sum(map(len, by.values())) > 1}
    if not several:
        return None
    names = sorted(
        several, key=lambda name: (-len(several[name][ABOVE]), len(several[name][BELOW]))
    )
    columns: dict[str, list[str]] = {"row": names}
    for state in (ABOVE, BELOW):
        columns[state] = ["; ".join(several[name][state]) or NONE for name in names]
    columns[UNCLEAR] = [str(len(several[name][UNCLEAR])) for name in names]
    text = Caption(
        "Rows of two worlds and more, by the difference to the row that each suite compares to; a "
        "world is a suite, or one of its conditions. No claim: in how many.",
        "A suite of fewer than five seeds allows no claim.",
    )
    return formats.table("worlds", "Which world each row holds in", text, columns, pd.DataFrame())


def ranking_table(one: Ranking) -> Table:
    """Tier, reasoning, difference, old skill kept and cost of each row of a suite."""
    results, measure, rows = one.results, one.measure, one.rows
    tier = {row.label: number for number, held in enumerate(one.tiers, 1) for row in held}
    unit = ", %" if measure.shown.percent else ""
    columns: dict[str, list[Any]] = {
        "row": [Entry(row.name, link=one.link(row)) for row in rows],
        "tier": [str(tier[row.label]) for row in rows],
        f"{measure.task_title}: {measure.shown.title}{unit}": [
            with_spread(row.summary(measure), measure) for row in rows
        ],
        f"Δ to {captions.reference(results)}": marked_differences(results, rows, measure),
    }
    if results.headlines("forgetting"):
        columns[KEPT] = [old_skill_kept(results, row) for row in rows]
    columns["FLOPs"] = [compact(row.cost("flops").mean) for row in rows]
    columns[f"times {captions.reference(results)}'s"] = [
        decimals(flops_ratio(results, row), 2) for row in rows
    ]
    columns["done"] = [f"{len(row.done)}/{len(row.cells)}" for row in rows]
    about = verdict(results)
    text = Caption(" ".join(about.sentences if about else ()), "")
    name = "-".join(one.page.split("/")[:-1])
    return formats.table(name, one.name, text, columns, pd.DataFrame())


def content(root: Path) -> list[dict[str, Any]]:
    """What `report --index --json` prints: the tiers of each suite, by the rows' labels."""
    return [
        {
            "suite": one.results.suite.get("suite"),
            "profile": one.results.suite.get("profile"),
            "page": one.page,
            "task": one.measure.task,
            "metric": one.measure.metric,
            "tiers": [[row.label for row in tier] for tier in one.tiers],
        }
        for one in rankings(root)
    ]
