from __future__ import annotations

import pytest

from compact_bench.analysis.results import Results, read
from compact_bench.report.tables.headroom import headroom, recovery_map
from tests import synthetic_worlds
from tests.synthetic_worlds import CONTROL, KEYS, LARGE, SMALL


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    return read(synthetic_worlds.make(tmp_path_factory.mktemp("worlds")))


def test_each_condition_has_its_three_gaps(results: Results) -> None:
    made = headroom(results)
    assert [row[0].text for row in made.rows] == [CONTROL, LARGE, SMALL]
    assert "recoverable (oracle − average)" in made.columns
    numbers = made.numbers.set_index(["condition", "gap"])["mean"]
    for place in (LARGE, SMALL):
        parts = numbers[place, "recoverable"] + numbers[place, "price"]
        assert parts == pytest.approx(numbers[place, "harm"])


def test_the_map_shows_shares_or_differences_and_its_file_all_numbers(results: Results) -> None:
    made = recovery_map(results)
    assert made.columns == ("row", CONTROL, LARGE, SMALL)
    lines = {row[0].text: [entry.text for entry in row[1:]] for row in made.rows}
    control, large, _ = lines["full"]
    assert control.startswith("(") and not large.startswith("(") and large.endswith("*")
    numbers = made.numbers
    kinds = numbers[numbers["has_headroom"]].groupby("kind").size()
    assert set(kinds.index) == {"gap", "share", "difference", "auroc", "weight"}
    assert not len(numbers[(numbers["kind"] == "share") & ~numbers["has_headroom"]])
    share = numbers[(numbers["kind"] == "share") & (numbers["name"] == "full")].iloc[0]
    assert share["low"] < share["value"] < share["high"]
    assert large.startswith(f"{share['value']:.2f}")


def test_without_a_repaired_row_there_is_neither(tmp_path) -> None:
    keys = {**KEYS, "without_faults": ""}
    results = read(synthetic_worlds.make(tmp_path, keys))
    assert headroom(results) is None and recovery_map(results) is None
