"""What a report holds: its tables and its figures, by name, in the page's order and sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

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
    "twins": main.twins,
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

# In the order of the page; a part that is in none of them is of the first.
RESULT, FORGETTING, WEIGHTS = "Result", "Forgetting", "Weights"
STATISTICS, DATA = "Statistics", "Data"
SECTIONS: Mapping[str, tuple[str, ...]] = {
    RESULT: ("main", "headroom", "map", "ladder", "ablation", "subsets", "differences", "curves"),
    FORGETTING: (
        *("tradeoff", "retention_curves", "forgetting", "matched_gain", "beyond"),
        *("latent", "latent_map", "integration"),
    ),
    WEIGHTS: ("weights", "corrupted_weight", "detection", "coverage", "twins"),
    STATISTICS: ("descriptive", "metrics"),
    DATA: ("selection", "cost"),
}


def section(name: str) -> str:
    """The section of a table or figure."""
    return next((title for title, names in SECTIONS.items() if name in names), RESULT)


class Named(Protocol):
    """A table or figure of the page."""

    @property
    def name(self) -> str:
        """The name of its files."""


Found = TypeVar("Found", bound=Named)


def in_sections(parts: Sequence[Found]) -> dict[str, list[Found]]:
    """The parts of each section, in the section's order; one of no section ends the first."""
    made: dict[str, list[Found]] = {title: [] for title in SECTIONS}
    for part in parts:
        made[section(part.name)].append(part)
    for title, held in made.items():
        names = SECTIONS[title]
        held.sort(key=lambda part: names.index(part.name) if part.name in names else len(names))
    return made
