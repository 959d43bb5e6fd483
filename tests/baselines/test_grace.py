"""GRACE's score by eigenvalues, as it is defined; its projection; and whom it chooses."""

from __future__ import annotations

import numpy as np
import pytest

from compact_bench.methods.registry import load
from compact_bench_baselines.grace import grace
from tests.baselines.banks import chosen, layout_bank
from tests.models import make_student

METHOD = load().methods["grace"]


def by_eigenvalues(gradients: list[np.ndarray]) -> float:
    """The inverse moment from smoothed eigenvalues, split by split."""
    count, scores = len(gradients), []
    held_out = max(1, count // 10)
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(count)
        train = np.vstack([gradients[i] for i in order[: count - held_out]])
        test = np.vstack([gradients[i] for i in order[count - held_out :]])
        train = np.array([row / np.sqrt(row @ row) for row in train])
        values, vectors = np.linalg.eigh(sum(np.outer(r, r) for r in train) / len(train))
        values = 0.999 * values + 0.001 * values.mean()
        parts = [(vectors.T @ row) ** 2 / values for row in test]
        scores.append(np.mean([part.sum() for part in parts]))
    return float(np.mean(scores))


@pytest.mark.parametrize("questions", [2, 12, 25])
def test_the_score_is_that_of_smoothed_eigenvalues(questions):
    draw = np.random.default_rng(questions)
    gradients = [draw.normal(size=(1 + i % 3, 8)) for i in range(questions)]
    assert grace(gradients) == pytest.approx(by_eigenvalues(gradients), rel=1e-8)


def test_smaller_gradients_and_a_common_direction_score_lower():
    draw = np.random.default_rng(0)
    alike = [np.ones((1, 6)) + 0.1 * draw.normal(size=(1, 6)) for _ in range(20)]
    apart = [2.45 * row / np.linalg.norm(row) for row in draw.normal(size=(20, 1, 6))]
    assert grace(alike) < grace(apart)
    assert grace([row / 2 for row in apart]) == pytest.approx(grace(apart) / 4)
    assert grace(alike[:1]) == float("inf")


def test_projection_keeps_inner_products_and_reads_what_it_may():
    student = make_student("llama", "shared")
    bank = layout_bank()
    found = METHOD(METHOD.Config(dimension=4096)).projected(bank, student)
    assert [len(rows) for rows in found] == [3, 2]
    sketched = np.concatenate(found)
    full = np.stack([g.numpy() for g in full_gradients(student, bank)])
    scale = np.linalg.norm(full, axis=1)
    gap = (sketched @ sketched.T - full @ full.T) / np.outer(scale, scale)
    assert np.abs(gap).max() < 0.1  # of a cosine; 1 / sqrt(4096) is 0.016


def full_gradients(student, bank):
    for batch in student.batches(bank):
        for b, r in batch.present.nonzero().tolist():
            rows = batch.present & False
            rows[b, r] = True
            yield student.gradients(batch.restrict(rows))[0][r]


def test_the_lowest_score_is_kept():
    student, bank = make_student("llama", "shared"), layout_bank()
    method = METHOD(METHOD.Config(dimension=64))
    scores = {
        name: grace(method.projected(bank.only_teachers([name]), student)) for name in ("a", "b")
    }
    best = min(scores, key=scores.__getitem__)
    assert chosen(method.select(bank, student)) == [("0", best), ("1", best)]
    with pytest.raises(ValueError, match="questions"):
        METHOD.Config(questions=1)
