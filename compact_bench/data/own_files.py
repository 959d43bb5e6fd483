"""A user's own data: every column read or refused, rows merged, rationales joined."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from compact_bench.data.answers import canonical
from compact_bench.data.banks import (
    LeftOut,
    SourceData,
    infer_kind,
    left_out_notes,
    questions_of,
    rationales_of,
    row_numbers,
)
from compact_bench.data.importers import FileRow, is_text, row_text
from compact_bench.data.rationales import HUMAN, RationaleBank, rationale_table
from compact_bench.data.readers import hub_address, user_rows
from compact_bench.data.splits import (
    LETTERS,
    parse_choices,
    question_id,
    unify_choices,
    write_choices,
)
from compact_bench.errors import UserError, nearest, quoted, unknown
from compact_bench.suite.sections import DATA_SUFFIXES, ColumnsSpec, DataSpec

# Of a row as it is; what `generate` records of an answer is not read.
KEYS = ("question", "answer", "rationales", "choices", "teacher", "rationale", "generated")
LONGEST_NAME = 100  # characters of a teacher's name, which is in tables
SPEAKERS = {"user": ("user", "human"), "assistant": ("assistant", "gpt")}  # who speaks in a chat
# What a text thinks first; a prompt may hold the opening tag.
THOUGHT = re.compile(r"^(?:\s*<think>)?(.*?)</think>", re.DOTALL)

# Names of files that could be meant as one of a user's own: what is in them is looked at.
SUFFIXES = (*DATA_SUFFIXES, ".json", ".txt", ".gz", ".zip", ".xlsx")


def own_rows(
    source: str, data: DataSpec, split: str = "", *, rationales: bool = True
) -> Iterator[FileRow | str]:
    """The rows of a source: {"question", "answer", "rationales": {teacher: text or texts}}.

    One row comes first for the question itself, with its answer, then one for each rationale; of
    test questions (`rationales` False) theirs are not read. The key "human" of `rationales` is a
    person's rationale, null is none; "teacher" and "rationale" are for one rationale a row.
    "choices", a list of texts, becomes part of the question; the answer is then a letter, or the
    text of a choice. `data.columns` names other columns. docs/own_data.md has it whole.

    A row that can't be read comes as a message where `data.bad_rows` is "drop".
    Raises: UserError with file and line for one where it isn't, and for what is not read.
    """
    columns = _wanted(source, data, split, rationales)
    names = _names(columns, rationales) if columns else None
    for where, row in user_rows(source, names, data.config, split):
        try:
            values = _by_columns(where, row, columns, rationales) if columns else row
            yield from list(_rows_of(where, values, rationales, data.thinking))
        except UserError as error:
            if data.bad_rows == "refuse":
                raise
            yield str(error)


def _wanted(source: str, data: DataSpec, split: str, rationales: bool) -> ColumnsSpec | None:
    """The map of a source's columns; None for a file of test questions with the plain names."""
    if data.columns is None or rationales:
        return data.columns
    _, first = next(user_rows(source, None, data.config, split), ("", {}))
    plain = data.columns.question not in first and "question" in first
    return None if plain else data.columns


def _names(columns: ColumnsSpec, rationales: bool) -> list[str]:
    """The names of the columns that are read."""
    names = [columns.question, columns.answer, columns.choices]
    if rationales:
        own = columns.rationales
        names += [columns.teacher, *(own.values() if isinstance(own, dict) else [own])]
    return [*dict.fromkeys(filter(None, names))]


def _by_columns(
    where: str, row: Mapping[str, Any], columns: ColumnsSpec, rationales: bool
) -> dict[str, Any]:
    """A row with the keys that a plain one has."""
    for name in _names(columns, rationales):
        if name not in row:  # of JSONL, whose rows need not be alike
            raise unknown(f"{where}: no column", name, row)
    made = {
        "question": _message(where, row[columns.question], "user"),
        "answer": row[columns.answer],
        "choices": row[columns.choices] if columns.choices else None,
    }
    if isinstance(made["choices"], dict):  # {"label": [...], "text": [...]}, as on the hub
        made["choices"] = made["choices"].get("text")
    if not rationales:
        return made
    own = columns.rationales
    if isinstance(own, dict):
        texts = {name: _message(where, row[column], "assistant") for name, column in own.items()}
        return made | {"rationales": {name: text or None for name, text in texts.items()}}
    if columns.teacher is None:
        return made | {"rationales": row[own]}
    text = _message(where, row[own], "assistant") or None
    return made | {"teacher": row[columns.teacher], "rationale": text}


