"""How the rows of a batch lie in the model's input: one each, or branches of a shared prefix.

A row is a prefix (prompt, perhaps with a rationale) and a target. `padded` gives each row a
sequence of its own. `shared` writes what the rows of a question have in common once, the trunk,
and lets each row's rest attend to the trunk and to itself, with positions that restart at the
trunk's end, so that every row sees exactly what it sees alone. Questions of unlike length are
packed into sequences of like length, as the block mask keeps them apart anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from compact_bench.student.batch import Batch, Context, PromptKind, Target
from compact_bench.student.encode import Encoder

TRUNK = -1
PAD = -2


@dataclass(frozen=True)
class TokenRow:
    """One (question, slot) with its tokens."""

    question: int
    slot: int
    prefix: list[int]
    target: list[int]

    @property
    def ids(self) -> list[int]:
        """All tokens in order."""
        return self.prefix + self.target


def make_rows(
    batch: Batch, encoder: Encoder, target: Target, prompt: PromptKind, context: Context
) -> list[TokenRow]:
    """The rows of a forward, absent rationales left out.

    A target "answer" given the question alone does not depend on the rationale: one row a
    question, in slot 0.
    """
    rows = []
    for b, present in enumerate(batch.present.tolist()):
        gold = batch.answer_ids[b] + encoder.eos
        if target == "answer" and context == "question" and prompt != "teacher":
            prefix = _prompt(batch, encoder, b, 0, prompt)
            rows.append(TokenRow(b, 0, prefix, encoder.cue + gold))
            continue
        for r in [r for r, here in enumerate(present) if here]:
            prefix = _prompt(batch, encoder, b, r, prompt)
            ids, body_end = batch.rationale_ids[b][r], batch.body_end[b][r]
            if target == "rationale+answer":
                rows.append(TokenRow(b, r, prefix, ids))
            elif target == "rationale":
                rows.append(TokenRow(b, r, prefix, ids[:body_end] + encoder.eos))
            elif context == "question+rationale":
                rows.append(TokenRow(b, r, prefix + ids[:body_end] + encoder.cue, gold))
            else:
                rows.append(TokenRow(b, r, prefix, encoder.cue + gold))
    return rows


def _prompt(batch: Batch, encoder: Encoder, b: int, r: int, kind: PromptKind) -> list[int]:
    if kind == "plain":
        return batch.prompt_ids[b]
    mark = f"[{batch.teachers[int(batch.teacher[b, r])]}] " if kind == "teacher" else ""
    return encoder.prompt(batch.questions[b], kind, mark)


def pad_rows(
    rows: Sequence[Sequence[int]],
    device: Any = "cpu",
    value: int = 0,
    side: Literal["left", "right"] = "right",
) -> Tensor:
    """(N,T) int64: rows of token ids, or other integers, filled up to the longest."""
    tensors = [torch.tensor(list(row), dtype=torch.int64) for row in rows]
    padded = pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=side)
    return padded.to(device)


def real_places(
    rows: Sequence[Sequence[int]], device: Any = "cpu", side: Literal["left", "right"] = "right"
) -> Tensor:
    """(N,T) int64: 1 where `pad_rows` has a token, from lengths: a pad token may be the EOS."""
    return pad_rows([[1] * len(row) for row in rows], device, side=side)


@dataclass
class OpenSequence:
    """One sequence of the model's input while it is filled."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)

    def add(self, tokens: list[int], first: int, group: int, branch: int) -> range:
        """Appends tokens with positions from `first` on; returns their places."""
        start = len(self.ids)
        self.ids += tokens
        self.positions += range(first, first + len(tokens))
        self.groups += [group] * len(tokens)
        self.branches += [branch] * len(tokens)
        return range(start, len(self.ids))


def stacked(
    sequences: Sequence[OpenSequence], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Token ids, positions, groups and branches of Q sequences: (Q,L) int64 each."""
    return (
        pad_rows([s.ids for s in sequences], device, pad_id),
        pad_rows([s.positions for s in sequences], device),
        pad_rows([s.groups for s in sequences], device, PAD),
        pad_rows([s.branches for s in sequences], device, PAD),
    )


@dataclass
class Placement:
    """Where the rows lie. Q sequences of length L; N target tokens in all rows together.

    input_ids, position_ids, group, branch: (Q,L) int64; group is the number of the question,
    branch that of the row or TRUNK; both are PAD in padding.
    predictor: (N,) flat index into (Q*L) of the token whose state predicts the n-th target.
    target: (N,) ids; row: (N,) the row's number; offset: (N,) place in the row's target.
    sequence: for each row the sequence that holds it. places: for each row the places in that
    sequence of its tokens in order.
    """

    input_ids: Tensor
    position_ids: Tensor
    group: Tensor
    branch: Tensor
    predictor: Tensor
    target: Tensor
    row: Tensor
    offset: Tensor
    sequence: list[int]
    places: list[list[int]]

    @property
    def real(self) -> Tensor:
        """(Q,L) bool."""
        return self.branch != PAD


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all rows share."""
    columns = zip(*rows, strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, columns))


