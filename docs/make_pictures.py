"""The pictures of docs/compact.md: the world of the suite ladder, and a published run of version 1.

    python docs/make_pictures.py

The graph: the first question, by hash, to which exactly one teacher of four gives a wrong answer,
seen by the untrained student. The curve: the question with the largest gain of a step in the last
epoch of COMPACT's first seed, among those where all four teachers have an open step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pandas as pd
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from compact_bench.api import Axes, Compatibility, consensus
from compact_bench.execution.prepare import prepare
from compact_bench.methods.scores.consensus import to_networkx
from compact_bench.records.cells import read_cells
from compact_bench.records.suite_record import read_suite_record
from compact_bench.report.parts.style import PALETTE, STYLE, Rendering, legend_width
from compact_bench.student.encode import collate, encode_bank
from compact_bench.student.load import load_student
from compact_bench.suite.schema import load_suite
from compact_bench.utils.files import write_bytes

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"
METHOD = "compact"

RIGHT, WRONG = "#009E73", "#D55E00"

_LINE_STYLES: dict[bool, Any] = {True: "-", False: (0, (4, 2))}


def consensus_graph(
    adjacency: np.ndarray,
    names: Sequence[str],
    right: Sequence[bool],
    centralities: Sequence[float],
) -> Mapping[str, bytes]:
    """Draw one question's rationales as a graph, as SVG, PDF and PNG.

    Nodes are rationales: green circles with the right answer, orange squares with a wrong one,
    their size and number the centrality; an edge is as wide as the two agree.

    adjacency: (R,R) float, symmetric, not negative; its diagonal is not drawn.  names, right and
    centralities: one a rationale.  ValueError where the sizes differ.
    """
    count = len(names)
    if np.shape(adjacency) != (count, count) or not count == len(right) == len(centralities):
        raise ValueError(f"{count} names for a matrix of {np.shape(adjacency)}")
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(4.2, 3.9), layout="constrained")
        axis = figure.subplots()
        _graph(axis, np.asarray(adjacency, dtype=float), names, right, centralities)
        handles = [
            Line2D([], [], marker=marker, color=colour, linewidth=0, markersize=8, label=label)
            for label, marker, colour in (
                ("right answer", "o", RIGHT),
                ("wrong answer", "s", WRONG),
            )
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return Rendering(figure)


def _graph(
    axis: Panel,
    adjacency: np.ndarray,
    names: Sequence[str],
    right: Sequence[bool],
    centralities: Sequence[float],
) -> None:
    graph = to_networkx(adjacency, range(len(names)))  # two samples may share a name
    # A circle, since a layout by force would need a seed and put unlike nodes on one spot.
    places = networkx.circular_layout(graph) if len(names) > 1 else {0: np.zeros(2)}
    most = max(float(np.abs(adjacency - np.diag(np.diag(adjacency))).max(initial=0.0)), 1e-12)
    widths = [0.4 + 6.0 * float(weight) / most for _, _, weight in graph.edges(data="weight")]
    networkx.draw_networkx_edges(graph, places, ax=axis, width=widths, edge_color="#9aa3ad")
    highest = max(*map(float, centralities), 1e-12)
    for node, centrality in enumerate(centralities):
        networkx.draw_networkx_nodes(
            graph, places, nodelist=[node], ax=axis, node_shape="o" if right[node] else "s",
            node_color=RIGHT if right[node] else WRONG, edgecolors="white", linewidths=1.5,
            node_size=420 + 900 * max(0.0, float(centrality)) / highest,
        )  # fmt: skip
        x, y = places[node]
        axis.annotate(f"{centrality:.2f}", (x, y), ha="center", va="center", color="white",
                      fontsize=8, fontweight="bold", zorder=5)  # fmt: skip
        # Names outside the circle, where no edge runs.
        away = np.array([x, y]) / (np.hypot(x, y) or 1.0)
        axis.annotate(
            names[node], (x, y), xytext=(24 * away[0], 24 * away[1]) if away.any() else (0, 24),
            textcoords="offset points", ha=_side(away[0], "left", "right"),
            va=_side(away[1], "bottom", "top"), fontsize=9,
        )  # fmt: skip
    axis.set_xlim(-1.75, 1.75)
    axis.set_ylim(-1.45, 1.45)
    axis.set_axis_off()


def _side(offset: float, positive: str, negative: str) -> str:
    return "center" if abs(offset) < 0.3 else positive if offset > 0 else negative


def epiphany_curve(
    gains: Mapping[str, Sequence[float]],
    right: Mapping[str, bool],
    epiphanies: Mapping[str, Sequence[bool]] | None = None,
) -> Mapping[str, bytes]:
    """Draw how far each reasoning step brings the student to the gold answer, a line a teacher.

    The line is the sum of gains up to a step, in nats an answer token, 0 before the first one;
    full lines end in the right answer, dashed ones in a wrong one; rings mark epiphanies.

    gains: by teacher, the gain of each step (NaN counts as 0).  right: by teacher.  epiphanies: by
    teacher, whether each step is one.  ValueError where epiphanies and gains don't match.
    """
    epiphanies = epiphanies or {}
    for name, marked in epiphanies.items():
        if name not in gains:
            raise ValueError(f"{name!r} names no teacher of {', '.join(gains)}")
        if len(marked) != len(gains[name]):
            raise ValueError(f"{name} has {len(gains[name])} gains and {len(marked)} marks")
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6 + legend_width([*gains]), 3.1), layout="constrained")
        axis = figure.subplots()
        axis.axhline(0, color="#888888", linewidth=0.9, linestyle=":", zorder=1)
        for number, (name, steps) in enumerate(gains.items()):
            heights = np.concatenate([[0.0], np.nancumsum(np.asarray(steps, dtype=float))])
            colour = PALETTE[number % len(PALETTE)]
            axis.plot(
                np.arange(len(heights)), heights, color=colour, linewidth=1.7, marker=".",
                markersize=6, linestyle=_LINE_STYLES[bool(right[name])], zorder=3,
            )  # fmt: skip
            at = 1 + np.flatnonzero(np.asarray(epiphanies.get(name, ()), dtype=bool))
            axis.plot(
                at, heights[at], linewidth=0, marker="o", markersize=11, zorder=4,
                markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.5,
            )  # fmt: skip
        _epiphany_axes(axis, max((len(steps) for steps in gains.values()), default=1))
        figure.legend(handles=_epiphany_legend(gains, right), loc="outside right center")
        return Rendering(figure)


def _epiphany_axes(axis: Panel, steps: int) -> None:
    axis.set_xticks(range(0, steps + 1, max(1, -(-steps // 10))))
    axis.set_xlim(-0.25, steps + 0.25)
    axis.margins(y=0.12)
    axis.set_xlabel("reasoning step")
    axis.set_ylabel("gain so far, nats a token")


def _epiphany_legend(gains: Mapping[str, object], right: Mapping[str, bool]) -> list[Line2D]:
    lines = [
        Line2D([], [], color=PALETTE[i % len(PALETTE)], linewidth=1.7, label=name,
               linestyle=_LINE_STYLES[bool(right[name])])
        for i, name in enumerate(gains)
    ]  # fmt: skip
    grey = "#6b7280"
    return [
        *lines,
        Line2D([], [], linewidth=0, label=" "),
        Line2D([], [], color=grey, linewidth=1.7, label="right answer"),
        Line2D([], [], color=grey, linewidth=1.7, linestyle=_LINE_STYLES[False],
               label="wrong answer"),
        Line2D([], [], color=grey, linewidth=0, marker="o", markersize=9,
               markerfacecolor="none", markeredgewidth=1.5, label="epiphany"),
    ]  # fmt: skip


def graph() -> None:
    """Draws the consensus graph of one question."""
    suite = load_suite(ROOT / "suites" / "ladder.yaml")
    bank = prepare(suite).train
    teachers = bank.only_teachers(bank.teachers)
    wrong = teachers.rationales.groupby("question_id")["right"].apply(lambda right: (~right).sum())
    question = next(key for key in teachers.questions["question_id"] if wrong[key] == 1)
    student = load_student(suite.student)
    examples, _ = encode_bank(teachers, student.encoder, suite.training.max_tokens)
    compatibility = Compatibility(Axes(scores=["consensus"]))
    with torch.no_grad():
        for at in range(0, len(examples), 8):
            batch = collate(examples[at : at + 8])
            compatibility.observe(batch, student.forward(batch, needs=compatibility.needs(student)))
        batch = collate([one for one in examples if one.question_id == question])
        out = student.forward(batch, needs=compatibility.needs(student))
    edges = consensus.agreement_graph(
        out.states, batch.answers, batch.present, compatibility.centre, Axes().mix
    )
    shown = teachers.rationales[teachers.rationales["question_id"] == question]
    shown = shown.set_index("teacher").loc[list(teachers.teachers)]
    made = consensus_graph(
        edges[0].numpy(),
        list(teachers.teachers),
        shown["right"].tolist(),
        consensus.strength(edges)[0].tolist(),
    )
    write_bytes(FIGURES / "consensus_graph.svg", made["svg"])
    print(teachers.questions.set_index("question_id").loc[question, "question"])
    print(shown[["text", "right"]].to_string())


def curve() -> None:
    """Draws how one question's answer becomes likely, step by step."""
    folder = ROOT / "results" / "published" / "ablate_scores" / "mini"
    cells = {cell.run_id: cell for cell in read_cells(folder)}
    run_id = next(c["run_id"] for c in read_suite_record(folder).cells if c["label"] == METHOD)
    steps = cells[run_id].table("epiphany").to_pandas()
    steps = steps[steps["epoch"] == steps["epoch"].max()]
    everyone = steps.groupby("question_id")["teacher"].nunique().eq(4)
    steps = steps[steps["question_id"].map(everyone)]
    question = steps.loc[steps["gain"].idxmax(), "question_id"]
    bank = pd.read_parquet(folder / "bank.parquet")
    bank = bank[(bank["question_id"] == question) & (bank["role"] == "teacher")]
    shown = bank.set_index("teacher")
    by_teacher = steps[steps["question_id"] == question].sort_values("rationale_step")
    parts = dict(iter(by_teacher.groupby("teacher", sort=False)))
    made = epiphany_curve(
        {name: part["gain"].to_numpy() for name, part in parts.items()},
        {name: bool(shown.loc[name, "right"]) for name in parts},
        {name: part["epiphany"].to_numpy() for name, part in parts.items()},
    )
    write_bytes(FIGURES / "epiphany_curve.svg", made["svg"])
    print(shown["question"].iloc[0])
    print(shown[["text", "right"]].to_string())
    print(by_teacher[["teacher", "rationale_step", "gain"]].to_string())


if __name__ == "__main__":
    graph()
    curve()
