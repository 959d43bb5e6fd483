"""The map: when weighting teachers pays, which score pays where, and where the weights go."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from compact_bench.analysis.detection import Auroc
from compact_bench.analysis.headroom import (
    RECOVERABLE,
    Headroom,
    detectors,
    fault_weights,
    headline,
    headrooms,
    methods,
    recovery,
    weighting,
)
from compact_bench.analysis.results import Results
from compact_bench.analysis.statistics import Difference
from compact_bench.report.parts import captions
from compact_bench.report.parts.numbers import decimals, scale
from compact_bench.report.parts.style import STYLE, Picture, Rendering, label_width
from compact_bench.report.tables.headroom import map_caption, scores
from compact_bench.report.tables.headroom import recovery_map as table
from compact_bench.suite.metrics import Measure

WIDTH = 9.4  # inches: at 96 pixels an inch what a README shows without making it smaller
NARROWEST, WIDEST = 0.58, 1.0  # inches of a column
LINE = 0.315  # inches of a line of numbers
_COLOURS = colormaps["RdBu"]  # told apart by colour-blind readers
_NOTHING, _PLAIN = "#f4f4f4", "#e9eaec"  # no value; a value that has no place on the scale
_TINT = 0.3  # of a difference in points that may be claimed


@dataclass(frozen=True)
class Square:
    """One square. heat: from -1 (bad) over 0 to 1 (good), NaN = none; below: the second line."""

    text: str = ""
    below: str = ""
    heat: float = math.nan
    bold: bool = False
    italic: bool = False


@dataclass(frozen=True)
class MapBlock:
    """Lines of squares below a heading, one for each condition."""

    title: str
    lines: Mapping[str, Sequence[Square]]


@rc_context(STYLE)
def recovery_map(results: Results) -> Picture | None:
    """Rows x conditions with what each recovers, what scores detect and the weight of faults."""
    made, measure = table(results), headline(results)
    if made is None or measure is None:
        return None
    places = headrooms(results)
    figure = _figure(places, blocks(results, places, measure))
    full = "20 points" if measure.shown.percent else "its unit"
    text = captions.caption(
        results,
        *map_caption(results),
        "Blue is good and red bad, white is no effect, chance or equal weights; italics on grey "
        f"are differences in {'points' if measure.shown.percent else full}, tinted where they may "
        "be claimed. Bold and ∗: survives the correction",
    )
    return Picture("map", made.title, text, Rendering(figure))


def blocks(results: Results, places: Sequence[Headroom], measure: Measure) -> list[MapBlock]:
    """What is drawn, from above: the headroom, the rows' shares, detection, weights of faults."""
    unit = "points" if measure.shown.percent else measure.shown.title
    truth, reference = results.suite["regret_to"], results.suite["compare_to"]
    gaps = [_gap(place.gaps[RECOVERABLE], measure) for place in places]
    shares = {
        name: [_share(results, place, name, measure) for place in places]
        for name in methods(results)
    }
    found = {place.condition: detectors(results, place.condition) for place in places}
    detected = {
        score: [
            _auroc(found[place.condition][score].auroc)
            if score in found[place.condition]
            else Square()
            for place in places
        ]
        for score in scores(results)
    }
    ratios = {
        name: [_weight(fault_weights(results, place.condition).get(name)) for place in places]
        for name in weighting(results)
    }
    every = [
        MapBlock(f"What could be gained, {unit}", {f"{truth} − {reference}": gaps}),
        MapBlock("Share of it that is gained", shares),
        MapBlock("What scores detect (AUROC)", detected),
        MapBlock("Weight on faults, over their share", ratios),
    ]
    return [block for block in every if block.lines]


def _gap(found: Difference | None, measure: Measure) -> Square:
    if found is None or not math.isfinite(found.mean):
        return Square("–")
    value = decimals(found.mean, 1, scale(measure))
    return Square(value, _around(found, 1, scale(measure)), 0.0, bold=found.clear)


def _around(found: Difference, digits: int, scale: float = 1) -> str:
    """The half-width of an interval; "" where it is not known."""
    known = math.isfinite(found.half_width)
    return f"±{decimals(found.half_width, digits, scale)}" if known else ""


def _share(results: Results, place: Headroom, name: str, measure: Measure) -> Square:
    found = recovery(results, place, name)
    if found is None:
        return Square()
    star = "∗" if found.marked else ""
    if found.share is None:
        value = decimals(found.difference.mean, 1, scale(measure), signed=True)
        width = _around(found.difference, 1, scale(measure))
        good = math.copysign(_TINT, found.difference.mean * measure.shown.better)
        heat = good if found.marked else math.nan
        return Square(value + star, width, heat, bold=found.marked, italic=True)
    value, width = decimals(found.share.mean, 2), _around(found.share, 2)
    return Square(value + star, width, found.share.mean, bold=found.marked)


def _auroc(found: Auroc) -> Square:
    clear = abs(found.value - 0.5) > found.half_width
    return Square(decimals(found.value, 2), "", 2 * found.value - 1, bold=clear)


