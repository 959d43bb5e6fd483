"""Readers of the published files: each turns one format into rows of question and text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compact_bench.data.splits import unify_choices
from compact_bench.errors import UserError

# Left over from the prompts that the rationales were generated with.
_MARKUP = re.compile(r"</?\s*(?:solution path|answer|solution)\s*>", re.IGNORECASE)


@dataclass(frozen=True)
class FileRow:
    """One row of a file.

    question: bare stem, choices in the one form. text: rationale with its answer sentence, ""
    for a file of answers. gold: the answer by the data set. completion: the teacher's own answer
    where the file gives it apart. known: the answer of a file that keeps only right rationales.
    where: file and line, for messages.
    """

    where: str
    question: str
    text: str = ""
    gold: str = ""
    completion: str = ""
    known: str = ""
    teacher: str = ""
    sample: int = 0


def _numbered(path: Path, *, lines: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file:line" or "file: row", object) of each row of a JSONL file or a JSON array.

    Raises: UserError where the file is not UTF-8 JSON or a row is not an object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from error
    if lines or path.suffix == ".jsonl":
        numbered = enumerate(text.split("\n"), 1)
        rows = [(f"{path}:{n}", _parse(line, path, n)) for n, line in numbered if line.strip()]
    else:
        rows = [(f"{path}: row {n}", row) for n, row in enumerate(_parse(text, path, 1), 1)]
    for where, row in rows:
        if not isinstance(row, dict):
            raise UserError(f"{where}: {type(row).__name__} instead of an object")
        yield where, row


def _parse(text: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise UserError(f"{path}:{line}: not JSON: {error.msg} at column {error.colno}") from error


def _text(where: str, row: Mapping[str, Any], key: str, *, empty: bool = False) -> str:
    """A row's text; numbers and booleans are written out.

    Raises: UserError where it is missing, empty or of another type.
    """
    if key not in row:
        raise UserError(
            f"{where}: no {key!r}; the row has {', '.join(map(repr, row)) or 'nothing'}"
        )
    value = row[key]
    if isinstance(value, (bool, int, float)):
        return str(value)
    if not isinstance(value, str):
        raise UserError(f"{where}: {key!r} is {type(value).__name__} instead of text")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UserError(f"{where}: {key!r} holds half a surrogate pair, which is no text")
    if not empty and not value.strip():
        raise UserError(f"{where}: {key!r} is empty")
    return value


def _question(where: str, row: Mapping[str, Any], key: str) -> str:
    return unify_choices(_text(where, row, key))


def _clean(text: str) -> str:
    return _MARKUP.sub(" ", text).strip()


def answers(path: Path, question: str, gold: str) -> Iterator[FileRow]:
    """Questions with the data set's answers alone, in the columns `question` and `gold`."""
    for where, row in _numbered(path):
        yield FileRow(where, _question(where, row, question), gold=_text(where, row, gold))


def instruction_output(path: Path) -> Iterator[FileRow]:
    """Distilling-CoT-Reasoning: a rationale ending in "The answer is X"."""
    for where, row in _numbered(path):
        text = _clean(_text(where, row, "output", empty=True))
        yield FileRow(where, _question(where, row, "instruction"), text)


def svamp(path: Path) -> Iterator[FileRow]:
    """SVAMP as released; body and question joined by a space, as the rationale files do."""
    for where, row in _numbered(path):
        question = f"{_text(where, row, 'Body').strip()} {_text(where, row, 'Question').strip()}"
        yield FileRow(where, question, gold=_text(where, row, "Answer"))


def grade_school_math(path: Path) -> Iterator[FileRow]:
    """GSM8K as released: `<<48/2=24>>` removed, "#### 18" written as an answer sentence."""
    for where, row in _numbered(path):
        body, mark, gold = _text(where, row, "answer").rpartition("####")
        if not mark:
            raise UserError(f"{where}: 'answer' has no '####' before the final answer")
        body = re.sub(r"<<[^<>]*>>", "", body).strip()
        text = f"{body}\nThe answer is {gold.strip()}"
        yield FileRow(where, _question(where, row, "question"), text, gold=gold.strip())


