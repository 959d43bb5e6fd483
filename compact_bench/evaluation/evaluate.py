"""An evaluation: every task through lm-eval, its values as rows of the records, its samples."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.evaluator import evaluate as lm_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from compact_bench.data.answers import same_answer
from compact_bench.data.tasks import TaskData
from compact_bench.errors import UserError, shortened
from compact_bench.evaluation import isolation
from compact_bench.evaluation.lm import Rule, StudentLM, Trace, rule_answers
from compact_bench.evaluation.lm_eval_docs import (
    choice_sample,
    documents,
    write_task,
    written_sample,
)
from compact_bench.evaluation.sampled_rationales import majority, sample_items, votes
from compact_bench.student.batch import Decoding
from compact_bench.student.student import Student
from compact_bench.suite.schema import IN_DOMAIN
from compact_bench.suite.sections import EvaluationSpec

# lm-eval's names of what our tables call accuracy, and of the two ways to take an answer.
METRICS = {"acc": "accuracy", "exact_match": "accuracy"}

FILTERS = {"strict-match": "strict", "flexible-extract": "flexible"}
Rows = list[dict[str, Any]]
Progress = Callable[[dict[str, Any]], None]


def summary(metric: str, values: Sequence[float]) -> dict[str, Any]:
    """Mean, its standard error sd / sqrt(n) with the n - 1 sd (NaN for one value), and n.

    >>> summary("accuracy", [1.0, 0.0])
    {'metric': 'accuracy', 'value': 0.5, 'stderr': 0.5, 'n': 2}
    """
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1) if n > 1 else math.nan
    return {"metric": metric, "value": mean, "stderr": math.sqrt(variance / n), "n": n}


def metric_rows(result: Mapping[str, Any], name: str) -> Rows:
    """lm-eval's results of one task ("exact_match,strict-match": 0.5, ...) as rows."""
    values = result["results"][name]
    names = {key.split(",")[0] for key in values if "," in key}
    version = result["versions"].get(name)
    rows = []
    for key, value in values.items():
        metric, _, kind = key.partition(",")
        if not kind or metric.endswith("_stderr"):
            continue
        stderr = values.get(f"{metric}_stderr,{kind}")
        taken = metric == "acc" and "exact_match" in names
        rows.append(
            {
                "task_version": int(version) if isinstance(version, int | float) else 0,
                "metric": metric if taken else METRICS.get(metric, metric),
                "filter": FILTERS.get(kind, kind),
                "value": float(value),
                "stderr": float(stderr) if isinstance(stderr, int | float) else math.nan,
                "n": int(values["sample_len"]),
            }
        )
    return rows


def accuracy_rows(rows: Rows) -> Rows:
    """The rows that tables are about: accuracy, of the stated answers or of choices."""
    return [
        row for row in rows if row["metric"] == "accuracy" and row["filter"] in ("strict", "none")
    ]


