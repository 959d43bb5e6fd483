"""The bank of rationales: a question table and, per teacher, rationales for its questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from compact_bench.data.answers import rationale_answer, same_answer
from compact_bench.data.splits import parse_choices
from compact_bench.errors import unknown

HUMAN = "human"
QUESTION_COLUMNS = ("question_id", "question", "answer", "kind")
RATIONALE_COLUMNS = ("question_id", "teacher", "sample", "role", "text", "answer", "right",
                     "corruption")  # fmt: skip


def question_table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Rows of `QUESTION_COLUMNS` as a table, which has these columns even without rows."""
    return pd.DataFrame(list(rows), columns=list(QUESTION_COLUMNS))


def rationale_table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Rows of `RATIONALE_COLUMNS` as a table; a missing answer is None, never NaN."""
    table = pd.DataFrame(list(rows), columns=list(RATIONALE_COLUMNS))
    answers = table["answer"].astype(object)
    table["answer"] = answers.where(answers.notna(), None)
    return table.astype({"sample": "int64", "right": "bool"})


def digest(value: Any) -> str:
    """SHA-256, in hex, of a value's canonical JSON; NaN and None are the same."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def table_rows(table: pd.DataFrame) -> list[list[Any]]:
    """A table's header and rows as plain JSON values, for a fingerprint."""
    body = table.astype(object).where(table.notna(), None).values.tolist()
    return [list(table.columns), *body]


