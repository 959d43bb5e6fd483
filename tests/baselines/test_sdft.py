"""SDFT: what is shown to the student, and which rationales are rewritten."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from compact_bench.methods.registry import load
from tests.baselines.banks import layout_bank
from tests.models import make_student

METHOD = load().methods["sdft"]


def make(**settings):
    return METHOD(METHOD.Config(**settings))


def test_a_rationale_is_rewritten_where_its_answer_stays():
    student, bank = make_student("llama", "padded"), layout_bank()
    told = [" In my words. The answer is 12", " The answer is 12", " No answer"]
    told += [" 2. The answer is 2.0", " So it is 2 Question: 9?"]
    shown = []

    def sample(batch, temperature):
        shown.extend(student.tokenizer.decode(ids) for ids in batch.prompt_ids)
        answers = [["12"], ["12"], [None], ["2"], [None]]  # of those that state one
        own = SimpleNamespace(answer_texts=answers)
        return SimpleNamespace(texts=[[text] for text in told], batch=own)

    student.sample = sample
    chosen = make().select(bank, student)
    texts = chosen.rationales["text"].tolist()
    old = bank.rationales["text"].tolist()
    # The second is wrong (13), the third and the last have no answer now.
    new = ["In my words. The answer is 12", "2. The answer is 2.0"]
    assert texts == [new[0], old[1], old[2], new[1], old[4]]
    others = [name for name in bank.rationales.columns if name != "text"]
    assert chosen.rationales[others].equals(bank.rationales[others])
    question = bank.questions["question"][0]
    assert shown[0] == f"Question: {question}\nAnswer: {old[0]}\n\nQuestion: {question}\nAnswer:"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_student_writes_as_often_as_there_are_rationales_and_it_counts(temperature):
    student, bank = make_student("llama", "shared"), layout_bank()
    make(temperature=temperature).select(bank, student)
    assert student.cost.sampled_tokens >= len(bank.rationales)
    assert student.cost.supervised_tokens == 0


def test_the_template_shows_both():
    made = make(template="{rationale} {question}?")
    student = make_student("llama", "padded")
    ids = made.prompt(student, "a {rationale}", "b")
    assert student.tokenizer.decode(ids) == "Question: b a {rationale}?\nAnswer:"
    for template in ("{question}", "{rationale}"):
        with pytest.raises(ValueError, match=r"expected \{question\} and \{rationale\} in it"):
            make(template=template)
