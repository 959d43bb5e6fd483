"""One teacher after the other."""

from __future__ import annotations

from compact_bench.api import Batch, Distiller, Run, torch


class Sequential(Distiller):
    """loss = NLL of the teacher whose turn it is; the budget is shared equally among K turns.

    Turn t = floor(K * share of the budget that is spent). A question without a rationale of that
    teacher is read with the next teacher's in the order that has one. What is not read costs
    nothing. Tells the mixing of teachers within a step from their order: the last one is forgotten
    least.
    """

    name = "sequential"
    version = 1
    reference = "none"

    class Config(Distiller.Config):
        """order: all teachers' names, first to last; empty stands for the run's own order."""

        order: tuple[str, ...] = ()

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.spent = lambda: 0.0

    def skip(self, run: Run) -> str | None:
        """Skips an order that is not one of the run's teachers."""
        if self.config.order and sorted(self.config.order) != sorted(run.teachers):
            return f"order is {list(self.config.order)}, the run has {list(run.teachers)}"
        return None

    def fit(self, trainer) -> None:
        """Follows the trainer's budget."""
        self.spent = trainer.spent
        trainer.run(self)

    def rows(self, batch: Batch):
        """(B,R) bool: all samples of one teacher a question."""
        names = list(batch.teachers)
        order = list(self.config.order) or names
        turn = min(int(self.spent() * len(order)), len(order) - 1)
        place = torch.tensor([order.index(name) for name in names], device=batch.teacher.device)
        # How many turns each rationale's teacher is away, going round: the nearest is read.
        away = (place[batch.teacher.clamp_min(0)] - turn) % len(order)  # (B,R)
        away = away.masked_fill(~batch.present, len(order))
        return (away == away.min(-1, keepdim=True).values) & batch.present
