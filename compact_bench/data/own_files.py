"""A user's own JSONL files: every key read or refused, rows merged, rationales joined."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from compact_bench.data.answers import canonical
from compact_bench.data.banks import (
    SourceData,
    infer_kind,
    left_out_notes,
    questions_of,
    rationales_of,
)
from compact_bench.data.importers import FileRow, is_text, numbered_rows, row_text
from compact_bench.data.rationales import HUMAN, RationaleBank, rationale_table
from compact_bench.data.splits import (
    LETTERS,
    parse_choices,
    question_id,
    unify_choices,
    write_choices,
)
from compact_bench.errors import UserError, nearest, quoted, unknown

KEYS = ("question", "answer", "rationales", "choices")
LONGEST_NAME = 100  # characters of a teacher's name, which is in tables

# Names of files that could be meant as one of a user's own: what is in them is looked at.
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".gz", ".zip", ".xlsx")


def own_rows(path: Path, *, rationales: bool = True) -> Iterator[FileRow]:
    """The rows of a file: {"question", "answer", "rationales": {teacher: text or texts}}.

    One row comes first for the question itself, with its answer, then one for each rationale; of
    a file of test questions (`rationales` False) theirs are not read. The key "human" of
    `rationales` is a person's, null is none. "choices", a list of texts, becomes part of the
    question; the answer is then a letter, or the text of a choice. docs/own_data.md has it whole.

    Raises: UserError with file and line where a row is malformed or has a key that is not read.
    """
    for where, row in numbered_rows(path, lines=True):
        for key in row:
            if key not in KEYS:
                hint, known = nearest(key, KEYS), ", ".join(KEYS)
                raise UserError(f"{where}: unknown key {quoted(key)}{hint}; known: {known}")
        question, gold = _asked(where, row)
        yield FileRow(where, question, gold=gold)
        if rationales:
            for teacher, text in _texts(where, row):
                yield FileRow(where, question, text, teacher=teacher)


def _asked(where: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """The question with its choices in the one form, and the answer, a letter for choices."""
    question = unify_choices(row_text(where, row, "question"))
    answer = row_text(where, row, "answer")
    choices = row.get("choices")
    if choices is None:
        return question, answer
    if not (isinstance(choices, list) and 2 <= len(choices) <= len(LETTERS)):
        raise UserError(f"{where}: 'choices' is a list of 2 to {len(LETTERS)} texts")
    texts = [
        " ".join(row_text(where, {"a choice": choice}, "a choice").split()) for choice in choices
    ]
    if parse_choices(question)[1]:
        raise UserError(f"{where}: 'choices' are given, and the question lists some as well")
    written = write_choices(question, texts)
    if parse_choices(written)[1] != texts:
        raise UserError(f"{where}: these choices can't be told apart in a line: {quoted(written)}")
    letter = canonical(answer, "choice")
    if letter is None and answer.strip() in texts:
        letter = LETTERS[texts.index(answer.strip())]
    if letter is None or letter not in LETTERS[: len(texts)]:
        last = LETTERS[len(texts) - 1]
        raise UserError(
            f"{where}: the answer {quoted(answer)} is neither a letter A to {last} nor a choice"
        )
    return written, letter


def _texts(where: str, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(teacher, text) of a row's rationales."""
    given = row.get("rationales")
    if not isinstance(given, dict) or not any(text is not None for text in given.values()):
        raise UserError(f"{where}: 'rationales' must be an object of teacher: text or list")
    for teacher, texts in given.items():
        if not (teacher.strip() and is_text(teacher) and len(teacher) <= LONGEST_NAME):
            problem = f"1 to {LONGEST_NAME} characters of text"
            raise UserError(f"{where}: a teacher's name is {problem}, got {quoted(teacher)}")
        for text in texts if isinstance(texts, list) else [texts]:
            if text is None and not isinstance(texts, list):
                continue
            if not isinstance(text, str) or not text.strip() or not is_text(text):
                problem = f"the rationale of {quoted(teacher)} is not a text: {quoted(text)}"
                raise UserError(f"{where}: {problem}")
            yield teacher, text.strip()


