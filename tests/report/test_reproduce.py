"""A new run beside the published one: the same is told from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from compact_bench.errors import UserError
from compact_bench.records import cells
from compact_bench.records.published import publish_records
from compact_bench.report import reproduce
from tests import synthetic
from tests.synthetic import Made

LABELS = ("base", "average", "compact")


def made(**more: object) -> Made:
    return Made(**{"labels": LABELS, "items": 30, "steps": 3} | more)  # type: ignore[arg-type]


def test_a_run_reproduces_itself(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path / "new", made())
    publish_records(root, tmp_path / "published")
    found = reproduce.compare(root, tmp_path / "published")
    assert len(found) == 3 * 5
    assert {one.verdict for one in found} == {"same"}
    assert {one.asked for one in found} == {()}
    assert {one.interval for one in found if one.label == "average"} == {"crossed"}
    assert {one.interval for one in found if one.label == "base"} == {"items"}
    rows = reproduce.reproduce(root, tmp_path / "published")
    assert all(row["same"] is True for row in rows)


def test_other_noise_is_the_same_and_another_skill_is_not(tmp_path: Path) -> None:
    old = synthetic.make(tmp_path / "old", made(items=120))
    noisy = synthetic.make(tmp_path / "noisy", made(items=120, random=1))
    worse = synthetic.make(tmp_path / "worse", made(items=120, shift=-0.35))
    again = [one for one in reproduce.compare(noisy, old) if one.label != "base"]
    assert sum(one.verdict == "same" for one in again) >= 0.8 * len(again)
    other = [one for one in reproduce.compare(worse, old) if one.measure.metric == "accuracy"]
    assert sum(one.verdict == "different" for one in other) >= 0.8 * len(other)


def test_missing_rows_and_other_settings_are_named(tmp_path: Path) -> None:
    old = synthetic.make(tmp_path / "old", made())
    new = synthetic.make(tmp_path / "new", made(labels=("base", "average")))
    for cell in cells.read_cells(new):
        cells.CellWriter(cell.folder).spec({**cell.spec, "threads": 2, "data_hash": "other"})
    rows = reproduce.reproduce(new, old)
    assert {row["verdict"] for row in rows if row["method"] == "compact"} == {"missing"}
    assert not any(row["same"] for row in rows if row["method"] == "compact")
    assert {row["asked"] for row in rows if row["method"] == "average"} == {
        "other data_hash, threads"
    }


def test_without_items_there_is_no_interval(tmp_path: Path) -> None:
    old = synthetic.make(tmp_path / "old", made(seeds=(0,)))
    new = synthetic.make(tmp_path / "new", made(seeds=(0,), random=1))
    for path in new.glob("runs/*/samples.jsonl"):
        path.unlink()
    verdicts = {one.verdict for one in reproduce.compare(new, old)}
    assert "no interval" in verdicts
    assert verdicts <= {"no interval", "same"}


def test_reproduce_needs_both(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path / "new", made())
    with pytest.raises(UserError, match="run the suite first"):
        reproduce.reproduce(root, tmp_path / "published")
