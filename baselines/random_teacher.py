"""A teacher drawn afresh for each question and step."""

from __future__ import annotations

from compact_bench.api import Batch, Distiller, torch


class RandomTeacher(Distiller):
    """loss = NLL of one present rationale, drawn uniformly; the others are not read.

    The same gradient as `average` in expectation, at 1/K of its cost and with more noise.
    Fukuda et al., "Efficient Knowledge Distillation from an Ensemble of Teachers", Interspeech
    2017 (there called switching).
    """

    name = "random_teacher"
    version = 1
    reference = "10.21437/Interspeech.2017-614"
    bibtex = """@inproceedings{fukuda2017efficient,
  title={Efficient Knowledge Distillation from an Ensemble of Teachers},
  author={Fukuda, Takashi and Suzuki, Masayuki and Kurata, Gakuto and Thomas, Samuel and
          Cui, Jia and Ramabhadran, Bhuvana},
  booktitle={Proceedings of Interspeech},
  year={2017},
  doi={10.21437/Interspeech.2017-614}
}"""

    def rows(self, batch: Batch):
        """(B,R) bool with one True a question, drawn with the batch's generator."""
        present = batch.present.cpu()
        draw = torch.rand(present.shape, generator=batch.generator)
        choice = draw.masked_fill(~present, -1.0).argmax(-1, keepdim=True)  # (B,1)
        chosen = torch.zeros_like(present).scatter(1, choice, True)
        return (chosen & present).to(batch.teacher.device)
