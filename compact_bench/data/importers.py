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
from compact_bench.errors import UserError, shortened

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


def numbered_rows(path: Path, *, lines: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file:line" or "file: row", object) of each row of a JSONL file or a JSON array.

    Raises: UserError where the file is not UTF-8 JSON or a row is not an object.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")  # with the mark that Windows puts first, or without
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        if isinstance(error, UnicodeDecodeError):
            if lines:
                _refuse_format(path, content)
            raise UserError(f"{path}: not UTF-8 at byte {error.start}") from error
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: can't be read: {reason}") from error
    if lines:
        _refuse_format(path, content)
    if lines or path.suffix == ".jsonl":
        numbered = enumerate(text.split("\n"), 1)
        rows = [(f"{path}:{n}", _parse(line, path, n)) for n, line in numbered if line.strip()]
    else:
        rows = [(f"{path}: row {n}", row) for n, row in enumerate(_parse(text, path, 1), 1)]
    for where, row in rows:
        if not isinstance(row, dict):
            raise UserError(f"{where}: {type(row).__name__} instead of an object")
        yield where, row


# What begins a file that is not JSONL, its name, and what to do with it.
_FORMATS = (
    (b"PAR1", "a Parquet file", "give it a name that ends in .parquet"),
    (b"PK\x03\x04", "a zip or Excel file", "unpack it, or save the table as .csv"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it (gunzip)"),
    (b"[", "a JSON array",
     'pandas.read_json(FILE).to_json("own.jsonl", orient="records", lines=True) makes one'),
)  # fmt: skip


def _refuse_format(path: Path, content: bytes) -> None:
    """Raise UserError, with what to do, for a file of another format than JSONL."""
    head = content[:100].lstrip()
    for start, kind, advice in _FORMATS:
        if head.startswith(start):
            raise UserError(
                f"{path}: is {kind}; read are .jsonl (an object a line), .parquet, .csv, .tsv and "
                f".arrow (docs/own_data.md): {advice}"
            )


def _parse(text: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise UserError(f"{path}:{line}: not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise UserError(f"{path}:{first_line}: lists or objects nested too deeply") from error
    except ValueError as error:  # an integer of more than 4,300 digits
        raise UserError(f"{path}:{first_line}: an integer of too many digits") from error


def is_text(value: str) -> bool:
    """Whether a string can be written: half a surrogate pair, which JSON may hold, can't."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def row_text(where: str, row: Mapping[str, Any], key: str, *, empty: bool = False) -> str:
    """A row's text; numbers and booleans are written out.

    Raises: UserError where it is missing, empty or of another type.
    """
    if key not in row:
        raise UserError(
            f"{where}: no {key!r}; the row has {shortened(', '.join(map(repr, row))) or 'nothing'}"
        )
    value = row[key]
    if isinstance(value, (bool, int, float)):
        return str(value)
    if not isinstance(value, str):
        raise UserError(f"{where}: {key!r} is {type(value).__name__} instead of text")
    if not is_text(value):
        raise UserError(f"{where}: {key!r} holds half a surrogate pair, which is no text")
    if not empty and not value.strip():
        raise UserError(f"{where}: {key!r} is empty")
    return value


def _question(where: str, row: Mapping[str, Any], key: str) -> str:
    return unify_choices(row_text(where, row, key))


def _clean(text: str) -> str:
    return _MARKUP.sub(" ", text).strip()


def answers(path: Path, question: str, gold: str) -> Iterator[FileRow]:
    """Questions with the data set's answers alone, in the columns `question` and `gold`."""
    for where, row in numbered_rows(path):
        yield FileRow(where, _question(where, row, question), gold=row_text(where, row, gold))


def instruction_output(path: Path) -> Iterator[FileRow]:
    """Distilling-CoT-Reasoning: a rationale ending in "The answer is X"."""
    for where, row in numbered_rows(path):
        text = _clean(row_text(where, row, "output", empty=True))
        yield FileRow(where, _question(where, row, "instruction"), text)


def svamp(path: Path) -> Iterator[FileRow]:
    """SVAMP as released; body and question joined by a space, as the rationale files do."""
    for where, row in numbered_rows(path):
        question = (
            f"{row_text(where, row, 'Body').strip()} {row_text(where, row, 'Question').strip()}"
        )
        yield FileRow(where, question, gold=row_text(where, row, "Answer"))


def grade_school_math(path: Path) -> Iterator[FileRow]:
    """GSM8K as released: `<<48/2=24>>` removed, "#### 18" written as an answer sentence."""
    for where, row in numbered_rows(path):
        body, mark, gold = row_text(where, row, "answer").rpartition("####")
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
    for where, row in numbered_rows(path):
        solution = row_text(where, row, "solution")
        gold = _boxed(solution) or row_text(where, row, "output")
        if key == "solution":
            text = f"{solution.strip()}\nThe answer is {gold}"
        else:
            # One teacher's strings were unescaped twice: "\frac" and "\text" lost their slash.
            text = row_text(where, row, key, empty=True)
            text = text.replace("\f", r"\f").replace("\tex", r"\tex")
            text = re.sub(r"\\n(?=[A-Z0-9\s]|$)", "\n", text)
        yield FileRow(where, _question(where, row, "problem"), _clean(text), gold=gold)


def mentor_kd(path: Path) -> Iterator[FileRow]:
    """Mentor-KD: several chains a question, without an answer sentence; `sample` counts them.

    The T5 files give the teacher's answer as `completion`; the GPT-3.5 file keeps right chains
    only, so that `answer` is the chain's own.
    """
    seen: Counter[str] = Counter()
    for where, row in numbered_rows(path):
        question = _question(where, row, "input")
        text = _clean(row_text(where, row, "chain", empty=True))
        answer = row_text(where, row, "answer")
        completion = row_text(where, row, "completion", empty=True) if "completion" in row else ""
        known = answer if row.get("initial_correct") is True and not completion else ""
        yield FileRow(where, question, text, answer, completion.strip(), known,
                      sample=seen[question])  # fmt: skip
        seen[question] += 1


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
