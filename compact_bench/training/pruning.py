"""Dev values that a cell reports to a search while it is trained, and the end of a pruned training.

The search's process reports them to Optuna and asks it whether to prune: a worker that called
`trial.should_prune` itself would need the storage and its password, and one that is killed while it
writes keeps the journal's lock, for which all others then wait 30 seconds.
"""

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
    """The values that a cell reported, in the order of the shares.

    None where it reported none or the file is damaged: they are measured again then.
    """
    try:
        values = json.loads((folder / FILE).read_text("utf-8"))
        return [float(value) for value in values]
    except (OSError, ValueError, TypeError):
        return []


class Reporter:
    """Measures and reports the dev value at shares of the training, and stops a pruned one.

    send: is given {"event": "report", "point": index of the share, "value": ...} and returns False
    to prune. The values are stored in `folder`, so that a cell that was interrupted reports the
    same ones without measuring again. A training of several stages, which has no single course from
    start to end, reports nothing.
    """

    def __init__(self, spec: ReportsSpec, folder: Path, questions: int, send: Progress) -> None:
        self.spec, self.folder, self.questions, self.send = spec, folder, questions, send
        self.trainer: Trainer | None = None
        self.values = read(folder)
        self.reported = 0  # by this process

    def progress(self, event: dict[str, Any]) -> None:
        """Pass an event on; after a step that reaches a share, report. Raises Pruned."""
        self.send(event)
        trainer = self.trainer
        if event["event"] != "step" or trainer is None or trainer.stages != [""]:
            return
        while self.reported < len(self.spec.at) and event["share"] >= self.spec.at[self.reported]:
            self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        point, self.reported = self.reported, self.reported + 1
        if point == len(self.values):
            assert trainer.dev is not None
            # The reading is no cost of the training, as that of the evaluation isn't.
            cost, decoding = trainer.student.cost.as_dict(), trainer.distiller.decoding()
            score = trainer.dev.of(trainer.student, decoding, self.spec.metric, self.questions)
            trainer.student.cost.load(cost)
            # The metric as it is, not turned so that more is better.
            self.values.append(score if self.spec.metric == "accuracy" else -score)
            files.write_json(self.folder / FILE, self.values)
        if self.send({"event": REPORT, "point": point, "value": self.values[point]}) is False:
            raise Pruned(f"stopped at {self.spec.at[point]:.0%} of the training")
