"""The pages in docs/ say what the code does: their numbers are computed again."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

from compact_bench.analysis.hidden_states import FOLDS, NUMBERS, STRENGTH, SUBSPACE
from compact_bench.api import Axes, Compatibility
from compact_bench.diagnostics.recorder import NEAR, TRIES
from compact_bench.diagnostics.weights import SKETCH
from compact_bench.methods import fusion
from compact_bench.methods.scores import adaptability, consensus

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.glob("*.md")),
    *sorted(ROOT.glob("examples/**/*.md")),
]


def tables(name: str, heading: str) -> list[list[list[str]]]:
    """The Markdown tables of a section, as rows of cells, without head and rule."""
    text = (DOCS / name).read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()[2:]]
        for block in blocks
    ]


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


@pytest.fixture(scope="module")
def worked():
    """The worked example's inputs, read from the page."""
    rationales, inputs, edges, weights = tables("compact.md", "One question, worked")
    return {
        "answers": torch.tensor([[int(row[2]) for row in rationales]]),
        "states": torch.tensor([[numbers(row[1]) for row in inputs]]),
        "loss": torch.tensor([[float(row[2]) for row in inputs]]),
        "other_loss": torch.tensor([[float(row[3]) for row in inputs]]),
        "adaptability": torch.tensor([[float(row[4]) for row in inputs]]),
        "edges": torch.tensor([[float(cell) for cell in row[1:]] for row in edges]),
        "weights": torch.tensor([[float(cell) for cell in row[1:]] for row in weights]),
    }


def close(found, written, digits=2):
    """Equal once rounded to what is written."""
    return torch.allclose(found.float(), written, atol=0.5 * 10**-digits + 1e-3)


def information(worked):
    present = torch.ones(1, 4, dtype=torch.bool)
    return adaptability.mutual_information(
        worked["loss"], worked["other_loss"], present, Axes().discount
    )


def test_the_worked_example_s_graph(worked):
    present = torch.ones(1, 4, dtype=torch.bool)
    graph = consensus.agreement_graph(worked["states"], worked["answers"], present, torch.zeros(2))
    assert close(graph[0], worked["edges"][:, :4])
    assert close(consensus.strength(graph)[0], worked["edges"][:, 4])
    assert close(information(worked), worked["adaptability"])


def test_the_worked_example_s_weights(worked):
    present = torch.ones(1, 4, dtype=torch.bool)
    graph = consensus.agreement_graph(worked["states"], worked["answers"], present, torch.zeros(2))
    bump = torch.exp(-(((worked["loss"] - 0.40).clamp_min(0) / 0.30) ** 2) / 2)
    scores = {
        "adaptability": information(worked),
        "consensus": consensus.strength(graph),
        "difficulty": bump,
    }
    found = Compatibility(Axes())
    spread = {"adaptability": 0.30, "consensus": 0.50, "difficulty": 0.35}
    found.spread = {name: (value**2, 100, 400) for name, value in spread.items()}
    weights = found.weights(scores, present)[0]
    z = [fusion.scaled(scores[name], present, spread[name], 2.0)[0] for name in spread]
    utility = z[0] + z[1] + 0.5 * z[2]
    columns = torch.stack([bump[0], *z, utility], -1)
    assert close(columns, worked["weights"][:, :5])
    assert close(weights, worked["weights"][:, 5], digits=3)
    page = (DOCS / "compact.md").read_text("utf-8")
    assert f"entropy, {float(fusion.effective_number(weights[None])):.2f}," in page


def test_the_page_names_the_defaults():
    page = (DOCS / "compact.md").read_text("utf-8")
    axes = Axes()
    assert f"mix = {axes.mix}" in page
    assert f"d_s > {axes.kappa}" in page
    assert f"one {axes.half_life:.0f} rationales ago" in page
    assert f"{axes.discount} log p(rationale | another question)" in page
    assert f"Until {axes.warm_up} rationales" in page
    betas = (axes.beta_adaptability, axes.beta_consensus, axes.beta_difficulty)
    assert "u    = {} z(M) + {} z(C) + {} z(D)".format(*betas) in page
    assert f"clipped to +-{axes.clip:.0f}" in page
    assert f"w    = {1 - axes.floor} softmax(u) + {axes.floor} / R" in page


