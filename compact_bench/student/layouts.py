"""How the rows of a batch lie in the model's input: one each, or branches of a shared prefix.

A row is a prefix (prompt, perhaps with a rationale) and a target. `padded` gives each row a
sequence of its own. `shared` writes what the rows of a question have in common once, the trunk,
and lets each row's rest attend to the trunk and to itself, with positions that restart at the
trunk's end, so that every row sees exactly what it sees alone. All questions lie in one sequence
without padding, in pieces that attend apart (`attention`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from compact_bench.student.attention import Block, Segment, Segments
from compact_bench.student.batch import Batch, Context, PromptKind, Target
from compact_bench.student.encode import Encoder

# What a piece of its own costs beside its pairs of tokens, in pairs: measured with 4 heads of 40
# and 9 of 64 numbers, where cutting up a question of 150 tokens loses 10% and one of 240 gains 10%.
PIECE_PAIRS = 4000


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
class Flat:
    """A sequence in pieces while it is filled.

    past: the pieces' positions of an earlier pass, whose keys and values come first. ids,
    positions: of each own piece.
    """

    device: torch.device
    past: Sequence[Sequence[int]] = ()
    ids: list[list[int]] = field(default_factory=list)
    positions: list[list[int]] = field(default_factory=list)
    parts: list[Segment] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Own tokens so far."""
        return sum(map(len, self.ids))

    def add(
        self, ids: list[int], positions: list[int], earlier: Sequence[int], blocks: Sequence[Block]
    ) -> int:
        """Appends a piece that sees the `earlier` pieces and itself; returns its number."""
        known = [*self.past, *self.positions, positions]
        number = len(known) - 1
        keys = [*earlier, number]
        joined = [position for key in keys for position in known[key]]
        self.parts.append(Segment(keys, blocks, positions, joined, self.device))
        self.ids.append(ids)
        self.positions.append(positions)
        return number

    def add_question(
        self, trunk: list[int], branches: Sequence[list[int]]
    ) -> list[tuple[int, ...]]:
        """Appends a trunk and its branches, in this order; for each branch the numbers of the
        pieces that hold the trunk and it."""
        shared = range(len(trunk))
        up_to_itself = Block(shared, shared, causal=True)
        own = [range(len(trunk), len(trunk) + len(branch)) for branch in branches]  # positions
        if _in_one_piece(len(trunk), list(map(len, branches))):
            blocks = [up_to_itself]
            at = len(trunk)
            for branch in branches:
                span = range(at, at := at + len(branch))
                blocks += [Block(span, shared), Block(span, span, causal=True)]
            piece = self.add([*trunk, *chain(*branches)], [*shared, *chain(*own)], (), blocks)
            return [(piece,)] * len(branches)
        first = (self.add(trunk, [*shared], (), [up_to_itself]),) if trunk else ()
        pieces = []
        for branch, positions in zip(branches, own, strict=True):
            span = range(len(branch))
            blocks = [Block(span, shared), Block(span, positions, causal=True)]
            pieces.append((*first, self.add(branch, [*positions], first, blocks)))
        return pieces

    def places(self, piece: int) -> range:
        """Where an own piece lies in the sequence."""
        start = sum(map(len, self.ids[:piece]))
        return range(start, start + len(self.ids[piece]))

    def segments(self) -> Segments:
        """The pieces, for the attention."""
        own = list(map(len, self.ids))
        return Segments(own, [*map(len, self.past), *own], self.parts)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Token ids and positions: (1,L) int64 each."""
        ids, positions = (
            torch.tensor([list(chain(*pieces))], dtype=torch.int64, device=self.device)
            for pieces in (self.ids, self.positions)
        )
        return ids, positions


def _in_one_piece(trunk: int, branches: Sequence[int]) -> bool:
    """Whether one square over a whole question costs less than its branches apart."""
    apart = trunk**2 + sum(own * (trunk + own) for own in branches)
    return (trunk + sum(branches)) ** 2 <= apart + PIECE_PAIRS * len(branches)


@dataclass
class Placement:
    """Where the rows lie. Q sequences of length L; N target tokens in all rows together.

    input_ids, position_ids: (Q,L) int64; real: (Q,L) bool, False in padding.
    predictor: (N,) flat index into (Q*L) of the token whose state predicts the n-th target.
    target: (N,) ids; row: (N,) the row's number; offset: (N,) place in the row's target.
    sequence: for each row the sequence that holds it. places: for each row the places in that
    sequence of its tokens in order. flat: the one sequence of a shared placement; pieces: for
    each row the numbers of those of its pieces that hold it.
    """

    input_ids: Tensor
    position_ids: Tensor
    real: Tensor
    predictor: Tensor
    target: Tensor
    row: Tensor
    offset: Tensor
    sequence: list[int]
    places: list[list[int]]
    flat: Flat | None = None
    pieces: list[tuple[int, ...]] = field(default_factory=list)


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all rows share."""
    columns = zip(*rows, strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, columns))


def place_padded(rows: Sequence[TokenRow], pad_id: int, device: torch.device) -> Placement:
    """Each row in a sequence of its own, right-padded to the longest."""
    ids = pad_rows([row.ids for row in rows], device, pad_id)
    real = real_places([row.ids for row in rows], device).bool()
    positions = torch.arange(ids.shape[1], device=device).expand_as(ids) * real
    places = [list(range(len(row.ids))) for row in rows]
    return _placement(rows, ids, positions, real, list(range(len(rows))), places)


def place_shared(rows: Sequence[TokenRow], device: torch.device) -> tuple[Placement, Flat]:
    """All rows in one sequence without padding, a question's common prefix once."""
    flat = Flat(device)
    places: list[list[int]] = [[] for _ in rows]
    pieces: list[tuple[int, ...]] = [() for _ in rows]
    by_question: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        by_question.setdefault(row.question, []).append(number)
    for group in by_question.values():
        # A trunk ends inside the prefix, so that every target token is in its row's own branch.
        trunk = common_prefix([rows[n].prefix for n in group]) if len(group) > 1 else 0
        branches = [rows[n].ids[trunk:] for n in group]
        shared = range(flat.length, at := flat.length + trunk)
        found = flat.add_question(rows[group[0]].prefix[:trunk], branches)
        for number, branch, numbers in zip(group, branches, found, strict=True):
            pieces[number] = numbers
            places[number] = [*shared, *range(at, at := at + len(branch))]
    ids, positions = flat.tensors()
    placement = _placement(
        rows, ids, positions, torch.ones_like(ids, dtype=torch.bool), [0] * len(rows), places
    )
    placement.flat, placement.pieces = flat, pieces
    return placement, flat


def _placement(
    rows: Sequence[TokenRow],
    ids: Tensor,
    positions: Tensor,
    real: Tensor,
    sequence: list[int],
    places: list[list[int]],
) -> Placement:
    length = ids.shape[1]

    def tensor(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=ids.device)

    # The state at a token predicts the next: the first target comes from the prefix's last token.
    predictor = [
        sequence[n] * length + places[n][len(row.prefix) - 1 + i]
        for n, row in enumerate(rows)
        for i in range(len(row.target))
    ]
    return Placement(
        input_ids=ids,
        position_ids=positions,
        real=real,
        predictor=tensor(predictor),
        target=tensor([token for row in rows for token in row.target]),
        row=tensor([n for n, row in enumerate(rows) for _ in row.target]),
        offset=tensor([i for row in rows for i in range(len(row.target))]),
        sequence=sequence,
        places=places,
    )
