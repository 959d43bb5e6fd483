"""The command line: every command is in the help, and asking imports little."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from pydantic import BaseModel, field_serializer
from pydantic_core import PydanticSerializationError

from compact_bench import __main__
from compact_bench.errors import MachineError, UserError

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "lm_eval", "pandas", "pyarrow", "scipy", "matplotlib", "optuna"}


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as caught:
        __main__.main(["--help"])
    assert not caught.value.code
    text = capsys.readouterr().out
    for name in __main__.COMMANDS:
        assert f"  {name} " in text


def test_a_shell_completes_the_installed_script():
    code = (
        "import sys; sys.argv = ['bin/compact-bench']; import compact_bench.__main__ as m; m.main()"
    )
    asked = {"COMP_WORDS": "compact-bench rep", "COMP_CWORD": "1"}
    for kind, expected in (("complete", {"report", "reproduce"}), ("source", {"compact-bench"})):
        environment = {**os.environ, **asked, "_COMPACT_BENCH_COMPLETE": f"bash_{kind}"}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, cwd=ROOT, env=environment, text=True
        )
        words = {word.removeprefix("plain,").rstrip(";") for word in done.stdout.split()}
        assert expected <= words and "run" not in words


def _loaded(*arguments: str) -> set[str]:
    """The packages that a command has imported at its end, but for Python's own."""
    code = (
        "import sys; from compact_bench.__main__ import main\n"
        f"try: main({[*arguments]!r})\n"
        "finally: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT, text=True
    )
    own = {name for name in done.stderr.split() if name.startswith("_")}
    return {*done.stderr.split()} - own - sys.stdlib_module_names


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


def test_help_and_list_import_little_and_so_start_fast():
    assert _loaded("--help") <= {"click", "compact_bench"}
    assert not _loaded("list", "methods") & HEAVY


@pytest.mark.parametrize(
    ("error", "code"), [(UserError("bad\ninput"), 2), (MachineError("no\nmemory"), 1)]
)
def test_an_error_is_one_line_and_an_exit_code(monkeypatch, capsys, error, code):
    @click.command()
    def fails():
        raise error

    monkeypatch.setattr(__main__.Commands, "get_command", lambda *arguments: fails)
    with pytest.raises(SystemExit) as caught:
        __main__.main(["plan"])
    assert caught.value.code == code
    assert capsys.readouterr().err == f"Error: {' '.join(str(error).split())}\n"


def test_ctrl_c_within_a_library_in_c_is_no_traceback(monkeypatch, capsys):
    """pydantic makes an error of its own of a KeyboardInterrupt in a serializer."""

    class Slow(BaseModel):
        x: int = 1

        @field_serializer("x")
        def _wait(self, x: int) -> int:
            signal.raise_signal(signal.SIGINT)
            return x

    monkeypatch.setattr(signal, "default_int_handler", signal.getsignal(signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(PydanticSerializationError):
        Slow().model_dump()
    assert __main__.code_of(lambda: Slow().model_dump()) == 130
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ZeroDivisionError):  # what isn't Ctrl-C is a fault of ours, and shown
        __main__.code_of(lambda: 1 // 0)
