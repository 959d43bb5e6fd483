"""A local teacher: the student that ships answers in its own prompt, a chat model in a chat."""

from __future__ import annotations

import pytest

from compact_bench.errors import UserError
from compact_bench.teachers.answers import Request, Settings, TeacherAnswer
from compact_bench.teachers.local import ask

WANTED = [
    Request(f"Ann has {n} pens and buys 2 more. How many?", str(n + 2), "number", s)
    for n in (3, 4)
    for s in (0, 1)
]


def answered(batch_size: int, **settings: object) -> dict[Request, TeacherAnswer]:
    found: dict[Request, TeacherAnswer] = {}
    made = Settings("own", "nano", max_tokens=12, **settings)  # type: ignore[arg-type]
    ask(WANTED, made, lambda request, answer: found.update({request: answer}), batch_size)
    return found


def test_the_same_answers_in_any_batch() -> None:
    found = answered(4)
    assert list(map(found.get, WANTED)) == list(map(answered(1).get, WANTED))
    assert found[WANTED[0]].text != found[WANTED[1]].text  # another sample
    greedy = answered(4, temperature=0.0)
    assert greedy[WANTED[0]] == greedy[WANTED[1]]
    for answer in found.values():
        assert answer.completion_tokens is not None and answer.completion_tokens <= 12
        assert answer.finish == "stop" or answer.completion_tokens == 12
        assert answer.prompt_tokens


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"^--local: no file or folder './none'"):
        ask(WANTED, Settings("own", "./none"), lambda *_: None)
