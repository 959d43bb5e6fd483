"""What the page's browser holds is what the cells recorded."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from compact_bench.analysis.results import Results, read
from compact_bench.records.published import publish_records
from compact_bench.records.suite_record import read_items
from compact_bench.report.samples import browser
from tests import synthetic
from tests.synthetic import Made

LABELS = ("base", "average", "full", "random_weights")
CONDITIONS = (
    {"name": "clean", "data": {"corrupt": {}}},
    {"name": "filler", "data": {"corrupt": {"filler": 0.5}}},
)


def shown(root: Path, results: Results | None = None) -> dict[str, Any]:
    """What the page's script reads."""
    text = browser.packed(results or read(root), root, read_items(root))
    content: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return content


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(labels=LABELS, items=70, scored=True)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def content(root: Path) -> dict[str, Any]:
    return shown(root)


def test_every_answer_of_every_seed_is_the_recorded_one(root: Path, content: dict[str, Any]):
    recorded = {
        (row.label, seed, sample["task"], sample["question_id"]): sample
        for row in read(root).rows
        for seed, cell in row.done.items()
        for sample in cell.samples()
        if row.label == "base" or sample.get("stage") != "before"
    }
    questions = read_items(root)
    assert content["rows"] == [*LABELS]
    for one in content["asked"]:
        assert one["question"] == questions.get((one["task"], one["id"]), "")
        for label, given in zip(LABELS, one["given"], strict=True):
            seeds = [None] if label == "base" else content["seeds"]
            for seed, place in zip(seeds, given, strict=True):
                sample = recorded[label, seed, one["task"], one["id"]]
                output, extracted, right = one["outputs"][place]
                assert [output, bool(right)] == [sample["output"], sample["right"]]
                assert extracted == str(sample["extracted"] or "")
                assert one["gold"] == str(sample["answer"])


def test_the_first_questions_of_every_task_are_there(root: Path, content: dict[str, Any]):
    cell = next(iter(read(root).rows[1].done.values()))
    for task in synthetic.TASKS:
        every = sorted({s["question_id"] for s in cell.samples() if s["task"] == task})
        held = [one["id"] for one in content["asked"] if one["task"] == task]
        assert held == every[: browser.MOST_ASKED]
    assert len(read(root).rows[1].items["in_domain", "right"].columns) > browser.MOST_ASKED


def test_rationales_are_those_of_the_bank(root: Path, content: dict[str, Any]):
    bank = pd.read_parquet(root / "bank.parquet").set_index(["question_id", "teacher"])
    assert len(content["training"]) == browser.MOST_TRAINING
    for one in content["training"]:
        assert len(one["rationales"][""]) == len(synthetic.TEACHERS)
        for teacher, sample, text, answer, right, fault in one["rationales"][""]:
            kept = bank.loc[(one["id"], teacher)]
            found = (one["texts"][text], answer, bool(right), fault, sample)
            assert found == (kept["text"], kept["answer"], kept["right"], kept["corruption"], 0)
            assert (one["question"], one["gold"]) == (kept["question"], kept["gold"])


def test_weights_are_means_over_seeds_by_epoch(root: Path, content: dict[str, Any]):
    rows = {row.label: row for row in read(root).rows}
    keys = [(one["id"], r[0]) for one in content["training"] for r in one["rationales"][""]]
    assert {LABELS[one["row"]] for one in content["weights"]} == {"full", "random_weights"}
    for one in content["weights"]:
        steps = pd.concat([c.steps() for c in rows[LABELS[one["row"]]].done.values()])
        columns = {"weight": "weight", "consensus": "score_consensus",
                   "adaptability": "score_adaptability"}  # fmt: skip
        assert set(one["values"]) == set(columns)
        for name, column in columns.items():
            for (question, teacher), epochs in zip(keys, one["values"][name], strict=True):
                own = steps[(steps["question_id"] == question) & (steps["teacher"] == teacher)]
                expected = [own.loc[own["epoch"] == e, column].mean() for e in range(len(epochs))]
                found = [np.nan if value is None else value for value in epochs]
                assert np.allclose(found, expected, atol=0.00501, equal_nan=True)


def test_a_row_s_weights_are_of_its_condition(tmp_path: Path):
    made = Made(labels=("average", "full"), items=4, seeds=(0,), scored=True, conditions=CONDITIONS)
    content = shown(synthetic.make(tmp_path, made))
    assert {one["condition"] for one in content["weights"]} == {"clean", "filler"}
    for one in content["weights"]:
        assert content["rows"][one["row"]].endswith(f" · {one['condition']}")
        held = [r for q in content["training"] for r in q["rationales"][one["condition"]]]
        assert len(one["values"]["weight"]) == len(held)
    faults = {name: {r[-1] for q in content["training"] for r in q["rationales"][name]}
              for name in ("clean", "filler")}  # fmt: skip
    assert faults == {"clean": {""}, "filler": {"", "filler"}}


def test_much_text_and_many_cells_are_cut(root: Path, monkeypatch: pytest.MonkeyPatch):
    results = read(root)
    monkeypatch.setattr(browser, "MOST_CELLS", 2 * len(LABELS))
    monkeypatch.setattr(browser, "MOST_CHARACTERS", 2000)
    content = shown(root, results)
    assert content["seeds"] == [0, 1]
    assert {len(given) for one in content["asked"] for given in one["given"]} == {1, 2}
    outputs = [output for one in content["asked"] for output, *_ in one["outputs"]]
    assert outputs and sum(map(len, outputs)) <= 2000
    assert {one["task"] for one in content["asked"]} == {*synthetic.TASKS}  # in turns


def test_without_published_texts_the_numbers_stay(tmp_path: Path):
    suite = {"data": {"source": "svamp", "teachers": list(synthetic.TEACHERS)}}
    made = Made(labels=("average", "full"), items=4, seeds=(0,), scored=True, suite=suite)
    root = synthetic.make(tmp_path / "new", made)
    publish_records(root, tmp_path / "published")
    content = shown(tmp_path / "published")
    assert content["asked"] and {one["question"] for one in content["asked"]} == {""}
    assert {text for one in content["training"] for text in one["texts"]} == {""}
    assert content["weights"]


def test_nothing_done_is_no_browser(tmp_path: Path):
    states = {("average", 0): ("failed", "no memory")}
    made = Made(labels=("average",), seeds=(0,), items=4, states=states)
    root = synthetic.make(tmp_path, made)
    assert browser.packed(read(root), root, {}) == ""
