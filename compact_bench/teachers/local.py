"""A teacher on this machine: any causal language model that transformers loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compact_bench.errors import UserError
from compact_bench.suite.sections import StudentSpec
from compact_bench.teachers.answers import Request, Settings, TeacherAnswer


def ask(
    wanted: Sequence[Request],
    settings: Settings,
    add: Callable[[Request, TeacherAnswer], None],
    batch_size: int = 16,
) -> None:
    """Ask for every rationale, so many at the same time; `add` gets the answers of a batch.

    A model with a chat template reads the question and the instruction as a user's message, any
    other the prompt of students: it follows no instruction. What is drawn follows from the seed,
    the prompt and the number of the sample.

    Raises: UserError where the model can't be loaded.
    """
    import torch

    from compact_bench.student.encode import NEXT_QUESTION, Encoder
    from compact_bench.student.generation import (
        Stops,
        batches,
        decode,
        end_ids,
        own_noise,
        prefill,
    )
    from compact_bench.student.load import load_student

    try:
        teacher = load_student(StudentSpec(id=settings.model, dtype="auto"))
    except UserError as error:
        raise UserError(f"--local: {str(error).removeprefix('student.id: ')}") from error
    model, tokenizer = teacher.causal.eval(), teacher.tokenizer
    chat = bool(getattr(tokenizer, "chat_template", None))
    encoder = Encoder(tokenizer, chat)
    prompts = [encoder.prompt(r.text(settings) if chat else r.question) for r in wanted]
    stops = Stops(tokenizer, () if chat else (NEXT_QUESTION,), end_ids(model, tokenizer))
    limit = settings.max_tokens
    for chosen in batches([len(prompt) for prompt in prompts], batch_size):
        noise = [own_noise(settings.seed, 0, prompts[n], wanted[n].sample, limit) for n in chosen]
        rows = decode(
            model,
            prefill(model, [prompts[n] for n in chosen], limit),
            stops,
            limit,
            torch.stack(noise) if settings.temperature else None,
            settings.temperature or 1.0,
        )
        for n, row in zip(chosen, rows, strict=True):
            text, finish = stops.cut(stops.text(row.ids)), "stop" if row.ended else "length"
            add(wanted[n], TeacherAnswer(text, finish, len(prompts[n]), len(row.ids)))
