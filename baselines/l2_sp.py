"""The plain average, its weights held near those from before training."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Step, Tunable, weight_space


class L2SP(Distiller):
    """loss = 1/R sum_r NLL_r + alpha / 2 |W - W_0|^2, mean over questions; W_0 before training.

    W: the trained weights; under LoRA W - W_0 is each layer's B A (without the adapters' constant
    factor), so that what is held is the layer and not its two factors. The gradient of the penalty
    goes through the optimizer like the loss's. The source's second term, for weights of a new
    output layer, has nothing to act on here. alpha = 0 is `average`; 0.1 is ours: the source
    chooses it by cross-validation.

    Costs what `average` costs, and a copy of the trained weights.
    """

    name = "l2_sp"
    version = 1
    reference = "arXiv:1802.01483"
    bibtex = """@inproceedings{li2018explicit,
  title={Explicit Inductive Bias for Transfer Learning with Convolutional Networks},
  author={Li, Xuhong and Grandvalet, Yves and Davoine, Franck},
  booktitle={International Conference on Machine Learning},
  year={2018}
}"""

    class Config(Distiller.Config):
        """alpha: weight of the penalty."""

        alpha: Annotated[float, Field(ge=0), Tunable(0.001, 10, log=True)] = 0.1

    def fit(self, trainer) -> None:
        """Remembers the weights as they are, then trains."""
        self.start = trainer.student.state_dict()
        trainer.run(self)

    def loss(self, student, batch: Batch) -> Step:
        """The average's loss and the penalty."""
        step = super().loss(student, batch)
        if self.config.alpha:
            change = weight_space.squared_change(student.trainable(), self.start)
            step.loss = step.loss + self.config.alpha / 2 * change
            step.logs = {"squared_change": float(change.detach())}
        return step
