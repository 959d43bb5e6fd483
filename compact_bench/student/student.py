"""The student: every forward of every method goes through it, so that all compute is counted."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from compact_bench.data.rationales import RationaleBank
from compact_bench.student.answer_gain import answer_gain
from compact_bench.student.batch import (
    Batch,
    Context,
    Output,
    OwnRationales,
    PromptKind,
    RationaleKey,
    Target,
    TeacherGradients,
    uniform,
)
from compact_bench.student.cost import Cost, parameters_passed
from compact_bench.student.encode import (
    NEXT_QUESTION,
    OWN,
    Encoder,
    collate,
    encode_bank,
    with_own,
)
from compact_bench.student.forward import Network, Passed
from compact_bench.student.generation import (
    Generated,
    Stops,
    batches,
    decode,
    end_ids,
    own_noise,
    own_rationales,
    prefill,
)
from compact_bench.student.layouts import make_rows

NEEDS = frozenset(
    {"token_nll", "token_rank", "states", "answer_gain", "logits", "teacher_logits", "full"}
    | {"start_token_nll", "top"}
)  # "states:mean:8", "states:last:-1", "logits:answer", "logits:target", "logits:all", "top:16"


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
        self.seed = 0  # of what is sampled; a run sets its own
        self.teacher: Student | None = None  # of `teacher_logits`
        self.teachers: dict[str, Student] = {}  # of `teacher_forward`
        self.start: Student | None = None  # itself where adapters can be switched off
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
        """Lets `start_token_nll` and `teacher_logits` be asked of this student as it is now.

        Fresh adapters change nothing, so there it is the model without them; a student that is
        trained in full, or whose adapters have learned already, is copied.
        """
        adapters = [p for n, p in self.trainable().items() if "lora_B" in n]
        fresh = self.model is not self.causal and not any(bool(p.any()) for p in adapters)
        self.start = self.teacher = self if fresh else self.frozen_copy()

    def frozen_copy(self) -> Student:
        """This student as it is now, which no training changes: for `attach_teachers`."""
        model, causal = copy.deepcopy((self.model, self.causal))
        model.requires_grad_(False).eval()
        copied = Student(model, causal, self.tokenizer, layout=self.layout, device=self.device)
        copied.encoder = self.encoder
        return copied

    def attach_teachers(self, teachers: Mapping[str, Student]) -> None:
        """Lets `teacher_forward` ask other models with the same tokenizer, by name.

        Raises ValueError where the vocabularies differ.
        """
        for name, teacher in teachers.items():
            self._check_vocabulary(teacher, f"teacher {name!r}")
            teacher.model.eval()
        self.teachers = dict(teachers)

    @torch.no_grad()
    def teacher_forward(
        self,
        name: str,
        batch: Batch,
        target: Target = "rationale+answer",
        prompt: PromptKind = "plain",
        context: Context = "question",
        needs: Collection[str] = (),
    ) -> Output:
        """`forward` of an attached teacher on the same rows, without gradient.

        Of its needs "top:K" gives the K likeliest tokens at each of the target's, "logits:target"
        whole distributions. What it reads counts here, 2N FLOPs a token of its own N. Raises
        ValueError for a name that `attach_teachers` wasn't given.
        """
        if name not in self.teachers:
            known = ", ".join(self.teachers) or "none is attached"
            raise ValueError(f"teacher_forward: no teacher model {name!r}; known: {known}")
        teacher = self.teachers[name]
        teacher.cost = Cost()
        out = teacher.forward(batch, target, prompt, context, needs)
        self.cost.count(teacher.cost.tokens, teacher.cost.physical_tokens, teacher.cost.flops)
        return out

    def _check_vocabulary(self, teacher: Student, what: str) -> None:
        if teacher.tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise ValueError(f"{what}: the teacher's tokenizer is not the student's")

    def attach_teacher(self, teacher: Student) -> None:
        """Lets `teacher_logits` be asked of another model with the same tokenizer.

        Raises ValueError where the vocabularies differ: their logits can't be compared then.
        """
        self._check_vocabulary(teacher, "teacher_logits")
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

    @torch.no_grad()
    def sample(
        self,
        batch: Batch,
        n: int = 1,
        temperature: float = 1.0,
        max_new_tokens: int | None = None,
        size: int = 64,
    ) -> OwnRationales:
        """`n` rationales of the student's own for each question, after the batch's prompts.

        temperature: of the tokens' distributions; 0 takes the likeliest token. max_new_tokens: of
        each; by default as many as the longest rationale present. size: rows that are written at
        once. What is drawn follows from the run's seed, the batch's step, the prompt and the number
        of the sample alone. A rationale ends with EOS or where it goes on to a next question.

        Counts as read what the model reads, and as `sampled_tokens` what it writes; no teacher's.
        Raises ValueError for n or max_new_tokens below 1 or a temperature below 0.
        """
        if max_new_tokens is None:
            max_new_tokens = batch.longest_rationale
        room = self.max_tokens - max(map(len, batch.prompt_ids))
        limit = min(max_new_tokens, max(1, room))
        if n < 1 or limit < 1 or temperature < 0:
            raise ValueError(
                f"sample: n = {n}, max_new_tokens = {max_new_tokens}, temperature = {temperature}; "
                "allowed: n and max_new_tokens from 1, temperature from 0"
            )
        stops = Stops(self.tokenizer, (NEXT_QUESTION,), end_ids(self.causal, self.tokenizer))
        written: dict[int, list[Generated]] = {}
        with self.counted(), self._evaluating():
            for chosen in batches([len(ids) for ids in batch.prompt_ids], max(1, size // n)):
                prompts = [batch.prompt_ids[b] for b in chosen]
                places = [(i, m) for i in range(len(chosen)) for m in range(n)]
                noise = [own_noise(self.seed, batch.step, prompts[i], m, limit) for i, m in places]
                rows = decode(
                    self.causal,
                    prefill(self.causal, prompts, limit).taken([i for i, _ in places]),
                    stops,
                    limit,
                    torch.stack(noise) if temperature else None,
                    temperature or 1.0,
                )
                written |= {b: rows[i * n : (i + 1) * n] for i, b in enumerate(chosen)}
        in_order = [written[b] for b in range(len(batch.questions))]
        own = own_rationales(batch, in_order, stops, self.encoder)
        self.cost.sampled_tokens += sum(len(ids) for row in own.batch.rationale_ids for ids in row)
        return own

    def batch_of(self, batch: Batch, texts: Sequence[Sequence[str]]) -> Batch:
        """The batch's questions with these rationales, [b][m], instead of the teachers'.

        Each is written as the template has it: its own answer sentence is replaced by "The answer
        is X", X being the answer read from its text. A question may have none; they are the
        student's own, so that nothing counts as taught. For texts token for token as the student
        wrote them see `OwnRationales.batch`. Raises ValueError where no question has any.
        """
        if len(texts) != len(batch.questions) or not any(texts):
            raise ValueError(
                f"batch_of: texts for {len(texts)} questions, {sum(map(len, texts))} in all; "
                f"expected an entry for each of {len(batch.questions)}, and at least one text"
            )
        rows = [
            [self.encoder.of_text(t, m, batch.gold[b], batch.kinds[b]) for m, t in enumerate(row)]
            for b, row in enumerate(texts)
        ]
        return with_own(batch, rows)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts what the model reads inside past `forward`: real tokens, 2N FLOPs each.

        A token counts when it is read. So a prompt that is read once for several samples counts
        once, and a written token that nothing follows doesn't.
        """

        def count(module: Any, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> None:
            ids = inputs["input_ids"]  # (N,T)
            real = inputs["attention_mask"][:, -ids.shape[1] :]  # the cached ones come first
            tokens = int(real.sum())
            self.cost.count(tokens, ids.numel(), self.flops(tokens, trained=False))

        handle = self.causal.register_forward_pre_hook(count, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Every module in evaluation mode, without dropout; afterwards in its own again."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training

    def forward(
        self,
        batch: Batch,
        target: Target = "rationale+answer",
        prompt: PromptKind = "plain",
        context: Context = "question",
        needs: Collection[str] = (),
        tokens: Tensor | None = None,
    ) -> Output:
        """Mean NLL of each row's target, and what `needs` names (see `Output`).

        `needs`: token_nll, token_rank, "states:mean:LAYER" or "states:last:LAYER", answer_gain (or
        "answer_gain:uncut", which goes on when the rationale has given the answer away),
        "logits:answer" | "logits:target" | "logits:all", "top:K", teacher_logits (of the model that
        `attach_teacher` gave, at the target's tokens), start_token_nll (of the student that
        `attach_start` remembered), full. "logits:all" and full read every position and so use the
        padded layout. tokens: (B,R,T,K) int64, whose log-probabilities are wanted at the target's
        tokens, such as a teacher's `top_tokens`. Raises ValueError for an unknown need or an empty
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
        self._count(passed, [] if one_row or not batch.taught else batch.teacher.tolist(), batch)
        if tokens is not None:
            out.log_p_of = passed.log_p_of(tokens)
        self._add_needs(out, passed, batch, wanted)
        return out

    def _add_needs(
        self, out: Output, passed: Passed, batch: Batch, wanted: Mapping[str, list[str]]
    ) -> None:
        """Puts what `needs` names beside the losses of a pass."""
        if "states" in wanted:
            pooling, layer = (*wanted["states"], "mean", "-1")[:2]
            out.states = passed.states(pooling, int(layer))
        if "full" in wanted:
            out.full = passed.full()
        if "logits" in wanted:
            out.logits = passed.logits(batch, wanted["logits"][0])
        if "top" in wanted:
            count = ":".join(wanted["top"])
            if not count.isdecimal() or not int(count):
                raise ValueError(f"top:{count}; allowed: top:K, K from 1")
            out.top_tokens, out.top_log_p = passed.top(int(count))
        if "teacher_logits" in wanted:
            if self.teacher is None:
                raise ValueError("teacher_logits: no teacher model is attached")
            with torch.no_grad():
                out.teacher_logits = self._beside(self.teacher, passed).logits(batch, "target")
        if "start_token_nll" in wanted:
            if self.start is None:
                raise ValueError("start_token_nll: attach_start was not called before training")
            out.start_token_nll = self._beside(self.start, passed).token_nll()
        if "answer_gain" in wanted:
            cut = wanted["answer_gain"] != ["uncut"]
            out.answer_gain, tokens, physical = answer_gain(
                self.network, self.encoder.cue, batch, passed, cut
            )
            self.cost.count(tokens, physical, self.flops(tokens, trained=False))

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

    def _count(self, passed: Passed, writers: list[list[int]], batch: Batch) -> None:
        """Counts a pass; writers: (B,R) the teacher who wrote a target, empty where none did."""
        tokens = sum(len(row.ids) for row in passed.rows)
        targets = sum(len(row.target) for row in passed.rows)
        own = batch.teachers.index(OWN) if OWN in batch.teachers else -1
        taught = [r for r in passed.rows if writers and writers[r.question][r.slot] != own]
        trained = torch.is_grad_enabled()
        self.cost.count(
            tokens,
            passed.placement.input_ids.numel(),
            self.flops(tokens, trained),
            supervised=targets if trained else 0,
            teacher=sum(len(row.target) for row in taught),
        )

    @torch.no_grad()
    def _beside(self, other: Student, passed: Passed) -> Passed:
        """Another model's pass over the same rows, counted here; of itself without adapters."""
        with self.model.disable_adapter() if other is self else nullcontext():
            beside = other.network.read(passed.rows, passed.shape, other.layout)
        tokens = sum(len(row.ids) for row in passed.rows)
        physical = beside.placement.input_ids.numel()
        self.cost.count(tokens, physical, other.flops(tokens, trained=False))
        return beside


def pad_token(tokenizer: Any) -> int:
    """The id that fills rows up: the tokenizer's own, or its end-of-sequence token."""
    pad_id = tokenizer.pad_token_id
    return tokenizer.eos_token_id if pad_id is None else pad_id
