"""The first screen says what the records say: which row is best, by how much, beside what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.analysis import claims
from compact_bench.analysis.results import Results, read
from compact_bench.records.cells import CellWriter, read_cells
from compact_bench.report import page
from compact_bench.report import verdict as verdicts
from compact_bench.report.contents import FIGURES, SECTIONS, TABLES, section
from compact_bench.report.page import CAPTION, build, first_words
from compact_bench.report.verdict import Drawn, verdict
from tests import synthetic, synthetic_worlds
from tests.html_page import parsed
from tests.synthetic import Made

LABELS = ("base", "answer_sft", "average", "compact")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    made = Made(labels=LABELS, seeds=(0, 1, 2, 3, 4), items=150, steps=3)
    return synthetic.make(tmp_path_factory.mktemp("verdict"), made)


@pytest.fixture(scope="module")
def results(root) -> Results:
    return read(root)


def test_the_best_row_is_the_one_with_the_highest_mean(results: Results):
    found, measure = verdict(results), results.headlines("reasoning")[0]
    means = {row.label: row.summary(measure).mean for row in results.rows if row.trained}
    best = max(means, key=means.get)
    gap = results.difference(results.named(best), measure)
    assert found.sentences[0].startswith(
        f"{best} is the best trained row (in domain: accuracy {means[best]:.1%}),"
    )
    points = f"{100 * abs(gap.mean):.1f} ± {100 * gap.half_width:.1f} points above average"
    assert points in found.sentences[0]
    survives = claims.family(results).survives(results.named(best), measure)
    assert ("no claim" in found.sentences[0]) != survives
    assert found.tiles[0].row == best and found.tiles[0].value.startswith(
        f"{100 * means[best]:.1f}"
    )


def test_rows_that_cannot_be_told_apart_are_named(results: Results):
    measure = results.headlines("reasoning")[0]
    level = claims.not_worse(results, measure)
    said = verdict(results).sentences[1]
    best = verdict(results).tiles[0].row
    for row in results.rows:
        if row.trained and row.label != best:
            assert (f"{row.label}" in said.split(";")[-1]) == (row.label in level)


def test_an_interval_is_drawn_where_it_lies(results: Results):
    table = verdict(results).table
    assert len(table.columns) <= 7
    measure = results.headlines("reasoning")[0]
    drawn = [
        entry for row in table.rows for entry in row if isinstance(entry, Drawn) and entry.state
    ]
    found = [d for row in results.rows if (d := results.difference(row, measure))]
    assert len(drawn) == len(found) == 3
    for one, difference in zip(drawn, found, strict=True):
        assert 0 <= one.low <= one.middle <= one.high <= 100 and one.zero == drawn[0].zero
        assert (one.low <= one.zero <= one.high) == (not difference.clear)
        assert (one.state == "none") == (not difference.clear)
        # One scale: a point is as wide in every row.
        width = (one.high - one.low) / (2 * difference.half_width)
        assert width == pytest.approx(
            (drawn[0].high - drawn[0].low) / (2 * found[0].half_width), rel=0.01
        )


def test_of_many_rows_the_best_come_first(results: Results, monkeypatch):
    labels = [row[0] for row in verdict(results).table.rows]
    assert labels == [row.name for row in results.rows]
    monkeypatch.setattr(verdicts, "MOST_AS_THEY_ARE", 3)
    measure = results.headlines("reasoning")[0]
    means = {row.name: row.summary(measure).mean for row in results.rows}
    table = verdict(results).table
    assert [row[0] for row in table.rows] == sorted(labels, key=lambda name: -means[name])
    texts = {row[0]: row[1] for row in table.rows}
    assert all(texts[name].startswith(f"{100 * mean:.1f}") for name, mean in means.items())


def test_one_seed_is_no_claim(tmp_path: Path):
    made = Made(labels=LABELS, seeds=(0,), items=40, steps=2)
    found = verdict(read(synthetic.make(tmp_path, made)))
    assert "one seed supports no claim" in found.sentences[0]
    assert found.tiles[0].note == "one seed: no claim"
    assert not any(isinstance(e, Drawn) and e.state for row in found.table.rows for e in row)


def test_nobody_is_best_at_nothing(tmp_path: Path):
    results = read(synthetic.make(tmp_path, Made(labels=LABELS, items=20, steps=2)))
    measure = results.headlines("reasoning")[0]
    for row in results.rows:
        row.values[measure].update(dict.fromkeys(row.values[measure], 0.0))
    found = verdict(results)
    assert found.sentences == ("No trained row has a right answer.",) and not found.tiles


def test_nothing_trained_is_said(tmp_path: Path):
    states = {(label, 0): ("failed", "why") for label in LABELS}
    made = Made(labels=LABELS, seeds=(0,), items=10, steps=2, states=states)
    found = verdict(read(synthetic.make(tmp_path, made)))
    assert found.sentences == ("No row was trained yet.",) and not found.tiles


def test_every_part_of_a_report_has_a_section():
    named = {name for names in SECTIONS.values() for name in names}
    assert named == {*TABLES, *FIGURES}
    assert section("trials") == "Result"


@given(st.lists(st.text("ab1.%", min_size=1, max_size=9), max_size=90).map(" ".join))
def test_a_caption_is_cut_between_sentences_and_nothing_is_lost(text: str):
    first, rest = first_words(text)
    assert len(first.split()) <= CAPTION
    assert " ".join(part for part in (first, rest) if part) == text


def test_contents_lead_to_sections_and_captions_are_short(root: Path):
    made = build(root)
    text = made.page.read_text("utf-8")
    ids = set(parsed(made.page).ids)
    (contents,) = re.findall(r'<nav class="contents".*?</nav>', text, re.DOTALL)
    targets = re.findall(r'href="#([\w-]+)"', contents)
    assert len(targets) == 6 and {*targets} <= ids
    assert "table-main" in ids and "answer" in ids
    seen = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
    captions = re.findall(r'<p class="caption">(.*?)</p>', seen, re.DOTALL)
    long = [one for one in captions if len(re.sub("<.*?>", "", one).split()) > CAPTION]
    assert [one for one in long if "cells: " not in one and "cell: " not in one] == []
    assert page.FRONT[1] == "tradeoff" and text.count("Reasoning against forgetting.") == 1


@pytest.mark.parametrize(("share", "words"), [(1.0, "at the same FLOPs as"), (2.0, "with 2 times")])
def test_a_cost_as_the_reference_s_is_no_multiple(tmp_path: Path, share: float, words: str):
    root = synthetic.make(tmp_path, Made(labels=("base", "average", "compact"), items=20, steps=3))
    for cell in read_cells(root):
        if cell.spec["label"] != "base":
            flops = 1e12 * (share if cell.spec["label"] == "compact" else 1)
            facts = {k: v for k, v in cell.status.items() if k not in ("state", "reason")}
            CellWriter(cell.folder).status("done", **facts | {"flops": flops})
    found = verdict(read(root))
    assert found and found.solved_by == ("compact", "average")
    assert words in found.sentences[1] and "1 times" not in " ".join(found.sentences)


def test_with_conditions_the_sentence_says_which_and_the_last_counts_them(tmp_path: Path):
    results = read(synthetic_worlds.make(tmp_path))
    found, measure = verdict(results), results.headlines("reasoning")[0]
    assert f" is the best trained row under {found.condition} (" in found.sentences[0]
    family = claims.family(results)
    signs = {
        row.condition: results.difference(row, measure).mean > 0
        for row in results.rows
        if row.name == "full" and family.survives(row, measure)
    }
    counts = sum(signs.values()), len(signs) - sum(signs.values())
    assert sum(counts) > 0
    assert "full in {} and {}".format(*counts) in found.sentences[2]
    assert found.sentences[2].startswith("Of 3 conditions, ") and "oracle" not in found.sentences[2]
