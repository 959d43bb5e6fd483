"""The sections of a suite file as pydantic models, and the mark of settings that are searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

# How the names of files end that `data.source` reads.
DATA_SUFFIXES = (".jsonl", ".parquet", ".csv", ".tsv", ".arrow")
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Every number has bounds, those that nobody meets on purpose: beyond them a run ends in the middle,
# of memory or of what a library can't draw.
Positive = Annotated[int, Field(ge=1, le=10**8)]
Count = Annotated[int, Field(ge=0, le=10**8)]  # of what may be left out
Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every library's generator takes
Seeds = Annotated[list[Seed], Field(min_length=1, max_length=10_000)]
Jobs = Annotated[int, Field(ge=1, le=1024)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
PathText = Annotated[str, Field(min_length=1, max_length=1000)]  # of a file, or another name
ColumnName = Annotated[str, Field(min_length=1, max_length=1000)]
DevMetric = Literal["marginal_nll", "accuracy"]
Objective = Literal["marginal_nll", "accuracy", "old_accuracy"]


def refuse_repeats(lists: Mapping[str, Sequence[Any]]) -> None:
    """Raise ValueError for the first list, by its name, that holds a value twice."""
    for name, values in lists.items():
        if len(set(values)) < len(values):
            raise ValueError(f"{name} holds a value twice: {', '.join(map(str, values))}")


class Strict(BaseModel):
    """A part of a suite file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", validate_default=False, allow_inf_nan=False)

    # Keys that came after results were published. At its default such a key is left out of what
    # is written and hashed, so that earlier cells keep their run ids.
    _later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        for key in self._later:
            default = type(self).model_fields[key].get_default(call_default_factory=True)
            if getattr(self, key) == default:
                values.pop(key, None)
        return values


@dataclass(frozen=True)
class Tunable:
    """Marks a config field as tunable: `beta: Annotated[float, Tunable(0, 3)] = 1.0`.

    log: search on a logarithmic scale. simplex: fields that have one name here are searched as
    shares of the sum of their defaults, since only their ratios matter, or their scale is another
    setting's to carry; such a field's range is from 0 to that sum.
    """

    low: float
    high: float
    log: bool = False
    simplex: str = ""


