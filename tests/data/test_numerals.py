"""Numbers in texts: found whole, judged as results or operands, and sums worked out."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.data.answers import canonical
from compact_bench.data.numerals import is_result, numerals, true_values, written_like


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
