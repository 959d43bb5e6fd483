"""How figures are drawn: colours, markers, grid of panels, files that hold no dates."""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import seaborn
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from compact_bench.analysis.forgetting import front
from compact_bench.analysis.results import Results, Row
from compact_bench.report.parts import captions
from compact_bench.report.parts.captions import Caption
from compact_bench.report.parts.formats import escape_markdown
from compact_bench.utils.files import write_bytes, write_text

# Okabe and Ito's palette, told apart by colour-blind readers; yellow left out, too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

UNTRAINED, REFERENCE = "#767676", "#000000"
MOST_COLOURED = 15  # rows; of more only the front, the reference and untrained students

LEGEND_ROWS = 24

Marker = str | tuple[int, int, int]
# The last two are stars of four and of six points.
MARKERS: tuple[Marker, ...] = (*"XosD^vP<>hpd", (4, 1, 0), (6, 1, 0))
# Of three points: for rows that find every other look taken.
SPARE: tuple[Marker, ...] = ((3, 1, 0), (3, 1, 180))

# With this one the rows of one suite seldom want the same look, and share out the colours.
_SALT = 868

DASHED: Any = (0, (5, 3))

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
    "axes.spines.top": False,
    "axes.spines.right": False,
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


class Rendering(dict[str, bytes]):
    """A figure's files by ending, each drawn when it is first read; without dates or versions."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def __missing__(self, ending: str) -> bytes:
        self[ending] = _draw(self.figure, ending)
        return self[ending]


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
    marker: Marker

    def style(self, size: float) -> dict[str, Any]:
        """Keywords of `Axes.plot`; stars are drawn larger, since they fill less of their size."""
        size *= 1.5 if self.marker not in MARKERS[:-2] else 1
        look = {"color": self.colour, "marker": self.marker, "markersize": size}
        return look | {"markeredgecolor": "white", "markeredgewidth": 0.6}


OTHER = Look("#b9bdc2", "o")  # of rows that are not told apart by their looks


def shown_looks(results: Results) -> dict[str, Look]:
    """The look of every row by label: of many rows all but the front's, the reference's and those
    of untrained students are OTHER."""
    every = looks(results.rows, captions.reference(results))
    if len({row.name for row in results.rows}) <= MOST_COLOURED:
        return every
    named = front(results) | {captions.reference(results)}
    plain = {row.label for row in results.rows if row.name not in named and row.trained}
    return {label: OTHER if label in plain else look for label, look in every.items()}


def in_legend(looks: Mapping[str, Look]) -> dict[str, Look]:
    """The looks that a legend explains: those that are OTHER together."""
    own = {label: look for label, look in looks.items() if look != OTHER}
    others = len(looks) - len(own)
    return own | ({f"{others} other rows": OTHER} if others else {})


def looks(rows: Sequence[Row], reference: str) -> dict[str, Look]:
    """A look for each row by label, no two names with the same.

    The reference row is a black star, untrained students are grey. Others have the colour of their
    family (`single_teacher` of `single_teacher[terse]`) and a marker, both by a hash of the name,
    so that a row looks the same beside whatever rows it stands; only where two would look alike
    the later one has the next marker. A row looks the same under every condition.
    """
    by_name: dict[str, Look] = {}
    for row in rows:
        if row.name not in by_name:
            choices = _choices(row, reference)
            by_name[row.name] = next(look for look in choices if look not in by_name.values())
    return {row.label: by_name[row.name] for row in rows}


def _choices(row: Row, reference: str) -> Iterator[Look]:
    """The looks that a row may have, the preferred one first."""

    def rotated(options: Sequence[Any], name: str) -> list[Any]:
        """The options, from the one that a hash of the name picks onwards."""
        at = zlib.crc32(f"{_SALT}{name}".encode()) % len(options)
        return [*options[at:], *options[:at]]

    if row.name == reference:
        yield Look(REFERENCE, "*")
    if row.done and not row.trained:
        yield from (Look(UNTRAINED, marker) for marker in MARKERS)
    colours = rotated(PALETTE, re.split(r"[\[(]", row.name)[0])
    for colour in colours:
        yield from (Look(colour, marker) for marker in rotated(MARKERS, row.name))
    yield from (Look(colour, marker) for colour in colours for marker in SPARE)


def tag(row: str, *drawn: Artist | Container) -> None:
    """Name the row that something drawn is of, for the page: as `data-row` in the SVG."""
    for one in drawn:
        for artist in one.get_children() if isinstance(one, Container) else [one]:
            artist.set_gid(f"row={row}")


def row_handles(looks: Mapping[str, Look], size: float, linewidth: float = 0) -> list[Line2D]:
    """Entries of a legend, one a row."""
    return [
        Line2D([], [], label=label, linewidth=linewidth, **look.style(size))
        for label, look in looks.items()
    ]


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
    if ending != "svg":
        return buffer.getvalue()

    def rounded(tag: re.Match[bytes]) -> bytes:
        return re.sub(rb"(\d\.\d\d)\d+", rb"\1", tag[0])

    # Hundredths of a point for millionths, in its tags and neither in its texts nor in names.
    svg = re.sub(rb'<(?!g id="row=)[^>]*>', rounded, buffer.getvalue())
    return svg.replace(b'<g id="row=', b'<g data-row="')  # several parts of a row: no id


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


def label_width(labels: Iterable[str]) -> float:
    """What tick labels need on the left, in inches; longer ones take it from the panels."""
    return min(3.0, 0.3 + 0.068 * max(map(len, labels)))


def legend_width(labels: Sequence[str]) -> float:
    """What a legend needs on the right, in inches."""
    columns = max(1, math.ceil(len(labels) / LEGEND_ROWS))
    return columns * (0.7 + 0.078 * max(map(len, labels), default=0))


def legend(figure: Figure, handles: Sequence[Line2D], labels: Sequence[str], **more: Any) -> None:
    """A legend on the right: with ten rows and more, labels at the points would overlap.

    labels: those of the rows, which decide its columns.
    """
    columns = max(1, math.ceil(len(labels) / LEGEND_ROWS))
    figure.legend(handles=handles, loc="outside right center", ncols=columns, **more)


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
    size = (width * columns + legend_width(legend), height * rows)
    figure = Figure(figsize=size, layout="constrained")
    flat = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axis in flat[panels:]:
        axis.remove()
    for axis in flat[max(0, panels - columns) : panels]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(x_label)
    for axis in flat[:panels:columns]:
        axis.set_ylabel(y_label)
    return figure, flat[:panels]
