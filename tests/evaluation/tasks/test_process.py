"""What the task files name: items, answers in two ways, and their score."""

from __future__ import annotations

import json

from compact_bench.evaluation.tasks.process import flexible, read_items, score_answer, strict

DOC = {"answer": "12", "answer_kind": "number"}


def test_items_are_read_as_lm_eval_s_test_split(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps({"question_id": str(i)}) + "\n" for i in range(3)))
    (split, items), *rest = read_items(str(path), version=1).items()
    assert (split, rest, items["question_id"]) == ("test", [], ["0", "1", "2"])


def test_an_answer_is_stated_or_stands_anywhere():
    texts = [["5 + 7 is 12. The answer is 12"], ["so there are 12 of the 7"]]
    assert strict(texts, [DOC, DOC]) == [["12"], [None]]
    assert flexible(texts, [DOC, DOC]) == [["12"], ["7"]]


def test_a_missing_answer_is_wrong_and_counted():
    assert score_answer(DOC, ["12.0"]) == {"accuracy": 1.0, "no_answer": 0.0}
    assert score_answer(DOC, ["7"]) == {"accuracy": 0.0, "no_answer": 0.0}
    assert score_answer(DOC, [None]) == {"accuracy": 0.0, "no_answer": 1.0}
