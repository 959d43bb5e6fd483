"""One rationale a question, chosen by one of five purifiers: a row for each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

from compact_bench.api import Distiller, Run, torch

REASONS = {
    "classifier": "needs a pretrained encoder and questions labelled with their best teacher",
    "aggregation": "needs a large model that writes one rationale of several",
    "rl": "needs students trained for the reward of a teacher's choice",
}


class KnowledgePurification(Distiller):
    """loss = NLL of the one rationale that the purifier keeps of each question.

    similarity: the highest cosine of the question's and the rationale's mean state at the
    untrained student's middle layer, centred over the bank (the paper trains an encoder for it).
    plackett_luce: the teacher of highest worth v, P(ranking) = prod_i v_i / sum_{j >= i} v_j,
    fitted to each question's ranking of teachers by the untrained student's NLL of the gold answer
    after their rationale (no other variant sees gold; how the paper ranks could not be checked).
    The other variants need models that a run doesn't have, and skip. Jin et al., ICLR 2026.
    """

    name = "knowledge_purification"
    version = 1
    reference = "arXiv:2602.01064"
    bibtex = """@inproceedings{jin2026exploring,
  title={Exploring Knowledge Purification in Multi-Teacher Knowledge Distillation for LLMs},
  author={Jin, Ruihan and Shao, Pengpeng and Wen, Zhengqi and Wu, Jinyang and Feng, Mingkuan and
          Yang, Shuo and Zhang, Chu Yuan and Tao, Jianhua},
  booktitle={International Conference on Learning Representations},
  year={2026},
  eprint={2602.01064},
  archivePrefix={arXiv}
}"""
    uses_gold = True  # the plackett_luce variant

    class Config(Distiller.Config):
        """variant: which purifier; empty stands for all, a row each."""

        variant: Literal["", "similarity", "plackett_luce", "classifier", "aggregation", "rl"] = ""

    @classmethod
    def variants(cls, config, teachers: Sequence[str]) -> list:
        """A config for each purifier, unless one is named."""
        names = [config.variant] if config.variant else ["similarity", "plackett_luce", *REASONS]
        return [config.model_copy(update={"variant": name}) for name in names]

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.uses_gold = self.config.variant == "plackett_luce"

    @property
    def label(self) -> str:
        """Names the purifier."""
        return f"{self.name}[{self.config.variant}]"

    def skip(self, run: Run) -> str | None:
        """Skips the purifiers that need more than a run has."""
        return REASONS.get(self.config.variant)

    def select(self, bank, student):
        """One rationale of each question."""
        teachers = bank.only_teachers(bank.teachers)
        score = self._similarity if self.config.variant == "similarity" else self._worth
        with torch.no_grad():
            return teachers.lowest(score(teachers, student))

    def _similarity(self, teachers, student) -> dict:
        """Minus the cosine of question and rationale, by rationale."""
        layer = f"states:mean:{student.layers // 2}"
        keys, questions, repeated, rationales = [], [], [], []
        for batch in student.batches(teachers):
            states = student.forward(batch, needs={layer}).states  # (B,R,D)
            prompts = [(b, ids[:1], ids[1:]) for b, ids in enumerate(batch.prompt_ids)]
            questions.append(student.forward(batch.rewritten(prompts), needs={layer}).states[:, 0])
            repeated.append(questions[-1][batch.present.nonzero()[:, 0]])  # (present,D)
            rationales.append(states[batch.present])
            keys += batch.by_rationale(states[..., 0])
        q = torch.cat(repeated).float() - torch.cat(questions).float().mean(0)  # (N,D)
        r = torch.cat(rationales).float()
        cosine = torch.nn.functional.cosine_similarity(q, r - r.mean(0), dim=-1)
        return dict(zip(keys, (-cosine).tolist(), strict=True))

    def _worth(self, teachers, student) -> dict:
        """Minus the worth of a rationale's teacher, by rationale."""
        after = {"target": "answer", "context": "question+rationale"}
        nll = student.scores(teachers, lambda batch: student.forward(batch, **after).nll)
        rankings: dict = defaultdict(dict)
        for question, teacher, _ in sorted(nll, key=nll.__getitem__):
            rankings[question].setdefault(teacher)  # a teacher's best sample counts
        worth = plackett_luce(rankings.values(), teachers.teachers)
        return {key: -worth[key[1]] for key in nll}


def plackett_luce(rankings, items, rounds: int = 500) -> dict[str, float]:
    """Worths that make the rankings (best first) most likely; they add up to 1.

    Hunter's minorisation-maximisation (Annals of Statistics, 2004): v_k = (rankings in which k is
    not last) / sum over the places where k could have been chosen of 1 / (worths left there).
    """
    worth = dict.fromkeys(items, 1 / len(items))
    counts = Counter(map(tuple, rankings))
    for _ in range(rounds):
        wins, chances = dict.fromkeys(items, 0.0), dict.fromkeys(items, 0.0)
        for ranking, count in counts.items():
            for place, winner in enumerate(ranking[:-1]):
                wins[winner] += count
                left = sum(worth[name] for name in ranking[place:])
                for name in ranking[place:]:
                    chances[name] += count / left
        worth = {k: wins[k] / chances[k] if chances[k] else worth[k] for k in items}
    return {k: v / sum(worth.values()) for k, v in worth.items()}
