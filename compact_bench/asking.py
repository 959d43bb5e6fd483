"""What a method may ask its trainer for besides training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from compact_bench.api import Batch, DevMeasure, Distiller
from compact_bench.errors import CellError
from compact_bench.recorded import RecordedWeights, read_weights
from compact_bench.student.encode import Example, collate, encode_bank

if TYPE_CHECKING:
    from compact_bench.data.rationales import RationaleBank
    from compact_bench.dev_score import DevScore
    from compact_bench.student.student import Student


class Asking:
    """The part of `Trainer` that trains nothing. dev_scores: those asked for so far, in order."""

    student: Student
    distiller: Distiller
    folder: Path | None
    dev: DevScore | None
    dev_scores: list[float]
    old: Callable[[], RationaleBank] | None

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

    def old_batch(self, generator: torch.Generator, size: int) -> Batch:
        """`size` examples of what the student knew before, one text each; none of them twice.

        Raises CellError where there are none.
        """
        order = torch.randperm(len(self._old), generator=generator).tolist()
        chosen = [self._old[i] for i in order[:size]]
        return replace(collate(chosen, device=self.student.device), taught=False)

    @cached_property
    def _old(self) -> list[Example]:
        """Made when a method asks for the first time: most never do."""
        bank = self.old() if self.old else None
        if bank is None:
            raise CellError("no examples of what the student knew are at hand")
        return encode_bank(bank, self.student.encoder, self.student.max_tokens)[0]
