"""The page of a search, and its publication."""

from __future__ import annotations

import pytest

from compact_bench.commands.publish import publish_folder
from compact_bench.commands.run import run_suite
from compact_bench.tune.report import page
from tests.html_page import parsed
from tests.tune.conftest import ENTRY


def test_the_page_is_whole_and_loads_nothing(tested, folder):
    assert "What tuning bought" in (folder / "report.html").read_text("utf-8")
    links = parsed(folder / "report.html").links
    assert any(link.startswith("data:image/svg+xml") for link in links)
    for link in links:
        here = link.startswith(("#", "data:")) or (folder / link).exists()
        assert here, link[:80]


@pytest.mark.usefixtures("no_pictures")
def test_publishing_takes_the_search_and_its_test_along(tested, suite, options, folder, tmp_path):
    run_suite(suite(trials=5, pruner="none"), options, lambda line: None, ENTRY)
    target = tmp_path / "published" / "tiny" / "mini"
    publish_folder(folder.parent, target)
    for name in ("trials.json", "best.yaml", "studies.journal", "report.html",
                 "tables/tuned.md", "tiny_tuned/mini/suite.json"):  # fmt: skip
        assert (target / "tune" / name).exists(), name
    assert not (target / "tune" / "runs").exists()
    assert not (target / "tune" / "workers").exists()
    before = {p: p.read_bytes() for p in (target / "tune" / "tables").iterdir()}
    page.rebuild(target)
    assert {p: p.read_bytes() for p in before} == before
    everything = b"".join(p.read_bytes() for p in target.rglob("*") if p.is_file())
    # The parent: the search was made in a folder beside the test's own.
    assert str(tmp_path.parent).encode() not in everything
