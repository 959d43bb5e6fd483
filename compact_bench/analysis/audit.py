"""Which teachers are worth their price, said from their rationales before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from compact_bench.data.answers import split_steps, strip_answer_sentence
from compact_bench.data.rationales import RationaleBank
from compact_bench.data.splits import normalise, template

NAN = float("nan")


@dataclass(frozen=True)
class TeacherAudit:
    """One teacher's rationales.

    questions: with a rationale of it. readable: share whose answer can be read. right: share with
    the gold answer, with its 95% Wilson interval over the rationales. words, steps: medians, the
    answer's sentence left out. empty: without a step before the answer. repeated: share whose text
    another of its rationales, or one of another teacher, has word for word. nll: nats a token under
    the student, NaN where it was not asked.
    """

    teacher: str
    questions: int
    rationales: int
    readable: float
    right: float
    low: float
    high: float
    words: float
    steps: float
    empty: int
    repeated: float
    nll: float = NAN


@dataclass(frozen=True)
class Audit:
    """What is known of a bank before it is trained on.

    together: phi coefficient of two teachers' wrong answers over the questions that both have, 1:
    they err on the same questions. order: which teacher adds most questions with a right answer to
    those before it, and the share of all questions that have one then. same: test questions that
    are training questions; alike: those with a training question's text but for its numbers.
    """

    teachers: tuple[TeacherAudit, ...]
    together: pd.DataFrame
    order: tuple[tuple[str, float], ...]
    questions: int
    test: int
    same: tuple[str, ...]
    alike: tuple[str, ...]


def audit(bank: RationaleBank, test: Iterable[str], nll: pd.Series | None = None) -> Audit:
    """Audit the rationales of a bank's teachers.

    test: the test questions' texts. nll: by (question_id, teacher, sample), nats a token.
    """
    rationales = bank.rationales[bank.rationales["teacher"].isin(bank.teachers)].copy()
    bodies = rationales["text"].map(strip_answer_sentence)
    rationales["body"] = bodies.map(lambda text: " ".join(text.split()))
    counts = Counter(rationales["body"])
    rationales["copies"] = rationales["body"].map(counts) - 1
    if nll is not None:
        keys = ["question_id", "teacher", "sample"]
        rationales = rationales.join(nll.rename("nll"), on=keys)
    right = rationales.pivot_table(
        index="question_id", columns="teacher", values="right", aggfunc="mean", observed=True
    ).reindex(index=bank.questions["question_id"], columns=list(bank.teachers))
    asked, trained = list(test), list(bank.questions["question"])
    known, patterns = {normalise(text) for text in trained}, {template(text) for text in trained}
    same = [text for text in asked if normalise(text) in known]
    alike = [text for text in asked if normalise(text) not in known and template(text) in patterns]
    return Audit(
        tuple(_teacher(name, rationales[rationales["teacher"] == name]) for name in bank.teachers),
        _together(right),
        tuple(_order(right.gt(0.5))),
        len(bank.questions),
        len(asked),
        tuple(same),
        tuple(alike),
    )


def _teacher(name: str, own: pd.DataFrame) -> TeacherAudit:
    number, right = len(own), int(own["right"].sum())
    if not number:
        return TeacherAudit(name, 0, 0, NAN, NAN, NAN, NAN, NAN, NAN, 0, NAN)
    interval = binomtest(right, number).proportion_ci(method="wilson")
    return TeacherAudit(
        name,
        own["question_id"].nunique(),
        number,
        float(own["answer"].notna().mean()),
        right / number,
        float(interval.low),
        float(interval.high),
        float(own["body"].str.split().map(len).median()),
        float(own["body"].map(lambda text: len(split_steps(text))).median()),
        int((own["body"] == "").sum()),
        float((own["copies"] > 0).mean()),
        float(own["nll"].mean()) if "nll" in own else NAN,
    )


def _together(right: pd.DataFrame) -> pd.DataFrame:
    """Pearson's correlation of right answers, question by question: phi, with one sample each."""
    values = right.astype(float)
    with np.errstate(invalid="ignore"):  # a teacher that is always right errs with nobody
        return values.corr(min_periods=2)


def _order(right: pd.DataFrame) -> Iterable[tuple[str, float]]:
    """Greedily the teacher that answers most questions that no earlier one does."""
    left, solved = list(right.columns), np.zeros(len(right), dtype=bool)
    while left:
        best = max(left, key=lambda name: int((right[name].to_numpy() & ~solved).sum()))
        solved |= right[best].to_numpy()
        left.remove(best)
        yield best, float(solved.mean()) if len(solved) else NAN


def warnings(found: Audit, least: float = 0.8) -> Sequence[str]:
    """What to look at before paying for more: one line each."""
    lines = []
    for one in found.teachers:
        if one.questions < found.questions:
            gone = found.questions - one.questions
            lines.append(
                f"{one.teacher} has no rationale for {gone} of {found.questions} questions"
            )
        if one.rationales and one.readable < least:
            lines.append(f"{one.teacher}: only {one.readable:.0%} of its answers can be read")
        if one.empty:
            lines.append(f"{one.teacher}: {one.empty} times nothing stands before the answer")
        if one.repeated > 1 - least:
            lines.append(f"{one.teacher}: {one.repeated:.0%} of its texts stand more than once")
    if found.same:
        lines.append(f"{len(found.same)} of {found.test} test questions are trained on")
    if found.alike:
        share = f"{len(found.alike)} of {found.test}"
        lines.append(f"{share} test questions are training questions with other numbers")
    return lines