def _weight(found: Difference | None) -> Square:
    if found is None:
        return Square()
    clear = abs(found.mean - 1) > found.half_width
    return Square(decimals(found.mean, 2), "", 1 - found.mean, bold=clear)


def _figure(places: Sequence[Headroom], drawn: Sequence[MapBlock]) -> Figure:
    labels = [label for block in drawn for label in block.lines]
    aside = label_width(labels)
    column = float(np.clip((WIDTH - aside) / len(places), NARROWEST, WIDEST))
    letters = int(column / 0.066)
    heads = [wrapped(place.condition, letters) for place in places]
    above = 0.45 + 0.13 * max(head.count("\n") + 1 for head in heads)
    heights = [len(block.lines) * (LINE if _two_lines(block) else 0.7 * LINE) for block in drawn]
    gap, below = 0.27, 0.5
    size = aside + column * len(places) + 0.1, above + sum(heights) + gap * len(drawn) + below
    figure = Figure(figsize=size)
    top = size[1] - above
    for number, (block, height) in enumerate(zip(drawn, heights, strict=True)):
        top -= gap + height
        box = aside / size[0], top / size[1], column * len(places) / size[0], height / size[1]
        axis = figure.add_axes(box)
        _draw(axis, block, places)
        axis.set_title(block.title, fontsize=8.5, pad=3, loc="left", x=-aside / size[0] / box[2])
        if number == 0:
            _heads(axis, places, heads, gap / height)
    _scale(figure, (aside / size[0], 0.28 / size[1], 2.4 / size[0], 0.1 / size[1]))
    return figure


def _two_lines(block: MapBlock) -> bool:
    return any(square.below for line in block.lines.values() for square in line)


def wrapped(text: str, letters: int) -> str:
    """A condition's name over several lines."""
    return textwrap.fill(text, letters, break_long_words=False)


def _heads(axis: Axes, places: Sequence[Headroom], heads: Sequence[str], gap: float) -> None:
    """The conditions' names above the first block, and above them which are controls."""
    for x, head in enumerate(heads):
        axis.annotate(head, (x + 0.5, 0), xytext=(0, 15), textcoords="offset points",
                      ha="center", va="bottom", fontsize=7.5, annotation_clip=False)  # fmt: skip
    controls = sum(not place.clear for place in places)
    ends = {"nothing to gain": (0, controls), "headroom": (controls, len(places))}
    high = 15 + 9.5 * max(head.count("\n") + 1 for head in heads) + 5
    for title, (start, end) in ends.items():
        if end > start:
            axis.annotate(title, ((start + end) / 2, 0), xytext=(0, high + 3), fontsize=8.5,
                          textcoords="offset points", ha="center", va="bottom",
                          fontweight="bold", annotation_clip=False)  # fmt: skip
            line = [start + 0.06, end - 0.06]
            axis.plot(line, [-high / 72 / LINE] * 2, color="#444444", linewidth=0.9, clip_on=False)


def _draw(axis: Axes, block: MapBlock, places: Sequence[Headroom]) -> None:
    axis.set_xlim(0, len(places))
    axis.set_ylim(len(block.lines), 0)
    controls = sum(not place.clear for place in places)
    for y, line in enumerate(block.lines.values()):
        for x, square in enumerate(line):
            _square(axis, x, y, square, _two_lines(block))
    if 0 < controls < len(places):
        axis.axvline(controls, color="#333333", linewidth=1.4, zorder=4)
    axis.set_yticks(np.arange(len(block.lines)) + 0.5, [*block.lines], fontsize=8)
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _square(axis: Axes, x: int, y: int, square: Square, two: bool) -> None:
    known = math.isfinite(square.heat)
    colour = _COLOURS(0.5 + 0.5 * np.clip(square.heat, -1, 1) * 0.92) if known else _PLAIN
    if not square.text:
        colour = _NOTHING
    axis.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.9))
    ink = "white" if known and abs(np.clip(square.heat, -1, 1)) > 0.66 else "#1c1e21"
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
    style |= {"fontstyle": "italic" if square.italic else "normal"}
    weight = "bold" if square.bold else "normal"
    middle = y + (0.36 if two and square.below else 0.5)
    axis.text(x + 0.5, middle, square.text, fontsize=8, fontweight=weight, **style)
    if square.below:
        axis.text(x + 0.5, y + 0.77, square.below, fontsize=6.2, **style)


def _scale(figure: Figure, box: tuple[float, float, float, float]) -> None:
    """The colours, with what their ends are in each block."""
    axis = figure.add_axes(box)
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), _COLOURS), axis, orientation="horizontal"
    )
    bar.set_ticks([-1, 0, 1], labels=["bad", "none", "good"], fontsize=7)
    bar.outline.set_visible(False)
    axis.tick_params(length=0, pad=1)
    axis.annotate(
        "share −1, 0, 1; AUROC 0, 0.5, 1; weight 2, 1, 0. Grey italics: points, no share",
        (1.03, 0.5), xycoords="axes fraction", fontsize=7, va="center", annotation_clip=False,
    )  # fmt: skip
