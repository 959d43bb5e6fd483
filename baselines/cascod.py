"""A chain of thought in two parts: the rationale from the question, the answer from both."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from compact_bench.api import Batch, Decoding, Distiller, Step, Tunable, uniform


class CasCoD(Distiller):
    """loss = 1/R sum_r [(1 - alpha) CE(r given q) + alpha CE(a given q, r)], nats a token.

    r is a rationale without its answer, a the gold answer; each part has its own mean over tokens,
    so that a short answer is not drowned by a long rationale. Dai et al., "Improve Student's
    Reasoning Generalizability through Cascading Decomposed CoTs Distillation", EMNLP 2024;
    alpha = 0.1 is what the script of their release sets. There one teacher, here the mean over
    teachers, their wrong rationales included. The student writes the rationale in one pass and
    the answer in a second.
    """

    name = "cascod"
    version = 1
    reference = "arXiv:2405.19842"
    bibtex = """@inproceedings{dai2024improve,
  title={Improve Student's Reasoning Generalizability through Cascading Decomposed CoTs
         Distillation},
  author={Dai, Chengwei and Li, Kun and Zhou, Wei and Hu, Songlin},
  booktitle={Proceedings of EMNLP},
  year={2024},
  eprint={2405.19842},
  archivePrefix={arXiv}
}"""
    uses_gold = True

    class Config(Distiller.Config):
        """alpha: the answer's share of the loss."""

        alpha: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.1

    def loss(self, student, batch: Batch) -> Step:
        """Two forwards, each with one row a rationale."""
        rationale = student.forward(batch, target="rationale").nll  # (B,R)
        answer = student.forward(batch, target="answer", context="question+rationale").nll
        alpha, weights = self.config.alpha, uniform(batch.present)
        both = (1 - alpha) * rationale + alpha * answer
        return Step(
            loss=(weights * both).sum(-1).mean(),
            weights=weights,
            nll=rationale.detach(),
            logs={"answer_nll": float((weights * answer.detach()).sum(-1).mean())},
        )

    def decoding(self) -> Decoding:
        """The rationale first, the answer in a pass of its own."""
        return Decoding(passes=2)
