"""Values of a task as rows of the records: lm-eval's results, and means of our own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from lm_eval import simple_evaluate
from lm_eval.evaluator import evaluate as lm_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from compact_bench.data.answers import same_answer
from compact_bench.data.tasks import TaskData
from compact_bench.evaluation import isolation
from compact_bench.evaluation.lm_eval_docs import (
    choice_sample,
    documents,
    write_task,
    written_sample,
)
from compact_bench.evaluation.majority import majority, votes
from compact_bench.evaluation.marginal_nll import Sampled, sampled
from compact_bench.evaluation.rule_answers import Answer, AnsweringLM, own_answers
from compact_bench.student.batch import Decoding
from compact_bench.student.encode import Encoder
from compact_bench.suite.sections import EvaluationSpec

# lm-eval's names of what our tables call accuracy, and of the two ways to take an answer.
METRICS = {"acc": "accuracy", "exact_match": "accuracy"}

FILTERS = {"strict-match": "strict", "flexible-extract": "flexible"}


def summary(metric: str, values: Sequence[float]) -> dict[str, Any]:
    """Mean, its standard error sd / sqrt(n) with the n - 1 sd (NaN for one value), and n.

    >>> summary("accuracy", [1.0, 0.0])
    {'metric': 'accuracy', 'value': 0.5, 'stderr': 0.5, 'n': 2}
    """
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1) if n > 1 else math.nan
    return {"metric": metric, "value": mean, "stderr": math.sqrt(variance / n), "n": n}


def metric_rows(result: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """lm-eval's results of one task ("exact_match,strict-match": 0.5, ...) as rows."""
    found = result["results"][name]
    names = {key.split(",")[0] for key in found if "," in key}
    version = result["versions"].get(name)
    rows = []
    for key, value in found.items():
        metric, _, kind = key.partition(",")
        if not kind or metric.endswith("_stderr"):
            continue
        stderr = found.get(f"{metric}_stderr,{kind}")
        taken = metric == "acc" and "exact_match" in names
        rows.append(
            {
                "task_version": int(version) if isinstance(version, int | float) else 0,
                "metric": metric if taken else METRICS.get(metric, metric),
                "filter": FILTERS.get(kind, kind),
                "value": float(value),
                "stderr": float(stderr) if isinstance(stderr, int | float) else math.nan,
                "n": int(found["sample_len"]),
            }
        )
    return rows


Rows = list[dict[str, Any]]

Progress = Callable[[dict[str, Any]], None]


def evaluate(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[TaskData],
    spec: EvaluationSpec,
    decoding: Decoding,
    *,
    device: Any,
    chat: bool,
    seed: int,
    stage: str,
    progress: Progress | None = None,
    answer: Answer | None = None,
) -> tuple[Rows, Rows]:
    """Rows for eval.parquet and samples for samples.jsonl of every task, in order.

    Reasoning tasks are asked as the method asks (`decoding`); forgetting tasks plainly and in one
    pass for every row, so that the base student is asked the same. With `answer` only reasoning
    tasks of ours are asked: of the method first, and of the student where that says None. The
    global random state and the modes (train or eval) of the model's modules are as before when it
    returns.
    """
    rows: Rows = []
    samples: Rows = []
    with (
        isolation.undisturbed(model),
        isolation.quiet(),
        TemporaryDirectory() as folder,
        isolation.dataset_cache(Path(folder) / "cache"),
    ):
        model.to(device).eval()
        lm = AnsweringLM(model, tokenizer, spec.batch_size, chat)
        for task in tasks:
            if answer and (task.role != "reasoning" or task.kind == "lm_eval"):
                continue
            lm.own = own_answers(task, answer)
            ask = decoding if task.role == "reasoning" else Decoding()
            if task.kind == "lm_eval":
                found = _named(lm, task, spec, chat)
            else:
                found = _ours(lm, task, spec, ask, Path(folder), chat, _teller(progress, task))
                if task.name == "in_domain" and task.kind == "generate" and not lm.own:
                    _add_marginal(found, lm, task, spec, ask, seed)
            context = {
                "task": task.name,
                "role": task.role,
                "split": _split(spec, task),
                "chance": task.chance,
                "stage": stage,
            }
            rows += [{**context, **row} for row in found[0]]
            samples += [{"task": task.name, "stage": stage, **row} for row in found[1]]
    return rows, samples


def _split(spec: EvaluationSpec, task: TaskData) -> str:
    """Which questions those are: what is asked to choose settings by counts as dev."""
    return "dev" if (spec.select if task.name == "in_domain" else spec.spare) else "test"


