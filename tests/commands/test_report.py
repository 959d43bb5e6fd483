"""`report` makes again what `run` made, and `paper` what goes into a paper: from records alone."""

from __future__ import annotations

import json
from pathlib import Path

from tests import synthetic
from tests.synthetic import Made

ROOT = Path(__file__).parents[2]
GSM8K = str(ROOT / "suites" / "gsm8k.yaml")


def test_report_without_records_is_exit_code_2(refused, tmp_path):
    assert "no results in" in refused("report", GSM8K, "--results", tmp_path / "results")


def test_figures_are_made_in_the_formats_that_are_asked_for(call, tmp_path):
    folder = tmp_path / "gsm8k" / "mini"
    synthetic.make(folder, Made(labels=("base", "average"), items=8, steps=2))
    arguments = ["report", GSM8K, "--profile", "mini", "--results", str(tmp_path)]
    assert call(*arguments, "--formats", "png, pdf")[0] == 0
    figures = {path.suffix for path in (folder / "figures").iterdir()} - {".md"}
    assert figures == {".png", ".pdf"}
    page = (folder / "report.html").read_text("utf-8")
    assert 'href="figures/tradeoff.pdf"' in page and 'href="figures/tradeoff.svg"' not in page
    assert call(*arguments)[0] == 0
    assert {path.suffix for path in (folder / "figures").iterdir()} - {".md"} == {".svg"}


def test_an_unknown_format_is_one_line(refused, tmp_path):
    assert "'gif' is no format of a figure; allowed: svg, pdf, png" in refused(
        "report", GSM8K, "--formats", "svg,gif", "--results", tmp_path
    )


def test_paper_writes_what_a_paper_takes(call, refused, tmp_path):
    folder, out = tmp_path / "gsm8k" / "mini", tmp_path / "paper"
    synthetic.make(folder, Made(labels=("base", "average"), items=8, steps=2))
    code, said = call("paper", str(folder), "--out", str(out))[:2]
    assert code == 0 and str(out / "paper.tex") in said
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"paper.tex", "numbers.tex", "refs.bib", "tables/main.tex"} <= names
    assert any(name.endswith(".pdf") for name in names)
    assert "@" in (out / "refs.bib").read_text("utf-8")  # average's
    assert "no results in" in refused("paper", tmp_path / "nothing", "--out", out)


def test_the_index_of_all_results(call, refused, tmp_path):
    synthetic.make(
        tmp_path / "gsm8k" / "mini", Made(labels=("average", "compact"), items=8, steps=2)
    )
    code, out = call("report", "--index", str(tmp_path))[:2]
    assert code == 0 and f"index: {tmp_path / 'index.html'}" in out
    assert (tmp_path / "index.md").exists()
    tiers = json.loads(call("report", str(tmp_path), "--index", "--json")[1])[0]["tiers"]
    assert sorted(label for tier in tiers for label in tier) == ["average", "compact"]
    assert "no results in" in refused("report", "--index", tmp_path / "nowhere")
