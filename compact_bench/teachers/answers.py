"""What teachers are asked and answer, and the file of answers, in which none is paid for twice."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from compact_bench.data.answers import rationale_answer, same_answer
from compact_bench.data.importers import numbered_rows
from compact_bench.data.own_files import THOUGHT
from compact_bench.data.splits import question_id
from compact_bench.errors import UserError
from compact_bench.utils.files import is_file, writable

FORMS = {
    "number": "a number without a unit",
    "boolean": "yes or no",
    "choice": "the letter of a choice",
}
INSTRUCTION = "Reason step by step, in a few sentences. End with the sentence: The answer is X."


@dataclass(frozen=True)
class Settings:
    """What decides a teacher's answers: all answers of a file have the same."""

    teacher: str
    model: str
    temperature: float = 0.7
    seed: int = 0
    max_tokens: int = 1024
    instruction: str = INSTRUCTION
    accept: str = "all"  # or "right": only rationales whose answer is the gold one


@dataclass(frozen=True)
class Request:
    """One rationale that a teacher is asked for: the sample-th of a question."""

    question: str
    answer: str
    kind: str
    sample: int

    def text(self, settings: Settings) -> str:
        """What the teacher reads."""
        return f"{self.question}\n\n{settings.instruction} X is {FORMS[self.kind]}."


@dataclass(frozen=True)
class TeacherAnswer:
    """What a teacher wrote. finish: "stop", or why it ended else. Tokens: None where not told."""

    text: str
    finish: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def requests(questions: pd.DataFrame, samples: int) -> list[Request]:
    """The requests for so many rationales of each question: first one of each, then the next.

    Raises: UserError where a question's answer is of a kind that no teacher is asked for.
    """
    kinds = set(questions["kind"])
    if other := kinds - set(FORMS):
        raise UserError(
            f"teachers are asked for answers of the kinds {', '.join(FORMS)}, not {min(other)}"
        )
    rows = list(questions[["question", "answer", "kind"]].itertuples(index=False, name=None))
    return [Request(q, a, kind, sample) for sample in range(samples) for q, a, kind in rows]


def rejection(request: Request, answer: TeacherAnswer, accept: str) -> str:
    """Why an answer is no rationale, "" where it is one.

    Never one is what was cut at the limit of tokens, filtered or empty; with `accept` "right" nor
    is one whose own answer is missing or another than the gold one.
    """
    if answer.finish != "stop":
        return f"not written to its end ({answer.finish})"
    said = THOUGHT.sub("", answer.text)
    if not said.strip() or "<think>" in said:
        return "empty"
    if accept == "right":
        own = rationale_answer(said.strip(), request.kind)
        if own is None:
            return "no answer"
        if not same_answer(own, request.answer, request.kind):
            return "wrong answer"
    return ""


@dataclass
class AnswerFile:
    """A file of a teacher's answers, JSONL: one line an answer, on the disk before the next.

    Each line is a row that `data.source` and `data.more` read; "generated" holds what else is known
    of it, of rejected ones the text. Opening it makes good what a kill left of a last line.

    Raises: UserError where the file holds something else, or answers of other settings.
    """

    path: Path
    settings: Settings
    done: set[tuple[str, int]] = field(default_factory=set)  # question_id, sample
    counts: Counter[str] = field(default_factory=Counter)  # of all lines, by rejection; tokens

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        if not is_file(self.path):
            return
        with writable(self.path), self.path.open("rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
        for where, row in numbered_rows(self.path, lines=True):
            self._count(where, row)

    def _count(self, where: str, row: dict[str, Any]) -> None:
        try:
            known = row["generated"]
            own = Settings(teacher=row["teacher"], **known["settings"])
            self.done.add((question_id(row["question"]), known["sample"]))
            self.counts[known["rejected"]] += 1
            for key in ("prompt_tokens", "completion_tokens"):
                self.counts[key] += known[key] or 0
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{where}: no answer that was generated: name another --to") from error
        if own != self.settings:
            changed = [k for k, v in asdict(own).items() if v != getattr(self.settings, k)]
            raise UserError(
                f"{where}: this file's answers were made with another {', '.join(changed)}: name "
                "another --to"
            )

    def missing(self, wanted: list[Request]) -> Iterator[Request]:
        """Those of the requests that have no answer yet."""
        for request in wanted:
            if (question_id(request.question), request.sample) not in self.done:
                yield request

    def add(self, request: Request, answer: TeacherAnswer) -> None:
        """Write an answer; threads may call it at the same time."""
        rejected = rejection(request, answer, self.settings.accept)
        settings = asdict(self.settings)
        row = {
            "question": request.question,
            "answer": request.answer,
            "teacher": settings.pop("teacher"),
            "rationale": None if rejected else answer.text.strip(),
            "generated": {
                "sample": request.sample,
                "rejected": rejected,
                **({"text": answer.text} if rejected else {}),
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens,
                "settings": settings,
            },
        }
        line = json.dumps(row) + "\n"  # ASCII: half a surrogate pair can't spoil it
        with self._lock, writable(self.path):
            with self.path.open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
            self._count(str(self.path), row)
