"""Extraction, canonical form and steps, on the odd forms that the published rationales have."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.data.answers import (
    KINDS,
    canonical,
    extract_answer,
    extract_flexible,
    mentions,
    rationale_answer,
    same_answer,
    split_steps,
    step_spans,
    strip_answer_sentence,
)


@pytest.mark.parametrize(
    ("answer", "kind", "expected"),
    [
        ("145", "number", "145"),
        ("145.0", "number", "145"),
        ("1,450", "number", "1450"),
        ("1,575,000", "number", "1575000"),
        ("$5", "number", "5"),
        ("-$5.50", "number", "-5.5"),
        ("$ 5,590.00", "number", "5590"),
        ("52%", "number", "52"),
        ("5 apples.", "number", "5"),
        ("82 minutes.", "number", "82"),
        ("1/16", "number", "0.0625"),
        ("1/3", "number", "1/3"),
        (".5", "number", "0.5"),
        ("\u22127", "number", "-7"),
        ("-0", "number", "0"),
        ("1e3", "number", "1000"),
        ("5 - 3", "number", None),
        ("nan", "number", None),
        ("many", "number", None),
        ("", "number", None),
        ("True", "boolean", "yes"),
        ("no.", "boolean", "no"),
        ("maybe", "boolean", None),
        ("(b)", "choice", "B"),
        ("E: eaten raw", "choice", "E"),
        ("F", "choice", None),
        (r"\frac{1}{2}", "expression", "0.5"),
        (r"441\text{ pounds}", "expression", "441"),
        (r"14,\!641", "expression", "14641"),
        (r"100^\circ", "expression", "100"),
        (r"2\sqrt{5}", "expression", "2sqrt(5)"),
        ("2√5", "expression", "2sqrt(5)"),
        (r"2\frac{1}{2}", "expression", "2.5"),
        (r"b = -4", "expression", "-4"),
        (r"2400\mbox{ cm}^2", "expression", "2400"),
        (r"12\sqrt{13} feet", "expression", "12sqrt(13)"),
        ("2*sqrt(5)", "expression", "2sqrt(5)"),
    ],
)
def test_canonical(answer: str, kind: str, expected: str | None) -> None:
    assert canonical(answer, kind) == expected


def test_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="unknown kind of answer 'colour'"):
        canonical("red", "colour")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("290 / 2 = 145. The answer is 145", "145"),
        ("We multiply. The answer is 141 * 71 = 10011", "10011"),
        ("= ? The answer is 21 + 6 = 27 - 6 = 21", "21"),
        ("The answer is $5590", "5590"),
        ("The answer is 1,575,000", "1575000"),
        ("= 145.The answer is 145", "145"),
        ("The answer is 15 inches.\nThe answer is: 15", "15"),
        ("The answer is 10, not 13. I think there might be a mistake in the answer!", "10"),
        ("However, the correct answer is 7, but the question has a calculation error.", "7"),
        ("The answer is 3, but the question asks how much more, so the correct answer is 2", "2"),
        ("The answer is 120 (not 85, I assume it's a mistake)", "120"),
        ("The answer is 27048 (after 2% deduction)", "27048"),
        ("The answer is 1500 (incorrect, answer should be 1275)", "1275"),
        ("Jerry sets off half of these, so the answer is 30/2 = 15", "15"),
        ("The answer is 4. Since there are 4 beds, the total is 4 x 60 = 220", "4"),
        ("The answer is -3 degrees.", "-3"),
        ("That leaves 20 - 7 = 13.", None),
        ("The answer is that Ann had 10 pages and Bob 6.", None),
        ("8 + 49 = 57. The answer is not 22.", None),
        ("Hence, the answer is not consistent with the given answer.", None),
        ("", None),
    ],
)
def test_extract_number(text: str, expected: str | None) -> None:
    assert extract_answer(text, "number") == expected


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("They overlap.\n The answer is True", "boolean", "yes"),
        ("The answer is, however, based on the given answer, False", "boolean", "no"),
        ("The answer is Undefined", "boolean", None),
        ("The correct answer is B: impossibility.", "choice", "B"),
        ("The answer that best fits this context is E: conquer opponent.", "choice", "E"),
        ("The correct answer is A, existing, because it makes sense.", "choice", "A"),
        ("The answer is b", "choice", "B"),
        ("The answer is (C). Then they leave.", "choice", "C"),
        ("The cards are written, the answer is a greeting", "choice", None),
        ("so 2D = 42. The answer is 21 dogs", "expression", "21"),
        (r"The answer is \frac{4}{10} = \frac{2}{5}", "expression", "0.4"),
    ],
)
def test_extract_other_kinds(text: str, kind: str, expected: str | None) -> None:
    assert extract_answer(text, kind) == expected


def test_flexible_reads_the_last_value() -> None:
    assert extract_flexible("the roses she cut, which is 13.", "number") == "13"
    assert extract_flexible("5-3=2", "number") == "2"
    assert extract_flexible("hence it's False.", "boolean") == "no"
    assert extract_flexible("among the options, A is the most plausible.", "choice") == "A"
    assert extract_flexible("nothing here", "number") is None


def test_rationale_answer_takes_the_completion_first() -> None:
    chain = "Danny has 94 - 35 = 25 more wrappers than 7 caps. The answer is 7"
    assert rationale_answer(chain, "number", completion="25.0") == "25"
    assert rationale_answer(chain, "number", known="32") == "7"
    assert rationale_answer("52 beads x 44 friends = 2,288 beads.", "number", known="52") == "52"
    assert rationale_answer("We subtract. So she cut 13.", "number") == "13"
    # It argues with the answer it was given: 148 is not what it says.
    assert rationale_answer("70 + 43 = 113. The answer is not 148.", "number") is None


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("290 / 2 = 145. The answer is 145", "290 / 2 = 145."),
        ("It is 15.\nThe answer is 15 inches.\nThe answer is: 15", "It is 15."),
        (" = 290. = 145.The answer is 145", "= 290. = 145."),
        ("The answer is 621", ""),
        ("They share, so the answer is 30/2 = 15", "They share"),
        ("The answer is 10 - 7 = ? The answer is 3", "The answer is 10 - 7 = ?"),
        ("It is 10. The answer is 10, not 13. There is a mistake!", "It is 10."),
        ("The answer is large. " + "We go on for long. " * 9, None),
        ("8 + 49 = 57. The answer is not 22.", None),
        ("No sentence.", None),
    ],
)
def test_strip_answer_sentence(text: str, body: str | None) -> None:
    assert strip_answer_sentence(text) == (text.strip() if body is None else body)


@given(st.text("ab 3.,=?!\nT", max_size=60), st.integers(-9999, 9999))
def test_strip_removes_exactly_what_was_appended(text: str, answer: int) -> None:
    body = strip_answer_sentence(f"{text.strip()}\nThe answer is {answer}")
    assert body == text.strip().rstrip(" ,;\n\t")
    assert extract_answer(f"{text} The answer is {answer}", "number") == str(answer)


@given(st.fractions(max_denominator=1000))
def test_canonical_is_exact_and_idempotent(value: Fraction) -> None:
    text = canonical(str(value), "number")
    assert text is not None
    assert Fraction(text) == value
    assert canonical(text, "number") == text


@given(st.integers(-(10**9), 10**9))
def test_written_forms_of_a_number_are_the_same_answer(value: int) -> None:
    for form in (f"{value:,}", f"{value}.0", f"{value} apples", f"The answer is {value:,}."):
        text = extract_answer(form, "number") if "answer" in form else form
        assert same_answer(text, str(value), "number"), form
    assert not same_answer(None, str(value), "number")
    assert not same_answer(str(value), str(value + 1), "number")


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("It costs 3.5 dollars. 1,450 are left.", ["It costs 3.5 dollars.", "1,450 are left."]),
        ("1. Add 2 and 3.\n2. Divide by 5.", ["1. Add 2 and 3.", "2. Divide by 5."]),
        ("290 ÷ 2 = ? Then it is 145.", ["290 ÷ 2 = ?", "Then it is 145."]),
        ("Mr. Banks has 5. Dr. Who has 4.", ["Mr. Banks has 5.", "Dr. Who has 4."]),
        ("a = 4\nb = 5\n\nc = 9", ["a = 4", "b = 5", "c = 9"]),
        ("It is 290.Then it is 145.", ["It is 290.", "Then it is 145."]),
        ("", []),
    ],
)
def test_split_steps(text: str, steps: list[str]) -> None:
    assert split_steps(text) == steps


@given(st.text("aB 3.5,=?!\n\t)", max_size=80))
def test_steps_cover_all_but_spaces(text: str) -> None:
    position = 0
    for start, end in step_spans(text):
        assert not text[position:start].strip()
        assert text[start:end] == text[start:end].strip() != ""
        position = end
    assert not text[position:].strip()


@given(st.decimals(0, 10**6, places=2), st.integers(1000, 10**7))
def test_no_step_ends_inside_a_number(decimal: object, large: int) -> None:
    text = f"We have {decimal} and {large:,} of them. Then {decimal}"
    assert split_steps(text) == [f"We have {decimal} and {large:,} of them.", f"Then {decimal}"]


@pytest.mark.parametrize(
    ("text", "answer", "kind", "expected"),
    [
        ("7 + 7 = 14", "1", "number", False),
        ("It costs $16 now.", "16", "number", True),
        ("That is 47,000.", "47000", "number", True),
        ("That is 47,000.", "47", "number", False),
        ("That is 47.", "$47.00", "number", True),
        ("3.5 kg", "5", "number", False),
        ("12 - 3 = 9", "3", "number", True),
        ("12 - 9", "-9", "number", True),
        ("12 / 4", "12", "number", True),
        ("12 / 4", "4", "number", True),
        ("It is at 12/0.", "12", "number", True),
        ("There is nobody.", "no", "boolean", False),
        ("So this is not true.", "yes", "boolean", True),
        ("A man eats.", "A", "choice", False),
        ("So A is best.", "A", "choice", True),
        ("Option (c), or (C).", "C", "choice", True),
        ("We get 3x^2 + 1.", "x^2", "expression", True),
        ("We get 16 of it.", "6", "expression", False),
        ("Nothing of the kind.", "no number", "number", False),
    ],
)
def test_what_a_step_mentions(text: str, answer: str, kind: str, expected: bool) -> None:
    assert mentions(text, answer, kind) is expected


FORMS = ("{}", "${}", "{:,}", "= {}.", "({})", "{} kg", "{}%", "{}.0", "{:,}.")


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(FORMS)), max_size=6),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_a_number_is_mentioned_where_it_stands_and_nowhere_else(said, other, pick) -> None:
    text = " so then ".join(form.format(number) for number, form in said)
    asked = said[0][0] if said and pick else other
    assert mentions(text, str(asked), "number") is (asked in {number for number, _ in said})


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_any_length_are_answers_or_none(kind):
    for text in ("9" * 5000, "0." + "3" * 5000, "1" * 3500 + "e999", "1/" + "7" * 5000,
                 "2 (" + "1" * 5000 + ")/(3)"):  # fmt: skip
        assert canonical(text, kind) is None or isinstance(canonical(text, kind), str)
        rationale_answer(f"It is {text}. The answer is {text}", kind)
        extract_flexible(text, kind)
        mentions(text, "9", kind)
    assert canonical("9" * 4000, "number") == "9" * 4000
