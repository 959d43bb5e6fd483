"""Teachers that are models, asked about what the student writes: generalised distillation."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Run, Step, Tunable, torch, uniform


class GKD(Distiller):
    """loss = mean over models k and rows r of mean_t D(p_k(. | q, r_<t), p(. | q, r_<t)), nats.

    A batch's rows are the student's own, sampled at temperature 1 and without a gradient through
    the sampling, with probability lambda, and else the teachers' rationales (there a model that was
    made from a teacher's rationales is asked about that teacher's alone). D is KL(p_k, p)
    ("forward"), KL(p, p_k) ("reverse"), or with m = beta p_k + (1 - beta) p the generalised
    Jensen-Shannon divergence beta KL(p_k, m) + (1 - beta) KL(p, m) ("jsd").

    Agarwal et al., "On-Policy Distillation of Language Models", ICLR 2024, with one model; lambda
    and beta of 0.5 are among theirs. Their student is fine-tuned before, this one begins as it is.
    `models` names models with the student's tokenizer. Without any, the first half of the budget
    makes one of each teacher's rationales, copies of the student trained on them alone; "own" gives
    each of them a whole budget, and the student another.

    Cost: a forward of each model (2N FLOPs a token, N its parameters), the logits (B,R,T,V) of
    two models at a time, and what is sampled. What makes the models counts as spent on choosing.
    """

    name = "gkd"
    version = 1
    reference = "arXiv:2306.13649"
    bibtex = """@inproceedings{agarwal2024onpolicy,
  title={On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes},
  author={Agarwal, Rishabh and Vieillard, Nino and Zhou, Yongchao and Stanczyk, Piotr and
          Ramos, Sabela and Geist, Matthieu and Bachem, Olivier},
  booktitle={Proceedings of ICLR},
  year={2024},
  eprint={2306.13649},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """models: ids, folders or GGUF files; divergence, beta: D; on_policy: lambda; samples: own
        rationales a question; first, budget: what makes models where none is named."""

        models: tuple[str, ...] = ()
        divergence: Literal["forward", "reverse", "jsd"] = "jsd"
        beta: Annotated[float, Field(gt=0, lt=1), Tunable(0.1, 0.9)] = 0.5
        on_policy: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.5
        samples: Annotated[int, Field(ge=1)] = 1
        first: Annotated[float, Field(gt=0, lt=1)] = 0.5
        budget: Literal["matched", "own"] = "matched"

        def idle(self) -> set[str]:
            """Beta is the Jensen-Shannon divergence's alone, samples what is on policy."""
            unused = {"beta"} if self.divergence != "jsd" else set()
            unused |= {"samples"} if not self.on_policy else set()
            return unused | ({"first", "budget"} if self.models else set())

    def skip(self, run: Run) -> str | None:
        """Skips where a model can't be compared with the student, or has no step to be made in."""
        for model in self.config.models:
            if not run.same_tokenizer(model):
                return f"the tokenizer of model {model!r} is not the student's"
        made = not self.config.models and self.config.budget == "matched" and not run.by_flops
        if made and run.steps * self.config.first < len(run.teachers):
            return f"{len(run.teachers)} models to make in {run.steps} optimizer steps"
        return None

    def fit(self, trainer) -> None:
        """Loads or makes the models, then trains."""
        config = self.config
        self.owner: dict[str, int] = {}
        if config.models:
            trainer.load_teachers({model: model for model in config.models})
            trainer.run(self)
            return
        self.make_models(trainer)
        part = (config.first if config.budget == "matched" else 0.0, 1.0)
        trainer.run(self, stage="student", part=part)

    def make_models(self, trainer) -> None:
        """Trains a copy of the student on each teacher's rationales; puts the student back."""
        config, student, count = self.config, trainer.student, len(trainer.teachers)
        start, models = student.state_dict(), {}
        for k, name in enumerate(trainer.teachers):
            student.load_state_dict(start)
            before = student.cost.tokens
            part = (config.first * k / count, config.first * (k + 1) / count)
            part = part if config.budget == "matched" else (0.0, 1.0)
            trainer.run(self, stage=f"model-{k}", part=part, teacher=k)
            student.cost.discard(student.cost.tokens - before)
            models[name] = student.frozen_copy()
        student.load_state_dict(start)
        student.attach_teachers(models)
        self.owner = {name: k for k, name in enumerate(trainer.teachers)}

    def loss(self, student, batch: Batch) -> Step:
        """Plain fine-tuning while models are made; then the divergence from each."""
        if not student.teachers:
            return super().loss(student, batch)
        share = self.config.on_policy
        draw = torch.rand((), generator=batch.generator) if 0 < share < 1 else 0.5
        own = bool(draw < share)
        rows = student.sample(batch, self.config.samples).batch if own else batch
        out = student.forward(rows, needs={"logits:target"})
        losses = []
        for name in student.teachers:
            asked = rows
            if not own and name in self.owner:
                asked = rows.restrict(rows.teacher == self.owner[name])
                if not bool(asked.present.any()):
                    continue
            teacher = student.teacher_forward(name, asked, needs={"logits:target"})
            longest = teacher.logits.shape[2]  # of the rows that it was asked about
            between = divergence(
                teacher.logits, out.logits[:, :, :longest], self.config.divergence, self.config.beta
            )  # (B,R,T)
            real = torch.arange(longest, device=out.lengths.device) < teacher.lengths[..., None]
            by_row = (between * real).sum(-1) / teacher.lengths.clamp_min(1)  # (B,R)
            losses.append((by_row * uniform(asked.present)).sum(-1).mean())
        loss = torch.stack(losses).mean()
        return Step(loss=loss, logs={"on_policy": float(own), "divergence": float(loss.detach())})


def divergence(reference, logits, kind: str, beta: float):
    """(...,) D of the distributions that logits (...,V) of a reference and a student give, nats."""
    shared = min(reference.shape[-1], logits.shape[-1])  # vocabularies may be padded unlike
    log_p = torch.log_softmax(reference[..., :shared].float(), dim=-1)
    log_q = torch.log_softmax(logits[..., :shared].float(), dim=-1)
    if kind == "forward":
        return _kl(log_p, log_q)
    if kind == "reverse":
        return _kl(log_q, log_p)
    mix = torch.logaddexp(log_p + math.log(beta), log_q + math.log(1 - beta))
    return beta * _kl(log_p, mix) + (1 - beta) * _kl(log_q, mix)


def _kl(log_p, log_q):
    """(...,) KL(p, q) over the last dimension."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)
