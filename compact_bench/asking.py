"""What a method may ask its trainer for besides training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compact_bench.api import DevMeasure, Distiller
from compact_bench.errors import CellError
from compact_bench.recorded import RecordedWeights, read_weights

if TYPE_CHECKING:
    from compact_bench.dev_score import DevScore
    from compact_bench.student.student import Student


class Asking:
    """The part of `Trainer` that trains nothing. dev_scores: those asked for so far, in order."""

    student: Student
    distiller: Distiller
    folder: Path | None
    dev: DevScore | None
    dev_scores: list[float]

    def recorded_weights(self, run_id: str) -> RecordedWeights:
        """The weights that another cell of these results recorded.

        Raises CellError where there are none.
        """
        return read_weights(self.folder, run_id)

    def dev_score(self, by: DevMeasure, questions: int) -> float:
        """How good the student is as it stands, on dev questions; see `DevScore.of`.

        Raises CellError where there are none.
        """
        if self.dev is None:
            raise CellError("there is no dev question to choose by")
        found = self.dev.of(self.student, self.distiller.decoding(), by, questions)
        self.dev_scores.append(found)
        return found
