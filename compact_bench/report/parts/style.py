"""How figures are drawn: colours, markers, grid of panels, files that hold no dates."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import seaborn
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from compact_bench.analysis.results import Results
from compact_bench.report.parts.captions import Caption

# Okabe and Ito's palette, told apart by colour-blind readers; yellow left out, too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

UNTRAINED, REFERENCE = "#767676", "#000000"

LEGEND_ROWS = 24

MARKERS = "osD^vPX<>hp*"

STYLE: Any = {
    **seaborn.axes_style("ticks"),
    "font.family": ["DejaVu Sans", "sans-serif"],  # the latter where a browser lacks the former
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.fonttype": "none",  # texts that can be searched, and a fifth of the bytes less
    "svg.hashsalt": "compact_bench",  # without it, ids in the SVG differ from run to run
    "pdf.fonttype": 42,
}

# Dates and versions out of the files: the same records give the same bytes.
METADATA: Mapping[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}


class Rendering(Mapping[str, bytes]):
    """A figure's files by ending, each drawn when it is first read and kept from then on."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self._drawn: dict[str, bytes] = {}

    def __getitem__(self, ending: str) -> bytes:
        if ending not in self._drawn:
            self._drawn[ending] = _draw(self.figure, ending)
        return self._drawn[ending]

    def __iter__(self) -> Iterator[str]:
        return iter(METADATA)

    def __len__(self) -> int:
        return len(METADATA)


@dataclass(frozen=True)
class Picture:
    """One figure with its title and caption."""

    name: str
    title: str
    caption: Caption
    content: Mapping[str, bytes]  # by ending


@dataclass(frozen=True)
class Look:
    """Colour and marker of one row, the same in every figure."""

    colour: str
    marker: str


def looks(results: Results) -> dict[str, Look]:
    """A colour for each method and a marker for each of its rows, in the suite's order.

    The row that others are compared to is black, an untrained student grey.  A row looks the same
    under every condition.
    """
    reference = results.reference.name if results.reference else None
    found: dict[str, Look] = {}
    by_name: dict[str, Look] = {}
    colours: dict[str, str] = {}
    rows_of: dict[str, int] = {}
    for row in results.rows:
        if row.name in by_name:
            found[row.label] = by_name[row.name]
        elif row.name == reference:
            found[row.label] = Look(REFERENCE, "*")
        elif row.done and not row.trained:
            found[row.label] = Look(UNTRAINED, "X")
        else:
            new = len(colours)
            colour = colours.setdefault(row.method, PALETTE[new % len(PALETTE)])
            turn = [*colours].index(row.method) // len(PALETTE) + rows_of.get(row.method, 0)
            found[row.label] = Look(colour, MARKERS[turn % (len(MARKERS) - 1)])
            rows_of[row.method] = rows_of.get(row.method, 0) + 1
        by_name[row.name] = found[row.label]
    return found


def render(figure: Figure) -> Rendering:
    """The figure as SVG, PDF and PNG, without dates or versions in the files."""
    return Rendering(figure)


def _draw(figure: Figure, ending: str) -> bytes:
    """One format of the figure.

    savefig draws twice, first only to lay the panels out.  With fifty rows drawing takes long, so
    the first time no more is done than the layout: the files are the same.
    """
    FigureCanvasAgg(figure)
    draw = figure.draw

    def draw_once(renderer: RendererBase) -> None:
        engine = figure.get_layout_engine()  # a placeholder when it draws for good
        engine.execute(figure) if isinstance(engine, ConstrainedLayoutEngine) else draw(renderer)

    buffer = io.BytesIO()
    vars(figure)["draw"] = draw_once
    try:
        with matplotlib.rc_context(STYLE):
            figure.savefig(buffer, format=ending, dpi=160, metadata=METADATA[ending])
    finally:
        del vars(figure)["draw"]  # a figure goes to another process without it
    return _rounded(buffer.getvalue()) if ending == "svg" else buffer.getvalue()


def _rounded(svg: bytes) -> bytes:
    """An SVG with hundredths of a point for millionths, in its tags and not in its texts."""
    return re.sub(rb"<[^>]*>", lambda tag: re.sub(rb"(\d\.\d\d)\d+", rb"\1", tag[0]), svg)


def legend_columns(labels: Sequence[str]) -> int:
    """Columns of a legend of at most LEGEND_ROWS rows."""
    return max(1, -(-len(labels) // LEGEND_ROWS))


def grid(
    panels: int,
    size: tuple[float, float],
    columns: int,
    axes_labels: tuple[str, str],
    legend: Sequence[str],
) -> tuple[Figure, list[Axes]]:
    """Panels of one size (inches) with shared axes, labelled at the outer edges only.

    The figure is made wider by what the legend's labels need, so that panels keep their size.
    """
    (width, height), (x_label, y_label) = size, axes_labels
    columns = min(columns, panels)
    rows = -(-panels // columns)
    aside = legend_columns(legend) * (0.6 + 0.078 * max(map(len, legend), default=0))
    figure = Figure(figsize=(width * columns + aside, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    flat = [axis for line in axes for axis in line]
    for axis in flat[panels:]:
        axis.remove()
    for axis in flat[:panels]:
        axis.spines[["top", "right"]].set_visible(False)
    for axis in flat[max(0, panels - columns) : panels]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(x_label)
    for axis in flat[:panels:columns]:
        axis.set_ylabel(y_label)
    return figure, flat[:panels]
