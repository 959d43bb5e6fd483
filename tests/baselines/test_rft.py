"""RFT: which own rationales the second student reads, from where it begins, what it costs."""

from __future__ import annotations

import pandas as pd
import pytest

from compact_bench.methods.registry import load
from compact_bench_baselines.rft import distinct
from tests.trainers import assert_resumes, same, student, trainer

METHOD = load().methods["rft"]


def make(folder=None, lora=False, **settings):
    """A trainer whose student writes what it is told to, and what it was at each stage's start."""
    made = trainer(METHOD(METHOD.Config(**{"samples": 3} | settings)), folder=folder, lora=lora)
    made.starts = []
    inner, sample = made.run, made.student.sample

    def run(*args, **options):
        made.starts.append(made.student.state_dict())
        return inner(*args, **options)

    def told(batch, n, temperature):
        """q1 is right twice in the same words and once in others; q2 is wrong; the rest silent."""
        own = sample(batch, n, temperature, max_new_tokens=2)
        texts = {
            "q1": [f" {step}. The answer is 2" for step in ("1+1 = 2", "1 + 1 =2", "Two")],
            "q2": [" 1 + 1 = 2. The answer is 2"] * 3,
        }
        own.texts = [texts.get(name, ["?"] * n) for name in batch.question_id]
        own.batch = made.student.batch_of(batch, own.texts)
        return own

    made.run, made.student.sample = run, told
    return made


def fitted(made):
    made.distiller.fit(made)
    return made


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_own_right_and_distinct_rationales_are_read_in_the_second_stage(lora):
    made = fitted(make(lora=lora))
    frame = pd.DataFrame(made.records)
    own = frame[frame["teacher"] == "student"]
    assert set(own["question_id"]) == {"q1"} and set(own["sample"]) == {0, 1}
    assert set(own["weight"]) == {0.25}
    assert own["step"].min() > frame["step"].max() / 3
    start = student(lora).state_dict()
    assert [same(state, start) for state in made.starts] == [True, True]
    assert frame["step"].max() == 8  # as many steps in all as any other row


def test_alone_the_others_are_left_out():
    frame = pd.DataFrame(fitted(make(teachers=False)).records)
    second = frame[frame["step"] > 3]
    assert set(second["teacher"]) == {"student", ""}  # "": a question that is left out
    assert set(frame[frame["step"] <= 3]["teacher"]) == {"a", "b"}


def test_the_first_student_counts_as_spent_on_choosing():
    made = make()
    costs = []
    add = made.add_rationales
    made.add_rationales = lambda *a: costs.append(made.student.cost.as_dict()) or add(*a)
    fitted(made)
    assert costs[0]["selection_tokens"] == costs[0]["tokens"] > 0
    assert made.student.cost.selection_tokens == costs[0]["tokens"] < made.student.cost.tokens
    assert made.student.cost.sampled_tokens > 0


def test_what_the_student_wrote_is_no_teachers():
    made = fitted(make())
    frame = pd.DataFrame(made.records)
    written = frame.groupby(frame["teacher"] == "student")["rationale_tokens"].sum()
    cost = made.student.cost
    assert cost.teacher_tokens == written[False]
    assert cost.supervised_tokens == written[False] + written[True]


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    def plain(folder):
        return trainer(METHOD(METHOD.Config(samples=2)), folder=folder)

    assert_resumes(plain, fitted, tmp_path, stop_at=5)


def test_one_of_each_list_of_equations():
    texts = ["a 2 + 3 = 5, 5*2=10", "b 2+3=5 then 5 * 2 = 10", "c 3+2 = 5, 5*2=10", "d", " d ", "e"]
    assert distinct(texts) == [texts[0], texts[2], "d", "e"]
    assert distinct([]) == []
