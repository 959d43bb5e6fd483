"""How likely the gold answer becomes with each step of a rationale.

The probes are branches on the key-value cache of the training forward, which is not copied.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from compact_bench.student.batch import Batch
from compact_bench.student.cost import Cost
from compact_bench.student.encode import Encoder
from compact_bench.student.layouts import PAD, TokenRow, windowed
from compact_bench.student.outputs import Head

if TYPE_CHECKING:
    from compact_bench.student.outputs import Passed


class _Layer(DynamicLayer):
    """Keeps the first keys and values as they are: joining them to nothing would copy them, and
    the copy's gradient as well."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if self.is_initialized:
            return super().update(key_states, value_states, *args, **kwargs)
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states, value_states
        self.is_initialized = True
        return key_states, value_states


def new_cache() -> Any:
    """An empty cache; without a config it keeps every position, also of sliding layers."""
    cache = DynamicCache()
    cache.layer_class_to_replicate = _Layer
    return cache


def detached_cache(cache: Any) -> Any:
    """A cache with the same tensors that holds no graph and may grow: growing makes new ones."""
    detached = DynamicCache()
    for layer in cache.layers:
        own = copy.copy(layer)
        own.keys, own.values = layer.keys.detach(), layer.values.detach()
        detached.layers.append(own)
    return detached


class Probed(Protocol):
    """What a probe needs of the student."""

    decoder: Any
    causal: Any
    encoder: Encoder
    head: Head
    device: torch.device
    pad_id: int
    cost: Cost
    parameters_passed: int


NO_STEP = 0


def open_steps(batch: Batch, row: TokenRow, cut: bool = True) -> list[int]:
    """Ends of the steps before the rationale gives the answer away; of all, where not cut.

    Cut at the first step in whose tokens the gold answer or the rationale's own answer stands:
    a later gain would measure copying. Empty where the first step has it already.
    """
    if not cut:
        return batch.step_ends[row.question][row.slot]
    ids = batch.rationale_ids[row.question][row.slot]
    start = batch.answer_start[row.question][row.slot]
    own = ids[start:-1]
    gold = batch.answer_ids[row.question]
    ends = []
    before = 0
    for end in batch.step_ends[row.question][row.slot]:
        step = ids[before:end]
        if _contains(step, gold) or (own and _contains(step, own)):
            break
        ends.append(end)
        before = end
    return ends


def _prompt(row: TokenRow) -> tuple[int, tuple[int, ...]]:
    return row.question, tuple(row.prefix)


def _contains(tokens: list[int], part: list[int]) -> bool:
    width = len(part)
    return any(tokens[i : i + width] == part for i in range(len(tokens) - width + 1))


@torch.no_grad()
def answer_gain(student: Probed, batch: Batch, passed: Passed, cut: bool = True) -> Tensor:
    """(B,R,S): d_s = v_s - v_{s-1}, v_s = log p(a | q, r_<=s, cue) / A; NaN where not open.

    v_0 has no rationale. Nats an answer token. S is at least 1.
    """
    rows = passed.rows
    probes: list[tuple[int, int]] = []  # (row number, tokens of the rationale it sees)
    bare: dict[Any, int] = {}  # for each prompt a row of it, which is asked without rationale
    every_end = [open_steps(batch, row, cut) for row in rows]
    for number, (row, ends) in enumerate(zip(rows, every_end, strict=True)):
        if ends:
            if bare.setdefault(_prompt(row), number) == number:
                probes.append((number, NO_STEP))
            probes += [(number, end) for end in ends]
    value = _probe(student, batch, probes, passed) if probes else passed.hidden.new_zeros(0)
    place = {probe: i for i, probe in enumerate(probes)}
    steps = max((len(batch.step_ends[r.question][r.slot]) for r in rows), default=1)
    gain = passed.hidden.new_full((*passed.shape, max(1, steps)), float("nan"), dtype=torch.float32)
    for number, (row, ends) in enumerate(zip(rows, every_end, strict=True)):
        if ends:
            asked = [(bare[_prompt(row)], NO_STEP), *((number, end) for end in ends)]
            levels = value[[place[probe] for probe in asked]]
            gain[row.question, row.slot, : len(ends)] = levels[1:] - levels[:-1]
    return gain


