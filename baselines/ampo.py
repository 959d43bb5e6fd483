"""Reinforcement of the student's own right rationales, with teachers' where all of them fail."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Step, torch


class AMPO(Distiller):
    """loss = -1/G sum_i A_i mean_t f_it, A_i = (R_i - mean R) / std R over a group of G rationales.

    A question's group is what the student writes for it at temperature 1; R is 1 for the gold
    answer and 0 else. Where all fail, the last `guides` of them give way to teachers' right
    rationales, those after which the student finds the gold answer likeliest: exp of its mean log
    p(a given q, r), nats a token. f is p / p_old for own tokens, with p_old the student's as it
    wrote them (a step follows each writing, so that nothing is clipped), and p / (p + gamma) for a
    teacher's. A question whose group is all right, or all wrong without a right teacher, adds
    nothing. The first half of the budget is the average over the teachers' rationales, since a
    student that is never right has nothing to reinforce; theirs is an instructed model that solves
    a part of the questions, and has no such stage.

    Yuan et al., "More Than One Teacher", 2025 (AMPO): replacement on failure, and the choice by
    comprehension. Its full text was not at hand: the groups' size and number of guides, and the
    exact form of the comprehension score, are ours. The shaping of teachers' tokens with gamma =
    0.1 is that of LUFFY (Yan et al., arXiv:2504.14945), on which AMPO builds; advantages are
    GRPO's (Shao et al., arXiv:2402.03300), without its KL term.

    Cost: the sampling, a forward and backward pass over a group, and where all fail a forward over
    the right teachers.
    """

    name = "ampo"
    version = 1
    reference = "arXiv:2510.02227"
    bibtex = """@misc{yuan2025more,
  title={More Than One Teacher: Adaptive Multi-Guidance Policy Optimization for Diverse
         Exploration},
  author={Yuan, Xiaoyang and Ding, Yujuan and Bin, Yi and Shao, Wenqi and Cai, Jinyu and
          Song, Jingkuan and Yang, Yang and Shen, Heng Tao},
  year={2025},
  eprint={2510.02227},
  archivePrefix={arXiv}
}"""
    uses_gold = True

    class Config(Distiller.Config):
        """group: G; guides: teachers' rationales in a group that fails, at most; gamma: of theirs;
        0 guides is GRPO; first: the share of the budget before the student writes."""

        group: Annotated[int, Field(ge=2)] = 8
        guides: Annotated[int, Field(ge=0)] = 2
        gamma: Annotated[float, Field(gt=0)] = 0.1
        first: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def fit(self, trainer) -> None:
        """The average at first, then reinforcement."""
        first, self.writes = self.config.first, False
        if first:
            trainer.run(self, stage="average", part=(0.0, first))
        self.writes = True
        trainer.run(self, stage="reinforcement", part=(first, 1.0))

    def loss(self, student, batch: Batch) -> Step:
        """Writes, judges, asks for guides, and takes the step's two forwards."""
        if not self.writes:
            return super().loss(student, batch)
        size = self.config.group
        own = student.sample(batch, size).batch
        right = own.right  # (B,G)
        guides = self.guides(student, batch, ~right.any(-1))  # (B,R)
        # The last own ones give way, as many as there are guides.
        place = torch.arange(size, device=right.device)
        kept = own.present & (place < size - guides.sum(-1, keepdim=True))
        advantage, of_guides = advantages(right, kept, guides)
        kept, guides = kept & (advantage != 0), guides & (of_guides != 0)
        loss = torch.zeros((), device=right.device)
        if bool(kept.any()):
            nll = student.forward(own.restrict(kept)).nll
            # d(p / p_old) = d log p where p = p_old.
            loss = loss + (advantage * kept * nll).sum() / size
        if bool(guides.any()):
            out = student.forward(batch.restrict(guides), needs={"token_nll"})
            p = (-out.token_nll).exp()  # (B,R,T)
            real = torch.arange(p.shape[-1], device=p.device) < out.lengths[..., None]
            shaped = (p / (p + self.config.gamma) * real).sum(-1) / out.lengths.clamp_min(1)
            loss = loss - (of_guides * guides * shaped).sum() / size
        guided = guides.any(-1).float().mean()
        logs = {"right": float(right.float().mean()), "guided": float(guided)}
        return Step(loss=loss / len(batch.questions), logs=logs)

    def guides(self, student, batch: Batch, failed):
        """(B,R) bool: the teachers' rationales that stand in for own ones. failed: (B,) bool."""
        right = batch.right & failed[:, None]
        count = min(self.config.guides, self.config.group - 1)
        if not count or not bool(right.any()):
            return torch.zeros_like(right)
        asked = batch.restrict(right)
        with torch.no_grad():
            nll = student.forward(asked, target="answer", context="question+rationale").nll
        order = nll.masked_fill(~right, torch.inf).argsort(dim=-1, stable=True)
        return right & (order.argsort(dim=-1) < count)  # by rank


def advantages(right, kept, guides):
    """(B,G) of own and (B,R) of teachers' rationales, (R - mean) / std over each question's group.

    right, kept: (B,G) bool, of own ones that end in the gold answer and that are in the group;
    guides: (B,R) bool, the teachers' in the group, all of them right. 0 outside a group, and where
    all in it have one reward. The standard deviation is the population's.
    """
    size = kept.sum(-1, keepdim=True) + guides.sum(-1, keepdim=True)  # (B,1)
    mean = ((right & kept).sum(-1, keepdim=True) + guides.sum(-1, keepdim=True)) / size
    spread = (mean * (1 - mean)).sqrt()
    differs = spread > 0
    scale = torch.where(differs, spread, torch.ones_like(spread))
    own = (right.to(mean.dtype) - mean) / scale * kept * differs
    return own, (1 - mean) / scale * guides * differs
