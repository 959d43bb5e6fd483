"""Whole questions' weights are moved, within their epoch and among questions of equal teachers."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from compact_bench_baselines.compact_permuted import among_questions
from tests.methods.test_recorded import recorded_frame as recorded


def vectors(weights: pd.DataFrame) -> dict[tuple[int, str], tuple[float, ...]]:
    """(step, question) -> its weights, in the order of teachers."""
    frame = weights.sort_values(["step", "question_id", "teacher"])
    return {key: tuple(part) for key, part in frame.groupby(["step", "question_id"])["weight"]}


def test_moving_keeps_each_epoch_s_weights_and_gives_them_to_others():
    before = recorded()
    after = among_questions(before, seed=3)
    old, new = vectors(before), vectors(after)
    assert old.keys() == new.keys() and old != new
    epoch = dict(zip(before["step"], before["epoch"], strict=True))
    for number in (0, 1):
        of_epoch = [Counter(v for (s, _), v in d.items() if epoch[s] == number) for d in (old, new)]
        assert of_epoch[0] == of_epoch[1]
    lone = [key for key in old if key[1] == "q5"]  # nobody else has its teachers
    assert all(old[key] == new[key] for key in lone)


def test_moving_is_drawn_by_the_seed():
    assert vectors(among_questions(recorded(), 1)) == vectors(among_questions(recorded(), 1))
    assert vectors(among_questions(recorded(), 1)) != vectors(among_questions(recorded(), 2))