def _probe(
    student: Probed,
    batch: Batch,
    probes: list[tuple[int, int]],
    passed: Passed,
) -> Tensor:
    """(probes,): the mean log-probability of the gold answer for each probe."""
    placement, rows, device = passed.placement, passed.rows, student.device
    cue = student.encoder.cue
    sequences: list[list[tuple[int, int]]] = [[] for _ in range(placement.input_ids.shape[0])]
    for probe in probes:
        sequences[placement.sequence[probe[0]]].append(probe)
    lines: list[dict[str, list[Any]]] = []
    for probes_here in sequences:
        line: dict[str, list[Any]] = {"ids": [], "position": [], "branch": [], "visible": []}
        for probe_number, (number, end) in enumerate(probes_here):
            row = rows[number]
            read = len(row.prefix) + end
            asked = cue + batch.answer_ids[row.question][:-1]
            line["ids"] += asked
            line["position"] += range(read, read + len(asked))
            line["branch"] += [probe_number] * len(asked)
            line["visible"].append((len(asked), placement.places[number][:read]))
        lines.append(line)
    width = max(len(line["ids"]) for line in lines)

    def grid(key: str, fill: int) -> Tensor:
        padded = [line[key] + [fill] * (width - len(line[key])) for line in lines]
        return torch.tensor(padded, dtype=torch.int64, device=device)

    ids, position, branch = grid("ids", student.pad_id), grid("position", 0), grid("branch", PAD)
    hidden = _continue(student, passed, lines, ids, position, branch)

    number_of = {probe: i for i, probe in enumerate(probes)}
    states, target, owner = [], [], []
    for q, probes_here in enumerate(sequences):
        at = 0
        for probe in probes_here:
            gold = batch.answer_ids[rows[probe[0]].question]
            states.append(hidden[q, at + len(cue) - 1 : at + len(cue) - 1 + len(gold)])
            target += gold
            owner += [number_of[probe]] * len(gold)
            at += len(cue) + len(gold) - 1
    targets = torch.tensor(target, dtype=torch.int64, device=device)
    token_nll = student.head.token_nll(torch.cat(states), targets)
    owners = torch.tensor(owner, dtype=torch.int64, device=device)
    total = token_nll.new_zeros(len(probes)).index_add(0, owners, -token_nll)
    tokens = sum(len(line["ids"]) for line in lines)
    student.cost.count(tokens, ids.numel(), 2.0 * student.parameters_passed * tokens)
    return total / torch.bincount(owners, minlength=len(probes))


def _continue(
    student: Probed,
    passed: Passed,
    lines: list[dict[str, list[Any]]],
    ids: Tensor,
    position: Tensor,
    branch: Tensor,
) -> Tensor:
    """Runs the probes on the cache: (Q,W,D)."""
    placement = passed.placement
    past = placement.input_ids.shape[1]
    visible = torch.zeros(*ids.shape, past + ids.shape[1], dtype=torch.bool, device=ids.device)
    for q, line in enumerate(lines):
        at = 0
        for count, places in line["visible"]:
            visible[q, at : at + count, places] = True
            at += count
    key_position = torch.cat([placement.position_ids, position], 1)
    distance = position[:, :, None] - key_position[:, None, :]  # (Q,W,past+W)
    # Probes see themselves and, with the filler at the end, padding sees padding: a query that
    # saw nothing would have a softmax of NaN.
    own = (branch[:, :, None] == branch[:, None, :]) & (distance[:, :, past:] >= 0)
    visible[:, :, past:] = own
    result = student.decoder(
        input_ids=ids,
        attention_mask=windowed(visible, distance, student.causal.config),
        position_ids=position,
        past_key_values=detached_cache(passed.cache),
        use_cache=True,
    )
    return result.last_hidden_state
