"""A language model that says what a method answers itself, where it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance

from compact_bench.data.splits import parse_choices
from compact_bench.data.tasks import TaskData
from compact_bench.evaluation.lm import StudentLM, Trace
from compact_bench.student.encode import CUE

Answer = Callable[[str, str, Sequence[str]], str | None]  # `Distiller.answer`

LETTERS = "ABCDEFGHIJ"


def own_answers(task: TaskData, answer: Answer | None) -> dict[str, str]:
    """question_id -> answer, of the questions that the method answers itself."""
    found: dict[str, str] = {}
    if answer is None:
        return found
    for item in task.items.to_dict("records"):
        question, choices = parse_choices(item["question"])
        said = answer(question, item["answer_kind"], choices)
        if said is not None:
            found[item["question_id"]] = said
    return found


class AnsweringLM(StudentLM):
    """StudentLM that says the method's own answers, and asks the student for the others.

    own: question_id -> answer, for choice tasks a letter. So extraction and metrics are those of
    every other row. An answer of the method's own has no tokens of a student.
    """

    own: Mapping[str, str] = {}

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """The method's answer after the cue, or what the student writes; see `traces`."""
        asked = [request for request in requests if self._said(request) is None]
        written = iter(super().generate_until(asked, disable_tqdm))
        traces = iter(self.traces if asked else [])
        texts, self.traces = [], []
        for request in requests:
            said = self._said(request)
            texts.append(next(written) if said is None else f"{CUE} {said}")
            self.traces.append(next(traces) if said is None else Trace(0, False))
        return texts

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """All of the chance is on the choice that the method names."""
        asked = [request for request in requests if self._said(request) is None]
        found = iter(super().loglikelihood(asked, disable_tqdm) if asked else [])
        out: list[tuple[float, bool]] = []
        for request in requests:
            said = self._said(request)
            if said is None:
                out.append(next(found))
            else:
                chosen = LETTERS[request.idx] == said
                out.append((0.0 if chosen else -math.inf, chosen))
        return out

    def _said(self, request: Instance) -> Any:
        return self.own.get(request.doc["question_id"])
