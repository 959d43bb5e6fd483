"""`publish` copies the records and makes the page, tables and figures of the copy."""

from __future__ import annotations

from pathlib import Path

from compact_bench.commands.publish import publish_folder
from compact_bench.report import page
from tests import synthetic
from tests.synthetic import Made


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_published_reports_come_from_published_records(tmp_path: Path) -> None:
    root, target = synthetic.make(tmp_path / "new", Made(items=30, steps=3)), tmp_path / "published"
    publish_folder(root, target)
    assert (target / page.PAGE).is_file()
    published = contents(target)
    # What report makes of the records where it is wanted is left out.
    assert not {"tables/main.tex", "tables/main.csv", "figures/captions.md"} & set(published)
    for folder in (root, target):
        page.build(folder)
        mine = contents(folder)
        same = [name for name in published if name.startswith(("tables", "figures"))]
        assert {"tables/main.md", "figures/tradeoff.svg"} <= set(same)
        assert all(published[name] == mine[name] for name in same)
