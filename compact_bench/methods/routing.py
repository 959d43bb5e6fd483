"""What methods that choose a teacher by the question know of a question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compact_bench.utils.lazy import Tensor, torch

if TYPE_CHECKING:
    from compact_bench.data.rationales import RationaleBank
    from compact_bench.student.student import Student


def question_states(student: Student, bank: RationaleBank) -> dict[str, Tensor]:
    """question_id -> (D,) float32 on the CPU: the mean state over the question's tokens.

    Of the student's middle layer, as the student is; the rationales aren't read. Questions without
    a rationale that training would read are left out.
    """
    layer = f"states:mean:{student.layers // 2}"
    known: dict[str, Tensor] = {}
    with torch.no_grad():
        for batch in student.batches(bank):
            prompts = [(b, ids[:1], ids[1:]) for b, ids in enumerate(batch.prompt_ids)]
            states = student.forward(batch.rewritten(prompts), needs={layer}).states
            assert states is not None
            known |= dict(zip(batch.question_id, states[:, 0].float().cpu(), strict=True))
    return known