def evaluate(
    student: Student,
    tasks: Sequence[TaskData],
    spec: EvaluationSpec,
    decoding: Decoding,
    *,
    seed: int,
    stage: str,
    progress: Progress | None = None,
    rule: Rule | None = None,
) -> tuple[Rows, Rows]:
    """Rows for eval.parquet and samples for samples.jsonl of every task, in order.

    Reasoning tasks are asked in the method's way (`decoding`); forgetting tasks plainly and in one
    pass for every row, so that the base student is asked the same. With a `rule` only reasoning
    tasks of ours are asked, and the student answers where the rule gives None. The global random
    state and the modes (train or eval) of the model's modules are as before when it returns.
    """
    rows: Rows = []
    samples: Rows = []
    with (
        isolation.undisturbed(student.causal),
        isolation.quiet(),
        TemporaryDirectory() as folder,
        isolation.dataset_cache(Path(folder) / "cache"),
    ):
        student.causal.eval()
        lm = StudentLM(student, spec.batch_size)
        if rule:
            tasks = [task for task in tasks if task.role == "reasoning" and task.kind != "lm_eval"]
            lm.answers = {task.name: rule_answers(task, rule) for task in tasks}
        ours = [task for task in tasks if task.kind != "lm_eval"]
        decodings = {t.name: decoding if t.role == "reasoning" else Decoding() for t in ours}
        measured = _ours(lm, ours, spec, decodings, Path(folder), progress) if ours else {}
        for task in tasks:
            if task.kind == "lm_eval":
                task_rows, task_samples = _lm_evals_own(lm, task, spec, student.chat)
            else:
                task_rows, task_samples = measured[task.name]
                asked = not lm.answers.get(task.name)  # the student, not a rule
                if task.name == IN_DOMAIN and task.kind == "generate" and asked:
                    own = decodings[task.name]
                    _add_sampled(task_rows, task_samples, student, task, spec, own, seed)
            # What is asked to choose settings by counts as dev.
            on_dev = spec.select if task.name == IN_DOMAIN else spec.spare
            context = {"task": task.name, "role": task.role, "split": "dev" if on_dev else "test",
                       "chance": task.chance, "stage": stage}  # fmt: skip
            rows += [{**context, **row} for row in task_rows]
            samples += [{"task": task.name, "stage": stage, **row} for row in task_samples]
    return rows, samples


def prompts(student: Student, tasks: Sequence[TaskData], decoding: Decoding) -> dict[str, str]:
    """How the student is asked, by task: the prompt's text, with {question} for the question's."""
    texts = {}
    for task in tasks:
        way = decoding if task.role == "reasoning" else Decoding()
        if task.kind != "lm_eval":
            prompt = student.encoder.prompt_text("{question}", way.prompt, way.prefix)
            texts[task.name] = prompt
    return texts


def check_lm_eval_data(name: str) -> None:
    """Load the data of one of lm-eval's tasks, which come from the model hub.

    Raises UserError where they can't be loaded.
    """
    try:
        with (
            isolation.quiet(),
            TemporaryDirectory() as folder,
            isolation.dataset_cache(Path(folder)),
        ):
            TaskManager().load([name])
    except Exception as error:  # of datasets, the hub or the task's own code: all mean the same
        reason = shortened(" ".join(str(error).split()) or type(error).__name__)
        raise UserError(
            f"evaluation.tasks: the data of lm-eval's task {name!r} can't be loaded: {reason}"
        ) from error


def _item_counter(progress: Progress | None, items: int) -> Callable[[int], None] | None:
    """Sums up finished items of all tasks into progress events."""
    if progress is None:
        return None
    done = 0

    def count(finished: int) -> None:
        nonlocal done
        done += finished
        progress({"event": "phase", "phase": "evaluate", "done": done, "items": items})

    return count


def _ours(
    lm: StudentLM,
    tasks: Sequence[TaskData],
    spec: EvaluationSpec,
    decodings: Mapping[str, Decoding],
    folder: Path,
    progress: Progress | None,
) -> dict[str, tuple[Rows, Rows]]:
    """Metric rows and samples of our task files over the tasks' items, by the tasks' names.

    All are asked in one go, so that lm-eval hands their requests over together.
    """
    lm.passes = {task.name: decodings[task.name].passes for task in tasks}
    passes = (lm.passes[task.name] if task.kind == "generate" else 1 for task in tasks)
    items = sum(len(task.items) * count for task, count in zip(tasks, passes, strict=True))
    lm.progress = _item_counter(progress, items)
    homes = folder / "tasks"
    homes.mkdir()
    for task in tasks:
        docs = documents(task, lm.encoder, decoding=decodings[task.name])
        write_task(homes / task.name, task.name, task.kind, docs, spec.max_new_tokens)
    manager = TaskManager(include_path=str(homes), include_defaults=False)
    loaded = manager.load([task.name for task in tasks])
    # The closed form sd / sqrt(n) is used for means; iterations only switch it on.
    result = lm_evaluate(lm, loaded, bootstrap_iters=1, log_samples=True)
    return {task.name: _measured(result, task, lm.traces.get(task.name, [])) for task in tasks}


