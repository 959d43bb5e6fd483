"""The `mini` data sets: generated problems, rationales of written-down teachers, old skills."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from compact_bench.data.rationales import HUMAN, RationaleBank, question_table, rationale_table
from compact_bench.data.splits import question_hash, question_id
from compact_bench.data.tasks import GENERATED_ITEMS, SPARE
from compact_bench.errors import unknown
from compact_bench.mini.graph_faults import rewritten
from compact_bench.mini.old_skills import Fact, facts
from compact_bench.mini.problems import (
    FIRST,
    LESS_YES_NO,
    MORE_YES_NO,
    SAME,
    SECOND,
    WHO_HAS_MORE,
    WHO_HAS_MOST,
    Problem,
    comparisons,
    new_template,
    problems,
)
from compact_bench.mini.teachers import (
    ALL_TEACHERS,
    TEACHERS,
    Rationale,
    human_solution,
    sound,
    teach,
)

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_SIZES = {"train": 400, "dev": 500, "test": 1000}
TEACHER_NAMES = tuple(teacher.name for teacher in TEACHERS)  # the default ones
ALL_TEACHER_NAMES = tuple(teacher.name for teacher in ALL_TEACHERS)
POOL = GENERATED_ITEMS + SPARE  # problems of each other task; the facts are all there are
Stream = Callable[[random.Random, str], Iterator[Problem]]  # (random state, set)


@dataclass(frozen=True)
class Generator:
    """Where a suite's problems come from: the seam for another kind of question.

    questions: for training and in domain. kind: of their answers. further: beyond them, by task.
    """

    questions: Stream
    kind: str
    further: Mapping[str, Stream]


NEW_TEMPLATE = "mini_new_template"  # the same problems in a form that nobody is trained on
MORE_STEPS = "mini_more_steps"  # one step more than is trained on, in the form that is

# Three steps, solvable in two orders.
_GSM8K = partial(problems, steps=(3,), both_orders=True)

# Two or three steps and a sentence that doesn't matter.
_SVAMP = partial(problems, steps=(2, 3, 3), distractor=True)

# Whether one person has more than another: a step and a comparison, yes and no alike.
_STRATEGYQA = partial(comparisons, form=MORE_YES_NO, outcomes=(FIRST, SECOND))

# Who of two has more, or both as many.
_CSQA = partial(comparisons, form=WHO_HAS_MORE, outcomes=(SAME, FIRST, SECOND))

GENERATORS: Mapping[str, Generator] = {
    "gsm8k": Generator(_GSM8K, "number", {
        NEW_TEMPLATE: partial(_GSM8K, template=new_template),
        MORE_STEPS: partial(_GSM8K, steps=(4,)),
    }),
    "svamp": Generator(_SVAMP, "number", {
        NEW_TEMPLATE: partial(_SVAMP, template=new_template),
        MORE_STEPS: partial(_SVAMP, steps=(4,)),
    }),
    "strategyqa": Generator(_STRATEGYQA, "boolean", {
        NEW_TEMPLATE: partial(_STRATEGYQA, form=LESS_YES_NO),
        MORE_STEPS: partial(_STRATEGYQA, steps=2),
    }),
    "csqa": Generator(_CSQA, "choice", {
        NEW_TEMPLATE: partial(_CSQA, form=WHO_HAS_MOST),
        MORE_STEPS: partial(_CSQA, steps=2),
    }),
}  # fmt: skip

# What the nano student knows before training, beside the facts.
FORGETTING: Mapping[str, Stream] = {
    "mini_one_step": partial(problems, steps=(1,)),
    "mini_two_step": partial(problems, steps=(2,)),
}


@dataclass(frozen=True)
class MiniWorld:
    """All sets of one generated data set; question tables hold question_id, question, answer, kind.

    bank: training questions with the teachers' rationales and a human one each.
    forgetting: mini_one_step, mini_two_step, mini_facts, which the nano student knows.
    further: mini_new_template, mini_more_steps, reasoning beyond what is trained on.
    problems: those of the bank, by question_id.
    """

    bank: RationaleBank
    dev: pd.DataFrame
    test: pd.DataFrame
    forgetting: dict[str, pd.DataFrame]
    further: dict[str, pd.DataFrame]
    problems: dict[str, Problem]

    def rewritten(self, key: str, name: str, sample: int, fault: str) -> tuple[str, str] | None:
        """(text, answer) of a teacher's rationale with a fault that needs the solution's steps.

        key: a question_id of the bank. None where the fault can't be (`graph_faults.rewritten`),
        and for a teacher that isn't of this world.
        """
        teacher = next((teacher for teacher in ALL_TEACHERS if teacher.name == name), None)
        return None if teacher is None else rewritten(self.problems[key], teacher, sample, fault)


@dataclass(frozen=True)
class Teaching:
    """Who teaches, and how: what a bank depends on beside its questions.

    teachers: names in the order of the bank, () for the default ones. correlation: of the
    teachers' errors, 0 to 1. faults: scales every teacher's chances of a fault, 0 to 1 (at 0
    all rationales are clean). samples: rationales a teacher and question, numbered from 0.
    `MiniSpec` checks the ranges.

    Raises: UserError for an unknown teacher, with the nearest known name.
    """

    teachers: Sequence[str] = ()
    correlation: float = 0.0
    faults: float = 1.0
    samples: int = 1

    def __post_init__(self) -> None:
        for name in self.teachers:
            if name not in ALL_TEACHER_NAMES:
                raise unknown("no question has the teacher", name, ALL_TEACHER_NAMES)

    @property
    def names(self) -> tuple[str, ...]:
        """The teachers' names, each once."""
        return tuple(dict.fromkeys(self.teachers)) or TEACHER_NAMES


