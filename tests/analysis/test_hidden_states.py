"""Hidden states: each number against another way to compute it, closed forms and invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from compact_bench.analysis import hidden_states
from compact_bench.analysis.hidden_states import unit_vector


def draw(seed: int, n: int = 20, width: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


def cka(first: np.ndarray, second: np.ndarray) -> float:
    first, second = (hidden_states.centred_similarities(states) for states in (first, second))
    return float(first @ second)


def hsic(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased estimator as its definition has it: sums over distinct inputs."""
    k, g = first @ first.T, second @ second.T
    n = len(k)
    pairs = triples = quads = 0.0
    for i in range(n):
        for j in set(range(n)) - {i}:
            pairs += k[i, j] * g[i, j]
            for q in set(range(n)) - {i, j}:
                triples += k[i, j] * g[i, q]
                for r in set(range(n)) - {i, j, q}:
                    quads += k[i, j] * g[q, r]
    twice, thrice = n * (n - 1), n * (n - 1) * (n - 2)
    return pairs / twice - 2 * triples / thrice + quads / (thrice * (n - 3))


def song(first: np.ndarray, second: np.ndarray) -> float:
    """Equation 5 of Song et al. 2012."""
    k, g = first @ first.T, second @ second.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(g, 0)
    n, one = len(k), np.ones(len(k))
    whole = (one @ k @ one) * (one @ g @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ g) + whole - 2 / (n - 2) * (one @ k @ g @ one)) / (n * (n - 3))


@pytest.mark.parametrize("estimator", [hsic, song])
def test_cka_is_the_ratio_of_unbiased_estimates(estimator) -> None:
    first, second = draw(1, 9, 4), draw(2, 9, 6)
    second[:, :4] += 2 * first
    expected = estimator(first, second) / np.sqrt(
        estimator(first, first) * estimator(second, second)
    )
    assert cka(first, second) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), scale=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_cka_sees_no_rotation_scale_or_shift(seed: int, scale: float, shift: float) -> None:
    states = draw(seed)
    turn = ortho_group.rvs(7, random_state=seed)
    moved = scale * states @ turn + shift
    assert cka(states, moved) == pytest.approx(1.0, abs=1e-8)
    other = draw(seed + 1)
    assert cka(other, moved) == pytest.approx(cka(other, states), abs=1e-8)
    assert cka(states, other) == pytest.approx(cka(other, states), abs=1e-12)
    assert abs(cka(states, other)) <= 1 + 1e-12


def test_cka_of_unrelated_states_is_zero_on_average_even_where_states_are_wide() -> None:
    found = [cka(draw(2 * i, 12, 60), draw(2 * i + 1, 12, 60)) for i in range(600)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))
    # What it is for: without the correction, twelve wide states seem alike though unrelated.
    first, second = (states - states.mean(0) for states in (draw(1, 12, 60), draw(2, 12, 60)))
    k, g = first @ first.T, second @ second.T
    assert (k * g).sum() / np.sqrt((k * k).sum() * (g * g).sum()) > 0.5


def test_cka_does_not_see_a_stretch_of_one_direction_as_equal() -> None:
    states = draw(3)
    assert cka(states, states * np.array([30, 1, 1, 1, 1, 1, 1])) < 0.7


def test_equal_states_have_no_cka_and_few_are_refused() -> None:
    assert np.isnan(cka(np.full((8, 3), 0.1), draw(1, 8)))
    with pytest.raises(ValueError, match="3 states"):
        cka(draw(1, 3), draw(2, 3))


def test_layers_at_once_are_the_layers_one_by_one() -> None:
    layers = np.stack([draw(1), draw(2), draw(3)])
    whole = hidden_states.centred_similarities(layers)
    for one, layer in zip(whole, layers, strict=True):
        assert one == pytest.approx(hidden_states.centred_similarities(layer))
    drifts = hidden_states.drift(layers, layers[::-1])
    assert drifts[0] == pytest.approx(float(hidden_states.drift(layers[0], layers[2])))


@given(seed=st.integers(0, 2**20), scale=st.floats(0.1, 50))
@settings(max_examples=25, deadline=None)
def test_drift_is_in_units_of_the_spread(seed: int, scale: float) -> None:
    base = draw(seed)
    spread = np.sqrt(np.trace(np.cov(base.T, bias=True)))
    shift = np.eye(7)[0] * 3
    assert float(hidden_states.drift(base + shift, base)) == pytest.approx(3 / spread)
    moved = draw(seed + 1)
    same = float(hidden_states.drift(scale * moved, scale * base))
    assert same == pytest.approx(float(hidden_states.drift(moved, base)))
    assert np.isnan(hidden_states.drift(moved, np.ones_like(base)))


