"""How far a student has moved from its start: the KL from the base student, token by token."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from compact_bench.data.rationales import digest
from compact_bench.student.forward import CHUNK_LOGITS, Passed
from compact_bench.student.generation import Stops, batches, end_ids, generate
from compact_bench.student.layouts import TokenRow
from compact_bench.student.student import Student

TextRow = tuple[Sequence[int], Sequence[int]]  # tokens of a prompt and of what follows
ROWS = 16  # at a time, fewer where their logits would be more than CHUNK_LOGITS
WRITTEN_ROWS = 64  # texts that are written at a time
MOST_RECENT = 16  # sets of texts that a process keeps: some for each task of a suite

_first_answers: OrderedDict[str, list[TextRow]] = OrderedDict()


@torch.no_grad()
def log_chances(student: Student, rows: Sequence[TextRow]) -> list[Tensor]:
    """For each row (A,V) float32 on the CPU: log-probabilities at its A target tokens."""
    out: dict[int, Tensor] = {}
    for chosen, passed in _passes(student, rows):
        logits = student.network.head(passed.predictors).float().log_softmax(-1).cpu()  # (n,V)
        parts = logits.split([len(rows[i][1]) for i in chosen])
        out.update(zip(chosen, parts, strict=True))
    return [out[i] for i in range(len(rows))]


@torch.no_grad()
def token_nll(student: Student, rows: Sequence[TextRow]) -> list[list[float]]:
    """Negative log-likelihoods of every row's target tokens, nats."""
    out: dict[int, list[float]] = {}
    for chosen, passed in _passes(student, rows):
        nll = student.network.head.token_nll(passed.predictors, passed.placement.target)  # (n,)
        parts = nll.split([len(rows[i][1]) for i in chosen])
        out.update((i, part.tolist()) for i, part in zip(chosen, parts, strict=True))
    return [out[i] for i in range(len(rows))]


def _passes(student: Student, rows: Sequence[TextRow]) -> Iterator[tuple[list[int], Passed]]:
    """Forwards of rows of like length, and which rows each reads, with few logits at a time.

    The head is left to the caller: it runs at the target tokens alone.
    """
    lengths = [len(prompt) + len(target) for prompt, target in rows]
    most = max([len(target) for _, target in rows], default=1) * student.network.head.vocabulary
    for chosen in batches(lengths, max(1, min(ROWS, CHUNK_LOGITS // max(1, most)))):
        own = [TokenRow(n, 0, list(rows[i][0]), list(rows[i][1])) for n, i in enumerate(chosen)]
        yield chosen, student.network.read(own, (len(own), 1), "padded")


def answers(student: Student, prompts: Sequence[Sequence[int]], longest: int) -> list[TextRow]:
    """What the student writes greedily after each prompt, with the end token where it ended."""
    stops = Stops(student.tokenizer, (), end_ids(student.causal, student.tokenizer))
    written = generate(
        student.causal, prompts, stops, max_new_tokens=longest, batch_size=WRITTEN_ROWS
    )
    end = student.encoder.eos
    return [
        (prompt, [*row.ids, *(end if row.ended else [])])
        for prompt, row in zip(prompts, written, strict=True)
    ]


def first_answers(base: Student, prompts: Sequence[Sequence[int]], longest: int) -> list[TextRow]:
    """`answers` of a student that isn't trained yet: the same in all cells of a suite.

    So they are written once in a process; what is kept is known by everything that decides it.
    """
    content = [prompts, longest, str(base.device), torch.get_num_threads(), fingerprint(base)]
    key = digest(content)
    if key not in _first_answers:
        _first_answers[key] = answers(base, prompts, longest)
    _first_answers.move_to_end(key)
    while len(_first_answers) > MOST_RECENT:
        _first_answers.popitem(last=False)
    return list(_first_answers[key])


def fingerprint(student: Student) -> str:
    """A hash of all weights; of fresh adapters, which change nothing, without their random half."""
    weights = dict(student.model.named_parameters())
    fresh = not any(bool(p.any()) for name, p in weights.items() if "lora_B" in name)
    total = hashlib.sha256()
    for name, weight in weights.items():
        if not (fresh and "lora_A" in name):
            total.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
            total.update(weight.detach().cpu().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


class Divergence:
    """KL(base || student), nats a token, over texts that the base wrote after given prompts.

    Made while the student holds the weights of before; the base's log-probabilities are kept.
    E over prompts x, texts y of the base, and tokens t of KL(p_0(. | x, y_<t), p(. | x, y_<t)):
    of all texts that a student could write, those that it used to write count. The forward KL on
    the new task's prompts is what Shenfeld et al. (arXiv:2509.04259) find to go with forgetting.
    """

    def __init__(self, base: Student, prompts: Sequence[Sequence[int]], longest: int) -> None:
        self.rows = [row for row in first_answers(base, prompts, longest) if row[1]]
        self.base = list(log_chances(base, self.rows))

    def of(self, student: Student) -> list[float]:
        """Each text's mean over its tokens, nats."""
        return [
            float((before.exp() * (before - now)).sum(-1).mean())
            for before, now in zip(self.base, log_chances(student, self.rows), strict=True)
        ]
