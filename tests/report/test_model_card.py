"""The card of an exported student says what was trained, with its numbers and their intervals."""

from __future__ import annotations

import pytest
import yaml
from statsmodels.stats.proportion import proportion_confint

from compact_bench.analysis.results import read
from compact_bench.report.model_card import model_card
from tests import synthetic
from tests.synthetic import Made


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    made = read(synthetic.make(tmp_path_factory.mktemp("card"), Made(items=30, steps=3)))
    for row in made.rows:
        for cell in row.cells.values():
            cell.spec.update(
                student={"id": "nano", "chat": False}, version=1, config={"temperature": 0.5},
                training={"learning_rate": 0.001, "batch_size": 4, "epochs": 3},
            )  # fmt: skip
    return made


def test_the_table_has_each_headline_with_the_interval_over_its_items(results):
    row = results.named("compact")
    card = model_card(results, row, 1, adapters=False)
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "transformers"
    right = row.items["in_domain", "right"].loc[1]
    low, high = proportion_confint(right.sum(), len(right), method="wilson")
    (line,) = [one for one in body.splitlines() if one.startswith("| in domain: accuracy")]
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2:4] == [f"{100 * right.mean():.1f}", f"{100 * low:.1f} to {100 * high:.1f}"]
    assert row.done[1].run_id in body and "seed 1." in body


def test_adapters_name_their_library(results):
    card = model_card(results, results.named("average"), 0, adapters=True)
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "peft"
