"""One cell of the table: load, train, evaluate, record."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compact_bench.data.rationales import RationaleBank
from compact_bench.data.tasks import Prepared, dev_task
from compact_bench.diagnostics.recorder import Recorder
from compact_bench.errors import CellError, Diverged, Pruned, UserError
from compact_bench.evaluation.evaluate import check_lm_eval_data, evaluate, prompts
from compact_bench.execution.prepare import prepare_once
from compact_bench.methods import registry
from compact_bench.methods.base import Distiller, Run
from compact_bench.mini.old_skills import old_bank, old_examples
from compact_bench.records.cells import CellWriter
from compact_bench.student.encode import encode_bank
from compact_bench.student.load import load_student, same_tokenizer
from compact_bench.student.student import Student
from compact_bench.suite.matrix import RunSpec
from compact_bench.suite.schema import IN_DOMAIN, Suite
from compact_bench.suite.sections import EvaluationSpec, TrainingSpec
from compact_bench.training import checkpoint
from compact_bench.training.dev_score import DevScore
from compact_bench.training.pruning import Reporter
from compact_bench.training.trainer import Progress, Trainer
from compact_bench.utils.machine import environment, peak_memory_mb, reset_peak_memory


def run_cell(
    spec: RunSpec,
    folder: Path,
    mirror: Path | None = None,
    plugins: Sequence[Path] = (),
    progress: Progress = lambda event: None,
) -> None:
    """Run one cell; a failure is a record with its reason, not an exception.

    A full disk and an interruption are raised: nothing can be recorded then.
    """
    started = time.perf_counter()
    writer = CellWriter(folder)
    writer.env(environment(spec.threads))
    torch.set_num_threads(spec.threads)
    reset_peak_memory()
    facts: dict[str, Any] = {}
    try:
        state, reason = _run(spec, folder, writer, mirror, plugins, progress, facts)
    except Diverged as error:
        state, reason = "diverged", str(error)
    except Pruned as error:
        state, reason = "pruned", str(error)
        checkpoint.remove(folder / "weights")
    except (CellError, UserError) as error:
        state, reason = "failed", str(error)
    except (MemoryError, torch.OutOfMemoryError) as error:
        state, reason = "failed", f"out of memory: {error}"
        traceback.print_exception(error, file=sys.stderr)
    except Exception as error:  # a method's own mistake: the other cells go on
        state, reason = "failed", f"{type(error).__name__}: {error}"
        traceback.print_exception(error, file=sys.stderr)
    writer.status(
        state,
        reason.splitlines()[0] if reason else "",
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - started,
        cell_peak_memory_mb=peak_memory_mb(),
        records=writer.checksums(),
        **facts,
    )


def _run(
    spec: RunSpec,
    folder: Path,
    writer: CellWriter,
    mirror: Path | None,
    plugins: Sequence[Path],
    progress: Progress,
    facts: dict[str, Any],
) -> tuple[str, str]:
    """Train and evaluate; return the cell's state and reason, and fill `facts` for its status."""
    suite = suite_of(spec)
    method = registry.load(plugins).get(spec.method)
    distiller = method(method.Config.model_validate(spec.config))
    prepared = prepare_once(suite, spec.data_hash, mirror)
    if reason := distiller.skip(_skip_facts(prepared, suite)):
        return "skipped", reason
    seed = spec.seed or 0
    progress({"event": "phase", "phase": "load"})
    student = _student(suite, distiller, seed)
    progress({"event": "phase", "phase": "train"})
    weights = folder / "weights"
    reporter = _reporter(suite, prepared, folder, progress)
    report = reporter.progress if reporter else progress
    recorder = None
    if suite.evidence and not distiller.answers():  # a rule has no weights to look at
        recorder = Recorder(suite, student, distiller, weights, report)
        report = recorder.progress
    trainer = train(student, distiller, prepared, suite, seed, weights, report, facts, reporter)
    facts |= _training_facts(trainer)
    _record_training(trainer, writer, weights)
    if recorder:
        recorder.measure(trainer, prepared, seed)
    progress({"event": "phase", "phase": "evaluate"})
    began = time.perf_counter()
    student.merged()
    rows, samples = evaluate(
        student,
        prepared.tasks,
        limited(suite),
        distiller.decoding(),
        seed=seed,
        # "before" is the student as it was, which a method's own answers aren't.
        stage="after" if trainer.position.run or distiller.answers() else "before",
        progress=progress,
        rule=distiller.answer if distiller.answers() else None,
    )
    facts["eval_seconds"] = time.perf_counter() - began
    facts["asked"] = prompts(student, prepared.tasks, distiller.decoding())
    if recorder:
        recorder.write(writer, rows, samples, facts)
    writer.eval(rows)
    writer.samples(samples)
    checkpoint.remove(weights)
    return "done", ""


def _training_facts(trainer: Trainer) -> dict[str, Any]:
    """What the status says of a training; dev questions only where there were any."""
    student = trainer.student
    dev = {"dev_scores": trainer.dev_scores, "dev_questions": trainer.dev_questions}
    return {
        **student.cost.as_dict(),
        "train_seconds": trainer.position.seconds,
        "stages": len(trainer.stages),
        "steps": trainer.position.run,
        "layout": student.layout,
        "layout_reason": student.layout_reason,
        **{name: value for name, value in dev.items() if value},
    }