def _message(where: str, value: Any, speaker: str) -> Any:
    """What a speaker says in a chat of one question and one answer; any other value as it is."""
    if not (isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value)):
        return value
    turns = [(t.get("role", t.get("from")), t.get("content", t.get("value")), t) for t in value]
    own = [turn for turn in turns if turn[0] in SPEAKERS[speaker]]
    if len(own) != 1:
        raise UserError(f"{where}: a chat has one message of the {speaker}, this one {len(own)}")
    thought = own[0][2].get("reasoning_content")
    return f"<think>{thought}</think>{own[0][1] or ''}" if thought else own[0][1]


def _rows_of(
    where: str, row: Mapping[str, Any], rationales: bool, thinking: str | None
) -> Iterator[FileRow]:
    for key in row:
        if key not in KEYS:
            hint, known = nearest(key, KEYS), ", ".join(KEYS)
            raise UserError(
                f"{where}: unknown key {quoted(key)}{hint}; known: {known}; where data.columns "
                "says which columns hold what, others may be there"
            )
    question, gold = _asked(where, row)
    yield FileRow(where, question, gold=gold)
    if rationales:
        for teacher, text in _texts(where, row):
            yield FileRow(where, question, _thought(where, text, thinking), teacher=teacher)


def _thought(where: str, text: str, thinking: str | None) -> str:
    """The text with what stands in think tags as told: read, without the tags, or cut."""
    if "<think>" not in text and "</think>" not in text:
        return text
    if thinking is None:
        raise UserError(
            f"{where}: a rationale with think tags: data.thinking says whether what stands between "
            "them is read or cut"
        )
    match = THOUGHT.match(text)
    rest = text[match.end() :].strip() if match else ""
    if match is None or not rest or "<think>" in rest:
        raise UserError(f"{where}: a rationale that ends before its thinking does, or with it")
    return rest if thinking == "cut" else f"{match[1].strip()}\n{rest}".strip()


