"""Each fault changes its part of a text and nothing else; texts are read by this file."""

from __future__ import annotations

import operator
import random
import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.data.answers import canonical, rationale_answer, same_answer, split_steps
from compact_bench.data.faults import (
    CONTENT_FREE,
    FAULTS,
    Case,
    Corrupted,
    is_result,
    numerals,
    true_values,
    written_like,
)

NUMBER = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?(?<!,)")
APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul}
QUESTION = "How many are there in the end?"
CHOICES = "Where to?\nAnswer choices: (A) bank (B) the mall (C) school (D) park"


def corrupted(fault: str, case: Case, seed: int = 0) -> Corrupted | None:
    return FAULTS[fault](case, random.Random(seed))


def tokens(text: str) -> list[str]:
    """Numbers, and every other character."""
    return re.findall(rf"{NUMBER.pattern}|.|\n", text)


def value(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def changed(old: str, new: str) -> list[tuple[int, str, str]]:
    """(place, old, new) of the numbers that differ; every other character must be the same."""
    pairs = list(zip(tokens(old), tokens(new), strict=True))
    found = [(i, a, b) for i, (a, b) in enumerate(pairs) if a != b]
    assert all(NUMBER.fullmatch(a) and NUMBER.fullmatch(b) for _, a, b in found)
    return found


@st.composite
def chains(draw: st.DrawFn) -> tuple[Case, list[int]]:
    """A worked sum of two to five steps in one of several forms, and its results."""
    form, end = draw(
        st.sampled_from(
            [
                ("{a} {sign} {b} = {v}.", "The answer is {v}"),
                ("We get ${a} {sign} ${b} = ${v} in all.", "\nThe answer is ${v}."),
                ("{a:,} apples {sign} {b:,} apples = {v:,} apples.", "The answer is {v:,}"),
                ("{a}.0 {sign} {b} = {v}.0.", "The answer is {v}.0"),
            ]
        )
    )
    now, steps, results = draw(st.integers(2, 3000)), [], []
    for _ in range(draw(st.integers(2, 5))):
        sign, b = draw(st.sampled_from("+-*")), draw(st.integers(1, 9))
        if sign == "-" and now <= b:
            sign = "+"
        v = APPLY[sign](now, b)
        steps.append(form.format(a=now, sign=sign, b=b, v=v))
        results.append(v)
        now = v
    text = f"{' '.join(steps)} {end.format(v=now)}"
    right = draw(st.booleans())
    gold = str(now if right else now + 7)
    return Case(QUESTION, gold, "number", text, str(now)), results


@settings(deadline=None)  # on a busy machine an example may take long
@given(chains(), st.integers(0, 99))
def test_wrong_answer_of_a_sum(chain: tuple[Case, list[int]], seed: int) -> None:
    case, results = chain
    made = corrupted("wrong_answer", case, seed)
    assert made is not None
    text, answer = made
    assert answer is not None and answer not in (case.gold, case.answer)
    assert rationale_answer(text, "number") == answer
    found = changed(case.text, text)
    assert {value(old) for _, old, _ in found} == {Fraction(str(case.answer))}
    assert {value(new) for _, _, new in found} == {Fraction(answer)}
    # The answer sentence and the result of the last step; never the start of the chain.
    assert len(found) >= 2
    if results.count(results[-1]) == 1:
        assert len(found) == 2
    assert Fraction(answer) not in set(results)


@settings(deadline=None)
@given(chains(), st.integers(0, 99))
def test_wrong_step_of_a_sum(chain: tuple[Case, list[int]], seed: int) -> None:
    case, results = chain
    made = corrupted("wrong_step", case, seed)
    if made is None:  # all earlier results are the answer itself
        assert {str(result) for result in results[:-1]} <= {case.answer, case.gold}
        return
    text, answer = made
    assert (answer, rationale_answer(text, "number")) == (case.answer, case.answer)
    ((place, old, new),) = changed(case.text, text)
    assert value(old) in set(results[:-1])
    assert value(new) not in {value(old), Fraction(case.gold), Fraction(str(case.answer))}
    assert tokens(case.text)[:place].count("=") < len(results)  # before the last step's result
    assert "=" in "".join(tokens(text)[place - 3 : place])  # a result and no operand


@settings(deadline=None)
@given(chains(), st.integers(0, 99))
def test_shuffled_steps_of_a_sum(chain: tuple[Case, list[int]], seed: int) -> None:
    case, _ = chain
    made = corrupted("shuffled_steps", case, seed)
    *before, closing = split_steps(case.text)
    if made is None:
        assert len(set(before)) == 1
        return
    text, answer = made
    *after, still = split_steps(text)
    assert (answer, still) == (case.answer, closing)
    assert after != before
    assert after[-1] != before[-1]
    assert Counter(after) == Counter(before)
    assert len(text) == len(case.text)


@settings(deadline=None)
@given(chains(), st.integers(0, 99))
def test_filler_says_nothing_and_is_as_long(chain: tuple[Case, list[int]], seed: int) -> None:
    case, _ = chain
    made = corrupted("filler", case, seed)
    assert made is not None
    text, answer = made
    *body, closing = split_steps(text)
    assert set(body) <= set(CONTENT_FREE)
    assert (answer, closing) == (case.answer, split_steps(case.text)[-1])

    def length(steps: list[str]) -> int:  # a word, a digit and a sign each count
        return sum(len(re.findall(r"[a-zA-Z]+|\S", step)) for step in steps)

    shortest = min(length([sentence]) for sentence in CONTENT_FREE)
    assert 0 <= length(split_steps(case.text)[:-1]) - length(body) < shortest


@settings(deadline=None)
@given(st.lists(st.sampled_from(["We add them all.", "It is so, as we know.", "Hence it is that."]),
                min_size=3, max_size=30), st.integers(0, 99))  # fmt: skip
def test_filler_has_as_many_words(sentences: list[str], seed: int) -> None:
    case = Case(QUESTION, "yes", "boolean", " ".join([*sentences, "The answer is True"]), "yes")
    made = corrupted("filler", case, seed)
    assert made is not None
    # Length is matched in words and marks together, and a sentence here has one or two marks.
    assert abs(len(made[0].split()) - len(case.text.split())) <= 3 + 2 * len(sentences)
    assert 0.6 < len(made[0]) / len(case.text) < 1.5


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("So it is false. The answer is False", "no", "So it is true. The answer is True"),
        ("No, there is no way. It is no.", "no", "Yes, there is no way. It is yes."),
        (
            "No, there is no way.\nThe answer is no",
            "no",
            "Yes, there is no way.\nThe answer is yes",
        ),
        ("There is no way.", "no", "There is no way. The answer is yes"),
        (
            "It is true. We met. The answer is True",
            "yes",
            "It is true. We met. The answer is False",
        ),
    ],
)
def test_wrong_answer_yes_or_no(text: str, answer: str, expected: str) -> None:
    made = corrupted("wrong_answer", Case("Is it?", answer, "boolean", text, answer))
    assert made == (expected, {"yes": "no", "no": "yes"}[answer])


