"""How far a student has moved from its start: the KL from the base student, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from compact_bench.student.generation import Stops, end_ids, generate
from compact_bench.student.layouts import pad_rows, real_places
from compact_bench.student.student import Student

TextRow = tuple[Sequence[int], Sequence[int]]  # tokens of a prompt and of what follows
ROWS = 4  # at a time: their logits are held, 600 kB a token for a vocabulary of 150,000


@torch.no_grad()
def log_chances(student: Student, rows: Sequence[TextRow]) -> Iterator[Tensor]:
    """For each row (A,V) float32 on the CPU: log-probabilities at its A target tokens."""
    for at in range(0, len(rows), ROWS):
        chosen = rows[at : at + ROWS]
        texts = [[*prompt, *target] for prompt, target in chosen]
        # An embedding of index 0 stands at padded places; nothing real sees it.
        logits = student.causal(
            input_ids=pad_rows(texts, student.device),
            attention_mask=real_places(texts, student.device),
        ).logits  # (N,T,V)
        for n, (prompt, target) in enumerate(chosen):
            first = len(prompt) - 1  # a token is predicted one place before it stands
            yield logits[n, first : first + len(target)].float().log_softmax(-1).cpu()


def token_nll(student: Student, rows: Sequence[TextRow]) -> list[list[float]]:
    """Negative log-likelihoods of every row's target tokens, nats."""
    return [
        (-chances.gather(1, torch.tensor(target, dtype=torch.int64)[:, None])[:, 0]).tolist()
        for (_, target), chances in zip(rows, log_chances(student, rows), strict=True)
    ]


def answers(student: Student, prompts: Sequence[Sequence[int]], longest: int) -> list[TextRow]:
    """What the student writes greedily after each prompt, with the end token where it ended."""
    stops = Stops(student.tokenizer, (), end_ids(student.causal, student.tokenizer))
    written = generate(
        student.causal, prompts, stops, max_new_tokens=longest, batch_size=max(ROWS, 16)
    )
    end = student.encoder.eos
    return [
        (prompt, [*row.ids, *(end if row.ended else [])])
        for prompt, row in zip(prompts, written, strict=True)
    ]


class Divergence:
    """KL(base || student), nats a token, over texts that the base wrote after given prompts.

    Made while the student holds the weights of before; the base's log-probabilities are kept.
    E over prompts x, texts y of the base, and tokens t of KL(p_0(. | x, y_<t), p(. | x, y_<t)):
    of all texts that a student could write, those that it used to write count. The forward KL on
    the new task's prompts is what Shenfeld et al. (arXiv:2509.04259) find to go with forgetting.
    """

    def __init__(self, base: Student, prompts: Sequence[Sequence[int]], longest: int) -> None:
        self.rows = [row for row in answers(base, prompts, longest) if row[1]]
        self.base = list(log_chances(base, self.rows))

    def of(self, student: Student) -> list[float]:
        """Each text's mean over its tokens, nats."""
        return [
            float((before.exp() * (before - now)).sum(-1).mean())
            for before, now in zip(self.base, log_chances(student, self.rows), strict=True)
        ]
