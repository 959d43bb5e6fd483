"""The plain average, of whose change of the weights a part is kept."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Distiller, Tunable


class LoraScale(Distiller):
    """theta = theta_0 + s (theta_T - theta_0), theta_T trained as `average`, s in 0..1.

    Under LoRA the change of a layer is B A times a constant, with B = 0 at the start: B is scaled
    and A kept, so that the product is scaled by s and not by s^2. s = 1 is `average`, s = 0 the
    student as it was. A control for forgetting: what a method keeps at the gain of a shorter step
    is no merit of its own. Costs what `average` costs.

    WiSE-FT: Wortsman et al., CVPR 2022, who recommend s = 0.5 where nothing is known.
    """

    name = "lora_scale"
    version = 1
    reference = "arXiv:2109.01903"
    bibtex = """@inproceedings{wortsman2022robust,
  title={Robust Fine-Tuning of Zero-Shot Models},
  author={Wortsman, Mitchell and Ilharco, Gabriel and Kim, Jong Wook and Li, Mike and
          Kornblith, Simon and Roelofs, Rebecca and Gontijo-Lopes, Raphael and
          Hajishirzi, Hannaneh and Farhadi, Ali and Namkoong, Hongseok and Schmidt, Ludwig},
  booktitle={Proceedings of CVPR},
  year={2022},
  eprint={2109.01903},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """scale: which part of the change is kept."""

        scale: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.5

    def fit(self, trainer) -> None:
        """Trains, then goes back a part of the way."""
        start = trainer.student.state_dict()
        trainer.run(self)
        end = trainer.student.state_dict()
        trainer.student.load_state_dict(
            {
                name: end[name] if "lora_A" in name else old.lerp(end[name], self.config.scale)
                for name, old in start.items()
            }
        )
