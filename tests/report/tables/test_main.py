"""The main table, its differences and metrics against numbers computed apart from them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from compact_bench.analysis.results import Results, collect, read
from compact_bench.data.tasks import template_clean_items
from compact_bench.records import cells, suite_record
from compact_bench.records.parquet import read_table
from compact_bench.records.suite_record import write_items
from compact_bench.report.page import build_tables
from compact_bench.report.parts import formats
from compact_bench.report.tables import main
from tests import synthetic
from tests.from_files import by_seed, crossed_test
from tests.synthetic import Made

STATES = {
    ("human_sft", 0): ("skipped", "no human | rationales"),
    ("human_sft", 1): ("skipped", "no human | rationales"),
    ("human_sft", 2): ("skipped", "no human | rationales"),
    ("answer_sft", 1): ("diverged", "loss is nan\nat step 3"),
    ("random_teacher", 2): ("missing", ""),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make(tmp_path_factory.mktemp("results"), Made(states=STATES, steps=6))


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def text(table: formats.Table, label: str, column: str) -> formats.Entry:
    row = next(row for row in table.rows if row[0].text == label)
    return row[next(i for i, name in enumerate(table.columns) if name.startswith(column))]


@pytest.mark.parametrize("task", synthetic.TASKS)
def test_means_and_sds_are_those_of_the_files(root: Path, results: Results, task: str) -> None:
    numbers = main.main_numbers(results)
    for label in synthetic.AFTER:
        values = by_seed(root, label, task)
        row = numbers[numbers["label"] == label].iloc[0]
        if values.empty:
            assert np.isnan(row[f"{task}.accuracy.mean"])
            continue
        assert row[f"{task}.accuracy.mean"] == pytest.approx(values.mean())
        if len(values) > 1:
            assert row[f"{task}.accuracy.sd"] == pytest.approx(values.std(ddof=1))
        assert row["done"] == len(values)
        shown = text(main.main(results), label, task.replace("_", " ") + ": accuracy").text
        assert shown.startswith(f"{100 * values.mean():.1f}")


def test_differences_pair_seeds(root: Path, results: Results) -> None:
    numbers = main.main_numbers(results).set_index("label")
    average = by_seed(root, "average", "in_domain")
    for label in ("compact", "answer_sft", "random_teacher"):
        mine = by_seed(root, label, "in_domain")
        expected = (mine - average[mine.index]).mean()
        assert numbers.loc[label, "in_domain.accuracy.difference"] == pytest.approx(expected)
        assert numbers.loc[label, "in_domain.accuracy.half_width"] > 0
    base = by_seed(root, "base", "in_domain").iloc[0]
    found = numbers.loc["base", "in_domain.accuracy.difference"]
    assert found == pytest.approx((base - average).mean())
    assert np.isnan(numbers.loc["average", "in_domain.accuracy.difference"])


def test_old_skill_kept_is_relative_to_the_untrained_student(root: Path, results: Results) -> None:
    numbers = main.main_numbers(results).set_index("label")
    shares = []
    for task in synthetic.TASKS[1:]:
        before = by_seed(root, "base", task).iloc[0]
        shares.append(by_seed(root, "compact", task) / before)
    assert numbers.loc["compact", "kept.mean"] == pytest.approx(np.mean(shares))
    assert numbers.loc["base", "kept.mean"] == pytest.approx(1.0)


def test_only_complete_trained_rows_are_bold(root: Path, results: Results) -> None:
    table = main.main(results)
    for column in (i for i, name in enumerate(table.columns) if name.endswith("↑")):
        bold = {row[0].text for row in table.rows if row[column].best}
        assert bold and "base" not in bold
        assert all(len(by_seed(root, label, "mini_facts")) == 3 for label in bold)
    # Rows that answer at once and rows that reason don't have the same NLL: none is best.
    nll = next(i for i, name in enumerate(table.columns) if "NLL" in name)
    assert not any(row[nll].best for row in table.rows)
    assert "no answer NLL, which rows that answer at once" in table.caption.own


def test_every_row_says_what_became_of_it(results: Results) -> None:
    table = main.main(results)
    assert [row[0].text for row in table.rows] == list(synthetic.AFTER)
    assert text(table, "human_sft", "done").text == "0/3"
    assert text(table, "answer_sft", "done").text == "2/3"
    assert text(table, "base", "done").text == "1/1"
    assert "human_sft: skipped (seeds 0, 1, 2): no human | rationales" in table.notes
    assert "answer_sft: diverged (seed 1): loss is nan at step 3" in table.notes
    assert "random_teacher: not run yet (seed 2)" in table.notes
    assert text(table, "compact", "gold").text == "yes"


def test_rows_that_were_shown_dev_questions_are_marked(
    root: Path, results: Results, tmp_path: Path
) -> None:
    assert "dev" not in main.main(results).columns
    shown = tmp_path / "shown"
    shutil.copytree(root, shown)
    for cell in cells.read_cells(shown):
        if cell.spec["label"] == "compact":
            cells.CellWriter(cell.folder).status("done", dev_questions=50)
    table = main.main(read(shown))
    assert text(table, "compact", "dev").text == "yes"
    assert text(table, "average", "dev").text == "no"
    assert "gradients or losses of dev questions" in str(table.caption)


def test_caption_names_what_a_reader_needs(results: Results) -> None:
    caption = str(main.main(results).caption)
    for part in ("profile mini", "Student: nano", "Data: mini", "equations, sentences",
                 "Seeds 0, 1, 2", "dev split of average", "Generated problems",
                 "26 of 31 planned cells", "half-width", "400 questions that all 4"):  # fmt: skip
        assert part in caption, part
    assert "no claim about" not in caption


@pytest.mark.parametrize(
    ("seeds", "said"), [((4,), "One seed (4): this supports no claim"), ((0, 1), "Two seeds")]
)
def test_few_seeds_are_called_few(tmp_path: Path, seeds: tuple[int, ...], said: str) -> None:
    made = Made(seeds=seeds, labels=("base", "average", "compact"), steps=3)
    results = read(synthetic.make(tmp_path, made))
    for table in build_tables(results):
        assert said in str(table.caption)
    shown = text(main.main(results), "compact", "Δ").text
    assert ("±" in shown) == (len(seeds) > 1)


def test_written_and_choice_tasks_share_the_accuracy_column(tmp_path: Path) -> None:
    """A written task has strict accuracy, a choice task has accuracy without a filter."""
    root = synthetic.make(tmp_path, synthetic.Made(labels=("base", "average"), steps=3))
    for path in root.glob("runs/*/eval.parquet"):
        frame = pd.read_parquet(path)
        facts = frame["task"].eq("mini_facts") & frame["metric"].eq("accuracy")
        frame.loc[facts, "filter"] = "none"
        frame[~facts | frame["filter"].eq("none")].drop_duplicates(
            ["task", "metric", "filter", "stage"]
        ).to_parquet(path)
    table = main.metrics(collect(cells.read_cells(root), suite_record.read_suite_record(root)))
    accuracy = next(i for i, name in enumerate(table.columns) if name.startswith("accuracy, "))
    by_task = {row[1].text: row[accuracy].text for row in table.rows if row[0].text == "average"}
    assert set(by_task) >= {"in domain", "mini facts"}
    assert all(value[0].isdigit() for value in by_task.values())


@pytest.fixture(scope="module")
def with_stories(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = synthetic.make(tmp_path_factory.mktemp("subsets"))
    frame = read_table(root / "items.parquet")
    frame["question"] = [f"{'Told' if i % 3 else 'Test'} question {i}?" for i in range(len(frame))]
    trained_on = ["Test question 9?"]
    task = SimpleNamespace(name="in_domain", items=frame)
    write_items(root, [task], template_clean_items([task], trained_on))
    return read(root)


def test_the_table_is_of_the_items_that_the_records_name(with_stories: Results) -> None:
    found = main.subsets(with_stories)
    ids = [key for key, clean in with_stories.clean.items() if clean]
    assert 0 < len(ids) < len(with_stories.clean) == 60
    numbers = found.numbers.set_index(["label", "part"])
    for row in with_stories.rows:
        right = {}  # from the samples themselves
        for seed, cell in row.cells.items():
            samples = [s for s in cell.samples() if s["task"] == "in_domain"]
            right[seed] = {s["question_id"]: float(s["right"]) for s in samples}
        for part, keys in (("template-clean", ids), ("all", list(with_stories.clean))):
            per_seed = [np.mean([values[key] for key in keys]) for values in right.values()]
            assert numbers.loc[(row.label, part), "mean"] == pytest.approx(np.mean(per_seed))
            assert numbers.loc[(row.label, part), "n"] == len(keys)
        if row.label == "compact":
            values = {
                one.label: np.array([
                    [float(s["right"]) for s in cell.samples() if s["question_id"] in ids]
                    for cell in one.cells.values()
                ])
                for one in with_stories.rows
            }  # fmt: skip
            test = crossed_test(values, "compact", "average")
            line = numbers.loc[("compact", "template-clean")]
            assert line["difference"] == pytest.approx(test.mean)
            assert line["half_width"] == pytest.approx(test.half_width)
    assert np.isnan(numbers.loc[("average", "template-clean"), "difference"])


def test_without_the_column_or_with_nothing_to_set_apart_there_is_no_table(tmp_path: Path) -> None:
    assert main.subsets(read(synthetic.make(tmp_path))) is None


def test_new_values_are_shown_but_are_no_headlines(tmp_path: Path) -> None:
    results = read(synthetic.make(tmp_path, Made(evidence=True, items=12, steps=2)))
    table = main.metrics(results)
    for title in ("majority of samples", "NLL of earlier answers", "KL from the base"):
        assert any(column.startswith(title) for column in table.columns), title
    place = next(i for i, name in enumerate(table.columns) if name.startswith("KL"))
    kl = next(row[place].text for row in table.rows if row[0].text == "compact")
    assert len(kl.split()[0].split(".")[1]) == 3
    assert {m.metric for m in results.main_measures} == {"accuracy", "marginal_nll"}