def test_yes_or_no_has_no_third_answer() -> None:
    case = Case("Is it?", "yes", "boolean", "The answer is False", "no")
    assert corrupted("wrong_answer", case) is None


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "text",
    [
        "They sell things. So it is the mall. The answer is B",
        "They sell things. So it is option B. The answer is (B).",
        "They sell things. A shop is there. The correct answer is B: the mall.",
    ],
)
def test_wrong_answer_of_a_choice(text: str, seed: int) -> None:
    made = corrupted("wrong_answer", Case(CHOICES, "B", "choice", text, "B"), seed)
    assert made is not None and made[1] is not None
    assert made[1] in "ACD"  # a letter that the question lists
    assert rationale_answer(made[0], "choice") == made[1]
    named = {"A": "bank", "C": "school", "D": "park"}[made[1]]
    swapped = text.replace("the mall", named)
    for before, after in (("option B", f"option {made[1]}"), ("(B)", f"({made[1]})"),
                          ("is B", f"is {made[1]}")):  # fmt: skip
        swapped = swapped.replace(before, after)
    assert made[0] == swapped


def test_a_wrong_majority_takes_the_agreed_answer() -> None:
    case = Case(QUESTION, "12", "number", "It makes 7 + 5 = 12. The answer is 12", "12", (), "15")
    assert corrupted("wrong_majority", case) == ("It makes 7 + 5 = 15. The answer is 15", "15")
    already = Case(QUESTION, "12", "number", "The answer is 15", "15", (), "15")
    assert corrupted("wrong_majority", already) is None


@pytest.mark.parametrize(
    ("question", "text", "kept"),
    [
        # A given number that equals the answer stays; so does an operand.
        ("26 and 13?", "Subtract 13 from 26. The answer is 13", "Subtract 13 from 26."),
        ("6, 3 and 2?", "3 * 2 = 6. 6 - 3 = 3. The answer is 3", "3 * 2 = 6. 6 - 3 ="),
        ("13 or 31?", "In 1,313 and 13.13 it is. The answer is 13", "In 1,313 and 13.13 it is."),
    ],
)
def test_other_numbers_stay(question: str, text: str, kept: str) -> None:
    made = corrupted(
        "wrong_answer", Case(question, text.split()[-1], "number", text, text.split()[-1])
    )
    assert made is not None
    assert made[0].startswith(kept)
    assert not made[0].endswith(f" {text.split()[-1]}")


