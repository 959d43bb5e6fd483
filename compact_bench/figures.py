"""Results -> figures: reasoning against forgetting, and weights by teacher over training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from compact_bench import (
    captions,
    comparison_figures,
    curves,
    joining,
    latent_figures,
    retention_figures,
)
from compact_bench.atomic import write_bytes, write_text
from compact_bench.drawing import PALETTE, STYLE, Picture, grid, legend_columns, looks, render
from compact_bench.forked import mapped
from compact_bench.formats import escape_markdown
from compact_bench.measures import Measure
from compact_bench.outcomes import Results, Row, Seed

BINS = 30
MAX_COLUMNS = 3
MAX_PANELS = 24
NAMES = (
    *("tradeoff", "differences", "weights", "ladder", "ablation", "curves", "corrupted_weight"),
    *("retention_curves", "latent", "latent_map"),
)


def tradeoff(results: Results) -> Picture | None:
    """Reasoning accuracy against the share of each old skill that is kept; None without both.

    With conditions there would be too many points to tell apart: `curves` shows them.
    """
    if results.conditions:
        return None
    reasoning = next(iter(results.headlines("reasoning")), None)
    forgetting = results.headlines("forgetting")
    if reasoning is None or not forgetting:
        return None
    panels: list[tuple[str, dict[str, dict[Seed, float]]]] = []
    for measure in forgetting:
        kept = {row.label: results.kept(row, measure) for row in results.rows}
        if np.isfinite([value for by_seed in kept.values() for value in by_seed.values()]).any():
            panels.append((measure.task_title, kept))
    if len(panels) > 1:
        mean = {row.label: results.kept_mean(row) for row in results.rows}
        panels.insert(0, ("mean over forgetting tasks", mean))
    if not panels:
        return None
    with matplotlib.rc_context(STYLE):
        unit = ", %" if reasoning.shown.percent else ""
        titles = (f"{reasoning.task_title}: {reasoning.shown.title}{unit}", "old skill kept, %")
        size = (3.1, 3.0) if len(panels) > 1 else (4.2, 3.6)
        shown = [
            row.label
            for row in results.rows
            if row.values.get(reasoning) and any(kept.get(row.label) for _, kept in panels)
        ]
        figure, axes = grid(len(panels), size, 2, titles, shown)
        for axis, (title, kept) in zip(axes, panels, strict=True):
            _scatter(axis, results, reasoning, kept)
            axis.set_title(title)
        _legend(figure, results, shown)
        content = render(figure)
    text = captions.caption(
        results,
        "Reasoning after training against old skill kept, (after − chance) / (before − chance). "
        "Large markers: mean over seeds, bars: standard deviation, small markers: single seeds. "
        "Dashed: nothing forgotten. Upper right is better",
    )
    return Picture("tradeoff", "Reasoning against forgetting", text, content)


def _scatter(
    axis: Axes, results: Results, reasoning: Measure, kept: Mapping[str, Mapping[Seed, float]]
) -> None:
    scale = 100 if reasoning.shown.percent else 1
    axis.axhline(100, color="#888888", linewidth=0.9, linestyle=(0, (5, 3)), zorder=1)
    for row in results.rows:
        look = looks(results)[row.label]
        gained = row.values.get(reasoning, {})
        points = [(scale * gained[s], 100 * kept[row.label].get(s, np.nan)) for s in gained]
        points = [point for point in points if np.isfinite(point).all()]
        if not points:
            continue
        x, y = np.array(points).T
        style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linewidth": 0}
        if len(x) > 1:
            axis.plot(x, y, markersize=3.6, alpha=0.45, markeredgewidth=0, zorder=2, **style)
            spread = {"xerr": x.std(ddof=1), "yerr": y.std(ddof=1)}
            axis.errorbar(
                x.mean(), y.mean(), **spread, fmt="none", ecolor=look.colour, elinewidth=1.0,
                alpha=0.7, zorder=3,
            )  # fmt: skip
        size = 11 if look.marker == "*" else 7.5
        axis.plot(
            x.mean(), y.mean(), markersize=size, markeredgecolor="white", markeredgewidth=0.8,
            zorder=4, **style,
        )  # fmt: skip
    axis.margins(0.08)


def _legend(figure: Figure, results: Results, labels: Sequence[str]) -> None:
    """A legend beside the panels: with ten rows and more, labels at the points would overlap."""
    handles = [
        Line2D(
            [],
            [],
            linewidth=0,
            color=look.colour,
            marker=look.marker,
            label=label,
            markersize=10 if look.marker == "*" else 7,
            markeredgecolor="white",
        )
        for label, look in looks(results).items()
        if label in labels
    ]
    columns = legend_columns(labels)
    figure.legend(handles=handles, loc="outside right center", ncols=columns)


def weighted(row: Row) -> pd.DataFrame:
    """The row's recorded weights by seed, step and teacher; empty where they are all equal.

    Weights count as chosen where, within one question and step, some rationale's differs from an
    equal share by more than 1e-6.  Columns: seed, step, teacher, weight (mean over questions, of a
    teacher's rationales together).
    """
    columns = ["seed", "step", "teacher", "weight"]
    asked = {"step", "question_id", "teacher", "weight"}
    frame = joining.steps(row.done, asked.__contains__, asked)
    frame = frame.dropna(subset=["weight"]) if len(frame) else frame
    if frame.empty:
        return pd.DataFrame(columns=columns)
    # Numbers, since texts take long to group.
    frame = frame.assign(question_id=pd.factorize(frame["question_id"])[0])
    equal = 1.0 / frame.groupby(["seed", "step", "question_id"])["weight"].transform("size")
    chosen = ((frame["weight"] - equal).abs() > 1e-6).groupby(frame["seed"]).transform("any")
    frame = frame[chosen]
    if frame.empty:
        return pd.DataFrame(columns=columns)
    questions = frame.groupby(["seed", "step"])["question_id"].nunique()
    total = frame.groupby(["seed", "step", "teacher"], observed=True)["weight"].sum().unstack()
    share = total.fillna(0.0).div(questions, axis=0).reset_index()
    long = share.melt(id_vars=["seed", "step"], var_name="teacher", value_name="weight")
    read = frame[["seed", "teacher"]].drop_duplicates()  # a seed may read fewer than another
    return long.merge(read, on=["seed", "teacher"])[columns]


def binned(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean weight in at most BINS equal stretches of steps, by seed and teacher."""
    last = int(frame["step"].max()) + 1
    width = max(1, -(-last // BINS))
    middle = (frame["step"] // width) * width + (width - 1) / 2
    keys = ["seed", "teacher", "step"]
    return frame.assign(step=middle).groupby(keys, sort=True)["weight"].mean().reset_index()


def weights(results: Results) -> Picture | None:
    """Each teacher's mean weight over training, a panel a method; None where none has weights."""
    if len(results.conditions) * len({row.name for row in results.rows}) > MAX_PANELS:
        return None  # the table of coverage has every row's mean weights
    found = [(row, frame) for row in results.rows if not (frame := weighted(row)).empty]
    if not found:
        return None
    seen = dict.fromkeys(name for _, frame in found for name in sorted(set(frame["teacher"])))
    known = [name for name in results.teachers if name in seen]
    teachers = [*known, *(name for name in seen if name not in known)]
    with matplotlib.rc_context(STYLE):
        titles = ("optimizer step", "mean weight")
        figure, axes = grid(len(found), (3.1, 2.5), MAX_COLUMNS, titles, teachers)
        for axis, (row, frame) in zip(axes, found, strict=True):
            _weight_lines(axis, binned(frame), teachers)
            axis.set_title(row.label)
        axes[0].set_ylim(0, max(axis.dataLim.y1 for axis in axes) * 1.05)
        axes[0].set_xlim(0, max(axis.dataLim.x1 for axis in axes))
        handles = [
            Line2D([], [], color=_teacher_colour(i), linestyle=_dash(i), linewidth=1.8, label=name)
            for i, name in enumerate(teachers)
        ]
        handles.append(Line2D([], [], color="#888888", linewidth=0.9, linestyle=":", label="equal"))
        figure.legend(handles=handles, loc="outside right center", title="teacher")
        content = render(figure)
    text = captions.caption(
        results,
        "Weight of each teacher's rationales over training, mean over the questions of a stretch "
        "of steps and over seeds; bands: lowest to highest seed. Dotted: equal weights",
    )
    return Picture("weights", "Weights by teacher over training", text, content)


def _teacher_colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def _dash(index: int) -> Any:
    return ("-", (0, (6, 2)), (0, (2, 1.2)), (0, (6, 2, 1.5, 2)))[index // len(PALETTE) % 4]


def _weight_lines(axis: Axes, frame: pd.DataFrame, teachers: Sequence[str]) -> None:
    present = [name for name in teachers if name in set(frame["teacher"])]
    axis.axhline(1 / len(present), color="#888888", linewidth=0.9, linestyle=":", zorder=1)
    for index, teacher in enumerate(teachers):
        one = (
            frame[frame["teacher"] == teacher].groupby("step")["weight"].agg(["mean", "min", "max"])
        )
        colour = _teacher_colour(index)
        axis.fill_between(one.index, one["min"], one["max"], color=colour, alpha=0.18, linewidth=0)
        axis.plot(one.index, one["mean"], color=colour, linestyle=_dash(index), linewidth=1.8)


def build(results: Results) -> list[Picture]:
    """The figures that these results allow."""
    makers = (
        tradeoff,
        retention_figures.retention_curves,
        comparison_figures.differences,
        curves.curves,
        comparison_figures.ladder,
        comparison_figures.ablation,
        curves.corrupted_weight,
        weights,
        latent_figures.latent,
        latent_figures.latent_map,
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
