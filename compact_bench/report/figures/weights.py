"""The weight of each teacher over training, a panel a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from compact_bench.analysis.results import Results, Row
from compact_bench.records.cells import joined_steps
from compact_bench.report.parts import captions
from compact_bench.report.parts.style import PALETTE, STYLE, Picture, Rendering, grid, legend

BINS = 30
MAX_COLUMNS = 3
MAX_PANELS = 24


def weighted(row: Row) -> pd.DataFrame:
    """The row's recorded weights by seed, step and teacher; empty where they are all equal.

    Weights count as chosen where, within one question and step, some rationale's differs from an
    equal share by more than 1e-6.  Columns: seed, step, teacher, weight (mean over questions, of a
    teacher's rationales together).
    """
    columns = ["seed", "step", "teacher", "weight"]
    needed = {"step", "question_id", "teacher", "weight"}
    frame = joined_steps(row.done, needed.__contains__, needed)
    if frame.empty or (frame := frame.dropna(subset=["weight"])).empty:
        return pd.DataFrame(columns=columns)
    # Numbers, since texts take long to group.
    frame = frame.assign(question_id=pd.factorize(frame["question_id"])[0])
    equal = 1.0 / frame.groupby(["seed", "step", "question_id"])["weight"].transform("size")
    chosen = ((frame["weight"] - equal).abs() > 1e-6).groupby(frame["seed"]).transform("any")
    if (frame := frame[chosen]).empty:
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


@rc_context(STYLE)
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
    titles = ("optimizer step", "mean weight")
    figure, axes = grid(len(found), (3.1, 2.5), MAX_COLUMNS, titles, teachers)
    for axis, (row, frame) in zip(axes, found, strict=True):
        _weight_lines(axis, binned(frame), teachers)
        axis.set_title(row.label)
    axes[0].set_ylim(0, max(axis.dataLim.y1 for axis in axes) * 1.05)
    axes[0].set_xlim(0, max(axis.dataLim.x1 for axis in axes))
    handles = [Line2D([], [], **_line_style(i), label=name) for i, name in enumerate(teachers)]
    handles.append(Line2D([], [], color="#888888", linewidth=0.9, linestyle=":", label="equal"))
    legend(figure, handles, teachers, title="teacher")
    text = captions.caption(
        results,
        "Weight of each teacher's rationales over training, mean over the questions of a stretch "
        "of steps and over seeds; bands: lowest to highest seed. Dotted: equal weights",
    )
    return Picture("weights", "Weights by teacher over training", text, Rendering(figure))


def _line_style(index: int) -> dict[str, Any]:
    """Colour and dashes of a teacher's line."""
    dashes: Any = ("-", (0, (6, 2)), (0, (2, 1.2)), (0, (6, 2, 1.5, 2)))
    dash = dashes[index // len(PALETTE) % len(dashes)]
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": dash, "linewidth": 1.8}


def _weight_lines(axis: Axes, frame: pd.DataFrame, teachers: Sequence[str]) -> None:
    present = [name for name in teachers if name in set(frame["teacher"])]
    axis.axhline(1 / len(present), color="#888888", linewidth=0.9, linestyle=":", zorder=1)
    for index, teacher in enumerate(teachers):
        own = frame[frame["teacher"] == teacher].groupby("step")["weight"]
        one, style = own.agg(["mean", "min", "max"]), _line_style(index)
        band = {"color": style["color"], "alpha": 0.18, "linewidth": 0}
        axis.fill_between(one.index, one["min"], one["max"], **band)
        axis.plot(one.index, one["mean"], **style)
