"""From files to a bank: rows are joined to the training questions, and each answer is judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from compact_bench.data.answers import canonical, rationale_answer, same_answer
from compact_bench.data.importers import IMPORTERS, FileRow
from compact_bench.data.rationales import HUMAN, RationaleBank, question_table, rationale_table
from compact_bench.data.sources import Dataset, Part, fetch, teacher_part
from compact_bench.data.splits import question_id
from compact_bench.errors import UserError, quoted

LeftOut = defaultdict[str, list[str]]  # why -> file and line of each row
MOST_LISTED = 10  # rows that a note lists by their number


@dataclass(frozen=True)
class SourceData:
    """All of one data source before it is split.

    bank: every training question with the chosen teachers and human rationales. test: question
    table, None where the source has no test questions. notes: what was left out, and why.
    """

    bank: RationaleBank
    test: pd.DataFrame | None
    notes: tuple[str, ...] = ()


def read(part: Part, mirror: Path | None) -> list[FileRow]:
    """The rows of one catalog file, verified and imported."""
    rows = IMPORTERS[part.importer](fetch(part.file, mirror))
    return [row for row in rows if part.sample is None or row.sample == part.sample]


def questions_of(rows: Iterable[FileRow], kind: str) -> pd.DataFrame:
    """Question table of rows with a gold answer; of equal questions the first stays.

    Raises: UserError with file and line where an answer is not of the kind.
    """
    table: dict[str, dict[str, str]] = {}
    for row in rows:
        if (answer := canonical(row.gold, kind)) is None:
            raise UserError(f"{row.where}: the answer {quoted(row.gold)} is not a {kind}")
        key = question_id(row.question)
        entry = {"question_id": key, "question": row.question, "answer": answer, "kind": kind}
        table.setdefault(key, entry)
    return question_table(table.values())


def rationales_of(
    rows: Iterable[FileRow], teacher: str, questions: pd.DataFrame, left_out: LeftOut
) -> list[dict[str, Any]]:
    """Rationale rows of one teacher for the given questions.

    left_out: gets the rows without a training question (public files hold test questions of one
    another), without text, and repeated ones.
    """
    answers = dict(zip(questions["question_id"], questions["answer"], strict=True))
    kinds = dict(zip(questions["question_id"], questions["kind"], strict=True))
    rationales: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        key = question_id(row.question)
        if key not in answers:
            left_out[f"{teacher}: not a training question"].append(row.where)
        elif not row.text:
            left_out[f"{teacher}: no text"].append(row.where)
        elif (key, row.sample) in rationales:
            left_out[f"{teacher}: repeated"].append(row.where)
        else:
            answer = rationale_answer(row.text, kinds[key], row.completion, row.known)
            rationales[key, row.sample] = {
                "question_id": key,
                "teacher": teacher,
                "sample": row.sample,
                "role": HUMAN if teacher == HUMAN else "teacher",
                "text": row.text,
                "answer": answer,
                "right": same_answer(answer, answers[key], kinds[key]),
                "corruption": "",
            }
    return list(rationales.values())


def catalog_source(data: Dataset, teachers: Sequence[str], mirror: Path | None) -> SourceData:
    """A data set of the catalog with the named teachers ([] = its default ones).

    Raises: UserError for an unknown teacher, one that is named twice, or a bad file.
    """
    names = tuple(teachers) or data.default_teachers
    parts = {name: teacher_part(data, name) for name in names}
    if len(set(parts.values())) < len(names):
        raise UserError(f"data.teachers names a teacher twice: {', '.join(names)}")
    questions = questions_of(read(data.questions, mirror), data.answer)
    files = parts | ({HUMAN: data.human} if data.human else {})
    left_out: LeftOut = defaultdict(list)
    rows = []
    for name, part in files.items():
        rows += rationales_of(read(part, mirror), name, questions, left_out)
    bank = RationaleBank(questions, rationale_table(rows), names)
    test = held_out(data, mirror) if data.test else None
    return SourceData(bank, test, left_out_notes(left_out))


def held_out(data: Dataset, mirror: Path | None) -> pd.DataFrame:
    """Question table of a data set's test split.

    Raises: UserError where the data set has none.
    """
    if data.test is None:
        raise UserError(f"{data.title} has no test questions in the catalog")
    test = questions_of(read(data.test, mirror), data.answer)
    if data.split == "file":
        return test
    train = {question_id(row.question) for row in read(data.questions, mirror)}
    return test[~test["question_id"].isin(train)]


def infer_kind(rows: Sequence[FileRow]) -> str:
    """The kind that all gold answers of a user's file are of.

    Raises: UserError with file and line of the first answer that fits none.
    """
    kinds = ("number", "boolean", "choice")
    odd = {kind: [row for row in rows if canonical(row.gold, kind) is None] for kind in kinds}
    kind = min(kinds, key=lambda name: len(odd[name]))
    if not odd[kind]:
        return kind
    raise UserError(
        f"{odd[kind][0].where}: the answers are not all numbers, yes/no or letters A to E "
        f"(this one is {quoted(odd[kind][0].gold)}); set data.answer to the kind that they should "
        "be"
    )


def left_out_notes(left_out: Mapping[str, Sequence[str]], listed: bool = False) -> tuple[str, ...]:
    """What was left out, a sentence for each reason; listed: with the numbers of the rows."""
    return tuple(
        f"left out: {len(rows)} row{'s' * (len(rows) > 1)} ({why})"
        + (f": {row_numbers(rows)}" if listed else "")
        for why, rows in left_out.items()
    )


def row_numbers(rows: Sequence[str]) -> str:
    """The numbers of rows that are named by file and line; of many, the first ones.

    >>> row_numbers(["a.jsonl:4", "b.parquet: row 7"])
    '4, 7'
    """
    numbers = [place.rpartition(":")[2].replace("row", "").strip() for place in rows]
    more = len(numbers) - MOST_LISTED
    return ", ".join(numbers[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
