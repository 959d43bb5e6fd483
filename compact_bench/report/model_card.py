"""The model card of an exported student: what it was trained on, how, and what it is good at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jinja2
import yaml
from scipy.stats import binomtest

from compact_bench.analysis.results import Results, Row
from compact_bench.records.parquet import Seed
from compact_bench.report.parts import captions
from compact_bench.report.parts.numbers import NONE, decimals, heading, number, with_spread
from compact_bench.suite.metrics import Measure

TEMPLATE = "model_card.md.j2"
FILE = "README.md"


def model_card(results: Results, row: Row, seed: Seed, adapters: bool) -> str:
    """The text of the card of one cell's student, as the hub reads it.

    adapters: whether adapters alone are in the folder, and not a whole model.
    """
    cell = row.done[seed]
    student = cell.spec["student"]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: nothing of it comes from a model
    )
    return environment.get_template(TEMPLATE).render(
        header=yaml.safe_dump(_header(student, adapters), sort_keys=False),
        row=row,
        cell=cell,
        seed=seed,
        setting=captions.setting(results),
        settings=[(key, value) for key, value in sorted(cell.spec["config"].items())],
        training=cell.spec["training"],
        student=student,
        adapters=adapters,
        values=[_value(row, seed, measure) for measure in results.main_measures],
        seeds=len(row.done),
    )


def _header(student: dict[str, Any], adapters: bool) -> dict[str, Any]:
    """What the hub sorts by. A base model is named where it is one of the hub."""
    header: dict[str, Any] = {
        "library_name": "peft" if adapters else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["chain-of-thought", "distillation", "compact_bench"],
    }
    if student["id"] != "nano" and not str(student["id"]).startswith((".", "/", "~")):
        if not str(student["id"]).lower().endswith(".gguf"):
            header["base_model"] = student["id"]
    return header


def _value(row: Row, seed: Seed, measure: Measure) -> tuple[str, str, str, str]:
    """A measure by name: of this student, the interval over its items, mean ± sd over seeds."""
    value = row.values.get(measure, {}).get(seed, math.nan)
    answers = row.items.get((measure.task, "right"))
    interval = NONE
    if measure.metric == "accuracy" and answers is not None and seed in answers.index:
        right = answers.loc[seed].dropna()
        found = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
        low, high = (decimals(end, 1, 100) for end in (found.low, found.high))
        interval = f"{low} to {high}"
    mean = with_spread(row.summary(measure), measure)
    return heading(measure), number(value, measure), interval, mean
