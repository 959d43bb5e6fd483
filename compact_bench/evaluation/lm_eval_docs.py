"""A task as lm-eval reads it, items and a task file that includes ours, and its logged samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from compact_bench.data.splits import parse_choices
from compact_bench.data.tasks import TaskData
from compact_bench.student.batch import Decoding
from compact_bench.student.encode import NEXT_QUESTION, Encoder

LETTERS = "ABCDEFGHIJ"  # of choices, in a choice task's samples and in a method's own answers


def write_task(
    folder: Path, name: str, kind: str, docs: Sequence[dict[str, Any]], max_new_tokens: int
) -> Path:
    """Makes `folder` with items.jsonl and task.yaml (JSON is YAML), for TaskManager's path.

    kind: "generate" or "choice", the file of that name in this package.
    """
    folder.mkdir()
    items = folder / "items.jsonl"
    items.write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
    config: dict[str, Any] = {
        "include": str(Path(__file__).parent / "tasks" / f"{kind}.yaml"),
        "task": name,
        "dataset_kwargs": {"path": str(items)},
    }
    if kind == "generate":
        greedy = {"do_sample": False, "max_gen_toks": max_new_tokens}
        config["generation_kwargs"] = {"until": [NEXT_QUESTION], **greedy}
    (folder / "task.yaml").write_text(json.dumps(config), encoding="utf-8")
    return folder


def documents(
    task: TaskData,
    encoder: Encoder,
    items: pd.DataFrame | None = None,
    decoding: Decoding | None = None,
) -> list[dict[str, Any]]:
    """Items (None: the task's) as documents with the text of `decoding`'s prompt (None: plain)."""
    decoding = decoding or Decoding()
    docs = []
    for item in (task.items if items is None else items).to_dict("records"):
        question = item["question"]
        if task.kind == "choice":
            # The cloze form: the bare question, then each choice's text. Naming a letter needs a
            # student that binds letters to choices: SmolLM2-135M is right on 17 of 100
            # CommonsenseQA questions that way and on 29 this way (chance is 20), and what is at
            # chance can't be forgotten.
            question = parse_choices(question)[0]
        prompt = encoder.prompt_text(question, decoding.prompt, decoding.prefix)
        doc = {"question_id": item["question_id"], "prompt": prompt, "answer": item["answer"]}
        if task.kind == "choice":
            doc |= {"choices": list(item["choices"]), "gold": int(item["gold"])}
        else:
            doc["answer_kind"] = item["answer_kind"]
        docs.append(doc)
    return docs


def written_sample(sample: Mapping[str, Any], flexible: bool, trace: Any) -> dict[str, Any]:
    """An answer in writing; `flexible`: whether it is right when taken from anywhere in it."""
    return {
        "question_id": sample["doc"]["question_id"],
        "output": sample["resps"][0][0],
        "extracted": sample["filtered_resps"][0],
        "answer": sample["doc"]["answer"],
        "right": bool(sample["accuracy"]),
        "right_flexible": flexible,
        "tokens": trace.tokens,
        "cut_off": trace.cut_off,
    }


def choice_sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    """The likeliest choice, with the log-likelihood of each, nats."""
    chances = [float(chance) for chance, _ in sample["filtered_resps"]]
    chosen = LETTERS[chances.index(max(chances))]
    return {
        "question_id": sample["doc"]["question_id"],
        "output": chosen,
        "extracted": chosen,
        "answer": LETTERS[sample["doc"]["gold"]],
        "right": bool(sample["acc"]),
        # A method's own answer leaves no chance to the others, and JSON has no infinity.
        "log_chances": [chance if chance > float("-inf") else None for chance in chances],
    }
