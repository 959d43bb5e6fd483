"""How likely the gold answer becomes with each step of a rationale.

The probes are branches on the key-value cache of the training forward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compact_bench.student.batch import Batch
from compact_bench.student.forward import Network, Passed
from compact_bench.student.layouts import OpenSequence, TokenRow

Probe = tuple[int, int]  # number of a row, and how many tokens of its rationale are read


def open_steps(batch: Batch, row: TokenRow, cut: bool = True) -> list[int]:
    """Ends of the steps before the rationale gives the answer away; of all, where not cut.

    Cut at the first step in whose tokens the gold answer or the rationale's own answer stands:
    a later gain would measure copying. Empty where the first step has it already.
    """
    all_ends = batch.step_ends[row.question][row.slot]
    if not cut:
        return all_ends
    ids = batch.rationale_ids[row.question][row.slot]
    own = ids[batch.answer_start[row.question][row.slot] : -1]
    gold = batch.answer_ids[row.question]
    ends = []
    before = 0
    for end in all_ends:
        step = ids[before:end]
        if _contains(step, gold) or (own and _contains(step, own)):
            break
        ends.append(end)
        before = end
    return ends


def _contains(tokens: list[int], part: list[int]) -> bool:
    width = len(part)
    return any(tokens[i : i + width] == part for i in range(len(tokens) - width + 1))


@torch.no_grad()
def answer_gain(
    network: Network, cue: list[int], batch: Batch, passed: Passed, cut: bool = True
) -> tuple[Tensor, int, int]:
    """(B,R,S): d_s = v_s - v_{s-1}, v_s = log p(a | q, r_<=s, cue) / A; NaN where not open.

    v_0 has no rationale. Nats an answer token. S is at least 1. Also gives how many tokens the
    probes read, and how many the machine computed.
    """
    rows = passed.rows
    all_ends = [open_steps(batch, row, cut) for row in rows]
    levels: dict[int, list[Probe]] = {}  # for each row with an open step its v_0, v_1, ...
    first_row: dict[tuple[int, tuple[int, ...]], int] = {}  # of each prompt: v_0 is asked there
    for number, (row, ends) in enumerate(zip(rows, all_ends, strict=True)):
        if ends:
            bare = first_row.setdefault((row.question, tuple(row.prefix)), number)
            levels[number] = [(bare, 0), *((number, end) for end in ends)]
    probes = list(dict.fromkeys(probe for row_probes in levels.values() for probe in row_probes))
    steps = max((len(batch.step_ends[r.question][r.slot]) for r in rows), default=1)
    gain = passed.hidden.new_full((*passed.shape, max(1, steps)), float("nan"), dtype=torch.float32)
    if not probes:
        return gain, 0, 0
    probes.sort(key=lambda probe: passed.placement.sequence[probe[0]])
    value, tokens, physical = _log_likelihoods(network, cue, batch, passed, probes)
    index = {probe: i for i, probe in enumerate(probes)}
    for number, row_probes in levels.items():
        v = value[[index[probe] for probe in row_probes]]
        gain[rows[number].question, rows[number].slot, : len(v) - 1] = v[1:] - v[:-1]
    return gain, tokens, physical


def _log_likelihoods(
    network: Network, cue: list[int], batch: Batch, passed: Passed, probes: list[Probe]
) -> tuple[Tensor, int, int]:
    """(probes,): the gold answer's mean log-probability, nats a token; tokens, physical tokens."""
    sequences = [OpenSequence() for _ in passed.placement.input_ids]
    visible, predictor, target, owner = [], [], [], []
    for i, (number, end) in enumerate(probes):
        row, q = passed.rows[number], passed.placement.sequence[number]
        read, gold = len(row.prefix) + end, batch.answer_ids[row.question]
        places = sequences[q].add(cue + gold[:-1], first=read, group=0, branch=i)
        visible.append((q, places, passed.placement.places[number][:read]))
        predictor += [(q, place) for place in places[len(cue) - 1 :]]
        target += gold
        owner += [i] * len(gold)
    hidden = network.read_on(passed, sequences, visible)  # (Q,W,D)
    q, place = torch.tensor(predictor, device=hidden.device).T
    targets, owners = (torch.tensor(ids, device=hidden.device) for ids in (target, owner))
    token_nll = network.head.token_nll(hidden[q, place], targets)
    total = token_nll.new_zeros(len(probes)).index_add(0, owners, -token_nll)
    mean = total / torch.bincount(owners, minlength=len(probes))
    return mean, sum(len(s.ids) for s in sequences), hidden[..., 0].numel()
