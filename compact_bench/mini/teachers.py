"""Written-down teachers: their styles, what they are good at, and faults that are recorded."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from compact_bench.data.answers import pieces
from compact_bench.data.faults import FILLER
from compact_bench.data.splits import question_hash
from compact_bench.mini.problems import (
    COMPARE,
    FIRST,
    LARGEST,
    SAME,
    SECOND,
    SYMBOL,
    Problem,
    SolutionStep,
    Term,
    evaluate,
)

AMOUNTS = (-10, -2, -1, 1, 2, 10)  # what a slip adds to a result

USUAL_STEPS = 3

COMPARING = 0.1  # probability of a slip in a comparison, the same for every teacher

_NORMAL = NormalDist()


Line = tuple[str, int, int, int]  # operation, left, right, the value that the teacher writes

WORD = {"add": "plus", "sub": "minus", "mul": "times", "div": "divided by"}

HUMAN = {
    "add": "Add {b} to {a} to get {v}.",
    "sub": "Take {b} from {a} to get {v}.",
    "mul": "Multiply {a} by {b} to get {v}.",
    "div": "Divide {a} by {b} to get {v}.",
}

COMPARED = {
    SAME: "{a} is the same as {b}.",
    FIRST: "{a} is more than {b}.",
    SECOND: "{a} is less than {b}.",
}


def solution_lines(
    steps: Sequence[SolutionStep], values: Sequence[int], used: Sequence[int]
) -> list[Line]:
    """Steps with their numbers: `values` are written as results, `used` is what later steps read.

    The two differ only after a wrong step that doesn't carry on.
    """

    def read(term: Term) -> int:
        return term.value if term.kind == "number" else used[term.value]

    return [(s.op, read(s.left), read(s.right), v) for s, v in zip(steps, values, strict=True)]


def equations(_: Problem, solution: Sequence[Line]) -> str:
    """`7 + 5 = 12. 12 - 3 = 9.`"""
    return " ".join(f"{a} {SYMBOL[op]} {b} = {v}." for op, a, b, v in solution)


def sentences(_: Problem, solution: Sequence[Line]) -> str:
    """`First 7 plus 5 makes 12. Then 12 minus 3 makes 9.`"""
    return " ".join(
        f"{'Then' if i else 'First'} {a} {WORD[op]} {b} makes {v}."
        for i, (op, a, b, v) in enumerate(solution)
    )


def labelled(problem: Problem, solution: Sequence[Line]) -> str:
    """`Ann has 7 + 5 = 12 apples. Ann has 12 - 3 = 9 apples.`"""
    name, noun = problem.name, problem.noun
    return " ".join(f"{name} has {a} {SYMBOL[op]} {b} = {v} {noun}." for op, a, b, v in solution)


def human(_: Problem, solution: Sequence[Line]) -> str:
    """`Add 5 to 7 to get 12. Take 3 from 12 to get 9.`"""
    return " ".join(HUMAN[op].format(a=a, b=b, v=v) for op, a, b, v in solution)


Style = Callable[[Problem, Sequence[Line]], str]

STYLES: dict[str, Style] = {
    "equations": equations,
    "sentences": sentences,
    "labelled": labelled,
    "human": human,
}


def checked(_: Problem, solution: Sequence[Line]) -> str:
    """`We take 7 + 5 and get 12. We take 12 - 3 and get 9.`"""
    return " ".join(f"We take {a} {SYMBOL[op]} {b} and get {v}." for op, a, b, v in solution)


def brief(_: Problem, solution: Sequence[Line]) -> str:
    """`7+5=12. 12-3=9.`"""
    return " ".join(f"{a}{SYMBOL[op]}{b}={v}." for op, a, b, v in solution)


# Apart from STYLES, of which the shipped student and its tokenizer are made: they may use no
# word that those don't have.
MORE_STYLES: dict[str, Style] = {"checked": checked, "brief": brief}


def rationale_body(
    style: str, problem: Problem, solution: Sequence[Line], owners: Sequence[str]
) -> str:
    """The body of a rationale in a style of `STYLES` or `MORE_STYLES`.

    A comparison at the end reads alike in every style. owners: the steps' (`SolutionStep.owner`).
    """
    write = (STYLES | MORE_STYLES)[style]
    *before, (op, a, b, value) = solution
    if op != COMPARE:
        return write(problem, solution)
    if write is labelled:
        pairs = zip(before, owners, strict=False)  # the comparison is nobody's
        bodies = [write(replace(problem, name=owner), [line]) for line, owner in pairs]
    else:
        bodies = [write(problem, before)]
    return " ".join([*bodies, COMPARED[value].format(a=a, b=b)])


def with_answer(body: str, answer: int | str) -> str:
    """A rationale with its answer sentence, as the training template writes it."""
    return f"{body} The answer is {answer}".strip()


@dataclass(frozen=True)
class WrittenTeacher:
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
    WrittenTeacher("equations", "equations", {"add": 0.09, "sub": 0.06, "mul": 0.28, "div": 0.10}),
    WrittenTeacher("sentences", "sentences", {"add": 0.08, "sub": 0.32, "mul": 0.08, "div": 0.26}),
    WrittenTeacher("reordered", "equations", {"add": 0.17, "sub": 0.11, "mul": 0.07, "div": 0.47},
            other_order=True),
    WrittenTeacher("labelled", "labelled", {"add": 0.18, "sub": 0.08, "mul": 0.15, "div": 0.24}),
)  # fmt: skip

# Chosen by name alone: one is better than the default teachers on everything, one is worse.
MORE_TEACHERS = (
    WrittenTeacher("careful", "checked", {"add": 0.09, "sub": 0.06, "mul": 0.08, "div": 0.10}),
    WrittenTeacher("hasty", "brief", {"add": 0.19, "sub": 0.23, "mul": 0.28, "div": 0.30}),
)

ALL_TEACHERS = TEACHERS + MORE_TEACHERS


@dataclass(frozen=True)
class Rationale:
    """A written rationale with its known truth; `corruption` is "" for a clean one."""

    teacher: str
    text: str
    answer: int | str
    right: bool
    corruption: str
    sample: int = 0


def fault_chances(teacher: WrittenTeacher, problem: Problem) -> dict[str, float]:
    """Probability of each fault on one problem; they exclude each other.

    A slip is as likely in a short problem as in one of three steps of the same kinds.
    """
    clean = 1.0
    for step in problem.steps:
        clean *= 1 - teacher.slip.get(step.op, COMPARING)
    clean **= USUAL_STEPS / len(problem.steps)
    return {"slip": 1 - clean, "wrong_step": clean * teacher.wrong_step,
            "filler": clean * teacher.filler}  # fmt: skip


def faults(problem: Problem, seed: int, correlation: float, scale: float = 1.0,
           sample: int = 0) -> dict[str, str]:  # fmt: skip
    """The fault of every known teacher on one problem, "" for none.

    At least one of the default teachers has none. `scale` multiplies all chances of a fault.

    A Gaussian copula: u_k = Phi(sqrt(c) z + sqrt(1 - c) e_k) with z shared by the teachers, so
    each teacher's rate doesn't depend on the correlation c, and at c = 1 they fail together.
    """
    key = _key(problem, seed, sample)
    stream = random.Random(f"faults {key}")
    shared = stream.gauss(0, 1)

    def drawn(teacher: WrittenTeacher, own: float) -> str:
        u = _NORMAL.cdf(correlation**0.5 * shared + (1 - correlation) ** 0.5 * own)
        chances = fault_chances(teacher, problem)
        return _fault(u, {fault: scale * chance for fault, chance in chances.items()})

    chosen = [drawn(teacher, stream.gauss(0, 1)) for teacher in TEACHERS]
    if all(chosen):
        chosen[stream.randrange(len(chosen))] = ""
    # Each of the others has a stream of its own, so that more of them change nobody's texts.
    chosen += [
        drawn(teacher, random.Random(f"faults {teacher.name} {key}").gauss(0, 1))
        for teacher in MORE_TEACHERS
    ]
    return dict(zip((teacher.name for teacher in ALL_TEACHERS), chosen, strict=True))


def _key(problem: Problem, seed: int, sample: int) -> str:
    """What random streams are made from; that of sample 0 is older than samples are."""
    return f"{seed} {question_hash(problem.question)}" + (f" {sample}" if sample else "")


def _fault(u: float, chances: Mapping[str, float]) -> str:
    """The fault in whose share of [0, 1] u falls, "" beyond all of them."""
    for fault, chance in chances.items():
        if u < chance:
            return fault
        u -= chance
    return ""


def _slip(
    problem: Problem,
    steps: Sequence[SolutionStep],
    teacher: WrittenTeacher,
    rng: random.Random,
    common: int | None,
) -> tuple[int, int]:
    """(step, amount) of a slip that changes the final answer and keeps every value above 0.

    With `common` it is the last step's result that is off by this amount: the same wrong answer
    for every teacher that makes it, whatever the order of its steps.
    """
    weights = [teacher.slip.get(step.op, COMPARING) for step in steps]
    tries = [] if common is None else [(len(steps) - 1, common)]
    for _ in range(40):
        tries.append((rng.choices(range(len(steps)), weights)[0], rng.choice(AMOUNTS)))
    tries += [(len(steps) - 1, 1), (len(steps) - 1, 2)][: 2 if problem.answers else 1]
    for slip in tries:
        values = evaluate(tuple(steps), slip)
        numbers = values[:-1] if problem.answers else values
        changed = problem.conclude(values[-1]) != problem.answer
        if changed and all(1 <= value <= 2 * LARGEST for value in numbers):
            return slip
    return tries[-1]


def _filler(like: str, rng: random.Random) -> str:
    """Sentences without content, about as long as the rationale that they stand for."""
    wanted = pieces(like)
    body = ""
    for sentence in rng.sample(FILLER, len(FILLER)):
        longer = f"{body} {sentence}".strip()
        if body and abs(pieces(longer) - wanted) >= abs(pieces(body) - wanted):
            break
        body = longer
    return body


def variants(
    problem: Problem, teacher: WrittenTeacher
) -> list[tuple[tuple[SolutionStep, ...], bool]]:
    """The ways in which a teacher may write one solution, its usual one first.

    (steps in a valid order, whether sums and products are written with their operands swapped);
    no two of them read the same.
    """
    orders = [problem.steps, problem.other_order]
    if teacher.other_order:
        orders.reverse()
    ways: dict[tuple[Line, ...], tuple[tuple[SolutionStep, ...], bool]] = {}
    for swap in (False, True):
        for steps in orders:
            ways.setdefault(tuple(_clean(steps, swap)), (steps, swap))
    return list(ways.values())


def _clean(steps: tuple[SolutionStep, ...], swap: bool) -> list[Line]:
    values = evaluate(steps)
    solution = solution_lines(steps, values, values)
    return [_swapped(line) for line in solution] if swap else solution


def _swapped(line: Line) -> Line:
    op, a, b, value = line
    return (op, b, a, value) if op in ("add", "mul") else line


def write(problem: Problem, teacher: WrittenTeacher, fault: str, rng: random.Random,
          common: int | None = None, sample: int = 0) -> Rationale:  # fmt: skip
    """One teacher's rationale with the given fault ("", "slip", "wrong_step" or "filler")."""
    ways = variants(problem, teacher)
    steps, swap = ways[sample % len(ways)]
    truth = evaluate(steps)
    written, used = list(truth), list(truth)
    if fault == "slip":
        written = used = evaluate(steps, _slip(problem, steps, teacher, rng, common))
    elif fault == "wrong_step":  # all but the last, which would contradict the answer
        place = rng.randrange(len(steps) - 1)
        amounts = [a for a in AMOUNTS if truth[place] + a >= 1]
        written[place] += rng.choice(amounts)
    solution = solution_lines(steps, written, used)
    owners = [step.owner for step in steps]
    solution = [_swapped(line) if swap else line for line in solution]
    body = rationale_body(teacher.style, problem, solution, owners)
    if fault == "filler":
        body = _filler(body, rng)
    answer = problem.conclude(used[-1])
    right = answer == problem.answer
    return Rationale(teacher.name, with_answer(body, answer), answer, right, fault, sample)


def teach(problem: Problem, seed: int, correlation: float,
          teachers: Sequence[WrittenTeacher] = TEACHERS, scale: float = 1.0,
          sample: int = 0) -> list[Rationale]:  # fmt: skip
    """The teachers' rationales for one problem, reproducible from seed, question and sample.

    A teacher's rationale doesn't depend on which others teach. Samples have independent
    faults and, as far as a problem has several `variants`, differ in their wording.
    """
    key = _key(problem, seed, sample)
    common = random.Random(f"common {key}").choice(AMOUNTS)
    chosen = faults(problem, seed, correlation, scale, sample)
    written = []
    for teacher in teachers:
        rng = random.Random(f"{teacher.name} {key}")
        agree = rng.random() < correlation
        amount = common if agree else None
        written.append(write(problem, teacher, chosen[teacher.name], rng, amount, sample))
    return written


def human_solution(problem: Problem) -> Rationale:
    """The clean solution in a wording that no teacher has."""
    values = evaluate(problem.steps)
    owners = [step.owner for step in problem.steps]
    body = rationale_body("human", problem, solution_lines(problem.steps, values, values), owners)
    return Rationale("human", with_answer(body, problem.answer), problem.answer, True, "")