def generate(problem: str, seed: int = 0, train: int | None = None, dev: int | None = None,
             test: int | None = None, teaching: Teaching | None = None) -> MiniWorld:  # fmt: skip
    """Generate a data set; the same arguments give the same texts.

    problem: a name of `GENERATORS`. Sizes: None for `DEFAULT_SIZES`; fewer are those of lowest
    hash. teaching: None for the default teachers, one rationale each.

    Raises: UserError for an unknown problem.
    """
    if problem not in GENERATORS:
        rest = " (data.mini.problem; without it the suite's name is taken)"
        raise unknown("no generator for the mini problem", problem, GENERATORS, rest)
    kind = GENERATORS[problem].kind
    sets = {name: _draw(problem, seed, name, size)
            for name, size in (("train", train), ("dev", dev), ("test", test))}  # fmt: skip
    return MiniWorld(
        bank=_bank(sets["train"], kind, seed, teaching or Teaching()),
        dev=_question_table(sets["dev"], kind),
        test=_question_table(sets["test"], kind),
        forgetting=forgetting(seed),
        further=further(problem, seed),
        problems={question_id(one.question): one for one in sets["train"]},
    )


def further(problem: str, seed: int) -> dict[str, pd.DataFrame]:
    """Question tables of reasoning out of domain, each from a random stream of its own."""
    made = GENERATORS[problem]
    tables = {}
    for task, questions in made.further.items():
        pool = _lowest(questions, f"mini {problem} {task} {seed}", "test", POOL)
        tables[task] = _question_table(pool, made.kind)
    return tables


def forgetting(seed: int) -> dict[str, pd.DataFrame]:
    """Question tables of what the nano student knows, unseen but for the facts."""
    tables = {}
    for task, questions in FORGETTING.items():
        pool = _lowest(questions, f"mini {task} {seed}", "forgetting", POOL)
        tables[task] = _question_table(pool, "number")
    tables["mini_facts"] = _question_table(facts(), "number")
    return tables


def _draw(problem: str, seed: int, name: str, size: int | None) -> tuple[Problem, ...]:
    """`size` problems of lowest hash from a pool that doesn't depend on a size below it."""
    size = DEFAULT_SIZES[name] if size is None else size
    questions, most = GENERATORS[problem].questions, max(size, DEFAULT_SIZES[name])
    return _lowest(questions, f"mini {problem} {seed} {name}", name, most)[:size]


# A suite with conditions asks for the same problems once a condition, a search once more for its
# test. Problems can't be changed, so all may have the same ones.
@cache
def _lowest(questions: Stream, seed: str, within: str, size: int) -> tuple[Problem, ...]:
    """The first `size` distinct problems of a stream, in the order of their hashes."""
    stream = questions(random.Random(seed), within)
    by_hash: dict[str, Problem] = {}
    while len(by_hash) < size:
        made = next(stream)
        by_hash[question_hash(made.question)] = made
    return tuple(by_hash[key] for key in sorted(by_hash))


def _question_table(made: Iterable[Problem | Fact], kind: str) -> pd.DataFrame:
    return question_table(
        {"question_id": question_id(one.question), "question": one.question,
         "answer": str(one.answer), "kind": kind}
        for one in made
    )  # fmt: skip


def _bank(made: Sequence[Problem], kind: str, seed: int, teaching: Teaching) -> RationaleBank:
    # In the order of their definition, whatever the order of the names.
    teachers = [teacher for teacher in ALL_TEACHERS if teacher.name in teaching.names]
    rows: list[dict[str, Any]] = []
    faultless: list[dict[str, Any]] = []  # what the faulty ones of `rows` should have been

    def row(key: str, role: str, rationale: Rationale) -> dict[str, Any]:
        named = {"question_id": key, "role": role, "answer": str(rationale.answer)}
        return asdict(rationale) | named

    for problem in made:
        key = question_id(problem.question)
        for sample in range(teaching.samples):
            written = teach(problem, seed, teaching.correlation, teachers, teaching.faults, sample)
            rows += [row(key, "teacher", rationale) for rationale in written]
            faultless += [
                row(key, "teacher", sound(problem, teacher, sample))
                for teacher, rationale in zip(teachers, written, strict=True)
                if rationale.corruption
            ]
        rows.append(row(key, HUMAN, human_solution(problem)))
    tables = rationale_table(rows), rationale_table(faultless)
    return RationaleBank(_question_table(made, kind), tables[0], teaching.names, sound=tables[1])
