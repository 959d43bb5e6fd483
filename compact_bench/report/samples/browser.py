"""The page's browser of questions: all rows' answers to one, or its rationales and their weights.

It holds the first questions of each task by their hashes, not chosen ones. Each distinct answer to
a question is kept once, and the whole is compressed: fifty-five rows take some hundred kilobytes.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.weights import SCORE, WEIGHT
from compact_bench.records.cells import Cell, joined_steps
from compact_bench.records.parquet import Seed
from compact_bench.records.suite_record import RATIONALE_KEY, read_rationales
from compact_bench.utils.processes import mapped

MOST_ASKED = 60  # questions of a task
MOST_TRAINING = 30  # training questions
MOST_CELLS = 600  # of more, the first seeds of each row
MOST_CHARACTERS = 4_000_000  # of all answers: a student may write long ones
LONGEST_SAMPLE = 1200  # characters

Key = tuple[str, str]  # task, question_id
Answer = tuple[str, str, int, str]  # output, extracted, right (1) or not (0), gold
KEY = RATIONALE_KEY


def packed(results: Results, root: Path, questions: Mapping[Key, str]) -> str:
    """What the browser shows, as JSON, deflated (zlib) and in base 64; "" where there is nothing.

    rows: labels.  seeds.  tasks: titles.  asked: test questions, each with its distinct outputs
    [text, extracted, right] and which of them each row gave, by seed (-1: none).  training:
    questions with their distinct texts, and their rationales by condition, [teacher, sample, text,
    answer, right, fault].  weights: of rows that weigh rationales, by quantity, rationale (those of
    all training questions in a row) and epoch, mean over seeds.
    """
    rows = [row for row in results.rows if row.done]
    if not rows:
        return ""
    seeds = results.seeds[: max(1, MOST_CELLS // len(rows))]
    content = {
        "rows": [row.label for row in rows],
        "seeds": seeds,
        "tasks": {m.task: m.task_title for m in results.measures},
        "asked": _asked(rows, seeds, questions),
        **_training(rows, seeds, read_rationales(root)),
    }
    if not content["asked"] and not content["training"]:
        return ""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode()


def shortened(output: str) -> str:
    """At most LONGEST_SAMPLE characters of an output, and how many more there are."""
    over = len(output) - LONGEST_SAMPLE
    return f"{output[:LONGEST_SAMPLE]} … ({over} more characters)" if over > 0 else output


def final(samples: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the trained student, or, where none was trained, of the student before training."""
    samples = [*samples]
    return [sample for sample in samples if sample.get("stage") != "before"] or samples


def _cells(row: Row, seeds: Sequence[int]) -> dict[Seed, Cell]:
    return {seed: cell for seed, cell in row.done.items() if seed is None or seed in seeds}


def _asked(
    rows: Sequence[Row], seeds: Sequence[int], questions: Mapping[Key, str]
) -> list[dict[str, Any]]:
    """The test questions in turns of their tasks, until their answers are MOST_CHARACTERS long."""
    chosen = next(filter(None, map(_chosen, reversed(rows))), [])  # a row may have no samples
    answers = mapped(lambda row: _answers(row, seeds, {*chosen}), rows)
    made, characters = [], 0
    for key in chosen:
        given = [by_question.get(key, {}) for by_question in answers]
        distinct = dict.fromkeys(answer for by_seed in given for answer in by_seed.values())
        characters += sum(len(output) for output, *_ in distinct)
        if not distinct or characters > MOST_CHARACTERS:
            continue
        place = {answer: number for number, answer in enumerate(distinct)}
        made.append(
            {
                "task": key[0],
                "id": key[1],
                "question": questions.get(key, ""),
                "gold": next(iter(distinct))[-1],
                "outputs": [answer[:-1] for answer in distinct],
                # A row without seeds has one answer, which holds beside every seed.
                "given": [
                    [place[by_seed[None]]] if None in by_seed
                    else [place[by_seed[s]] if s in by_seed else -1 for s in seeds]
                    for by_seed in given
                ],
            }
        )  # fmt: skip
    tasks = [task for task, _ in chosen]
    return sorted(made, key=lambda one: tasks.index(one["task"]))


