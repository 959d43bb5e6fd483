"""Several rationales of one teacher, and no other teacher's."""

from __future__ import annotations

from compact_bench.methods.registry import load
from tests.baselines.banks import bank_of, chosen, run_of

METHOD = load().methods["single_teacher_samples"]
TEACHERS = ("ada", "bob/brief", "bob/long")
BANK = bank_of(
    [
        ("q0", "bob/long", "b", "1"),
        ("q0", "ada", "a", "1"),
        ("q0", "bob/brief", "b", "1", True, 1),
        ("q0", "bob/brief", "b", "1", True, 0),
        ("q1", "ada", "a", "1"),
        ("q2", "bob/long", "b", "1"),
    ],
    TEACHERS,
)


def make(**settings):
    return METHOD(METHOD.Config(**settings))


def test_a_row_for_each_teacher_with_its_styles_together():
    configs = METHOD.variants(METHOD.Config(samples=2), TEACHERS)
    assert [(config.teacher, config.samples) for config in configs] == [("ada", 2), ("bob", 2)]
    assert METHOD(configs[1]).label == "single_teacher_samples[bob]"
    named = METHOD.Config(teacher="bob/long")
    assert METHOD.variants(named, TEACHERS) == [named]


def test_all_styles_and_samples_are_kept_and_nothing_else():
    kept = make(teacher="bob").select(BANK, None)
    assert kept.teachers == ("bob/brief", "bob/long")
    assert chosen(kept) == [
        ("q0", "bob/long"),
        ("q0", "bob/brief"),
        ("q0", "bob/brief"),
        ("q2", "bob/long"),
    ]
    assert chosen(make(teacher="bob/long").select(BANK, None)) == [
        ("q0", "bob/long"),
        ("q2", "bob/long"),
    ]


def test_the_first_samples_are_those_of_the_first_style():
    kept = make(teacher="bob", samples=2).select(BANK, None)
    assert chosen(kept) == [("q0", "bob/brief"), ("q0", "bob/brief"), ("q2", "bob/long")]
    kept = make(teacher="bob", samples=1).select(BANK, None)
    assert chosen(kept) == [("q0", "bob/brief"), ("q2", "bob/long")]
    assert list(kept.rationales["sample"]) == [0, 0]


def test_one_rationale_a_question_or_none_is_a_reason_to_skip():
    assert make(teacher="bob").skip(run_of(BANK)) is None
    assert "one rationale" in make(teacher="ada").skip(run_of(BANK))
    assert "no teacher 'cy'" in make(teacher="cy").skip(run_of(BANK))