def own_source(
    path: Path, teachers: Sequence[str], kind: str | None, test: Path | None
) -> SourceData:
    """A user's own file; all its teachers, in order of appearance, if none is named.

    A question may come in several rows: they are merged, and a teacher's texts for it are its
    samples 0, 1, ... A row with the words of an earlier question but another answer or other
    choices is left out, and counted.

    Raises: UserError with file and line for a malformed row; for a teacher that no row has.
    """
    rows = list(own_rows(path))
    if not rows:
        raise UserError(f"{path}: holds no row")
    kind = kind or infer_kind([row for row in rows if not row.teacher])
    known = [t for t in dict.fromkeys(row.teacher for row in rows) if t not in ("", HUMAN)]
    for name in teachers:
        if name not in known:
            raise unknown(f"no question of {path} has the teacher", name, known)
    questions, notes, others = _questions(rows, kind, "questions")
    left_out: Counter[str] = Counter()
    samples = _samples([row for row in rows if row.teacher and row.where not in others], left_out)
    names = tuple(dict.fromkeys(teachers)) or tuple(known)
    rationales = []
    for name in (*names, HUMAN):
        own = (row for row in samples if row.teacher == name)
        rationales += rationales_of(own, name, questions, left_out)
    notes += left_out_notes(left_out)
    bank = RationaleBank(questions, rationale_table(rationales), names)
    table = None
    if test:
        table, more = own_questions(test, kind)
        notes += more
    return SourceData(bank, table, tuple(notes))


def own_questions(path: Path, kind: str) -> tuple[pd.DataFrame, list[str]]:
    """Question table of a user's file of test questions, and what was merged or left out.

    Raises: UserError with file and line for a malformed row.
    """
    table, notes, _ = _questions([*own_rows(path, rationales=False)], kind, "test questions")
    return table, notes


def _questions(
    rows: Sequence[FileRow], kind: str, subject: str
) -> tuple[pd.DataFrame, list[str], set[str]]:
    """Question table, notes on repeated questions, and the places of rows that are left out."""
    golden = [row for row in rows if not row.teacher]
    table = questions_of(golden, kind)
    first: dict[str, FileRow] = {}
    merged, others = 0, []
    for row in golden:
        seen = first.setdefault(question_id(row.question), row)
        same_choices = parse_choices(seen.question)[1] == parse_choices(row.question)[1]
        if not same_choices or canonical(seen.gold, kind) != canonical(row.gold, kind):
            others.append(row.where)
        elif seen is not row:
            merged += 1
    notes = []
    if merged:
        rows_have = "rows have" if merged > 1 else "row has"
        notes.append(f"{subject}: {merged} {rows_have} the question of an earlier one, merged")
    if others:
        # Splits and the search for leaks compare words alone.
        where = Path(others[0]).name  # the file's own name and line, on any machine
        notes.append(
            f"left out: {len(others)} row{'s' * (len(others) > 1)} of {subject} with the words of "
            f"an earlier question (signs, case and choices don't count) but another answer or "
            f"other choices, the first {where}"
        )
    return table, notes, set(others)


def _samples(rows: Sequence[FileRow], left_out: Counter[str]) -> list[FileRow]:
    """The rationales with each teacher's samples of a question numbered from 0, over all rows.

    left_out: counts texts that an earlier row had.
    """
    earlier: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)  # text -> its row
    numbers: Counter[tuple[str, str]] = Counter()
    numbered = []
    for row in rows:
        key = row.teacher, question_id(row.question)
        if earlier[key].setdefault(row.text, row.where) != row.where:
            left_out[f"{row.teacher}: repeated"] += 1
            continue
        numbered.append(replace(row, sample=numbers[key]))
        numbers[key] += 1
    return numbered
