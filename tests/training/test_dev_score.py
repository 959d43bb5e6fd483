"""The dev score against decoding by hand, and that asking for it changes nothing else."""

from __future__ import annotations

import copy
import functools

import pytest
import torch

from compact_bench.api import Decoding
from compact_bench.data.tasks import TaskData, dev_task
from compact_bench.errors import CellError
from compact_bench.evaluation.evaluate import evaluate
from compact_bench.execution.prepare import prepare
from compact_bench.student.lora import with_adapters
from compact_bench.student.student import Student
from compact_bench.suite.schema import Suite
from compact_bench.suite.sections import LoraSpec
from compact_bench.training.dev_score import DevScore
from tests.evaluation.test_evaluate import items, spec, written
from tests.tiny_student import GOLD, LIMIT, by_hand, byte_tokenizer, taught_student


@functools.cache
def taught():
    return taught_student(byte_tokenizer())


def student(lora: bool = False) -> Student:
    causal = copy.deepcopy(taught())
    model = causal
    if lora:
        model = with_adapters(causal, LoraSpec(r=2), 0.0, seed=0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    return Student(model, causal, byte_tokenizer())


def scorer(**changes) -> DevScore:
    return DevScore(written(), spec(**changes), seed=1)


def of_evaluation(made: Student, metric: str, **changes) -> float:
    made.merged()
    rows, _ = evaluate(made, [written()], spec(**changes), Decoding(), seed=1, stage="after")
    return next(r["value"] for r in rows if r["metric"] == metric and r["filter"] != "flexible")


@pytest.mark.parametrize(("questions", "right"), [(5, 2), (2, 1), (99, 2)])
def test_accuracy_is_that_of_decoding_by_hand(questions, right):
    made = student()
    found = scorer().of(made, Decoding(), "accuracy", questions)
    assert found == pytest.approx(right / min(questions, len(GOLD)))
    # The first and the fourth are right: tests/evaluation/test_evaluate.py decodes them by hand.


def test_every_token_that_is_read_is_counted_as_selection():
    made = student()
    scorer().of(made, Decoding(), "accuracy", 5)
    read = 0
    for question in GOLD:
        prompt = made.encoder.prompt(question)
        answer = made.tokenizer.decode(by_hand(made.causal, prompt, LIMIT))
        stopped = answer.find("Question:")
        text = answer if stopped < 0 else answer[: stopped + len("Question:")]
        # One token a byte. The last one is read where it is followed by the end token alone.
        read += len(prompt) + len(text) - (len(text) == LIMIT or stopped >= 0)
    cost = made.cost
    assert cost.tokens == cost.selection_tokens == read
    assert cost.flops == 2.0 * made.parameters_passed * read
    assert cost.supervised_tokens == cost.teacher_tokens == 0
    assert cost.physical_tokens >= read


@pytest.mark.parametrize("lora", [False, True])
def test_the_marginal_nll_is_the_evaluations_with_the_sign_turned(lora):
    found = scorer(marginal_samples=2).of(student(lora), Decoding(), "marginal_nll", 5)
    expected = of_evaluation(student(lora), "marginal_nll", marginal_samples=2)
    assert found == pytest.approx(-expected, abs=1e-4)  # with adapters merged in there


def test_samples_are_taken_where_the_evaluation_takes_none():
    found = scorer(marginal_samples=0).of(student(), Decoding(), "marginal_nll", 5)
    assert found == scorer(marginal_samples=32).of(student(), Decoding(), "marginal_nll", 5)
    assert found < 0


@pytest.mark.parametrize("by", ["accuracy", "marginal_nll"])
def test_asking_disturbs_nothing(by):
    made = student(lora=True)
    made.model.train()
    made.causal.get_decoder().layers[0].eval()
    modes = [module.training for module in made.model.modules()]
    weights = {n: p.clone() for n, p in made.model.named_parameters()}
    torch.manual_seed(5)
    random = torch.get_rng_state()
    scores = [scorer().of(made, Decoding(), by, 3) for _ in range(2)]
    assert scores[0] == scores[1]
    assert torch.equal(random, torch.get_rng_state())
    assert modes == [module.training for module in made.model.modules()] and any(modes)
    assert all(torch.equal(p, weights[n]) for n, p in made.model.named_parameters())
    assert all(p.grad is None for p in made.trainable().values())
    before = made.cost.tokens
    made.causal(input_ids=torch.tensor([[5, 6]]))  # the counter is gone
    assert made.cost.tokens == before


def test_what_can_not_be_scored_is_refused():
    nobody = DevScore(
        TaskData("in_domain", "generate", "reasoning", items().head(0), 0.0), spec(), 0
    )
    with pytest.raises(CellError, match="no dev question"):
        nobody.of(student(), Decoding(), "accuracy", 5)
    choice = DevScore(TaskData("in_domain", "choice", "reasoning", items(), 0.2), spec(), 0)
    with pytest.raises(CellError, match="kind generate, not choice"):
        choice.of(student(), Decoding(), "marginal_nll", 5)


def test_it_holds_the_dev_split_and_no_test_question():
    values = {
        **{"suite": "gsm8k", "title": "", "profile": "mini", "methods": ["x"], "seeds": [0]},
        "student": {"id": "nano"},
        "data": {"source": "mini", "train": 20, "dev": 20, "test": 20},
        "training": {"learning_rate": 1e-3, "epochs": 1, "batch_size": 2},
        "evaluation": {"tasks": [{"task": "in_domain", "role": "reasoning"}]},
    }
    suite = Suite.model_validate(values)
    prepared = prepare(suite)
    task = dev_task(suite, prepared.dev)
    assert list(task.items["question_id"]) == sorted(prepared.dev["question_id"])
    assert len(task.items) == 20
    assert not set(task.items["question_id"]) & set(prepared.tasks[0].items["question_id"])
    chosen = suite.model_copy(
        update={"evaluation": suite.evaluation.model_copy(update={"select": True})}
    )
    assert prepare(chosen).tasks[0].items.equals(task.items)  # what --select asks is the same
