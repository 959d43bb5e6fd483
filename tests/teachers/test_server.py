"""A server that works and servers that don't: each request is tried again, counted, or ends it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from compact_bench.errors import UserError
from compact_bench.teachers.answers import Request, Settings, TeacherAnswer
from compact_bench.teachers.server import MOST_FAILURES, Server
from tests.chat_server import Behaviour, Reply, chat_server, completion

pytest.importorskip("openai", reason="the extra `api` is not installed")

SETTINGS = Settings("gpt", "gpt-4o", temperature=0.3, seed=5, max_tokens=77)


def asked(behaviour: Behaviour, count: int = 6, **options: Any) -> tuple[Any, dict, dict]:
    """Ask so many questions; the server, the answers and the failures, by question."""
    wanted = [Request(f"{n} + 1?", str(n + 1), "number", n) for n in range(count)]
    answers: dict[str, TeacherAnswer] = {}
    failures: dict[str, str] = {}
    with chat_server(behaviour) as server:
        teacher = Server(server.url, **{"concurrency": 3, "retries": 2, **options})
        teacher.ask(
            wanted,
            SETTINGS,
            lambda request, answer: answers.update({request.question: answer}),
            lambda request, reason: failures.update({request.question: reason}),
        )
    return server, answers, failures


def test_what_is_asked_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server, answers, failures = asked(
        lambda body, _: completion("is " + body["messages"][0]["content"][0]), key_variable="MY_KEY"
    )
    assert failures == {} and server.keys == {"Bearer sk-secret"}
    assert answers["3 + 1?"] == TeacherAnswer("is 3", "stop", 10, 5)
    by_seed = {body.pop("seed"): body for body in server.bodies}
    assert sorted(by_seed) == [5, 6, 7, 8, 9, 10]  # the seed and the number of the sample
    (message,) = by_seed[8].pop("messages")
    assert message["role"] == "user" and message["content"].startswith("3 + 1?\n\nReason step")
    assert by_seed[8] == {"model": "gpt-4o", "temperature": 0.3, "max_tokens": 77}


def test_thoughts_and_what_is_not_told() -> None:
    def behaviour(body: dict, _: int) -> Reply:
        if body["seed"] == 5:
            return completion("is 1", reasoning_content="hm")
        return Reply({"choices": [{"finish_reason": None, "message": {"content": None}}]})

    _, answers, _ = asked(behaviour, 2)
    assert answers["0 + 1?"].text == "<think>\nhm\n</think>\nis 1"
    assert answers["1 + 1?"] == TeacherAnswer("", "stop", None, None)


def test_requests_at_the_same_time() -> None:
    server, answers, _ = asked(lambda *_: Reply(completion("x").content, seconds=0.1), 9)
    assert len(answers) == 9 and server.most_at_once == 3


FAULTS: dict[str, Callable[[], Reply]] = {
    "rate limit": lambda: Reply({"error": {"message": "slow down"}}, 429),
    "error of the server": lambda: Reply(b"oops", 500, kind="text/plain"),
    "cut connection": lambda: Reply(completion("is 7").content, cut=True),
    "slow": lambda: Reply(completion("is 7").content, seconds=1.0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_tried_again(fault: str) -> None:
    server, answers, failures = asked(
        lambda _, before: FAULTS[fault]() if before == 0 else completion("is 7"), 2, timeout=0.4
    )
    assert failures == {} and len(answers) == 2
    assert set(server.times.values()) == {2}


def test_a_fault_that_stays_is_counted_and_the_others_are_answered() -> None:
    _, answers, failures = asked(
        lambda body, _: FAULTS["rate limit"]() if body["seed"] % 2 else completion("is 7")
    )
    assert set(answers) == {"1 + 1?", "3 + 1?", "5 + 1?"}
    assert set(failures) == {"0 + 1?", "2 + 1?", "4 + 1?"}
    assert all("429" in reason and "slow down" in reason for reason in failures.values())


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b'{"choices": [{"mess'),
        Reply(b"\xff\xfe", kind="application/json"),
        Reply(b"<html>Welcome</html>", kind="text/html"),
        Reply({"answer": 7}),
        Reply({"choices": []}),
        Reply([1]),
        Reply({"choices": [3]}),
        Reply({"choices": "x"}),
    ],
)
def test_garbage_is_counted(reply: Reply) -> None:
    _, answers, failures = asked(
        lambda body, _: reply if body["seed"] == 5 else completion("is 7"), 3
    )
    assert set(answers) == {"1 + 1?", "2 + 1?"} and set(failures) == {"0 + 1?"}
    assert "\n" not in failures["0 + 1?"] and len(failures["0 + 1?"]) < 500


def test_a_server_that_always_fails_is_given_up() -> None:
    with pytest.raises(UserError, match="no chat completion"):
        asked(lambda *_: Reply({"answer": 7}), MOST_FAILURES + 20, concurrency=1)


@pytest.mark.parametrize(("status", "hint"), [(401, "is refused"), (404, "the model's name right")])
def test_a_refusal_ends_it_at_once_and_shows_no_key(
    monkeypatch: pytest.MonkeyPatch, status: int, hint: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with pytest.raises(UserError, match=hint) as error:
        asked(lambda *_: Reply({"error": {"message": "no sk-secret"}}, status), 9, concurrency=1)
    assert "sk-secret" not in str(error.value) and "no ***" in str(error.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match=hint.replace("is refused", "OPENAI_API_KEY is not set")):
        asked(lambda *_: Reply({"error": {"message": "no key"}}, status), 1)


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    wanted = [Request(f"{n}?", "1", "number", 0) for n in range(20)]
    failures: list[str] = []
    with pytest.raises(UserError, match=f"{url}: Connection error"):
        Server(url, retries=0, concurrency=1).ask(
            wanted, SETTINGS, lambda *_: None, lambda _, reason: failures.append(reason)
        )
    assert len(failures) == 1
