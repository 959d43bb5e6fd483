"""How likely the gold answer becomes with each step of a rationale.

The probes of a row are branches on the key-value cache of the training forward.
"""

from __future__ import annotations

from itertools import chain, groupby

import torch
from torch import Tensor

from compact_bench.student.attention import Block
from compact_bench.student.batch import Batch
from compact_bench.student.forward import Network, Passed
from compact_bench.student.layouts import Flat, TokenRow

Probe = tuple[int, int]  # number of a row, and how many tokens of its rationale are read


def asked_steps(batch: Batch, row: TokenRow, cut: bool = True) -> list[int]:
    """Ends of the steps before the rationale gives the answer away; of all, where not cut.

    A gain from there on would measure copying. Empty where the first step has the answer already.
    """
    ends = batch.step_ends[row.question][row.slot]
    return ends[: batch.open_steps[row.question][row.slot]] if cut else ends


@torch.no_grad()
def answer_gain(
    network: Network, cue: list[int], batch: Batch, passed: Passed, cut: bool = True
) -> tuple[Tensor, int, int]:
    """(B,R,S): d_s = v_s - v_{s-1}, v_s = log p(a | q, r_<=s, cue) / A; NaN where not open.

    v_0 has no rationale. Nats an answer token. S is at least 1. Also gives how many tokens the
    probes read, and how many the machine computed.
    """
    rows = passed.rows
    all_ends = [asked_steps(batch, row, cut) for row in rows]
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
    value, tokens, physical = _log_likelihoods(network, cue, batch, passed, sorted(probes))
    index = {probe: i for i, probe in enumerate(sorted(probes))}
    for number, row_probes in levels.items():
        v = value[[index[probe] for probe in row_probes]]
        gain[rows[number].question, rows[number].slot, : len(v) - 1] = v[1:] - v[:-1]
    return gain, tokens, physical


def _log_likelihoods(
    network: Network, cue: list[int], batch: Batch, passed: Passed, probes: list[Probe]
) -> tuple[Tensor, int, int]:
    """(probes,): the gold answer's mean log-probability, nats a token; tokens, physical tokens."""
    gold = [batch.answer_ids[passed.rows[number].question] for number, _ in probes]
    asked = [cue + answer[:-1] for answer in gold]  # what is read beyond the rationale
    if passed.placement.flat is None:
        states, physical = _read_anew(network, passed, probes, cue, gold)
    else:
        states, physical = _read_on(network, passed, passed.placement.flat, probes, cue, asked)
    target = torch.tensor(list(chain(*gold)), device=states.device)
    lengths = torch.tensor(list(map(len, gold)), device=states.device)
    owner = torch.arange(len(probes), device=states.device).repeat_interleave(lengths)
    token_nll = network.head.token_nll(states, target)
    total = token_nll.new_zeros(len(probes)).index_add(0, owner, -token_nll)
    return total / lengths, sum(map(len, asked)), physical


def _read_on(
    network: Network,
    passed: Passed,
    flat: Flat,
    probes: list[Probe],
    cue: list[int],
    asked: list[list[int]],
) -> tuple[Tensor, int]:
    """(N,D): the states that predict the answers' tokens; physical tokens.

    A row's probes are a piece that sees the pieces of the row, each probe up to where it stands.
    """
    further = Flat(network.device, past=flat.positions)
    predictors: list[int] = []
    for number, group in groupby(zip(probes, asked, strict=True), key=lambda pair: pair[0][0]):
        row, pieces = passed.rows[number], passed.placement.pieces[number]
        joined = list(chain(*map(flat.places, pieces)))
        place = {at: i for i, at in enumerate(joined)}
        seen = [place[at] for at in passed.placement.places[number]]
        start = further.length
        ids: list[int] = []
        positions: list[int] = []
        blocks: list[Block] = []
        for (_, end), tokens in group:
            read, span = len(row.prefix) + end, range(len(ids), len(ids) + len(tokens))
            itself = range(len(joined) + span.start, len(joined) + span.stop)
            blocks += [Block(span, seen[:read]), Block(span, itself, causal=True)]
            predictors += [start + at for at in span[len(cue) - 1 :]]
            ids += tokens
            positions += range(read, read + len(tokens))
        further.add(ids, positions, pieces, blocks)
    hidden = network.read_on(passed, further)  # (1,W,D)
    return hidden[0, predictors], further.length


def _read_anew(
    network: Network,
    passed: Passed,
    probes: list[Probe],
    cue: list[int],
    gold: list[list[int]],
) -> tuple[Tensor, int]:
    """The same of a padded pass, each probe in a row of its own from the prompt on: the padded
    layout is for what can't have the shared one, so it is kept simple and not fast."""
    rows = []
    for i, ((number, end), answer) in enumerate(zip(probes, gold, strict=True)):
        row = passed.rows[number]
        rows.append(TokenRow(0, i, row.prefix + row.target[:end] + cue, answer))
    again = network.read(rows, (1, len(rows)), "padded")
    return again.predictors, again.placement.input_ids.numel()
