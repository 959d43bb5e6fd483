"""The adapter of lm-eval against lm-eval's own."""

from __future__ import annotations

import math

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from compact_bench.evaluation.lm import StudentLM
from compact_bench.student.student import Student
from tests.tiny_student import GOLD, LIMIT, byte_tokenizer, taught_student


@pytest.mark.parametrize("batch_size", [1, 3])
def test_equal_to_lm_evals_own_decoding_and_likelihood(batch_size):
    tokenizer = byte_tokenizer()
    student = taught_student(tokenizer)
    settings = {"until": ["Question:"], "do_sample": False, "max_gen_toks": LIMIT}
    prompts = [f"Question: {question}\nAnswer:" for question in GOLD]
    asked = [Instance("generate_until", {}, (p, settings), 0) for p in prompts]
    choices = (" four", " one, two", " so", "\u00e9", " three, two The answer is 7")
    pairs = [Instance("loglikelihood", {}, (p, c), 0) for p in prompts for c in choices]
    stock = HFLM(pretrained=student, tokenizer=tokenizer, batch_size=3)
    ours = StudentLM(Student(student, student, tokenizer), batch_size)
    assert ours.generate_until(asked) == stock.generate_until(asked, disable_tqdm=True)
    expected = stock.loglikelihood(pairs, disable_tqdm=True)
    found = ours.loglikelihood(pairs)
    assert [value for value, _ in found] == pytest.approx(
        [value for value, _ in expected], abs=1e-4
    )
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert any(greedy for _, greedy in found)


def test_a_method_s_own_answers_take_the_places_of_the_student_s():
    tokenizer = byte_tokenizer()
    model = taught_student(tokenizer)
    lm = StudentLM(Student(model, model, tokenizer), batch_size=2)
    settings = {"until": ["Question:"], "do_sample": False, "max_gen_toks": LIMIT}
    requests = [
        Instance("generate_until", {"question_id": q}, (f"Question: {q}\nAnswer:", settings), 0)
        for q in list(GOLD)[:3]
    ]
    of_student, traces = lm.generate_until(requests), lm.traces[None]
    lm.answers = {None: {"2 and 2?": "9"}}  # requests that were made by hand belong to no task
    assert lm.generate_until(requests) == [of_student[0], " The answer is 9", of_student[2]]
    assert [trace.tokens for trace in lm.traces[None]] == [traces[0].tokens, 0, traces[2].tokens]
    choices = [
        Instance("loglikelihood", {"question_id": q}, (f"Question: {q}\nAnswer:", " so"), place)
        for place, q in enumerate(list(GOLD)[1:3])
    ]
    lm.answers = {None: {"2 and 2?": "B"}}
    (first, chosen), (other, _) = lm.loglikelihood(choices)
    assert (first, chosen) == (-math.inf, False) and -math.inf < other < 0
    lm.answers = {None: {"2 and 2?": "A"}}
    assert lm.loglikelihood(choices)[0] == (0.0, True)


def test_tasks_that_come_together_keep_their_own_passes_answers_and_traces():
    tokenizer = byte_tokenizer()
    model = taught_student(tokenizer)
    lm = StudentLM(Student(model, model, tokenizer), batch_size=4)
    settings = {"until": ["Question:"], "do_sample": False, "max_gen_toks": LIMIT}

    def asked(task: str, questions: list[str]) -> list[Instance]:
        return [
            Instance(
                "generate_until",
                {"question_id": q},
                (f"Question: {q}\nAnswer:", settings),
                0,
                (task, n, 1),
            )
            for n, q in enumerate(questions)
        ]

    once, twice = asked("once", list(GOLD)[:3]), asked("twice", list(GOLD)[1:4])
    lm.passes = {"twice": 2}
    lm.answers = {"twice": {"4?": "8"}}
    apart = {task: (lm.generate_until(own), lm.traces[task]) for task, own in
             (("once", once), ("twice", twice))}  # fmt: skip
    mixed = [twice[0], once[0], once[1], twice[1], twice[2], once[2]]
    texts = dict(zip(map(id, mixed), lm.generate_until(mixed), strict=True))
    for task, own in (("once", once), ("twice", twice)):
        assert ([texts[id(request)] for request in own], lm.traces[task]) == apart[task]
    assert texts[id(twice[2])] == " The answer is 8" != texts[id(once[2])]
