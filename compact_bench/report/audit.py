"""An audit of teachers as text, as JSON and as one figure."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import seaborn
from matplotlib import rc_context
from matplotlib.figure import Figure

from compact_bench.analysis.audit import Audit, warnings
from compact_bench.report.parts.numbers import decimals
from compact_bench.report.parts.style import PALETTE, STYLE, Rendering, label_width
from compact_bench.utils.files import write_bytes
from compact_bench.utils.printing import table_text

NOTES = (
    "right: share with the gold answer, with its 95% Wilson interval. words, steps: medians, the "
    "answer's sentence left out. repeated: texts that stand more than once. Every number is of "
    "the training questions' rationales."
)


def text(found: Audit) -> str:
    """What `audit` prints."""
    shown = any(np.isfinite(one.nll) for one in found.teachers)
    rows = [
        {
            "teacher": one.teacher,
            "questions": one.questions,
            "rationales": one.rationales,
            "readable, %": decimals(one.readable, scale=100),
            "right, %": decimals(one.right, scale=100),
            "interval": f"{decimals(one.low, scale=100)} to {decimals(one.high, scale=100)}",
            "words": decimals(one.words, 0),
            "steps": decimals(one.steps, 0),
            "repeated, %": decimals(one.repeated, scale=100),
            **({"nats a token": decimals(one.nll, 3)} if shown else {}),
        }
        for one in found.teachers
    ]
    order = [
        {"in this order": name, "questions with a right answer, %": decimals(share, scale=100)}
        for name, share in found.order
    ]
    pairs = [
        {"": name, **{other: decimals(value, 2) for other, value in line.items()}}
        for name, line in found.together.to_dict("index").items()
    ]
    parts = [f"{found.questions} training questions, {found.test} test questions"]
    parts += [table_text(rows), NOTES]
    if len(found.teachers) > 1:
        parts += ["Whom to pay first (each adds most to those before it):", table_text(order)]
        parts += ["Do they err on the same questions? (phi: 1 always, 0 no more than by chance)"]
        parts += [table_text(pairs)]
    parts += [f"Look at: {line}" for line in warnings(found)]
    return "\n\n".join(parts)


def content(found: Audit) -> dict[str, Any]:
    """What `audit --json` prints: all numbers unrounded, None where one is not known."""

    def known(value: Any) -> Any:
        return None if isinstance(value, float) and not np.isfinite(value) else value

    teachers = [{k: known(v) for k, v in asdict(one).items()} for one in found.teachers]
    together = {
        name: {other: known(float(value)) for other, value in line.items()}
        for name, line in found.together.to_dict("index").items()
    }
    order = [{"teacher": name, "share": known(share)} for name, share in found.order]
    facts = {"questions": found.questions, "test": found.test}
    leaks = {"same": list(found.same), "alike": list(found.alike)}
    told = {"warnings": list(warnings(found))}
    return {"teachers": teachers, "together": together, "order": order, **facts, **leaks, **told}


@rc_context(STYLE)
def draw(found: Audit, path: Path) -> Path:
    """Accuracy, errors in common and what each teacher adds; the path's ending is the format.

    Raises UserError where it can't be written.
    """
    names = [one.teacher for one in found.teachers]
    aside = label_width(names)
    figure = Figure(figsize=(aside + 8.4, 1.3 + 0.34 * len(names)), layout="constrained")
    accuracy, errors, added = figure.subplots(1, 3, width_ratios=(3, 3, 2.4))
    at = np.arange(len(names))
    values = np.array([[one.low, one.right, one.high] for one in found.teachers]) * 100
    width = [values[:, 1] - values[:, 0], values[:, 2] - values[:, 1]]
    accuracy.errorbar(values[:, 1], at, xerr=width, fmt="o", color=PALETTE[0], markersize=5)
    accuracy.set_yticks(at, names)
    accuracy.set_ylim(len(names) - 0.5, -0.5)
    accuracy.set_xlabel("right answers, %")
    seaborn.heatmap(
        found.together.to_numpy(), ax=errors, annot=True, fmt=".2f", cmap="vlag", vmin=-1, vmax=1,
        cbar=False, xticklabels=names, yticklabels=False, annot_kws={"fontsize": 8},
    )  # fmt: skip
    errors.tick_params(axis="x", rotation=35)
    errors.set_xlabel("errors in common (phi)")
    shares = [100 * share for _, share in found.order]
    added.plot(range(1, len(shares) + 1), shares, "o-", color=PALETTE[2])
    for number, (name, _) in enumerate(found.order, 1):
        added.annotate(name, (number, shares[number - 1]), xytext=(0, 5), fontsize=7.5,
                       textcoords="offset points", ha="center")  # fmt: skip
    added.set_xticks(range(1, len(shares) + 1))
    added.set_xlabel("teachers that are paid for")
    added.set_ylabel("right by any of them, %")
    added.margins(x=0.25, y=0.25)
    return write_bytes(path, Rendering(figure)[path.suffix.removeprefix(".")])
