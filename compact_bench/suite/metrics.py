"""What is measured, and how each metric is shown: one definition for tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: its title, its direction (1 more is better, -1 less, 0 neither)."""

    title: str
    better: int
    percent: bool = False
    item_column: str = ""  # the column of samples.jsonl whose mean over items it is
    digits: int | None = None  # after the point; by default 1 of percents and counts, else 3


KL_FROM_BASE = "kl_from_base"

METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("accuracy", 1, True, "right"),
    "acc": Metric("accuracy", 1, True, "right"),
    "exact_match": Metric("exact match", 1, True, "right"),
    "acc_norm": Metric("accuracy, by length", 1, True),
    "marginal_nll": Metric("answer NLL, nats", -1, False, "marginal_nll"),
    "no_answer": Metric("no answer", -1, True),
    "cut_off": Metric("cut off", -1, True),
    "answer_tokens": Metric("tokens an answer", 0),
    "perplexity": Metric("perplexity", -1),
    "word_perplexity": Metric("word perplexity", -1),
    "majority": Metric("majority of samples, accuracy", 1, True),
    "text_nll": Metric("NLL of earlier answers, nats a token", -1),
    # How far it is from the base is a fact: whether less is better depends on what was gained.
    KL_FROM_BASE: Metric("KL from the base, nats a token", 0, digits=3),
}

HEADLINES = ("accuracy", "acc", "exact_match", "acc_norm", "perplexity", "word_perplexity")
FILTERS = ("strict", "none", "flexible")


@dataclass(frozen=True)
class Measure:
    """One thing that is measured: a metric of a task under an answer filter."""

    task: str
    metric: str
    filter: str
    role: str

    @property
    def shown(self) -> Metric:
        """How to show it; an unknown metric has no direction."""
        return METRICS.get(self.metric, Metric(self.metric.replace("_", " "), 0))

    @property
    def task_title(self) -> str:
        """The task's name in words."""
        return self.task.replace("_", " ")

    @property
    def key(self) -> str:
        """Name of its column in CSV files."""
        suffix = "" if self.filter in ("strict", "none") else f".{self.filter}"
        return f"{self.task}.{self.metric}{suffix}"
