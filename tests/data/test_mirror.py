"""Facts of the published files, and every leak between them.

The files are in no repository: COMPACT_BENCH_MIRROR, or a folder shared/mirror beside the
checkout, holds them.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from compact_bench.data.answers import pieces, rationale_answer
from compact_bench.data.banks import catalog_source, held_out, read
from compact_bench.data.corrupt import corrupt, corruption_notes
from compact_bench.data.faults import FAULTS
from compact_bench.data.rationales import RationaleBank
from compact_bench.data.sources import Part, catalog, dataset, fetch
from compact_bench.data.splits import check_leaks, normalise, overlap, template_clean
from compact_bench.errors import UserError
from compact_bench.execution.prepare import prepare
from compact_bench.suite.schema import Suite

BESIDE = Path(__file__).parents[3] / "shared" / "mirror"
MIRROR = Path(os.environ.get("COMPACT_BENCH_MIRROR") or BESIDE)

pytestmark = pytest.mark.skipif(
    not MIRROR.is_dir(), reason="no mirror of the public data sets (COMPACT_BENCH_MIRROR)"
)


def questions(file: str, importer: str) -> list[str]:
    return [row.question for row in read(Part(file=file, importer=importer), MIRROR)]


def train_questions(name: str) -> list[str]:
    return [row.question for row in read(dataset(name).questions, MIRROR)]


def asked(name: str) -> list[str]:
    return list(held_out(dataset(name), MIRROR)["question"])


def rationales(name: str, *teachers: str) -> pd.DataFrame:
    return catalog_source(dataset(name), teachers, MIRROR).bank.rationales


def test_every_file_has_its_checksum() -> None:
    for name, repository in catalog().repositories.items():
        for path in repository.files:
            assert fetch(f"{name}:{path}", MIRROR).is_file()


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [("svamp", 700, 300), ("gsm8k", 7473, 1319), ("strategyqa", 1999, 290), ("csqa", 9739, 1221)],
)
def test_sizes_and_no_leak_between_the_official_splits(name: str, train: int, test: int) -> None:
    known, tests = set(train_questions(name)), asked(name)
    assert len(tests) == test
    check_leaks(known, [], {name: tests})
    source = catalog_source(dataset(name), [], MIRROR)
    assert len(source.bank.questions) == train
    assert set(source.bank.rationales["teacher"]) >= set(dataset(name).default_teachers)


def test_leak_of_svamp_test_questions_into_mentor_kd() -> None:
    """213 of the 700 questions of its teachers are test questions; joining leaves 487."""
    other = list(dict.fromkeys(questions(dataset("svamp").teachers["t5-large"].variants["all"].file,
                                         "mentor_kd")))  # fmt: skip
    assert len(overlap(train_questions("svamp"), other)) == 487
    with pytest.raises(UserError, match="213 of the 300 test questions of 'in_domain'"):
        check_leaks(other, [], {"in_domain": asked("svamp")})
    joined = rationales("svamp", "t5-large")
    assert joined[joined["teacher"] == "t5-large"]["question_id"].nunique() == 487


def test_leak_of_training_questions_into_mentor_kd_tests() -> None:
    for name, file, message in (
        ("svamp", "mentor:data/main/svamp_test.json", "106 of the 150 test questions"),
        ("strategyqa", "mentor:data/main/strategy_qa_test.json", "603 of the 687 test questions"),
    ):
        with pytest.raises(UserError, match=message):
            check_leaks(train_questions(name), [], {"theirs": questions(file, "questions_only")})


def test_leak_of_strategyqa_test_questions_into_the_human_file() -> None:
    human = questions("eit:data/stqa_human_annotation.json", "instruction_output")
    with pytest.raises(UserError, match="290 of the 290 test questions of 'in_domain'"):
        check_leaks(human, [], {"in_domain": asked("strategyqa")})
    with pytest.raises(UserError, match="290 of the 290"):
        check_leaks([], human, {"in_domain": asked("strategyqa")})


def complete(*teachers: str) -> int:
    rows = rationales("svamp", *teachers)
    rows = rows[rows["role"] == "teacher"]
    return int((rows.groupby("question_id")["teacher"].nunique() == len(teachers)).sum())


def test_questions_that_all_four_teachers_have() -> None:
    """One of GPT-4o's 700 is missing at level 3, none at level 1."""
    others = ("gemini-1.5-flash", "llama-3-70b", "flan-t5-large")
    assert complete("gpt-4o", *others) == 487
    assert complete("gpt-4o/level3", *(f"{t}/level3" for t in others[:2]), others[2]) == 486


