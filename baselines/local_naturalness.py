"""The rationale whose steps the student finds likely from the few steps before each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Annotated

from pydantic import Field

from compact_bench.api import Batch, Distiller, Tunable, torch


class LocalNaturalness(Distiller):
    """loss = NLL of the question's rationale with the lowest mean over steps s of NLL(s).

    NLL(s), nats a token, is the untrained student's of step s (a sentence or line) given only the
    `window` steps before it; the question stands before the first step as if it were one, so late
    steps don't see it. What `grape` scores over the whole text is scored where a step follows from
    its neighbours, which tells teachers apart that write differently. One scoring pass over all
    steps comes first, and its cost counts. Just, Ko & Jia, "Local Naturalness", 2025; the paper
    itself could not be checked. By the notes of a reimplementation (OpenThoughts-Agent,
    teacher_ranking_proxy, 7.3) steps are averaged there as here, but the window is a share of the
    steps before, 5 to 75%, and the task stands before every step.
    """

    name = "local_naturalness"
    version = 1
    reference = "arXiv:2510.03988"
    bibtex = """@misc{just2025distilling,
  title={Distilling Reasoning into Student LLMs: Local Naturalness for Selecting Teacher Data},
  author={Just, Hoang Anh and Ko, Myeongseob and Jia, Ruoxi},
  year={2025},
  eprint={2510.03988},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """window: how many steps before a step are read."""

        window: Annotated[int, Field(ge=1), Tunable(1, 8)] = 2

    def select(self, bank, student):
        """One rationale of each question."""
        teachers = bank.only_teachers(bank.teachers)
        # Few questions at a time: each rationale becomes as many rows as it has steps.
        scores = student.scores(teachers, lambda batch: self.local_nll(student, batch), size=2)
        return teachers.lowest(scores)

    def local_nll(self, student, batch: Batch):
        """(B,R) mean over a rationale's steps of their local NLL, nats a token."""
        places, rows = [], []
        for b, r in batch.present.nonzero().tolist():
            ids, end = batch.rationale_ids[b][r], batch.body_end[b][r]
            body = ids[:end] or ids  # an answer alone is a step as well
            prompt, ends = batch.prompt_ids[b], batch.step_ends[b][r]
            for context, step in local_steps(
                prompt, body, ends, self.config.window, student.encoder.bos
            ):
                places.append((b, r))
                rows.append((b, context, step))
        nll = student.forward(batch.rewritten(rows)).nll[:, 0]  # (N,)
        where = torch.tensor(places, device=nll.device).T  # (2,N)
        zeros = torch.zeros(batch.teacher.shape, device=nll.device)
        total = zeros.index_put(tuple(where), nll, accumulate=True)
        return total / zeros.index_put(tuple(where), torch.ones_like(nll), accumulate=True)


def local_steps(
    prompt: list[int], body: list[int], ends: list[int], window: int, bos: Sequence[int] = ()
) -> list[tuple[list[int], list[int]]]:
    """(context, step) token ids for each step of a rationale, the prompt counting as a step.

    ends: how many of the body's tokens each step and all before it use; what comes after the last
    one belongs to it. bos: opens a context that doesn't begin with the prompt.
    """
    pieces = [prompt, *(body[a:b] for a, b in pairwise([0, *ends[:-1], len(body)]))]
    steps = []
    for place in range(1, len(pieces)):
        first = max(0, place - window)
        context = [*(bos if first else ()), *chain.from_iterable(pieces[first:place])]
        steps.append((context, pieces[place]))
    return steps
