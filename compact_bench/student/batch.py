"""What student, methods and trainer hand each other: batches, a forward's output, a step.

Sizes in docstrings: B questions, R rationales a question, T tokens, A answer tokens, S steps,
D hidden size, V vocabulary, P trainable parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from compact_bench.data.answers import same_answer
from compact_bench.utils.lazy import Tensor, torch

PromptKind = Literal["plain", "predict", "explain", "teacher"]
Target = Literal["rationale+answer", "rationale", "answer"]
Context = Literal["question", "question+rationale"]
DevMeasure = Literal["accuracy", "marginal_nll"]
RationaleKey = tuple[str, str, int]  # question_id, teacher, sample

# The fields of a batch with one entry a question.
QUESTION_FIELDS = ("question_id", "questions", "prompt_ids", "answer_ids", "gold", "kinds")
ROW_FIELDS = (
    "rationale_ids",
    "body_end",
    "answer_start",
    "step_ends",
    "open_steps",
    "answer_texts",
)
RATIONALE_FIELDS = ("teacher", "sample", *ROW_FIELDS)


@dataclass(frozen=True)
class Decoding:
    """How a trained student answers: which prompt, and in one or two passes.

    prefix: text before the question where the prompt is "teacher". With `passes=2` the
    rationale is generated first and the answer in a pass of its own, after the cue "The answer is".
    """

    prompt: PromptKind = "plain"
    passes: int = 1
    prefix: str = ""


def uniform(present: Tensor) -> Tensor:
    """(B,R) float32: 1 / (rationales present), 0 where absent."""
    count = present.sum(-1, keepdim=True).clamp_min(1)
    return present.to(torch.float32) / count


@dataclass
class Batch:
    """The questions of one step with their rationales.

    teacher: (B,R) int64, the teacher's index, -1 where absent or not read.
    sample: (B,R) int64, which of a teacher's rationales.
    rationale_ids[b][r]: target tokens, the answer sentence and EOS included.
    body_end[b][r]: how many of them come before the answer sentence.
    answer_start[b][r]: index in rationale_ids of the first token of the rationale's own answer
        (the length of the row's tokens without EOS where the rationale has no answer).
    answer_ids[b]: tokens of the gold answer, A of them.
    step_ends[b][r]: for each reasoning step, how many of the row's tokens it and all before use.
    open_steps[b][r]: how many of these steps come before the first that mentions the gold answer
        or the rationale's own.
    step: optimizer steps done before this one. generator: torch.Generator on the CPU, seeded by
        the run's seed and the place of this batch in the run.
    taught: whether the texts are teachers' (or a person's), so that they count as such.
    gold[b], kinds[b]: the gold answer in canonical form and its kind ("number", "boolean",
        "choice"). answer_texts[b][r]: the rationale's own answer in that form, None without one.
    """

    question_id: list[str]
    questions: list[str]
    teacher: Tensor
    sample: Tensor
    prompt_ids: list[list[int]]
    rationale_ids: list[list[list[int]]]
    body_end: list[list[int]]
    answer_start: list[list[int]]
    answer_ids: list[list[int]]
    step_ends: list[list[list[int]]]
    open_steps: list[list[int]]
    step: int
    epoch: int
    generator: Any
    teachers: tuple[str, ...] = ()
    taught: bool = True
    gold: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    answer_texts: list[list[str | None]] = field(default_factory=list)

    @property
    def present(self) -> Tensor:
        """(B,R) bool."""
        return self.teacher >= 0

    @property
    def answers(self) -> Tensor:
        """(B,R) int64, equal within a question for equal final answers; -1 absent or none.

        Numbered as they come: which of them is the right one, no code says, but `right` does.
        """
        codes = torch.full(self.teacher.shape, -1, dtype=torch.int64)
        for b, row in enumerate(self.teacher.tolist()):
            known: dict[tuple[int, ...], int] = {}
            for r, teacher in enumerate(row):
                if teacher >= 0:
                    own = tuple(self.rationale_ids[b][r][self.answer_start[b][r] : -1])
                    codes[b, r] = known.setdefault(own, len(known)) if own else -1
        return codes.to(self.teacher.device)

    @property
    def right(self) -> Tensor:
        """(B,R) bool: the rationale ends in the gold answer; False where absent or without one.

        A method that reads it says `uses_gold = True`.
        """
        right = torch.zeros(self.teacher.shape, dtype=torch.bool)
        for b, own in enumerate(self.answer_texts):
            for r, answer in enumerate(own):
                right[b, r] = same_answer(answer, self.gold[b], self.kinds[b])
        return right.to(self.teacher.device) & self.present

    @property
    def longest_rationale(self) -> int:
        """Target tokens of the longest rationale present; 0 where none is."""
        lengths = [len(self.rationale_ids[b][r]) for b, r in self.present.nonzero().tolist()]
        return max(lengths, default=0)

    def answer_tokens(self, lengths: Tensor) -> Tensor:
        """(B,R,A) bool: which of the places from a rationale's answer on are real tokens.

        lengths: (B,R) target tokens. The answer's tokens end with EOS; A is the longest answer.
        """
        starts = torch.zeros_like(lengths)
        for b, row in enumerate(self.answer_start):
            starts[b, : len(row)] = torch.tensor(row, dtype=starts.dtype)
        count = (lengths - starts).clamp_min(0)  # (B,R)
        return torch.arange(int(count.max()), device=count.device) < count[..., None]

    def by_rationale(self, values: Tensor) -> dict[RationaleKey, float]:
        """(question_id, teacher, sample) -> value, of what is present. values: (B,R)."""
        numbers = values.detach().tolist()
        return {
            (self.question_id[b], self.teachers[int(self.teacher[b, r])], int(self.sample[b, r])): (
                numbers[b][r]
            )
            for b, r in self.present.nonzero().tolist()
        }

    def from_rationale(self, values: Mapping[RationaleKey, float]) -> Tensor:
        """(B,R) float32: the values that `by_rationale` named, 0 where absent.

        Raises KeyError for a rationale that has none.
        """
        grid = torch.zeros(self.teacher.shape)
        keys = self.by_rationale(grid)
        grid[self.present.cpu()] = torch.tensor([values[key] for key in keys], dtype=grid.dtype)
        return grid.to(self.teacher.device)

    def mismatched(self) -> Batch | None:
        """The same questions and gold answers with the rationales of another question each.

        None for a single question. What is left to a rationale that has nothing to do with the
        question is noise.
        """
        count = len(self.questions)
        if count < 2:
            return None
        return self._with_questions(RATIONALE_FIELDS, [*range(1, count), 0])

    def rewritten(self, rows: Sequence[tuple[int, list[int], list[int]]]) -> Batch:
        """A batch of other texts: (place of the question, tokens read, tokens predicted) each.

        Each becomes a question with one rationale, which has no steps and no answer.
        """
        places = [b for b, _, _ in rows]
        shape = (len(rows), 1)
        ends = [[len(target)] for _, _, target in rows]
        return replace(
            self,
            question_id=[self.question_id[b] for b in places],
            questions=[self.questions[b] for b in places],
            teacher=torch.zeros(shape, dtype=torch.int64, device=self.teacher.device),
            sample=torch.zeros(shape, dtype=torch.int64, device=self.teacher.device),
            prompt_ids=[prompt for _, prompt, _ in rows],
            rationale_ids=[[target] for _, _, target in rows],
            body_end=ends,
            answer_start=ends,
            answer_ids=[self.answer_ids[b] for b in places],
            step_ends=[[[]] for _ in rows],
            open_steps=[[0] for _ in rows],
            answer_texts=[[None] for _ in rows],
            gold=[self.gold[b] for b in places],
            kinds=[self.kinds[b] for b in places],
        )

    def single(self, b: int) -> Batch:
        """The b-th question as a batch of its own."""
        return self._with_questions(QUESTION_FIELDS + RATIONALE_FIELDS, [b])

    def _with_questions(self, names: Sequence[str], places: list[int]) -> Batch:
        """A batch with these fields of the questions at `places`."""
        chosen: dict[str, Any] = {}
        for name in names:
            value = getattr(self, name)
            chosen[name] = [value[b] for b in places] if isinstance(value, list) else value[places]
        return replace(self, **chosen)

    def restrict(self, rows: Tensor) -> Batch:
        """The same batch with the rationales outside `rows` (B,R bool) marked absent."""
        absent = torch.full_like(self.teacher, -1)
        return replace(self, teacher=torch.where(rows & self.present, self.teacher, absent))


@dataclass
class FullStates:
    """The padded layout laid open, for methods that score every position, padding included.

    hidden: (B,R,T,D) after the final norm; input_ids, real: (B,R,T).
    """

    hidden: Tensor
    input_ids: Tensor
    real: Tensor

    def last(self) -> Tensor:
        """(B,R,D), the state at each row's last real token (zeros for absent rows)."""
        index = (self.real.sum(-1) - 1).clamp_min(0)  # (B,R)
        index = index[..., None, None].expand(*index.shape, 1, self.hidden.shape[-1])
        return self.hidden.gather(2, index).squeeze(2)


