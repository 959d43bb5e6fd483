"""Which rationales are corrupted: exact shares, teachers in turn, the same whatever the order."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.data.answers import rationale_answer
from compact_bench.data.corrupt import corrupt, corruption_notes, hit_teachers
from compact_bench.data.faults import FAULTS, GRAPH_FAULTS
from compact_bench.data.rationales import (
    RATIONALE_COLUMNS,
    RationaleBank,
    question_table,
    rationale_table,
)
from compact_bench.errors import UserError
from compact_bench.mini import world

CHANGED = ["text", "answer", "right", "corruption"]
TEACHERS = ("ada", "bob", "cy", "dee", "eve")


def bank(questions: int, teachers: int = 4, samples: int = 1, earlier: str = "") -> RationaleBank:
    """Right three-step rationales of unlike lengths; a human one each."""
    asked, rows = [], []
    for n in range(questions):
        key, gold = f"q{n:03}", str(2 * n + 9)
        asked.append(
            {"question_id": key, "question": f"{n} and more?", "answer": gold, "kind": "number"}
        )
        for name in (*TEACHERS[:teachers], "human"):
            for sample in range(samples if name != "human" else 1):
                said = "well " * ((n + len(name)) % 7)
                text = f"{n} + 4 = {n + 4}. So {said}{n + 4} + {n} = {2 * n + 4}. "
                text += f"And {2 * n + 4} + 5 = {gold}. The answer is {gold}"
                role = "human" if name == "human" else "teacher"
                values = (key, name, sample, role, text, gold, True, earlier)
                rows.append(dict(zip(RATIONALE_COLUMNS, values, strict=True)))
    return RationaleBank(question_table(asked), rationale_table(rows), TEACHERS[:teachers])


def corrupted_rows(before: RationaleBank, after: RationaleBank) -> pd.DataFrame:
    """The changed rows; everything else must be as it was."""
    old, new = before.rationales, after.rationales
    assert after.questions.equals(before.questions) and after.teachers == before.teachers
    assert list(new.columns) == list(old.columns) and new.dtypes.equals(old.dtypes)
    assert new.drop(columns=CHANGED).equals(old.drop(columns=CHANGED))
    hit = new["corruption"] != old["corruption"]
    assert new[~hit].equals(old[~hit])
    assert (new.loc[hit, "text"] != old.loc[hit, "text"]).all()
    assert (new.loc[hit, "role"] == "teacher").all()
    gold = new["question_id"].map(before.questions.set_index("question_id")["answer"])
    assert new["right"].equals(new["answer"] == gold)
    for row in new[hit].itertuples():
        assert rationale_answer(row.text, "number") == row.answer
    return new[hit]


def nearest_whole(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


SHARES = st.integers(0, 100).map(lambda percent: percent / 100)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 5), st.integers(1, 2), SHARES, st.integers(0, 9),
    st.sampled_from(["wrong_answer", "wrong_step", "shuffled_steps", "filler"]),
)  # fmt: skip
def test_shares_are_exact_and_teachers_take_turns(
    size: int, teachers: int, samples: int, share: float, seed: int, fault: str
) -> None:
    before = bank(size, teachers, samples)
    hit = corrupted_rows(before, corrupt(before, {fault: share}, seed))
    exact, each = Fraction(str(share)), teachers * samples
    assert len(hit) == nearest_whole(exact * size * each)
    per_question = Counter(hit["question_id"])
    for key in before.questions["question_id"]:
        assert floor(exact * each) <= per_question[key] <= ceil(exact * each)
    per_teacher = Counter(hit["teacher"])
    counts = [per_teacher[name] for name in before.teachers]
    assert max(counts) - min(counts) <= 1
    per_sample = Counter(zip(hit["teacher"], hit["sample"], strict=True))
    for name in before.teachers:
        of = [per_sample[name, sample] for sample in range(samples)]
        assert max(of) - min(of) <= 1
    assert set(hit["corruption"]) <= {fault}
    assert (hit["right"] == (fault != "wrong_answer")).all()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 5), st.integers(0, 9),
    st.lists(st.integers(0, 25), min_size=4, max_size=4),
)  # fmt: skip
def test_several_faults_hit_rationales_of_their_own(
    size: int, teachers: int, seed: int, percents: list[int]
) -> None:
    names = ("wrong_answer", "wrong_step", "shuffled_steps", "filler")
    shares = {name: percent / 100 for name, percent in zip(names, percents, strict=True)}
    before = bank(size, teachers)
    hit = corrupted_rows(before, corrupt(before, shares, seed))
    done = Counter(hit["corruption"])
    assert set(done) <= set(names)  # one fault each
    for name, percent in zip(names, percents, strict=True):
        exact = Fraction(percent, 100)
        assert abs(done[name] - exact * size * teachers) < 1
        per_question = Counter(hit.loc[hit["corruption"] == name, "question_id"])
        for key in before.questions["question_id"]:
            assert floor(exact * teachers) <= per_question[key] <= floor(exact * teachers) + 1
        per_teacher = Counter(hit.loc[hit["corruption"] == name, "teacher"])
        counts = [per_teacher[teacher] for teacher in before.teachers]
        assert max(counts) - min(counts) <= len(names)


def test_all_of_four_faults_leave_nothing_clean() -> None:
    before = bank(20)
    shares = dict.fromkeys(("wrong_answer", "wrong_step", "shuffled_steps", "filler"), 0.25)
    hit = corrupted_rows(before, corrupt(before, shares, 0))
    assert len(hit) == 80
    assert (hit.groupby("question_id")["corruption"].nunique() == 4).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 2), SHARES, st.integers(0, 9))
def test_a_wrong_majority(size: int, teachers: int, samples: int, share: float, seed: int) -> None:
    before = bank(size, teachers, samples)
    hit = corrupted_rows(before, corrupt(before, {"wrong_majority": share}, seed))
    misled = hit.groupby("question_id")
    assert len(misled) == nearest_whole(Fraction(str(share)) * size)
    assert not hit["right"].any()
    for _, rows in misled:
        assert rows["teacher"].nunique() == teachers // 2 + 1
        assert len(rows) == samples * (teachers // 2 + 1)
        assert rows["answer"].nunique() == 1
    per_teacher = Counter(hit["teacher"])
    counts = [per_teacher[name] for name in before.teachers]
    assert max(counts) - min(counts) <= samples


def test_a_majority_leaves_room_for_other_faults() -> None:
    before = bank(40)
    for share in (0.25, 0.5):
        shares = {"wrong_step": share, "wrong_majority": 0.5}
        hit = corrupted_rows(before, corrupt(before, shares, 3))
        done = Counter(hit["corruption"])
        assert done["wrong_majority"] == 20 * 3
        # A last question with a wrong majority leaves no room for what it should have got.
        assert 160 * share - 2 <= done["wrong_step"] <= 160 * share


def test_who_says_it_already_counts_to_the_majority() -> None:
    """One of three yes/no teachers is wrong: one more makes it the majority."""
    asked = [
        {"question_id": f"q{n}", "question": "Is it?", "answer": "yes", "kind": "boolean"}
        for n in range(6)
    ]
    rows = [
        dict(zip(RATIONALE_COLUMNS, (f"q{n}", name, 0, "teacher", f"Well. The answer is {said}",
                                     said, said == "yes", ""), strict=True))
        for n in range(6)
        for name, said in (("ada", "no"), ("bob", "yes"), ("cy", "yes"))
    ]  # fmt: skip
    before = RationaleBank(question_table(asked), rationale_table(rows), ("ada", "bob", "cy"))
    after = corrupt(before, {"wrong_majority": 1.0}, 0)
    wrong = (after.rationales["answer"] == "no").groupby(after.rationales["question_id"]).sum()
    assert (wrong == 2).all()
    hit = after.rationales[after.rationales["corruption"] != ""]
    assert Counter(hit["teacher"]) == {"bob": 3, "cy": 3}


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_order_of_rows_and_shares_does_not_matter(rng: Any, seed: int) -> None:
    shares = {"filler": 0.2, "other_question": 0.2, "wrong_majority": 0.2, "wrong_answer": 0.2}
    before = bank(15, 4, 2)
    fingerprint = before.fingerprint()
    after = corrupt(before, shares, seed)
    assert before.fingerprint() == fingerprint  # nothing is changed in place
    places = rng.sample(range(len(before.rationales)), len(before.rationales))
    asked = rng.sample(range(len(before.questions)), len(before.questions))
    moved = RationaleBank(
        before.questions.iloc[asked], before.rationales.iloc[places], before.teachers[::-1]
    )
    named = rng.sample(sorted(shares), len(shares))
    again = corrupt(moved, {name: shares[name] for name in named}, seed)
    assert again.rationales.equals(after.rationales.iloc[places])


def test_the_seed_decides_which_and_how() -> None:
    before = bank(30)
    hit = [
        set(corrupted_rows(before, corrupt(before, {"wrong_answer": 0.3}, s)).index) for s in (0, 1)
    ]
    assert hit[0] != hit[1]
    both = sorted(hit[0] & hit[1])
    texts = [corrupt(before, {"wrong_answer": 0.3}, s).rationales.loc[both, "text"] for s in (0, 1)]
    assert not texts[0].equals(texts[1])


def test_no_shares_give_the_bank_itself() -> None:
    before = bank(3)
    assert corrupt(before, {}, 0) is before
    assert corrupt(before, {"filler": 0.0}, 0) is before
    assert corruption_notes(before, before, {"filler": 0.0}) == ()


def test_an_earlier_name_is_kept() -> None:
    before = bank(4, earlier="slip")
    after = corrupt(before, {"wrong_answer": 0.5}, 0).rationales
    assert Counter(after["corruption"]) == {"slip": 8 + 4, "slip+wrong_answer": 8}


def test_other_questions_are_nearest_in_length() -> None:
    before = bank(25, 2)

    def length(text: str) -> int:
        return len(re.findall(r"[a-z]+|\S", text, re.IGNORECASE))

    old = before.rationales
    gold = before.questions.set_index("question_id")["answer"]
    for place, row in corrupted_rows(
        before, corrupt(before, {"other_question": 0.4}, 0)
    ).iterrows():
        wanted = length(old.at[place, "text"])
        own = old[(old["teacher"] == row["teacher"]) & (old["question_id"] != row["question_id"])]
        own = own[own["answer"] != gold[row["question_id"]]]
        source = own[own["text"] == row["text"]]
        assert row["answer"] in set(source["answer"])
        assert abs(length(row["text"]) - wanted) == (own["text"].map(length) - wanted).abs().min()


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"skipped_steps", "long_winded"}))
def test_lengths_do_not_give_it_away(fault: str) -> None:
    names = world.ALL_TEACHER_NAMES
    teaching = world.Teaching(names, faults=0.0)
    before = world.generate("gsm8k", train=80, dev=1, test=1, teaching=teaching).bank
    hit = corrupted_rows(before, corrupt(before, {fault: 0.25}, 0))
    assert set(hit["teacher"]) == set(names)
    for place, row in hit.iterrows():
        lengths = [
            len(re.findall(r"[a-z]+|\S", text, re.IGNORECASE))
            for text in (before.rationales.at[place, "text"], row["text"])
        ]
        assert 0.75 < lengths[1] / lengths[0] < 1.25


def test_what_cannot_be_corrupted_is_counted() -> None:
    """ada and bob write one step: half of all can be shuffled, three quarters are asked for."""
    before = bank(8)
    short = before.rationales["teacher"].isin(["ada", "bob"])
    texts = "The answer is " + before.rationales["answer"]
    rows = before.rationales.assign(text=before.rationales["text"].where(~short, texts))
    before = RationaleBank(before.questions, rows, before.teachers)
    shares = {"shuffled_steps": 0.75, "wrong_answer": 0.25}
    after = corrupt(before, shares, 0)
    hit = Counter(after.rationales["corruption"])
    rows = after.rationales.set_index("corruption")
    assert set(rows.loc["shuffled_steps", "teacher"]) == {"cy", "dee"}
    assert corruption_notes(before, after, shares) == (
        f"corrupted on purpose: wrong_answer 25.0% ({hit['wrong_answer']} of 32 rationales)",
        f"corrupted on purpose: shuffled_steps {hit['shuffled_steps'] / 32:.1%} "
        f"({hit['shuffled_steps']} of 32 rationales; {24 - hit['shuffled_steps']} more were asked "
        "for and could not be)",
    )
    assert 0 < hit["shuffled_steps"] <= 16
    assert hit["wrong_answer"] == 8


def test_the_next_teacher_is_tried() -> None:
    before = bank(12)
    short = before.rationales["teacher"] == "ada"
    texts = "The answer is " + before.rationales["answer"]
    rows = before.rationales.assign(text=before.rationales["text"].where(~short, texts))
    before = RationaleBank(before.questions, rows, before.teachers)
    hit = corrupted_rows(before, corrupt(before, {"filler": 0.25}, 0))
    assert Counter(hit["teacher"]) == {"bob": 4, "cy": 4, "dee": 4}


def test_notes_of_a_majority() -> None:
    before = bank(8)
    after = corrupt(before, {"wrong_majority": 0.25}, 0)
    assert corruption_notes(before, after, {"wrong_majority": 0.25}) == (
        "corrupted on purpose: wrong_majority 25.0% (2 of 8 questions, 6 rationales)",
    )


def test_a_persistent_fault_hits_the_same_teachers_everywhere() -> None:
    before = bank(20, 4, 2)
    hit = [
        corrupted_rows(before, corrupt(before, {"filler": share}, 3, persistent=True))
        for share in (0.25, 0.75)
    ]
    minority, majority = (set(rows["teacher"]) for rows in hit)
    assert len(minority) == 1 and len(majority) == 3 and minority < majority
    assert [len(rows) for rows in hit] == [20 * 2, 3 * 20 * 2]
    first = {hit_teachers(before, {"filler": 0.25}, seed)["filler"] for seed in range(40)}
    assert first == {(name,) for name in before.teachers}
    turned = replace(before, teachers=before.teachers[::-1])
    for share in (0.25, 0.5, 0.75):
        shares = {"filler": share}
        assert hit_teachers(turned, shares, 3) == hit_teachers(before, shares, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 9), st.lists(st.integers(0, 50), min_size=2, max_size=2))
def test_persistent_faults_share_no_teacher(teachers: int, seed: int, percents: list[int]) -> None:
    shares = dict(zip(("wrong_answer", "filler"), (p / 100 for p in percents), strict=True))
    before = bank(3, teachers)
    edges = [nearest_whole(Fraction(sum(percents[:n]), 100) * teachers) for n in range(3)]
    if any(percents[n] and edges[n] == edges[n + 1] for n in range(2)):
        with pytest.raises(UserError, match="teachers is none of them"):
            hit_teachers(before, shares, seed)
        return
    hit = hit_teachers(before, shares, seed)
    names = [name for chosen in hit.values() for name in chosen]
    assert len(names) == len(set(names)) == nearest_whole(Fraction(sum(percents), 100) * teachers)
    rows = corrupted_rows(before, corrupt(before, shares, seed, persistent=True))
    assert {(row.corruption, row.teacher) for row in rows.itertuples()} == {
        (fault, name) for fault, chosen in hit.items() for name in chosen
    }


def test_notes_of_a_persistent_fault_name_the_teachers() -> None:
    before = bank(8)
    hit = hit_teachers(before, {"filler": 0.5}, 0)
    after = corrupt(before, {"filler": 0.5}, 0, persistent=True)
    assert corruption_notes(before, after, {"filler": 0.5}, hit) == (
        "corrupted on purpose: filler 50.0% (16 of 32 rationales, of "
        f"{hit['filler'][0]} and {hit['filler'][1]} alone)",
    )


@pytest.mark.parametrize("fault", GRAPH_FAULTS)
def test_faults_of_the_solution_are_had_of_generated_problems_alone(fault: str) -> None:
    with pytest.raises(UserError, match=f"{fault} needs the steps of the solution, which only dat"):
        corrupt(bank(2), {fault: 0.5}, 0)
    teaching = world.Teaching(faults=0.0)
    made = world.generate("gsm8k", train=60, dev=1, test=1, teaching=teaching)
    rows = corrupted_rows(made.bank, corrupt(made.bank, {fault: 0.25}, 0, False, made.rewritten))
    assert set(rows["corruption"]) == {fault}
    if fault != "misread":  # it needs a product, and the other order two that differ
        assert set(Counter(rows["teacher"]).values()) <= {14, 15}
        assert rows["right"].all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.sampled_from(sorted(FAULTS)), SHARES, st.integers(0, 9))
def test_what_was_there_before_is_kept(size: int, fault: str, share: float, seed: int) -> None:
    before = bank(size)
    after = corrupt(before, {fault: share}, seed)
    assert after.faults_known == (share > 0)
    if after.faults_known:
        assert after.repaired().rationales.equals(before.rationales)
        few = after.only_teachers(["bob"])
        assert few.repaired().rationales.equals(before.only_teachers(["bob"]).rationales)


def test_what_two_faults_have_hit_is_repaired_of_both() -> None:
    first = corrupt(bank(10), {"wrong_answer": 0.5}, 0)
    second = corrupt(first, {"filler": 0.5}, 1)
    assert second.rationales["corruption"].str.contains("+", regex=False).any()
    assert second.repaired().rationales.equals(bank(10).rationales)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"filler": 0.1}, "filler 0.1 of 4 teachers is none of them, as data.corrupt_persistent"),
        ({"wrong_majority": 0.5}, "a share of the questions, and data.corrupt_persistent hits"),
    ],
)
def test_what_cannot_persist_is_named(shares: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        corrupt(bank(2), shares, 0, persistent=True)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"wrong_anser": 0.1}, r"unknown fault 'wrong_anser' \(did you mean 'wrong_answer'\?\)"),
        ({"zzz": 0.0}, "unknown fault 'zzz'; known: wrong_majority, wrong_answer, wrong_step"),
        ({"filler": 1.2}, "the share of filler is 1.2, not between 0 and 1"),
        ({"filler": float("nan")}, "the share of filler is nan"),
        ({"filler": 0.7, "wrong_answer": 0.4}, "more than 1 in all: wrong_answer 0.4, filler 0.7"),
    ],
)
def test_bad_shares_are_named(shares: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        corrupt(bank(2), shares, 0)


def test_shares_of_one_in_tenths_are_not_more_than_one() -> None:
    shares = {"filler": 0.1, "wrong_answer": 0.2, "wrong_step": 0.7}  # 1.0 only if added exactly
    assert len(corrupted_rows(bank(10), corrupt(bank(10), shares, 0))) == 40


def test_one_of_four_is_wrong_on_every_question() -> None:
    """Where teachers are clean, the share alone says how many are wrong, and each as often."""
    teaching = world.Teaching(faults=0.0)
    before = world.generate("gsm8k", train=100, dev=1, test=1, teaching=teaching).bank
    after = corrupt(before, {"wrong_answer": 0.25}, 0).rationales
    teachers = after[after["role"] == "teacher"]
    assert (teachers.groupby("question_id")["right"].sum() == 3).all()
    assert ((teachers["corruption"] == "wrong_answer") == ~teachers["right"]).all()
    assert set(Counter(teachers.loc[~teachers["right"], "teacher"]).values()) == {25}
    assert after.loc[after["role"] == "human", "right"].all()
