"""Results -> figures: reasoning against forgetting, and weights by teacher over training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from compact_bench.analysis.results import Results
from compact_bench.report.figures import (
    conditions,
    differences,
    hidden_states,
    retention,
    tradeoff,
    weights,
)
from compact_bench.report.parts.formats import escape_markdown
from compact_bench.report.parts.style import Picture
from compact_bench.utils.files import write_bytes, write_text
from compact_bench.utils.processes import mapped

NAMES = (
    *("tradeoff", "differences", "weights", "ladder", "ablation", "curves", "corrupted_weight"),
    *("retention_curves", "latent", "latent_map"),
)


def build(results: Results) -> list[Picture]:
    """The figures that these results allow."""
    makers = (
        tradeoff.tradeoff,
        retention.retention_curves,
        differences.differences,
        conditions.curves,
        differences.ladder,
        differences.ablation,
        conditions.corrupted_weight,
        weights.weights,
        hidden_states.latent,
        hidden_states.latent_map,
    )
    return [picture for picture in mapped(lambda make: make(results), makers) if picture]


def write(pictures: Iterable[Picture], folder: Path) -> list[Path]:
    """Write each figure as SVG, PDF and PNG, and their captions as captions.md."""
    pictures = list(pictures)
    paths = [
        write_bytes(Path(folder) / f"{picture.name}.{ending}", content)
        for picture in pictures
        for ending, content in picture.content.items()
    ]
    texts = [f"**{one.name}**: {escape_markdown(str(one.caption))}\n" for one in pictures]
    if texts:
        paths.append(write_text(Path(folder) / "captions.md", "\n".join(texts)))
    return paths