@pytest.mark.parametrize("shape", [(20, 7), (10, 40)])
def test_components_are_scikit_learn_s(shape: tuple[int, int]) -> None:
    states, other = draw(5, *shape), draw(6, *shape)
    axes = hidden_states.principal_axes(states, 3)
    known = PCA(3, svd_solver="full").fit(states)
    signs = np.sign((axes.components * known.components_).sum(axis=1))
    assert axes.components * signs[:, None] == pytest.approx(known.components_, abs=1e-9)
    assert axes.shares == pytest.approx(known.explained_variance_ratio_)
    assert axes.project(other) * signs == pytest.approx(known.transform(other), abs=1e-9)
    assert (axes.components[np.arange(3), np.abs(axes.components).argmax(axis=1)] > 0).all()


def test_states_that_span_less_have_fewer_components() -> None:
    flat = draw(7, 20, 2) @ draw(8, 2, 9)
    assert hidden_states.principal_axes(flat, 8).components.shape == (2, 9)
    assert hidden_states.principal_axes(np.ones((5, 9)), 8).components.shape == (0, 9)


def count_sketch(vector: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Each entry with a random sign into a random one of `size` sums."""
    draws = np.random.default_rng(seed)
    signs = draws.choice([-1.0, 1.0], len(vector))
    return np.bincount(draws.integers(size, size=len(vector)), weights=signs * vector,
                       minlength=size)  # fmt: skip


@pytest.mark.parametrize("cosine", [0.0, 0.3, 0.8])
def test_sketches_estimate_cosines_with_the_error_that_captions_name(cosine: float) -> None:
    first, noise = draw(10, 3000, 2).T
    noise -= first * (first @ noise) / (first @ first)
    second = cosine * unit_vector(first) + np.sqrt(1 - cosine**2) * unit_vector(noise)
    assert unit_vector(first) @ unit_vector(second) == pytest.approx(cosine)
    size = 256
    found = [
        unit_vector(count_sketch(first, size, i)) @ unit_vector(count_sketch(second, size, i))
        for i in range(400)
    ]
    error = np.std(found)
    assert np.mean(found) == pytest.approx(cosine, abs=4 * error / 20 + 1 / size)
    assert error < 1.15 / np.sqrt(size)


def test_no_change_has_no_direction() -> None:
    assert np.isnan(unit_vector(np.zeros(5))).all()


def test_the_probe_s_auroc_is_scikit_learn_s_within_a_task() -> None:
    rng = np.random.default_rng(4)
    scores, right = rng.normal(size=(3, 40)).round(1), rng.random(40) < 0.4
    one = np.zeros(40, dtype=int)
    expected = [roc_auc_score(right, line) for line in scores]
    assert hidden_states.auroc_within_tasks(scores, right, one) == pytest.approx(expected)
    tasks = np.repeat([0, 1], 20)
    halves = [(roc_auc_score(right[h], scores[0][h]), right[h].sum() * (~right[h]).sum())
              for h in (tasks == 0, tasks == 1)]  # fmt: skip
    pooled = sum(a * pairs for a, pairs in halves) / sum(pairs for _, pairs in halves)
    assert hidden_states.auroc_within_tasks(scores[0], right, tasks) == pytest.approx(pooled)


def test_a_task_that_is_always_right_tells_nothing() -> None:
    tasks = np.repeat([0, 1], 30)
    assert np.isnan(hidden_states.auroc_within_tasks(tasks.astype(float), tasks == 1, tasks))
    assert hidden_states.fit_probes(draw(1, 60)[None], tasks == 1, tasks) is None


def test_the_probe_finds_a_direction_of_correctness_and_carries_it_over() -> None:
    rng = np.random.default_rng(5)
    tasks = np.repeat([0, 1, 2], 60)
    right = rng.random(180) < np.array([0.2, 0.5, 0.9])[tasks]
    states = rng.normal(size=(180, 12)) + 20 * rng.normal(size=(3, 12))[tasks]
    states[:, 3] += 2.0 * right
    probes = hidden_states.fit_probes(
        np.stack([states, rng.normal(size=states.shape)]), right, tasks
    )
    assert probes is not None
    assert probes.own[0] > 0.85 and abs(probes.own[1] - 0.5) < 0.15
    moved = states + 7.0  # a shift of everything changes no order
    again = probes.auroc(np.stack([moved, moved]), right, tasks)
    assert again[0] == pytest.approx(probes.auroc(np.stack([states, states]), right, tasks)[0])
    turned = states.copy()
    turned[:, 3] -= 4.0 * right  # the same direction, the other way round
    assert probes.auroc(np.stack([turned, turned]), right, tasks)[0] < 0.15


def test_cross_validation_finds_nothing_in_noise() -> None:
    """In-sample 50 wide states are always told apart; out of fold not, on average."""
    found = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        tasks, right = np.repeat([0, 1], 25), rng.random(50) < 0.5
        probes = hidden_states.fit_probes(rng.normal(size=(1, 50, 64)), right, tasks)
        assert probes is not None
        found.append(float(probes.own[0]))
    assert abs(np.mean(found) - 0.5) < 4 * np.std(found) / 5
