"""Faults that need the solution's steps, which only generated problems have."""

from __future__ import annotations

from dataclasses import replace

from compact_bench.mini.problems import COMPARE, SYMBOL, Problem, SolutionStep, Term, evaluate
from compact_bench.mini.teachers import (
    MORE_STYLES,
    STYLES,
    WORD,
    Line,
    WrittenTeacher,
    rationale_body,
    solution_lines,
    sound,
    variants,
    with_answer,
)

LEVEL = {"add": 1, "sub": 1, "mul": 2, "div": 2}  # what is read first has the higher one
Steps = tuple[SolutionStep, ...]


def rewritten(
    problem: Problem, teacher: WrittenTeacher, sample: int, fault: str
) -> tuple[str, str] | None:
    """(text, answer) of a teacher's rationale with one of the faults; None where it can't be hit.

    fault: "misread" (times is read as plus, and later steps carry on), "one_expression" (the whole
    solution in one step) or "other_order" (the same steps in the other valid order). The style is
    the teacher's own; sample: which of its `variants` the sound rationale is.
    """
    ways = variants(problem, teacher)
    steps, swap = ways[sample % len(ways)]
    if fault == "other_order":
        steps = problem.other_order if steps == problem.steps else problem.steps
    elif fault == "misread":
        steps = tuple(replace(step, op="add") if step.op == "mul" else step for step in steps)
    values = evaluate(steps)
    lines = solution_lines(steps, values, values, swap)
    if not all(map(_in_whole_numbers, lines)):
        return None
    if fault == "one_expression":
        lines, steps = [_nested(steps, values[-1], swap, teacher.style)], steps[-1:]
    body = rationale_body(teacher.style, problem, lines, [step.owner for step in steps])
    answer = problem.conclude(values[-1])
    text = with_answer(body, answer)
    # The same where nothing is multiplied, where there is one order, or a single step.
    return None if text == sound(problem, teacher, sample).text else (text, str(answer))


def _in_whole_numbers(line: Line) -> bool:
    """Whether a step comes to 1 or more and leaves no remainder, as all do but after a misread one.

    What comes to nothing or is cut short would be a second fault beside the misread operation.
    """
    op, left, right, value = line
    return op == COMPARE or (value >= 1 and (op != "div" or int(left) % int(right) == 0))


def _nested(steps: Steps, value: int, swap: bool, style: str) -> Line:
    """The last step as a line whose operands are written out as expressions.

    Brackets stand where they are needed; signs and spaces are those of the style.
    """

    def operands(step: SolutionStep) -> tuple[Term, Term]:
        swapped = swap and step.op in ("add", "mul")
        return (step.right, step.left) if swapped else (step.left, step.right)

    def written(term: Term, level: int) -> str:
        if term.kind == "number":
            return str(term.value)
        step = steps[term.value]
        own = LEVEL[step.op]
        left, right = operands(step)
        text = formula((STYLES | MORE_STYLES)[style][step.op]).format(
            a=written(left, own), b=written(right, own + (step.op in ("sub", "div"))),
            sign=SYMBOL[step.op], word=WORD[step.op],
        )  # fmt: skip
        return f"({text})" if own < level else text

    def formula(wording: str) -> str:
        return wording[wording.index("{a}") : wording.index("{b}") + len("{b}")]

    last = steps[-1]
    own = LEVEL.get(last.op, 0)  # a comparison is read last
    left, right = operands(last)
    return last.op, written(left, own), written(right, own + (last.op in ("sub", "div"))), value
