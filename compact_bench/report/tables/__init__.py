"""Results -> tables: the main one, all differences, all metrics, and what each row cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from compact_bench.analysis.results import Results
from compact_bench.report.parts import formats
from compact_bench.report.parts.formats import Table
from compact_bench.report.tables import (
    ablation,
    complementarity,
    cost,
    descriptive,
    forgetting,
    hidden_states,
    ladder,
    learning_rates,
    main,
    scores,
    template_clean,
)
from compact_bench.utils.files import write_text
from compact_bench.utils.processes import mapped

WRITERS: Mapping[str, Callable[[Table], str]] = {
    "md": formats.markdown,
    "csv": formats.csv,
    "tex": formats.latex,
}

# Every table there can be: what an earlier report made and this one has no data for goes.
NAMES = (
    *("main", "differences", "selection", "detection", "coverage", "ladder", "ablation"),
    *("descriptive", "subsets", "forgetting", "matched_gain", "beyond"),
    *("latent", "integration", "metrics", "cost"),
)


def build(results: Results) -> list[Table]:
    """All tables that these results allow, the main one first."""
    makers = (
        main.main,
        main.differences,
        learning_rates.table,
        ladder.table,
        ablation.table,
        descriptive.table,
        scores.detection,
        scores.coverage,
        template_clean.table,
        forgetting.table,
        forgetting.matched_gain,
        complementarity.table,
        hidden_states.latent,
        hidden_states.integration,
        main.metrics,
        cost.cost,
    )
    return [table for table in mapped(lambda make: make(results), makers) if table]


def write(
    tables: Iterable[Table], folder: Path, formats: Iterable[str] = tuple(WRITERS)
) -> list[Path]:
    """Write each table in these formats, of Markdown, CSV and LaTeX."""
    return [
        write_text(Path(folder) / f"{table.name}.{ending}", WRITERS[ending](table))
        for table in tables
        for ending in formats
    ]
