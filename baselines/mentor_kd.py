"""Right rationales of all teachers, and a mentor model's distributions over their tokens."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Run, Step, Tunable, fusion, uniform


class MentorKD(Distiller):
    """loss = 1/R sum_r [(1 - lambda) NLL_r + lambda KL_r], mean over questions.

    KL_r = mean over r's target tokens t of KL(p_m^T(. | q, r_<t), p^T(. | q, r_<t)), nats a token:
    p_m the mentor's, p the student's distribution, both from logits over T. Without the usual
    factor T^2, and with lambda = 0.3, T = 2: as the released script has it. Only rationales that
    end in the gold answer are read, as there.

    The mentor is a model of the student's tokenizer, larger and already fine-tuned for the task,
    that is named by its id or folder. The rationales that it adds are a teacher of the bank like
    any other: they are written before the run, not here.

    Cost: a forward pass of the mentor (2N FLOPs a token, N its parameters), and the logits
    (B,R,T,V) of both.
    """

    name = "mentor_kd"
    version = 1
    reference = "arXiv:2410.09037"
    bibtex = """@inproceedings{lee2024mentor,
  title={{Mentor-KD}: Making Small Language Models Better Multi-step Reasoners},
  author={Lee, Hojae and Kim, Junho and Lee, SangKeun},
  booktitle={Proceedings of EMNLP},
  year={2024},
  eprint={2410.09037},
  archivePrefix={arXiv}
}"""
    uses_gold = True
    needs = frozenset({"logits:target", "teacher_logits"})

    class Config(Distiller.Config):
        """mentor: hub id, folder or GGUF file; mix: lambda; temperature: T."""

        mentor: str = ""
        mix: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.3
        temperature: Annotated[float, Field(gt=0), Tunable(0.5, 5)] = 2.0

    def skip(self, run: Run) -> str | None:
        """Skips without a mentor whose logits can be compared with the student's."""
        if not self.config.mentor:
            return "no mentor is named: a larger model with the student's tokenizer"
        if not run.same_tokenizer(self.config.mentor):
            return f"the tokenizer of mentor {self.config.mentor!r} is not the student's"
        return None

    def select(self, bank, student):
        """The rationales with the right answer."""
        teachers = bank.only_teachers(bank.teachers)
        return teachers.keep(teachers.rationales["right"].to_numpy())

    def fit(self, trainer) -> None:
        """Loads the mentor, then trains."""
        trainer.load_teacher(self.config.mentor)
        trainer.run(self)

    def loss(self, student, batch: Batch) -> Step:
        """One forward of the student and one of the mentor."""
        config = self.config
        out = student.forward(batch, needs=self.needs)
        divergence = fusion.token_divergence(
            out.teacher_logits, out.logits, out.lengths, config.temperature
        )
        weights = uniform(batch.present)
        rows = (1 - config.mix) * out.nll + config.mix * divergence  # (B,R)
        return Step(
            loss=(weights * rows).sum(-1).mean(),
            weights=weights,
            nll=out.nll.detach(),
            logs={"kl_to_mentor": float((weights * divergence.detach()).sum(-1).mean())},
        )