@dataclass
class Output:
    """What `Student.forward` returns; what was not in `needs` is None.

    nll: (B,R) nats a target token, with gradient, 0 where absent. With target "answer" and
        context "question" a question has one row and R is 1.
    token_nll, token_rank: (B,R,T) over target tokens, 0 beyond a row's end.
    states: (B,R,D) detached. answer_gain: (B,R,S) detached, NaN where a step is not open.
    logits: (B,R,T,V) at the positions that were asked for. teacher_logits: (B,R,T,V) at the
        target's tokens, detached. lengths: (B,R) target tokens.
    start_token_nll: (B,R,T), of the student before training, detached.
    top_tokens, top_log_p: (B,R,T,K), at each target token the K likeliest ones, likeliest first,
        and their log-probabilities, detached. log_p_of: (B,R,T,K), of the tokens that the forward
        was given, with gradient.
    """

    nll: Tensor
    lengths: Tensor
    token_nll: Tensor | None = None
    token_rank: Tensor | None = None
    states: Tensor | None = None
    answer_gain: Tensor | None = None
    logits: Tensor | None = None
    teacher_logits: Tensor | None = None
    full: FullStates | None = None
    start_token_nll: Tensor | None = None
    top_tokens: Tensor | None = None
    top_log_p: Tensor | None = None
    log_p_of: Tensor | None = None


