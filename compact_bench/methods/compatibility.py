"""The student's compatibility with each rationale: three scores, their scales, and the weights.

The formulas are pure functions in `scores` and `fusion`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from compact_bench.methods import fusion
from compact_bench.methods.base import Distiller, Run
from compact_bench.methods.scores import adaptability, consensus, controls, difficulty
from compact_bench.student.batch import Batch, Output, uniform
from compact_bench.suite.sections import Tunable
from compact_bench.utils.lazy import Tensor, torch

if TYPE_CHECKING:
    from compact_bench.student.student import Student

AdaptabilityName = Literal["mutual_information", "net_gain", "positive_gains", "logit_rises"]
ScoreName = Literal["adaptability", "consensus", "difficulty"]


class Axes(BaseModel):
    """Every choice in how rationales are scored and scores become weights.

    scores: which of the three count; none gives equal weights. placebo: those whose values are
    shuffled among a question's rationales. beta_*: their weights in the utility u; a score whose
    beta is 0 is not computed. temperature of the softmax; floor: share of the weight that is spread
    evenly. normalise: "running" divides by the root of the running mean variance within a
    question, "within_question" by the question's own spread. clip: of z. warm_up: scored
    rationales to be seen before a score counts.
    adaptability: "mutual_information" of question and rationale, `discount` being the share of the
    likelihood after another question that is taken off; or by the gold answer "net_gain",
    "positive_gains" or "logit_rises", of which the first two have `cut` (only steps before the
    rationale gives the answer away) and `kappa` (nats an answer token that make an epiphany).
    consensus: centrality "strength", "pagerank" or "eigenvector" of the graph of rationales, or
    "attention". mix: share of equal answers in an edge, the rest is the states' cosine at `layer`
    (None: the middle one). difficulty: "manageable", "readiness" or "easier". window: at most so
    many rationales' losses say what the student can do; half_life: after so many more a loss
    counts half (None: never less). dropout: of the LoRA adapters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scores: list[ScoreName] = ["adaptability", "consensus", "difficulty"]
    placebo: list[ScoreName] = []
    # Their sum and the temperature say the same; searched together neither could be read.
    beta_adaptability: Annotated[float, Tunable(0, 2.5, simplex="beta")] = 1.0
    beta_consensus: Annotated[float, Tunable(0, 2.5, simplex="beta")] = 1.0
    beta_difficulty: Annotated[float, Tunable(0, 2.5, simplex="beta")] = 0.5
    temperature: Annotated[float, Field(gt=0), Tunable(0.1, 10, log=True)] = 1.0
    floor: Annotated[float, Field(ge=0, lt=1), Tunable(0, 0.5)] = 0.1
    normalise: Literal["running", "within_question"] = "running"
    clip: Annotated[float, Field(gt=0)] = 2.0
    warm_up: Annotated[int, Field(ge=0)] = 20
    adaptability: AdaptabilityName = "mutual_information"
    discount: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.5
    cut: bool = True
    kappa: float = 0.1
    consensus: Literal["strength", "pagerank", "eigenvector", "attention"] = "strength"
    mix: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.5
    layer: Annotated[int, Field(ge=0)] | None = None
    difficulty: Literal["manageable", "readiness", "easier"] = "manageable"
    window: Annotated[int, Field(ge=4)] = 512
    half_life: Annotated[float, Field(gt=0)] | None = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def idle(self) -> set[str]:
        """Names of settings that do nothing with the others as they are: no search varies them."""
        idle = {f"beta_{name}" for name in get_args(ScoreName) if name not in self.scores}
        if not self.scores:
            idle |= {"temperature", "floor"}
        if "consensus" not in self.scores or self.consensus == "attention":
            idle.add("mix")
        if "adaptability" not in self.scores or self.adaptability != "mutual_information":
            idle.add("discount")
        return idle

    @property
    def betas(self) -> dict[str, float]:
        """The scores that count, with their betas."""
        betas = {name: float(getattr(self, f"beta_{name}")) for name in self.scores}
        return {name: beta for name, beta in betas.items() if beta}

    @property
    def uses_gold(self) -> bool:
        """Whether a score that counts reads the gold answer."""
        return "adaptability" in self.betas and self.adaptability != "mutual_information"


