"""Controlled corruption: which rationales of a bank get which fault, recorded in the bank."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import merge
from math import floor

import pandas as pd

from compact_bench.data.answers import pieces, same_answer
from compact_bench.data.faults import FAULTS, GRAPH_FAULTS, Case, Corrupted, wrong_value
from compact_bench.data.rationales import RationaleBank, rationale_table
from compact_bench.errors import UserError, unknown

MAJORITY = "wrong_majority"  # the one fault whose share is of questions
HALF = Fraction(1, 2)

# What a rationale of (question_id, teacher, sample) is with one of `GRAPH_FAULTS`, None where it
# can't be.
Rewriter = Callable[[str, str, int, str], Corrupted | None]


def corrupt(
    bank: RationaleBank,
    shares: Mapping[str, float],
    seed: int,
    persistent: bool = False,
    rewriter: Rewriter | None = None,
) -> RationaleBank:
    """The bank with shares of its teachers' rationales corrupted on purpose, human ones never.

    shares: of the teachers' rationales by fault (a name of `FAULTS` or `GRAPH_FAULTS`); for
    wrong_majority of the questions. persistent: a fault hits all rationales of the same teachers,
    `hit_teachers`; otherwise teachers take turns. rewriter: where there is none, `GRAPH_FAULTS`
    are refused. A question with K rationales gets floor(share * K) of a fault or one more, and over
    the questions each teacher is hit equally often. Faults hit rationales of their own; what
    can't be corrupted is left (`corruption_notes` counts it). The same bank in another order, and
    the same seed, give the same texts; shares of 0 give the bank itself.

    text, answer, right and corruption of these rows are new: corruption is the fault's name, after
    the earlier one and a "+" if there was one. What they were before is in the bank's `sound`.

    Raises: UserError for an unknown fault, a share outside [0, 1], shares above 1 in all, and
    where a fault can't be had.
    """
    exact = check_shares(shares, rewriter is not None, persistent)
    if not exact:
        return bank
    work = _Work(bank, seed, rewriter)
    if persistent:
        for fault, teachers in hit_teachers(bank, shares, seed).items():
            for key in work.order:
                for row in work.rows[key]:
                    if row.teacher in teachers:
                        work.hit_one(row, fault)
        return work.result()
    majority = exact.pop(MAJORITY, Fraction(0))
    for number, key in enumerate(work.order):
        if _step(majority, number, 1):
            work.mislead(key)
    before, given = 0, Counter[str]()
    for key in work.order:
        rows = work.rows[key]
        room = sum(row.position not in work.corrupted for row in rows)
        for fault, count in _counts(exact, before, len(rows), room, given).items():
            given[fault] += count
            for _ in range(count):
                work.hit(key, fault)
        before += len(rows)
    return work.result()


def hit_teachers(
    bank: RationaleBank, shares: Mapping[str, float], seed: int
) -> dict[str, tuple[str, ...]]:
    """The teachers that each fault hits where it is persistent: round(share * K) of them.

    In an order drawn from the seed, whatever the fault and the order of the bank, so that the
    teachers of a smaller share are among those of a larger one. Faults share no teacher.

    Raises: UserError where a share comes to no teacher.
    """
    order = sorted(bank.teachers, key=lambda name: _digest(seed, "persistent", name))
    hit, whole = {}, Fraction(0)
    for fault, share in check_shares(shares, generated=True, persistent=True).items():
        start = floor(whole * len(order) + HALF)
        whole += share
        chosen = order[start : floor(whole * len(order) + HALF)]
        if not chosen:
            raise UserError(
                f"data.corrupt: {fault} {float(share):g} of {len(order)} teachers is none of them, "
                "as data.corrupt_persistent hits whole teachers"
            )
        hit[fault] = tuple(chosen)
    return hit


def corruption_notes(
    before: RationaleBank,
    after: RationaleBank,
    shares: Mapping[str, float],
    hit_teachers: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[str, ...]:
    """How much of each fault was wanted and done, for the captions.

    before, after: the bank that `corrupt` was given, and what it made of it. hit_teachers: where
    the faults are persistent.
    """
    old, new = before.rationales, after.rationales
    rows = new["teacher"].isin(before.teachers)
    total, questions = int(rows.sum()), new.loc[rows, "question_id"].nunique()
    notes = []
    for fault, share in check_shares(shares, generated=True).items():
        hit = new["corruption"].ne(old["corruption"]) & new["corruption"].str.endswith(fault)
        count, of, unit = int(hit.sum()), total, f"{total} rationales"
        if fault == MAJORITY:
            unit = f"{questions} questions, {count} rationales"
            count, of = new.loc[hit, "question_id"].nunique(), questions
        wanted = floor(share * of + HALF)
        if hit_teachers:
            chosen = hit_teachers[fault]
            wanted = int(new["teacher"].isin(chosen).sum())
            unit += f", of {' and '.join(chosen)} alone"
        short = f"; {wanted - count} more were asked for and could not be" * (count < wanted)
        percent = f"{count / of:.1%}" if of else "0.0%"
        notes.append(f"corrupted on purpose: {fault} {percent} ({count} of {unit}{short})")
    return tuple(notes)


def check_shares(
    shares: Mapping[str, float], generated: bool, persistent: bool = False
) -> dict[str, Fraction]:
    """The shares above 0, exact, in the order of the faults, whatever the order they came in.

    generated: whether the problems are, so that their solution is known.

    Raises: UserError as `corrupt` does.
    """
    known = (*FAULTS, *GRAPH_FAULTS)
    for name, share in shares.items():
        if name not in known:
            raise unknown("data.corrupt: unknown fault", name, known)
        if not 0 <= share <= 1:
            raise UserError(f"data.corrupt: the share of {name} is {share}, not between 0 and 1")
        if name in GRAPH_FAULTS and not generated:
            raise UserError(
                f"data.corrupt: {name} needs the steps of the solution, which only data.source "
                "mini has"
            )
        if name == MAJORITY and persistent:
            raise UserError(
                f"data.corrupt: {name} is a share of the questions, and data.corrupt_persistent "
                "hits teachers"
            )
    exact = {name: Fraction(str(shares[name])) for name in known if shares.get(name)}
    if sum(exact.values()) > 1:
        named = ", ".join(f"{name} {float(share):g}" for name, share in exact.items())
        raise UserError(f"data.corrupt: the shares are more than 1 in all: {named}")
    return exact


def _digest(seed: int, *names: object) -> str:
    named = " ".join(map(str, ("corrupt", seed, *names)))
    return hashlib.sha256(named.encode()).hexdigest()


def _step(share: Fraction, before: int, size: int) -> int:
    """How much the share of a running total, rounded to the nearest, grows with `size` more.

    floor(share * size) or one more; over many questions share * size on average.
    """
    return floor(share * (before + size) + HALF) - floor(share * before + HALF)


def _counts(
    shares: Mapping[str, Fraction], before: int, size: int, room: int, given: Mapping[str, int]
) -> dict[str, int]:
    """How many of a question's rationales each fault gets: floor(share * size) or one more.

    before: rationales of earlier questions. size: of this question. room: those of it that are
    not corrupted yet. given: what earlier questions got of each fault. Together they get what the
    sum of shares says, which leaves room for all; the fault furthest behind comes first.
    """
    counts = {fault: floor(share * size) for fault, share in shares.items()}
    whole = sum(shares.values(), Fraction(0))
    together = _step(whole, before, size)
    behind = {fault: shares[fault] * (before + size) - given[fault] for fault in shares}
    uneven = [fault for fault in shares if counts[fault] != shares[fault] * size]
    uneven.sort(key=lambda fault: counts[fault] - behind[fault])
    for fault in uneven[: together - sum(counts.values())]:
        counts[fault] += 1
    # A misled majority takes some of the room, which other questions make up for.
    for _ in range(floor(whole * before + HALF) - sum(given.values())):
        counts[max(shares, key=lambda fault: behind[fault] - counts[fault])] += 1
    while sum(counts.values()) > room:
        counts[max(counts, key=lambda name: counts[name])] -= 1
    return counts


@dataclass(frozen=True)
class _Row:
    """A teacher's rationale: its place in the bank's table, and what may be changed of it."""

    position: int
    key: str
    teacher: str
    sample: int
    text: str
    answer: str | None
    length: int  # in pieces


class _Work:
    """A bank that is being corrupted: its teachers' rows by question, and what is done so far."""

    def __init__(self, bank: RationaleBank, seed: int, rewriter: Rewriter | None) -> None:
        self.bank, self.seed, self.rewriter = bank, seed, rewriter
        self.questions = {row.question_id: row for row in bank.questions.itertuples()}
        self.rows: dict[str, list[_Row]] = defaultdict(list)
        self.by_length: dict[str, list[_Row]] = defaultdict(list)  # of each teacher
        for position, row in enumerate(bank.rationales.itertuples()):
            if row.role == "teacher" and row.teacher in bank.teachers:
                answer = row.answer if isinstance(row.answer, str) else None
                made = _Row(
                    position, row.question_id, row.teacher, row.sample, row.text, answer,
                    pieces(row.text),
                )  # fmt: skip
                self.rows[made.key].append(made)
                self.by_length[made.teacher].append(made)
        for rows in self.by_length.values():
            rows.sort(key=lambda row: (row.length, row.key, row.sample))
        # By a hash, so that neither the bank's order nor a question's length or topic matters.
        self.order = sorted(self.rows, key=lambda key: self._digest(key))
        self.corrupted: dict[int, tuple[str, Corrupted]] = {}
        self.hits: Counter[tuple[str, ...]] = Counter()

    def _digest(self, *names: object) -> str:
        return _digest(self.seed, *names)

    def _nearest(self, row: _Row) -> Iterator[tuple[str, str | None]]:
        """(text, answer) of the teacher's other questions, nearest in length first."""
        rows = self.by_length[row.teacher]
        middle = bisect_left(rows, row.length, key=lambda other: other.length)
        above, below = rows[middle:], reversed(rows[:middle])
        for other in merge(above, below, key=lambda other: abs(other.length - row.length)):
            if other.key != row.key:
                yield other.text, other.answer

    def _turn(self, row: _Row, fault: str) -> tuple[object, ...]:
        """Whose turn it is: the teacher that was hit least, then its sample; ties by a hash."""
        teacher, sample = (fault, row.teacher), (fault, row.teacher, str(row.sample))
        tie = self._digest(row.key, row.teacher), row.sample
        return self.hits[teacher], tie[0], self.hits[sample], tie[1]

    def _case(self, row: _Row, agreed: str | None = None) -> Case:
        question = self.questions[row.key]
        return Case(question.question, question.answer, question.kind, row.text, row.answer,
                    self._nearest(row), agreed)  # fmt: skip

    def _try(self, row: _Row, fault: str, agreed: str | None = None) -> Corrupted | None:
        if fault in GRAPH_FAULTS:
            assert self.rewriter is not None  # check_shares refuses them else
            return self.rewriter(row.key, row.teacher, row.sample, fault)
        rng = random.Random(self._digest(fault, row.key, row.teacher, row.sample))
        return FAULTS[fault](self._case(row, agreed), rng)

    def _record(self, row: _Row, fault: str, made: Corrupted) -> None:
        self.corrupted[row.position] = (fault, made)
        self.hits[fault, row.teacher] += 1
        self.hits[fault, row.teacher, str(row.sample)] += 1

    def hit(self, key: str, fault: str) -> None:
        """Corrupt one rationale of a question: the first whose turn it is and that can be."""
        free = [row for row in self.rows[key] if row.position not in self.corrupted]
        for row in sorted(free, key=lambda row: self._turn(row, fault)):
            if self.hit_one(row, fault):
                return

    def hit_one(self, row: _Row, fault: str) -> bool:
        """Corrupt this rationale; whether that could be done."""
        made = self._try(row, fault)
        if made is not None:
            self._record(row, fault, made)
        return made is not None

    def mislead(self, key: str) -> None:
        """Give more than half of a question's teachers, in all samples, one wrong answer."""
        rows = self.rows[key]
        case = replace(self._case(rows[0]), answer=None)
        taken = [row.answer for row in rows]
        agreed = wrong_value(case, random.Random(self._digest(MAJORITY, key)), taken)
        teachers: dict[str, list[_Row]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: self._turn(row, MAJORITY)):
            teachers[row.teacher].append(row)
        todo = [[row for row in own if row.answer != agreed] for own in teachers.values()]
        # Those that say it already count, and nothing is done to them.
        missing = len(teachers) // 2 + 1 - sum(not own for own in todo)
        done: list[tuple[_Row, Corrupted]] = []
        for own in filter(None, todo):
            tried = [(row, self._try(row, MAJORITY, agreed)) for row in own]
            made = [(row, changed) for row, changed in tried if changed is not None]
            if missing > 0 and len(made) == len(own):
                done += made
                missing -= 1
        if missing == 0:
            for row, changed in done:
                self._record(row, MAJORITY, changed)

    def result(self) -> RationaleBank:
        """The bank with the new text, answer, right and corruption of the corrupted rows."""
        table = self.bank.rationales.copy()
        # Of what was faulty before, the bank has the sound text already.
        known = rationale_table([]) if self.bank.sound is None else self.bank.sound
        before = table.iloc[sorted(self.corrupted)]
        before = before[before["corruption"] == ""]
        sound = pd.concat([known, before], ignore_index=True) if len(known) else before
        columns = {name: table[name].tolist() for name in ("text", "answer", "right", "corruption")}
        for position, (fault, (text, answer)) in self.corrupted.items():
            question = self.questions[table["question_id"].iat[position]]
            earlier = columns["corruption"][position]
            columns["text"][position], columns["answer"][position] = text, answer
            columns["right"][position] = same_answer(answer, question.answer, question.kind)
            columns["corruption"][position] = f"{earlier}+{fault}" if earlier else fault
        for name, values in columns.items():
            table[name] = pd.Series(values, index=table.index, dtype=table[name].dtype)
        return replace(self.bank, rationales=table, sound=sound)
