"""Items as documents, and lm-eval's log as samples."""

from __future__ import annotations

import json

import pandas as pd

from compact_bench.api import Decoding
from compact_bench.data.splits import write_choices
from compact_bench.data.tasks import TaskData
from compact_bench.evaluation.lm_eval_docs import choice_sample, documents, write_task
from compact_bench.student.encode import Encoder
from tests.evaluation.test_evaluate import written
from tests.tiny_student import GOLD, byte_tokenizer


def test_prompts_follow_the_decoding():
    encoder = Encoder(byte_tokenizer())
    plain = documents(written(), encoder)
    assert [doc["prompt"] for doc in plain] == [f"Question: {q}\nAnswer:" for q in GOLD]
    predict = documents(written(), encoder, decoding=Decoding(prompt="predict"))
    assert [doc["prompt"] for doc in predict] == [f"[predict] {doc['prompt']}" for doc in plain]
    assert all(doc["answer_kind"] == "number" for doc in plain)


def test_choices_are_not_listed_in_the_prompt():
    item = {
        "question_id": "1",
        "question": write_choices("Red?", ["no", "yes"]),
        "answer": "B",
        "answer_kind": "choice",
        "choices": ["no", "yes"],
        "gold": 1,
    }
    task = TaskData("old", "choice", "forgetting", pd.DataFrame([item]), 0.5)
    (doc,) = documents(task, Encoder(byte_tokenizer()))
    assert doc["prompt"] == "Question: Red?\nAnswer:"
    assert (doc["choices"], doc["gold"]) == (["no", "yes"], 1)


def test_a_task_file_names_its_items_and_stops_at_the_next_question(tmp_path):
    home = write_task(tmp_path / "old", "old", "generate", [{"question_id": "1"}], 40)
    task = json.loads((home / "task.yaml").read_text())
    assert json.loads((home / "items.jsonl").read_text()) == {"question_id": "1"}
    assert task["dataset_kwargs"] == {"path": str(home / "items.jsonl")}
    assert task["generation_kwargs"]["until"] == ["Question:"]
    assert task["generation_kwargs"]["max_gen_toks"] == 40


def test_the_likeliest_choice_is_the_output():
    sample = {
        "doc": {"question_id": "1", "gold": 0},
        "filtered_resps": [(-2.0, False), (-0.5, True), (float("-inf"), False)],
        "acc": 0.0,
    }
    row = choice_sample(sample)
    assert (row["output"], row["answer"], row["right"]) == ("B", "A", False)
    assert row["log_chances"] == [-2.0, -0.5, None]