class Compatibility:
    """Scores and weights with their running statistics, which a checkpoint must hold.

    centre: (D,) mean state of the rationales seen; losses: (n,) of the last `window` of them, and
    ages: (n,) how many were read since, the same for all of a batch, whose order means nothing;
    prompt: tokens of the last question, which one that is alone in its batch is compared with;
    spread: for each score the mean variance within a question, the questions and the scored
    rationales seen.
    """

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.centre: Tensor | None = None
        self.states_seen = 0
        self.losses: Tensor | None = None
        self.ages: Tensor | None = None
        self.prompt: list[int] = []
        self.spread: dict[str, tuple[float, int, int]] = {}

    def needs(self, student: Student) -> set[str]:
        """What the scores ask of the training forward."""
        axes, needs = self.axes, set()
        if axes.uses_gold:
            needs.add("full" if axes.adaptability == "logit_rises" else self._gain_need)
        if "consensus" in axes.betas:
            layer = student.layers // 2 if axes.layer is None else axes.layer
            graph = f"states:mean:{layer}"
            needs.add("states:last:-1" if axes.consensus == "attention" else graph)
        return needs

    @property
    def _gain_need(self) -> str:
        return "answer_gain" if self.axes.cut else "answer_gain:uncut"

    def weigh(
        self, student: Student, batch: Batch, out: Output
    ) -> tuple[dict[str, Tensor], Tensor]:
        """This step's scores and weights, (B,R) each; takes the step into the statistics first."""
        with torch.no_grad():
            self.observe(batch, out)
            scores = self.scores(student, batch, out)
            self.observe_spread(scores, batch.present)
            return scores, self.weights(scores, batch.present)

    def survey(
        self, student: Student, batches: Iterable[Batch]
    ) -> list[tuple[Batch, Output, dict[str, Tensor]]]:
        """Each batch with its forward and scores, under the student as it is.

        All are observed before the first is scored, so that the first questions are measured
        against all of them. No gradient.
        """
        with torch.no_grad():
            passed = []
            for batch in batches:
                out = student.forward(batch, needs=self.needs(student))
                self.observe(batch, out)
                passed.append((batch, out))
            scored = [(batch, out, self.scores(student, batch, out)) for batch, out in passed]
        for batch, _, scores in scored:
            self.observe_spread(scores, batch.present)
        return scored

    def observe(self, batch: Batch, out: Output) -> None:
        """Takes states and losses into what later scores are measured against."""
        present = batch.present
        if out.states is not None and self.axes.consensus != "attention":
            states = out.states[present].double()  # (n,D)
            if self.centre is None:
                self.centre = torch.zeros_like(states[0])
            self.states_seen += len(states)
            self.centre = self.centre + (states - self.centre).sum(0) / self.states_seen
        losses = out.nll.detach()[present].float()
        ages = torch.zeros(len(losses), dtype=torch.int64, device=losses.device)
        if self.losses is not None and self.ages is not None:
            losses = torch.cat([self.losses, losses])
            ages = torch.cat([self.ages + len(ages), ages])
        self.losses, self.ages = losses[-self.axes.window :], ages[-self.axes.window :]

    def scores(self, student: Student, batch: Batch, out: Output) -> dict[str, Tensor]:
        """(B,R) float32 by score, NaN where a rationale has none.

        Of the batch nothing but its last question is remembered.
        """
        measure = {
            "adaptability": self._adaptability,
            "consensus": self._consensus,
            "difficulty": self._difficulty,
        }
        scores = {name: measure[name](student, batch, out) for name in self.axes.betas}
        for name in self.axes.placebo:
            if name in scores:
                scores[name] = controls.shuffled(scores[name], batch.present, batch.generator)
        self.prompt = batch.prompt_ids[-1]
        return scores

    def observe_spread(self, scores: Mapping[str, Tensor], present: Tensor) -> None:
        """Takes the variance within each question into the running mean."""
        for name, score in scores.items():
            mean, questions, values = self.spread.get(name, (0.0, 0, 0))
            variances = fusion.variances(score, present).double()
            questions += len(variances)
            if len(variances):
                mean += float((variances - mean).sum()) / questions
            self.spread[name] = (mean, questions, values + int(fusion.known(score, present).sum()))

    def weights(self, scores: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """(B,R) float32: w = (1 - floor) softmax(sum beta z / temperature) + floor / present."""
        axes = self.axes
        if not axes.betas:
            return uniform(present)
        utility = torch.zeros(present.shape, dtype=torch.float32, device=present.device)
        for name, beta in axes.betas.items():
            if axes.normalise == "within_question":
                z = fusion.scaled_within(scores[name], present)
            else:
                mean, _, values = self.spread.get(name, (0.0, 0, 0))
                scale = mean**0.5 if values >= axes.warm_up else 0.0
                z = fusion.scaled(scores[name], present, scale, axes.clip)
            utility = utility + beta * z
        weights = fusion.masked_softmax(utility, present, axes.temperature)
        return fusion.with_floor(weights, present, axes.floor)

    def _adaptability(self, student: Student, batch: Batch, out: Output) -> Tensor:
        if self.axes.adaptability == "mutual_information":
            return self._mutual_information(student, batch, out)
        if self.axes.adaptability == "logit_rises":
            return self._logit_rises(student, batch, out)
        assert out.answer_gain is not None
        if self.axes.adaptability == "net_gain":
            return adaptability.net_gain(out.answer_gain)
        other = batch.mismatched()
        if other is None:
            return torch.full_like(out.nll.detach(), float("nan"))
        other_gain = student.forward(other, needs={self._gain_need}).answer_gain
        assert other_gain is not None
        return adaptability.positive_gains(out.answer_gain, other_gain)

    def _mutual_information(self, student: Student, batch: Batch, out: Output) -> Tensor:
        """The same rationales are read once more, each after the question before its own."""
        alone = len(batch.prompt_ids) == 1
        before = [self.prompt if alone else batch.prompt_ids[-1], *batch.prompt_ids[:-1]]
        nll = out.nll.detach()
        if not before[0]:
            return torch.full_like(nll, float("nan"))
        other = student.forward(replace(batch, prompt_ids=before))
        return adaptability.mutual_information(nll, other.nll, batch.present, self.axes.discount)

    def _logit_rises(self, student: Student, batch: Batch, out: Output) -> Tensor:
        """As released, but over real tokens only: padding must not change a weight."""
        assert out.full is not None
        thinking = student.single_token_ids(adaptability.THINKING_WORDS)
        score = torch.full_like(out.nll.detach(), float("nan"))
        for b, gold in enumerate(batch.answer_ids):
            rows = batch.present[b]
            ids, real = out.full.input_ids[b, rows], out.full.real[b, rows]
            known = torch.tensor(thinking, dtype=ids.dtype, device=ids.device)
            weight = torch.where(torch.isin(ids, known), 1.0, 0.1) * real
            hidden = out.full.hidden[b, rows]
            head_rows = student.head_rows(gold)
            score[b, rows] = adaptability.logit_rises(hidden, head_rows, weight).to(score.dtype)
        return score

    def _consensus(self, student: Student, batch: Batch, out: Output) -> Tensor:
        assert out.states is not None
        present = batch.present
        if self.axes.consensus == "attention":
            score = torch.full(present.shape, float("nan"), device=present.device)
            for b in range(len(present)):
                rows = present[b]
                query, key = student.query_key(out.states[b, rows])
                score[b, rows] = consensus.attention_affinity(query, key).float()
            return score
        assert self.centre is not None
        graph = consensus.agreement_graph(
            out.states, batch.answers, present, self.centre, self.axes.mix
        )
        return consensus.centrality(graph, present, self.axes.consensus)

    def _difficulty(self, student: Student, batch: Batch, out: Output) -> Tensor:
        nll = out.nll.detach()
        if self.axes.difficulty == "easier":
            return difficulty.easier(nll, batch.present)
        assert self.losses is not None and self.ages is not None
        form = getattr(difficulty, self.axes.difficulty)  # manageable or readiness
        counts = difficulty.decayed(self.ages, self.axes.half_life)
        score: Tensor = form(nll, batch.present, self.losses, counts)
        return score

    def state_dict(self) -> dict[str, Tensor]:
        """The statistics as tensors."""
        state: dict[str, Any] = {
            f"spread.{name}": torch.tensor(values, dtype=torch.float64)
            for name, values in self.spread.items()
        }
        if self.centre is not None:
            state |= {"centre": self.centre, "states_seen": torch.tensor(self.states_seen)}
        if self.losses is not None:
            state |= {"losses": self.losses, "ages": self.ages}
        if self.prompt:
            state["prompt"] = torch.tensor(self.prompt)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state_dict` gave."""
        self.centre = state.get("centre")
        self.states_seen = int(state.get("states_seen", 0))
        self.losses, self.ages = state.get("losses"), state.get("ages")
        self.prompt = state["prompt"].tolist() if "prompt" in state else []
        self.spread = {}
        for key, values in state.items():
            if key.startswith("spread."):
                mean, questions, count = values.tolist()
                self.spread[key.removeprefix("spread.")] = (mean, int(questions), int(count))


class ByCompatibility(Distiller):
    """A method that scores rationales by the student's compatibility. Not a row of its own."""

    needs = frozenset({"states"})

    class Config(Axes):
        """The settings of `Axes`."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.compatibility = Compatibility(self.config)
        self.lora_dropout = self.config.dropout
        self.uses_gold = self.config.uses_gold

    def skip(self, run: Run) -> str | None:
        """Skips settings that the run's batches don't allow: noise is of another question."""
        noise_needed = self.uses_gold and self.config.adaptability == "positive_gains"
        if noise_needed and run.training.batch_size < 2:
            return "adaptability: positive_gains needs training.batch_size of 2 or more"
        return None