def test_a_wrong_sum_is_not_put_right() -> None:
    """65 * 6 is 390, 14 + 21 is 35 and 8 is the gold answer: none may be written."""
    text = "14 + 21 = 37. So 65 * 6 = 385. The answer is 385"
    for seed in range(60):
        case = Case("How many?", "388", "number", text, "385")
        wrong, step = corrupted("wrong_answer", case, seed), corrupted("wrong_step", case, seed)
        assert wrong is not None and wrong[1] not in ("385", "388", "390")
        assert step is not None and step[0].split()[4] not in ("37.", "35.")


@pytest.mark.parametrize("kind", ["boolean", "choice"])
def test_wrong_step_without_sums(kind: str) -> None:
    gold = {"boolean": "yes", "choice": "A"}[kind]
    case = Case("Q?", gold, kind, f"It was built in 1912. It stands. The answer is {gold}", gold)
    made = corrupted("wrong_step", case)
    assert made is not None
    ((_, old, _),) = changed(case.text, made[0])
    assert old == "1912"
    claims = {
        "Dogs are big. So they eat.": "Dogs are not big. So they eat.",
        "Dogs can swim. So they do.": "Dogs cannot swim. So they do.",
        "Dogs cannot fly. So they fall.": "Dogs can fly. So they fall.",
        "Dogs were not big. So they ate.": "Dogs were big. So they ate.",
    }
    for body, expected in claims.items():
        case = Case("Q?", gold, kind, f"{body} The answer is {gold}", gold)
        assert corrupted("wrong_step", case) == (f"{expected} The answer is {gold}", gold)


def test_list_numbers_keep_their_place() -> None:
    text = "1. Add 2 and 7 to get 9.\n2. Take 3 to get 6.\nThe answer is 6"
    made = corrupted("shuffled_steps", Case("2, 7, 3?", "6", "number", text, "6"))
    assert made == ("1. Take 3 to get 6.\n2. Add 2 and 7 to get 9.\nThe answer is 6", "6")
    wrong = corrupted("wrong_step", Case("2, 7, 3?", "6", "number", text, "6"))
    assert wrong is not None
    assert [old for _, old, _ in changed(text, wrong[0])] == ["9"]


def test_other_question_skips_right_and_equal_ones() -> None:
    others = [("a", "5"), ("b", None), ("The answer is 6", "6"), ("c", "7"), ("d", "8")]
    case = Case("Q?", "5", "number", "The answer is 6", "6", others)
    assert corrupted("other_question", case) == ("c", "7")
    assert corrupted("other_question", Case("Q?", "5", "number", "x", "5", others[:2])) is None


@pytest.mark.parametrize(
    ("fault", "kind", "text", "answer"),
    [
        ("shuffled_steps", "number", "7 + 5 = 12. The answer is 12", "12"),
        ("shuffled_steps", "number", "So it is. So it is. The answer is 12", "12"),
        ("wrong_step", "number", "Subtract 5. 7 - 5 = 2. The answer is 2", "2"),
        ("wrong_step", "number", "7 - 5 = 2. The answer is 2", "2"),
        ("wrong_step", "choice", "Fish swim. Dogs run. The answer is B", "B"),
        ("filler", "number", "The answer is 2", "2"),
        ("wrong_answer", "expression", r"It is. The answer is \sqrt{2}", "sqrt(2)"),
        ("wrong_step", "number", "7 + 5 = 12. 12 - 2 = 10. The answer is not 3.", None),
        ("shuffled_steps", "number", "7 + 5 = 12. 12 - 2 = 10. The answer is not 3.", None),
        ("filler", "number", "7 + 5 = 12. 12 - 2 = 10. The answer is not 3.", None),
    ],
)
def test_what_cannot_be_corrupted_is_left(fault: str, kind: str, text: str, answer: str) -> None:
    assert corrupted(fault, Case("5 or 7?", answer or "10", kind, text, answer)) is None


@settings(deadline=None)
@given(chains(), st.integers(0, 99), st.sampled_from(sorted(set(FAULTS) - {"wrong_majority"})))
def test_text_and_answer_agree(chain: tuple[Case, list[int]], seed: int, fault: str) -> None:
    case, _ = chain
    bare = Case(case.question, case.gold, "number", " ".join(split_steps(case.text)[:-1]),
                case.answer, [("So 1 + 1 = 2.", "2"), ("So 1 + 2 = 3.", "3")])  # fmt: skip
    for each in (case, bare):  # with an answer sentence and without one
        made = corrupted(fault, each, seed)
        if made is not None:
            assert made == corrupted(fault, each, seed)
            assert same_answer(rationale_answer(made[0], "number"), made[1], "number")
            assert made[0] != each.text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,450 apples and $5 or 145.0", ["1,450", "5", "145.0"]),
        ("7+5=12. It is 12.The rest", ["7", "5", "12", "12"]),
        ("Step 4: the 4th of 12:40, x2 and 1.2.3", []),
        ("(65, 46) 52% 35,36", ["65", "46", "52"]),
        ("1,575,000.50", ["1,575,000.50"]),
    ],
)
def test_numbers_are_whole(text: str, found: list[str]) -> None:
    assert [number.text for number in numerals(text)] == found
    for number in numerals(text):
        assert text[number.start : number.end] == number.text
        assert canonical(number.text, "number") == canonical(str(number.value), "number")


