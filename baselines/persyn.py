"""For each question the teacher that a router expects to write what suits the student."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from statistics import fmean

from pydantic import Field

from compact_bench.api import Annotated, Distiller, Tunable, routing, torch

RIDGE = 0.01


class PerSyn(Distiller):
    """loss = NLL of the question's rationale by the teacher k with the highest s_k(q).

    s_k(q) = u_k . x(q) + c_k, x: the question's mean state at the untrained student's middle
    layer, each coordinate standardised. On a share of the questions, all rationales get a reward
    r = quality z(right) + (1 - quality) z(log p), right: ends in the gold answer (1 or 0), log p:
    mean log-likelihood a token under the untrained student, z: standardised over these rationales;
    a teacher's is the mean over its samples. u and c minimise the Bradley-Terry loss
    mean -log sigmoid(s_i(q) - s_j(q)) over the pairs r_i > r_j, plus 0.01 / 2 |u|^2. Then every
    question is routed, those with rewards too; a teacher that lacks the question stands back.

    Zhang et al., "Find Your Optimal Teacher", ACL 2026: the route-then-generate router by query,
    the reward of quality and learnability, and the Bradley-Terry router are theirs, by abstract and
    summaries. The paper's equations could not be read: quality is a reward model there, the router
    a language model; standardising, linear scores, the ridge, `quality` and `share` are ours. Here
    all teachers have written already; of the questions without a reward one rationale is read.
    """

    name = "persyn"
    version = 1
    reference = "arXiv:2510.10925"
    bibtex = """@inproceedings{zhang2026find,
  title={Find Your Optimal Teacher: Personalized Data Synthesis via Router-Guided Multi-Teacher
         Distillation},
  author={Zhang, Hengyuan and Yang, Shiping and Liang, Xiao and Shang, Chenming and
          Jiang, Yuxuan and Tao, Chaofan and Xiong, Jing and So, Hayden Kwok-Hay and
          Xie, Ruobing and Chang, Angel X. and Wong, Ngai},
  booktitle={Proceedings of ACL},
  year={2026},
  eprint={2510.10925},
  archivePrefix={arXiv}
}"""
    uses_gold = True

    class Config(Distiller.Config):
        """quality: its share of the reward. share: of the questions, those with rewards."""

        quality: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.5
        share: Annotated[float, Field(gt=0, le=1), Tunable(0.1, 1)] = 0.5

    def select(self, bank, student):
        """One rationale of each question."""
        teachers = bank.only_teachers(bank.teachers)
        ids = sorted(teachers.questions["question_id"])  # hashes: any order is as good
        rewarded = teachers.keep(ids[: max(1, round(self.config.share * len(ids)))])
        rewards = self._rewards(rewarded, student)
        known = routing.question_states(student, teachers)
        states = standardised(torch.stack(list(known.values())).double())  # (Q,D)
        place = {question: i for i, question in enumerate(known)}
        names = bank.teachers
        wins = [
            (place[question], *((i, j) if row[names[i]] > row[names[j]] else (j, i)))
            for question, row in rewards.items()
            for i, j in combinations(range(len(names)), 2)
            if names[i] in row and names[j] in row and row[names[i]] != row[names[j]]
        ]
        scores = bradley_terry(states, wins, len(names)).tolist()
        columns = (teachers.rationales[c] for c in ("question_id", "teacher", "sample"))
        return teachers.lowest(
            {
                (question, name, sample): -scores[place[question]][names.index(name)]
                for question, name, sample in zip(*columns, strict=True)
                if question in place
            }
        )

    def _rewards(self, bank, student) -> dict[str, dict[str, float]]:
        """question_id -> teacher -> reward."""
        nll = student.scores(bank, lambda batch: student.forward(batch).nll)
        right = bank.rationales.set_index(["question_id", "teacher", "sample"])["right"]
        quality = torch.tensor([float(right[key]) for key in nll], dtype=torch.float64)
        likelihood = -torch.tensor(list(nll.values()), dtype=torch.float64)
        share = self.config.quality
        values = share * standardised(quality) + (1 - share) * standardised(likelihood)
        rewards: dict = defaultdict(lambda: defaultdict(list))
        for (question, name, _), value in zip(nll, values.tolist(), strict=True):
            rewards[question][name].append(value)
        return {q: {name: fmean(some) for name, some in row.items()} for q, row in rewards.items()}


def standardised(values):
    """(n,...) with mean 0 and standard deviation 1 over n, or all 0 where they are equal."""
    return (values - values.mean(0)) / values.std(0, correction=0).clamp_min(1e-6)


def bradley_terry(states, wins: list[tuple[int, int, int]], teachers: int):
    """(Q,K) scores s_k(q) = u_k . x_q + c_k that make the wins likeliest, with a ridge on u.

    states: (Q,D) float64; wins: (question, winner, loser). All 0 without a win.
    """
    weights = torch.zeros(teachers, states.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    padded = torch.cat([states, torch.ones_like(states[:, :1])], dim=1)  # (Q,D+1)
    if wins:
        question, winner, loser = torch.tensor(wins).T
        optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            scores = padded @ weights.T
            margin = scores[question, winner] - scores[question, loser]
            loss = torch.nn.functional.softplus(-margin).mean()
            loss = loss + RIDGE / 2 * weights[:, :-1].square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
    return (padded @ weights.T).detach()
