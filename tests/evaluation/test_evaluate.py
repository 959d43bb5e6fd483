"""evaluate.py against by-hand decoding, by-hand likelihoods, and stock lm-eval."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from compact_bench.api import Decoding
from compact_bench.data.splits import write_choices
from compact_bench.data.tasks import TaskData
from compact_bench.evaluation import evaluate as evaluation
from compact_bench.evaluation.lm_eval_docs import write_task
from compact_bench.student.student import Student
from compact_bench.suite.sections import EvaluationSpec
from tests.tiny_student import GOLD, LIMIT, TAUGHT, by_hand, byte_tokenizer, taught_student


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture(scope="module")
def student(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return taught_student(tokenizer)


def items(kind: str = "number") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "question_id": [f"{i:016x}" for i in range(len(GOLD))],
            "question": list(GOLD),
            "answer": list(GOLD.values()),
            "answer_kind": kind,
        }
    )


def written(name: str = "in_domain", role: str = "reasoning") -> TaskData:
    return TaskData(name=name, kind="generate", role=role, items=items(), chance=0.0)


def spec(**changes: object) -> EvaluationSpec:
    values = {
        "tasks": [{"task": "in_domain", "role": "reasoning"}],
        "batch_size": 2,
        "max_new_tokens": LIMIT,
        "marginal_samples": 0,
    }
    return EvaluationSpec(**(values | changes))


def ask(
    student: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *tasks: TaskData,
    decoding: Decoding | None = None,
    progress: Callable[[dict], None] | None = None,
    **changes: object,
) -> tuple[list[dict], list[dict]]:
    return evaluation.evaluate(
        Student(student, student, tokenizer),
        tasks,
        spec(**changes),
        decoding or Decoding(),
        seed=1,
        stage="after",
        progress=progress,
    )


def value(rows: list[dict], metric: str, kind: str = "none") -> float:
    (found,) = [r["value"] for r in rows if r["metric"] == metric and r["filter"] == kind]
    return found


def test_rows_and_samples_of_a_written_task(student, tokenizer):
    rows, samples = ask(student, tokenizer, written())
    outputs = []
    for question, sample in zip(GOLD, samples, strict=True):
        ids = tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
        outputs.append(tokenizer.decode(by_hand(student, ids, LIMIT)).split("Question:")[0])
        assert sample["output"] == outputs[-1]
    assert outputs[:4] == [text.split("Question:")[0] for text, _ in TAUGHT.values()][:4]
    assert [s["extracted"] for s in samples] == ["3", None, "7", "4", None]
    assert [s["right"] for s in samples] == [True, False, False, True, False]
    assert [s["cut_off"] for s in samples] == [False, False, False, False, True]
    assert value(rows, "accuracy", "strict") == pytest.approx(2 / 5)
    assert value(rows, "accuracy", "flexible") == pytest.approx(3 / 5)
    assert value(rows, "no_answer", "strict") == pytest.approx(2 / 5)
    assert value(rows, "cut_off") == pytest.approx(1 / 5)
    # One token a byte; the stop string is written before it is seen.
    lengths = [len(a) for a, _ in TAUGHT.values()][:3] + [31, LIMIT]
    assert [s["tokens"] for s in samples] == lengths
    assert value(rows, "answer_tokens") == pytest.approx(sum(lengths) / 5)
    for row in rows:
        assert row["n"] == 5 and row["split"] == "test" and row["stage"] == "after"
        assert row["task_version"] == 1 and math.isfinite(row["stderr"])
        if row["metric"] in ("accuracy", "no_answer", "cut_off"):
            p = row["value"]
            assert row["stderr"] == pytest.approx(math.sqrt(p * (1 - p) / 4))


def test_choice_task_against_likelihoods_by_hand(student, tokenizer):
    choices = [["one, two", "so it is", "zebra"]] * 3
    table = items().head(3).assign(choices=pd.Series(choices), gold=[0, 1, 2])
    bare = list(table["question"])
    table["question"] = [write_choices(question, choices[0]) for question in bare]
    task = TaskData(name="csqa", kind="choice", role="forgetting", items=table, chance=1 / 3)
    rows, samples = ask(student, tokenizer, task)
    for sample, question in zip(samples, bare, strict=True):
        prompt = tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
        totals = []
        for text in choices[0]:
            ids = tokenizer(" " + text)["input_ids"]
            logits = student(torch.tensor([prompt + ids])).logits[0].detach().log_softmax(-1)
            chances = [logits[len(prompt) - 1 + i, token] for i, token in enumerate(ids)]
            totals.append(float(sum(chances)))
        assert sample["output"] == "ABC"[totals.index(max(totals))]
        assert sample["right"] == (sample["output"] == sample["answer"])
    (row,) = rows
    assert (row["metric"], row["filter"], row["n"]) == ("accuracy", "none", 3)
    assert row["value"] == pytest.approx(sum(s["right"] for s in samples) / 3)
    assert row["chance"] == pytest.approx(1 / 3) and row["role"] == "forgetting"


def test_two_passes_append_the_cue(student, tokenizer):
    _, samples = ask(student, tokenizer, written(), decoding=Decoding(passes=2))
    assert all(" The answer is" in sample["output"] for sample in samples)
    assert samples[0]["output"] == " one, two The answer is 3"
    # " so it is 4" states no answer in one pass; the second pass asks for one.
    head = " so it is 4 The answer is"
    ids = tokenizer("Question: 2 and 2?\nAnswer:" + head)["input_ids"]
    answer = tokenizer.decode(by_hand(student, ids, 24)).split("Question:")[0]
    assert samples[1]["output"] == head + answer
    assert samples[0]["tokens"] >= len(" one, two The answer is 3")


def test_forgetting_is_asked_plainly_and_dev_is_named(student, tokenizer):
    tasks = [written(), written("old", "forgetting")]
    decoding = Decoding(prompt="predict", passes=2)
    rows, samples = ask(student, tokenizer, *tasks, decoding=decoding, select=True)
    assert {(r["task"], r["split"]) for r in rows} == {("in_domain", "dev"), ("old", "test")}
    old = [s["output"] for s in samples if s["task"] == "old"]
    assert old[0] == TAUGHT["1 and 2?"][0]


def test_nothing_outside_is_disturbed(student, tokenizer, capfd):
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), np.random.rand(), float(torch.rand(()))
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    student.train()
    student.model.layers[0].eval()
    events: list[dict] = []
    ask(student, tokenizer, written(), progress=events.append, marginal_samples=2)
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected
    assert student.training and not student.model.layers[0].training
    student.eval()
    assert capfd.readouterr() == ("", "")
    done = [e["done"] for e in events]
    assert done == sorted(set(done)) and done[0] == 2 and done[-1] == 5
    assert {e["items"] for e in events} == {5}


def test_marginal_nll_is_reported(student, tokenizer):
    asked = {"marginal_samples": 16, "marginal_items": 2}
    rows, samples = ask(student, tokenizer, written(), **asked)
    values = [s["marginal_nll"] for s in samples if "marginal_nll" in s]
    assert len(values) == 2
    (row,) = [r for r in rows if r["metric"] == "marginal_nll"]
    assert row["value"] == pytest.approx(sum(values) / 2) and row["n"] == 2
    assert values[0] < 1.0  # it knows that 1 and 2 is 3
    again = ask(student, tokenizer, written(), **asked)
    assert [s.get("marginal_nll") for s in again[1]] == [s.get("marginal_nll") for s in samples]


def test_lm_eval_tasks_by_name(student, tokenizer, monkeypatch):
    """A named task goes through simple_evaluate; its rows take our names."""
    asked: dict = {}

    def answer(lm: HFLM, **options: object) -> dict:
        asked.update(options)
        sample = {
            "doc_id": 0,
            "doc_hash": "a" * 64,
            "resps": [["#### 3"]],
            "filtered_resps": ["3"],
            "target": "3",
            "exact_match": 1.0,
        }
        return {
            "results": {
                "gsm8k": {
                    "alias": "gsm8k",
                    "sample_len": 4,
                    "exact_match,strict-match": 0.25,
                    "exact_match_stderr,strict-match": 0.25,
                    "exact_match,flexible-extract": 0.5,
                    "exact_match_stderr,flexible-extract": "N/A",
                }
            },
            "versions": {"gsm8k": 3.0},
            "samples": {"gsm8k": [sample, sample | {"exact_match": 0.0}]},
        }

    monkeypatch.setattr(evaluation, "simple_evaluate", answer)
    task = TaskData("gsm8k", "lm_eval", "reasoning", items=pd.DataFrame(), chance=0.0)
    specs = [{"task": "gsm8k", "role": "reasoning", "kind": "lm_eval", "limit": 4}]
    rows, samples = ask(student, tokenizer, task, tasks=specs)
    assert asked["tasks"] == ["gsm8k"] and asked["limit"] == 4
    assert value(rows, "accuracy", "strict") == 0.25
    assert math.isnan(next(r["stderr"] for r in rows if r["filter"] == "flexible"))
    assert {r["task_version"] for r in rows} == {3}
    assert [s["right"] for s in samples] == [True]


def test_named_task_by_lm_eval_itself(student, tokenizer, tmp_path, monkeypatch, capfd):
    """A task that lm-eval finds by name is asked by its own model, silently, in any folder."""
    docs = [
        {"prompt": f"Question: {q}\nAnswer:", "answer": a, "answer_kind": "number"}
        for q, a in GOLD.items()
    ]
    home = write_task(tmp_path / "named", "named", "generate", docs, LIMIT)
    manager = TaskManager(include_path=str(home), include_defaults=False)
    real = functools.partial(evaluation.simple_evaluate, task_manager=manager)
    monkeypatch.setattr(evaluation, "simple_evaluate", real)
    monkeypatch.chdir(tmp_path)
    task = TaskData("named", "lm_eval", "forgetting", items=pd.DataFrame(), chance=0.0)
    rows, samples = ask(student, tokenizer, task)
    assert capfd.readouterr() == ("", "")
    assert value(rows, "accuracy", "strict") == pytest.approx(2 / 5)
    assert value(rows, "accuracy", "flexible") == pytest.approx(3 / 5)
    assert {row["n"] for row in rows} == {5}
    assert [s["right"] for s in samples] == [True, False, False, True, False]
    assert not list(Path.cwd().glob("**/*.arrow"))
