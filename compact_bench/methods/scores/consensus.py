"""How much the rationales of one question agree: centrality in a graph of rationales.

The hot path computes centralities in closed form for a whole batch; `to_networkx` gives the same
graph to look at, and networkx's centralities are what the tests compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compact_bench.methods.fusion import check_finite
from compact_bench.utils.lazy import Tensor, torch

NO_ANSWER = -1
DAMPING = 0.85


def attention_affinity(query: Tensor, key: Tensor) -> Tensor:
    """Attention that each rationale's end state receives from the others'.

    P = softmax(q k^T / sqrt(width)) over all R, itself included; then the diagonal is set to 0
    without renormalising; C_k = sum_i P_ik

    query: (R, Dq); key: (R, Dk), Dk dividing Dq: each key feature is repeated in place to the
    query's width, as COMPACT's release does (arXiv 2601.13992). Returns (R,); 0 where R is 1.
    Raises ValueError where the widths don't divide.
    """
    width = query.shape[-1]
    if width % key.shape[-1]:
        raise ValueError(f"key width {key.shape[-1]} does not divide query width {width}")
    key = key.repeat_interleave(width // key.shape[-1], dim=-1)
    attention = torch.softmax(query @ key.T / width**0.5, dim=-1)
    return (attention - torch.diag(torch.diagonal(attention))).sum(0)


def agreement_graph(
    states: Tensor, answers: Tensor, present: Tensor, centre: Tensor, mix: float = 0.5
) -> Tensor:
    """Edge weights between the rationales of each question.

    A_ij = max(0, (1 - mix) cos(h_i - centre, h_j - centre) + mix [a_i = a_j]),  A_ii = 0

    states h: (B,R,D), mean states of the rationales; centre: (D,), the mean over all rationales
    seen: without it every cosine is near 1. answers: (B,R) int64, equal for equal final answers,
    NO_ANSWER agrees with nobody. present: (B,R) bool. Returns (B,R,R) float32, symmetric, 0 where
    either is absent. Raises ValueError for NaN or infinite states.
    """
    check_finite(states[present], "consensus states")
    check_finite(centre, "consensus centre")
    centred = states.float() - centre.float()
    unit = torch.nn.functional.normalize(centred, dim=-1, eps=1e-12)  # a zero state stays zero
    cosine = unit @ unit.transpose(-1, -2)  # (B,R,R)
    same = (answers[:, :, None] == answers[:, None, :]) & (answers != NO_ANSWER)[:, :, None]
    edges = ((1 - mix) * cosine + mix * same).clamp_min(0)
    pair = present[:, :, None] & present[:, None, :]
    pair = pair & ~torch.eye(present.shape[-1], dtype=torch.bool, device=pair.device)
    edges = torch.where(pair, edges, torch.zeros_like(edges))
    return (edges + edges.transpose(-1, -2)) / 2  # rounding must not make it lopsided


def strength(graph: Tensor) -> Tensor:
    """C_i = sum_j A_ij. graph: (B,R,R); returns (B,R)."""
    check_finite(graph, "consensus graph")
    return graph.sum(-1)


def pagerank(graph: Tensor, present: Tensor, damping: float = DAMPING) -> Tensor:
    """The stationary distribution of a walk that follows edges, and jumps with 1 - damping.

    x = damping (P^T x + (mass of nodes without edges) / n) + (1 - damping) / n,  sum x = 1,
    P_ij = A_ij / sum_j A_ij, solved as a linear system. graph: (B,R,R); present: (B,R) bool;
    returns (B,R), 0 where absent. Page et al. 1999; the same as networkx.pagerank.
    """
    check_finite(graph, "consensus graph")
    graph = graph.double()
    degree = graph.sum(-1, keepdim=True)  # (B,R,1)
    n = present.sum(-1, keepdim=True).clamp_min(1).double()  # (B,1)
    jump = present.double() / n  # (B,R)
    walk = torch.where(degree > 0, graph / degree.clamp_min(1e-300), jump[:, None, :])  # (B,R,R)
    walk = walk * present.double()[:, :, None]
    eye = torch.eye(graph.shape[-1], dtype=graph.dtype, device=graph.device)
    system = eye - damping * walk.transpose(-1, -2)
    return torch.linalg.solve(system, (1 - damping) * jump[..., None]).squeeze(-1).float()


def eigenvector(graph: Tensor) -> Tensor:
    """The main eigenvector of each connected component, on the scale of `strength`.

    C_i = lambda_c sqrt(n_c) v_i with v the unit vector of the largest eigenvalue lambda_c of i's
    component of n_c rationales: equal to the strength where all of a component have the same, and
    0 for a rationale without edges. One eigenvector of the whole graph would be 0 outside the
    strongest component. graph: (B,R,R); returns (B,R).
    """
    check_finite(graph, "consensus graph")
    graph = graph.double()
    size = graph.shape[-1]
    reach = (graph > 0) | torch.eye(size, dtype=torch.bool, device=graph.device)
    for _ in range(size.bit_length()):  # paths of length 2, 4, 8, ...
        reach = (reach.double() @ reach.double()) > 0
    # (B,R,R,R): for each rationale the graph of its own component, whose main eigenvector is
    # unique and of one sign.
    own = graph[:, None] * reach[:, :, :, None] * reach[:, :, None, :]
    values, vectors = torch.linalg.eigh(own)
    main = vectors[..., -1].abs()  # (B,R,R)
    here = torch.diagonal(main, dim1=-2, dim2=-1)  # (B,R), each one's entry in its own vector
    members = reach.sum(-1).double()  # (B,R)
    return (values[..., -1].clamp_min(0) * members.sqrt() * here).float()


def centrality(graph: Tensor, present: Tensor, backend: str = "strength") -> Tensor:
    """(B,R) by one of "strength", "pagerank", "eigenvector"; NaN where absent.

    Raises ValueError for another backend.
    """
    if backend == "strength":
        score = strength(graph)
    elif backend == "pagerank":
        score = pagerank(graph, present)
    elif backend == "eigenvector":
        score = eigenvector(graph)
    else:
        raise ValueError(f"consensus {backend!r}; allowed: strength, pagerank, eigenvector")
    return score.masked_fill(~present, float("nan"))


def to_networkx(graph: Any, names: Sequence[Any]) -> Any:
    """One question's graph, (R,R) tensor or array, as a networkx.Graph: edges with `weight`."""
    import networkx

    named = networkx.Graph()
    named.add_nodes_from(names)
    weights = graph.tolist()
    named.add_weighted_edges_from(
        (names[i], names[j], weights[i][j])
        for i in range(len(names))
        for j in range(i)
        if weights[i][j] > 0
    )
    return named
