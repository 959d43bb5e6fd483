"""Marks, bold rows and the correction: against numbers made straight from the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests

from compact_bench.analysis import claims
from compact_bench.analysis import results as collect
from compact_bench.analysis.results import Results, difference, read
from compact_bench.records import cells, suite_record
from compact_bench.report import page
from compact_bench.report.tables.main import differences, main
from tests import synthetic
from tests.from_files import crossed_test, csv_frame, per_item
from tests.synthetic import Made

LABELS = ("base", "answer_sft", "single_teacher[terse]", "average", "compact")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(labels=LABELS, seeds=(0, 1, 2, 3, 4), items=150, steps=3)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_holm_is_over_rows_times_primary_tasks(root: Path, results: Results) -> None:
    p = {}
    for label in LABELS:
        for task in synthetic.TASKS:
            if label != "average":
                values = {one: per_item(root, one, task) for one in LABELS}
                p[label, task] = crossed_test(values, label, "average").p
    assert len(p) == 4 * 4
    adjusted = dict(zip(p, multipletests(list(p.values()), method="holm")[1], strict=True))
    found = csv_frame(differences(results)).set_index(["label", "task", "metric"])
    for (label, task), value in adjusted.items():
        line = found.loc[(label, task, "accuracy")]
        assert line["p_holm"] == pytest.approx(value)
        assert line["p"] == pytest.approx(p[label, task])
        quantiles = [reference.t.ppf(q, line["df"]) for q in (0.975, 0.8)]
        error = line["half_width"] / quantiles[0]
        assert line["detectable"] == pytest.approx(sum(quantiles) * error)
    assert np.isnan(found.loc[("compact", "in_domain", "marginal_nll"), "p_holm"])
    caption = differences(results).caption.own
    assert "for 16 comparisons: 4 rows" in caption and "Minimum detectable difference" in caption


@pytest.mark.parametrize("task", synthetic.TASKS)
def test_bold_is_every_row_that_is_not_worse_than_the_best(
    root: Path, results: Results, task: str
) -> None:
    values = {label: per_item(root, label, task) for label in LABELS if label != "base"}
    best = max(values, key=lambda label: values[label].mean())
    expected = {best} | {
        label for label in values
        if label != best and not crossed_test(values, label, best).clear
    }  # fmt: skip
    table = main(results)
    place = table.columns.index(f"{task.replace('_', ' ')}: accuracy, % ↑")
    assert {row[0].text for row in table.rows if row[place].best} == expected
    assert "isn't clearly worse" in table.caption.own


def test_one_seed_has_no_bold_and_no_mark(tmp_path: Path) -> None:
    made = Made(labels=LABELS, seeds=(2,), items=80, steps=2)
    found = read(synthetic.make(tmp_path, made))
    for table in page.build_tables(found):
        assert not any(entry.best for row in table.rows for entry in row)
        assert "One seed (2): this supports no claim" in str(table.caption)
    assert not any(e.text.endswith("*") for row in differences(found).rows for e in row)
    assert "Nothing is bold or marked" in main(found).caption.own
    assert claims.family(found).size == 0


def test_four_seeds_have_p_values_and_no_mark(tmp_path: Path) -> None:
    made = Made(labels=LABELS, seeds=(0, 1, 2, 3), items=150, steps=2)
    found = read(synthetic.make(tmp_path, made))
    assert min(claims.family(found).adjusted.values()) < claims.LEVEL
    assert not claims.family(found).claims
    table = differences(found)
    assert not any(entry.text.endswith("*") for row in table.rows for entry in row)
    assert "only from 5 seeds on, not here" in table.caption.own


def test_values_that_are_no_means_over_items_are_never_bold(root: Path, results: Results) -> None:
    without = collect.collect(
        [cells.Cell(c.run_id, c.folder, c.spec, c.status) for c in cells.read_cells(root)],
        suite_record.read_suite_record(root),
    )
    for row in without.rows:
        row.__dict__["items"] = {}
    for measure in without.main_measures:
        assert claims.not_worse(without, measure) == set()
    assert claims.retention_not_worse(without) == set()


def test_the_family_with_conditions_is_every_row_against_its_own_reference(tmp_path: Path) -> None:
    conditions = tuple(
        {"name": f"filler {x:g}", "series": "filler", "x": x, "data": {"corrupt": {"filler": x}}}
        for x in (0.0, 0.5)
    )
    made = Made(labels=("base", "average", "full"), items=40, scored=True, conditions=conditions)
    found = read(synthetic.make(tmp_path, made))
    keys = set(claims.family(found).adjusted)
    assert {label for label, _ in keys} == {"full · filler 0", "full · filler 0.5"}
    assert len(keys) == 2 * len(synthetic.TASKS)


def test_what_survives_is_marked_and_nothing_else(results: Results) -> None:
    table = differences(results)
    numbers = csv_frame(table).set_index(["label", "task", "metric"])
    marked = 0
    for measure in results.main_measures:
        title = f"{measure.task_title}: {measure.shown.title}"
        place = next(i for i, name in enumerate(table.columns) if name.startswith(title))
        for row in table.rows:
            key = (row[0].text, measure.task, measure.metric)
            survives = key in numbers.index and numbers.loc[key, "p_holm"] < 0.05
            assert row[place].text.endswith("*") == survives
            marked += survives
    assert marked and marked < len(numbers)
    shown = main(results)
    column = shown.columns.index("Δ in domain to average")
    for row in shown.rows:
        key = (row[0].text, "in_domain", "accuracy")
        survives = key in numbers.index and numbers.loc[key, "p_holm"] < 0.05
        assert row[column].text.endswith("*") == survives


def test_tiers_are_what_cannot_be_told_from_their_first(results: Results) -> None:
    measure = results.headlines("reasoning")[0]
    tiers = claims.tiers(results, measure)
    trained = [row for row in results.rows if row.trained]
    assert sorted(row.label for tier in tiers for row in tier) == sorted(r.label for r in trained)
    assert len(tiers) > 1
    rest = sorted(trained, key=lambda row: -row.summary(measure).mean)
    for tier in tiers:
        assert tier[0] is rest[0]
        for row in rest[1:]:
            found = difference(row, rest[0], measure, results.rows)
            assert found
            holds_zero = abs(found.mean) <= found.half_width
            assert (row in tier) == holds_zero
        rest = [row for row in rest if row not in tier]


def test_without_intervals_there_is_one_tier(tmp_path: Path) -> None:
    made = Made(labels=("base", "average", "compact"), seeds=(0,), items=20, steps=3)
    results = read(synthetic.make(tmp_path, made))
    tiers = claims.tiers(results, results.headlines("reasoning")[0])
    assert [{row.label for row in tier} for tier in tiers] == [{"average", "compact"}]
