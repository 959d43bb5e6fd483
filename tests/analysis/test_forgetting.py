"""Forgetting, matched gain and the curves, against numbers made straight from the files."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats as reference

from compact_bench.analysis import forgetting, statistics
from compact_bench.analysis import results as report
from compact_bench.analysis.forgetting import (
    SCALE,
    Point,
    forgotten,
    mean_path,
    path,
    retention_at_gain,
)
from compact_bench.analysis.results import Results
from compact_bench.records.cells import read_cells
from compact_bench.report import page
from compact_bench.report.figures import retention
from compact_bench.report.parts import formats
from compact_bench.report.tables import forgetting as forgetting_table
from compact_bench.report.tables import forgetting as matched_gain
from compact_bench.report.tables import main
from tests import synthetic
from tests.synthetic import BEFORE, Made

OLD = [task for task in BEFORE if task != "in_domain"]
CHANCE = {"mini_facts": 0.25}
OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(evidence=True, items=80, steps=2)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return report.read(root)


def right(root: Path, label: str, task: str) -> np.ndarray:
    """(seeds, items) straight from the files; the untrained student has one line."""
    rows = {}
    for cell in read_cells(root):
        if cell.spec["label"] == label:
            lines = sorted((x for x in cell.samples() if x["task"] == task),
                           key=lambda x: x["question_id"])  # fmt: skip
            rows[cell.spec["seed"] or 0] = [float(x["right"]) for x in lines]
    return np.array([rows[seed] for seed in sorted(rows)])


def curve(root: Path, label: str, seed: int | None) -> pd.Series:
    """(kind, at, task) -> accuracy straight from the file."""
    for cell in read_cells(root):
        if (cell.spec["label"], cell.spec["seed"]) == (label, seed):
            frame = pd.read_parquet(cell.folder / "curve.parquet")
            return frame.set_index(["kind", "at", "task"])["value"]
    raise AssertionError(label)


def read(table: formats.Table | None) -> pd.DataFrame:
    assert table is not None
    return pd.read_csv(io.StringIO(formats.csv(table)))


def test_numbers_are_those_of_the_files(root: Path, results: Results) -> None:
    frame = read(forgetting_table.table(results))
    seeds = frame[frame["seed"].notna() & frame["label"].eq("compact")]
    found = seeds.set_index(["quantity", "task", "seed"])["value"]
    shares = []
    for task in OLD:
        was, now = right(root, "base", task)[0], right(root, "compact", task)
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
    frame = read(forgetting_table.table(results))
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
    frame = read(forgetting_table.table(results))
    lines = frame[frame["seed"].isna() & frame["quantity"].eq("retention")]
    found = lines.set_index(["label", "task"])
    parts = []
    for task in OLD:
        skill = right(root, "base", task).mean() - CHANCE.get(task, 0.0)
        parts.append((right(root, "compact", task) - right(root, "average", task)) / skill)
        expected = statistics.crossed(parts[-1])
        line = found.loc["compact", task]
        assert line["difference.mean"] == pytest.approx(expected.mean)
        assert line["difference.half_width"] == pytest.approx(expected.half_width)
    # All tasks have as many items here, so a plain test over all of them is the weighted one.
    expected = statistics.crossed(np.hstack(parts))
    line = found.loc["compact", "mean"]
    assert line["difference.mean"] == pytest.approx(expected.mean)
    assert line["difference.half_width"] == pytest.approx(expected.half_width)
    kept = found["value"].xs("mean", level="task")
    assert line["difference.mean"] == pytest.approx(kept["compact"] - kept["average"])
    assert math.isnan(found.loc[("average", "mean"), "difference.mean"])


def test_retention_goes_against_kl_as_scipy_says(results: Results) -> None:
    found = forgetting.rank_correlations(results)["KL from the base"]
    pairs = []
    for row in results.rows:
        kl = next((v for m, v in row.values.items() if m.metric == "kl_from_base"), {})
        pairs.append([(value, results.mean_retention(row)[seed]) for seed, value in kl.items()])
    cells = np.array([pair for by_row in pairs for pair in by_row])
    means = np.array([np.mean(by_row, axis=0) for by_row in pairs if by_row])
    assert found == pytest.approx(
        (reference.spearmanr(cells).statistic, 30, reference.spearmanr(means).statistic, 10)
    )
    assert f"{found[0]:+.2f} over 30 trained cells".replace("-", "−") in (
        forgetting_table.table(results).caption.own
    )


def test_a_path_is_read_where_it_first_reaches_the_gain() -> None:
    straight = [Point(at, 0.5 * at, 1 - 0.2 * at) for at in (0.0, 0.3, 0.8, 1.0)]
    for gain in (0.0, 0.1, 0.27, 0.5):  # on a line the answer is the line's
        assert retention_at_gain(straight, gain) == pytest.approx(1 - 0.4 * gain)
    assert retention_at_gain(straight, 0.51) is None
    back = [Point(0, 0.0, 1.0), Point(0.3, 0.4, 0.9), Point(0.7, 0.2, 0.5), Point(1, 0.6, 0.2)]
    assert retention_at_gain(back, 0.3) == pytest.approx(
        0.925
    )  # not 0.7 on the way back, nor 0.425
    assert retention_at_gain(back, 0.5) == pytest.approx(0.275)
    down = [Point(0, 0.0, 1.0), Point(0.5, -0.1, 0.9), Point(1, 0.1, 0.7)]
    assert retention_at_gain(down, 0.05) == pytest.approx(0.75)
    assert retention_at_gain(down, -0.05) == pytest.approx(0.95)
    flat = [Point(0, 0.0, 1.0), Point(1, 0.0, 0.4)]
    assert retention_at_gain(flat, 0.0) == 1.0
    assert retention_at_gain(flat, 0.1) is None


def test_a_mean_path_has_the_places_that_all_seeds_have() -> None:
    one = (Point(0, 0.0, 1.0), Point(0.3, 0.1, 0.9), Point(1, 0.4, 0.6))
    two = (Point(0, 0.0, 1.0), Point(1, 0.2, 0.8))
    assert mean_path({0: one, 1: two}) == (Point(0, 0.0, 1.0), Point(1, pytest.approx(0.3), 0.7))
    assert mean_path({}) == ()


def test_paths_join_the_untrained_and_the_trained_student(root: Path, results: Results) -> None:
    row = results.named("compact")
    assert row is not None
    points = path(results, row, SCALE)[2]
    assert [one.at for one in points] == [0.0, 0.33, 0.67, 1.0]
    assert (points[0].gain, points[0].retention) == (0.0, 1.0)
    mine, base = curve(root, "compact", 2), curve(root, "base", None)
    for one, key in zip(points[1:], [("scale", 0.33), ("scale", 0.67), ("checkpoint", 1.0)],
                        strict=True):  # fmt: skip
        gain = mine[*key, "in_domain"] - base["checkpoint", 0.0, "in_domain"]
        shares = [
            (mine[*key, task] - CHANCE.get(task, 0.0))
            / (base["checkpoint", 0.0, task] - CHANCE.get(task, 0.0))
            for task in OLD
        ]
        assert (one.gain, one.retention) == pytest.approx((gain, np.mean(shares)))


def test_rows_are_compared_at_the_gain_of_the_reference(results: Results) -> None:
    frame = read(matched_gain.matched_gain(results))
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
    table = matched_gain.matched_gain(results)
    assert table is not None
    answers = next(row for row in table.rows if row[0].text == "answer_sft")
    assert answers[4].text == "doesn't reach"


def test_the_figure_draws_the_mean_paths(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(retention, "render", lambda f: kept.append(f) or {})
    assert retention.retention_curves(results) is not None
    rows = [row for row in results.rows if row.trained]
    assert [axis.get_title(loc="left") for axis in kept[0].axes] == [row.label for row in rows]
    for axis, row in zip(kept[0].axes, rows, strict=True):
        drawn = {
            tuple(np.round(line.get_ydata(), 9)) for line in axis.lines if len(line.get_xdata()) > 2
        }
        for label in {row.label, "average"}:
            other = results.named(label)
            assert other is not None
            points = mean_path(path(results, other, SCALE))
            assert tuple(np.round([100 * one.retention for one in points], 9)) in drawn


def test_new_values_are_shown_but_are_no_headlines(results: Results) -> None:
    table = main.metrics(results)
    for title in ("majority of samples", "NLL of earlier answers", "KL from the base"):
        assert any(column.startswith(title) for column in table.columns), title
    place = next(i for i, name in enumerate(table.columns) if name.startswith("KL"))
    kl = next(row[place].text for row in table.rows if row[0].text == "compact")
    assert len(kl.split()[0].split(".")[1]) == 3
    assert {m.metric for m in results.main_measures} == {"accuracy", "marginal_nll"}


def test_older_records_have_none_of_it(tmp_path: Path) -> None:
    made = Made(items=6, steps=1, labels=("base", "average", "compact"))
    older = report.read(synthetic.make(tmp_path, made))
    names = {one.name for one in page.build_tables(older)} | {
        one.name for one in page.build_figures(older)
    }
    assert not names & {"forgetting", "matched_gain", "beyond", "retention_curves"}


@pytest.mark.parametrize("gone", ["base", "average"])
def test_without_the_untrained_student_or_the_reference(tmp_path: Path, gone: str) -> None:
    labels = tuple(label for label in ("base", "average", "compact") if label != gone)
    made = Made(evidence=True, items=12, steps=1, labels=labels)
    found = report.read(synthetic.make(tmp_path, made))
    frame = read(forgetting_table.table(found))
    assert ("retention" in set(frame["quantity"])) == (gone == "average")
    assert matched_gain.matched_gain(found) is None
    assert (retention.retention_curves(found) is None) == (gone == "base")


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
    table = forgetting_table.table(report.read(root))
    assert table is not None
    assert [row[0].text for row in table.rows] == ["base", "average"]


def test_one_seed_gives_values_without_intervals(tmp_path: Path) -> None:
    made = Made(evidence=True, items=12, steps=1, seeds=(0,), labels=("base", "average", "compact"))
    found = report.read(synthetic.make(tmp_path, made))
    for table in (forgetting_table.table(found), matched_gain.matched_gain(found)):
        frame = read(table)
        assert frame["difference.half_width"].isna().all()
        assert frame["difference.mean"].notna().any()
        assert "this supports no claim" in str(table.caption)


def answered(known: np.ndarray, chance: float, draw: np.random.Generator) -> np.ndarray:
    """Right where known, else where a guess is lucky."""
    return known | (draw.random(known.shape) < chance)


@pytest.mark.parametrize("chance", [0.0, 0.2, 0.25, 0.5])
@pytest.mark.parametrize(("lost", "new"), [(0.3, 0.0), (0.1, 0.15), (0.0, 0.0), (0.0, 0.3)])
def test_the_shares_are_those_of_what_is_known(chance: float, lost: float, new: float) -> None:
    """Knowledge and guesses drawn apart: the mean of many tests is the true share."""
    draw = np.random.default_rng(3)
    tests, items = 400, 250
    state = draw.choice(4, size=(tests, items), p=[lost, new, 0.4, 0.6 - lost - new])
    before = answered((state == 0) | (state == 2), chance, draw)
    after = answered((state == 1) | (state == 2), chance, draw)
    for found, truth in ((forgotten(before, after, chance), lost),
                         (forgotten(after, before, chance), new)):  # fmt: skip
        means = found.mean(axis=1)
        error = means.std(ddof=1) / np.sqrt(tests)
        assert means.mean() == pytest.approx(truth, abs=4 * error + 1e-12)
    # Observed flips alone overstate what is forgotten where guesses turn over.
    if chance == 0.5 and lost == 0.0:
        assert (before & ~after).mean() > 0.05


def test_without_learning_the_accuracy_before_says_the_same() -> None:
    """c (1 - accuracy before) are the lucky guesses that the next guess loses."""
    draw, chance = np.random.default_rng(4), 0.25
    known = draw.random(400_000) < 0.5
    still = known & (draw.random(known.shape) < 0.6)
    before, after = answered(known, chance, draw), answered(still, chance, draw)
    by_accuracy = ((before & ~after).mean() - chance * (1 - before.mean())) / (1 - chance)
    assert forgotten(before, after, chance).mean() == pytest.approx(by_accuracy, abs=0.005)


@given(OUTCOMES, st.sampled_from([0.0, 0.2, 0.25, 0.5]))
def test_what_is_lost_and_won_adds_up_to_the_change_of_accuracy(outcomes, chance: float) -> None:
    before, after = np.array(outcomes, dtype=float).T
    change = forgotten(before, after, chance).mean() - forgotten(after, before, chance).mean()
    assert change == pytest.approx((before.mean() - after.mean()) / (1 - chance), abs=1e-12)


@given(OUTCOMES)
def test_without_luck_it_is_what_is_seen(outcomes) -> None:
    before, after = np.array(outcomes, dtype=bool).T
    assert forgotten(before, after, 0.0).mean() == pytest.approx((before & ~after).mean())


@pytest.mark.parametrize("chance", [-0.1, 1.0])
def test_a_chance_that_is_none_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        forgotten(np.array([1]), np.array([0]), chance)
