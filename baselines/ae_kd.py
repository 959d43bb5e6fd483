"""The shortest mix of the teachers' gradients that leaves no teacher more than its cap."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Step, Tunable, min_norm


class AEKD(Distiller):
    """g = sum_k w_k g_k,  w = argmin 1/2 |sum_k w_k g_k|^2,  sum_k w_k = 1,  0 <= w_k <= p_k / nu.

    g_k: (P,) gradient of teacher k's mean NLL (nats a token) in the batch over the P trainable
    parameters; p_k: the teacher's share of the plain average, 1/K where every question has every
    teacher, so that the cap is 1 / (nu K). nu = 1 is `average`; nu = 1/K (or less) is MGDA, whose
    step lowers every teacher's loss where any step does. A small gradient weighs much: this
    favours teachers that the student already agrees with.

    The source takes the gradients at the logits, in image classification; here they are those of
    the trained parameters. Its released code has the tolerance C = 1 / (nu K) = 0.6 and K = 5,
    which is nu = 1/3; it doesn't normalise gradients by default, nor does this.

    Cost: K forward and backward passes over 1/K of the rows each, in sum the tokens and FLOPs of
    `average`; K (P,) float32 vectors of memory (P: adapters only under LoRA); the programme itself
    sees the (K,K) Gram matrix only.
    """

    name = "ae_kd"
    version = 1
    reference = "https://proceedings.neurips.cc/paper/2020/hash/91c77393975889bd08f301c9e13a44b7-Abstract.html"
    bibtex = """@inproceedings{du2020agree,
  title={Agree to Disagree: Adaptive Ensemble Knowledge Distillation in Gradient Space},
  author={Du, Shangchen and You, Shan and Li, Xiaojie and Wu, Jianlong and Wang, Fei and
          Qian, Chen and Zhang, Changshui},
  booktitle={Advances in Neural Information Processing Systems},
  volume={33},
  year={2020}
}"""

    class Config(Distiller.Config):
        """nu: how much disagreement is tolerated; 1 none (the average), 1/K all (MGDA)."""

        nu: Annotated[float, Field(gt=0, le=1), Tunable(0.1, 1)] = 1 / 3

    def backward(self, student, batch: Batch) -> Step:
        """Leaves the mixed gradient; the step's weights are w."""
        by_teacher = student.teacher_gradients(batch)
        weights = min_norm.capped_weights(by_teacher.gram(), by_teacher.share / self.config.nu)
        weights = weights.to(by_teacher.gradient)
        student.add_gradient(weights @ by_teacher.gradient)
        return by_teacher.step(weights)
