"""The winners of a search: their settings for the suite, their suite file and their one test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from compact_bench.errors import UserError
from compact_bench.records.cells import read_cell
from compact_bench.records.suite_record import read_suite_record
from compact_bench.suite.schema import LABEL, Suite
from compact_bench.tune import trials
from compact_bench.tune.trials import LEARNING_RATE, Study, Trial
from compact_bench.utils.files import write_text

if TYPE_CHECKING:
    from compact_bench.analysis.results import Results

BEST = "best.yaml"

TUNED = "tuned"


def with_tuned(suite: Suite, root: Path) -> Suite:
    """The suite with what was searched for the rows of its ablation, as far as that is over.

    root: the results of the suite.
    """
    folder = root / "tune"
    if suite.ablation is None or not suite.ablation.tuned:
        return suite
    if not (folder / trials.FILE).exists():
        return suite.with_tuned({})
    best = {}
    for study in trials.read(folder).studies:
        if study.over and study.best:
            settings = dict(study.best.settings)
            rate = settings.pop(LEARNING_RATE, suite.training.learning_rate)
            best[study.label] = settings, rate
    return suite.with_tuned(best)


def winners(study: Study) -> list[tuple[str, Trial]]:
    """The trials to be tested, with the labels of their rows.

    Of one objective the best; of two the ends of the front and the trial between that is nearest
    to being best in both, in units of the front's extent.
    """
    front = study.front
    if not front:
        return []
    if len(study.objectives) == 1:
        return [(f"{study.label}, {TUNED}", front[0])]
    values = np.array([trial.values for trial in front])  # (n,2)
    ideal, extent = [values[0, 0], values[-1, 1]], np.abs(values[0] - values[-1])
    distance = np.square((values - ideal) / np.where(extent > 0, extent, 1.0)).sum(axis=1)  # (n,)
    between = front[distance.argmin()]
    names = {"for reasoning": front[0], "for old skills": front[-1], "between": between}
    by_number: dict[int, tuple[str, Trial]] = {}
    for name, trial in names.items():
        by_number.setdefault(trial.number, (f"{study.label}, {TUNED} {name}", trial))
    return list(by_number.values())


def content(
    suite: Suite,
    untrained: Sequence[str | dict[str, Any]],
    rows: Sequence[dict[str, Any]],
    studies: Sequence[Study],
) -> dict[str, Any]:
    """The suite of the test: the same data, student, training and tasks; no search in it."""
    labels = [row[LABEL] for row in rows]
    counts = ", ".join(f"{len(one.finished)} trials of {one.label}" for one in studies)
    objectives = " and ".join(studies[0].objectives)
    note = f"settings of the rows called {TUNED}: chosen by {objectives} on dev in {counts}"
    of_rows = {"methods", "ablation", "ladder", "regret_to", "without_faults"}
    left_out = of_rows | {"selection", "evidence", "tune"}
    return suite.model_dump(mode="json", exclude=left_out) | {
        "suite": f"{suite.suite}_{TUNED}",
        "title": f"{suite.title}: what tuning bought",
        "compare_to": suite.compare_to if suite.compare_to in labels else labels[0],
        "notes": "; ".join(part for part in (suite.notes, note) if part),
        "methods": [*untrained, *rows],
    }


def write_best(folder: Path, values: dict[str, Any], studies: Sequence[Study]) -> Path:
    """Write best.yaml, which `run` takes as it is."""
    head = [
        "The settings that `tune` found on the dev split, beside the methods' own, with fresh "
        "seeds:",
        f"  python -m compact_bench run {BEST}",
    ]
    for study in studies:
        for label, trial in winners(study):
            shown = ", ".join(f"{key} {value:.4g}" for key, value in trial.settings.items())
            # Its place and not its number, which trials that were killed make larger.
            place = study.finished.index(trial)
            head.append(f"{label}: trial {place} of {len(study.finished)}: {shown}")
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    return write_text(folder / BEST, "".join(f"# {line}\n" for line in head) + text)


def read_best(folder: Path) -> dict[str, Any] | None:
    """The values of best.yaml; None where no search is over."""
    path = folder / BEST
    return yaml.safe_load(path.read_text("utf-8")) if path.exists() else None


def rows_of(folder: Path, labels: set[str]) -> list[dict[str, Any]]:
    """The rows of best.yaml that belong to the studies of these labels."""
    prefixes = tuple(f"{label}, {TUNED}" for label in labels)
    rows = (read_best(folder) or {"methods": []})["methods"]
    labelled = [row for row in rows if isinstance(row, dict) and LABEL in row]
    return [row for row in labelled if row[LABEL] in labels or row[LABEL].startswith(prefixes)]


def tested_folder(folder: Path, suite_name: str, profile: str) -> Path:
    """Where the results of the test lie."""
    return folder / f"{suite_name}_{TUNED}" / profile


def read_test(folder: Path, suite_name: str, profile: str) -> Results | None:
    """The results of the test; None where there are none yet."""
    from compact_bench.analysis import results  # not at the top: `plan` has no use for it

    try:
        return results.read(tested_folder(folder, suite_name, profile))
    except UserError:
        return None


def refuse_after_test(root: Path, label: str) -> None:
    """Raise UserError where a row's winner has answered the test split. root: the test's results.

    More trials would be chosen from after a look at test.
    """
    try:
        cells = read_suite_record(root).cells
    except UserError:
        return
    for cell in cells:
        winner = cell["run_id"] and cell["label"].startswith(f"{label}, {TUNED}")
        if winner and read_cell(root / "runs" / cell["run_id"]).state == "done":
            raise UserError(
                f"{label}: its winner was tested already, and more trials would be chosen from "
                "after a look at test; begin another search with --study NAME"
            )