@dataclass
class OwnRationales:
    """What the student wrote for the B questions of a batch, n rationales each.

    batch: the questions with these rationales, token for token as they were written, EOS only
        where the student wrote it; its one teacher is called "student", and nothing is taught. So
        `student.forward(own.batch)` has their NLL with gradient, `own.batch.right` says which end
        in the gold answer, and `own.batch.answer_texts` holds their answers.
    texts: [b][m], up to where a next question begins. ended: (B,n) bool, by itself and not at the
        limit. log_p: (B,n,T) float32, nats, of every token under what it was drawn from; 0 beyond
        a row's end, and everywhere at temperature 0.
    """

    batch: Batch
    texts: list[list[str]]
    ended: Tensor
    log_p: Tensor


@dataclass
class Step:
    """One step's result: loss (scalar with gradient), weights (B,R) detached, what to record.

    scores: (B,R) each, NaN where a rationale has none. gains: (B,R,S), what each step before the
    answer is given away adds to its log-likelihood, NaN elsewhere; more than kappa is an epiphany.
    """

    loss: Tensor
    weights: Tensor | None = None
    nll: Tensor | None = None
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    gains: Tensor | None = None
    kappa: float = 0.0
    logs: Mapping[str, float] = field(default_factory=dict)


@dataclass
class TeacherGradients:
    """The gradients of the K teachers in a batch, for methods that combine them.

    teacher: (K,) int64, ascending. share: (K,), which part of the plain average (1/R a rationale,
    mean over questions) is the teacher's; 1/K where every question has every teacher. loss: (K,)
    nats a token, the mean NLL of the teacher's rationales, weighted as in the average. gradient:
    (K,P) float32 of these losses. So share @ gradient is the average's gradient, whichever
    rationales are absent. nll: (B,R) detached.
    """

    batch: Batch
    teacher: Tensor
    share: Tensor
    loss: Tensor
    gradient: Tensor
    nll: Tensor

    def gram(self) -> Tensor:
        """(K,K) float64 on the CPU: the gradients' inner products, exactly symmetric."""
        products = (self.gradient @ self.gradient.T).double().cpu()
        return (products + products.T) / 2

    def step(self, weights: Tensor) -> Step:
        """The record of a step along weights @ gradient; weights: (K,).

        A rationale's weight is its teacher's within its question, so that they sum to 1 there too
        where a teacher is absent or the weights sum to something else; `weight_NAME` in the logs
        is what was used.
        """
        weights = weights.to(self.loss)
        by_row = torch.zeros_like(self.nll)  # (B,R)
        for teacher, factor in zip(self.teacher.tolist(), weights / self.share, strict=True):
            by_row = torch.where(self.batch.teacher == teacher, factor, by_row)
        by_row = by_row * uniform(self.batch.present)
        total = by_row.sum(-1, keepdim=True)
        names = self.batch.teachers or [str(k) for k in range(int(self.teacher.max()) + 1)]
        used = zip(self.teacher.tolist(), weights.tolist(), strict=True)
        return Step(
            loss=weights @ self.loss,
            weights=torch.where(total > 0, by_row / total, by_row),
            nll=self.nll,
            logs={f"weight_{names[k]}": value for k, value in used},
        )
