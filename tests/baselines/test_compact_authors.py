"""The released implementation's numbers (float64), reproduced from its description alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from compact_bench.api import Batch
from compact_bench.student.student import Student
from compact_bench_baselines.compact_authors import CompactAuthors

GOLDEN = Path(__file__).parent.parent / "golden" / "authors"
CASES = json.loads((GOLDEN / "cases.json").read_text())["cases"]


class CharacterTokenizer:
    """Just enough of a tokenizer: the golden cases are token ids already."""

    bos_token_id, eos_token_id, pad_token_id, unk_token_id = None, 2, 0, None

    def __call__(self, text, **_):
        return {"input_ids": [3 + ord(c) % 90 for c in text]}


@pytest.fixture(scope="module")
def student() -> Student:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        GOLDEN / "tiny-llama", dtype=torch.float64, attn_implementation="sdpa"
    )
    return Student(model, model, CharacterTokenizer())


def batch_of(case) -> Batch:
    start = case["target_start"]
    real = [
        [t for t, m in zip(ids, mask, strict=True) if m]
        for ids, mask in zip(case["input_ids"], case["attention_mask"], strict=True)
    ]
    targets = [row[start:] for row in real]
    count = len(real)
    return Batch(
        question_id=["q"],
        questions=["q"],
        teacher=torch.arange(count)[None],
        sample=torch.zeros(1, count, dtype=torch.int64),
        prompt_ids=[real[0][:start]],
        rationale_ids=[targets],
        body_end=[[len(t) for t in targets]],
        answer_start=[[len(t) for t in targets]],
        answer_ids=[case["answer_ids"]],
        step_ends=[[[] for _ in targets]],
        open_steps=[[0 for _ in targets]],
        gold=[""],
        kinds=["number"],
        answer_texts=[[None for _ in targets]],
        step=0,
        epoch=0,
        generator=None,
    )


def distiller_of(case) -> CompactAuthors:
    adaptability, consensus, difficulty = case["betas"]
    return CompactAuthors(
        CompactAuthors.Config(
            beta_adaptability=adaptability,
            beta_consensus=consensus,
            beta_difficulty=difficulty,
            temperature=case["temperature"],
            consistency=case["lambda_consistency"],
            thinking_token_ids=case["thinking_token_ids"],
        )
    )


def close(expected):
    return pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_golden_case(student, case):
    expected = case["expected"]
    assert len({tuple(row[: case["target_start"]]) for row in case["input_ids"]}) == 1
    student.model.zero_grad()
    step = distiller_of(case).backward(student, batch_of(case))
    assert step.nll[0].tolist() == close(expected["nll"])
    assert step.scores["adaptability"][0].tolist() == close(expected["adaptability"])
    assert step.scores["consensus"][0].tolist() == close(expected["consensus"])
    assert step.weights[0].tolist() == close(expected["weights"])
    assert float((step.weights * step.nll).sum()) == close(expected["weighted_nll"])
    assert float(step.loss) == close(expected["loss"])
    for name, norm in expected["grad_norm"].items():
        gradient = student.model.get_parameter(name).grad
        assert float(gradient.norm()) == close(norm), name


def test_scores_are_recorded_and_batches_equal_single_questions(student):
    """Two questions in one batch give each question's own weights."""
    case = next(c for c in CASES if len(c["input_ids"]) > 1 and c["lambda_consistency"])
    single = distiller_of(case).loss(student, batch_of(case))
    twice = batch_of(case)
    for field, value in vars(twice).items():
        if isinstance(value, list):
            setattr(twice, field, value * 2)
    twice.teacher = twice.teacher.repeat(2, 1)
    twice.sample = twice.sample.repeat(2, 1)
    both = distiller_of(case).loss(student, twice)
    assert torch.allclose(both.weights, single.weights.expand(2, -1))
    assert float(both.loss.detach()) == pytest.approx(float(single.loss.detach()), rel=1e-9)
    # Going back a question at a time adds up to the gradient of the mean.
    parameters = list(student.trainable().values())
    whole = torch.autograd.grad(both.loss, parameters, allow_unused=True)
    student.model.zero_grad()
    apart = distiller_of(case).backward(student, twice)
    assert float(apart.loss) == pytest.approx(float(both.loss.detach()), rel=1e-12)
    assert torch.equal(apart.weights, both.weights) and torch.equal(apart.nll, both.nll)
    for parameter, gradient in zip(parameters, whole, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)
