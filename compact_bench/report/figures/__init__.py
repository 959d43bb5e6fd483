"""The figures of results, by name and in the page's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compact_bench.analysis.results import Results
from compact_bench.report.figures import (
    conditions,
    differences,
    hidden_states,
    retention,
    weights,
)
from compact_bench.report.parts.style import Picture

MAKERS: Mapping[str, Callable[[Results], Picture | None]] = {
    "tradeoff": retention.tradeoff,
    "retention_curves": retention.retention_curves,
    "differences": differences.differences,
    "curves": conditions.curves,
    "ladder": differences.ladder,
    "ablation": differences.ablation,
    "corrupted_weight": conditions.corrupted_weight,
    "weights": weights.weights,
    "latent": hidden_states.latent,
    "latent_map": hidden_states.latent_map,
}
