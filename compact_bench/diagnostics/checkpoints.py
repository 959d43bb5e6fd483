"""The evidence of one cell, from before its training to its records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compact_bench.data.tasks import Prepared
from compact_bench.diagnostics.recorder import CellContext, Recorder
from compact_bench.diagnostics.weights import Progress, Snapshots
from compact_bench.methods.base import Distiller
from compact_bench.records.cells import CellWriter
from compact_bench.student.student import Student
from compact_bench.suite.schema import Suite
from compact_bench.training import checkpoint

if TYPE_CHECKING:
    from compact_bench.training.trainer import Trainer

Rows = list[dict[str, Any]]


class Watch:
    """Looks on while a student is trained; made before. Does nothing where nothing is asked for.

    `progress` is what the training has to tell its steps to.
    """

    def __init__(
        self, suite: Suite, student: Student, distiller: Distiller, folder: Path, progress: Progress
    ) -> None:
        self.suite, self.student, self.distiller = suite, student, distiller
        self.told = self.progress = progress
        self.recorder: Recorder | None = None
        if suite.evidence is None or distiller.answers():  # a rule has no weights to look at
            self.snapshots = None
            return
        self.start = student.state_dict()
        shares = suite.evidence.checkpoints
        tag = checkpoint.source_hash(distiller)
        self.snapshots = Snapshots(student, folder, shares, tag)
        self.progress = self.snapshots.watching(progress)

    def take(self, trainer: Trainer, prepared: Prepared, seed: int) -> None:
        """Takes the evidence; the student must hold its final weights, adapters not merged."""
        if self.snapshots is None:
            return
        asked = CellContext(
            self.suite, prepared.tasks, self.distiller.decoding(), seed, trainer.old, self.told
        )
        self.recorder = Recorder(self.student, asked)
        if not trainer.position.run:
            self.recorder.untrained()
            return
        # A method of several stages goes no single way from start to end.
        way = list(self.snapshots.states()) if trainer.stages == [""] else []
        self.recorder.trained(self.start, way)

    def write(self, writer: CellWriter, rows: Rows, samples: Rows, facts: dict[str, Any]) -> None:
        """Writes what was taken, and adds to the rows and facts of the cell."""
        if self.snapshots is None or self.recorder is None:
            return
        stage = rows[0]["stage"]
        found = self.recorder.found
        rows += [{**row, "stage": stage} for row in found.eval]
        facts |= found.facts
        writer.curve([*found.curve, *self.recorder.ends(samples, trained=stage == "after")])
        if found.latent:
            writer.latent(found.latent)
        self.snapshots.remove()
