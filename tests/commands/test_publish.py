"""`publish` copies the records and makes the page, tables and figures of the copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Synthetic results; no cell of them holds weights."""
    return synthetic.make(tmp_path / "results" / "gsm8k" / "mini", Made(items=8, steps=2))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["compacd"], "no row 'compacd' (did you mean 'compact'?)"),
        (["compact", "--seed", "7"], "--seed 7: the seeds of compact that are done are 0, 1, 2"),
        (["base"], "no trained weights in"),
    ],
)
def test_export_says_what_it_lacks(
    refused: Callable[..., str], made: Path, tmp_path: Path, words: list[str], line: str
) -> None:
    row, *options = words
    made.rename(tmp_path / "moved")  # `refused` looks for cells in results/
    assert line in refused("export", tmp_path / "moved", row, tmp_path / "new", *options)
    assert not (tmp_path / "new").exists()


def test_export_pushes_the_folder_when_asked(
    call: Callable[..., tuple[int, str, str]],
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed: list[tuple[str, str, list[str]]] = []

    class Hub:
        def create_repo(self, name: str, exist_ok: bool) -> None:
            pushed.append(("create", name, []))

        def upload_folder(self, repo_id: str, folder_path: Path) -> None:
            files = sorted(path.name for path in folder_path.iterdir())
            pushed.append(("upload", repo_id, files))

    def saved(cell: object, folder: Path, merge: bool, student: str, complete: Any) -> None:
        folder.mkdir()
        complete(folder)

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("compact_bench.execution.export.export", saved)
    monkeypatch.setattr("compact_bench.report.model_card.model_card", lambda *facts: "card")
    code, out, _ = call("export", made, "compact", tmp_path / "new", "--push", "me/student")
    assert code == 0
    assert pushed == [("create", "me/student", []), ("upload", "me/student", ["README.md"])]
    assert "pushed: me/student" in out


def test_reproduce_reads_what_the_repository_publishes(call, tmp_path, monkeypatch, write_suite):
    """Results in another folder are compared to results/published, unless they have their own."""
    monkeypatch.chdir(tmp_path)
    suite, made = write_suite(), Made(labels=("base", "average"), items=12, steps=1)
    for place in ("elsewhere", "results/published"):
        synthetic.make(tmp_path / place / "tiny/mini", made)
    command = ["reproduce", suite, "--results", "elsewhere"]
    code, out, err = call(*command)
    assert code == 0 and "same" in out, err
    worse = Made(labels=("base", "average"), items=12, steps=1, shift=-0.5)
    synthetic.make(tmp_path / "elsewhere/published/tiny/mini", worse)
    assert call(*command)[0] == 1
