"""Rules by hand, the choice of one, and its row from cell to table."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from compact_bench.api import Decoding, Distiller
from compact_bench.data.rationales import RationaleBank, question_table, rationale_table
from compact_bench.data.splits import write_choices
from compact_bench.data.tasks import TaskData
from compact_bench.evaluation.evaluate import evaluate
from compact_bench.methods.registry import load
from compact_bench.student.student import Student
from tests.baselines.banks import run_of
from tests.evaluation.test_evaluate import items, spec, written
from tests.tiny_student import GOLD, byte_tokenizer, taught_student

METHOD = load().methods["heuristic"]
BESIDE = Path(__file__).parents[3] / "shared" / "mirror"
MIRROR = Path(os.environ.get("COMPACT_BENCH_MIRROR") or BESIDE)


def bank(rows: list[tuple[str, str, str]]) -> RationaleBank:
    """Questions (text, gold answer, kind) with a rationale each, which no rule reads."""
    questions = [
        {"question_id": f"q{i}", "question": text, "answer": answer, "kind": kind}
        for i, (text, answer, kind) in enumerate(rows)
    ]
    shared = {"teacher": "a", "sample": 0, "role": "teacher", "text": "So.", "answer": "1"}
    texts = [{**shared, "question_id": q["question_id"]} for q in questions]
    return RationaleBank(
        question_table(questions),
        rationale_table({**text, "right": True, "corruption": ""} for text in texts),
        ("a",),
    )


def chosen(*rows: tuple[str, str, str]):
    method = METHOD()
    kept = method.select(bank(list(rows)), None)
    assert len(kept.questions) == len(rows)
    return method


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ("last number", "4"),
        ("difference of the last two", "8"),
        ("sum of the last two", "16"),
        ("product of the last two", "48"),
        ("quotient of the last two", "3"),
        ("sum of all", "1236"),
        ("difference of the first two", "1208"),
        ("largest minus smallest", "1216"),
    ],
)
def test_each_rule_over_numbers_is_found_by_the_answer_that_only_it_gives(rule, answer):
    text = "In 1,220 boxes are 12 rows of 4 pens. How many?"
    method = chosen((text, answer, "number"))
    assert method.chosen == {"number": rule}
    assert method.answer(text, "number", ()) == answer


def test_the_most_often_right_rule_is_taken_and_the_first_of_equal_ones():
    often = ("Has 9, lost 2.", "7", "number"), ("Has 8, lost 5.", "3", "number")
    assert chosen(*often, ("Has 4, got 2.", "2", "number")).chosen["number"] == (
        "difference of the last two"
    )
    tie = chosen(("Has 4, got 2.", "2", "number"))  # last, difference and quotient give 2
    assert tie.chosen["number"] == "last number"
    none = chosen(("Has 4, got 2.", "77", "number"))
    assert none.chosen["number"] == "last number"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It weighs 2.50 kg and 0.25 kg.", "2.25"),
        ("She has 3 apples.", "3"),
        ("No number here.", "0"),
        ("From 5 to 12.", "7"),
    ],
)
def test_numbers_are_read_by_value(text, answer):
    method = chosen(("Has 9, lost 2.", "7", "number"))
    assert method.answer(text, "number", ()) == answer


def test_numbers_that_can_not_be_divided_are_no_error():
    zero = chosen(("Has 9, in 0.", "9.0", "number"))
    assert zero.chosen["number"] == "difference of the last two"
    method = chosen(("Has 6, in 3.", "2", "number"))
    assert method.chosen["number"] == "quotient of the last two"
    assert method.answer("Has 5, in 0.", "number", ()) == "5"
    assert float(method.answer("Has 1, in 3.", "number", ())) == pytest.approx(1 / 3)


def test_truth_is_what_most_training_questions_have():
    rows = [("a?", "no", "boolean"), ("b?", "yes", "boolean"), ("c?", "no", "boolean")]
    method = chosen(*rows)
    assert method.chosen == {"boolean": "always no"}
    assert method.answer("d?", "boolean", ()) == "no"


def choice(stem: str, gold: str) -> tuple[str, str, str]:
    return write_choices(stem, ["a red car", "the river bank", "a bank for money"]), gold, "choice"


def test_a_choice_is_taken_by_words_or_by_its_letter():
    words = chosen(
        choice("Where is money in a bank?", "C"), choice("Where does a river flow?", "B")
    )
    assert words.chosen == {"choice": "most words"}
    assert words.answer("Red?", "choice", ("blue", "green", "red")) == "C"
    assert words.answer("Nothing alike?", "choice", ("x", "y")) == "A"
    letters = chosen(choice("Red?", "B"), choice("Money?", "B"), choice("River?", "B"))
    assert letters.chosen == {"choice": "always B"}
    assert letters.answer("Red?", "choice", ("blue", "green", "red")) == "B"


def test_a_kind_without_a_training_question_gets_the_first_rule_and_never_a_student():
    method = chosen(("a?", "no", "boolean"))
    assert method.answer("Has 9, lost 2.", "number", ()) == "2"
    assert method.answer("Red?", "choice", ("blue", "red")) == "B"


def test_it_skips_kinds_without_a_rule():
    reason = METHOD().skip(run_of(bank([("a?", "x^2", "expression")])))
    assert reason == "no rule for answers of the kind expression"
    assert METHOD().skip(run_of(bank([("a?", "1", "number"), ("b?", "no", "boolean")]))) is None


def test_its_hooks_are_named():
    assert METHOD.hook() == "select + fit + answer"
    assert METHOD.answers() and not load().methods["average"].answers()
    assert Distiller.answer(METHOD(), "q", "number", ()) is None
    assert not METHOD.seeded


# --- asked by the evaluation ------------------------------------------------------------------


def ask(answer, *tasks, student=None, decoding=None):
    model = student or taught_student(byte_tokenizer())
    return evaluate(
        Student(model, model, byte_tokenizer()),
        tasks,
        spec(marginal_samples=2),
        decoding or Decoding(),
        **{"seed": 1, "stage": "after", "rule": answer},
    )


def value(rows, task, metric):
    return next(
        r["value"]
        for r in rows
        if (r["task"], r["metric"]) == (task, metric) and r["filter"] != "flexible"
    )


@pytest.mark.parametrize("passes", [1, 2])
def test_answers_go_through_the_same_extraction_and_metrics(passes):
    method = chosen(("Has 9, got 2.", "11", "number"))
    rows, samples = ask(method.answer, written(), decoding=Decoding(passes=passes))
    # 1+2, 2+2, 3+2 and 6+1 are right by hand; "4?" has one number, which is right.
    assert [s["extracted"] for s in samples] == list(GOLD.values())
    assert value(rows, "in_domain", "accuracy") == 1.0
    assert value(rows, "in_domain", "no_answer") == value(rows, "in_domain", "cut_off") == 0.0
    assert "marginal_nll" not in {row["metric"] for row in rows}
    assert [s["output"].strip() for s in samples] == [f"The answer is {a}" for a in GOLD.values()]


def test_where_it_says_none_the_student_is_asked():
    """The student is right on the first and the fourth question of GOLD."""
    own = {"2 and 2?": "4", "4?": "9"}
    rows, samples = ask(lambda question, kind, choices: own.get(question), written())
    assert [s["extracted"] for s in samples] == ["3", "4", "7", "9", None]
    assert [s["tokens"] > 0 for s in samples] == [True, False, True, False, True]
    assert value(rows, "in_domain", "accuracy") == pytest.approx(2 / 5)


def test_forgetting_tasks_are_not_asked():
    rows, samples = ask(lambda *_: "3", written(), written("old", role="forgetting"))
    assert {row["task"] for row in rows} == {sample["task"] for sample in samples} == {"in_domain"}


def test_the_chosen_choice_is_the_likeliest():
    texts = [["x", "y"], ["x", "y", "z"]]
    frame = pd.DataFrame(
        {
            "question_id": ["1", "2"],
            "question": [write_choices(f"Q{i}?", t) for i, t in enumerate(texts)],
            "answer": ["B", "A"],
            "answer_kind": "choice",
            "choices": texts,
            "gold": [1, 0],
        }
    )
    task = TaskData("in_domain", "choice", "reasoning", frame, 0.4)
    seen = []

    def answer(question, kind, choices):
        seen.append((question, kind, list(choices)))
        return "B"

    rows, samples = ask(answer, task)
    assert seen == [("Q0?", "choice", texts[0]), ("Q1?", "choice", texts[1])]
    assert [s["extracted"] for s in samples] == ["B", "B"]
    assert value(rows, "in_domain", "accuracy") == 0.5


def test_items_with_choices_are_asked_without_them():
    frame = items("choice").assign(question=[write_choices(q, ["no", "yes"]) for q in GOLD])
    task = TaskData("in_domain", "generate", "reasoning", frame.assign(answer="B"), 0.0)
    said = {}

    def answer(question, kind, choices):
        said[question] = (kind, tuple(choices))
        return "B"

    rows, _ = ask(answer, task)
    assert said == dict.fromkeys(GOLD, ("choice", ("no", "yes")))
    assert value(rows, "in_domain", "accuracy") == 1.0


@pytest.mark.skipif(not MIRROR.is_dir(), reason="no mirror of the public data sets")
def test_on_svamp_the_difference_of_the_last_two_numbers_is_right_on_a_quarter():
    from compact_bench.data.banks import catalog_source, held_out
    from compact_bench.data.sources import dataset

    source = dataset("svamp")
    method = METHOD()
    method.select(catalog_source(source, [], MIRROR).bank, None)
    assert method.chosen == {"number": "difference of the last two"}
    asked = held_out(source, MIRROR)
    assert len(asked) == 300
    right = [
        float(method.answer(row.question, "number", ())) == float(row.answer)
        for row in asked.itertuples()
    ]
    assert 0.25 < sum(right) / 300 < 0.28
