"""What a caption must own up to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compact_bench.analysis.results import collect
from compact_bench.records.cells import read_cells
from compact_bench.records.suite_record import read_suite_record
from compact_bench.report.parts import captions
from tests import synthetic


@pytest.fixture
def results(tmp_path: Path):
    root = synthetic.make(tmp_path, synthetic.Made(labels=("base", "average"), steps=3))
    return collect(read_cells(root), read_suite_record(root))


def test_a_task_that_the_student_could_only_guess_is_named(results):
    facts = next(m for m in results.headlines("forgetting") if m.task == "mini_facts")
    n = results.n_items[facts]
    assert captions.at_chance(results) == ""
    # sd of a share of 0.25 over 60 items is 0.056: 0.25 is within two of them of 0.2.
    assert n == 60
    low = replace(results, before={**results.before, facts: 0.25}, chance={facts: 0.2})
    assert "facts (25.0% before training, chance 20%)" in captions.at_chance(low)
    assert "no sign of forgetting" in str(captions.caption(low, "Methods"))
    high = replace(results, before={**results.before, facts: 0.35}, chance={facts: 0.2})
    assert captions.at_chance(high) == ""


def test_weights_of_a_gguf_file_are_called_de_quantised(results):
    plan = replace(results.plan, suite=results.suite | {"student": {"id": "x/tiny.Q4_1.gguf"}})
    text = str(captions.caption(replace(results, plan=plan), "Methods"))
    assert "tiny.Q4_1.gguf (weights de-quantised from the GGUF file)" in text


def test_the_items_of_the_answer_nll_are_counted_apart(results):
    nll = next(m for m in results.measures if m.metric == "marginal_nll")
    fewer = replace(results, n_items={**results.n_items, nll: 7})
    text = str(captions.caption(fewer, "Methods"))
    assert "in domain 60" in text and "in domain answer NLL 7" in text