def _chosen(row: Row) -> list[Key]:
    """The first questions of each task that a row was asked, in turns of the tasks."""
    by_task: dict[str, set[str]] = defaultdict(set)
    for sample in next(iter(row.done.values())).samples():
        by_task[str(sample.get("task"))].add(str(sample.get("question_id")))
    first = {task: sorted(ids)[:MOST_ASKED] for task, ids in by_task.items()}
    keys = [(at, (task, one)) for task, ids in first.items() for at, one in enumerate(ids)]
    return [key for _, key in sorted(keys, key=lambda pair: pair[0])]


def _answers(row: Row, seeds: Sequence[int], wanted: set[Key]) -> dict[Key, dict[Seed, Answer]]:
    """What the row's student answered to these questions, by seed."""
    found: dict[Key, dict[Seed, Answer]] = defaultdict(dict)
    for seed, cell in _cells(row, seeds).items():
        for sample in final(cell.samples()):
            key = str(sample.get("task")), str(sample.get("question_id"))
            if key in wanted and sample.get("right") is not None:
                output, extracted, gold = (
                    "" if sample.get(name) is None else str(sample[name])
                    for name in ("output", "extracted", "answer")
                )
                found[key][seed] = shortened(output), extracted, int(bool(sample["right"])), gold
    return dict(found)


def _training(rows: Sequence[Row], seeds: Sequence[int], bank: pd.DataFrame) -> dict[str, Any]:
    """The first training questions, each with its rationales by condition, and their weights."""
    bank = bank[bank["question_id"].isin(sorted({*bank["question_id"]})[:MOST_TRAINING])]
    training = []
    for question_id, own in bank.groupby("question_id"):
        texts = {text: number for number, text in enumerate(dict.fromkeys(own["text"]))}
        by_condition = {
            condition: [
                [one.teacher, int(one.sample), texts[one.text], one.answer, int(one.right),
                 one.corruption]
                for one in held.itertuples()
            ]
            for condition, held in own.groupby("condition", sort=False)
        }  # fmt: skip
        facts = {
            "id": question_id,
            "question": own["question"].iloc[0],
            "gold": own["gold"].iloc[0],
        }
        training.append(facts | {"texts": [*texts], "rationales": by_condition})
    keys = {
        condition: pd.MultiIndex.from_frame(held.sort_values("question_id", kind="stable")[KEY])
        for condition, held in bank.groupby("condition")
    }
    found = mapped(lambda row: _weights(row, seeds, keys.get(row.condition)), rows)
    weights = [
        {"row": number, "condition": row.condition, "values": values}
        for number, (row, values) in enumerate(zip(rows, found, strict=True))
        if values
    ]
    return {"training": training, "weights": weights}


def _weights(
    row: Row, seeds: Sequence[int], keys: pd.MultiIndex | None
) -> dict[str, list[list[float | None]]]:
    """Weight and scores of each of these rationales by epoch, mean over seeds, to two decimals.

    Empty for a row that weighs all alike, or read none of them.
    """
    needed = {*KEY, "epoch"}
    frame = joined_steps(
        _cells(row, seeds), lambda c: c in {*needed, WEIGHT} or c.startswith(SCORE), needed
    )
    if keys is None or frame.empty:
        return {}
    frame = frame[frame["question_id"].isin(keys.get_level_values(0))]
    names = [name for name in frame if name == WEIGHT or name.startswith(SCORE)]
    means = frame.astype(dict.fromkeys(KEY[:2], str)).groupby([*KEY, "epoch"])[names].mean()
    if means.empty or means.round(2).nunique().max() <= 1:
        return {}
    return {
        name.removeprefix(SCORE): [
            [None if isnan(value) else value for value in line]
            for line in means[name].unstack("epoch").reindex(keys).round(2).to_numpy().tolist()
        ]
        for name in names
        if means[name].notna().any()
    }
