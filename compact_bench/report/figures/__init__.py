"""Figures of results: which there are, and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


MAKERS = (
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


def build(results: Results) -> list[Picture]:
    """The figures that these results allow, drawn as SVG; other formats when they are written."""

    def drawn(make: Callable[[Results], Picture | None]) -> Picture | None:
        picture = make(results)
        if picture is not None:
            _ = picture.content["svg"]  # here, since it takes longest and is shared out
        return picture

    return [picture for picture in mapped(drawn, MAKERS) if picture]


def write(
    pictures: Iterable[Picture], folder: Path, formats: Sequence[str] = ("svg",)
) -> list[Path]:
    """Write each figure in these formats (svg, pdf, png), and their captions as captions.md."""
    pictures = list(pictures)
    paths = [
        write_bytes(Path(folder) / f"{picture.name}.{ending}", picture.content[ending])
        for picture in pictures
        for ending in formats
    ]
    texts = [f"**{one.name}**: {escape_markdown(str(one.caption))}\n" for one in pictures]
    if texts:
        paths.append(write_text(Path(folder) / "captions.md", "\n".join(texts)))
    return paths
