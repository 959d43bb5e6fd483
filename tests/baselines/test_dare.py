"""What is dropped, what is left, and that without dropping it is the soup."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom

from compact_bench.methods.registry import load
from compact_bench_baselines.dare import thinned
from tests.trainers import same, trainer

METHODS = load().methods


def make(drop: float, **settings):
    return METHODS["dare"](METHODS["dare"].Config(drop=drop, **settings))


@pytest.mark.parametrize("drop", [0.1, 0.5, 0.9])
def test_entries_are_dropped_or_rescaled(drop):
    size = 20_000
    change = torch.linspace(0.5, 1.5, size)
    found = thinned(change, drop, torch.Generator().manual_seed(1))
    kept = found != 0
    assert torch.allclose(found[kept], change[kept] / (1 - drop))
    low, high = binom.interval(0.9999, size, 1 - drop)
    assert low <= int(kept.sum()) <= high
    assert not torch.equal(found, thinned(change, drop, torch.Generator().manual_seed(2)))


def test_branches_are_thinned_out_apart():
    made = trainer(make(0.5))
    start = {name: torch.zeros_like(v) for name, v in made.student.state_dict().items()}
    one = {name: torch.ones_like(v) for name, v in start.items()}
    merged = made.distiller.merged(start, [one, one], made)
    values = torch.cat([value.flatten() for value in merged.values()])
    # Each of two branches adds 0 or 1: all of 0, 1 and 2 occur, a quarter, half and a quarter.
    shares = [float((values == x).float().mean()) for x in (0, 1, 2)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


@pytest.mark.parametrize("lora", [False, True])
def test_without_dropping_it_is_the_soup(lora):
    made, soup = trainer(make(0.0), lora=lora), trainer(METHODS["adapter_soup"](), lora=lora)
    for one in (made, soup):
        one.distiller.fit(one)
    found, expected = made.student.state_dict(), soup.student.state_dict()
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)


def test_the_runs_seed_decides_what_is_dropped():
    ends = []
    for _ in range(2):
        made = trainer(make(0.5))
        made.distiller.fit(made)
        ends.append(made.student.state_dict())
    assert same(*ends)
    with pytest.raises(ValueError, match="drop"):
        make(1.0)
