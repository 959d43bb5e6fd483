"""One of several processes that work on a search, its cells trained by a stub.

python tune_process.py SUITE RESULTS PLUGINS URL ROW
"""

from __future__ import annotations

import sys
from pathlib import Path

from compact_bench.execution.plan import Options
from compact_bench.execution.pool import WorkerEntry
from compact_bench.suite.schema import load_suite
from compact_bench.tune.search import TuneOptions, tune

if __name__ == "__main__":
    suite, results, plugins, url, row = sys.argv[1:]
    entry = WorkerEntry(threads=1, cell="stub_cells:tuned_cell", check="stub_cells:check")
    options = Options(Path(results), None, (Path(plugins),), (), 1)
    sys.exit(
        tune(load_suite(suite, "mini"), options, TuneOptions((row,), url, test=False), print, entry)
    )
