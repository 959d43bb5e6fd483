"""The rationales whose gradients point where those of the dev questions' answers do."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Run, Tunable, torch, weight_space


class Less(Distiller):
    """loss = 1/R sum_r NLL_r over the `keep` share of all rationales with the highest x_r.

    x_r = cos(g_r, d) after a warm-up: g_r the gradient of the rationale's mean NLL, d that of the
    mean NLL of the dev questions' gold answers, over the P trained parameters. The warm-up trains
    on all rationales for the `warm_up` share of the row's budget; then the student goes back to its
    start, and the rest of the budget trains on what was chosen. A question of which nothing was
    chosen is left out of its steps, so a batch may hold fewer.

    Xia et al., ICML 2024, who keep 5% of a large pool after a warm-up on 5% of it; here 25%, which
    of four teachers is a rationale a question on average. Theirs sums over the checkpoints of four
    warm-up epochs, divides training gradients by Adam's second moment (their ablation without it
    is worse), and projects both at random to 8,192 numbers; here there is one checkpoint, plain
    gradients, and nothing projected. Theirs has a dev set with rationales; here the dev questions
    have answers only. By the paper from memory; its code was not read.

    Cost: the warm-up, whose result isn't kept, and a forward and backward pass over the dev
    questions and over all rationales, all counted as spent on choosing; d, P numbers.
    """

    name = "less"
    version = 1
    reference = "arXiv:2402.04333"
    bibtex = """@inproceedings{xia2024less,
  title={{LESS}: Selecting Influential Data for Targeted Instruction Tuning},
  author={Xia, Mengzhou and Malladi, Sadhika and Gururangan, Suchin and Arora, Sanjeev and
          Chen, Danqi},
  booktitle={International Conference on Machine Learning},
  year={2024}
}"""
    uses_gold = True

    class Config(Distiller.Config):
        """keep: share of the rationales. warm_up: share of the budget before choosing."""

        keep: Annotated[float, Field(gt=0, le=1), Tunable(0.05, 1)] = 0.25
        warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.05

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.chosen: set | None = None  # keys of rationales; None: all, in the warm-up

    def skip(self, run: Run) -> str | None:
        """Skips without dev questions."""
        return None if run.dev else "no dev question to choose by"

    def fit(self, trainer) -> None:
        """Warms up, chooses, and trains from the start on what was chosen."""
        student = trainer.student
        start, before = student.state_dict(), student.cost.tokens
        trainer.run(self, stage="warm-up", part=(0.0, self.config.warm_up))
        student.cost.discard(student.cost.tokens - before)
        scores = self.alignment(trainer)
        best = sorted(scores, key=scores.__getitem__, reverse=True)
        self.chosen = set(best[: max(1, round(self.config.keep * len(best)))])
        student.load_state_dict(start)
        trainer.run(self, stage="chosen", part=(self.config.warm_up, 1.0))

    def rows(self, batch: Batch):
        """(B,R) bool: what was chosen, or all in the warm-up."""
        if self.chosen is None:
            return batch.present
        keys = batch.by_rationale(torch.zeros(batch.teacher.shape))  # in the order of `present`
        rows = torch.zeros_like(batch.present)
        rows[batch.present] = torch.tensor([key in self.chosen for key in keys]).to(rows)
        return rows

    def alignment(self, trainer) -> dict:
        """The cosine of each rationale's gradient and the dev answers', by rationale."""
        student = trainer.student
        target = dev_gradient(student, trainer.dev_batches())
        target = target / target.norm().clamp_min(1e-30)
        cosines: dict = {}
        with student.cost.selecting():
            for batch in trainer.batches():
                values = torch.zeros(batch.teacher.shape)
                for b, r, gradient in weight_space.rationale_gradients(student, batch):
                    values[b, r] = gradient @ target / gradient.norm().clamp_min(1e-30)
                cosines |= batch.by_rationale(values)
        return cosines


def dev_gradient(student, batches):
    """(P,) float32: of the dev questions' mean NLL of the gold answer, nats a token."""
    count = 0
    for batch in batches:
        student.forward(batch, target="answer").nll.sum().backward()
        count += len(batch.questions)
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in
             student.trainable().values()]  # fmt: skip
    gradient = torch.cat([part.flatten().float() for part in parts]) / count
    for parameter in student.trainable().values():
        parameter.grad = None
    return gradient
