"""A teacher drawn for each question by a bandit that is paid in what the student learns."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Step, Tunable, torch, uniform

LOW, HIGH = 0.2, 0.8  # quantiles of all gains so far that become rewards of 0 and 1


class Exp3(Distiller):
    """loss = NLL of one present rationale, of teacher k with probability p_k; others aren't read.

    p_k = (1 - gamma) w_k / sum_j w_j + gamma / K, over the question's teachers; w_k = 1 at first,
    and w_k <- w_k exp(gamma x / (K p_k)) for each question that drew teacher k. The reward x in
    0..1 is the student's gain NLL_t - NLL_t+1 on that rationale (nats a token, before and after the
    step), rescaled: 0 at the 20% quantile of all gains so far, 1 at the 80% quantile, 1/2 while
    these are equal. Of a teacher's several rationales each is as likely.

    EXP3: Auer, Cesa-Bianchi, Freund & Schapire, SIAM J. Computing 2002, whose bound is least at
    gamma = sqrt(K ln K / ((e - 1) T)): 0.07 for 4 teachers and 600 draws. Gain and quantiles:
    prediction gain of Graves et al., "Automated Curriculum Learning for Neural Networks",
    arXiv:1704.03003, who use EXP3.S; both from memory of the papers, no code was read.

    Cost: a forward pass without gradient more (2N FLOPs a token) over what was read, counted as
    spent on choosing. The last step of an epoch is not rewarded, so that a run that goes on from a
    checkpoint remembers numbers and no batch.
    """

    name = "exp3"
    version = 1
    reference = "10.1137/S0097539701398375"
    bibtex = """@article{auer2002nonstochastic,
  title={The Nonstochastic Multiarmed Bandit Problem},
  author={Auer, Peter and Cesa-Bianchi, Nicol{\\`o} and Freund, Yoav and Schapire, Robert E.},
  journal={SIAM Journal on Computing},
  volume={32},
  number={1},
  year={2002},
  doi={10.1137/S0097539701398375}
}"""

    class Config(Distiller.Config):
        """explore: gamma, the share of draws that ignores the weights, and the step of weights."""

        explore: Annotated[float, Field(gt=0, le=1), Tunable(0.01, 1, log=True)] = 0.07

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.memory: dict = {}  # log_weights: (K,), gains: all so far
        self.pending: list = []  # what was drawn in the latest step: batch, NLL, probability

    def loss(self, student, batch: Batch) -> Step:
        """Rewards the draws of the step before, then draws and trains."""
        if not self.memory:
            zeros = torch.zeros(len(batch.teachers), dtype=torch.float64)
            self.memory = {"log_weights": zeros, "gains": zeros[:0]}
        if any(drawn.step != batch.step for drawn, _, _ in self.pending):
            pending, self.pending = self.pending, []
            self._reward(student, [one for one in pending if one[0].epoch == batch.epoch])
        probability = self.probabilities(batch)
        chosen = batch.restrict(self.rows(batch))
        out = student.forward(chosen)
        self.pending.append((chosen, out.nll.detach(), probability))
        weights = uniform(chosen.present)
        return Step(loss=out.nll.sum(-1).mean(), weights=weights, nll=out.nll.detach())

    def rows(self, batch: Batch):
        """(B,R) bool with one True a question, drawn with the batch's generator."""
        by_row = self.probabilities(batch) / _of_the_same_teacher(batch)
        choice = torch.multinomial(by_row, 1, generator=batch.generator)  # (B,1)
        rows = torch.zeros_like(by_row, dtype=torch.bool).scatter(1, choice, True)
        return rows.to(batch.teacher.device)

    def probabilities(self, batch: Batch):
        """(B,R) float64 on the CPU: how likely each rationale's teacher is; 0 where absent."""
        gamma, weights = self.config.explore, self.memory["log_weights"].softmax(0)
        mixed = (1 - gamma) * weights + gamma / len(weights)  # (K,)
        each = mixed[batch.teacher.cpu().clamp_min(0)] * batch.present.cpu()
        return each / (each / _of_the_same_teacher(batch)).sum(-1, keepdim=True)

    def _reward(self, student, drawn: list) -> None:
        """What each draw gained, and the weights after it."""
        gains, teachers, probabilities = [], [], []
        with torch.no_grad(), student.cost.selecting():
            for batch, before, probability in drawn:
                after = student.forward(batch).nll
                gains.append((before - after)[batch.present].double().cpu())
                teachers.append(batch.teacher[batch.present].cpu())
                probabilities.append(probability[batch.present.cpu()])
        if not gains:
            return
        gain = torch.cat(gains)
        self.memory["gains"] = torch.cat([self.memory["gains"], gain])
        step = self.config.explore * rescaled(gain, self.memory["gains"]) / torch.cat(probabilities)
        log_weights = self.memory["log_weights"]
        self.memory["log_weights"] = log_weights.index_add(
            0, torch.cat(teachers), step / len(log_weights)
        )

    def state_dict(self):
        """The weights of the teachers and all gains so far."""
        return {name: value.clone() for name, value in self.memory.items()}

    def load_state_dict(self, state) -> None:
        """Takes them back."""
        self.memory = {name: value.cpu() for name, value in state.items()}


def rescaled(gain, gains):
    """Rewards in 0..1 of gains, by the quantiles of all gains. (n,), (N,) -> (n,) float64."""
    low, high = gains.quantile(LOW), gains.quantile(HIGH)
    if high <= low:
        return torch.full_like(gain, 0.5)
    return ((gain - low) / (high - low)).clamp(0, 1)


def _of_the_same_teacher(batch: Batch):
    """(B,R) float64 on the CPU: how many of the question's rationales the same teacher wrote."""
    teacher = batch.teacher.cpu()
    return (teacher[:, :, None] == teacher[:, None, :]).sum(-1).double()
