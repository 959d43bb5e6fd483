"""Captions of a search name what it was made from, and lose no trial."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compact_bench.tune.report import captions
from compact_bench.tune.trials import Search
from tests.synthetic_search import FLOOR, SUITE, study


def test_a_caption_names_what_it_is_made_from(search: Search) -> None:
    text = str(captions.caption(search, search.studies, "the text"))
    for fact in (
        "The text.", "suite gsm8k, profile mini", "dev split", "answer NLL, nats (less is better)",
        "sampler TPE", "pruner median", "training seeds 0, 1", "not the data set's numbers",
        "the dev split has 120 questions", "ours 20 (18 complete, 1 failed, 1 pruned)",
    ):  # fmt: skip
        assert fact.lower() in text.lower(), fact


@pytest.mark.parametrize("over", [True, False])
def test_a_search_that_is_not_over_is_marked(over: bool) -> None:
    one = replace(study((FLOOR,), [(1.0,), (2.0,)]), over=over)
    text = str(captions.caption(Search(SUITE, (one,)), [one], "the text"))
    assert ("ours 2 (2 complete, not over)" in text) != over
