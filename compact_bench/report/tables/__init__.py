"""The tables of results, by name and in the page's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compact_bench.analysis.results import Results
from compact_bench.report.parts.formats import Table
from compact_bench.report.tables import (
    changes,
    complementarity,
    cost,
    descriptive,
    forgetting,
    hidden_states,
    main,
    scores,
)

MAKERS: Mapping[str, Callable[[Results], Table | None]] = {
    "main": main.main,
    "differences": main.differences,
    "selection": cost.selection,
    "ladder": changes.ladder,
    "ablation": changes.ablation,
    "descriptive": descriptive.table,
    "detection": scores.detection,
    "coverage": scores.coverage,
    "subsets": main.subsets,
    "forgetting": forgetting.table,
    "matched_gain": forgetting.matched_gain,
    "beyond": complementarity.table,
    "latent": hidden_states.latent,
    "integration": hidden_states.integration,
    "metrics": main.metrics,
    "cost": cost.cost,
}
