"""All rationales, the questions that the student finds easy before those that it finds hard."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from compact_bench.api import Annotated, Distiller, torch


class EasyToHard(Distiller):
    """loss = 1/R sum_r NLL_r; an epoch reads the questions from the easiest fifth to the hardest.

    A question's difficulty is the mean over its rationales of NLL_r under the student before
    training, nats a target token. Within a bucket the order is random, another one in each epoch.

    Bengio, Louradour, Collobert & Weston, "Curriculum Learning", ICML 2009: easy examples first.
    Their measures of difficulty are those of their tasks; this one, five buckets, and an ascent in
    every epoch are ours.

    Cost: a forward pass over all rationales before training.
    """

    name = "easy_to_hard"
    version = 1
    reference = "10.1145/1553374.1553380"
    bibtex = """@inproceedings{bengio2009curriculum,
  title={Curriculum Learning},
  author={Bengio, Yoshua and Louradour, J{\\'e}r{\\^o}me and Collobert, Ronan and Weston, Jason},
  booktitle={Proceedings of ICML},
  year={2009},
  doi={10.1145/1553374.1553380}
}"""

    class Config(Distiller.Config):
        """buckets: of like difficulty; 1 is `average` in another order."""

        buckets: Annotated[int, Field(ge=1)] = 5

    def fit(self, trainer) -> None:
        """Measures the questions' difficulty, then trains."""
        self.seed = trainer.seed
        self.difficulty: dict[str, float] = {}
        student = trainer.student
        with torch.no_grad(), student.cost.selecting():
            for batch in trainer.batches():
                nll = student.forward(batch).nll.sum(-1) / batch.present.sum(-1)  # (B,)
                self.difficulty |= dict(zip(batch.question_id, nll.tolist(), strict=True))
        trainer.run(self)

    def order(self, examples, epoch: int) -> list[int]:
        """By bucket, at random within each."""
        values = [self.difficulty[example.question_id] for example in examples]
        bucket = buckets(values, self.config.buckets)
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        drawn = torch.randperm(len(values), generator=draw).tolist()
        return sorted(drawn, key=lambda i: bucket[i])


def buckets(values: Sequence[float], count: int) -> list[int]:
    """The bucket of each value, 0 for the lowest; buckets differ in size by one at most."""
    ranks = sorted(range(len(values)), key=lambda i: (values[i], i))
    place = {i: rank for rank, i in enumerate(ranks)}
    return [place[i] * count // len(values) for i in range(len(values))]
