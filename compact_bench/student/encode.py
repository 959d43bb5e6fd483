"""Questions and rationales as tokens, by the one template that training and evaluation share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from compact_bench.data.answers import (
    extract_answer,
    mentions,
    rationale_answer,
    step_spans,
    strip_answer_sentence,
)
from compact_bench.data.rationales import RationaleBank
from compact_bench.student.batch import Batch

CUE = " The answer is"
NEXT_QUESTION = "Question:"  # a student that writes this has gone on to a question of its own
OWN = "student"  # who wrote what the student wrote itself, where a teacher's name stands
TASK_PREFIX = {"plain": "", "predict": "[predict] ", "explain": "[explain] "}


def target_text(rationale: str, answer: str | None) -> tuple[str, int]:
    """The text after the prompt, and the index in it where the answer begins.

    The rationale's own answer sentence is removed and "The answer is {answer}" appended; one
    without an answer stays as it is, and the index is the text's length.
    """
    if answer is None:
        text = " " + rationale.strip()
        return text, len(text)
    body = strip_answer_sentence(rationale).strip()
    head = (f" {body}" if body else "") + CUE
    return f"{head} {answer}", len(head)


@dataclass(frozen=True)
class EncodedRationale:
    """One rationale as target tokens: rationale, answer sentence, EOS.

    step_ends: tokens up to each step's end. open_steps: how many steps come before the first that
    mentions the gold answer or the rationale's own. answer: its own, canonical, or None.
    """

    teacher: int
    sample: int
    ids: list[int]
    body_end: int
    answer_start: int
    step_ends: list[int]
    open_steps: int
    answer: str | None = None


@dataclass(frozen=True)
class Example:
    """One question with its rationales, its gold answer and that answer's kind."""

    question_id: str
    question: str
    prompt_ids: list[int]
    answer_ids: list[int]
    rationales: tuple[EncodedRationale, ...]
    gold: str = ""
    kind: str = "number"


