"""Teachers weighted by how fast their loss falls."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from compact_bench.api import Batch, Distiller, Run, Tunable, fusion, torch


class DynamicWeightAverage(Distiller):
    """w_k(t) = softmax_k(rho_k / T), rho_k = L_k(t-1) / L_k(t-2), over the rationales present.

    L_k(t) is teacher k's mean NLL in period t, nats a token; rho is 1 in the first two periods. A
    teacher whose loss falls slowly gains weight. A period is an epoch, or `steps` optimizer steps.
    Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019; T = 2 is
    the default of --temp in the released im2im_pred/model_segnet_mtan.py. Their weights sum to K,
    these to 1.
    """

    name = "dwa"
    version = 1
    reference = "arXiv:1803.10704"
    bibtex = """@inproceedings{liu2019end,
  title={End-to-End Multi-Task Learning with Attention},
  author={Liu, Shikun and Johns, Edward and Davison, Andrew J.},
  booktitle={Proceedings of CVPR},
  year={2019},
  eprint={1803.10704},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """temperature: T. steps: optimizer steps in a period; 0 stands for an epoch."""

        temperature: Annotated[float, Field(gt=0), Tunable(0.1, 10, log=True)] = 2.0
        steps: Annotated[int, Field(ge=0), Tunable(0, 100)] = 0

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.memory: dict = {}

    def skip(self, run: Run) -> str | None:
        """Skips where no period would have two before it: the weights would all be equal."""
        if not self.config.steps and run.training.epochs < 3 and not run.training.max_flops:
            return "weights differ from the third epoch on; set steps, or train for three epochs"
        return None

    def weights(self, out, batch: Batch):
        """(B,R); the batch's losses count for the periods after this one."""
        self._enter(batch)
        rho = self.memory["last"] / self.memory["before"]  # (K,), NaN where not known
        rho = torch.where(rho.isfinite(), rho, torch.ones_like(rho))
        slot = batch.teacher.cpu().clamp_min(0)
        utility = rho[slot].to(torch.float32).to(batch.teacher.device)  # (B,R)
        present = batch.present.cpu()
        nll = out.nll.detach().cpu().double()
        self.memory["sum"] = self.memory["sum"].index_add(0, slot[present], nll[present])
        ones = torch.ones_like(nll)
        self.memory["count"] = self.memory["count"].index_add(0, slot[present], ones[present])
        return fusion.masked_softmax(utility, batch.present, self.config.temperature)

    def _enter(self, batch: Batch) -> None:
        """Closes the period before, where the batch is the first of another."""
        period = batch.step // self.config.steps if self.config.steps else batch.epoch
        zeros = torch.zeros(len(batch.teachers), dtype=torch.float64)
        if not self.memory:
            unknown = torch.full_like(zeros, float("nan"))
            self.memory = {"last": unknown, "before": unknown, "sum": zeros, "count": zeros}
            self.memory["period"] = torch.tensor(period)
        if int(self.memory["period"]) != period:
            mean = self.memory["sum"] / self.memory["count"]  # NaN for a teacher not seen
            self.memory |= {"before": self.memory["last"], "last": mean}
            self.memory |= {"sum": zeros, "count": zeros, "period": torch.tensor(period)}

    def state_dict(self):
        """The sums of this period and the means of the two before."""
        # Copies: a checkpoint file holds no two tensors that share memory, as unknown means do.
        return {name: value.clone() for name, value in self.memory.items()}

    def load_state_dict(self, state) -> None:
        """Takes them back."""
        self.memory = {name: value.cpu() for name, value in state.items()}
