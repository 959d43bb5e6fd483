"""What a search found, as plain values."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.errors import UserError
from compact_bench.tune import trials
from compact_bench.tune.trials import Hyperparameter, Study, Trial
from tests.synthetic_search import FLOOR, study


def test_what_was_found_is_read_back_as_it_was_written(tmp_path):
    hyperparameters = (
        Hyperparameter("x", 0.5, 0.0, 1.0),
        Hyperparameter("rate", 1.0, choices=(1.0, 2.0)),
    )
    tried = (
        Trial(0, "complete", {"x": 0.1}, (1.5,), ((1, 2.0),), 10.0, 5.0, 1.0, "", None),
        Trial(1, "pruned", {"x": 0.2}, (), ((1, 3.0),), retry_of=0),
    )
    study = Study("row", "m", ("marginal_nll",), "tpe", "none", 0, (1,), hyperparameters, tried)
    search = trials.Search({"suite": "tiny", "seeds": [1]}, (study,), ("a note",))
    trials.write(tmp_path, search)
    found = trials.read(tmp_path)
    assert found.studies[0].trials == tried
    assert found.notes == ("a note",)
    assert math.isnan(found.studies[0].hyperparameters[1].low)
    assert found.studies[0].hyperparameters[0] == Hyperparameter(
        "x", 0.5, 0.0, 1.0, total=found.studies[0].hyperparameters[0].total
    )
    (tmp_path / "trials.json").write_text(json.dumps({"studies": 1}))
    with pytest.raises(UserError, match="cannot read"):
        trials.read(tmp_path)


def beaten(own: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether other is better for (less NLL, more accuracy)."""
    return other != own and other[0] <= own[0] and other[1] >= own[1]


@given(
    st.lists(
        st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(lambda i: i / 8)),
        min_size=1,
        max_size=20,
    )
)
def test_the_front_is_what_brute_force_finds(values: list[tuple[float, float]]) -> None:
    one = study((FLOOR,), values, objectives=("marginal_nll", "accuracy"))
    expected = {v for v in values if not any(beaten(v, other) for other in values)}
    assert [trial.values for trial in one.front] == sorted(expected)


@pytest.mark.parametrize("content", ["[]", "3", '{"studies": 3}', '{"studies": [3]}', "[" * 9999])
def test_a_file_that_holds_no_search_is_one_line(tmp_path, content):
    (tmp_path / trials.FILE).write_text(content)
    with pytest.raises(UserError, match=r"cannot read .*trials\.json") as caught:
        trials.read(tmp_path)
    assert "\n" not in str(caught.value)
