"""The template-clean subset: which items it holds, where it is kept, and the table over it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.analysis import statistics
from compact_bench.analysis.results import read
from compact_bench.data.splits import template, template_clean
from compact_bench.data.tasks import template_clean_items
from compact_bench.records.published import without_text
from compact_bench.records.suite_record import read_clean, read_items, write_items
from compact_bench.records.tables import read_table
from compact_bench.report.tables.template_clean import table
from tests import synthetic

STORY = "Ann has {} pens. Ben has {:,} more!"


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_numbers_and_what_is_asked_make_no_other_template(first, second):
    old = f"{STORY.format(first, second)} How many has Ann?"
    new = f"{STORY.format(second, first)}  Who has more than {first / 8}?"
    assert template(old) == template(new)
    assert template_clean([old], [new, old.replace("Ann", "Cara")]) == [False, True]


def test_a_question_of_one_sentence_is_all_story():
    assert template_clean(["Are 3 cats 4?"], ["Are 7 cats 90?", "Are 3 dogs 4?"]) == [False, True]


def test_items_keep_it_in_domain_and_publishing_keeps_the_column(tmp_path):
    items = pd.DataFrame({"question_id": ["a", "b"], "answer": ["1", "2"]})
    items["question"] = ["Ann has 3 pens. How many?", "Ben has 3 pens. How many?"]
    tasks = [SimpleNamespace(name=name, items=items) for name in ("in_domain", "old")]
    clean = template_clean_items(tasks, ["Ann has 41 pens. How many?"])
    write_items(tmp_path, tasks, clean)
    assert read_clean(tmp_path) == {"a": False, "b": True}
    assert read_items(tmp_path)["old", "b"].startswith("Ben")
    kept = without_text(read_table(tmp_path / "items.parquet"))
    assert list(kept["template_clean"][:2]) == [False, True]
    assert kept["template_clean"][2:].isna().all()
    write_items(tmp_path, tasks)  # as older records are
    assert read_clean(tmp_path) == {}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = synthetic.make(tmp_path_factory.mktemp("subsets"))
    frame = read_table(root / "items.parquet")
    frame["question"] = [f"{'Told' if i % 3 else 'Test'} question {i}?" for i in range(len(frame))]
    trained_on = ["Test question 9?"]
    task = SimpleNamespace(name="in_domain", items=frame)
    write_items(root, [task], template_clean_items([task], trained_on))
    return read(root)


def test_the_table_is_of_the_items_that_the_records_name(results):
    found = table(results)
    ids = [key for key, clean in results.clean.items() if clean]
    assert 0 < len(ids) < len(results.clean) == 60
    numbers = found.numbers.set_index(["label", "part"])
    reference = results.named("average")
    for row in results.rows:
        right = {}  # from the samples themselves
        for seed, cell in row.cells.items():
            samples = [s for s in cell.samples() if s["task"] == "in_domain"]
            right[seed] = {s["question_id"]: float(s["right"]) for s in samples}
        for part, keys in (("template-clean", ids), ("all", list(results.clean))):
            per_seed = [np.mean([values[key] for key in keys]) for values in right.values()]
            assert numbers.loc[(row.label, part), "mean"] == pytest.approx(np.mean(per_seed))
            assert numbers.loc[(row.label, part), "n"] == len(keys)
        if row.label == "compact":
            other = [[float(s["right"]) for s in cell.samples() if s["question_id"] in ids]
                     for cell in reference.cells.values()]  # fmt: skip
            ours = [[float(s["right"]) for s in cell.samples() if s["question_id"] in ids]
                    for cell in row.cells.values()]  # fmt: skip
            test = statistics.crossed(np.array(ours) - np.array(other))
            line = numbers.loc[("compact", "template-clean")]
            assert line["difference"] == pytest.approx(test.mean)
            assert line["half_width"] == pytest.approx(test.half_width)
    assert np.isnan(numbers.loc[("average", "template-clean"), "difference"])


def test_without_the_column_or_with_nothing_to_set_apart_there_is_no_table(tmp_path):
    assert table(read(synthetic.make(tmp_path))) is None
