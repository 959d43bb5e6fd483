"""How commands are called in this process."""

from __future__ import annotations

import pytest

from compact_bench import __main__


@pytest.fixture
def call(capsys):
    """Call the command line in this process; return exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            __main__.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture
def refused(call, tmp_path):
    """Call with bad input: exit code 2, one line on stderr, nothing started; return the line."""

    def run(*arguments: object) -> str:
        code, out, err = call(*arguments)
        assert code == 2
        assert err.count("\n") == 1
        assert "Traceback" not in out + err
        assert not list(tmp_path.glob("results/*/*/runs"))
        return err

    return run