def _boxed(solution: str) -> str:
    r"""What the last \boxed{...} holds, "" without one; the braces may be nested."""
    start = solution.rfind(r"\boxed{")
    depth = 0
    for index in range(start + 6, len(solution)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(solution[index], 0)
        if depth == 0:
            return solution[start + 7 : index]
    return ""


def math(path: Path, key: str) -> Iterator[FileRow]:
    r"""MATH: the file's answers were cut at their first "}", so the solution's \boxed{} is read.

    key: the column of one teacher's rationales, or "solution", the data set's own.
    """
    for where, row in _numbered(path):
        solution = _text(where, row, "solution")
        gold = _boxed(solution) or _text(where, row, "output")
        if key == "solution":
            text = f"{solution.strip()}\nThe answer is {gold}"
        else:
            # One teacher's strings were unescaped twice: "\frac" and "\text" lost their slash.
            text = _text(where, row, key, empty=True)
            text = text.replace("\f", r"\f").replace("\tex", r"\tex")
            text = re.sub(r"\\n(?=[A-Z0-9\s]|$)", "\n", text)
        yield FileRow(where, _question(where, row, "problem"), _clean(text), gold=gold)


def mentor_kd(path: Path) -> Iterator[FileRow]:
    """Mentor-KD: several chains a question, without an answer sentence; `sample` counts them.

    The T5 files give the teacher's answer as `completion`; the GPT-3.5 file keeps right chains
    only, so that `answer` is the chain's own.
    """
    seen: Counter[str] = Counter()
    for where, row in _numbered(path):
        question = _question(where, row, "input")
        text = _clean(_text(where, row, "chain", empty=True))
        answer = _text(where, row, "answer")
        completion = _text(where, row, "completion", empty=True) if "completion" in row else ""
        known = answer if row.get("initial_correct") is True and not completion else ""
        yield FileRow(where, question, text, answer, completion.strip(), known,
                      sample=seen[question])  # fmt: skip
        seen[question] += 1


def user_jsonl(path: Path, *, rationales: bool = True) -> Iterator[FileRow]:
    """A user's own file: {"question", "rationales": {teacher: text or list of texts}, "answer"}.

    The key "human" of `rationales` is a human rationale. One row comes first for the question
    itself, with its answer, then one per rationale.

    Raises: UserError with file and line where a row is malformed.
    """
    for where, row in _numbered(path, lines=True):
        question = _question(where, row, "question")
        yield FileRow(where, question, gold=_text(where, row, "answer"))
        if not rationales:
            continue
        given = row.get("rationales")
        if not isinstance(given, dict) or not given:
            raise UserError(f"{where}: 'rationales' must be an object of teacher: text or list")
        for teacher, texts in given.items():
            for sample, text in enumerate(texts if isinstance(texts, list) else [texts]):
                if not isinstance(text, str) or not text.strip():
                    problem = f"the rationale of {teacher!r} is not a text: {text!r}"
                    raise UserError(f"{where}: {problem}")
                yield FileRow(where, question, text.strip(), teacher=teacher, sample=sample)


# By the name that catalog.yaml gives.
IMPORTERS: Mapping[str, Callable[[Path], Iterator[FileRow]]] = {
    "instruction_answer": partial(answers, question="instruction", gold="output"),
    "instruction_label": partial(answers, question="instruction", gold="label"),
    "questions_only": partial(answers, question="input", gold="answer"),
    "math_human": partial(math, key="solution"),
    "math_gemini": partial(math, key="gemini_output"),
    "math_llama": partial(math, key="llama_output"),
    # By their own names, since one of them is a baseline's too, and the core writes none of those.
    **{f.__name__: f for f in (instruction_output, svamp, grade_school_math, mentor_kd)},
}
