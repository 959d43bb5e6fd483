"""The votes by hand, and what must hold for every method."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from compact_bench_votes import Votes

from compact_bench.testing import checks


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        # Answers 7, 7, 12, none and an absent one: 2, 2, 1, 1 and 0 votes.
        (0.0, [1 / 4, 1 / 4, 1 / 4, 1 / 4, 0]),
        (1.0, [2 / 6, 2 / 6, 1 / 6, 1 / 6, 0]),
        (2.0, [4 / 10, 4 / 10, 1 / 10, 1 / 10, 0]),
    ],
)
def test_weights_by_hand(alpha, expected):
    batch = SimpleNamespace(
        answers=torch.tensor([[0, 0, 1, -1, -1]]),
        present=torch.tensor([[True, True, True, True, False]]),
    )
    found = Votes(Votes.Config(alpha=alpha)).weights(None, batch)
    assert found[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("check", checks(Votes), ids=str)
def test_conformance(check):
    if reason := check.run():
        pytest.skip(reason)
