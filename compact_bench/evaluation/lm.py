"""lm-eval's Hugging Face model with this project's tokenisation and decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from compact_bench.student.encode import CUE, Encoder
from compact_bench.student.generation import (
    Generated,
    Stops,
    batches,
    continue_with,
    end_ids,
    generate,
    prefill,
)

ANSWER_TOKENS = 24  # of the second of two passes: an answer, not another rationale


@dataclass(frozen=True)
class Trace:
    """How one answer was written: its tokens, and whether the limit cut it off."""

    tokens: int
    cut_off: bool


class StudentLM(HFLM):
    """HFLM that tokenises as training does and answers through `generate`.

    Training tokenises the prompt and what follows apart; stock HFLM tokenises them together,
    which may move the boundary, and moves a prompt's trailing space or newline (chat templates
    end in one) over to the continuation. `traces` holds one entry for each request of the last
    `generate_until`, in order. Only greedy decoding is offered.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_size: int, chat: bool = False) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
        self.encoder = Encoder(tokenizer, chat)
        self.end_ids = end_ids(model, tokenizer)
        self.passes = 1
        self.traces: list[Trace] = []
        self.progress: Callable[[int], None] | None = None

    def prompt_ids(self, text: str) -> list[int]:
        """Tokens of a prompt, as `Encoder.prompt` makes them from the question."""
        return self.encoder.bos + self.encoder.ids(text)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return self.prompt_ids(context), self.encoder.ids(continuation)

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of continuations, and whether each is the greedy one.

        A context is read once for all its continuations, a choice task's choices.
        """
        pairs = [self._encode_pair(*request.args) for request in requests]
        owners: dict[tuple[int, ...], list[int]] = {}
        for i, (context, continuation) in enumerate(pairs):
            room = self.max_length - len(continuation)
            owners.setdefault(tuple(context[-room:]), []).append(i)
        contexts = list(owners)
        out: dict[int, tuple[float, bool]] = {}
        for chosen in batches([len(context) for context in contexts], int(self.batch_size)):
            prefix = prefill(self.model, [contexts[c] for c in chosen])
            asked = [(n, i) for n, c in enumerate(chosen) for i in owners[contexts[c]]]
            rows = [pairs[i][1] for _, i in asked]
            branches = prefix.taken([n for n, _ in asked])
            found = continue_with(self.model, branches, rows, [0] * len(rows))
            out.update({i: value for (_, i), value in zip(asked, found, strict=True)})
            if self.progress:
                self.progress(len(chosen))
        return [out[i] for i in range(len(requests))]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Greedy texts of all requests, up to the first stop string; see `traces`."""
        if not requests:
            return []
        kwargs = requests[0].args[1]
        if any(request.args[1] != kwargs for request in requests):
            raise ValueError("requests of one task must have the same generation settings")
        prompts = [self.prompt_ids(request.args[0]) for request in requests]
        stops, limit = tuple(kwargs["until"]), int(kwargs["max_gen_toks"])
        if self.passes == 2:
            return self._two_passes(prompts, stops, limit)
        rows = self._generate(prompts, stops, limit)
        self.traces = [Trace(len(row.ids), not row.ended) for row in rows]
        return self._texts(rows, stops)

    def _two_passes(
        self, prompts: list[list[int]], stops: tuple[str, ...], limit: int
    ) -> list[str]:
        """First the rationale, up to the cue or the end, then the answer after the cue."""
        cue = CUE.strip()
        first = self._generate(prompts, (*stops, cue), limit)
        heads = [f" {body.strip()}{CUE}" for body in self._texts(first, (*stops, cue))]
        longer = [p + self.encoder.ids(h) for p, h in zip(prompts, heads, strict=True)]
        second = self._generate(longer, stops, min(limit, ANSWER_TOKENS))
        self.traces = [
            Trace(len(a.ids) + len(b.ids), not b.ended) for a, b in zip(first, second, strict=True)
        ]
        return [h + t for h, t in zip(heads, self._texts(second, stops), strict=True)]

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
        tools = Stops(self.tokenizer, stops)
        return [tools.cut(tools.text(row.ids)) for row in rows]