class Question(NamedTuple):
    """A question without its choices, their texts, and the gold answer (a letter for choices)."""

    question_id: str
    stem: str
    kind: str
    choices: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class RationaleBank:
    """Questions with the rationales of several teachers.

    questions: question_id, question, answer (canonical), kind.
    rationales: question_id, teacher, sample, role ("teacher" or "human"), text (with its own
        answer sentence), answer (extracted, canonical, or None), right, corruption ("" = none).
    sound: what rationales with a corruption were before it, or would be without it, in the same
        columns; None where it is not known which rationales are faulty.
    teachers: index in this tuple = teacher index in a batch; "human" is not among them.

    Raises: ValueError where a column is missing, a question_id occurs twice, or a rationale has
    no question.
    """

    questions: pd.DataFrame
    rationales: pd.DataFrame
    teachers: tuple[str, ...]
    sound: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        tables = ((self.questions, QUESTION_COLUMNS), (self.rationales, RATIONALE_COLUMNS))
        for table, columns in tables:
            if missing := set(columns) - set(table.columns):
                raise ValueError(f"a bank's table lacks the columns {sorted(missing)}")
        ids = self.questions["question_id"]
        if ids.duplicated().any():
            raise ValueError(f"question_id {ids[ids.duplicated()].iloc[0]} occurs twice")
        if not self.rationales["question_id"].isin(ids).all():
            raise ValueError("a rationale belongs to no question of the bank")

    def keep(self, mask_or_ids: Any) -> RationaleBank:
        """The bank of some rationales (a boolean mask over them) or questions (their ids).

        With a mask, questions that keep no rationale of the bank's teachers go as well.

        Raises: ValueError where a mask is not as long as the table of rationales.
        """
        values = np.asarray(mask_or_ids if hasattr(mask_or_ids, "__len__") else list(mask_or_ids))
        if values.dtype != bool:
            tables = (self.questions, self.rationales)
            questions, rationales = (t[t["question_id"].isin(values.tolist())] for t in tables)
            return replace(self, questions=questions, rationales=rationales)
        if len(values) != len(self.rationales):
            raise ValueError(f"a mask of {len(values)} for {len(self.rationales)} rationales")
        rationales = self.rationales[values]
        left = rationales.loc[rationales["teacher"].isin(self.teachers), "question_id"]
        return replace(self, rationales=rationales).keep(left.unique())

    def only_teachers(self, names: Iterable[str]) -> RationaleBank:
        """The bank of these teachers alone, in this order, without human rationales.

        Raises: UserError for a teacher that the bank doesn't have, with the nearest name.
        """
        names = tuple(names)
        for name in names:
            if name not in self.teachers:
                raise unknown("no question has the teacher", name, self.teachers)
        return replace(self, teachers=names).keep(self.rationales["teacher"].isin(names))

    def with_rationales(self, teacher: str, texts: Mapping[str, Sequence[str]]) -> RationaleBank:
        """The bank with the rationales of one teacher more: texts by question_id.

        The name "student" is for what the student wrote: its tokens are no teacher's in the cost.
        The answer of each is read from its text and compared with the gold one. Which of them are
        faulty is not known, so they count as sound.

        Raises: ValueError for a teacher or question_id that the bank has or hasn't, respectively.
        """
        if teacher in {*self.teachers, *self.rationales["teacher"]}:
            raise ValueError(f"with_rationales: the bank has a teacher {teacher!r} already")
        known = {row.question_id: row for row in self.questions.itertuples()}
        if strangers := sorted(set(texts) - set(known)):
            raise ValueError(f"with_rationales: the bank has no question {strangers[0]!r}")
        rows = []
        for key, own in texts.items():
            gold, kind = known[key].answer, known[key].kind
            for sample, text in enumerate(own):
                answer = rationale_answer(text, kind)
                right = same_answer(answer, gold, kind)
                rows.append((key, teacher, sample, "teacher", text, answer, right, ""))
        more = rationale_table(dict(zip(RATIONALE_COLUMNS, row, strict=True)) for row in rows)
        parts = [self.rationales, more] if len(more) else [self.rationales]
        rationales = pd.concat(parts, ignore_index=True)
        return replace(self, rationales=rationales, teachers=(*self.teachers, teacher))

    def humans(self) -> RationaleBank:
        """The bank of the human rationales; empty where the source has none."""
        bank = replace(self, teachers=(HUMAN,))
        return bank.keep(self.rationales["role"] == "human")

    @property
    def faults_known(self) -> bool:
        """Whether it is on record which rationales are faulty: of generated data, and of any that
        were corrupted on purpose."""
        return self.sound is not None

    def repaired(self) -> RationaleBank:
        """The bank without its faults: every faulty rationale as it was before, or would be.

        Raises: ValueError where the faults are not known, or a faulty rationale's sound text isn't.
        """
        if self.sound is None:
            raise ValueError("a bank whose faults are not known can't be repaired")
        key = ["question_id", "teacher", "sample"]
        table = self.rationales.copy()
        faulty = table["corruption"].ne("").to_numpy()
        fixed = table.loc[faulty, key].merge(self.sound, on=key, how="left", validate="1:1")
        if fixed["text"].isna().any():
            raise ValueError("a faulty rationale has no sound text")
        for column in ("text", "answer", "right", "corruption"):
            values = table[column].to_numpy(copy=True)
            values[faulty] = fixed[column].to_numpy()
            table[column] = pd.Series(values, index=table.index, dtype=table[column].dtype)
        return replace(self, rationales=table)

    def lowest(self, scores: Mapping[tuple[str, str, int], float]) -> RationaleBank:
        """For each question the rationale of the lowest score, the first one where several tie.

        scores: by question_id, teacher, sample. Rationales without a score are left out, and
        questions without any other.
        """
        rationales = self.rationales.reset_index(drop=True)
        keys = zip(*(rationales[c] for c in ("question_id", "teacher", "sample")), strict=True)
        known = pd.Series([scores.get(key, np.nan) for key in keys], dtype="float64").dropna()
        best = known.groupby(rationales.loc[known.index, "question_id"]).idxmin()
        return self.keep(rationales.index.isin(best))

    def asked(self) -> Iterator[Question]:
        """The questions with their choices taken apart, in order."""
        for row in self.questions.itertuples():
            stem, choices = parse_choices(row.question)
            yield Question(row.question_id, stem, row.kind, tuple(choices), row.answer)

    def fingerprint(self) -> str:
        """SHA-256 of the content, in hex."""
        tables = [table_rows(self.questions), table_rows(self.rationales)]
        if self.sound is not None:
            tables.append(table_rows(self.sound))
        return digest([*tables, list(self.teachers)])