def _asked(where: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """The question with its choices in the one form, and the answer, a letter for choices."""
    question = unify_choices(row_text(where, row, "question"))
    # GSM8K writes its answers so, after a solution.
    answer = row_text(where, row, "answer").rpartition("####")[2]
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
    if "teacher" in row:
        given = {row_text(where, row, "teacher"): row.get("rationale")}
    else:
        given = row.get("rationales") or {}
    if not isinstance(given, dict):
        raise UserError(
            f"{where}: 'rationales' must be an object of teacher: text or list; for one column a "
            "teacher see data.columns"
        )
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


def own_source(data: DataSpec) -> SourceData:
    """The data of a user's own that `data` names; all teachers, in order of appearance, if it names
    none.

    A question may come in several rows: they are merged, and a teacher's texts for it are its
    samples 0, 1, ... A row with the words of an earlier question but another answer or other
    choices is left out, and counted.

    Raises: UserError with file and line for a malformed row; for a teacher that no row has.
    """
    source = data.source
    rows, notes = _read(source, data, data.split)
    kind, rows, more = _of_one_kind(rows, data, "questions")
    notes += more
    known = _teachers(rows)
    for name in data.teachers:
        if name not in known:
            raise unknown(f"no question of {source} has the teacher", name, known)
    questions, more, others = _questions(rows, kind, "questions")
    left_out: LeftOut = defaultdict(list)
    own = [row for row in rows if row.teacher and row.where not in others]
    names = tuple(dict.fromkeys(data.teachers)) or tuple(known)
    rationales, silent = _rationales(own, (*names, HUMAN), questions, left_out)
    notes += [*more, *left_out_notes(left_out, listed=True), *silent]
    bank = RationaleBank(questions, rationale_table(rationales), names)
    table = None
    if data.test_source:
        table, more = own_questions(data.test_source, kind, data)
        notes += more
    return SourceData(bank, table, tuple(notes))


def own_questions(source: str, kind: str, data: DataSpec) -> tuple[pd.DataFrame, list[str]]:
    """Question table of a user's test questions, and what was merged or left out.

    Raises: UserError with file and line for a malformed row.
    """
    rows, notes = _read(source, data, data.test_split, rationales=False)
    _, rows, more = _of_one_kind(rows, data, "test questions", kind)
    table, merged, _ = _questions(rows, kind, "test questions")
    return table, [*notes, *more, *merged]


def more_teachers(data: DataSpec) -> list[str]:
    """The teachers of `data.more`'s files."""
    return [name for source in data.more for name in _teachers(_read_more(source, data)[0])]


def _read_more(source: str, data: DataSpec) -> tuple[list[FileRow], list[str]]:
    plain = DataSpec(source=source, thinking=data.thinking, bad_rows=data.bad_rows)
    return _read(source, plain, data.split)


def with_more(bank: RationaleBank, data: DataSpec) -> tuple[RationaleBank, list[str]]:
    """The bank with the rationales of `data.more`, whose teachers come last, and what was left out.

    Only the bank's questions are taken; their answers are the bank's.

    Raises: UserError with file and line for a malformed row; for a teacher of the bank or of two
    files.
    """
    notes: list[str] = []
    for source in data.more:
        rows, read = _read_more(source, data)
        names = _teachers(rows)
        if twice := [name for name in names if name in bank.teachers]:
            raise UserError(f"data.more: {source}: the teacher {twice[0]!r} is there already")
        left_out: LeftOut = defaultdict(list)
        own = [row for row in rows if row.teacher]
        made, silent = _rationales(own, names, bank.questions, left_out)
        parts = [t for t in (bank.rationales, rationale_table(made)) if len(t)]
        table = pd.concat(parts, ignore_index=True) if parts else bank.rationales
        bank = replace(bank, rationales=table, teachers=(*bank.teachers, *names))
        notes += [*read, *left_out_notes(left_out, listed=True), *silent]
    return bank, notes


def _read(
    source: str, data: DataSpec, split: str, rationales: bool = True
) -> tuple[list[FileRow], list[str]]:
    """The rows of a source, and what is to be said of them: its commit, rows that can't be read."""
    read = [*own_rows(source, data, split, rationales=rationales)]
    rows = [row for row in read if isinstance(row, FileRow)]
    bad = [row for row in read if isinstance(row, str)]
    notes = []
    if address := hub_address(source):
        at = f"commit {address.revision}" if address.pinned else "a commit that is not recorded"
        notes.append(f"{address.name} of the hub, {split}, at {at}")
    if bad:
        first = f"{Path(source).name}{bad[0].removeprefix(source)}"
        rows_are = f"{len(bad)} row{'s' * (len(bad) > 1)}"
        notes.append(f"left out: {rows_are} that can't be read, the first {first}")
    if not rows:
        raise UserError(f"{source}: holds no row" + (f" that can be read: {bad[0]}" if bad else ""))
    return rows, notes


def _teachers(rows: Sequence[FileRow]) -> list[str]:
    return [name for name in dict.fromkeys(row.teacher for row in rows) if name not in ("", HUMAN)]


def _of_one_kind(
    rows: list[FileRow], data: DataSpec, subject: str, kind: str | None = None
) -> tuple[str, list[FileRow], list[str]]:
    """The kind of the answers, the rows whose answers are of it, and a note of the others.

    Raises: UserError with file and line of an answer of another kind, where bad rows are refused.
    """
    golden = [row for row in rows if not row.teacher]
    kind = kind or data.answer or infer_kind(golden)
    odd = {row.where: row for row in golden if canonical(row.gold, kind) is None}
    if not odd or data.bad_rows == "refuse":  # `questions_of` says which, and why
        return kind, rows, []
    why = f"the answer of {subject} is not a {kind}"
    return kind, [row for row in rows if row.where not in odd], [
        *left_out_notes({why: [*odd]}, listed=True)
    ]  # fmt: skip


def _rationales(
    rows: Sequence[FileRow], names: Sequence[str], questions: pd.DataFrame, left_out: LeftOut
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rationale rows of these teachers, and a note for each that states no answer in some."""
    samples = _samples(rows, left_out)
    made, notes = [], []
    for name in names:
        own = [row for row in samples if row.teacher == name]
        places = {(question_id(row.question), row.sample): row.where for row in own}
        of_teacher = rationales_of(own, name, questions, left_out)
        made += of_teacher
        silent = [
            places[row["question_id"], row["sample"]] for row in of_teacher if row["answer"] is None
        ]
        if silent:
            state = "rationales state" if len(silent) > 1 else "rationale states"
            notes.append(f"{name}: {len(silent)} {state} no answer: {row_numbers(silent)}")
    return made, notes


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


def _samples(rows: Sequence[FileRow], left_out: LeftOut) -> list[FileRow]:
    """The rationales with each teacher's samples of a question numbered from 0, over all rows.

    left_out: gets the texts that an earlier row had.
    """
    earlier: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)  # text -> its row
    numbers: Counter[tuple[str, str]] = Counter()
    numbered = []
    for row in rows:
        key = row.teacher, question_id(row.question)
        if earlier[key].setdefault(row.text, row.where) != row.where:
            left_out[f"{row.teacher}: repeated"].append(row.where)
            continue
        numbered.append(replace(row, sample=numbers[key]))
        numbers[key] += 1
    return numbered
