"""What a run would do: its cells, which of them are done, and what the rest will take."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compact_bench import registry as registry_module
from compact_bench.errors import UserError, nearest
from compact_bench.matrix import Data, RunSpec, cells, rows
from compact_bench.records import read_cell, status_of
from compact_bench.suite import Suite

if TYPE_CHECKING:
    from compact_bench.data.prepare import Prepared
    from compact_bench.data.rationales import RationaleBank
    from compact_bench.suite_sections import ConditionSpec

# Beyond this a small student gets slower, not faster; more cores are for more jobs.
MOST_THREADS = 8
CHARACTERS_A_TOKEN = 4
# Measured: nano and SmolLM2-135M both train at about 1e11 FLOP/s on two cores.
FLOPS_A_SECOND_AND_THREAD = 5e10
KEPT = ("done", "skipped", "diverged")


@dataclass(frozen=True)
class Options:
    """The options that decide where a run reads and writes and which cells it takes."""

    results: Path = Path("results")
    mirror: Path | None = None
    plugins: tuple[Path, ...] = ()
    only: tuple[str, ...] = ()
    jobs: int | None = None
    retry: bool = False


@dataclass(frozen=True)
class Plan:
    """A resolved suite: its data, its cells in table order, and where they go."""

    suite: Suite
    root: Path
    all_prepared: tuple[Prepared, ...]  # one for each condition
    cells: tuple[RunSpec, ...]
    selected: tuple[RunSpec, ...]
    jobs: int
    threads: int
    gold: dict[str, bool] = field(default_factory=dict)  # by row

    @property
    def prepared(self) -> Prepared:
        """The data of the first condition, or the only ones."""
        return self.all_prepared[0]

    @property
    def banks(self) -> dict[str, RationaleBank]:
        """The training rationales by condition; ``""`` where the suite has none."""
        names = [one.name for one in self.suite.conditions] or [""]
        return {n: one.train for n, one in zip(names, self.all_prepared, strict=True)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the captions must say of the data; of many conditions, what all have in common."""
        first, *others = (one.notes for one in self.all_prepared)
        return tuple(note for note in first if all(note in other for other in others))

    def folder(self, spec: RunSpec) -> Path:
        """Return the folder of a cell's records."""
        return self.root / "runs" / spec.run_id

    def pending(self, retry: bool = False) -> list[RunSpec]:
        """Return the selected cells that a run would do, one seed after the other.

        Done and skipped cells are kept; failed ones are tried again; diverged ones would
        diverge again, so they are kept unless ``retry``.
        """
        kept = KEPT[:2] if retry else KEPT
        # Conditions of unlike names may come to the same data, and so to the same cell.
        once = {spec.run_id: spec for spec in reversed(self.selected)}.values()
        left = [spec for spec in once if status_of(self.folder(spec)) not in kept]
        # Seed by seed, so that an interrupted run leaves a whole table of the first seeds.
        seeds = [None, *self.suite.seeds]
        places = {spec.run_id: place for place, spec in reversed(list(enumerate(self.cells)))}
        return sorted(left, key=lambda spec: (seeds.index(spec.seed), places[spec.run_id]))


def suite_folder(suite: Suite, results: Path) -> Path:
    """Return where a suite's output lies: ``RESULTS/SUITE/PROFILE``."""
    return results / suite.suite / suite.profile


def make_plan(suite: Suite, options: Options) -> Plan:
    """Read the data and lay out the cells; nothing is written or trained.

    Raises UserError for anything in the suite that can't work: an unknown method, teacher or
    data set, a student that is not there, a test question in the training set.
    """
    from compact_bench.data.prepare import prepare
    from compact_bench.student.identity import student_hash

    registry = registry_module.load(options.plugins)
    for name, _, place, _ in suite.rows():
        registry.get(name, where=suite.where(place))
    try:
        identity = student_hash(suite.student)
    except UserError as error:
        raise UserError(f"{suite.where(('student', 'id'))}: {error}") from None
    conditions: list[ConditionSpec | None] = [*suite.conditions] or [None]
    suites = [suite.under(condition) for condition in conditions]
    all_prepared = [prepare(one, options.mirror) for one in suites]
    data = [
        Data(
            one.data.model_dump(mode="json"),
            prepared.fingerprint,
            prepared.train.teachers,
            condition.name if condition else "",
            condition.rows if condition else (),
        )
        for one, prepared, condition in zip(suites, all_prepared, conditions, strict=True)
    ]
    jobs = options.jobs or suite.jobs or 1
    threads = max(1, min(MOST_THREADS, available_cores() // jobs))
    found = cells(suite, registry, data, identity, threads)
    laid_out = rows(suite, registry, all_prepared[0].train.teachers)
    gold = {r.label: r.method(r.method.Config.model_validate(r.config)).uses_gold for r in laid_out}
    chosen = select(found, options.only)
    root = suite_folder(suite, options.results)
    return Plan(suite, root, tuple(all_prepared), found, chosen, jobs, threads, gold)


def available_cores() -> int:
    """Return the cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def select(found: Sequence[RunSpec], only: Sequence[str]) -> tuple[RunSpec, ...]:
    """Keep the cells whose row or method is named; no name keeps all.

    Raises UserError for a name that is no row's.
    """
    known = dict.fromkeys([spec.label for spec in found] + [spec.method for spec in found])
    for name in only:
        if name not in known:
            allowed = ", ".join(known)
            raise UserError(f"--only {name}: no such row{nearest(name, known)}; it has: {allowed}")
    chosen = [s for s in found if not only or s.label in only or s.method in only]
    # A cell that reads another's weights can't do without it.
    wanted = {spec.run_id for spec in chosen}
    after = {spec.run_id: spec.after for spec in found if spec.after}
    while more := {after[run_id] for run_id in wanted & set(after)} - wanted:
        wanted |= more
    return tuple(spec for spec in found if spec.run_id in wanted)


def summary(plan: Plan, retry: bool = False) -> dict[str, Any]:
    """Return the plan as plain JSON values."""
    pending = {spec.run_id for spec in plan.pending(retry)}
    listed = [
        {
            "run_id": spec.run_id,
            "label": spec.label,
            "method": spec.method,
            "condition": spec.condition,
            "seed": spec.seed,
            "status": status_of(plan.folder(spec)),
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
    known = [_cost(plan, spec) for spec in plan.cells]
    measured = {spec.label: cost for spec, cost in zip(plan.cells, known, strict=True) if cost}
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
