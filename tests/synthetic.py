"""Records as a suite of 11 rows and 3 seeds would leave them, made up from a fixed seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from compact_bench.records.cells import CellWriter
from compact_bench.records.suite_record import write_bank, write_items, write_suite_record
from tests import synthetic_evidence, synthetic_latent, synthetic_scores
from tests.synthetic_scores import RUNGS, question_id

TEACHERS = ("equations", "sentences", "reordered", "terse")
TASKS = ("in_domain", "mini_one_step", "mini_two_step", "mini_facts")
BEFORE = {"in_domain": 0.14, "mini_one_step": 0.96, "mini_two_step": 0.84, "mini_facts": 0.92}
# label: accuracy on each task after training, and how fast weights move ("" = uniform weights)
AFTER: Mapping[str, tuple[float, float, float, float, str]] = {
    "base": (0.14, 0.96, 0.84, 0.92, ""),
    "answer_sft": (0.21, 0.71, 0.52, 0.58, ""),
    "human_sft": (0.45, 0.83, 0.66, 0.69, ""),
    "single_teacher[equations]": (0.37, 0.80, 0.61, 0.64, ""),
    "single_teacher[sentences]": (0.33, 0.78, 0.57, 0.66, ""),
    "single_teacher[reordered]": (0.35, 0.77, 0.60, 0.63, ""),
    "single_teacher[terse]": (0.29, 0.74, 0.55, 0.61, ""),
    "random_teacher": (0.39, 0.81, 0.63, 0.67, ""),
    "average": (0.42, 0.82, 0.65, 0.70, ""),
    "compact_authors": (0.44, 0.81, 0.66, 0.71, "noisy"),
    "compact": (0.47, 0.84, 0.69, 0.73, "drift"),
}


@dataclass(frozen=True)
class Made:
    """How to make the records; `states` overrides the state and reason of (label, seed)."""

    seeds: tuple[int, ...] = (0, 1, 2)
    items: int = 60
    steps: int = 40
    states: Mapping[tuple[str, int | None], tuple[str, str]] = ()  # type: ignore[assignment]
    labels: tuple[str, ...] = tuple(AFTER)
    suite: Mapping[str, Any] = ()  # type: ignore[assignment]
    output: str = ""
    shift: float = 0.0
    random: int = 0
    scored: bool = False  # banks with faults, steps with scores and lengths
    latent: bool = False  # hidden states and changes of the weights
    conditions: tuple[Mapping[str, Any], ...] = ()  # as a suite has them; they need `scored`
    gains: Mapping[tuple[str, str], float] = ()  # type: ignore[assignment]  # see `make`
    evidence: bool = False  # curves, and values beside accuracy

    def bank(self, condition: Mapping[str, Any]) -> SimpleNamespace:
        """The bank of a condition; {} stands for none."""
        if self.scored:
            return synthetic_scores.bank(TEACHERS, condition.get("data", {}).get("corrupt"))
        return bank()


def after(label: str) -> tuple[float, float, float, float, str]:
    """Accuracy on each task after training, and how weights move."""
    return {**RUNGS, **AFTER}[label.split(" #")[0]]


def make(root: Path, made: Made | None = None) -> Path:
    """Write suite.json, bank.parquet, items.parquet and every cell under `root`.

    gains: by label and condition, what is added to the accuracies there.
    """
    made = made or Made()
    cells = []
    keys = [
        (label, condition, seed)
        for label in made.labels
        for condition in ([{}] if label == "base" else made.conditions or [{}])
        for seed in ((None,) if label == "base" else made.seeds)
    ]
    for label, condition, seed in keys:
        name = condition.get("name", "")
        run_id = question_id("/".join([label, *filter(None, [name]), str(seed)]))[:12]
        method = label.split("[")[0]
        cells.append(
            {
                "run_id": run_id,
                "label": label,
                "method": method,
                "seed": seed,
                "uses_gold": method.startswith("compact"),
                **({"condition": name} if name else {}),
            }
        )
        state, reason = dict(made.states).get((label, seed), ("done", ""))
        if state != "missing":
            here = replace(made, shift=made.shift - 0.3 * condition.get("x", 0))
            here = replace(here, shift=here.shift + dict(made.gains).get((label, name), 0.0))
            write_cell(root / "runs" / run_id, label, seed, here, state, reason)
            if made.scored and label != "base":
                scored = synthetic_scores.steps(
                    made.bank(condition).rationales, after(label)[4], seed or 0, made.random
                )
                CellWriter(root / "runs" / run_id).table("steps", scored)
    write_suite_record(root, suite(made), cells, ["400 questions that all 4 teachers have"])
    write_bank(root, {c.get("name", ""): made.bank(c) for c in made.conditions or [{}]})
    items = pd.DataFrame(
        {"question": [f"Test question {i}, 3 + {i}?" for i in range(made.items)], "answer": "7"}
    )
    items["question_id"] = [question_id(f"in_domain/{i}") for i in range(made.items)]
    write_items(root, [SimpleNamespace(name="in_domain", items=items)])
    return root


def suite(made: Made) -> dict[str, Any]:
    """A resolved suite."""
    tasks = [
        {"task": task, "role": "reasoning" if task == "in_domain" else "forgetting", "chance": 0.0}
        for task in TASKS
    ]
    return {
        "suite": "gsm8k",
        "profile": "mini",
        "title": "Which way of using several teachers?",
        "compare_to": "average",
        "seeds": list(made.seeds),
        "methods": list(made.labels),
        "student": {"id": "nano", "dtype": "float32", "lora": None},
        "data": {"source": "mini", "teachers": list(TEACHERS), "train": 400},
        "training": {
            "learning_rate": 1e-3,
            "epochs": 3,
            "batch_size": 8,
            "selected_on": "dev split of average, grid 3e-4, 1e-3, 3e-3",
        },
        "evaluation": {"tasks": tasks},
        "limit": None,
        "notes": "generated problems, nano student: not the data set's numbers",
        **({"conditions": [dict(one) for one in made.conditions]} if made.conditions else {}),
    } | dict(made.suite)


def bank() -> SimpleNamespace:
    """A bank with the two tables of a RationaleBank."""
    ids = [question_id(f"train/{i}") for i in range(20)]
    questions = pd.DataFrame(
        {
            "question_id": ids,
            "question": [f"Secret stem {i}" for i in range(20)],
            "answer": "7",
            "kind": "number",
        }
    )
    rationales = pd.DataFrame(
        [
            {
                "question_id": one,
                "teacher": teacher,
                "sample": 0,
                "role": "teacher",
                "text": f"Secret words of {teacher}. The answer is 7",
                "answer": "7",
                "right": True,
                "corruption": "",
            }
            for one in ids
            for teacher in TEACHERS
        ]
    )
    return SimpleNamespace(questions=questions, rationales=rationales)


def write_cell(
    folder: Path, label: str, seed: int | None, made: Made, state: str = "done", reason: str = ""
) -> None:
    """Write one cell's records."""
    writer = CellWriter(folder)
    teacher = label.split("[")[1].rstrip("]") if "[" in label else ""
    config = {"teacher": teacher} if (made.evidence or made.latent) and teacher else {}
    writer.spec(
        {
            "label": label,
            "method": label.split("[")[0],
            "seed": seed,
            "student_hash": "ab12",
            "data_hash": "cd34",
            "config": config,
            "threads": 1,
            "version": 1,
            "engine_version": 1,
        }
    )
    writer.env(
        {
            "versions": {"torch": "2.9.0", "transformers": "5.1.0"},
            "python": "3.11.7",
            "threads": 1,
            "device": "cpu",
            "git_commit": "0123456789abcdef",
            "machine": "x86_64",
            "system": "Linux",
        }
    )
    if state == "done":
        values, samples = evaluation(label, seed, made)
        writer.table("steps", steps(label, seed, made))
        if made.evidence:
            values = synthetic_evidence.values(values, BEFORE)
            writer.table("curve", synthetic_evidence.curve(BEFORE, after(label)[:4], seed))
        writer.eval(values)
        writer.samples(samples)
        if made.latent:
            writer.table("latent", list(synthetic_latent.latent(label, seed, TASKS)))
    tokens = 0 if label == "base" else 1_850_000 // (4 if "[" in label else 1)
    writer.status(
        state, reason, time="2025-11-24T03:07:00+00:00", seconds=48.5, tokens=tokens,
        physical_tokens=int(tokens * 1.3), flops=tokens * 7.2e6, supervised_tokens=tokens // 3,
        teacher_tokens=tokens // 4, train_seconds=0.0 if label == "base" else 31.4,
        eval_seconds=14.2, cell_peak_memory_mb=812.0, layout="shared", layout_reason="",
        dropped_rationales=0,
    )  # fmt: skip


