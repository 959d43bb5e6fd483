"""Time and memory of a training step and of answering, for docs/performance.md.

    tox -e peers

Every contender runs in a process of its own, one thread each, and takes its steps in turn with the
others, so that a busy machine slows all alike; a figure is the median of pairs. With
COMPACT_BENCH_STUDENT (SmolLM2-135M as a GGUF file, say) and COMPACT_BENCH_MIRROR the student and
SVAMP's rationales are real, else `nano` and generated problems.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, ScalarFormatter

from compact_bench.report.parts.style import PALETTE, STYLE, Rendering
from compact_bench.utils.files import write_bytes, write_text
from compact_bench.utils.machine import has_bfloat16
from tests.bench.contender import PRODUCT

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"
ROUNDS = int(os.environ.get("COMPACT_BENCH_ROUNDS", "5"))
SIZES = {"teachers": (1, 2, 4, 8), "length": (32, 64, 128, 256), "batch": (1, 2, 4, 8)}
SHAPE = {"width": 576, "layers": 6, "teachers": 4, "length": 64, "batch": 1}
SHAPES = ((192, 3), (384, 6), (576, 9), (768, 12))  # width and layers of made-up students


@dataclass
class Contender:
    """A running process, what it measured, and its peak."""

    name: str
    settings: Mapping[str, Any]
    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)  # FLOP a second
    peak_gb: float = float("nan")

    def start(self) -> None:
        """Starts it."""
        environment = os.environ | {
            "OMP_NUM_THREADS": str(self.settings.get("threads", 1)),
            "HF_HUB_OFFLINE": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.contender", json.dumps(dict(self.settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def wait(self) -> None:
        """Waits until it has warmed up."""
        self.first = self._answer()

    def step(self) -> None:
        """One step."""
        self._say("step")
        answer = self._answer()
        self.seconds.append(answer["seconds"])
        self.rates.append(answer["rate"])

    def end(self) -> None:
        """Ends it and keeps its peak."""
        self._say("end")
        self.peak_gb = self._answer()["peak_mb"] / 1024
        self.process.wait()

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the process ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def batch(self) -> int:
        """Questions a step."""
        return int(self.settings.get("batch", 1))

    @property
    def median(self) -> float:
        """Processor seconds a question."""
        return statistics.median(self.seconds)


def measure(contenders: Sequence[Contender], rounds: int = ROUNDS) -> None:
    """All at once in memory, one step in turn of each, `rounds` times."""
    for contender in contenders:
        contender.start()
    for contender in contenders:
        contender.wait()
    for _ in range(rounds):
        for contender in contenders:
            contender.step()
    for contender in contenders:
        contender.end()


def ratio(one: Contender, other: Contender) -> float:
    """The median of pairs."""
    return statistics.median(a / b for a, b in zip(one.seconds, other.seconds, strict=True))


def steps(dtype: str, real: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of training steps: ours, TRL's, and the share of the products' limit."""
    rows: dict[str, dict[str, Any]] = {}
    for methods in (("average", "compact"), ("compact_authors",)):  # for their memory
        limit = Contender("product", {"kind": "product", "dtype": dtype})
        trl = Contender("TRL SFT, padded, 4 rationales", {"kind": "trl", "dtype": dtype, **real})
        ours = [
            Contender(
                f"{method}, {batch} question{'s' * (batch > 1)}",
                {"kind": "ours", "method": method, "batch": batch, "dtype": dtype, **real},
            )
            for method in methods
            for batch in (1, 4)
        ]
        measure([limit, trl, *ours])
        rate = 2 * PRODUCT**3 / limit.median  # FLOP a second
        print(f"products in {dtype}: {rate / 1e9:.0f} GFLOP/s a core", file=sys.stderr)
        for contender in [*ours, trl]:
            average = ours[contender.batch == 4] if methods[0] == "average" else None
            share = statistics.median(contender.rates) / rate
            row = {
                "step": contender.name,
                "dtype": dtype,
                "s a question": f"{contender.median:.2f}",
                "times average": f"{ratio(contender, average):.2f}" if average in ours else "",
                "times TRL": f"{ratio(contender, trl):.2f}",
                "of the limit": f"{share:.0%}" if share else "",
                "peak GB": f"{contender.peak_gb:.1f}",
            }
            rows.setdefault(contender.name, row)
    return list(rows.values())


