"""A pool without workers, for tests of what is run and not of how."""

from __future__ import annotations

from pathlib import Path

from compact_bench.execution.pool import News, Pool
from compact_bench.suite.matrix import RunSpec
from tests.stubs import stub_cells


class HerePool(Pool):
    """Runs stub cells in this process."""

    def start(self, cells=1):
        """No worker."""

    def check(self, spec):
        """Every student loads."""

    def begin(self, slot, spec, request):
        """Run the cell at once."""
        folder = Path(request["folder"])
        stub_cells.tuned_cell(RunSpec.from_json(request["spec"]), folder, None, [], lambda e: None)
        for kind in ("start", "end"):
            self._news.put(News(slot, spec, {"event": kind}))