def test_gpt_35_has_right_rows_only() -> None:
    rows = rationales("svamp", "gpt-3.5")
    rows = rows[rows["teacher"] == "gpt-3.5"]
    assert rows["question_id"].nunique() == 458
    assert rows["right"].mean() > 0.99


@pytest.mark.parametrize(
    ("name", "teacher", "least", "most"),
    [
        # Low ends: what a first-number extractor reaches; the odd forms can only add.
        ("svamp", "gpt-4o/level3", 0.979, 0.99),
        ("svamp", "gemini-1.5-flash/level3", 0.989, 0.991),
        ("svamp", "llama-3-70b/level3", 0.987, 0.997),
        ("svamp", "human", 1.0, 1.0),
        ("svamp", "t5-large/all", 0.73, 0.74),
        ("svamp", "flan-t5-large/all", 0.73, 0.75),
        ("gsm8k", "llama-3-70b", 0.99, 1.0),
        ("gsm8k", "human", 1.0, 1.0),
        ("strategyqa", "human", 1.0, 1.0),
        ("strategyqa", "gpt-4o", 0.955, 0.965),
        ("csqa", "llama-3-70b", 0.998, 1.0),
        ("math", "human", 1.0, 1.0),
    ],
)
def test_share_of_right_answers(name: str, teacher: str, least: float, most: float) -> None:
    rows = rationales(name, *(() if teacher == "human" else (teacher,)))
    assert least <= rows[rows["teacher"] == teacher]["right"].mean() <= most


def test_few_questions_have_a_strong_teacher_wrong() -> None:
    teachers = [f"{name}/level3" for name in ("gpt-4o", "gemini-1.5-flash", "llama-3-70b")]
    rows = rationales("svamp", *teachers)
    assert rows[~rows["right"] & (rows["role"] == "teacher")]["question_id"].nunique() <= 25


def test_csqa_has_one_form() -> None:
    for question in (train_questions("csqa")[0], asked("csqa")[0]):
        assert "\nAnswer choices: (A) " in question
        assert not question.startswith("Q:")


def test_prepare_as_the_svamp_suite_does() -> None:
    tasks = [
        {"task": "in_domain", "role": "reasoning"},
        {"task": "csqa", "role": "forgetting", "kind": "choice", "limit": 300},
    ]
    suite = Suite.model_validate(
        {
            "suite": "svamp",
            "title": "t",
            "profile": "laptop",
            "methods": ["average"],
            "seeds": [0],
            "data": {"source": "svamp", "train": 200},
            "training": {"learning_rate": 1e-4, "epochs": 1, "batch_size": 1},
            "evaluation": {"tasks": tasks},
        }
    )
    prepared = prepare(suite, MIRROR)
    assert prepared.train.teachers == dataset("svamp").default_teachers
    assert len(prepared.train.questions) == 200
    assert len(prepared.train.rationales) == 200 * 5
    in_domain, csqa = prepared.tasks
    assert len(in_domain.items) == 300
    assert (len(csqa.items), csqa.chance) == (300, 0.2)
    assert csqa.items["choices"].map(len).eq(5).all()
    assert csqa.items["gold"].value_counts().min() > 30