def test_the_page_s_code_prints_the_largest_epiphanies(monkeypatch, capsys):
    page = (DOCS / "compact.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(DOCS.parent)
    found: dict = {}
    exec(compile(code, "compact.md", "exec"), found)
    largest, steps = found["largest"], found["steps"]
    assert len(largest) == 10 and largest["epiphany"].all()
    assert largest["gain"].iloc[0] == steps["gain"].max()
    assert largest["text"].iloc[0] in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_exists(page):
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    files = {target.split("#")[0] for target in targets if not re.match(r"\w+:", target)}
    assert [name for name in sorted(files - {""}) if not (page.parent / name).exists()] == []
    # Pages are named from the root of the repository where they are not linked.
    named = set(re.findall(r"`(docs/[\w/]+\.\w+)`", text))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_page_of_hidden_states_has_every_number():
    page = (DOCS / "latent_space.md").read_text("utf-8")
    assert [name for name in NUMBERS if f"`{name}`" not in page] == []
    assert f"first {SUBSPACE} components" in page and f"m = {SKETCH:,}" in page
    assert f"C = {STRENGTH}" in page and f"{FOLDS}-fold" in page
    assert f"within {NEAR:.0%}, in at most {TRIES} tries" in page


def test_every_file_says_in_its_first_line_what_it_is():
    for file in (ROOT / "compact_bench").rglob("*.py"):
        text = file.read_text("utf-8")
        first_line = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
        assert first_line.endswith(".") or not text, file


def test_the_journeys_pass_files_that_exist():
    text = (DOCS / "design.md").read_text("utf-8").split("### Three journeys\n")[1]
    journeys = re.findall(r"^\*.*$", text, flags=re.MULTILINE)
    assert len(journeys) == 3
    for journey in journeys:
        passed = re.findall(r"`([\w/]+\.py)`", journey)
        assert 8 <= len(passed) <= 12, journey
        assert [name for name in passed if not (ROOT / "compact_bench" / name).exists()] == []


def published(suite: str, name: str) -> dict[str, list[str]]:
    """A published Markdown table by its rows' labels: means without bold and without spread."""
    text = (ROOT / "results" / "published" / suite / "mini" / "tables" / f"{name}.md").read_text()
    rows = [line.strip("|\n").split("|") for line in text.splitlines() if line.startswith("|")]
    return {row[0].strip(): [cell.replace("**", "").strip() for cell in row[1:]] for row in rows}


def mean(cell: str) -> str:
    return cell.split(" ± ")[0]


def test_the_page_of_results_has_the_published_numbers():
    written, rows = tables("results.md", "The default world")[0], published("gsm8k", "main")
    columns = [
        next(i for i, head in enumerate(rows["method"]) if head.startswith(start))
        for start in ("in domain", "Δ in domain", "mini new template", "old skill kept", "tokens")
    ]
    assert len(written) == len(rows) - 2  # without the heads and the rule below them
    for label, accuracy, difference, other, kept, tokens in written:
        cells = [rows[label][column] for column in columns]
        assert (accuracy, difference, other) == (mean(cells[0]), cells[1], mean(cells[2]))
        assert float(kept) == round(float(mean(cells[3]))) and tokens == cells[4]


def test_the_page_of_results_has_the_published_ladder():
    written = tables("results.md", "Is it the weighting, per question, while training?")[0]
    rungs = published("ladder", "ladder")
    for label, _, accuracy, before, gain in written:
        cells = rungs[label]
        assert accuracy == mean(cells[0])
        if label == "oracle":
            continue  # no rung: all shares are of what it gains
        assert before == cells[1]
        shares = [one.replace("−", "-") for one in cells[3].split(" ± ")]
        assert gain == cells[3] or numbers(gain.replace("−", "-").replace(" ± ", ",")) == [
            round(float(share)) for share in shares
        ]


def test_the_page_of_results_has_the_published_map():
    (written,) = tables("results.md", "When does weighting pay?")
    rows = published("headroom", "map")
    assert {line[0]: line[1:] for line in written} == {line[0]: rows[line[0]] for line in written}
    left_out = ("AUROC of", "weight on faults", "row", "--")
    assert {line[0] for line in written} == {x for x in rows if not x.startswith(left_out)}


SPREAD = re.compile(r"[−+]?\d+\.\d ± \d+\.\d")


def test_the_front_page_quotes_the_page_of_results_and_both_languages_agree():
    english, korean = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.ko.md"))
    results = (DOCS / "results.md").read_text("utf-8")
    quoted = [one.lstrip("+") for one in SPREAD.findall(english)]
    known = {one.lstrip("+") for one in SPREAD.findall(results)}
    assert len(quoted) >= 5 and set(quoted) <= known
    assert sorted(quoted) == sorted(one.lstrip("+") for one in SPREAD.findall(korean))
    code = re.compile(r"^```\w+\n.*?^```", re.MULTILINE | re.DOTALL)
    assert code.findall(english) == code.findall(korean)
    links = re.compile(r"\]\(([^)]+)\)")
    mutual = {"README.md", "README.ko.md"}
    assert {*links.findall(english)} - mutual == {*links.findall(korean)} - mutual
    assert len(re.sub(code, "", english).split()) <= 700
