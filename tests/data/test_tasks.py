"""Items of a task: choices taken apart, the dev split, and items that are template-clean."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from compact_bench.data.rationales import question_table
from compact_bench.data.tasks import TaskData, dev_task, template_clean_items, with_choices
from compact_bench.errors import UserError
from compact_bench.records.parquet import read_table
from compact_bench.records.published import without_text
from compact_bench.records.suite_record import read_clean, read_items, write_items
from compact_bench.suite.sections import TaskSpec

WHERE = "Where to?\nAnswer choices: (A) bank (B) mall"


def table(*rows: tuple[str, str, str]):
    return question_table(
        {"question_id": key, "question": question, "answer": answer, "kind": "choice"}
        for key, question, answer in rows
    )


def test_choices_are_taken_from_the_question():
    items = with_choices(table(("q", WHERE, "B")), "t")
    assert list(items["choices"]) == [("bank", "mall")] and list(items["gold"]) == [1]
    for question, answer in ((WHERE, "C"), (WHERE, "7"), ("Where to?", "A")):
        with pytest.raises(UserError, match=r"task t: no choices .* or not the right one"):
            with_choices(table(("q", question, answer)), "t")


@pytest.mark.parametrize("kind", ["choice", "generate"])
def test_the_dev_split_is_asked_as_the_task_in_domain(kind):
    spec = TaskSpec(task="in_domain", role="reasoning", kind=kind, chance=0.5)
    suite = SimpleNamespace(in_domain=spec)
    task = dev_task(suite, table(("b", WHERE, "A"), ("a", WHERE, "B")))
    assert (task.name, task.kind, task.role) == ("in_domain", kind, "reasoning")
    assert list(task.items["question_id"]) == ["a", "b"] and list(task.items.index) == [0, 1]
    assert "answer_kind" in task.items
    assert ("gold" in task.items) == (kind == "choice")
    assert task.chance == (0.5 if kind == "choice" else 0.0)


def test_clean_items_are_those_in_domain_whose_story_is_new():
    rows = table(("a", "Ann has 3 pens. How many?", "1"), ("b", "Bob has 2 cups. How many?", "1"))
    tasks = [
        TaskData("in_domain", "generate", "reasoning", rows, 0.0),
        TaskData("old", "generate", "forgetting", table(("c", "New?", "1")), 0.0),
    ]
    clean = template_clean_items(tasks, ["Ann has 77 pens. Who gave them?"])
    assert clean == {"a": False, "b": True}


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
