"""A plan as plain values: its cells, and what those still to do will take."""

from __future__ import annotations

import math
import re
from typing import Any

from compact_bench.execution.plan import WAITING, Plan
from compact_bench.records.cells import read_cell
from compact_bench.suite.matrix import RunSpec

CHARACTERS_A_TOKEN = 4

# Measured: nano and SmolLM2-135M both train at about 1e11 FLOP/s on two cores.
FLOPS_A_SECOND_AND_THREAD = 5e10


def summary(plan: Plan, retry: bool = False) -> dict[str, Any]:
    """Return the plan as plain JSON values."""
    pending = {spec.run_id for spec in plan.pending(retry)}
    listed = [
        {
            "run_id": None if plan.status(spec) == WAITING else spec.run_id,
            "label": spec.label,
            "method": spec.method,
            "condition": spec.condition,
            "seed": spec.seed,
            "learning_rate": None
            if plan.status(spec) == WAITING
            else spec.training["learning_rate"],
            "split": "dev" if spec.asks_dev else "test",
            "status": plan.status(spec),
            "pending": spec.run_id in pending,
        }
        for spec in plan.selected
    ]
    return {
        "suite": plan.suite.suite,
        "profile": plan.suite.profile,
        "results": str(plan.root),
        "jobs": plan.jobs,
        "threads": plan.threads,
        "cells": listed,
        "notes": list(plan.prepared.notes),
        "estimate": estimate(plan, retry),
    }


def estimate(plan: Plan, retry: bool = False) -> dict[str, Any]:
    """Estimate what the pending cells take: seconds of wall time, FLOPs and tokens.

    ``source`` says what it rests on: cells of this suite that are done, or token counts.
    """
    pending = plan.pending(retry)
    pending += [spec for spec in plan.selected if spec.run_id in plan.waiting]
    every = [*plan.tries, *plan.cells]
    known = [_cost(plan, spec) for spec in every]
    measured = {spec.label: cost for spec, cost in zip(every, known, strict=True) if cost}
    if measured:
        mean = {key: _mean([cost[key] for cost in measured.values()]) for key in _COSTS}
        costs = [measured.get(spec.label, mean) for spec in pending]
        source = f"{len([cost for cost in known if cost])} cells of this suite that are done"
    else:
        cost, source = _counted(plan)
        costs = [cost for _ in pending]
    total = {key: math.fsum(cost[key] for cost in costs) for key in _COSTS}
    seconds = total["seconds"] / max(1, min(plan.jobs, len(pending)))
    return {"cells": len(pending), **total, "seconds": seconds, "source": source}


_COSTS = ("seconds", "flops", "tokens")


def _cost(plan: Plan, spec: RunSpec) -> dict[str, float] | None:
    status = read_cell(plan.folder(spec)).status
    if status.get("state") != "done":
        return None
    return {key: float(status.get(key) or 0) for key in _COSTS}


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _counted(plan: Plan) -> tuple[dict[str, float], str]:
    """Price a cell by its characters, as if every row read every rationale."""
    train, spec = plan.prepared.train, plan.suite.training
    texts = train.rationales.merge(train.questions, on="question_id")
    teachers = texts[texts["role"] == "teacher"]
    characters = teachers["text"].str.len().sum() + teachers["question"].str.len().sum()
    trained = characters / CHARACTERS_A_TOKEN * spec.epochs
    generated = _texts(plan) * plan.suite.evaluation.max_new_tokens / 2
    parameters, guess = _parameters(plan.suite.student.id)
    per_token = 4 if plan.suite.student.lora else 6
    flops = parameters * (per_token * trained + 2 * generated)
    seconds = flops / (FLOPS_A_SECOND_AND_THREAD * plan.threads)
    source = (
        f"token counts ({CHARACTERS_A_TOKEN} characters a token, {guess}, every rationale read, "
        f"{FLOPS_A_SECOND_AND_THREAD:.0e} FLOP/s a thread, no GPU): rough"
    )
    return {"seconds": seconds, "flops": flops, "tokens": trained}, source


def _texts(plan: Plan) -> int:
    """Count the texts that an evaluation generates: answers, and the marginal NLL's rationales."""
    spec = plan.suite.evaluation
    texts = 0
    for task in plan.prepared.tasks:
        if task.kind == "generate" and task.items is not None:
            sampled = min(len(task.items), spec.marginal_items or len(task.items))
            texts += len(task.items)
            texts += sampled * spec.marginal_samples if task.role == "reasoning" else 0
    return texts


def _parameters(student: str) -> tuple[float, str]:
    """Read the number of parameters off a student's name: ``SmolLM2-135M``, ``Qwen2.5-1.5B``."""
    found = re.findall(r"(\d+(?:\.\d+)?)([MB])(?![a-z])", student)
    if found:
        number, unit = found[-1]
        return float(number) * (1e6 if unit == "M" else 1e9), f"{number}{unit} parameters"
    return 1.5e6 if student == "nano" else 1e9, "parameters guessed"
