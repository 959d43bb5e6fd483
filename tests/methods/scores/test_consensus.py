"""Centralities against networkx, and the graph's degenerate cases."""

from __future__ import annotations

import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.methods.scores import consensus
from tests.methods.scores.graphs import SEEDS, SIZES, random_graph, random_states

DENSITIES = st.sampled_from([0.0, 0.3, 0.6, 1.0])


def names(size: int) -> list[str]:
    return [f"teacher {i}" for i in range(size)]


def padded(graph: torch.Tensor, absent: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(1,R+absent,R+absent) with nothing in the absent places, and what is present."""
    size = len(graph)
    whole = torch.zeros(1, size + absent, size + absent, dtype=graph.dtype)
    whole[0, :size, :size] = graph
    present = (torch.arange(size + absent) < size)[None]
    return whole, present


@given(SIZES, SEEDS, DENSITIES, st.integers(0, 2))
def test_strength_is_networkx_s_weighted_degree(size, seed, density, absent):
    graph = random_graph(size, seed, density)
    degree = consensus.to_networkx(graph, names(size)).degree(weight="weight")
    whole, present = padded(graph, absent)
    found = consensus.centrality(whole, present, "strength")[0]
    assert found[:size].tolist() == pytest.approx([degree[n] for n in names(size)], abs=1e-6)
    assert found[size:].isnan().all()


@given(SIZES, SEEDS, DENSITIES, st.integers(0, 2))
def test_pagerank_is_networkx_s(size, seed, density, absent):
    graph = random_graph(size, seed, density)
    made = consensus.to_networkx(graph, names(size))
    expected = networkx.pagerank(made, alpha=consensus.DAMPING, tol=1e-12, max_iter=10_000)
    whole, present = padded(graph, absent)
    found = consensus.centrality(whole, present, "pagerank")[0]
    assert found[:size].tolist() == pytest.approx([expected[n] for n in names(size)], abs=1e-6)
    assert float(found[:size].sum()) == pytest.approx(1, abs=1e-5)


@given(SIZES, SEEDS, DENSITIES, st.integers(0, 2))
def test_eigenvector_is_networkx_s_by_component(size, seed, density, absent):
    graph = random_graph(size, seed, density)
    made = consensus.to_networkx(graph, names(size))
    expected = {}
    for members in networkx.connected_components(made):
        part = made.subgraph(members)
        if len(part) == 1:
            expected |= dict.fromkeys(part, 0.0)
            continue
        vector = networkx.eigenvector_centrality(part, 100_000, 1e-12, weight="weight")
        largest = max(networkx.adjacency_spectrum(part, weight="weight").real)
        expected |= {n: largest * len(part) ** 0.5 * abs(v) for n, v in vector.items()}
    whole, present = padded(graph, absent)
    found = consensus.centrality(whole, present, "eigenvector")[0]
    assert found[:size].tolist() == pytest.approx([expected[n] for n in names(size)], abs=1e-6)


def test_eigenvector_is_strength_where_all_have_the_same():
    ring = torch.tensor([[0.0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]])[None]
    assert consensus.eigenvector(ring)[0].tolist() == pytest.approx([2.0] * 4, abs=1e-6)


@pytest.mark.parametrize("backend", ["strength", "pagerank", "eigenvector"])
def test_batches_are_questions_on_their_own(backend):
    graphs = torch.stack([random_graph(4, seed, 0.7) for seed in range(5)])
    present = torch.ones(5, 4, dtype=torch.bool)
    together = consensus.centrality(graphs, present, backend)
    alone = [consensus.centrality(g[None], present[:1], backend)[0] for g in graphs]
    assert torch.allclose(together, torch.stack(alone), atol=1e-6)


@given(st.integers(2, 6), SEEDS, st.floats(0, 1))
def test_edges_are_what_the_formula_says(size, seed, mix):
    states = random_states(size, seed)
    answers = torch.tensor([[i % 3 - 1 for i in range(size)]])  # -1 has no answer
    present = torch.ones(1, size, dtype=torch.bool)
    centre = states[0].mean(0)
    graph = consensus.agreement_graph(states, answers, present, centre, mix)[0]
    for i in range(size):
        for j in range(size):
            cosine = torch.nn.functional.cosine_similarity(
                states[0, i] - centre, states[0, j] - centre, dim=0
            )
            same = answers[0, i] == answers[0, j] and answers[0, i] >= 0
            wanted = 0.0 if i == j else max(0.0, (1 - mix) * float(cosine) + mix * bool(same))
            assert float(graph[i, j]) == pytest.approx(wanted, abs=1e-5)


def test_a_rationale_without_an_answer_agrees_with_nobody():
    states = torch.zeros(1, 3, 4)
    answers = torch.tensor([[consensus.NO_ANSWER, consensus.NO_ANSWER, 0]])
    present = torch.ones(1, 3, dtype=torch.bool)
    graph = consensus.agreement_graph(states, answers, present, torch.zeros(4), mix=1.0)
    assert (graph == 0).all()


@given(st.integers(3, 6), SEEDS, st.sampled_from(["strength", "pagerank", "eigenvector"]))
def test_one_outlier_is_strictly_last(size, seed, backend):
    # All but one point the same way and agree; the outlier points away, with another answer.
    draw = torch.Generator().manual_seed(seed)
    states = torch.ones(1, size, 6) + 0.1 * torch.randn(1, size, 6, generator=draw)
    outlier = seed % size
    states[0, outlier] *= -1
    answers = torch.zeros(1, size, dtype=torch.int64)
    answers[0, outlier] = 1
    present = torch.ones(1, size, dtype=torch.bool)
    graph = consensus.agreement_graph(states, answers, present, torch.zeros(6))
    score = consensus.centrality(graph, present, backend)[0]
    others = torch.cat([score[:outlier], score[outlier + 1 :]])
    assert float(score[outlier]) < float(others.min())


@pytest.mark.parametrize("backend", ["strength", "pagerank", "eigenvector"])
def test_no_edges_and_equal_edges_give_equal_scores(backend):
    present = torch.ones(1, 4, dtype=torch.bool)
    for graph in (torch.zeros(1, 4, 4), 1 - torch.eye(4)[None]):
        score = consensus.centrality(graph, present, backend)[0]
        assert score.isfinite().all()
        assert float(score.max() - score.min()) < 1e-6


@given(SEEDS, st.sampled_from(["strength", "pagerank", "eigenvector"]))
def test_a_permutation_permutes_the_scores(seed, backend):
    graph = random_graph(5, seed, 0.6)[None]
    present = torch.ones(1, 5, dtype=torch.bool)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    score = consensus.centrality(graph, present, backend)
    moved = consensus.centrality(graph[:, order][:, :, order], present, backend)
    assert torch.allclose(moved, score[:, order], atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_states_are_refused_unless_absent(bad):
    states, answers = torch.zeros(1, 3, 4), torch.zeros(1, 3, dtype=torch.int64)
    states[0, 2, 1] = bad
    present = torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="consensus states: NaN or infinite"):
        consensus.agreement_graph(states, answers, present, torch.zeros(4))
    present[0, 2] = False
    states = torch.where(present[..., None], states, torch.zeros_like(states))
    assert consensus.agreement_graph(states, answers, present, torch.zeros(4)).isfinite().all()


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="allowed: strength, pagerank, eigenvector"):
        consensus.centrality(torch.zeros(1, 2, 2), torch.ones(1, 2, dtype=torch.bool), "degree")
