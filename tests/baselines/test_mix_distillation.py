"""One long or strong rationale among four short or weak ones."""

from __future__ import annotations

import pytest

from compact_bench.methods.registry import load
from compact_bench_baselines.mix_distillation import strong_questions
from tests.baselines.banks import bank_of, chosen, run_of

METHOD = load().methods["mix_distillation"]
TEACHERS = ("ada", "bob", "cy")
# The length of a text says whose it is, and differs in order between even and odd questions.
BANK = bank_of(
    [
        (f"q{i}", name, "x" * (size if i % 2 else 4 - size), "1")
        for i in range(50)
        for size, name in enumerate(TEACHERS, start=1)
    ],
    TEACHERS,
)


def make(**settings):
    return METHOD(METHOD.Config(**settings))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_share_of_long_ones_is_exact(share):
    kept = make(share=share).select(BANK, None).rationales
    assert list(kept["question_id"]) == [f"q{i}" for i in range(50)]
    sizes = kept["text"].str.len()
    assert (sizes == 3).sum() == 50 * share and (sizes == 1).sum() == 50 - 50 * share


def test_a_larger_share_only_adds():
    ids = [f"q{i}" for i in range(30)]
    few, more = strong_questions(ids, 0.2), strong_questions(ids, 0.5)
    assert len(few) == 6 and len(more) == 15 and few < more
    assert strong_questions(ids[::-1], 0.2) == few  # the bank's order doesn't matter


def test_strong_teachers():
    rows = make(kind="teacher", strong=["cy", "bob"], share=0.4).select(BANK, None).rationales
    # Several strong or weak ones: the first in the bank.
    assert rows["teacher"].value_counts().to_dict() == {"bob": 20, "ada": 30}


def test_a_question_without_the_wanted_kind_gets_the_other():
    bank = bank_of([("q0", "ada", "x", "1"), ("q1", "bob", "x", "1")], ("ada", "bob"))
    for share in (0.0, 1.0):
        kept = make(kind="teacher", strong=["bob"], share=share).select(bank, None)
        assert chosen(kept) == [("q0", "ada"), ("q1", "bob")]


def test_strong_teachers_must_be_named():
    run = run_of(BANK)
    assert make().skip(run) is None
    assert make(kind="teacher", strong=["bob"]).skip(run) is None
    for strong in ([], ["dan"], list(TEACHERS)):
        assert "strong must name some of ada" in make(kind="teacher", strong=strong).skip(run)
