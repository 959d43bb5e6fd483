"""Written-down teachers: a style, a competence profile and faults whose truth is kept."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from compact_bench.data.mini_problems import LARGEST, Problem, Step, evaluate
from compact_bench.data.mini_styles import FILLER, STYLES, close, lines
from compact_bench.data.splits import question_hash

AMOUNTS = (-10, -2, -1, 1, 2, 10)  # what a slip adds to a result
USUAL_STEPS = 3
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Teacher:
    """How one teacher writes, and how often it goes wrong.

    `slip` is the probability of an arithmetic slip by operation: the competence profile. Where it
    doesn't slip, it writes a wrong step before the right answer, or filler, with the other two.
    """

    name: str
    style: str
    slip: Mapping[str, float]
    wrong_step: float = 0.10
    filler: float = 0.06
    other_order: bool = False


# Each is weak where others are strong. `equations` and `reordered` share a style, so that the
# look of a rationale doesn't tell how good it is.
TEACHERS = (
    Teacher("equations", "equations", {"add": 0.09, "sub": 0.06, "mul": 0.28, "div": 0.10}),
    Teacher("sentences", "sentences", {"add": 0.08, "sub": 0.32, "mul": 0.08, "div": 0.26}),
    Teacher("reordered", "equations", {"add": 0.17, "sub": 0.11, "mul": 0.07, "div": 0.47},
            other_order=True),
    Teacher("labelled", "labelled", {"add": 0.18, "sub": 0.08, "mul": 0.15, "div": 0.24}),
)  # fmt: skip


@dataclass(frozen=True)
class Rationale:
    """A written rationale with its known truth; `corruption` is "" for a clean one."""

    teacher: str
    text: str
    answer: int
    right: bool
    corruption: str


def fault_chances(teacher: Teacher, problem: Problem) -> dict[str, float]:
    """Probability of each fault on one problem; they exclude each other.

    A slip is as likely in a short problem as in one of three steps of the same kinds.
    """
    clean = 1.0
    for step in problem.steps:
        clean *= 1 - teacher.slip[step.op]
    clean **= USUAL_STEPS / len(problem.steps)
    return {"slip": 1 - clean, "wrong_step": clean * teacher.wrong_step,
            "filler": clean * teacher.filler}  # fmt: skip


def faults(problem: Problem, seed: int, correlation: float,
           teachers: Sequence[Teacher] = TEACHERS) -> list[str]:  # fmt: skip
    """The fault of each teacher on one problem, "" for none; at least one of them has none.

    A Gaussian copula: u_k = Phi(sqrt(c) z + sqrt(1 - c) e_k) with z shared by the teachers, so
    each teacher's rate doesn't depend on the correlation c, and at c = 1 they fail together.
    """
    stream = random.Random(f"faults {seed} {question_hash(problem.question)}")
    shared = stream.gauss(0, 1)
    chosen: list[str] = []
    for teacher in teachers:
        own = stream.gauss(0, 1)
        u = _NORMAL.cdf(correlation**0.5 * shared + (1 - correlation) ** 0.5 * own)
        chosen.append(_fault(u, fault_chances(teacher, problem)))
    if all(chosen):
        chosen[stream.randrange(len(chosen))] = ""
    return chosen


def _fault(u: float, chances: Mapping[str, float]) -> str:
    """The fault in whose share of [0, 1] u falls, "" beyond all of them."""
    for fault, chance in chances.items():
        if u < chance:
            return fault
        u -= chance
    return ""


def _slip(steps: Sequence[Step], teacher: Teacher, rng: random.Random,
          common: int | None) -> tuple[int, int]:  # fmt: skip
    """(step, amount) of a slip that changes the final answer and keeps every value above 0.

    With `common` it is the last step's result that is off by this amount: the same wrong answer
    for every teacher that makes it, whatever the order of its steps.
    """
    truth = evaluate(tuple(steps))[-1]
    weights = [teacher.slip[step.op] for step in steps]
    tries = [] if common is None else [(len(steps) - 1, common)]
    for _ in range(40):
        tries.append((rng.choices(range(len(steps)), weights)[0], rng.choice(AMOUNTS)))
    tries.append((len(steps) - 1, 1))
    for slip in tries:
        values = evaluate(tuple(steps), slip)
        if values[-1] != truth and all(1 <= value <= 2 * LARGEST for value in values):
            return slip
    return tries[-1]


def _filler(like: str, rng: random.Random) -> str:
    """Sentences without content, about as long as the rationale that they stand for."""
    wanted = _length(like)
    body = ""
    for sentence in rng.sample(FILLER, len(FILLER)):
        longer = f"{body} {sentence}".strip()
        if body and abs(_length(longer) - wanted) >= abs(_length(body) - wanted):
            break
        body = longer
    return body


def _length(text: str) -> int:
    return len(re.findall(r"[A-Za-z]+|[^\sA-Za-z]", text))


def write(problem: Problem, teacher: Teacher, fault: str, rng: random.Random,
          common: int | None = None) -> Rationale:  # fmt: skip
    """One teacher's rationale with the given fault ("", "slip", "wrong_step" or "filler")."""
    steps = problem.other_order if teacher.other_order else problem.steps
    truth = evaluate(steps)
    written, used = list(truth), list(truth)
    if fault == "slip":
        written = used = evaluate(steps, _slip(steps, teacher, rng, common))
    elif fault == "wrong_step":  # all but the last, which would contradict the answer
        place = rng.randrange(len(steps) - 1)
        amounts = [a for a in AMOUNTS if truth[place] + a >= 1]
        written[place] += rng.choice(amounts)
    body = STYLES[teacher.style](problem, lines(steps, written, used))
    if fault == "filler":
        body = _filler(body, rng)
    answer = used[-1]
    return Rationale(teacher.name, close(body, answer), answer, answer == truth[-1], fault)


def teach(problem: Problem, seed: int, correlation: float,
          teachers: Sequence[Teacher] = TEACHERS) -> list[Rationale]:  # fmt: skip
    """All teachers' rationales for one problem, reproducible from seed and question."""
    key = question_hash(problem.question)
    shared = random.Random(f"common {seed} {key}")
    common = shared.choice(AMOUNTS)
    written = []
    chosen = faults(problem, seed, correlation, teachers)
    for teacher, fault in zip(teachers, chosen, strict=True):
        rng = random.Random(f"{teacher.name} {seed} {key}")
        agree = rng.random() < correlation
        written.append(write(problem, teacher, fault, rng, common if agree else None))
    return written


def human_solution(problem: Problem) -> Rationale:
    """The clean solution in a wording that no teacher has."""
    values = evaluate(problem.steps)
    body = STYLES["human"](problem, lines(problem.steps, values, values))
    return Rationale("human", close(body, values[-1]), values[-1], True, "")