class Encoder:
    """Tokenises prompt and target apart, so that their boundary never moves."""

    def __init__(self, tokenizer: Any, chat: bool = False) -> None:
        self.tokenizer = tokenizer
        self.chat = chat
        self.bos: list[int] = []
        if not chat and tokenizer.bos_token_id is not None:
            # Only where this tokenizer opens a text with the token, which not all do that have it.
            first = tokenizer("x", add_special_tokens=True)["input_ids"][:1]
            self.bos = [token for token in first if token == tokenizer.bos_token_id]
        self.eos = [tokenizer.eos_token_id]
        self.cue = self.ids(CUE)

    def ids(self, text: str) -> list[int]:
        """Tokens of a text in mid-sequence."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt_text(self, question: str, kind: str = "plain", prefix: str = "") -> str:
        """The text before the rationale.

        kind "teacher" puts `prefix` (a teacher's own mark) before the question. With `chat` the
        tokenizer's chat template wraps the question and opens the assistant's turn.
        """
        mark = prefix if kind == "teacher" else TASK_PREFIX[kind]
        if self.chat:
            turns = [{"role": "user", "content": f"{mark}{question}"}]
            template = self.tokenizer.apply_chat_template
            return str(template(turns, tokenize=False, add_generation_prompt=True))
        return f"{mark}Question: {question}\nAnswer:"

    def prompt_ids(self, text: str) -> list[int]:
        """Tokens of a prompt's text."""
        return self.bos + self.ids(text)

    def prompt(self, question: str, kind: str = "plain", prefix: str = "") -> list[int]:
        """Tokens of a question's prompt."""
        return self.prompt_ids(self.prompt_text(question, kind, prefix))

    def answer(self, answer: str) -> list[int]:
        """Tokens of an answer as it follows the cue."""
        return self.ids(f" {answer}")

    def rationale(
        self,
        text: str,
        answer: str | None,
        teacher: int = 0,
        sample: int = 0,
        gold: str = "",
        kind: str = "number",
    ) -> EncodedRationale:
        """Tokens of one rationale, with the ends of its steps and the start of its answer.

        gold, kind: the question's answer; without it only the rationale's own gives one away.
        """
        target, answer_at = target_text(text, answer)
        encoded = self.tokenizer(target, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in encoded["offset_mapping"]]

        def tokens_until(index: int) -> int:
            """How many tokens lie wholly before a character index."""
            return sum(end <= index for end in ends)

        body = target[:answer_at].removesuffix(CUE)
        answers = [value for value in (answer, gold) if value]
        steps = {}  # tokens up to a step's end -> whether it or an earlier one gives an answer away
        closed = False
        for start, end in step_spans(body):
            closed = closed or any(mentions(body[start:end], value, kind) for value in answers)
            steps[tokens_until(end)] = closed
        steps.pop(0, None)
        return EncodedRationale(
            teacher=teacher,
            sample=sample,
            ids=list(encoded["input_ids"]) + self.eos,
            body_end=tokens_until(len(body)),
            answer_start=tokens_until(answer_at),
            step_ends=list(steps),
            open_steps=sum(not closed for closed in steps.values()),
            answer=answer,
        )

    def of_text(
        self, text: str, sample: int, gold: str, kind: str, teacher: int = 0
    ) -> EncodedRationale:
        """A rationale whose answer is read from its text."""
        return self.rationale(text, rationale_answer(text, kind), teacher, sample, gold, kind)

    def as_written(
        self, ids: Sequence[int], text: str, sample: int, gold: str, kind: str
    ) -> EncodedRationale:
        """A rationale that the student wrote, token for token; its answer is read from the text.

        Steps and the start of its answer are known where it is written as the template has it.
        """
        answer = extract_answer(text, kind)
        same = self.rationale(text, answer, 0, sample, gold, kind)
        if same.ids == list(ids):
            return same
        return EncodedRationale(0, sample, list(ids), len(ids), len(ids), [], 0, answer)


def encode_bank(
    bank: RationaleBank, encoder: Encoder, max_tokens: int
) -> tuple[list[Example], Counter[str]]:
    """The bank's questions as examples, in the bank's order; and how many rationales of each
    teacher were dropped because their row is longer than `max_tokens`."""
    index = {name: i for i, name in enumerate(bank.teachers)}
    by_question: dict[str, list[Any]] = {}
    for row in bank.rationales.itertuples():
        by_question.setdefault(row.question_id, []).append(row)
    dropped: Counter[str] = Counter()
    examples = []
    for question in bank.questions.itertuples():
        prompt = encoder.prompt(question.question)
        rationales = []
        rows = by_question.get(question.question_id, [])
        for row in sorted(rows, key=lambda r: (index[r.teacher], r.sample)):
            answer = row.answer if isinstance(row.answer, str) else None
            encoded = encoder.rationale(
                row.text, answer, index[row.teacher], row.sample, question.answer, question.kind
            )
            if len(prompt) + len(encoded.ids) > max_tokens:
                dropped[row.teacher] += 1
            else:
                rationales.append(encoded)
        if rationales:
            examples.append(
                Example(
                    question_id=question.question_id,
                    question=question.question,
                    prompt_ids=prompt,
                    answer_ids=encoder.answer(question.answer),
                    rationales=tuple(rationales),
                    gold=question.answer,
                    kind=question.kind,
                )
            )
    return examples, dropped


def encode_questions(
    questions: Iterable[tuple[str, str, str, str]], encoder: Encoder
) -> list[Example]:
    """Questions without rationales: (question_id, question, gold answer, kind) each."""
    return [
        Example(key, text, encoder.prompt(text), encoder.answer(gold), (), gold, kind)
        for key, text, gold, kind in questions
    ]


def with_rationales(
    examples: Iterable[Example],
    texts: Mapping[str, Sequence[str]],
    teacher: int,
    encoder: Encoder,
    max_tokens: int,
) -> list[Example]:
    """The examples with more rationales, those of one teacher: texts by question_id.

    The answer of each is read from its text. One whose row is longer than `max_tokens` is left out.
    """
    more = []
    for example in examples:
        own = [
            encoder.of_text(text, m, example.gold, example.kind, teacher)
            for m, text in enumerate(texts.get(example.question_id, ()))
        ]
        fitting = (r for r in own if len(example.prompt_ids) + len(r.ids) <= max_tokens)
        more.append(replace(example, rationales=(*example.rationales, *fitting)))
    return more


def of_teacher(examples: Iterable[Example], teacher: int) -> list[Example]:
    """The examples with this teacher's rationales alone, those without any left out."""
    own = [
        replace(e, rationales=tuple(r for r in e.rationales if r.teacher == teacher))
        for e in examples
    ]
    return [e for e in own if e.rationales]


def collate(
    examples: Iterable[Example],
    step: int = 0,
    micro: int = 0,
    epoch: int = 0,
    seed: int = 0,
    teachers: Sequence[str] = (),
    device: str | torch.device = "cpu",
) -> Batch:
    """A batch of examples; R is the largest number of rationales among them."""
    examples = list(examples)
    # Not stored in a checkpoint: a step's draws follow from where it is.
    draw = (seed * 1_000_003 + step) * 1_009 + micro
    generator = torch.Generator().manual_seed(draw % 2**63)
    return Batch(
        question_id=[e.question_id for e in examples],
        questions=[e.question for e in examples],
        prompt_ids=[e.prompt_ids for e in examples],
        answer_ids=[e.answer_ids for e in examples],
        gold=[e.gold for e in examples],
        kinds=[e.kind for e in examples],
        step=step,
        epoch=epoch,
        generator=generator,
        teachers=tuple(teachers),
        **_rationale_fields([e.rationales for e in examples], device),
    )


def with_own(batch: Batch, rows: Sequence[Sequence[EncodedRationale]]) -> Batch:
    """The batch's questions with these rationales of the student's own instead of the teachers'."""
    fields = _rationale_fields(rows, batch.teacher.device)
    return replace(batch, teachers=(OWN,), taught=False, **fields)


def _rationale_fields(
    rows: Sequence[Sequence[EncodedRationale]], device: str | torch.device
) -> dict[str, Any]:
    """The fields of a batch with one entry a question and rationale."""
    width = max(len(row) for row in rows)
    teacher = torch.full((len(rows), width), -1, dtype=torch.int64)
    sample = torch.zeros((len(rows), width), dtype=torch.int64)
    for b, row in enumerate(rows):
        for r, rationale in enumerate(row):
            teacher[b, r] = rationale.teacher
            sample[b, r] = rationale.sample
    return {
        "teacher": teacher.to(device),
        "sample": sample.to(device),
        "rationale_ids": [[r.ids for r in row] for row in rows],
        "body_end": [[r.body_end for r in row] for row in rows],
        "answer_start": [[r.answer_start for r in row] for row in rows],
        "step_ends": [[r.step_ends for r in row] for row in rows],
        "open_steps": [[r.open_steps for r in row] for row in rows],
        "answer_texts": [[r.answer for r in row] for row in rows],
    }
