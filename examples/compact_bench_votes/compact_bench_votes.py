"""Rationales weighted by the votes for their answer."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Tunable, torch


class Votes(Distiller):
    """loss = sum_r w_r NLL_r, w_r = v_r^alpha / sum_s v_s^alpha, mean over questions.

    v_r: how many of the question's rationales end in the same answer as r, itself included; one
    without an answer has its own vote alone. NLL_r: nats a token. alpha = 0 weighs all rationales
    equally; a large alpha keeps those of the most frequent answer alone. No gold answer is seen.

    Wang et al., "Self-Consistency Improves Chain of Thought Reasoning", ICLR 2023, take the most
    frequent answer when a model is asked; that its votes may weigh training texts, and alpha = 1,
    are ours.
    """

    name = "votes"
    version = 1
    reference = "arXiv:2203.11171"
    bibtex = """@inproceedings{wang2023selfconsistency,
  title={Self-Consistency Improves Chain of Thought Reasoning in Language Models},
  author={Wang, Xuezhi and Wei, Jason and Schuurmans, Dale and Le, Quoc V. and Chi, Ed H. and
          Narang, Sharan and Chowdhery, Aakanksha and Zhou, Denny},
  booktitle={International Conference on Learning Representations},
  year={2023},
  eprint={2203.11171},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """alpha: how much a vote counts."""

        alpha: Annotated[float, Field(ge=0), Tunable(0, 8)] = 1.0

    def weights(self, out, batch: Batch):
        """(B,R) float32, rows sum to 1 over what is present."""
        power = votes(batch.answers, batch.present) ** self.config.alpha
        power = power * batch.present  # 0 ** 0 is 1: absent ones have no vote
        return power / power.sum(-1, keepdim=True)


def votes(answers, present):
    """(B,R) float32: rationales of the question with the same answer, itself included; 0 if absent.

    answers: (B,R) int64, equal for equal answers, -1 for none; present: (B,R) bool.
    """
    same = answers[:, :, None] == answers[:, None, :]  # (B,R,R)
    same = same & (answers >= 0)[:, :, None]
    itself = torch.eye(answers.shape[1], dtype=torch.bool, device=answers.device)
    both = present[:, :, None] & present[:, None, :]
    return ((same | itself) & both).sum(-1).to(torch.float32)
