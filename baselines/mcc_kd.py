"""Diverse right rationales whose answers the student must predict alike."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated

from pydantic import Field

from compact_bench.api import Batch, Distiller, Step, Tunable, fusion, torch, uniform


class MCCKD(Distiller):
    """loss = (NLL_i + NLL_j) / 2 + alpha/2 [KL(p_i, p_j) + KL(p_j, p_i)] for a random pair i, j.

    p_i are the student's distributions at the answer's tokens after rationale i; KL is the mean
    over them, nats. Before training, a question's right rationales are thinned out to the most
    diverse ones: lowest Jaccard similarity of their word n-grams. Chen et al., "MCC-KD", EMNLP
    Findings 2023. alpha = 0.1 is the default of the released train_mcc.py; its script for GSM8K has
    alpha = 0.01. 3 rationales are kept, the fewest of which a pair can be drawn: the default
    there, 2 (diversity), of many samples would here be the same pair at every step. The code that
    thins out is not released, and n = 3 could not be checked in the paper. A question with one
    right rationale has no pair and is trained without the second term.
    """

    name = "mcc_kd"
    version = 2  # of 1, two rationales were kept, so that no pair was ever drawn
    reference = "arXiv:2310.14747"
    bibtex = """@inproceedings{chen2023mcckd,
  title={MCC-KD: Multi-CoT Consistent Knowledge Distillation},
  author={Chen, Hongzhan and Wu, Siyue and Quan, Xiaojun and Wang, Rui and Yan, Ming and
          Zhang, Ji},
  booktitle={Findings of EMNLP},
  pages={6805--6820},
  year={2023},
  eprint={2310.14747},
  archivePrefix={arXiv}
}"""
    uses_gold = True
    needs = frozenset({"logits"})

    class Config(Distiller.Config):
        """alpha: of the divergence. keep: rationales a question. words: n of the n-grams."""

        alpha: Annotated[float, Field(ge=0), Tunable(0.01, 10, log=True)] = 0.1
        keep: Annotated[int, Field(ge=2)] = 3
        words: Annotated[int, Field(ge=1)] = 3

    def select(self, bank, student):
        """The most diverse of each question's right rationales."""
        teachers = bank.only_teachers(bank.teachers)
        right = teachers.keep(teachers.rationales["right"].to_numpy())
        keep, words = self.config.keep, self.config.words
        chosen = []
        for _, group in right.rationales.groupby("question_id", sort=False):
            texts = group["text"].tolist()
            chosen += [group.index[i] for i in most_diverse(texts, keep, words)]
        return right.keep(right.rationales.index.isin(chosen))

    def rows(self, batch: Batch):
        """(B,R) bool: two rationales a question, drawn with the batch's generator."""
        present = batch.present.cpu()
        draw = torch.rand(present.shape, generator=batch.generator).masked_fill(~present, -1.0)
        pair = draw.topk(min(2, present.shape[-1]), dim=-1).indices  # (B,2)
        chosen = torch.zeros_like(present).scatter(1, pair, True)
        return (chosen & present).to(batch.teacher.device)

    def loss(self, student, batch: Batch) -> Step:
        """One forward gives the pair's losses and its predictions of the answer."""
        batch = batch.restrict(self.rows(batch))
        out = student.forward(batch, needs={"logits:answer"})
        weights, real = uniform(batch.present), batch.answer_tokens(out.lengths)
        terms = [
            # Both directions are added up in there; their mean is wanted.
            0.5 * fusion.consistency(out.logits[b, pair], real[b, pair], torch.ones(2), 0.0)
            if int(pair.sum()) == 2
            else out.nll.new_zeros(())
            for b, pair in enumerate(batch.present)
        ]
        divergence = torch.stack(terms)  # (B,)
        loss = (weights * out.nll).sum(-1) + self.config.alpha * divergence
        return Step(
            loss=loss.mean(),
            weights=weights,
            nll=out.nll.detach(),
            logs={"divergence": float(divergence.detach().mean())},
        )


def jaccard(a: str, b: str, words: int) -> float:
    """Shared word n-grams of two texts over all of theirs; 1 where neither has any."""
    first, second = (
        {tuple(text.split()[i : i + words]) for i in range(len(text.split()) - words + 1)}
        for text in (a, b)
    )
    return len(first & second) / len(first | second) if first | second else 1.0


def most_diverse(texts: list[str], count: int, words: int) -> list[int]:
    """Places of `count` texts: the least similar pair, then the least similar to any chosen."""
    if len(texts) <= count:
        return list(range(len(texts)))
    alike = {
        pair: jaccard(texts[pair[0]], texts[pair[1]], words)
        for pair in combinations(range(len(texts)), 2)
    }
    least = min(alike, key=alike.__getitem__)
    chosen = [*least]
    while len(chosen) < count:
        others = [i for i in range(len(texts)) if i not in chosen]
        chosen.append(min(others, key=lambda i: max(alike[min(i, j), max(i, j)] for j in chosen)))
    return sorted(chosen)
