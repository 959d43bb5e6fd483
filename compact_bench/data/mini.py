"""The `mini` data: generated problems, written-down teachers, and what may be forgotten."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compact_bench.data.mini_facts import facts
from compact_bench.data.mini_problems import Problem, problems
from compact_bench.data.mini_teachers import TEACHERS, Rationale, human_solution, teach
from compact_bench.data.splits import question_hash, question_id
from compact_bench.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from compact_bench.data.rationales import RationaleBank

DEFAULT_SIZES = {"train": 400, "dev": 200, "test": 200}
FORGETTING_SIZE = 200  # problems of each length; the facts are all asked


@dataclass(frozen=True)
class Generator:
    """Where a suite's problems come from: the seam for another kind of question."""

    questions: Callable[[random.Random, str], Iterator[Problem]]  # (random state, bucket)
    kind: str = "number"


def _gsm8k(rng: random.Random, within: str) -> Iterator[Problem]:
    return problems(rng, (3,), within, both_orders=True)


def _svamp(rng: random.Random, within: str) -> Iterator[Problem]:
    return problems(rng, (2, 3, 3), within, distractor=True)


GENERATORS: Mapping[str, Generator] = {
    "gsm8k": Generator(_gsm8k),  # three steps, solvable in two orders
    "svamp": Generator(_svamp),  # two or three steps and a sentence that doesn't matter
}


@dataclass(frozen=True)
class MiniWorld:
    """All sets of one generated data set; question tables hold question_id, question, answer, kind.

    bank: training questions with the teachers' rationales and a human one each.
    forgetting: mini_one_step, mini_two_step, mini_facts, which the nano student knows.
    """

    bank: RationaleBank
    dev: pd.DataFrame
    test: pd.DataFrame
    forgetting: dict[str, pd.DataFrame]


def teacher_names() -> tuple[str, ...]:
    """The default teachers, in order."""
    return tuple(teacher.name for teacher in TEACHERS)


def generate(problem: str, seed: int = 0, correlation: float = 0.0, train: int | None = None,
             dev: int | None = None, test: int | None = None) -> MiniWorld:  # fmt: skip
    """Generate a data set; the same arguments give the same texts.

    problem: "gsm8k" or "svamp". correlation: of the teachers' errors, 0 to 1. Sizes: None for
    400, 200 and 200; fewer are those of lowest hash.

    Raises: UserError for an unknown problem or a correlation outside [0, 1].
    """
    if problem not in GENERATORS:
        known = ", ".join(GENERATORS)
        raise UserError(f"no generator for mini problem {problem!r}{nearest(problem, GENERATORS)}; "
                        f"known: {known}")  # fmt: skip
    if not 0 <= correlation <= 1:
        raise UserError(f"mini correlation is {correlation}, it must be between 0 and 1")
    kind = GENERATORS[problem].kind
    sets = {name: _draw(problem, seed, name, size)
            for name, size in (("train", train), ("dev", dev), ("test", test))}  # fmt: skip
    return MiniWorld(
        bank=_bank(sets["train"], kind, seed, correlation),
        dev=_question_table(sets["dev"], kind),
        test=_question_table(sets["test"], kind),
        forgetting=forgetting(seed),
    )


def forgetting(seed: int) -> dict[str, pd.DataFrame]:
    """Question tables of what the nano student knows, unseen but for the facts."""
    tables = {}
    for task, steps in (("mini_one_step", 1), ("mini_two_step", 2)):
        stream = problems(random.Random(f"mini {task} {seed}"), (steps,), "forgetting")
        tables[task] = _question_table(_lowest(stream, FORGETTING_SIZE), "number")
    tables["mini_facts"] = _table([(fact.question, fact.answer) for fact in facts()], "number")
    return tables


def _draw(problem: str, seed: int, name: str, size: int | None) -> list[Problem]:
    """`size` problems of lowest hash from a pool that doesn't depend on a size below it."""
    stream = GENERATORS[problem].questions(random.Random(f"mini {problem} {seed} {name}"), name)
    size = DEFAULT_SIZES[name] if size is None else size
    return _lowest(stream, max(size, DEFAULT_SIZES[name]))[:size]


def _lowest(stream: Iterator[Problem], size: int) -> list[Problem]:
    """The first `size` distinct problems of a stream, in the order of their hashes."""
    found: dict[str, Problem] = {}
    while len(found) < size:
        made = next(stream)
        found[question_hash(made.question)] = made
    return [found[key] for key in sorted(found)]


def _table(rows: list[tuple[str, int]], kind: str) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "question_id": [question_id(question) for question, _ in rows],
            "question": [question for question, _ in rows],
            "answer": [str(answer) for _, answer in rows],
            "kind": kind,
        }
    )


def _question_table(made: list[Problem], kind: str) -> pd.DataFrame:
    return _table([(problem.question, problem.answer) for problem in made], kind)


def _bank(made: list[Problem], kind: str, seed: int, correlation: float) -> RationaleBank:
    import pandas as pd

    from compact_bench.data.rationales import RationaleBank

    rows = []
    for problem in made:
        key = question_id(problem.question)
        rows += [_row(key, "teacher", said) for said in teach(problem, seed, correlation)]
        rows.append(_row(key, "human", human_solution(problem)))
    return RationaleBank(_question_table(made, kind), pd.DataFrame(rows), teacher_names())


def _row(key: str, role: str, said: Rationale) -> dict[str, object]:
    return {"question_id": key, "teacher": said.teacher, "sample": 0, "role": role,
            "text": said.text, "answer": str(said.answer), "right": said.right,
            "corruption": said.corruption}  # fmt: skip
