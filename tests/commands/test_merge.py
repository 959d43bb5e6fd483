"""`merge` on the command line: parts that `run --shard` made, and what it refuses."""

from __future__ import annotations

import pytest

from compact_bench.execution import run as execution
from tests.stub_pool import HerePool


@pytest.fixture
def part(call, write_suite, plugins, tmp_path, monkeypatch, no_pictures):
    """Run the tiny suite, or a part of it; return exit code, lines and the results folder."""
    monkeypatch.setattr(execution, "Pool", HerePool)
    path = write_suite(methods=["still", "dummy"], seeds=[0])

    def run(name, *more):
        tail = ["--plugins", plugins, "--results", tmp_path / name, "--threads", "1", *more]
        code, out, err = call("run", path, *tail)
        return code, out + err, tmp_path / name / "tiny" / "mini"

    return run


def test_parts_are_merged_and_reported(part, call, tmp_path):
    (code1, _, one), (code2, _, two) = part("one", "--shard", "1/2"), part("two", "--shard", "2/2")
    assert (code1, code2) == (0, 0)
    into = tmp_path / "all" / "tiny" / "mini"
    code, out, _ = call("merge", one, "--into", into)
    assert code == 1 and "cells: 1 done, 1 missing" in out
    code, out, err = call("merge", one, two, "--into", into)
    assert code == 0, err
    assert "cells: 2 done" in out and f"report: {into / 'report.html'}" in out
    assert part("all")[1].startswith("tiny mini: 2 cells, 2 of them kept")


def test_what_cannot_be_merged_is_one_line(call, tmp_path):
    code, _, err = call("merge", tmp_path / "no", "--into", tmp_path / "into")
    assert code == 2 and "no results in" in err and err.count("\n") == 1
    code, _, err = call("merge", tmp_path / "no")
    assert code == 2 and "--into" in err and err.count("\n") == 1
    assert not (tmp_path / "into").exists()