def _record_training(trainer: Trainer, writer: CellWriter, folder: Path) -> None:
    """Write the training's step records, and the trained weights."""
    writer.table("steps", trainer.records)
    if trainer.gains:
        writer.table("epiphany", trainer.gains)
    if trainer.position.run:
        tensors = trainer.student.state_dict()
        checkpoint.save_tensors(folder / "trained.safetensors", tensors, {})


def _reporter(
    suite: Suite, prepared: Prepared, folder: Path, progress: Progress
) -> Reporter | None:
    """The reports of dev scores to a search; None where there is none."""
    spec = suite.evaluation.reports
    if spec is None:
        return None
    dev_questions = next(len(t.items) for t in prepared.tasks if t.name == IN_DOMAIN)
    return Reporter(spec, folder, dev_questions, progress)


def _student(suite: Suite, distiller: Distiller, seed: int) -> Student:
    torch.manual_seed(seed)
    student = load_student(suite.student, lora_dropout=distiller.lora_dropout, seed=seed)
    if distiller.layout == "padded":
        student.layout, student.layout_reason = "padded", "asked for by the method"
    return student


def _skip_facts(prepared: Prepared, suite: Suite) -> Run:
    """What a method's `skip` decides by."""
    bank, compare = prepared.train, partial(same_tokenizer, suite.student)
    counts = {"dev": len(prepared.dev), "old": old_examples(suite)}
    return Run(bank, bank.teachers, suite.student, suite.training, compare, **counts)


def train(
    student: Student,
    distiller: Distiller,
    prepared: Prepared,
    suite: Suite,
    seed: int,
    folder: Path | None,
    progress: Progress,
    facts: dict[str, Any],
    reporter: Reporter | None = None,
) -> Trainer:
    """Select, encode and train. Raises CellError where nothing is left to train on."""
    student.max_tokens, student.seed = suite.training.max_tokens, seed
    with student.cost.selecting():
        bank = distiller.select(prepared.train, student)
    examples, dropped = encode_bank(bank, student.encoder, student.max_tokens)
    facts["dropped_rationales"] = sum(dropped.values())
    facts["train_questions"] = len(examples)
    if not examples:
        raise CellError(
            f"no rationale is left to train on: {len(bank.rationales)} selected, "
            f"{sum(dropped.values())} longer than training.max_tokens"
        )
    asked = {t.name: t.items["question"] for t in prepared.tasks if t.kind != "lm_eval"}
    trainer = Trainer(
        student,
        distiller,
        examples,
        within_budget(suite.training, student, prepared.train),
        seed=seed,
        teachers=bank.teachers,
        folder=folder,
        progress=progress,
        questions=list(prepared.train.questions["question_id"]),
        dev=DevScore(dev_task(suite, prepared.dev), suite.evaluation, seed),
        old=partial(old_bank, asked) if old_examples(suite) else None,
    )
    if reporter:
        reporter.trainer = trainer
    try:
        distiller.fit(trainer)
    except (Pruned, Diverged):
        facts |= student.cost.as_dict()  # spent for nothing, but spent
        raise
    return trainer


def within_budget(spec: TrainingSpec, student: Student, bank: RationaleBank) -> TrainingSpec:
    """The training with its budget in FLOPs, where the suite counts those.

    Every row then has what it takes to read all rationales of all teachers in every epoch.
    """
    if spec.budget == "steps" or spec.max_flops:
        return spec
    teachers = bank.only_teachers(bank.teachers)
    examples, _ = encode_bank(teachers, student.encoder, student.max_tokens)
    tokens = sum(len(e.prompt_ids) + len(r.ids) for e in examples for r in e.rationales)
    return spec.model_copy(update={"max_flops": spec.epochs * student.flops(tokens, trained=True)})


def limited(suite: Suite) -> EvaluationSpec:
    """The evaluation with the suite's limit in every task: lm-eval's own tasks read it there."""
    tasks = [
        task.model_copy(update={"limit": min(filter(None, (task.limit, suite.limit)))})
        if task.limit or suite.limit
        else task
        for task in suite.evaluation.tasks
    ]
    return suite.evaluation.model_copy(update={"tasks": tasks})


def suite_of(spec: RunSpec) -> Suite:
    """The suite that a cell belongs to, as far as the cell needs it."""
    names = ("suite", "profile", "student", "data", "training", "evaluation", "limit", "evidence")
    own = {"title": "", "methods": [spec.method], "seeds": [spec.seed or 0]}
    return Suite.model_validate({name: getattr(spec, name) for name in names} | own)


def preflight(spec: RunSpec) -> None:
    """Load the student once before anything starts, and check what an evaluation will need.

    Raises UserError, which begins with the suite's key, where the student or the data of one of
    lm-eval's tasks can't be loaded, and where an answer is longer than the student can read.
    """
    suite = suite_of(spec)
    for task in suite.evaluation.tasks:
        if task.kind == "lm_eval":
            check_lm_eval_data(task.task)
    student = load_student(suite.student)
    longest = getattr(student.causal.config, "max_position_embeddings", None)
    if longest and suite.evaluation.max_new_tokens >= longest:
        raise UserError(
            f"evaluation.max_new_tokens: {suite.evaluation.max_new_tokens} leaves no room for a "
            f"question; the student reads at most {longest} tokens"
        )
