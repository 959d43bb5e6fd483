"""The shortest mix of the teachers' gradients that leaves no teacher more than its cap."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Step, Tunable, min_norm


class AEKD(Distiller):
    """g = sum_k w_k g_k,  w = argmin 1/2 |sum_k w_k g_k|^2,  sum_k w_k = 1,  0 <= w_k <= C K p_k.

    g_k: (P,) gradient of teacher k's mean NLL (nats a token) in the batch over the P trainable
    parameters; p_k: the teacher's share of the plain average, 1/K where every question has every
    teacher, so that the cap is C, the `bound`. C = 1/K (or less) is `average`; C = 1 is MGDA, whose
    step lowers every teacher's loss where any step does. A small gradient weighs much: this
    favours teachers that the student already agrees with.

    The source takes the gradients at the logits, in image classification; here they are those of
    the trained parameters. C = 0.6 is its released code's, for K = 5 teachers there; in the paper's
    terms C = 1 / (nu K). It doesn't normalise gradients by default, nor does this.

    Cost: K forward and backward passes over 1/K of the rows each, in sum the tokens and FLOPs of
    `average`; K (P,) float32 vectors of memory (P: adapters only under LoRA); the programme itself
    sees the (K,K) Gram matrix only.
    """

    name = "ae_kd"
    version = 2  # of 1, the cap was 3/K for every number of teachers
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
        """bound: C, the most that a teacher may weigh; 1/K is the average, 1 is MGDA."""

        bound: Annotated[float, Field(gt=0, le=1), Tunable(0.25, 1)] = 0.6

    def backward(self, student, batch: Batch) -> Step:
        """Leaves the mixed gradient; the step's weights are w."""
        by_teacher = student.teacher_gradients(batch)
        factor = max(1.0, self.config.bound * len(by_teacher.share))  # C K; 1 at least: a sum of 1
        weights = min_norm.capped_weights(by_teacher.gram(), by_teacher.share * factor)
        weights = weights.to(by_teacher.gradient)
        student.add_gradient(weights @ by_teacher.gradient)
        return by_teacher.step(weights)
