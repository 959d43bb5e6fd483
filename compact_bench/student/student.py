"""The student: every forward of every method goes through it, so that all compute is counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compact_bench.api import Batch, Context, FullStates, Output, PromptKind, Target
from compact_bench.student.cost import Cost, parameters_passed
from compact_bench.student.encode import Encoder
from compact_bench.student.heads import Head
from compact_bench.student.layouts import Placement, Row, attention_masks, place
from compact_bench.student.probes import answer_gain
from compact_bench.student.rows import make_rows

NEEDS = frozenset(
    {"token_nll", "token_rank", "states", "answer_gain", "logits", "full"}
)  # "states:mean:8", "states:last:-1", "logits:answer", "logits:target", "logits:all"


@dataclass
class Passed:
    """What one pass through the decoder left. hidden: (Q,L,D) after the final norm."""

    placement: Placement
    hidden: Tensor
    layers: tuple[Tensor, ...] | None
    cache: Any


class Student:
    """A causal language model with its tokenizer, its batch layout and its running cost.

    model: the module that is trained (a PEFT model or the plain one); causal: the plain
    transformers model inside it. layout: "padded" or "shared".
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
    ) -> None:
        self.model = model
        self.causal = causal
        self.decoder = causal.get_decoder()
        self.tokenizer = tokenizer
        self.encoder = Encoder(tokenizer, chat)
        self.head = Head(causal)
        self.layout = layout
        self.layout_reason = layout_reason
        self.chat = chat
        self.device = torch.device(device)
        self.cost = Cost()
        self.parameters_passed = parameters_passed(causal)
        trained = sum(p.numel() for p in self.trainable().values())
        self.full_training = trained >= self.parameters_passed
        self.pad_id = tokenizer.pad_token_id
        if self.pad_id is None:
            self.pad_id = tokenizer.eos_token_id

    # --- parameters -------------------------------------------------------------------------

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

    # --- forwards ---------------------------------------------------------------------------

    def forward(
        self,
        batch: Batch,
        target: Target = "rationale+answer",
        prompt: PromptKind = "plain",
        context: Context = "question",
        needs: Collection[str] = (),
        layout: str | None = None,
    ) -> Output:
        """Mean NLL of each row's target, and what `needs` names (see `Output`).

        `needs`: token_nll, token_rank, "states:mean:LAYER" or "states:last:LAYER", answer_gain,
        "logits:answer" | "logits:target" | "logits:all", full. The last two read every position
        and so use the padded layout. Raises ValueError for an unknown need or an empty batch.
        """
        wanted = {need.split(":")[0]: need.split(":")[1:] for need in needs}
        if unknown := set(wanted) - NEEDS:
            raise ValueError(f"unknown needs {sorted(unknown)}; allowed: {sorted(NEEDS)}")
        if "full" in wanted or wanted.get("logits") == ["all"]:
            layout = "padded"
        rows = make_rows(batch, self.encoder, target, prompt, context)
        if not rows:
            raise ValueError("no rationale is present in this batch")
        one_row = target == "answer" and context == "question" and prompt != "teacher"
        shape = (len(batch.questions), 1 if one_row else batch.teacher.shape[1])
        passed = self._pass(
            rows,
            layout or self.layout,
            all_layers="states" in wanted,
            use_cache="answer_gain" in wanted,
        )
        out = self._losses(rows, shape, passed, wanted)
        self._count(rows, passed.placement, teacher_written=not one_row)
        if "states" in wanted:
            pooling, layer = (*wanted["states"], "mean", "-1")[:2]
            out.states = self._states(rows, shape, passed, pooling, int(layer))
        if "full" in wanted:
            out.full = self._full(rows, shape, passed)
        if "logits" in wanted:
            where = wanted["logits"][0]
            out.logits = self._logits(rows, shape, passed, batch, where)
        if "answer_gain" in wanted:
            out.answer_gain = answer_gain(self, batch, rows, shape, passed)
        return out

    def gradients(self, batch: Batch) -> tuple[Tensor, Output]:
        """The gradient of each slot's mean NLL: (R,P) float32, and the forward's output.

        One forward, R backward passes; P trainable parameters in `trainable()`'s order.
        """
        out = self.forward(batch)
        parameters = list(self.trainable().values())
        counts = batch.present.sum(0).clamp_min(1)  # (R,)
        rows = []
        for r in range(out.nll.shape[1]):
            loss = out.nll[:, r].sum() / counts[r]
            keep = r + 1 < out.nll.shape[1]
            grads = torch.autograd.grad(loss, parameters, retain_graph=keep, allow_unused=True)
            flat = [
                (torch.zeros_like(p) if g is None else g).flatten().float()
                for g, p in zip(grads, parameters, strict=True)
            ]
            rows.append(torch.cat(flat))
        return torch.stack(rows), out

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

    # --- inside -----------------------------------------------------------------------------

    def _pass(self, rows: list[Row], layout: str, all_layers: bool, use_cache: bool) -> Passed:
        # A layer holds about 12 D^2 weights, attention costs 4 L D a token: they are equal at
        # L = 6 D, and masked attention runs at about half the speed of a matrix product.
        scale = 3.0 * self.causal.config.hidden_size
        placement = place(rows, layout == "shared", self.pad_id, self.device, scale)
        arguments: dict[str, Any] = {"input_ids": placement.input_ids}
        if layout == "shared":
            arguments["attention_mask"] = attention_masks(placement, self.causal.config)
            arguments["position_ids"] = placement.position_ids
        else:
            arguments["attention_mask"] = placement.real.long()
        if use_cache:
            from transformers import DynamicCache

            # Without a config the cache keeps every position, also of sliding layers.
            arguments["past_key_values"] = DynamicCache()
        result = self.decoder(use_cache=use_cache, output_hidden_states=all_layers, **arguments)
        layers = result.hidden_states if all_layers else None
        cache = result.past_key_values if use_cache else None
        return Passed(placement, result.last_hidden_state, layers, cache)

    def _losses(
        self,
        rows: list[Row],
        shape: tuple[int, int],
        passed: Passed,
        wanted: Mapping[str, Any],
    ) -> Output:
        placement = passed.placement
        states = passed.hidden.flatten(0, 1)[placement.predictor]  # (N,D)
        token_nll = self.head.token_nll(states, placement.target)  # (N,)
        slot = self._slots(rows, shape)[placement.row]  # (N,)
        cells = shape[0] * shape[1]
        total = token_nll.new_zeros(cells).index_add(0, slot, token_nll)
        count = torch.bincount(slot, minlength=cells)
        out = Output(
            nll=(total / count.clamp_min(1)).view(shape),
            lengths=count.view(shape),
        )
        longest = int(count.max())
        at = (slot, placement.offset)
        if "token_nll" in wanted:
            grid = token_nll.new_zeros(cells, longest).index_put(at, token_nll)
            out.token_nll = grid.view(*shape, longest)
        if "token_rank" in wanted:
            rank = self.head.token_rank(states.detach(), placement.target)
            grid = rank.new_zeros(cells, longest).index_put(at, rank)
            out.token_rank = grid.view(*shape, longest)
        return out

    def _slots(self, rows: list[Row], shape: tuple[int, int]) -> Tensor:
        """For each row its flat place in (B,R)."""
        flat = [row.question * shape[1] + row.slot for row in rows]
        return torch.tensor(flat, dtype=torch.int64, device=self.device)

    @torch.no_grad()
    def _states(
        self, rows: list[Row], shape: tuple[int, int], passed: Passed, pooling: str, layer: int
    ) -> Tensor:
        """(B,R,D): mean over the target's tokens, or the last token's state, at one layer."""
        assert passed.layers is not None
        hidden = passed.layers[layer]
        states = hidden.new_zeros(*shape, hidden.shape[-1])
        for number, row in enumerate(rows):
            places = passed.placement.places[number]
            own = places[len(row.prefix) :] if pooling == "mean" else places[-1:]
            states[row.question, row.slot] = hidden[passed.placement.sequence[number], own].mean(0)
        return states

    def _full(self, rows: list[Row], shape: tuple[int, int], passed: Passed) -> FullStates:
        length = passed.hidden.shape[1]
        slots = self._slots(rows, shape)
        cells = shape[0] * shape[1]

        def grid(values: Tensor) -> Tensor:
            empty = values.new_zeros(cells, *values.shape[1:])
            return empty.index_copy(0, slots, values).view(*shape, *values.shape[1:])

        placement = passed.placement
        assert placement.input_ids.shape == (len(rows), length)
        return FullStates(
            hidden=grid(passed.hidden),
            input_ids=grid(placement.input_ids),
            real=grid(placement.real),
        )

    def _logits(
        self, rows: list[Row], shape: tuple[int, int], passed: Passed, batch: Batch, where: str
    ) -> Tensor:
        if where == "all":
            return self.head(self._full(rows, shape, passed).hidden)
        if where not in ("target", "answer"):
            raise ValueError(f"logits:{where}; allowed: logits:answer, logits:target, logits:all")
        placement = passed.placement
        first = placement.offset.new_zeros(len(rows))
        if where == "answer":
            starts = [self._answer_start(row, batch) for row in rows]
            first = torch.tensor(starts, dtype=torch.int64, device=self.device)
        offset = placement.offset - first[placement.row]
        keep = offset >= 0
        states = passed.hidden.flatten(0, 1)[placement.predictor[keep]]
        logits = self.head(states)  # (n,V)
        slot = self._slots(rows, shape)[placement.row[keep]]
        longest = int(offset.max()) + 1
        grid = logits.new_zeros(shape[0] * shape[1], longest, logits.shape[-1])
        return grid.index_put((slot, offset[keep]), logits).view(*shape, longest, -1)

    @staticmethod
    def _answer_start(row: Row, batch: Batch) -> int:
        """Where in a row's target its answer begins: the whole target may be the answer."""
        whole = batch.rationale_ids[row.question][row.slot]
        return batch.answer_start[row.question][row.slot] if row.target == whole else 0

    def _count(self, rows: list[Row], placement: Placement, teacher_written: bool) -> None:
        tokens = sum(len(row.prefix) + len(row.target) for row in rows)
        targets = sum(len(row.target) for row in rows)
        self.cost.tokens += tokens
        self.cost.physical_tokens += placement.input_ids.numel()
        factor = 2
        if torch.is_grad_enabled():
            factor += 4 if self.full_training else 2
            self.cost.supervised_tokens += targets
        self.cost.teacher_tokens += targets if teacher_written else 0
        self.cost.flops += float(factor) * self.parameters_passed * tokens
