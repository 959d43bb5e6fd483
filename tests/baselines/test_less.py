"""The choice by gradients against plain autograd, what is left out, and what is counted."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch.nn.functional import cosine_similarity

from compact_bench.api import Run
from compact_bench.methods.registry import load
from compact_bench_baselines.less import dev_gradient
from tests.methods.test_weight_space import moved, row_gradient
from tests.trainers import assert_resumes, trainer

METHOD = load().methods["less"]
DEV = pd.DataFrame(
    {
        "question_id": ["d0", "d1", "d2"],
        "question": ["0 and 1?", "1 and 1?", "2 and 1?"],
        "answer": ["1", "2", "3"],
        "answer_kind": "number",
    }
)


def made(keep: float = 0.25, **arguments):
    one = trainer(METHOD(METHOD.Config(keep=keep, warm_up=0.25)), **arguments)
    one.dev = SimpleNamespace(task=SimpleNamespace(items=DEV))
    return one


def fitted(one):
    one.distiller.fit(one)
    return one


def answers_gradient(student) -> torch.Tensor:
    """Of the mean NLL of the dev questions' answers after their prompts."""
    encoder, parts = student.encoder, []
    for row in DEV.itertuples():
        prompt = encoder.prompt(row.question)
        gold = encoder.ids(" The answer is") + encoder.answer(row.answer) + encoder.eos
        parts.append(row_gradient(student, prompt + gold, len(prompt), "mean"))
    return torch.stack(parts).mean(0)


@pytest.mark.parametrize("lora", [False, True])
def test_alignment_is_the_cosine_with_the_dev_answers_gradient(lora):
    one = made(lora=lora)
    moved(one.student)
    found = one.distiller.alignment(one)
    target = answers_gradient(one.student)
    assert torch.allclose(dev_gradient(one.student, one.dev_batches()), target, atol=1e-5)
    assert len(found) == 14
    for example in one.examples:
        for rationale in example.rationales:
            ids, prefix = example.prompt_ids + rationale.ids, len(example.prompt_ids)
            own = row_gradient(one.student, ids, prefix, "mean")
            key = (example.question_id, "ab"[rationale.teacher], 0)
            expected = float(cosine_similarity(own, target, dim=0))
            assert found[key] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("lora", [False, True])
def test_the_best_share_is_trained_on_from_the_start(lora):
    one = fitted(made(keep=0.3, lora=lora))
    assert len(one.distiller.chosen) == 4 and one.position.run == 8
    frame = pd.DataFrame(one.records)
    keys = frame[["question_id", "teacher", "sample"]].itertuples(index=False, name=None)
    read = frame[(frame["step"] > 2) & (frame["weight"] > 0)]
    chosen = set(read[["question_id", "teacher", "sample"]].itertuples(index=False, name=None))
    assert chosen <= one.distiller.chosen <= set(keys)
    again = trainer(lora=lora)
    again.dev = one.dev
    again.run(METHOD(), stage="warm-up", part=(0.0, 0.25))
    scores = METHOD().alignment(again)
    assert min(scores[key] for key in one.distiller.chosen) >= max(
        value for key, value in scores.items() if key not in one.distiller.chosen
    )


def test_warm_up_and_choice_count_as_choosing():
    one = fitted(made())
    warm_up = pd.DataFrame(one.records).query("step <= 2")["tokens"].max()
    cost = one.student.cost
    every = sum(len(e.prompt_ids) + len(r.ids) for e in one.examples for r in e.rationales)
    assert cost.selection_tokens > warm_up + every
    assert cost.selection_tokens < cost.tokens and one.dev_questions == 3


@pytest.mark.parametrize("stop_at", [1, 6])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, stop_at):
    assert_resumes(lambda folder: made(folder=folder), fitted, tmp_path, stop_at)


def test_it_skips_without_dev_questions():
    nothing = Run(SimpleNamespace(questions=range(4)), ("a",), None, None)
    assert METHOD().skip(nothing) == "no dev question to choose by"
