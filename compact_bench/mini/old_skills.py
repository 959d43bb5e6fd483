"""What the nano student knew before distillation: facts, and its short pre-training problems."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from compact_bench.data.rationales import RationaleBank, question_table, rationale_table
from compact_bench.data.splits import check_leaks, question_id
from compact_bench.mini import problems, teachers
from compact_bench.mini.problems import NAMES

if TYPE_CHECKING:
    from compact_bench.suite.schema import Suite

# Numbers, so that the same strict extraction reads a fact's answer and a problem's.
RELATIONS = {
    "age": "How old is {name}?",
    "house": "What number is the house of {name}?",
    "bus": "What bus does {name} take?",
    "room": "What room is {name} in?",
    "shirt": "What number is on the shirt of {name}?",
    "page": "What page does {name} read?",
}

TABLE_SEED = "nano facts"  # part of the shipped student: another seed is another student


class Fact(NamedTuple):
    """One question of the base with its answer."""

    relation: str
    question: str
    answer: int


def facts() -> tuple[Fact, ...]:
    """The table: every relation of every name, 144 facts, the same in every run."""
    rng = random.Random(TABLE_SEED)
    return tuple(
        Fact(relation, wording.format(name=name), rng.randint(2, 99))
        for relation, wording in RELATIONS.items()
        for name in NAMES
    )


SIZE = 1000  # examples at hand
SEED = 0  # of the shipped student's pre-training
ROLE = "old"  # the name under which the bank holds them: nobody taught them here


def pretraining(seed: int, count: int, fact_count: int) -> Iterator[list[tuple[str, str, int]]]:
    """Endless batches of (question, text, answer): problems in all styles and orders, then facts.

    count, fact_count: problems and facts in a batch.
    """
    rng = random.Random(f"nano {seed}")
    base = facts()
    stream = problems.problems(rng, "pretraining", (1, 2, 2))
    while True:
        batch = []
        for _ in range(count):
            problem = next(stream)
            steps = rng.choice((problem.steps, problem.other_order))
            values = problems.evaluate(steps)
            lines = teachers.solution_lines(steps, values, values)
            body = teachers.rationale_body(rng.choice(list(teachers.STYLES)), problem, lines)
            batch.append((problem.question, teachers.with_answer(body, values[-1]), values[-1]))
        chosen = rng.sample(base, fact_count)
        batch += [(f.question, teachers.with_answer("", f.answer), f.answer) for f in chosen]
        yield batch


def old_examples(suite: Suite) -> int:
    """How many examples of its old skills the suite's student has: none but the nano student."""
    return SIZE if suite.data.source == "mini" and suite.student.id == "nano" else 0


def old_bank(asked: Mapping[str, Iterable[str]]) -> RationaleBank:
    """The first `SIZE` distinct one- and two-step problems of the pre-training, a text each.

    No facts: the task `facts` asks every one of them, so that each would be a test question. What
    rehearsal does for what is not rehearsed can be read there.

    asked: questions by the name of their task. Raises UserError where one of them is among these.
    """
    known = {fact.question for fact in facts()}
    examples: dict[str, tuple[str, str, int]] = {}
    for batch in pretraining(SEED, 36, 12):
        for example in batch:
            if example[0] not in known:
                examples.setdefault(question_id(example[0]), example)
        if len(examples) >= SIZE:
            break
    questions, rationales = [], []
    for key, (question, text, answer) in list(examples.items())[:SIZE]:
        shared = {"question_id": key, "answer": str(answer)}
        questions.append({**shared, "question": question, "kind": "number"})
        rationales.append(
            {**shared, "teacher": ROLE, "sample": 0, "role": ROLE, "text": text, "right": True,
             "corruption": ""}
        )  # fmt: skip
    check_leaks([row["question"] for row in questions], [], asked)
    return RationaleBank(question_table(questions), rationale_table(rationales), (ROLE,))
