"""A student whose teachers' gradients are written down by the test."""

from __future__ import annotations

import torch

from compact_bench.api import Batch, TeacherGradients


class HandMade:
    """Gives the gradients (K,P) and losses (K,) that it was made with; keeps what is added."""

    def __init__(self, gradient, loss=None, share=None) -> None:
        self.gradient = torch.as_tensor(gradient, dtype=torch.float32)
        count = len(self.gradient)
        self.loss = torch.ones(count) if loss is None else torch.as_tensor(loss).float()
        self.share = torch.full((count,), 1 / count) if share is None else torch.as_tensor(share)
        self.added = torch.zeros(self.gradient.shape[1])

    def teacher_gradients(self, batch: Batch) -> TeacherGradients:
        teachers = torch.arange(len(self.gradient))
        nll = self.loss[None].clone()
        return TeacherGradients(batch, teachers, self.share, self.loss, self.gradient, nll)

    def add_gradient(self, gradient) -> None:
        self.added = self.added + gradient


def one_question(count: int, seed: int = 0) -> Batch:
    """One question with a rationale of each of `count` teachers."""
    nothing = [[[] for _ in range(count)]]
    return Batch(
        question_id=["q"],
        questions=["q"],
        teacher=torch.arange(count)[None],
        sample=torch.zeros(1, count, dtype=torch.int64),
        prompt_ids=[[]],
        rationale_ids=nothing,
        body_end=[[0] * count],
        answer_start=[[0] * count],
        answer_ids=[[]],
        step_ends=nothing,
        open_steps=nothing,
        step=0,
        epoch=0,
        generator=torch.Generator().manual_seed(seed),
        teachers=tuple("abcdefghij"[:count]),
        gold=[""],
        kinds=["number"],
        answer_texts=[[None] * count],
    )


def step_along(method, gradient, **arguments):
    """The gradient that a method leaves for these gradients, and its step."""
    student = HandMade(gradient, **arguments)
    step = method.backward(student, one_question(len(student.gradient)))
    return student.added, step


def random_gradients(teachers: int, size: int, seed: int, common: float = 0.5):
    """(K,P) gradients that share a part, so that some pairs agree and some don't."""
    draw = torch.Generator().manual_seed(seed)
    own = torch.randn(teachers, size, generator=draw)
    shared = torch.randn(size, generator=draw)
    return (own + common * shared) * (0.2 + torch.rand(teachers, 1, generator=draw))
