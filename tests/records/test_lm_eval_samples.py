"""The files of lm-eval: written by lm-eval itself, and broken in the ways that files break."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compact_bench.errors import UserError
from compact_bench.records.lm_eval_samples import read_samples, sample_files


def line(**changes) -> str:
    sample = {"doc_id": 0, "filter": "none", "metrics": ["acc"], "doc_hash": "a", "acc": 1.0}
    return json.dumps(sample | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: not a sample"),
        (line() + "\n[]", "line 2: not a sample"),
        (line(metrics=["f1"]), "line 1: not a sample"),
        (line(doc_id=None), "line 1: not a sample"),
        (line(acc=[1, 2]), "no sample with a metric that is a number"),
        ("", "no sample with a metric that is a number"),
        (line() + "\n" + line(), "question 0 is there twice"),
    ],
)
def test_what_lm_eval_does_not_write(tmp_path: Path, text: str, message: str):
    path = tmp_path / "samples_x.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_samples(path)


def test_a_folder_stands_for_its_runs(tmp_path: Path):
    with pytest.raises(UserError, match="no samples of lm-eval"):
        sample_files(tmp_path)
    names = [tmp_path / "b" / "samples_x.jsonl", tmp_path / "a" / "samples_x.jsonl"]
    for name in names:
        name.parent.mkdir()
        name.write_text(line())
    (tmp_path / "a" / "results.json").write_text("{}")
    assert sample_files(tmp_path) == names[::-1]
    assert sample_files(names[0]) == names[:1]
