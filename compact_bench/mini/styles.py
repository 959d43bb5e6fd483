"""How the written-down teachers word a solution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from compact_bench.mini.problems import COMPARE, FIRST, SAME, SECOND, SYMBOL, Problem, SolutionStep

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


def lines(steps: Sequence[SolutionStep], values: Sequence[int], used: Sequence[int]) -> list[Line]:
    """Steps with their numbers: `values` are written as results, `used` is what later steps read.

    The two differ only after a wrong step that doesn't carry on.
    """

    def read(term) -> int:
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


STYLES: dict[str, Callable[[Problem, Sequence[Line]], str]] = {
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
MORE_STYLES: dict[str, Callable[[Problem, Sequence[Line]], str]] = {
    "checked": checked,
    "brief": brief,
}


def word(style: str, problem: Problem, solution: Sequence[Line], owners: Sequence[str]) -> str:
    """The body of a rationale in a style of `STYLES` or `MORE_STYLES`.

    A comparison at the end reads alike in every style. owners: the steps' (see `Step.owner`).
    """
    write = (STYLES | MORE_STYLES)[style]
    *before, (op, a, b, value) = solution
    if op != COMPARE:
        return write(problem, solution)
    if write is labelled:
        named = zip(before, owners, strict=False)  # the comparison is nobody's
        said = [write(replace(problem, name=owner), [line]) for line, owner in named]
    else:
        said = [write(problem, before)]
    return " ".join([*said, COMPARED[value].format(a=a, b=b)])


def close(body: str, answer: int | str) -> str:
    """A rationale with its answer sentence, as the training template writes it."""
    return f"{body} The answer is {answer}".strip()
