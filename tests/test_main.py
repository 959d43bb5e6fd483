"""The command line: every command is in the help, and asking is fast."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from compact_bench import __main__

ROOT = Path(__file__).parents[1]


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as caught:
        __main__.main(["--help"])
    assert not caught.value.code
    text = capsys.readouterr().out
    for name in __main__.COMMANDS:
        assert f"  {name} " in text


def _times_click(command: list[str], rounds: int = 5) -> float:
    """How many times as long as `import click` a command takes, in its best round.

    Both are timed in turn: a machine that is slow for a while is so for both.
    """

    def seconds(words: list[str]) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=ROOT)
        return time.perf_counter() - start

    return min(seconds(command) / seconds(["-c", "import click"]) for _ in range(rounds))


def test_help_and_list_start_fast():
    assert _times_click(["-m", "compact_bench", "--help"]) <= 4
    assert _times_click(["-m", "compact_bench", "list", "methods"]) <= 8


def run(*words, capsys):
    with pytest.raises(SystemExit) as caught:
        __main__.main([*words])
    return caught.value.code, capsys.readouterr()


def test_without_a_command_the_help_has_its_lines(capsys):
    code, (out, err) = run(capsys=capsys)
    assert code == 2 and out == ""
    assert err.startswith("Usage: ") and "\n  run " in err


def test_an_error_is_one_line_of_readable_length(capsys):
    for odd in ("x" * 100_000, "\udcff\nx"):
        code, (_, err) = run("plan", odd, capsys=capsys)
        assert code == 2
        assert err.startswith("Error: ") and err.count("\n") == 1 and len(err) < 2100
