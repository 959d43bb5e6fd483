"""What a report holds: its tables and its figures, by name and in the page's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compact_bench.analysis.results import Results
from compact_bench.report.figures import conditions, differences, retention, weights
from compact_bench.report.figures import headroom as headroom_figures
from compact_bench.report.figures import hidden_states as hidden_states_figures
from compact_bench.report.parts.formats import Table
from compact_bench.report.parts.style import Picture
from compact_bench.report.tables import (
    changes,
    complementarity,
    cost,
    descriptive,
    forgetting,
    headroom,
    hidden_states,
    main,
    scores,
)

TABLES: Mapping[str, Callable[[Results], Table | None]] = {
    "main": main.main,
    "differences": main.differences,
    "headroom": headroom.headroom,
    "map": headroom.recovery_map,
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

FIGURES: Mapping[str, Callable[[Results], Picture | None]] = {
    "map": headroom_figures.recovery_map,
    "tradeoff": retention.tradeoff,
    "retention_curves": retention.retention_curves,
    "differences": differences.differences,
    "curves": conditions.curves,
    "ladder": differences.ladder,
    "ablation": differences.ablation,
    "corrupted_weight": conditions.corrupted_weight,
    "weights": weights.weights,
    "latent": hidden_states_figures.latent,
    "latent_map": hidden_states_figures.latent_map,
}