@pytest.mark.parametrize(
    ("step", "results"),
    [
        ("7 + 5 = 12", ["12"]),
        ("First 7 plus 5 makes 12.", ["12"]),
        ("We take 7 - 5 and get 2.", ["2"]),
        ("35 packs * 4 pencils = 140 pencils.", ["140"]),
        ("3*2=6, so 6 / 3 = 2", ["6", "2"]),
        ("Subtract 5 from 7.", []),
        ("Ann has 7 apples and eats 40.", ["40"]),
        ("That leaves 5.", ["5"]),
        ("There are 5 of them.", []),
        ("2 x 65 = $130", ["130"]),
    ],
)
def test_results(step: str, results: list[str]) -> None:
    given = frozenset(map(Fraction, (7, 5, 35, 4, 3, 2, 65)))
    assert [n.text for n in numerals(step) if is_result(step, n, given)] == results
    assert is_result("It is 5.", numerals("It is 5.")[0], given, final=True)


NUMBERS = st.integers(1, 9999)


@given(st.lists(NUMBERS, min_size=2, max_size=4), st.data())
def test_sums_are_worked_out(values: list[int], data: st.DataObject) -> None:
    signs = data.draw(st.lists(st.sampled_from("+-*/"), min_size=3, max_size=3))
    terms = [f"Fraction({values[0]})"]
    shown = [f"{values[0]:,}"]
    for sign, value in zip(signs, values[1:], strict=False):
        terms.append(f"{sign} Fraction({value})")
        shown.append(f"{sign} ${value:,}")
    expected = eval(" ".join(terms))
    assert true_values(f"1. So {' '.join(shown)} = 0 apples.") == {expected}


def test_sums_of_things_and_in_words() -> None:
    text = "35 packs * 4 pencils/pack = 0. First 7 plus 5 makes 13. We take 9 - 2 and get 0."
    assert true_values(text) == {140, 12, 7}


@pytest.mark.parametrize("text", ["x + 3 = 4 = 9", "3) + 4 = 7", "5 / 0 = 1", "=", "the rest = 5"])
def test_what_is_no_sum_has_no_value(text: str) -> None:
    assert not true_values(text)


@given(st.decimals(0, 10**7, places=2), st.sampled_from(["7", "1,450", "145.0", "2.50"]))
def test_a_number_is_written_like_another(value: object, like: str) -> None:
    exact = Fraction(str(value))
    text = written_like(exact, like)
    assert canonical(text, "number") == canonical(str(exact), "number")
    assert ("," in text) == ("," in like and exact >= 1000)
    assert len(text.partition(".")[2]) >= len(like.partition(".")[2])


def test_a_fraction_without_end_stays_one() -> None:
    assert written_like(Fraction(4, 3), "1") == "4/3"


@settings(deadline=None)
@given(chains(), st.integers(0, 99))
def test_skipped_steps_leave_the_last_one(chain: tuple[Case, list[int]], seed: int) -> None:
    case, _ = chain
    *steps, closing = split_steps(case.text)
    left = case.text[case.text.rindex(steps[-1]) :]
    assert corrupted("skipped_steps", case, seed) == (left, case.answer)
    alone = replace(case, text=f"{steps[-1]} {closing}")
    assert corrupted("skipped_steps", alone, seed) is None


def test_the_step_that_is_left_is_marked_as_a_first_one() -> None:
    text = "First 3 plus 4 makes 7. Then 7 plus 1 makes 8. The answer is 8"
    made = corrupted("skipped_steps", Case(QUESTION, "8", "number", text, "8"))
    assert made == ("First 7 plus 1 makes 8. The answer is 8", "8")


@settings(deadline=None)
@given(chains(), st.integers(0, 99))
def test_long_winded_says_every_step_twice(chain: tuple[Case, list[int]], seed: int) -> None:
    case, _ = chain
    made = corrupted("long_winded", case, seed)
    assert made is not None
    text, answer = made
    *before, closing = split_steps(case.text)
    *after, still = split_steps(text)
    assert (answer, closing) == (case.answer, still)
    assert [s for s in after if s not in CONTENT_FREE] == [s for s in before for _ in range(2)]

    def length(steps: list[str]) -> int:  # a word, a digit and a sign each count
        return sum(len(re.findall(r"[a-zA-Z]+|\d|\S", step)) for step in steps)

    assert 2 * length(before) < length(after) <= 3 * length(before)
