"""One rationale a question, of the teacher that one of five purifiers names: a row for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from compact_bench.api import (
    Annotated,
    Batch,
    Decoding,
    Distiller,
    Run,
    Step,
    Tunable,
    routing,
    torch,
    uniform,
)

REASONS = {
    "classifier": "needs a pretrained encoder and questions labelled with their best teacher",
    "aggregation": "needs a large model that writes one rationale of several",
    "rl": "needs students trained for the reward of a teacher's choice",
}


class KnowledgePurification(Distiller):
    """loss = CE(a given [predict] q) + lambda CE(r given [explain] q), r the one that is kept.

    Each question ranks its teachers by the untrained student's NLL of the gold answer after their
    rationale, the least first. x(q): the mean state over the question's tokens at the student's
    middle layer, centred over the questions. Whom a purifier names is asked of the question alone:
    similarity: argmax_k cos(x(q), e_k), where the teachers' embeddings e minimise the mean over
        questions of -log softmax_k(cos(x(q), e_k)) at the first of the ranking, among the
        question's teachers: RouterDC's loss between a query and models, its encoder not trained.
    plackett_luce: argmax_k v_k(q), the worths of P(ranking) = prod_i v_i / sum_{j >= i} v_j that
        make all questions' rankings likeliest, where question i counts 10^(1 + cos(x(q), x(q_i))):
        the similarity-weighted ranking of RouteLLM.
    A teacher that lacks the question stands back. The other purifiers need models that a run
    doesn't have, and skip. The student answers at once, as it is trained to.

    Jin et al., ICLR 2026. The paper's equations could not be read: that worths are weighted by the
    similarity of questions, that the router reads the question, and the loss of two terms are
    theirs; the formulas are those of the released RouteLLM and RouterDC; how rankings come about,
    one positive for each question and lambda = 1 are ours.
    """

    name = "knowledge_purification"
    version = 2  # of 1, one worth for all questions, a router that read rationales, one loss term
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
    uses_gold = True

    class Config(Distiller.Config):
        """variant: which purifier; empty stands for all, a row each. mix: lambda."""

        variant: Literal["", "similarity", "plackett_luce", "classifier", "aggregation", "rl"] = ""
        mix: Annotated[float, Field(ge=0), Tunable(0.1, 10, log=True)] = 1.0

    @classmethod
    def variants(cls, config, teachers: Sequence[str]) -> list:
        """A config for each purifier, unless one is named."""
        names = [config.variant] if config.variant else ["similarity", "plackett_luce", *REASONS]
        return [config.model_copy(update={"variant": name}) for name in names]

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
        rankings = self._rankings(teachers, student)
        known = routing.question_states(student, teachers)
        states = torch.stack([known[question] for question in rankings]).double()  # (Q,D)
        states = torch.nn.functional.normalize(states - states.mean(0), dim=-1)
        score = embedding_scores if self.config.variant == "similarity" else weighted_worths
        scores = score(states, list(rankings.values()), len(bank.teachers)).tolist()
        by_question = dict(zip(rankings, scores, strict=True))
        columns = (teachers.rationales[c] for c in ("question_id", "teacher", "sample"))
        return teachers.lowest(
            {
                (question, name, sample): -by_question[question][bank.teachers.index(name)]
                for question, name, sample in zip(*columns, strict=True)
                if question in by_question
            }
        )

    def _rankings(self, teachers, student) -> dict[str, tuple[int, ...]]:
        """question_id -> its teachers' indices, the best first; a teacher's best sample counts."""
        after = {"target": "answer", "context": "question+rationale"}
        nll = student.scores(teachers, lambda batch: student.forward(batch, **after).nll)
        rankings: dict = defaultdict(dict)
        for question, teacher, _ in sorted(nll, key=nll.__getitem__):
            rankings[question].setdefault(teachers.teachers.index(teacher))
        return {question: tuple(ranking) for question, ranking in rankings.items()}

    def loss(self, student, batch: Batch) -> Step:
        """Two forwards: one row a question, and one a rationale."""
        answer = student.forward(batch, target="answer", prompt="predict").nll[:, 0]  # (B,)
        rationale = student.forward(batch, target="rationale", prompt="explain").nll  # (B,R)
        weights = uniform(batch.present)
        loss = answer + self.config.mix * (weights * rationale).sum(-1)
        return Step(
            loss=loss.mean(),
            weights=weights,
            nll=rationale.detach(),
            logs={"answer_nll": float(answer.detach().mean())},
        )

    def decoding(self) -> Decoding:
        """The answer at once."""
        return Decoding(prompt="predict")


def embedding_scores(states, rankings, teachers: int):
    """(Q,K) cosines of questions and the teachers' trained embeddings.

    states: (Q,D) float64, each of length 1; rankings: of each question, its teachers best first.
    """
    draw = torch.Generator().manual_seed(0)
    size = (teachers, states.shape[1])
    embeddings = torch.randn(size, generator=draw, dtype=torch.float64).requires_grad_()
    absent = torch.ones(len(states), teachers, dtype=torch.bool)
    for row, ranking in zip(absent, rankings, strict=True):
        row[list(ranking)] = False
    best = torch.tensor([ranking[0] for ranking in rankings])
    optimizer = torch.optim.LBFGS([embeddings], max_iter=100, line_search_fn="strong_wolfe")

    def cosines():
        return states @ torch.nn.functional.normalize(embeddings, dim=-1).T

    def closure():
        optimizer.zero_grad()
        logits = cosines().masked_fill(absent, float("-inf"))
        loss = torch.nn.functional.cross_entropy(logits, best)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return cosines().detach()


def weighted_worths(states, rankings, teachers: int):
    """(Q,K) worths of the teachers for each question; arguments as for `embedding_scores`."""
    kinds = list(dict.fromkeys(rankings))
    member = torch.zeros(len(rankings), len(kinds), dtype=torch.float64)
    member[range(len(rankings)), [kinds.index(ranking) for ranking in rankings]] = 1
    return plackett_luce(10 ** (1 + states @ states.T) @ member, kinds, teachers)


def plackett_luce(weights, rankings: list[tuple[int, ...]], items: int, rounds: int = 300):
    """(N,K) worths that make the rankings most likely in each of N fits; they add up to 1.

    Hunter's minorisation-maximisation (Annals of Statistics, 2004): v_k = (rankings in which k is
    not last) / sum over the places where k could have been chosen of 1 / (worths left there).
    weights: (N,M) float64, how much each of M rankings counts in each fit.
    """
    worth = torch.full((len(weights), items), 1 / items, dtype=torch.float64)
    wins = torch.zeros_like(worth)
    for ranking, weight in zip(rankings, weights.T, strict=True):
        for winner in ranking[:-1]:
            wins[:, winner] += weight
    for _ in range(rounds):
        chances = torch.zeros_like(worth)
        for ranking, weight in zip(rankings, weights.T, strict=True):
            for place in range(len(ranking) - 1):
                left = list(ranking[place:])
                chances[:, left] += (weight / worth[:, left].sum(-1))[:, None]
        worth = torch.where(chances > 0, wins / chances, worth)
        worth = worth / worth.sum(-1, keepdim=True)
    return worth