def answers(real: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of answering, against lm-eval's own model."""
    rows = []
    for batch in (1, 16):
        settings = {"batch": batch, "dtype": "float32", **real}
        ours = Contender("ours", {"kind": "answers", **settings})
        own = Contender("lm-eval's", {"kind": "lm_eval", **settings})
        measure([ours, own])
        same = sum(a == b for a, b in zip(ours.first["texts"], own.first["texts"], strict=True))
        for contender in (ours, own):
            rows.append(
                {
                    "model": contender.name,
                    "questions a batch": batch,
                    "s a question": f"{contender.median:.3f}",
                    "times lm-eval's": f"{ratio(contender, own):.2f}",
                    "answers that are the same": f"{same} of {len(own.first['texts'])}",
                }
            )
    return rows


def growth() -> pd.DataFrame:
    """Seconds and memory of made-up students against one size at a time."""
    rows = []
    for name, values in SIZES.items():
        for value in values:
            settings = {**SHAPE, name: value, "kind": "ours"}
            group = [
                Contender("average", {**settings, "method": "average"}),
                Contender("compact", {**settings, "method": "compact"}),
                Contender("padded", {**settings, "method": "average", "layout": "padded"}),
            ]
            rows += _measured(group, name, value)
    for width, layers in SHAPES:
        settings = {**SHAPE, "width": width, "layers": layers, "kind": "ours"}
        group = [
            Contender(method, {**settings, "method": method}) for method in ("average", "compact")
        ]
        parameters = 12 * width**2 * layers / 1e6
        rows += _measured(group, "million parameters", round(parameters, 1))
    return pd.DataFrame(rows)


def _measured(group: list[Contender], name: str, value: float) -> list[dict[str, Any]]:
    measure(group, rounds=3)
    return [
        {"against": name, "value": value, "step": c.name, "seconds": c.median, "gb": c.peak_gb}
        for c in group
    ]


def grown(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table of growth: a line a size, seconds and memory of each kind of step."""
    rows = []
    for (name, value), group in table.groupby(["against", "value"], sort=False):
        row = {"against": name, "value": f"{value:g}"}
        for kind, seconds, gb in zip(group["step"], group["seconds"], group["gb"], strict=True):
            row |= {f"{kind}, s": f"{seconds:.2f}", f"{kind}, GB": f"{gb:.2f}"}
        rows.append(row)
    heads = max(rows, key=len)
    return [{head: row.get(head, "") for head in heads} for row in rows]


def figure(table: pd.DataFrame, column: str, label: str) -> bytes:
    """One panel for each size: a line a kind of step, both axes logarithmic."""
    names = list(table["against"].unique())
    with rc_context(STYLE):
        drawn = Figure(figsize=(2.2 * len(names), 2.4), layout="constrained")
        panels = drawn.subplots(1, len(names), sharey=True)
        for panel, name in zip(panels, names, strict=True):
            part = table[table["against"] == name]
            for colour, (kind, line) in zip(PALETTE, part.groupby("step"), strict=False):
                panel.loglog(line["value"], line[column], "o-", color=colour, label=kind)
            panel.set_xlabel(name)
            panel.set_xticks(part["value"].unique(), [f"{v:g}" for v in part["value"].unique()])
            panel.minorticks_off()
        panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[0].yaxis.set_major_formatter(ScalarFormatter())
        panels[0].set_ylabel(label)
        panels[0].legend()
        return Rendering(drawn)["svg"]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[name]) for name in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(page: str, name: str, text: str) -> str:
    """The page with the text between the marks of that name."""
    marks = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
    return re.sub(pattern, lambda _: f"{marks[0]}\n{text}\n{marks[1]}", page, flags=re.DOTALL)


def write_table(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table into the page at once: what comes later may fail."""
    write_text(PAGE, put(PAGE.read_text(encoding="utf-8"), name, markdown(rows)))


def main() -> None:
    """Measures all and writes it into the page."""
    real = {
        "student": os.environ.get("COMPACT_BENCH_STUDENT", "nano"),
        "mirror": os.environ.get("COMPACT_BENCH_MIRROR"),
    }
    only = sys.argv[1:] or ["steps", "answers", "growth"]
    if "steps" in only:
        dtypes = ["float32", *(["bfloat16"] if has_bfloat16("cpu") else [])]
        write_table("steps", [row for d in dtypes for row in steps(d, real)])
    if "answers" in only:
        write_table("answers", answers(real))
    if "growth" in only:
        table = growth()
        write_table("growth", grown(table))
        for column, label in (("seconds", "processor s a question"), ("gb", "peak, GB")):
            write_bytes(PAGE.parent / "figures" / f"performance_{column}.svg",
                        figure(table, column, label))  # fmt: skip


if __name__ == "__main__":
    main()
