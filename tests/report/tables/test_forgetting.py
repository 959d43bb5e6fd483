"""What training took and what was kept at equal gain, against numbers made from the files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference

from compact_bench.analysis import forgetting as analysis
from compact_bench.analysis.forgetting import (
    SCALE,
    path,
)
from compact_bench.analysis.results import Results, read
from compact_bench.records.cells import read_cells
from compact_bench.report.tables import forgetting
from tests import synthetic
from tests.from_files import crossed_test, csv_frame, curve, per_item
from tests.synthetic import BEFORE, Made

OLD = [task for task in BEFORE if task != "in_domain"]
CHANCE = {"mini_facts": 0.25}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(evidence=True, items=80, steps=2)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_numbers_are_those_of_the_files(root: Path, results: Results) -> None:
    frame = csv_frame(forgetting.table(results))
    seeds = frame[frame["seed"].notna() & frame["label"].eq("compact")]
    found = seeds.set_index(["quantity", "task", "seed"])["value"]
    shares = []
    for task in OLD:
        was, now = per_item(root, "base", task)[0], per_item(root, "compact", task)
        chance = CHANCE.get(task, 0.0)
        kept = (now.mean(1) - chance) / (was.mean() - chance)
        shares.append(kept)
        for seed in (0, 1, 2):
            both_wrong = ((1 - was) * (1 - now[seed])).mean()
            lost = (was * (1 - now[seed])).mean()
            expected = (lost - chance / (1 - chance) * both_wrong) / (1 - chance)
            assert found["before", task, seed] == pytest.approx(was.mean())
            assert found["after", task, seed] == pytest.approx(now[seed].mean())
            assert found["retention", task, seed] == pytest.approx(kept[seed])
            assert found["right_to_wrong", task, seed] == pytest.approx(lost)
            assert found["forgotten", task, seed] == pytest.approx(expected)
    assert found["retention", "mean", 1] == pytest.approx(np.mean([one[1] for one in shares]))
    values = {}
    for cell in read_cells(root):
        if cell.spec["label"] == "base" or (cell.spec["label"], cell.spec["seed"]) == (
            "compact",
            2,
        ):
            nll = cell.eval().query("metric == 'text_nll'").set_index("task")["value"]
            values[cell.spec["label"]] = nll
    ratios = np.exp(values["compact"] - values["base"])
    for task in OLD:
        assert found["perplexity_ratio", task, 2] == pytest.approx(ratios[task])
    assert found["perplexity_ratio", "mean", 2] == pytest.approx(reference.gmean(ratios))


def test_the_second_reading_is_on_the_same_items(root: Path, results: Results) -> None:
    frame = csv_frame(forgetting.table(results))
    found = frame[frame["seed"].eq(1) & frame["label"].eq("average")].set_index(
        ["quantity", "task"]
    )["value"]
    mine, base = curve(root, "average", 1), curve(root, "base", None)
    for task in OLD:
        chance = CHANCE.get(task, 0.0)
        skill = base["checkpoint", 0.0, task] - chance
        before = (mine["checkpoint", 1.0, task] - chance) / skill
        again = (mine["relearned", 8, task] - chance) / skill
        assert found["retention_same_items", task] == pytest.approx(before)
        assert found["retention_relearned", task] == pytest.approx(again)


def test_differences_are_the_crossed_test_and_tasks_count_the_same(
    root: Path, results: Results
) -> None:
    frame = csv_frame(forgetting.table(results))
    lines = frame[frame["seed"].isna() & frame["quantity"].eq("retention")]
    found = lines.set_index(["label", "task"])
    labels = [row.label for row in results.rows if row.label != "base"]
    parts = []
    for task in OLD:
        skill = per_item(root, "base", task).mean() - CHANCE.get(task, 0.0)
        parts.append({label: per_item(root, label, task) / skill for label in labels})
        expected = crossed_test(parts[-1], "compact", "average")
        line = found.loc["compact", task]
        assert line["difference.mean"] == pytest.approx(expected.mean)
        assert line["difference.half_width"] == pytest.approx(expected.half_width)
    # All tasks have as many items here, so a plain test over all of them is the weighted one.
    whole = {label: np.hstack([part[label] for part in parts]) for label in labels}
    expected = crossed_test(whole, "compact", "average")
    line = found.loc["compact", "mean"]
    assert line["difference.mean"] == pytest.approx(expected.mean)
    assert line["difference.half_width"] == pytest.approx(expected.half_width)
    kept = found["value"].xs("mean", level="task")
    assert line["difference.mean"] == pytest.approx(kept["compact"] - kept["average"])
    assert math.isnan(found.loc[("average", "mean"), "difference.mean"])


def test_rows_are_compared_at_the_gain_of_the_reference(results: Results) -> None:
    frame = csv_frame(forgetting.matched_gain(results))
    whole = frame[frame["share_of_gain"].eq(1.0)].set_index(["label", "seed"])
    average, compact = results.named("average"), results.named("compact")
    assert average and compact
    differences = []
    for seed, points in path(results, average, SCALE).items():
        # Gains of these records rise, so numpy's interpolation is the path.
        mine = path(results, compact, SCALE)[seed]
        expected = np.interp(points[-1].gain, [p.gain for p in mine], [p.retention for p in mine])
        assert whole.loc[("compact", seed), "kept"] == pytest.approx(expected)
        assert whole.loc[("average", seed), "kept"] == pytest.approx(points[-1].retention)
        differences.append(expected - points[-1].retention)
    total = frame[frame["share_of_gain"].eq(1.0) & frame["seed"].isna()].set_index("label")
    test = reference.ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(0.95)
    line = total.loc["compact"]
    assert line["difference.mean"] == pytest.approx(np.mean(differences))
    assert line["difference.half_width"] == pytest.approx((high - low) / 2)
    assert line["difference.p"] == pytest.approx(test.pvalue)
    assert (total.loc["average", "reached"], total.loc["answer_sft", "reached"]) == (3, 0)
    assert math.isnan(total.loc["answer_sft", "kept"])
    table = forgetting.matched_gain(results)
    assert table is not None
    answers = next(row for row in table.rows if row[0].text == "answer_sft")
    assert answers[4].text == "doesn't reach"


@pytest.mark.parametrize("gone", ["base", "average"])
def test_without_the_untrained_student_or_the_reference(tmp_path: Path, gone: str) -> None:
    labels = tuple(label for label in ("base", "average", "compact") if label != gone)
    made = Made(evidence=True, items=12, steps=1, labels=labels)
    found = read(synthetic.make(tmp_path, made))
    frame = csv_frame(forgetting.table(found))
    assert ("retention" in set(frame["quantity"])) == (gone == "average")
    assert forgetting.matched_gain(found) is None


def test_a_row_that_was_not_asked_old_tasks_has_no_line(tmp_path: Path) -> None:
    made = Made(evidence=True, items=12, steps=1, labels=("base", "average", "compact"))
    root = synthetic.make(tmp_path, made)
    for cell in read_cells(root):
        if cell.spec["label"] == "compact":
            frame = cell.eval()
            frame[frame["task"].eq("in_domain") & frame["metric"].ne("kl_from_base")].to_parquet(
                cell.folder / "eval.parquet"
            )
            (cell.folder / "curve.parquet").unlink()
    table = forgetting.table(read(root))
    assert table is not None
    assert [row[0].text for row in table.rows] == ["base", "average"]


def test_one_seed_gives_values_without_intervals(tmp_path: Path) -> None:
    made = Made(evidence=True, items=12, steps=1, seeds=(0,), labels=("base", "average", "compact"))
    found = read(synthetic.make(tmp_path, made))
    for table in (forgetting.table(found), forgetting.matched_gain(found)):
        frame = csv_frame(table)
        assert frame["difference.half_width"].isna().all()
        assert frame["difference.mean"].notna().any()
        assert "this supports no claim" in str(table.caption)


def test_the_caption_has_the_rank_correlation(results: Results) -> None:
    found, *_ = analysis.rank_correlations(results)["KL from the base"]
    shown = f"{found:+.2f} over 30 trained cells".replace("-", "−")
    assert shown in forgetting.table(results).caption.own
