"""Written-down teachers: their styles, what they are good at, and faults that are recorded."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
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
# Operation, left, right (a number or an expression), the value that the teacher writes.
Line = tuple[str, int | str, int | str, int]
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
    steps: Sequence[SolutionStep], values: Sequence[int], used: Sequence[int], swap: bool = False
) -> list[Line]:
    """Steps with their numbers: `values` are written as results, `used` is what later steps read.

    The two differ only after a wrong step that doesn't carry on. swap: the operands of sums and
    products change places.
    """

    def read(term: Term) -> int:
        return term.value if term.kind == "number" else used[term.value]

    lines: list[Line] = []
    for step, value in zip(steps, values, strict=True):
        operands = read(step.left), read(step.right)
        left, right = reversed(operands) if swap and step.op in ("add", "mul") else operands
        lines.append((step.op, left, right, value))
    return lines


# A step's sentence by style and operation.
STYLES: dict[str, Mapping[str, str]] = {
    "equations": dict.fromkeys(SYMBOL, "{a} {sign} {b} = {v}."),
    "sentences": dict.fromkeys(SYMBOL, "{start} {a} {word} {b} makes {v}."),
    "labelled": dict.fromkeys(SYMBOL, "{name} has {a} {sign} {b} = {v} {noun}."),
    "human": HUMAN,
}

# Apart from STYLES, of which the shipped student and its tokenizer are made: they may use no
# word that those don't have.
MORE_STYLES: dict[str, Mapping[str, str]] = {
    "checked": dict.fromkeys(SYMBOL, "We take {a} {sign} {b} and get {v}."),
    "brief": dict.fromkeys(SYMBOL, "{a}{sign}{b}={v}."),
    "linked": dict.fromkeys(SYMBOL, "So {a} {sign} {b} = {v}."),
}


def rationale_body(
    style: str, problem: Problem, solution: Sequence[Line], owners: Sequence[str] = ()
) -> str:
    """The body of a rationale in a style of `STYLES` or `MORE_STYLES`.

    A comparison reads alike in every style. owners: the steps' (`SolutionStep.owner`); a problem
    without any is about one person.
    """
    wording = (STYLES | MORE_STYLES)[style]
    sentences = []
    for i, (op, a, b, value) in enumerate(solution):
        if op == COMPARE:
            sentences.append(COMPARED[value].format(a=a, b=b))
            continue
        sentence = wording[op].format(
            a=a, b=b, v=value, sign=SYMBOL[op], word=WORD[op], start="Then" if i else "First",
            name=(owners and owners[i]) or problem.name, noun=problem.noun,
        )  # fmt: skip
        sentences.append(sentence)
    return " ".join(sentences)


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


# Each is weak where others are strong, and has a style of its own; all keep the usual order.
TEACHERS = (
    WrittenTeacher("equations", "equations", {"add": 0.09, "sub": 0.06, "mul": 0.28, "div": 0.10}),
    WrittenTeacher("sentences", "sentences", {"add": 0.08, "sub": 0.32, "mul": 0.08, "div": 0.26}),
    WrittenTeacher("linked", "linked", {"add": 0.17, "sub": 0.11, "mul": 0.07, "div": 0.47}),
    WrittenTeacher("labelled", "labelled", {"add": 0.18, "sub": 0.08, "mul": 0.15, "div": 0.24}),
)  # fmt: skip

# Chosen by name alone: one is better than the default teachers on everything, one is worse, and
# one writes as `equations` does, but in another order: what a student can't learn from both.
MORE_TEACHERS = (
    WrittenTeacher("careful", "checked", {"add": 0.09, "sub": 0.06, "mul": 0.08, "div": 0.10}),
    WrittenTeacher("hasty", "brief", {"add": 0.19, "sub": 0.23, "mul": 0.28, "div": 0.30}),
    WrittenTeacher(
        "reordered",
        "equations",
        {"add": 0.17, "sub": 0.11, "mul": 0.07, "div": 0.47},
        other_order=True,
    ),
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
    clean = prod(1 - teacher.slip.get(step.op, COMPARING) for step in problem.steps)
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
        u = NormalDist().cdf(correlation**0.5 * shared + (1 - correlation) ** 0.5 * own)
        for fault, chance in fault_chances(teacher, problem).items():
            if u < scale * chance:  # u falls into this fault's share of [0, 1]
                return fault
            u -= scale * chance
        return ""

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
    orders = [problem.steps, problem.other_order][:: -1 if teacher.other_order else 1]
    ways: dict[tuple[Line, ...], tuple[tuple[SolutionStep, ...], bool]] = {}
    for swap in (False, True):
        for steps in orders:
            values = evaluate(steps)
            ways.setdefault(tuple(solution_lines(steps, values, values, swap)), (steps, swap))
    return list(ways.values())


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
    solution = solution_lines(steps, written, used, swap)
    body = rationale_body(teacher.style, problem, solution, [step.owner for step in steps])
    if fault == "filler":
        body = _filler(body, rng)
    answer = problem.conclude(used[-1])
    text, right = with_answer(body, answer), answer == problem.answer
    return Rationale(teacher.name, text, answer, right, fault, sample)


def sound(problem: Problem, teacher: WrittenTeacher, sample: int = 0) -> Rationale:
    """A teacher's rationale as it is where nothing goes wrong; nothing of it is random."""
    return write(problem, teacher, "", random.Random(0), sample=sample)


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
        amount = common if rng.random() < correlation else None
        written.append(write(problem, teacher, chosen[teacher.name], rng, amount, sample))
    return written


def human_solution(problem: Problem) -> Rationale:
    """The clean solution in a wording that no teacher has."""
    values = evaluate(problem.steps)
    body = rationale_body("human", problem, solution_lines(problem.steps, values, values))
    return Rationale("human", with_answer(body, problem.answer), problem.answer, True, "")
