from __future__ import annotations

import pytest

from compact_bench.analysis.headroom import headline, headrooms
from compact_bench.analysis.results import Results, read
from compact_bench.report.figures.headroom import WIDTH, blocks, recovery_map
from tests import synthetic_worlds
from tests.synthetic_worlds import CONTROL, LARGE


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    return read(synthetic_worlds.make(tmp_path_factory.mktemp("worlds")))


def test_every_row_and_condition_is_on_the_map_once(results: Results) -> None:
    picture = recovery_map(results)
    svg = picture.content["svg"].decode()
    for text in (LARGE, CONTROL, "full", "random_weights", "consensus", "nothing to gain"):
        assert text in svg
    width, _ = picture.content.figure.get_size_inches()
    assert width <= WIDTH
    assert recovery_map(results).content["svg"] == picture.content["svg"]


def test_blue_is_good_and_a_difference_without_headroom_has_no_place_on_the_scale(results) -> None:
    found = blocks(results, headrooms(results), headline(results))
    _, shares, detected, weights = found
    control, large, _ = shares.lines["full"]
    assert control.italic and not control.heat > 0.5
    assert large.bold and large.heat > 0.2 and large.text.endswith("∗")
    assert detected.lines["consensus"][1].heat > 0 and weights.lines["full"][1].heat > 0


def test_of_one_seed_no_half_width_is_drawn(tmp_path) -> None:
    results = read(synthetic_worlds.make(tmp_path, seeds=(0,)))
    gaps, shares, *_ = blocks(results, headrooms(results), headline(results))
    lines = [*gaps.lines.values(), *shares.lines.values()]
    squares = [square for line in lines for square in line]
    assert any(square.text for square in squares)
    assert {square.below for square in squares} == {""}