def _teller(progress: Progress | None, task: TaskData) -> Callable[[int], None] | None:
    """Sums up finished items of a task into progress events."""
    if progress is None:
        return None
    done = 0

    def tell(items: int) -> None:
        nonlocal done
        done += items
        progress(
            {
                "event": "phase",
                "phase": "evaluate",
                "task": task.name,
                "done": min(done, len(task.items)),  # a second pass finishes every item again
                "items": len(task.items),
            }
        )

    return tell


def _ours(
    lm: AnsweringLM,
    task: TaskData,
    spec: EvaluationSpec,
    decoding: Decoding,
    folder: Path,
    chat: bool,
    tell: Callable[[int], None] | None,
) -> tuple[Rows, Rows]:
    """Metric rows and samples of one of our task files over the task's items."""
    docs = documents(task, lm.encoder, decoding=decoding)
    lm.passes, lm.progress = decoding.passes, tell
    home = write_task(folder / task.name, task.name, task.kind, docs, spec.max_new_tokens)
    loaded = TaskManager(include_path=str(home), include_defaults=False).load([task.name])
    # The closed form sd / sqrt(n) is used for means; iterations only switch it on.
    result = lm_evaluate(lm, loaded, bootstrap_iters=1, log_samples=True)
    rows = metric_rows(result, task.name)
    every = sorted(result["samples"][task.name], key=lambda sample: sample["doc_id"])
    logged = [sample for sample in every if sample["filter"] in ("strict", "none")]
    if task.kind == "choice":
        return rows, [choice_sample(sample) for sample in logged]
    flexible = [bool(sample["accuracy"]) for sample in every if sample["filter"] == "flexible"]
    version = rows[0]["task_version"]
    for metric in ("cut_off", "answer_tokens"):
        values = [float(t.cut_off if metric == "cut_off" else t.tokens) for t in lm.traces]
        rows.append({"task_version": version, "filter": "none", **summary(metric, values)})
    return rows, list(map(written_sample, logged, flexible, lm.traces))


def _add_marginal(
    given: tuple[Rows, Rows],
    lm: AnsweringLM,
    task: TaskData,
    spec: EvaluationSpec,
    decoding: Decoding,
    seed: int,
) -> None:
    """Adds the gold answer's marginal NLL to the rows and to the samples of the items it reads."""
    if not spec.marginal_samples:
        return
    rows, samples = given
    items = task.items.head(spec.marginal_items or len(task.items))
    found = marginals(lm.model, lm.encoder, items, spec, decoding, seed)
    version = rows[0]["task_version"]
    values = [one.nll for one in found]
    rows.append({"task_version": version, "filter": "none", **summary("marginal_nll", values)})
    for sample, value in zip(samples, values, strict=False):
        sample["marginal_nll"] = value
    if spec.majority:
        asked = _prompts(lm.encoder, items, decoding)
        texts = [one.rationales for one in found]
        _add_majority(lm, spec, samples, list(zip(asked, texts, items["answer_kind"], strict=True)))
        right = [float(sample["majority_right"]) for sample in samples[: len(items)]]
        rows.append({"task_version": version, "filter": "strict", **summary("majority", right)})


def _add_majority(
    lm: AnsweringLM,
    spec: EvaluationSpec,
    samples: Rows,
    items: list[tuple[list[int], tuple[str, ...], str]],
) -> None:
    """Adds the answers of an item's sampled rationales, and whether their majority is right."""
    for sample, (_, _, kind), said in zip(
        samples, items, votes(lm.model, lm.encoder, items, spec.batch_size), strict=False
    ):
        sample["votes"] = said
        sample["majority_right"] = same_answer(majority(said, kind), sample["answer"], kind)


def _prompts(encoder: Encoder, items: pd.DataFrame, decoding: Decoding) -> list[list[int]]:
    questions = items["question"]
    return [encoder.prompt(text, decoding.prompt, decoding.prefix) for text in questions]


def marginals(
    model: Any,
    encoder: Encoder,
    items: pd.DataFrame,
    spec: EvaluationSpec,
    decoding: Decoding,
    seed: int,
) -> list[Sampled]:
    """The marginal NLL of every item's gold answer, nats, asked as `decoding` says."""
    return sampled(
        model,
        encoder,
        list(zip(_prompts(encoder, items, decoding), items["answer"], strict=True)),
        samples=spec.marginal_samples,
        max_new_tokens=spec.max_new_tokens,
        batch_size=spec.batch_size,
        seed=seed,
    )


def _named(lm: AnsweringLM, task: TaskData, spec: EvaluationSpec, chat: bool) -> tuple[Rows, Rows]:
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
        seen: set[int] = set()
        for sample in logged:  # one entry for each filter: the first (strict) one is kept
            if sample["doc_id"] not in seen:
                seen.add(sample["doc_id"])
                samples.append(_named_sample(sample, prefix))
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
