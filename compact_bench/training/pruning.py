"""Reports to a search while a student is trained, and pruning by what the search decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compact_bench.errors import Pruned
from compact_bench.utils import files

if TYPE_CHECKING:
    from compact_bench.suite.sections import ReportsSpec
    from compact_bench.training.trainer import Trainer

FILE = "reports.json"

REPORT = "report"  # the event that a worker waits for an answer to

Progress = Callable[[dict[str, Any]], Any]


def read(folder: Path) -> list[float]:
    """The values that a cell reported, in the order of the shares; none where it reported none."""
    path = folder / FILE
    return json.loads(path.read_text("utf-8")) if path.exists() else []


class Reporter:
    """Reports the dev split's metric at shares of the training, and stops it where it is pruned.

    progress: gets {"event": "report", "point": index of the share, "value": ...} and returns
    whether to go on. Reported values lie in `folder`, so that a cell that was interrupted reports
    the same ones again without measuring twice. A training of several stages goes no single way
    from start to end: such a method reports nothing.
    """

    def __init__(self, spec: ReportsSpec, folder: Path, questions: int, progress: Progress) -> None:
        self.spec, self.folder, self.questions = spec, folder, questions
        self.cell_progress = progress
        self.trainer: Trainer | None = None
        self.point = 0  # how many are reported in this process
        self.values = read(folder)

    def progress(self, event: dict[str, Any]) -> None:
        """Passes an event on; after a step that reaches a share, reports. Raises Pruned."""
        self.cell_progress(event)
        trainer = self.trainer
        if event["event"] != "step" or trainer is None or trainer.stages != [""]:
            return
        while self.point < len(self.spec.at) and event["share"] >= self.spec.at[self.point]:
            self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        point = self.point
        if point == len(self.values):
            self.values.append(self._measured(trainer))
            files.write_json(self.folder / FILE, self.values)
        self.point += 1
        event = {"event": REPORT, "point": point, "value": self.values[point]}
        if self.cell_progress(event) is False:
            raise Pruned(f"stopped at {self.spec.at[point]:.0%} of the training")

    def _measured(self, trainer: Trainer) -> float:
        """The metric of the dev questions, as it is (not turned so that more is better).

        What measuring reads is no cost of the training, as that of the evaluation isn't.
        """
        assert trainer.dev is not None
        cost = trainer.student.cost.as_dict()
        decoding = trainer.distiller.decoding()
        score = trainer.dev.of(trainer.student, decoding, self.spec.metric, self.questions)
        trainer.student.cost.load(cost)
        return score if self.spec.metric == "accuracy" else -score
