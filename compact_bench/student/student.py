"""The student: every forward of every method goes through it, so that all compute is counted."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from compact_bench.data.rationales import RationaleBank
from compact_bench.student.answer_gain import answer_gain
from compact_bench.student.batch import (
    Batch,
    Context,
    Output,
    PromptKind,
    RationaleKey,
    Target,
    TeacherGradients,
    uniform,
)
from compact_bench.student.cost import Cost, parameters_passed
from compact_bench.student.encode import Encoder, collate, encode_bank
from compact_bench.student.forward import Network, Passed
from compact_bench.student.layouts import make_rows

NEEDS = frozenset(
    {"token_nll", "token_rank", "states", "answer_gain", "logits", "teacher_logits", "full"}
)  # "states:mean:8", "states:last:-1", "logits:answer", "logits:target", "logits:all"


class Student:
    """A causal language model with its tokenizer, its batch layout and its running cost.

    model: the module that is trained (a PEFT model or the plain one); causal: the plain
    transformers model inside it. layout: "padded" or "shared". mixed: whether forwards multiply in
    bfloat16 although the weights are float32; answers are then written in float32.
    """

    def __init__(
        self,
        model: Any,
        causal: Any,
        tokenizer: Any,
        *,
        layout: str = "padded",
        layout_reason: str = "",
        chat: bool = False,
        device: str | torch.device = "cpu",
        mixed: bool = False,
    ) -> None:
        self.model = model
        self.causal = causal
        self.tokenizer = tokenizer
        self.encoder = Encoder(tokenizer, chat)
        self.network = Network(causal, pad_token(tokenizer), device, mixed)
        self.decoder = self.network.decoder
        self.layout = layout
        self.layout_reason = layout_reason
        self.chat = chat
        self.device = torch.device(device)
        self.cost = Cost()
        self.max_tokens = sys.maxsize  # of a row; training sets its own limit
        self.teacher: Student | None = None
        self.layers = int(causal.config.num_hidden_layers)
        self.parameters_passed = parameters_passed(causal)
        trained = sum(p.numel() for p in self.trainable().values())
        self.full_training = trained >= self.parameters_passed

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The trainable parameters by name."""
        return {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the trainable parameters."""
        return {n: p.detach().clone() for n, p in self.trainable().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state_dict` gave. Raises KeyError where a parameter is missing."""
        with torch.no_grad():
            for name, parameter in self.trainable().items():
                parameter.copy_(state[name])

    def merged(self) -> Any:
        """The plain model with adapters merged in, for evaluation; training is over then."""
        if self.model is not self.causal:
            self.model = self.causal = self.model.merge_and_unload()
        return self.model.eval()

    def attach_start(self) -> None:
        """Lets `teacher_logits` be asked of this student as it is now, before it is trained.

        Fresh adapters change nothing, so there it is the model without them; a student that is
        trained in full is copied. Raises ValueError for adapters that have learned already.
        """
        if self.model is self.causal:
            frozen = copy.deepcopy(self.causal).requires_grad_(False)
            start = Student(frozen, frozen, self.tokenizer, layout=self.layout, device=self.device)
            self.attach_teacher(start)
            return
        if any(bool(p.any()) for n, p in self.trainable().items() if "lora_B" in n):
            raise ValueError("attach_start: the adapters are trained already")
        self.teacher = self

    def attach_teacher(self, teacher: Student) -> None:
        """Lets `teacher_logits` be asked of another model with the same tokenizer.

        Raises ValueError where the vocabularies differ: their logits can't be compared then.
        """
        if teacher.tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise ValueError("teacher_logits: the teacher's tokenizer is not the student's")
        teacher.model.eval()
        self.teacher = teacher

    def batches(self, bank: RationaleBank, size: int = 8) -> Iterator[Batch]:
        """All questions of a bank once, in its order: for passes of `select`, before training.

        Rationales that training drops because they are longer than `max_tokens` are absent, and
        so are questions without any other.
        """
        examples, _ = encode_bank(bank, self.encoder, self.max_tokens)
        for number, at in enumerate(range(0, len(examples), size)):
            chosen = examples[at : at + size]
            yield collate(chosen, micro=number, teachers=bank.teachers, device=self.device)

    @torch.no_grad()
    def scores(
        self, bank: RationaleBank, score: Callable[[Batch], Tensor], size: int = 8
    ) -> dict[RationaleKey, float]:
        """Every rationale's score by a function of a batch that gives (B,R); see `batches`."""
        values: dict[RationaleKey, float] = {}
        for batch in self.batches(bank, size):
            values |= batch.by_rationale(score(batch))
        return values

    def forward(
        self,
        batch: Batch,
        target: Target = "rationale+answer",
        prompt: PromptKind = "plain",
        context: Context = "question",
        needs: Collection[str] = (),
    ) -> Output:
        """Mean NLL of each row's target, and what `needs` names (see `Output`).

        `needs`: token_nll, token_rank, "states:mean:LAYER" or "states:last:LAYER", answer_gain (or
        "answer_gain:uncut", which goes on when the rationale has given the answer away),
        "logits:answer" | "logits:target" | "logits:all", teacher_logits (of the model that
        `attach_teacher` gave, at the target's tokens), full. "logits:all" and full read every
        position and so use the padded layout. Raises ValueError for an unknown need or an empty
        batch.
        """
        wanted = {need.split(":")[0]: need.split(":")[1:] for need in needs}
        if len(wanted) < len(needs):
            raise ValueError(f"needs name one thing twice: {sorted(needs)}")
        if unknown := set(wanted) - NEEDS:
            raise ValueError(f"unknown needs {sorted(unknown)}; allowed: {sorted(NEEDS)}")
        rows = make_rows(batch, self.encoder, target, prompt, context)
        if not rows:
            raise ValueError("no rationale is present in this batch")
        one_row = target == "answer" and context == "question" and prompt != "teacher"
        every_position = "full" in wanted or wanted.get("logits") == ["all"]
        passed = self.network.read(
            rows,
            (len(batch.questions), 1 if one_row else batch.teacher.shape[1]),
            "padded" if every_position else self.layout,
            all_layers="states" in wanted,
            use_cache="answer_gain" in wanted,
        )
        out = passed.losses(wanted)
        self._count(passed, teacher_written=batch.taught and not one_row)
        if "states" in wanted:
            pooling, layer = (*wanted["states"], "mean", "-1")[:2]
            out.states = passed.states(pooling, int(layer))
        if "full" in wanted:
            out.full = passed.full()
        if "logits" in wanted:
            out.logits = passed.logits(batch, wanted["logits"][0])
        if "teacher_logits" in wanted:
            out.teacher_logits = self._teacher_logits(passed, batch)
        if "answer_gain" in wanted:
            cut = wanted["answer_gain"] != ["uncut"]
            out.answer_gain, tokens, physical = answer_gain(
                self.network, self.encoder.cue, batch, passed, cut
            )
            self.cost.count(tokens, physical, self.flops(tokens, trained=False))
        return out

    def gradients(self, batch: Batch) -> tuple[Tensor, Output]:
        """The gradient of each slot's mean NLL: (R,P) float32, and the forward's output.

        One forward, R backward passes; P trainable parameters in `trainable()`'s order.
        """
        out = self.forward(batch)
        counts = batch.present.sum(0).clamp_min(1)  # (R,)
        losses = (out.nll.sum(0) / counts).unbind()
        return torch.stack([self._gradient(loss, retain=True) for loss in losses]), out

    def teacher_gradients(self, batch: Batch) -> TeacherGradients:
        """The gradient of each teacher's loss over the trainable parameters: (K,P) float32.

        One forward and backward pass a teacher, over its own rows alone: together they read what
        one pass over all rows reads, and only one teacher's activations are held at a time.
        Raises ValueError for an empty batch.
        """
        teachers = batch.teacher[batch.present].unique()
        if not len(teachers):
            raise ValueError("no rationale is present in this batch")
        average = uniform(batch.present)  # (B,R)
        share, loss = average.new_zeros(len(teachers)), average.new_zeros(len(teachers))
        # Filled row by row: a stack of vectors would hold all of them twice.
        size = sum(p.numel() for p in self.trainable().values())
        gradient = average.new_zeros(len(teachers), size)
        nll = torch.zeros_like(average)
        for k, teacher in enumerate(teachers):
            rows = batch.teacher == teacher
            out = self.forward(batch.restrict(rows))
            part = average * rows
            own = (part * out.nll).sum() / part.sum()
            gradient[k] = self._gradient(own)
            share[k], loss[k] = part.sum() / len(batch.questions), own.detach()
            nll = torch.where(rows, out.nll.detach(), nll)
        return TeacherGradients(batch, teachers, share, loss, gradient, nll)

    def _gradient(self, loss: Tensor, retain: bool = False) -> Tensor:
        """(P,) float32: a scalar's gradient; 0 where it doesn't depend on a parameter."""
        parameters = list(self.trainable().values())
        grads = torch.autograd.grad(loss, parameters, retain_graph=retain, allow_unused=True)
        pairs = zip(grads, parameters, strict=True)
        return torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten().float() for g, p in pairs]
        )

    def add_gradient(self, gradient: Tensor) -> None:
        """Adds (P,), in `trainable()`'s order, to the gradients that the parameters hold."""
        parameters = list(self.trainable().values())
        parts = gradient.split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            own = part.view_as(parameter).to(parameter.dtype)
            parameter.grad = own.clone() if parameter.grad is None else parameter.grad + own

    def query_key(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The last layer's query and key projections of states (..., D)."""
        attention = self.decoder.layers[-1].self_attn
        return attention.q_proj(states), attention.k_proj(states)

    def head_rows(self, token_ids: list[int]) -> Tensor:
        """(A,D): the rows of the language-model head for these tokens."""
        weight = self.causal.get_output_embeddings().weight
        return weight[torch.tensor(token_ids, dtype=torch.int64, device=weight.device)]

    def single_token_ids(self, words: Collection[str]) -> list[int]:
        """Ids of those words, bare and after a space, that are one token."""
        forms = [form for word in words for form in (word, f" {word}")]
        ids = [self.encoder.ids(form) for form in forms]
        unknown = self.tokenizer.unk_token_id
        return sorted({i[0] for i in ids if len(i) == 1 and i[0] != unknown})

    def flops(self, tokens: int, trained: bool) -> float:
        """FLOPs of a pass of real tokens, forward and, where it is trained on, backward."""
        backward = (4 if self.full_training else 2) if trained else 0
        return (2.0 + backward) * self.parameters_passed * tokens

    def _count(self, passed: Passed, teacher_written: bool) -> None:
        tokens = sum(len(row.ids) for row in passed.rows)
        targets = sum(len(row.target) for row in passed.rows)
        trained = torch.is_grad_enabled()
        self.cost.count(
            tokens,
            passed.placement.input_ids.numel(),
            self.flops(tokens, trained),
            supervised=targets if trained else 0,
            teacher=targets if teacher_written else 0,
        )

    @torch.no_grad()
    def _teacher_logits(self, passed: Passed, batch: Batch) -> Tensor:
        """The attached teacher's logits for a pass's rows; its own pass counts as the student's."""
        teacher = self.teacher
        if teacher is None:
            raise ValueError("teacher_logits: no teacher model is attached")
        with self.model.disable_adapter() if teacher is self else nullcontext():
            teachers = teacher.network.read(passed.rows, passed.shape, teacher.layout)
        tokens = sum(len(row.ids) for row in passed.rows)
        physical = teachers.placement.input_ids.numel()
        self.cost.count(tokens, physical, teacher.flops(tokens, trained=False))
        return teachers.logits(batch, "target")


def pad_token(tokenizer: Any) -> int:
    """The id that fills rows up: the tokenizer's own, or its end-of-sequence token."""
    pad_id = tokenizer.pad_token_id
    return tokenizer.eos_token_id if pad_id is None else pad_id
