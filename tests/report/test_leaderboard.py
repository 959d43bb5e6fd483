"""The index of all results: tiers, where a gain holds, and links that lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from compact_bench.analysis.results import read
from compact_bench.errors import UserError
from compact_bench.report import leaderboard, page
from tests import synthetic
from tests.html_page import parsed
from tests.synthetic import Made

LABELS = ("base", "answer_sft", "average", "compact")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two suites: in one compact is far above average, in the other nothing is known."""
    folder = tmp_path_factory.mktemp("published")
    clear = Made(labels=LABELS, seeds=(0, 1, 2, 3, 4), items=200, steps=1,
                 gains={("compact", ""): 0.3}, suite={"suite": "clear"})  # fmt: skip
    synthetic.make(folder / "clear" / "mini", clear)
    single = Made(labels=LABELS, seeds=(0,), items=20, steps=1, suite={"suite": "single"})
    synthetic.make(folder / "single" / "mini" / "tune" / "single" / "mini", single)
    synthetic.make(folder / ".draft" / "mini", single)
    for name in ("clear/mini", "single/mini/tune/single/mini"):
        (folder / name / page.PAGE).touch()
    leaderboard.build(folder)
    return folder


def lines(root: Path, title: str) -> list[list[str]]:
    """The cells of a table of index.md, by row."""
    text = (root / "index.md").read_text("utf-8").split(f"**{title}**")[1].split("\n\n")[1]
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in text.split("\n")[2:]]


def test_rows_stand_by_tier_with_retention_and_cost(root: Path):
    results = read(root / "clear" / "mini")
    rows = lines(root, "clear mini")
    assert rows[0][0] == "[compact](clear/mini/report.html#row=compact)"
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    assert rows[0][1] == "1" and rows[-1][1] > "1"
    measure = results.headlines("reasoning")[0]
    for row in rows:
        found = results.named(row[0][1:].split("]")[0])
        assert found is not None
        assert row[2].startswith(f"{100 * found.summary(measure).mean:.1f} ± ")
        assert row[4].startswith(f"{100 * results.retention_summary(found).mean:.1f} ± ")
        assert row[5] != "–" and row[-1] == "5/5"


def test_a_gain_holds_where_it_is_claimed(root: Path):
    found = {row[0]: row[1:] for row in lines(root, "Which world each row holds in")}
    assert found["compact"] == ["clear mini", "–", "1"]
    assert found["answer_sft"][0] == "–"
    assert "average" not in found


def test_links_lead_to_pages_and_drafts_are_left_out(root: Path):
    found = parsed(root / "index.html")
    pages = {link.split("#")[0] for link in found.links if not link.startswith("#")}
    assert pages == {"clear/mini/report.html", "single/mini/tune/single/mini/report.html"}
    for link in found.links:
        name, _, place = link.partition("#")
        assert (root / name).is_file() if name else place in found.ids
    text = (root / "index.md").read_text("utf-8")
    assert {*re.findall(r"\]\(([^)#]*)", text)} == pages


def test_the_same_records_give_the_same_index(root: Path):
    for name, text in leaderboard.index(root).items():
        assert (root / name).read_text("utf-8") == text


def test_json_has_the_tiers(root: Path):
    found = json.loads(json.dumps(leaderboard.content(root)))
    assert [one["suite"] for one in found] == ["clear", "single"]
    assert found[0]["tiers"][0] == ["compact"]
    assert {label for tier in found[1]["tiers"] for label in tier} == {*LABELS} - {"base"}


def test_a_folder_without_results_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="no results in"):
        leaderboard.build(tmp_path)