def pack(lengths: Sequence[int], scale: float) -> list[list[int]]:
    """Which lengths share a sequence: the packing with the least to compute.

    The cost of Q sequences of length L is Q L (1 + L / scale): padding against attention, which
    grows with the square. Longest first into the emptiest sequence, for each possible Q.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    best: tuple[float, list[list[int]]] = (float("inf"), [])
    for count in range(1, len(lengths) + 1):
        bins: list[list[int]] = [[] for _ in range(count)]
        filled = [0] * count
        for i in order:
            emptiest = filled.index(min(filled))
            bins[emptiest].append(i)
            filled[emptiest] += lengths[i]
        longest = max(filled)
        cost = count * longest * (1 + longest / scale)
        if cost < best[0]:
            best = (cost, bins)
    return best[1]


def place(
    rows: Sequence[TokenRow], shared: bool, pad_id: int, device: torch.device, scale: float = 1024.0
) -> Placement:
    """Lays the rows out, right-padded to the longest sequence; for `scale` see `pack`."""
    by_question: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        by_question.setdefault(row.question if shared else number, []).append(number)
    groups = list(by_question.values())
    # A trunk ends inside the prefix, so that every target token is in its row's own branch.
    trunks = [common_prefix([rows[n].prefix for n in g]) if len(g) > 1 else 0 for g in groups]
    members = [[g] for g in range(len(groups))]  # which groups each sequence holds
    if shared:
        lengths = [
            trunk + sum(len(rows[n].ids) - trunk for n in group)
            for group, trunk in zip(groups, trunks, strict=True)
        ]
        members = pack(lengths, scale)
    sequences = [OpenSequence() for _ in members]
    holder = [0] * len(rows)  # for each row the sequence that holds it
    places: list[list[int]] = [[] for _ in rows]
    for q, sequence in enumerate(sequences):
        for g in members[q]:
            trunk = trunks[g]
            shared_places = sequence.add(rows[groups[g][0]].prefix[:trunk], 0, g, TRUNK)
            for number in groups[g]:
                own = sequence.add(rows[number].ids[trunk:], trunk, g, number)
                holder[number] = q
                places[number] = [*shared_places, *own]
    ids, positions, group, branch = stacked(sequences, pad_id, device)
    length = ids.shape[1]

    def flat(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device)

    # The state at a token predicts the next: the first target comes from the prefix's last token.
    predictor = [
        holder[n] * length + places[n][len(row.prefix) - 1 + i]
        for n, row in enumerate(rows)
        for i in range(len(row.target))
    ]
    return Placement(
        input_ids=ids,
        position_ids=positions,
        group=group,
        branch=branch,
        predictor=flat(predictor),
        target=flat([token for row in rows for token in row.target]),
        row=flat([n for n, row in enumerate(rows) for _ in row.target]),
        offset=flat([i for row in rows for i in range(len(row.target))]),
        sequence=holder,
        places=places,
    )


def block_mask(placement: Placement, config: Any) -> Tensor | dict[str, Tensor]:
    """The block mask of a shared placement, in the form that the architecture takes.

    (Q,1,L,L) bool, True where the row position may look at the column position: the own
    question's trunk and the own branch, no future. Padding looks at padding only, which keeps its
    softmax finite; nothing reads it.
    """
    group, branch = placement.group, placement.branch
    position = placement.position_ids
    same_group = group[:, :, None] == group[:, None, :]
    in_reach = (branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == TRUNK)
    distance = position[:, :, None] - position[:, None, :]  # (Q,L,L)
    return windowed(same_group & in_reach & (distance >= 0), distance, config)


def windowed(visible: Tensor, distance: Tensor, config: Any) -> Tensor | dict[str, Tensor]:
    """(Q,1,Lq,Lk) masks from what is visible and how far away, both (Q,Lq,Lk).

    Where `config.layer_types` holds sliding layers a dict is needed, with the window counted on
    the restarted positions: one plain mask there gives silently wrong numbers.
    """
    window = getattr(config, "sliding_window", None)
    layer_types = getattr(config, "layer_types", None) or ()
    near = visible & (distance < window) if window else visible
    if window and "sliding_attention" in layer_types:
        return {"full_attention": visible[:, None], "sliding_attention": near[:, None]}
    return visible[:, None] if layer_types else near[:, None]
