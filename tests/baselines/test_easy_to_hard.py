"""Easy to hard: difficulty by the model's own forward, buckets, and the order of every epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.methods.registry import load
from compact_bench_baselines.easy_to_hard import buckets
from tests.models import row_alone
from tests.trainers import student, trainer

METHOD = load().methods["easy_to_hard"]


def test_every_epoch_ascends_in_the_untrained_student_s_loss_bucket_by_bucket():
    method = METHOD(METHOD.Config(buckets=3))
    made = trainer(method, batch_size=1, epochs=3)
    method.fit(made)
    start = student()
    loss = {
        e.question_id: np.mean([row_alone(start, e.prompt_ids, r.ids) for r in e.rationales])
        for e in made.examples
    }
    assert method.difficulty == pytest.approx(loss, abs=1e-4)
    easiest = sorted(loss, key=loss.__getitem__)
    expected = [set(part) for part in np.array_split(easiest, 3)]
    read = pd.DataFrame(made.records).drop_duplicates(["step"])
    orders = [group["question_id"].tolist() for _, group in read.groupby("epoch")]
    for order in orders:
        assert [set(order[:3]), set(order[3:5]), set(order[5:])] == expected
    assert len({tuple(order) for order in orders}) > 1  # at random within a bucket
    whole = sum(len(e.prompt_ids) + len(r.ids) for e in made.examples for r in e.rationales)
    assert made.student.cost.selection_tokens == whole


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30), st.integers(1, 8))
def test_buckets_are_as_equal_as_they_go_and_in_order(values, count):
    found = buckets(values, count)
    sizes = np.bincount(found, minlength=count)
    assert len(sizes) == count and sizes.max() - sizes.min() <= 1
    order = sorted(range(len(values)), key=found.__getitem__)
    tops = [max(values[i] for i in order if found[i] == b) for b in sorted(set(found))]
    lows = [min(values[i] for i in order if found[i] == b) for b in sorted(set(found))]
    assert all(top <= low for top, low in zip(tops, lows[1:], strict=False))
