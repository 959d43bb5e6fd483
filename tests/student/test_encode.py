"""From texts to token ids: boundaries, answers, steps."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.data.rationales import RationaleBank
from compact_bench.student.encode import (
    CUE,
    Encoder,
    collate,
    encode_bank,
    target_text,
)
from tests.models import tiny_tokenizer

ENCODER = Encoder(tiny_tokenizer())


def decode(ids: list[int]) -> str:
    return ENCODER.tokenizer.decode(ids)


def test_target_replaces_the_rationales_own_answer_sentence():
    text, at = target_text("3 + 4 = 7. The answer is $7.00.", "7")
    assert text == " 3 + 4 = 7. The answer is 7"
    assert text[at:] == " 7"


def test_target_without_an_answer_stays_as_it_is():
    text, at = target_text("I don't know.", None)
    assert (text, at) == (" I don't know.", len(" I don't know."))


def test_a_bare_answer_is_the_cue_and_the_answer():
    assert target_text("The answer is 5", "5") == (" The answer is 5", len(CUE))


def test_prompts():
    assert ENCODER.prompt_text("Why?") == "Question: Why?\nAnswer:"
    assert ENCODER.prompt_text("Why?", "predict") == "[predict] Question: Why?\nAnswer:"
    assert ENCODER.prompt_text("Why?", "teacher", "[t] ") == "[t] Question: Why?\nAnswer:"


def test_chat_template_is_the_tokenizers():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    assert Encoder(tokenizer, chat=True).prompt_text("Why?") == "<user>Why?"


def test_offsets_point_at_steps_and_answer():
    encoded = ENCODER.rationale("Ann has 3.5 kg. She buys 1,450 g.\n2 + 2 = 4", "42")
    ids = encoded.ids
    assert ids[-1] == ENCODER.tokenizer.eos_token_id
    assert decode(ids[encoded.answer_start : -1]) == " 42"
    assert decode(ids[: encoded.body_end]) == " Ann has 3.5 kg. She buys 1,450 g.\n2 + 2 = 4"
    cuts = [decode(ids[:end]) for end in encoded.step_ends]
    assert cuts[0] == " Ann has 3.5 kg."
    assert cuts[-1] == decode(ids[: encoded.body_end])
    assert len(cuts) == 3


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), max_size=60))
def test_ids_are_the_target_text_and_eos(body):
    encoded = ENCODER.rationale(body, "7")
    assert decode(encoded.ids[:-1]) == target_text(body, "7")[0]
    assert decode(encoded.ids[encoded.answer_start : -1]) == " 7"
    assert encoded.step_ends == sorted(set(encoded.step_ends))
    assert all(0 < end <= encoded.body_end for end in encoded.step_ends)


@pytest.mark.parametrize(
    ("body", "answer", "gold", "kind", "expected"),
    [
        ("7 + 7 = 14. 14 - 13 = 1.", "1", "1", "number", 1),  # 14 holds no 1, 13 neither
        ("She pays $16. Then she has 4.", "4", "16", "number", 0),
        ("First 40,000. Then 47,000. All in all 47,000.", "47000", "9", "number", 1),
        ("Bob has 3. He buys 5. That makes 9.", "9", "8", "number", 2),  # its own, wrong answer
        ("Bob has 3. He buys 5.", None, "8", "number", 2),
        ("A man eats. So it is B.", "B", "A", "choice", 1),
        ("", "8", "8", "number", 0),
    ],
)
def test_steps_are_open_until_an_answer_is_mentioned(body, answer, gold, kind, expected):
    encoded = ENCODER.rationale(body, answer, gold=gold, kind=kind)
    assert encoded.open_steps == expected


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, 30))
def test_the_cut_is_at_the_first_step_with_the_number(numbers, gold):
    """Steps of one number each, so that the first that is an answer is known without reading."""
    body = " ".join(f"Then we see {number}." for number in numbers)
    encoded = ENCODER.rationale(body, str(numbers[-1]), gold=str(gold))
    expected = next(i for i, number in enumerate(numbers) if number in (gold, numbers[-1]))
    assert (encoded.open_steps, len(encoded.step_ends)) == (expected, len(numbers))


def bank() -> RationaleBank:
    questions = pd.DataFrame(
        [("q1", "One?", "1", "number"), ("q2", "Two?", "2", "number")],
        columns=["question_id", "question", "answer", "kind"],
    )
    rows = [
        ("q1", "b", 0, "teacher", "It is 1. The answer is 1", "1", True, ""),
        ("q1", "a", 0, "teacher", "x" * 500, None, False, ""),
        ("q1", "a", 1, "teacher", "Short. The answer is 3", "3", False, ""),
        ("q2", "a", 0, "teacher", "y" * 500, None, False, ""),
    ]
    columns = ["question_id", "teacher", "sample", "role", "text", "answer", "right", "corruption"]
    return RationaleBank(questions, pd.DataFrame(rows, columns=columns), ("a", "b"))


def test_bank_is_encoded_in_order_and_long_rows_are_counted():
    examples, dropped = encode_bank(bank(), ENCODER, max_tokens=200)
    assert [e.question_id for e in examples] == ["q1"]
    assert [(r.teacher, r.sample) for r in examples[0].rationales] == [(0, 1), (1, 0)]
    assert dropped == {"a": 2}


def test_collate_marks_what_is_absent():
    examples, _ = encode_bank(bank(), ENCODER, max_tokens=2000)
    batch = collate(examples, step=3, seed=5)
    assert batch.teacher.tolist() == [[0, 0, 1], [0, -1, -1]]
    assert batch.sample.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert batch.present.sum() == 4
    again = collate(examples, step=3, seed=5)
    assert batch.generator.initial_seed() == again.generator.initial_seed()
    assert batch.generator.initial_seed() != collate(examples, step=4, seed=5).generator
    assert batch.single(1).question_id == ["q2"]
    assert batch.single(1).teacher.tolist() == [[0, -1, -1]]