class LoraSpec(Strict):
    """Low-rank adapters: rank, alpha, dropout and the linear layers that get one."""

    r: Positive = 16
    alpha: Annotated[float, Field(gt=0, le=1e6)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Annotated[list[str], Field(min_length=1)] = PROJECTIONS


class StudentSpec(Strict):
    """The student: ``nano``, a hub id, a local folder or the path of a GGUF file.

    ``dtype``: of the weights; ``mixed`` keeps them in float32 and multiplies in bfloat16. ``auto``
    multiplies in bfloat16 where the device has it in hardware and adapters or weights stay in
    float32 to be trained; what it came to is in the plan and in a run's id.
    """

    id: PathText = "nano"
    revision: PathText | None = None
    dtype: Literal["auto", "float32", "bfloat16", "mixed", "float64"] = "float32"
    layout: Literal["auto", "padded", "shared"] = "auto"
    lora: LoraSpec | None = None
    chat: bool = False
    trust_remote_code: bool = False
    device: str = "auto"
    gradient_checkpointing: bool = False

    def settled(self) -> StudentSpec:
        """The same with the dtype that ``auto`` comes to on this machine."""
        if self.dtype != "auto":
            return self
        from compact_bench.utils.machine import has_bfloat16

        trained_in = "bfloat16" if self.lora else "mixed"  # frozen weights may be rounded
        dtype = trained_in if has_bfloat16(self.device) else "float32"
        return self.model_copy(update={"dtype": dtype})


class MiniSpec(Strict):
    """The generated problems: seed, correlation of the teachers' errors, kind of problem.

    ``faults`` scales how often teachers go wrong (0: never); ``samples`` is how many rationales
    each teacher writes for a question.
    """

    _later = ("faults", "samples")

    seed: Seed = 0
    correlation: Annotated[float, Field(ge=0, le=1)] = 0.0
    problem: str = ""  # "" = the suite's name
    faults: Annotated[float, Field(ge=0, le=1)] = 1.0
    samples: Positive = 1


class ConditionSpec(Strict):
    """Other training data for the same rows: ``data`` is merged over the suite's data section.

    ``series`` and ``x`` say where the condition stands in figures: a line, and a place on it.
    ``rows`` are the labels of the rows that are run under it; none named means all.
    """

    name: Annotated[str, Field(min_length=1)]
    data: dict[str, Any]
    series: str = ""
    x: float | None = None
    rows: list[str] = []


class AblationSpec(Strict):
    """A base row, and changes of its settings: a row each, compared to the base row.

    ``tuned``: `tune` searches every one of these rows alike first, and `run` takes what it found.
    """

    _later = ("tuned",)

    tuned: bool = False
    of: str | dict[str, Any]
    changes: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


class ColumnsSpec(Strict):
    """Which columns of a user's data hold what; a question or rationale may be a chat's messages.

    ``rationales``: {teacher: column}, or one column: of objects {teacher: text or texts}, or with
    ``teacher``, the column of the teacher's name, of one rationale a row.
    """

    question: ColumnName = "question"
    answer: ColumnName = "answer"
    choices: ColumnName | None = None
    rationales: ColumnName | Annotated[dict[str, ColumnName], Field(min_length=1)] = "rationales"
    teacher: ColumnName | None = None

    @model_validator(mode="after")
    def _one_form(self) -> ColumnsSpec:
        if self.teacher and isinstance(self.rationales, dict):
            raise ValueError(
                "with teacher, a row holds one rationale: rationales is then the name of its column"
            )
        return self


class DataSpec(Strict):
    """Questions and rationales: ``mini``, a name of the catalog, a file, or a data set of the hub.

    ``columns``, ``config``, ``split`` and ``test_split`` say how a user's data are read;
    ``thinking`` what becomes of a text between think tags; ``bad_rows`` whether a row that can't be
    read ends the run or is left out. ``more``: files with rationales of further teachers.
    ``train``, ``dev`` and ``test`` keep the N questions of lowest hash; None keeps all.
    ``corrupt: {FAULT: SHARE}`` corrupts this share of the teachers' training rationales on purpose;
    with ``corrupt_persistent`` the same teachers' for all questions, else teachers take turns.
    """

    _later = ("corrupt", "corrupt_persistent", "columns", "config", "split", "test_split",
              "thinking", "bad_rows", "more")  # fmt: skip

    source: PathText = "mini"
    columns: ColumnsSpec | None = None
    config: PathText | None = None
    split: PathText = "train"
    test_split: PathText = "test"
    thinking: Literal["read", "cut"] | None = None
    bad_rows: Literal["refuse", "drop"] = "refuse"
    more: list[PathText] = []
    teachers: list[str] = []
    train: Positive | None = None
    dev: Positive | None = None
    test: Positive | None = None
    complete: bool = True
    test_source: PathText | None = None
    answer: Literal["number", "boolean", "choice"] | None = None
    mini: MiniSpec = Field(default_factory=MiniSpec)
    corrupt: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    corrupt_persistent: bool = False

    @model_validator(mode="after")
    def _no_repeats(self) -> DataSpec:
        refuse_repeats({"more": self.more})
        return self


class TrainingSpec(Strict):
    """The one training recipe of all rows; ``batch_size`` counts questions a micro-batch.

    ``budget``: what all rows have in common. ``steps``: optimizer steps over the same questions.
    ``flops``: the compute of reading every teacher's rationales in every epoch, what a method
    spends on selecting included; a row that reads fewer rationales trains longer.
    """

    _later = ("budget",)

    learning_rate: Rate
    epochs: Positive
    batch_size: Positive
    accumulate: Positive = 1
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    max_tokens: Positive = 2560
    max_flops: Annotated[float, Field(gt=0, le=1e30)] | None = None
    budget: Literal["steps", "flops"] = "steps"
    selected_on: str = ""

    @model_validator(mode="after")
    def _one_budget(self) -> TrainingSpec:
        if self.budget == "flops" and self.max_flops:
            raise ValueError("budget: flops computes what max_flops sets; give one of them")
        return self


class SelectionSpec(Strict):
    """The learning rate of every row, chosen among the same values on the dev split.

    ``seeds`` train the candidates, ``metric`` of ``items`` dev questions decides (None: all); of
    equal accuracies the lower marginal NLL, where it is measured.
    """

    learning_rates: Annotated[list[Rate], Field(min_length=2)]
    seeds: Seeds = [0]
    metric: DevMetric = "accuracy"
    items: Positive | None = None

    @model_validator(mode="after")
    def _no_repeats(self) -> SelectionSpec:
        refuse_repeats({"learning_rates": self.learning_rates, "seeds": self.seeds})
        return self


class TaskSpec(Strict):
    """One task that students are evaluated on before and after training."""

    task: FolderName
    role: Literal["reasoning", "forgetting"]
    limit: Positive | None = None
    source: PathText | None = None
    kind: Literal["generate", "choice", "lm_eval"] = "generate"
    chance: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ReportsSpec(Strict):
    """``metric`` of the dev questions at these shares of the training."""

    at: Annotated[list[Share], Field(min_length=1)]
    metric: DevMetric = "accuracy"


class EvaluationSpec(Strict):
    """The tasks, and how students are evaluated on them.

    ``select`` evaluates on dev instead of test; ``spare`` takes of the other tasks the questions
    after those that a report shows. ``majority`` also takes an answer from each of the
    marginal NLL's samples, and their majority. ``reports``: dev scores on the way, for a search.
    """

    _later = ("majority", "reports", "spare")

    tasks: Annotated[list[TaskSpec], Field(min_length=1)]
    batch_size: Positive = 16
    max_new_tokens: Positive = 128
    marginal_samples: Count = 32
    marginal_items: Positive | None = None
    select: bool = False
    spare: bool = False
    majority: bool = False
    reports: ReportsSpec | None = None


class EvidenceSpec(Strict):
    """What is recorded beside the answers, to say what was learned and what was forgotten.

    ``items``: of each task at every point of a curve. ``checkpoints``: shares of the training;
    ``scales``: shares of the change of the weights. ``relearn``: old examples that a trained
    student gets before it is asked the old tasks again. ``probes``: questions whose hidden states
    are kept, in equal parts of the tasks. 0 leaves the last two out.
    """

    items: Positive = 40
    checkpoints: list[Share] = [0.33, 0.67]
    scales: list[Share] = [0.33, 0.67]
    relearn: Count = 16
    probes: Count = 64


class TuneSpec(Strict):
    """How `tune` searches a row's settings, on the dev split alone.

    ``objective``: one or two; old_accuracy is of the forgetting tasks' questions that no report
    asks. ``seed``: of the sampler; ``seeds``: those that every trial trains, none of the suite's,
    which test the winner. ``learning_rates``: the grid of every row (none: ``selection``'s, else
    half, once and twice ``training.learning_rate``). ``items``: dev questions, and old ones of
    each task. ``reports``: shares of the training at which a trial may be pruned.
    ``space: {ROW: {SETTING: [LOW, HIGH]}}``: the only settings of a row or method that are
    searched; three values or more are a choice among them. ``grid``: values of each setting with a
    range, for the grid sampler. ``tokens``: training tokens that a row's trials may take in all.
    """

    trials: Positive = 40
    objective: Annotated[list[Objective], Field(min_length=1, max_length=2)] = ["accuracy"]
    sampler: Literal["tpe", "random", "grid", "nsga2"] = "tpe"
    pruner: Literal["median", "asha", "none"] | None = None
    seed: Seed = 0
    seeds: Seeds = [100]
    learning_rates: list[Rate] = []
    items: Positive = 500
    split: Literal["dev"] = "dev"
    reports: list[Share] = [0.33, 0.67]
    space: dict[str, dict[str, Annotated[list[float], Field(min_length=2)]]] = {}
    grid: Annotated[int, Field(ge=2, le=1000)] = 3
    tokens: Annotated[float, Field(gt=0, le=1e18)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> TuneSpec:
        names = ("objective", "seeds", "learning_rates", "reports")
        refuse_repeats({name: getattr(self, name) for name in names})
        if self.pruner is None:
            self.pruner = "median" if len(self.objective) == 1 and self.reports else "none"
        if self.pruner != "none" and len(self.objective) > 1:
            raise ValueError(f"pruner {self.pruner} needs one objective; with two it is none")
        if self.pruner != "none" and not self.reports:
            raise ValueError(f"pruner {self.pruner} needs reports during training")
        if self.objective[0] == "old_accuracy":
            raise ValueError("objective: the first is marginal_nll or accuracy")
        if self.sampler == "nsga2" and len(self.objective) == 1:
            raise ValueError("sampler nsga2 is for two objectives")
        for row, ranges in self.space.items():
            for name, values in ranges.items():
                if len(values) == 2 and values[0] >= values[1]:
                    problem = f"the range {values} is upside down or empty: write [LOW, HIGH]"
                    raise ValueError(f"space.{row}.{name}: {problem}")
        self.reports = sorted(self.reports)
        return self
