"""`generate`: a teacher more, from a server or this machine, and nothing is paid for twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.chat_server import Reply, chat_server, completion

try:
    import openai
except ImportError:
    openai = None  # type: ignore[assignment]

needs_client = pytest.mark.skipif(openai is None, reason="the extra `api` is not installed")


def solved(body: dict[str, Any], before: int = 0) -> Reply:
    """The right answer of "Ann has 3 apples and buys 4 more."; of sample 1 a wrong one."""
    first, second = map(int, re.findall(r"\d+", body["messages"][0]["content"])[:2])
    return completion(f"{first} + {second}. The answer is {first + second + body['seed'] % 2}")


@needs_client
def test_a_third_teacher_from_a_server_to_a_plan(call, write_suite, plugins, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    suite, to = write_suite(), tmp_path / "out" / "gpt.jsonl"
    with chat_server(solved) as server:
        command = ["generate", suite, "--teacher", f"gpt=m@{server.url}", "--to", to, "--limit", 4,
                   "--samples", 2, "--price", "1,2"]  # fmt: skip
        code, out, err = call(*command)
        assert code == 0, err
        assert "8 rationales, 0 of them asked before" in out
        assert "gpt.jsonl: 8 rationales; rejected: none" in out
        assert "tokens: 80 read, 40 written, 0.0002 at the given price" in out
        before = to.read_bytes()
        code, out, _ = call(*command)
        assert code == 0 and "8 of them asked before" in out
        assert len(server.bodies) == 8 and to.read_bytes() == before
    assert b"sk-secret" not in before and b"127.0.0.1" not in before
    joined = ["--set", f"data.more=[{to}]", "--plugins", plugins, "--limit", 4, "--json"]
    code, out, err = call("plan", suite, "--results", tmp_path / "r", *joined)
    assert code == 0, err
    notes = " ".join(json.loads(out)["notes"])
    assert "all of the 3 teachers" in notes
    assert "ada 100.0%, bob 100.0%, gpt 50.0%" in notes


@needs_client
def test_rejection_sampling_and_what_stays_unanswered(call, write_suite, tmp_path):
    def behaviour(body: dict[str, Any], before: int) -> Reply:
        return Reply(b"{", 200) if body["messages"][0]["content"].startswith(bad) else solved(body)

    bad = "nothing"
    to = tmp_path / "gpt.jsonl"
    with chat_server(behaviour) as server:
        command = ["generate", write_suite(), "--teacher", f"gpt=m@{server.url}", "--to", to,
                   "--limit", 3, "--samples", 2, "--accept", "right"]  # fmt: skip
        bad = "Ann has"
        code, out, err = call(*command)
        assert code == 1 and "unanswered: 6 (the reply is no chat completion" in out, err
        assert "the same command asks for them again" in out and "Traceback" not in out + err
        bad = "nothing"
        code, out, _ = call(*command)
    assert code == 0 and "3 rationales; rejected: 3 wrong answer" in out
    rows = [json.loads(line) for line in to.read_text().splitlines()]
    wrong = [row for row in rows if row["rationale"] is None]
    assert len(wrong) == 3 and all("The answer is" in row["generated"]["text"] for row in wrong)


@needs_client
@pytest.mark.slow
def test_a_kill_at_any_moment_pays_for_nothing_twice(call, write_suite, tmp_path):
    suite, to = write_suite(), tmp_path / "gpt.jsonl"

    def slow(body: dict[str, Any], before: int) -> Reply:
        return Reply(solved(body).content, seconds=0.1)

    with chat_server(slow) as server:
        command = ["generate", suite, "--teacher", f"gpt=m@{server.url}", "--to", to,
                   "--concurrency", 2]  # fmt: skip
        line = [sys.executable, "-m", "compact_bench", *map(str, command)]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (not to.exists() or to.read_bytes().count(b"\n") < 3):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kept = to.read_bytes()
        paid = {json.loads(row)["question"] for row in kept.decode().splitlines() if row[-1] == "}"}
        to.write_bytes(kept + b'{"question": "Ann')
        code, out, _ = call(*command)
        assert code == 0 and f"{len(paid)} of them asked before" in out
        assert to.read_bytes().startswith(kept)
        times = {text.split("\n")[0]: count for (text, _), count in server.times.items()}
    assert len(paid) >= 3 and {times[question] for question in paid} == {1}
    assert all(count <= 2 for count in times.values())  # what was on its way when it was killed
    rows = [json.loads(row)["question"] for row in to.read_text().splitlines()]
    assert len(rows) == len(set(rows)) == len(times)


def test_a_source_of_questions_alone_and_a_local_teacher(call, write_suite, data_files, tmp_path):
    train, _ = data_files
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    for row in rows:
        del row["rationales"]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    to = tmp_path / "own.jsonl"
    local = ["--local", "own=nano", "--to", to, "--limit", 3, "--max-tokens", 40]
    code, out, err = call("generate", write_suite(), *local)
    assert code == 0, err
    assert "3 rationales, 0 of them asked before" in out
    (teacher,) = {json.loads(line)["teacher"] for line in to.read_text().splitlines()}
    assert teacher == "own"


def test_bad_input_is_one_line(refused, write_suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suite = write_suite()
    assert "name one teacher" in refused("generate", suite)
    both = ["--teacher", "a=m@http://x/v1", "--local", "a=nano"]
    assert "name one teacher" in refused("generate", suite, *both)
    for teacher in ("a=m", "m@http://x/v1", "a b=m@http://x", "a=m@http://u:p@x/v1",
                    "a=m@http://x/v1?key=s", "a=m@ftp://x"):  # fmt: skip
        line = refused("generate", suite, "--teacher", teacher)
        assert "NAME=MODEL@URL" in line and "u:p" not in line and "key=s" not in line
    assert "NAME=MODEL" in refused("generate", suite, "--local", "nano")
    for option, value in [("--price", "1"), ("--price", "1,nan"), ("--temperature", "nan"),
                          ("--timeout", "inf"), ("--samples", "0")]:  # fmt: skip
        assert option in refused("generate", suite, "--local", "a=nano", option, value)
    other = tmp_path / "a.jsonl"
    other.write_text('{"question": "Q", "answer": 1}\n')
    line = refused("generate", suite, "--local", "a=nano", "--limit", "2")
    assert "a.jsonl:1: no answer that was generated" in line


def test_without_the_client_it_says_what_to_install(refused, write_suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "openai", None)
    line = refused("generate", write_suite(), "--teacher", "a=m@http://127.0.0.1:9/v1")
    assert "pip install compact-bench[api]" in line
