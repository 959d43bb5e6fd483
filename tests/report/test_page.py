"""The report is made from records alone, from any part of them, and trusts no text in them."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compact_bench.analysis.results import read
from compact_bench.errors import UserError
from compact_bench.records.cells import CellWriter, read_cells
from compact_bench.report import page
from compact_bench.report.page import PAGE, build
from compact_bench.report.parts import style
from tests import synthetic
from tests.html_page import parsed
from tests.synthetic import Made

EVIL = '<script>alert(1)</script> & "quoted" {{ 7 * 7 }} </pre>'


def contents(root: Path) -> dict[str, bytes]:
    paths = [*(root / "tables").glob("*"), *(root / "figures").glob("*"), root / PAGE]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.exists()}


def test_all_parts_are_there_and_links_lead_somewhere(tmp_path: Path) -> None:
    states = {("answer_sft", 1): ("failed", "out of memory")}
    made = Made(items=12, steps=4, states=states)
    paths = build(synthetic.make(tmp_path, made))
    assert paths.summary == tmp_path / "tables" / "main.md"
    assert len(paths.tables) == 15
    page = parsed(paths.page)
    files = [link for link in page.links if not link.startswith(("data:", "#"))]
    assert len(files) == 15 + 3
    for link in files:
        assert (tmp_path / link).is_file(), link
    assert sum(link.startswith("data:image/svg+xml,") for link in page.links) == 3
    text = paths.page.read_text(encoding="utf-8")
    assert "out of memory" in text
    assert "Test question" in text
    assert "position: sticky" in text
    outside_images = re.sub(r'src="data:[^"]*"', "", text)  # an SVG names its namespaces
    assert not re.search(r"https?://", outside_images)


def test_what_models_and_plugins_wrote_is_escaped(tmp_path: Path) -> None:
    states = {("average", 1): ("failed", EVIL)}
    made = Made(
        labels=("base", "average", "compact"), items=6, steps=2, output=EVIL, states=states,
        suite={"title": EVIL, "notes": EVIL},
    )  # fmt: skip
    paths = build(synthetic.make(tmp_path, made))
    page = parsed(paths.page)
    assert page.tags.count("script") == 2  # ours, and what it reads: base 64
    text = paths.page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert(1)" not in text
    assert "{{ 7 * 7 }}" in text
    assert "\\<script>" in paths.summary.read_text(encoding="utf-8")


def test_no_script_but_the_page_s_own_may_run(tmp_path: Path, no_pictures: None) -> None:
    root = synthetic.make(tmp_path, Made(labels=("base", "average"), items=4, steps=2))
    text = build(root).page.read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{checksum}'"
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert text.count("<script") == 2
    assert '<script type="application/octet-stream" id="browser-data">' in text


def test_the_same_records_give_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    made = Made(labels=("base", "average", "compact"), items=8, steps=4)
    for name in ("one", "two"):
        build(synthetic.make(tmp_path / name, made))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("state", ["failed", "skipped", "missing", "diverged"])
def test_nothing_done_is_still_a_report(tmp_path: Path, state: str) -> None:
    states = {(label, seed): (state, "why not") for label in synthetic.AFTER for seed in (None, 0)}
    paths = build(synthetic.make(tmp_path, Made(seeds=(0,), states=states)))
    text = paths.summary.read_text(encoding="utf-8")
    assert "0 of 11 planned cells are done" in text
    assert ("not run yet" if state == "missing" else f"{state} (seed 0): why not") in text
    assert paths.figures == ()
    parsed(paths.page)


@pytest.mark.parametrize("gone", ["base", "average"])
def test_without_the_row_to_compare_to_or_the_untrained_student(tmp_path: Path, gone: str) -> None:
    labels = tuple(label for label in ("base", "average", "compact") if label != gone)
    paths = build(synthetic.make(tmp_path, Made(labels=labels, items=6, steps=2)))
    text = paths.summary.read_text(encoding="utf-8")
    assert ("No row average to compare to" in text) == (gone == "average")
    names = {path.stem for path in paths.figures}
    assert ("tradeoff" in names) == (gone == "average")


def test_figures_of_an_earlier_report_go(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path, Made(labels=("base", "average", "compact"), items=6, steps=2))
    build(root)
    (root / "figures" / "mine.png").write_bytes(b"")
    synthetic.make(tmp_path, Made(labels=("average",), items=6, steps=2))
    build(root)
    assert [path.name for path in (root / "figures").iterdir()] == ["mine.png"]


def test_optional_files_may_be_missing(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path, Made(labels=("base", "compact"), items=6, steps=2))
    for path in [*root.glob("*.parquet"), *root.glob("runs/*/steps.parquet"),
                 *root.glob("runs/*/samples.jsonl"), *root.glob("runs/*/env.json")]:  # fmt: skip
        path.unlink()
    paths = build(root)
    assert {path.stem for path in paths.figures} == {"tradeoff", "captions"}
    parsed(paths.page)


def test_no_results_and_unwritable_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the suite first"):
        build(tmp_path)
    root = synthetic.make(tmp_path, Made(labels=("average",), items=3, steps=1))
    (root / "tables").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write") as caught:
        build(root)
    assert "\n" not in str(caught.value)


def test_reporting_never_imports_torch() -> None:
    code = (
        "import sys\n"
        "from compact_bench.analysis import results\n"
        "from compact_bench.records import published\n"
        "from compact_bench.report import comparison, page\n"
        "heavy = {'torch', 'transformers', 'lm_eval', 'peft', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_older_records_have_none_of_it(tmp_path: Path) -> None:
    made = Made(items=6, steps=1, labels=("base", "average", "compact"))
    older = read(synthetic.make(tmp_path, made))
    names = {one.name for one in page.build_tables(older)} | {
        one.name for one in page.build_figures(older)
    }
    assert not names & {"forgetting", "matched_gain", "beyond", "retention_curves"}


def test_another_process_makes_the_same_pictures(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path / "results", Made(items=20, steps=12))
    pictures = page.build_figures(read(root))
    assert len(pictures) == 3
    code = (
        "import sys; from pathlib import Path; from compact_bench.analysis.results import read\n"
        "from compact_bench.report import page\nfrom compact_bench.report.parts import style\n"
        "pictures = page.build_figures(read(Path(sys.argv[1])))\n"
        "style.write(pictures, Path(sys.argv[2]), ('svg', 'pdf', 'png'))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code, str(root), str(tmp_path / "out")]
    subprocess.run(command, check=True, env=environment, timeout=120)
    for picture in pictures:
        for ending in style.METADATA:
            path = tmp_path / "out" / f"{picture.name}.{ending}"
            assert path.read_bytes() == picture.content[ending]


def test_samples_say_what_was_asked(tmp_path: Path, no_pictures: None) -> None:
    root = synthetic.make(tmp_path, Made(labels=("base", "average"), items=6, steps=2))
    assert "Asked as" not in build(root).page.read_text(encoding="utf-8")
    for cell in read_cells(root):
        prompt = f"<b>{cell.spec['label']}: {{question}}"
        status = {k: v for k, v in cell.status.items() if k not in ("state", "reason")}
        CellWriter(cell.folder).status("done", **status, asked={"in_domain": prompt, "other": "x"})
    text = build(root).page.read_text(encoding="utf-8")
    assert text.count("Asked as") == 2
    assert "<pre>&lt;b&gt;average: {question}</pre>" in text
