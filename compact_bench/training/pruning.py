"""What a search is told while a student is trained, and its word to stop."""

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
    """Asks the dev questions at shares of the training, tells the value, and stops when told to.

    progress: gets {"event": "report", "point": index of the share, "value": ...} and answers
    whether to go on. What was reported is kept in `folder`, so that a cell that was interrupted
    tells the same values again without asking twice. A training of several stages goes no single
    way from start to end: such a method reports nothing.
    """

    def __init__(self, spec: ReportsSpec, folder: Path, questions: int, progress: Progress) -> None:
        self.spec, self.folder, self.questions = spec, folder, questions
        self.told = progress
        self.trainer: Trainer | None = None
        self.point = 0  # how many are told in this process
        self.known = read(folder)

    def progress(self, event: dict[str, Any]) -> None:
        """Passes an event on; after a step that reaches a share, reports. Raises Pruned."""
        self.told(event)
        trainer = self.trainer
        if event["event"] != "step" or trainer is None or trainer.stages != [""]:
            return
        while self.point < len(self.spec.at) and event["share"] >= self.spec.at[self.point]:
            self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        if self.point == len(self.known):
            self.known.append(self._asked(trainer))
            files.write_json(self.folder / FILE, self.known)
        value, self.point = self.known[self.point], self.point + 1
        answer = self.told({"event": REPORT, "point": self.point - 1, "value": value})
        if answer is False:
            raise Pruned(f"stopped at {self.spec.at[self.point - 1]:.0%} of the training")

    def _asked(self, trainer: Trainer) -> float:
        """The metric of the dev questions, as it is (not turned so that more is better).

        What asking reads is no cost of the training, as that of the evaluation isn't.
        """
        assert trainer.dev is not None
        cost = trainer.student.cost.as_dict()
        decoding = trainer.distiller.decoding()
        found = trainer.dev.of(trainer.student, decoding, self.spec.metric, self.questions)
        trainer.student.cost.load(cost)
        return found if self.spec.metric == "accuracy" else -found
