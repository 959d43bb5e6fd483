"""The one teacher whose rationales give the untrained student the steadiest gradients."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from compact_bench.api import Annotated, Distiller, torch, weight_space

SPLITS, HELD_OUT, SMOOTHING = 10, 0.1, 1e-3


class Grace(Distiller):
    """loss = CE(r_k* + a_k* given q), k* = argmin_k GRACE(k), chosen before training.

    GRACE(k) = mean over random splits of teacher k's questions of tr(M^-1 S):
    S = mean of g g' over the held-out tenth, M = (1 - c) N + c tr(N) / d I, N = mean of
    g g' / |g|^2 over the others, c = 0.001. g: (d,) projection of the untrained student's gradient
    of a rationale's mean NLL over the trained parameters. It is low where gradients are small and
    those of other questions span them; no gold answer, verifier or teacher model is needed.

    The score, its 10 splits, c and d = 512 are those of the released GRACE_computation.py and
    grace.sh (512 questions, 4 rationales each), which rescale no gradient by its text's length.
    They project by a dense random matrix; here each weight is added to one of d places with a
    random sign, which keeps inner products as well and needs no P x d numbers. With fewer
    rationales than d the smoothing decides more than there. Panigrahi et al., ICLR 2026.

    Cost: a forward and backward pass over `questions` of each teacher, counted as spent on
    choosing; d x (questions + d) numbers.
    """

    name = "grace"
    version = 1
    reference = "arXiv:2511.02833"
    bibtex = """@inproceedings{panigrahi2026good,
  title={In Good {GRACE}s: Principled Teacher Selection for Knowledge Distillation},
  author={Panigrahi, Abhishek and Liu, Bingbin and Malladi, Sadhika and Kakade, Sham and
          Goel, Surbhi},
  booktitle={International Conference on Learning Representations},
  year={2026},
  eprint={2511.02833},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """questions: of each teacher, at most. dimension: d."""

        questions: Annotated[int, Field(ge=2)] = 100
        dimension: Annotated[int, Field(ge=1)] = 512

    def select(self, bank, student):
        """The rationales of the teacher with the lowest score."""
        scores = {}
        for name in bank.teachers:
            own = bank.only_teachers([name])
            ids = sorted(own.questions["question_id"])[: self.config.questions]
            scores[name] = grace(self.projected(own.keep(ids), student))
        return bank.only_teachers([min(scores, key=scores.__getitem__)])

    def projected(self, bank, student) -> list[np.ndarray]:
        """The projected gradients of each question's rationales, (n,d) float64 each."""
        size = sum(p.numel() for p in student.trainable().values())
        draw = torch.Generator().manual_seed(0)
        place = torch.randint(self.config.dimension, (size,), generator=draw).to(student.device)
        sign = torch.randint(2, (size,), generator=draw).to(student.device) * 2 - 1
        by_question: dict[str, list] = {}
        for batch in student.batches(bank):
            for b, _, gradient in weight_space.rationale_gradients(student, batch):
                sketch = gradient.new_zeros(self.config.dimension)
                sketch = sketch.index_add(0, place, sign * gradient)
                by_question.setdefault(batch.question_id[b], []).append(sketch.double().cpu())
        return [torch.stack(rows).numpy() for rows in by_question.values()]


def grace(gradients: list[np.ndarray]) -> float:
    """The score of one teacher's gradients by question, (n,d) each; inf for a single question."""
    count = len(gradients)
    held_out = max(1, int(count * HELD_OUT))
    if count <= held_out:
        return math.inf
    scores = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(count)
        train = np.concatenate([gradients[i] for i in order[:-held_out]])
        test = np.concatenate([gradients[i] for i in order[-held_out:]])
        train = train / np.linalg.norm(train, axis=1, keepdims=True).clip(1e-12)
        moment, other = train.T @ train / len(train), test.T @ test / len(test)
        size = len(moment)
        smooth = (1 - SMOOTHING) * moment + SMOOTHING * np.trace(moment) / size * np.eye(size)
        scores.append(np.trace(np.linalg.solve(smooth, other)))
    return float(np.mean(scores))
