"""The plain average, each weight held as firmly as old examples depend on it."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Run, Step, Tunable, torch, weight_space


class EWC(Distiller):
    """loss = 1/R sum_r NLL_r + strength / 2 sum_p F_p (theta_p - theta_0p)^2, mean over questions.

    F: (P,) diagonal Fisher information before training, over `examples` old texts of the student:
    the mean of (d log p(text | question) / d theta_p)^2, log p summed over the text's tokens, in
    nats. theta: the trained parameters; under LoRA those of the adapters, whose B starts at 0, so
    that F is 0 for A and what is held is B. strength = 0 is `average`; 100 is ours: the source
    sets its lambda for each of its tasks, and F grows with the square of a text's length.

    Old examples as for `rehearsal`, but read before training only. Cost: a forward and backward
    pass over them, and three vectors of P numbers.
    """

    name = "ewc"
    version = 1
    reference = "arXiv:1612.00796"
    bibtex = """@article{kirkpatrick2017overcoming,
  title={Overcoming Catastrophic Forgetting in Neural Networks},
  author={Kirkpatrick, James and Pascanu, Razvan and Rabinowitz, Neil and Veness, Joel and
          Desjardins, Guillaume and Rusu, Andrei A. and Milan, Kieran and Quan, John and
          Ramalho, Tiago and Grabska-Barwinska, Agnieszka and Hassabis, Demis and
          Clopath, Claudia and Kumaran, Dharshan and Hadsell, Raia},
  journal={Proceedings of the National Academy of Sciences},
  volume={114},
  number={13},
  year={2017}
}"""

    class Config(Distiller.Config):
        """strength: lambda. examples: old texts that F is a mean over."""

        strength: Annotated[float, Field(ge=0), Tunable(1, 10_000, log=True)] = 100.0
        examples: Annotated[int, Field(ge=1)] = 100

    def skip(self, run: Run) -> str | None:
        """Skips where there is nothing old to depend on."""
        return None if run.old else "no examples of what the student knew are at hand"

    def fit(self, trainer) -> None:
        """Measures what the old examples depend on, then trains."""
        draw = torch.Generator().manual_seed(trainer.seed)
        old = trainer.old_batch(draw, self.config.examples)
        self.start = weight_space.flat(trainer.student.state_dict())
        self.fisher = weight_space.diagonal_fisher(trainer.student, old)
        trainer.run(self)

    def loss(self, student, batch: Batch) -> Step:
        """The average's loss and the penalty."""
        step = super().loss(student, batch)
        change = weight_space.flat(student.trainable()) - self.start
        penalty = (self.fisher * change.square()).sum() / 2
        step.loss = step.loss + self.config.strength * penalty
        step.logs = {"fisher_change": float(penalty.detach())}
        return step