@cache
def complete_bank(name: str, size: int) -> RationaleBank:
    """The first questions that all default teachers of a data set have."""
    bank = catalog_source(dataset(name), [], MIRROR).bank
    rows = bank.rationales[bank.rationales["role"] == "teacher"]
    have = rows.groupby("question_id")["teacher"].nunique() == len(bank.teachers)
    return bank.keep(sorted(have[have].index)[:size])


def test_a_quarter_of_svamp_with_wrong_answers() -> None:
    """Four teachers, one of them corrupted on every question: each on a quarter of them."""
    before = complete_bank("svamp", 400)
    after = corrupt(before, {"wrong_answer": 0.25}, 0)
    old, new = before.rationales, after.rationales
    hit = new[new["corruption"] == "wrong_answer"]
    assert len(hit) == 400
    assert hit["question_id"].is_unique
    assert set(hit.groupby("teacher").size()) == {100}
    assert not hit["right"].any()
    for row in hit.itertuples():
        assert rationale_answer(row.text, "number") == row.answer
    rest = new[new["corruption"] == ""]
    assert rest.equals(old.loc[rest.index])
    assert corruption_notes(before, after, {"wrong_answer": 0.25}) == (
        "corrupted on purpose: wrong_answer 25.0% (400 of 1600 rationales)",
    )


@pytest.mark.parametrize("name", ["svamp", "gsm8k", "strategyqa", "csqa"])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_published_rationales_of_every_kind_can_be_corrupted(name: str, fault: str) -> None:
    before = complete_bank(name, 150)
    after = corrupt(before, {fault: 0.2}, 0)
    old = before.rationales
    hit = after.rationales[after.rationales["corruption"] == fault]
    assert len(hit) >= 10
    changed = hit["answer"] != old.loc[hit.index, "answer"]
    if fault in ("wrong_answer", "wrong_majority", "other_question"):
        assert not hit["right"].any()
    else:
        assert not changed.any()
    lengths = hit["text"].map(pieces) / old.loc[hit.index, "text"].map(pieces)
    # A text without an answer sentence gets one; another question's may be longer or shorter.
    shortest, longest = {"skipped_steps": (0.1, 0.8), "long_winded": (2, 3)}.get(fault, (0.9, 1.1))
    assert shortest < lengths.median() < longest
    assert shortest - 0.05 < lengths.mean() < longest + 0.05


def test_svamp_asks_something_else_of_stories_that_are_trained_on() -> None:
    """Half of the test stories are a training question's with other numbers; no question is."""
    train, tests = train_questions("svamp"), asked("svamp")
    assert template_clean(train, tests).count(False) == 147

    def masked(text: str) -> str:  # the question with its last sentence
        return " ".join("#" if word.isdigit() else word for word in normalise(text).split())

    assert not {masked(question) for question in train} & {masked(question) for question in tests}
    for name in ("gsm8k", "csqa"):
        assert all(template_clean(train_questions(name), asked(name)))


@pytest.mark.parametrize("name", ["svamp", "gsm8k", "strategyqa", "csqa"])
def test_other_data_sets_can_be_asked_beside_the_one_that_is_trained_on(name: str) -> None:
    others = [other for other in ("svamp", "gsm8k", "strategyqa", "csqa") if other != name]
    tasks = [{"task": other, "role": "reasoning", "limit": 20} for other in others]
    data = {"source": name, "train": 50, "test": 20}
    suite = Suite.model_validate(
        {"suite": name, "title": "t", "profile": "laptop", "methods": ["average"], "seeds": [0],
         "data": data, "training": {"learning_rate": 1e-3, "epochs": 1, "batch_size": 4},
         "evaluation": {"tasks": [{"task": "in_domain", "role": "reasoning"}, *tasks]}}
    )  # fmt: skip
    prepared = prepare(suite, MIRROR)
    assert [len(task.items) for task in prepared.tasks] == [20] * 4
    kinds = {task.name: set(task.items["answer_kind"]) for task in prepared.tasks[1:]}
    assert all(kinds[other] == {dataset(other).answer} for other in others)