def _measured(
    result: Mapping[str, Any], task: TaskData, traces: Sequence[Trace]
) -> tuple[Rows, Rows]:
    """Metric rows and samples of one task from what lm-eval gives."""
    rows = metric_rows(result, task.name)
    logged = sorted(result["samples"][task.name], key=lambda sample: sample["doc_id"])
    stated = [sample for sample in logged if sample["filter"] in ("strict", "none")]
    if task.kind == "choice":
        return rows, [choice_sample(sample) for sample in stated]
    flexible = [bool(sample["accuracy"]) for sample in logged if sample["filter"] == "flexible"]
    measured = {
        "cut_off": [float(trace.cut_off) for trace in traces],
        "answer_tokens": [float(trace.tokens) for trace in traces],
    }
    _add_means(rows, "none", measured)
    return rows, list(map(written_sample, stated, flexible, traces))


def _add_means(rows: Rows, kind: str, measured: Mapping[str, Sequence[float]]) -> None:
    """Adds a row for each measure of ours, in the task version of the rows before."""
    version = rows[0]["task_version"]
    for metric, values in measured.items():
        rows.append({"task_version": version, "filter": kind, **summary(metric, values)})


def _add_sampled(
    rows: Rows,
    samples: Rows,
    student: Student,
    task: TaskData,
    spec: EvaluationSpec,
    decoding: Decoding,
    seed: int,
) -> None:
    """Adds what sampled rationales give: the gold answer's marginal NLL, the majority's answer."""
    if not spec.marginal_samples:
        return
    items = task.items.head(spec.marginal_items or len(task.items))
    sampled = sample_items(student, items, spec, decoding, seed)
    _add_means(rows, "none", {"marginal_nll": [item.nll for item in sampled]})
    for sample, item in zip(samples, sampled, strict=False):
        sample |= {
            "marginal_nll": item.nll,
            "marginal_nll_variance": item.variance,
            "marginal_nll_bias": item.bias,
        }
    if not spec.majority:
        return
    kinds = list(items["answer_kind"])
    all_votes = votes(student.causal, student.encoder, sampled, kinds, spec.batch_size)
    for sample, kind, answers in zip(samples, kinds, all_votes, strict=False):
        sample["votes"] = answers
        sample["majority_right"] = same_answer(majority(answers, kind), sample["answer"], kind)
    right = [float(sample["majority_right"]) for sample in samples[: len(items)]]
    _add_means(rows, "strict", {"majority": right})


def _lm_evals_own(
    lm: StudentLM, task: TaskData, spec: EvaluationSpec, chat: bool
) -> tuple[Rows, Rows]:
    """Metric rows and samples of one of lm-eval's own tasks, as lm-eval itself asks it."""
    limit = next((t.limit for t in spec.tasks if t.task == task.name), None)
    result = simple_evaluate(
        HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=spec.batch_size),
        tasks=[task.name],
        limit=limit,
        bootstrap_iters=1000,
        apply_chat_template=chat,
    )
    samples: Rows = []
    for name, logged in result["samples"].items():
        prefix = "" if name == task.name else f"{name}/"
        first: dict[int, Any] = {}  # one entry for each filter: the first (strict) one counts
        for sample in logged:
            first.setdefault(sample["doc_id"], sample)
        samples += [_named_sample(sample, prefix) for sample in first.values()]
    return metric_rows(result, task.name), samples


def _named_sample(sample: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    score = next((sample[m] for m in ("exact_match", "acc", "accuracy") if m in sample), None)
    return {
        "question_id": prefix + sample["doc_hash"][:16],
        "output": json.dumps(sample["resps"], default=str),
        "extracted": json.dumps(sample["filtered_resps"], default=str),
        "answer": str(sample["target"]),
        "right": None if score is None else bool(score),
    }