def evaluation(
    label: str, seed: int | None, made: Made
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """eval.parquet rows and samples whose per-item values average to them."""
    stage = "before" if label == "base" else "after"
    rows, samples = [], []
    items = np.random.default_rng(7)  # the same items for every cell
    noise = np.random.default_rng([made.random, sum(map(ord, label)), 99 if seed is None else seed])
    for task, mean in zip(TASKS, after(label)[:4], strict=True):
        difficulty = items.normal(0, 1.0, made.items)
        mean = float(np.clip(mean + made.shift, 0.01, 0.99))
        logit = np.log(mean / (1 - mean)) * 1.2 + noise.normal(0, 0.08)
        right = noise.random(made.items) < 1 / (1 + np.exp(difficulty - logit))
        nll = np.exp(difficulty * 0.4 - logit * 0.3 + noise.normal(0, 0.05, made.items))
        values = {
            ("accuracy", "strict"): right.mean(),
            ("no_answer", "none"): 0.02,
            ("accuracy", "flexible"): min(1.0, right.mean() + 0.02),
            ("cut_off", "none"): 0.01,
            ("answer_tokens", "none"): 31.0 + noise.normal(),
        }
        if task == "in_domain":
            values["marginal_nll", "none"] = nll.mean()
        for (metric, kind), value in values.items():
            rows.append(
                {
                    "task": task,
                    "task_version": 1,
                    "role": "reasoning" if task == "in_domain" else "forgetting",
                    "split": "test",
                    "metric": metric,
                    "filter": kind,
                    "value": float(value),
                    "stderr": 0.03,
                    "n": made.items,
                    "stage": stage,
                    "chance": 0.0,
                }
            )
        for i in range(made.items):
            output = made.output or f" 3 + {i} = {3 + i} ({label}). The answer is {3 + i}"
            sample = {
                "task": task,
                "question_id": question_id(f"{task}/{i}"),
                "output": output,
                "extracted": str(3 + i),
                "answer": "7",
                "right": bool(right[i]),
                "stage": stage,
            }
            samples.append(sample | ({"marginal_nll": float(nll[i])} if task == TASKS[0] else {}))
    return rows, samples


def steps(label: str, seed: int | None, made: Made) -> list[dict[str, Any]]:
    """steps.parquet rows: two questions a step, one rationale of each teacher that is read."""
    teachers: Sequence[str] = TEACHERS
    if label == "base":
        return []
    if "[" in label:
        teachers = [label.split("[")[1].rstrip("]")]
    noise = np.random.default_rng([made.random, 5, sum(map(ord, label)), seed or 0])
    rows = []
    for step in range(made.steps):
        share = step / max(1, made.steps - 1)
        for question in range(2):
            score = np.zeros(len(teachers))
            if after(label)[4] == "drift":
                score = np.array([1.2, 0.2, 0.4, -1.0]) * share + noise.normal(0, 0.25, 4)
            elif after(label)[4] == "noisy":
                score = np.array([0.5, 0.1, 0.0, -0.4]) + noise.normal(0, 0.9, 4)
            weights = np.exp(score) / np.exp(score).sum()
            for teacher, weight in zip(teachers, weights, strict=True):
                rows.append(
                    {
                        "step": step,
                        "epoch": step // 14,
                        "question_id": question_id(f"train/{(2 * step + question) % 20}"),
                        "teacher": teacher,
                        "sample": 0,
                        "loss": 2.0 - share,
                        "nll": 2.1 - share,
                        "weight": float(weight),
                        "tokens": 400 * (step + 1),
                        "physical_tokens": 520 * (step + 1),
                        "flops": 2.9e9 * (step + 1),
                        "seconds": 0.2 * (step + 1),
                        "lr": 1e-3 * (1 - share),
                    }
                )
    return rows
