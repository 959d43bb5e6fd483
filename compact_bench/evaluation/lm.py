"""lm-eval's Hugging Face model with this project's tokenisation, decoding and rule answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from compact_bench.data.splits import parse_choices
from compact_bench.data.tasks import TaskData
from compact_bench.evaluation.lm_eval_docs import LETTERS
from compact_bench.student.encode import CUE
from compact_bench.student.generation import (
    Generated,
    Stops,
    batches,
    continue_with,
    end_ids,
    generate,
    prefill,
)
from compact_bench.student.student import Student

ANSWER_TOKENS = 24  # of the second of two passes: an answer, not another rationale


Rule = Callable[[str, str, Sequence[str]], str | None]  # `Distiller.answer`
Result = TypeVar("Result")


def rule_answers(task: TaskData, rule: Rule) -> dict[str, str]:
    """question_id -> answer, of the questions that a method answers itself."""
    answers = {}
    for item in task.items.to_dict("records"):
        question, choices = parse_choices(item["question"])
        answer = rule(question, item["answer_kind"], choices)
        if answer is not None:
            answers[item["question_id"]] = answer
    return answers


@dataclass(frozen=True)
class Trace:
    """How one answer was written: its tokens, and whether the limit cut it off."""

    tokens: int
    cut_off: bool


class StudentLM(HFLM):
    """HFLM that tokenises as training does and answers through `generate`.

    Training tokenises the prompt and what follows apart; stock HFLM tokenises them together,
    which may move the boundary, and moves a prompt's trailing space or newline (chat templates
    end in one) over to the continuation. Only greedy decoding is offered.

    The requests of several tasks may come together: they are decoded in common batches.

    answers: task -> question_id -> the method's own answer, for choice tasks a letter, of
    questions that are not put to the student; extraction and metrics are those of every other
    row. passes: task -> those of `Decoding`, one where it is not named. traces: task -> one entry
    for each of its requests of the last `generate_until`, in order. progress: called with how
    many requests a batch has finished.
    """

    def __init__(self, student: Student, batch_size: int) -> None:
        super().__init__(
            pretrained=student.causal, tokenizer=student.tokenizer, batch_size=batch_size
        )
        self.encoder = student.encoder
        self.end_ids = end_ids(student.causal, student.tokenizer)
        self.passes: Mapping[str | None, int] = {}
        self.answers: Mapping[str | None, Mapping[str, str]] = {}
        self.traces: dict[str | None, list[Trace]] = {}
        self.progress: Callable[[int], None] | None = None

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return self.encoder.prompt_ids(context), self.encoder.ids(continuation)

    def _results(
        self,
        requests: Sequence[Instance],
        of_student: Callable[[list[Instance]], Sequence[Result]],
        of_answer: Callable[[Instance, str], Result],
    ) -> list[Result]:
        """The student's results, or `of_answer` where the method answers itself."""
        answers = [
            self.answers.get(request.task_name, {}).get(request.doc.get("question_id"))
            for request in requests
        ]
        paired = list(zip(requests, answers, strict=True))
        rest = iter(of_student([request for request, answer in paired if answer is None]))
        return [next(rest) if own is None else of_answer(request, own) for request, own in paired]

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of continuations, and whether each is the greedy one.

        Where the method answers itself, all probability is on the choice that it names.
        """

        def of_answer(request: Instance, answer: str) -> tuple[float, bool]:
            chosen = LETTERS[request.idx] == answer
            return 0.0 if chosen else -math.inf, chosen

        return self._results(requests, self._likelihoods, of_answer)

    def _likelihoods(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """A context is read once for all its continuations, a choice task's choices."""
        pairs = [self._encode_pair(*request.args) for request in requests]
        owners: dict[tuple[int, ...], list[int]] = {}
        for i, (context, continuation) in enumerate(pairs):
            room = self.max_length - len(continuation)
            owners.setdefault(tuple(context[-room:]), []).append(i)
        contexts = list(owners)
        out: dict[int, tuple[float, bool]] = {}
        for chosen in batches([len(context) for context in contexts], int(self.batch_size)):
            prefix = prefill(self.model, [contexts[c] for c in chosen])
            branches = [(n, i) for n, c in enumerate(chosen) for i in owners[contexts[c]]]
            rows = [pairs[i][1] for _, i in branches]
            taken = prefix.taken([n for n, _ in branches])
            values = continue_with(self.model, taken, rows, [0] * len(rows))
            out.update({i: value for (_, i), value in zip(branches, values, strict=True)})
            if self.progress:
                self.progress(len(chosen))
        return [out[i] for i in range(len(requests))]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Greedy texts up to the first stop string, or the method's own answer after the cue."""

        def of_answer(_: Instance, answer: str) -> tuple[str, Trace]:
            return f"{CUE} {answer}", Trace(0, False)

        pairs = self._results(requests, self._written, of_answer)
        self.traces = {}
        for request, (_, trace) in zip(requests, pairs, strict=True):
            self.traces.setdefault(request.task_name, []).append(trace)
        return [text for text, _ in pairs]

    def _written(self, requests: list[Instance]) -> list[tuple[str, Trace]]:
        """What the student writes, of all requests with as many passes in common batches."""
        by_passes: dict[int, list[int]] = {}
        for i, request in enumerate(requests):
            by_passes.setdefault(self.passes.get(request.task_name, 1), []).append(i)
        out: dict[int, tuple[str, Trace]] = {}
        for passes, own in by_passes.items():
            out.update(zip(own, self._in_passes(passes, [requests[i] for i in own]), strict=True))
        return [out[i] for i in range(len(requests))]

    def _in_passes(self, passes: int, requests: list[Instance]) -> list[tuple[str, Trace]]:
        kwargs = requests[0].args[1]
        if any(request.args[1] != kwargs for request in requests):
            raise ValueError("requests that come together must have the same generation settings")
        prompts = [self.encoder.prompt_ids(request.args[0]) for request in requests]
        stops, limit = tuple(kwargs["until"]), int(kwargs["max_gen_toks"])
        if passes == 2:
            return self._two_passes(prompts, stops, limit)
        rows = self._generate(prompts, stops, limit)
        traces = [Trace(len(row.ids), not row.ended) for row in rows]
        return list(zip(self._texts(rows, stops), traces, strict=True))

    def _two_passes(
        self, prompts: list[list[int]], stops: tuple[str, ...], limit: int
    ) -> list[tuple[str, Trace]]:
        """First the rationale, up to the cue or the end, then the answer after the cue."""
        cue = CUE.strip()
        first = self._generate(prompts, (*stops, cue), limit)
        heads = [f" {body.strip()}{CUE}" for body in self._texts(first, (*stops, cue))]
        longer = [p + self.encoder.ids(h) for p, h in zip(prompts, heads, strict=True)]
        second = self._generate(longer, stops, min(limit, ANSWER_TOKENS))
        tails = self._texts(second, stops)
        return [
            (head + tail, Trace(len(a.ids) + len(b.ids), not b.ended))
            for head, tail, a, b in zip(heads, tails, first, second, strict=True)
        ]

    def _generate(
        self, prompts: list[list[int]], stops: tuple[str, ...], limit: int
    ) -> list[Generated]:
        room = self.max_length - limit
        if room < 1:
            raise ValueError(f"max_new_tokens {limit} leaves no room for a prompt")
        return generate(
            self.model,
            [prompt[-room:] for prompt in prompts],
            Stops(self.tokenizer, stops, self.end_ids),
            max_new_tokens=limit,
            batch_size=int(self.batch_size),
            progress=self.progress,
        )

    def _texts(self, rows: Sequence[Generated], stops: tuple[str, ...]) -> list[str]:
        texts = Stops(self.tokenizer, stops)
        return [texts.cut(texts.text(row.ids)) for row in rows]
