"""COMPACT as its authors released it."""

from __future__ import annotations

from typing import Annotated

from compact_bench.api import (
    Batch,
    Distiller,
    Step,
    Tunable,
    adaptability,
    consensus,
    fusion,
    torch,
)


class CompactAuthors(Distiller):
    """loss = sum_k w_k L_k + lambda sum_{i<j} w_i w_j D(i,j), mean over questions.

    w = softmax((b1 z(M) + b2 z(C) - b3 z(L)) / tau), detached, z over the question's rationales:
    L mean NLL (nats a token), M rises of the gold answer's logit along the row, C attention that
    the row's end state receives from the other rows'. D is the symmetric KL divergence between
    two rows' token distributions at equal positions. Scores run over padding too, and under
    dropout; `padded` is therefore the only layout in which the released numbers exist.
    """

    name = "compact_authors"
    version = 2  # 2: one backward pass a question, so that one question's activations are held
    reference = "arXiv:2601.13992"
    bibtex = """@misc{cui2026whole,
  title={"The Whole Is Greater Than the Sum of Its Parts": A Compatibility-Aware Multi-Teacher
         CoT Distillation Framework},
  author={Cui, Jin and Guo, Jiaqi and Zhou, Jiepeng and Yang, Ruixuan and Lu, Jiayi and
          Xu, Jiajun and Song, Jiangcheng and Zhao, Boran and Ren, Pengju},
  year={2026},
  eprint={2601.13992},
  archivePrefix={arXiv}
}"""
    uses_gold = True
    needs = frozenset({"full", "logits:all"})
    layout = "padded"
    lora_dropout = 0.1

    class Config(Distiller.Config):
        """betas of adaptability, consensus and difficulty; tau; lambda of the consistency term."""

        beta_adaptability: Annotated[float, Tunable(0, 2.5, simplex="beta")] = 1.0
        beta_consensus: Annotated[float, Tunable(0, 2.5, simplex="beta")] = 1.0
        beta_difficulty: Annotated[float, Tunable(0, 2.5, simplex="beta")] = 0.5
        temperature: Annotated[float, Tunable(0.1, 10, log=True)] = 1.0
        consistency: Annotated[float, Tunable(0.01, 1, log=True)] = 0.1
        smallest_pair: float = 1e-4
        thinking_token_ids: list[int] | None = None

    def loss(self, student, batch: Batch) -> Step:
        """One forward a question: its rows are padded to its own longest, as was released."""
        parts = [self._question(student, batch.single(b)) for b in range(len(batch.questions))]
        return self._step(parts)

    def backward(self, student, batch: Batch) -> Step:
        """The same with a backward pass a question: only one question's activations are held."""
        parts = []
        for b in range(len(batch.questions)):
            loss, columns = self._question(student, batch.single(b))
            (loss / len(batch.questions)).backward()
            parts.append((loss.detach(), columns))
        return self._step(parts)

    def _step(self, parts) -> Step:
        losses, columns = zip(*parts, strict=True)
        joined = {name: torch.cat([column[name] for column in columns]) for name in columns[0]}
        return Step(
            loss=torch.stack(losses).mean(),
            weights=joined.pop("weights"),
            nll=joined.pop("nll"),
            scores=joined,
        )

    def _question(self, student, batch: Batch):
        """One question's loss, and its (1,R) weights, NLL and scores by name."""
        out = student.forward(batch, needs=self.needs if self.config.consistency else {"full"})
        rows = batch.present[0]
        scores = {**self._scores(student, batch, out, rows), "difficulty": out.nll[0, rows]}
        weights = torch.zeros_like(out.nll)
        weights[0, rows] = self._weights(scores).to(weights.dtype)
        loss = (weights * out.nll).sum()
        if self.config.consistency:
            logits, real = out.logits[0, rows], out.full.real[0, rows]
            penalty = fusion.consistency(logits, real, weights[0, rows], self.config.smallest_pair)
            loss = loss + self.config.consistency * penalty
        columns = {name: torch.zeros_like(weights) for name in scores}
        for name, values in scores.items():
            columns[name][0, rows] = values.detach().to(weights.dtype)
        return loss, {"weights": weights, "nll": out.nll.detach(), **columns}

    def _scores(self, student, batch, out, rows):
        with torch.no_grad():
            hidden, ids = out.full.hidden[0, rows], out.full.input_ids[0, rows]
            thinking = self.config.thinking_token_ids
            if thinking is None:
                thinking = student.single_token_ids(adaptability.THINKING_WORDS)
            known = torch.tensor(thinking, dtype=ids.dtype, device=ids.device)
            weight = torch.where(torch.isin(ids, known), 1.0, 0.1).to(hidden.dtype)  # (K,T)
            head_rows = student.head_rows(batch.answer_ids[0])
            query, key = student.query_key(out.full.last()[0, rows])
            return {
                "adaptability": adaptability.logit_rises(hidden, head_rows, weight),
                "consensus": consensus.attention_affinity(query, key),
            }

    def _weights(self, scores):
        config = self.config
        betas = {
            "adaptability": config.beta_adaptability,
            "consensus": config.beta_consensus,
            "difficulty": -config.beta_difficulty,
        }
        z = [fusion.within_question_z(scores[name].detach()) for name in betas]
        return fusion.softmax_weights(z, list(betas.values()), config.temperature)
