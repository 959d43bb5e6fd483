"""The suite file as pydantic models: one YAML file for one question, with its profiles.

Shared keys stand at the top; ``profiles: {mini: {...}, laptop: {...}}`` is merged over them
(mappings merge, lists and scalars replace), then ``--set`` and the other options.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from compact_bench.errors import UserError
from compact_bench.suite_file import Location, Source, read_source, resolve, validated

DEFAULT_PROFILE = "mini"
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

Positive = Annotated[int, Field(ge=1)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Strict(BaseModel):
    """A part of a suite file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", validate_default=False, allow_inf_nan=False)


class LoraSpec(Strict):
    """Low-rank adapters: rank, alpha, dropout and the linear layers that get one."""

    r: Positive = 16
    alpha: Annotated[float, Field(gt=0)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Annotated[list[str], Field(min_length=1)] = PROJECTIONS


class StudentSpec(Strict):
    """The student: ``nano``, a hub id, a local folder or the path of a GGUF file."""

    id: Annotated[str, Field(min_length=1)] = "nano"
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    layout: Literal["auto", "padded", "shared"] = "auto"
    lora: LoraSpec | None = None
    chat: bool = False
    trust_remote_code: bool = False
    device: str = "auto"
    gradient_checkpointing: bool = False


class MiniSpec(Strict):
    """The generated problems: seed, correlation of the teachers' errors, kind of problem."""

    seed: int = 0
    correlation: Annotated[float, Field(ge=0, le=1)] = 0.0
    problem: str = ""  # "" = the suite's name


class DataSpec(Strict):
    """Questions and rationales: ``mini``, a name of the catalog, or a JSONL file.

    ``train``, ``dev`` and ``test`` keep the N questions of lowest hash; None keeps all.
    """

    source: Annotated[str, Field(min_length=1)] = "mini"
    teachers: list[str] = []
    train: Positive | None = None
    dev: Positive | None = None
    test: Positive | None = None
    complete: bool = True
    test_source: str | None = None
    answer: Literal["number", "boolean", "choice"] | None = None
    mini: MiniSpec = Field(default_factory=MiniSpec)


class TrainingSpec(Strict):
    """The one training recipe of all rows; ``batch_size`` counts questions a micro-batch."""

    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    epochs: Positive
    batch_size: Positive
    accumulate: Positive = 1
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: Annotated[float, Field(gt=0)] = 1.0
    max_tokens: Positive = 2560
    max_flops: Annotated[float, Field(gt=0)] | None = None
    selected_on: str = ""


class TaskSpec(Strict):
    """One task that students are asked before and after training."""

    task: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    role: Literal["reasoning", "forgetting"]
    limit: Positive | None = None
    source: str | None = None
    kind: Literal["generate", "choice", "lm_eval"] = "generate"
    chance: Annotated[float, Field(ge=0, lt=1)] = 0.0


class EvaluationSpec(Strict):
    """The tasks, and how students are asked; ``select`` reads dev instead of test."""

    tasks: Annotated[list[TaskSpec], Field(min_length=1)]
    batch_size: Positive = 16
    max_new_tokens: Positive = 128
    marginal_samples: Annotated[int, Field(ge=0)] = 4
    marginal_items: Positive | None = None
    select: bool = False


class Suite(Strict):
    """A suite file with one profile applied: everything that the cells are made from."""

    suite: FolderName
    title: str
    compare_to: str = ""  # the row that differences are taken to; "" = none
    profile: FolderName
    methods: Annotated[list[str | dict[str, dict[str, Any]]], Field(min_length=1)]
    seeds: Annotated[list[int], Field(min_length=1)]
    student: StudentSpec = Field(default_factory=StudentSpec)
    data: DataSpec = Field(default_factory=DataSpec)
    training: TrainingSpec
    evaluation: EvaluationSpec
    limit: Positive | None = None
    jobs: Positive | None = None
    notes: str = ""

    _source: Source = PrivateAttr(default_factory=lambda: Source("suite"))

    @model_validator(mode="after")
    def _complete(self) -> Suite:
        if not self.data.mini.problem:
            self.data.mini.problem = self.suite
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds holds a seed twice: {self.seeds}")
        names = [task.task for task in self.evaluation.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"evaluation.tasks names a task twice: {', '.join(names)}")
        if any(isinstance(row, dict) and len(row) != 1 for row in self.methods):
            raise ValueError("a method with settings is written '- NAME: {setting: value}'")
        return self

    def where(self, path: Location) -> str:
        """Return ``file:line`` of the key at ``path``, or the option that set it."""
        return self._source.where(path)

    def rows(self) -> list[tuple[str, dict[str, Any], Location]]:
        """Return the methods as (name, settings, place in the file)."""
        found: list[tuple[str, dict[str, Any], Location]] = []
        for index, row in enumerate(self.methods):
            name, config = (row, {}) if isinstance(row, str) else next(iter(row.items()))
            found.append((name, config, ("methods", index)))
        return found


def load_suite(
    path: str | Path,
    profile: str | None = None,
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Suite:
    """Read a suite file, apply a profile, ``KEY=VALUE`` overrides and options, and check it.

    ``options`` holds values of top keys that have a command-line option of their own, such as
    ``{"limit": 8}``; None stands for an option that was not given. Raises UserError with file,
    line and the nearest known key where the file is wrong.
    """
    source = read_source(Path(path))
    data = resolve(source, profile or DEFAULT_PROFILE, list(overrides))
    for key, value in (options or {}).items():
        if value is not None:
            data[key] = value
            source.options[(key,)] = f"--{key} {value}"
    suite = validated(Suite, data, source)
    suite._source = source
    for key in ("source", "test_source"):
        setattr(suite.data, key, _beside(getattr(suite.data, key), Path(path)))
    return suite


def parse_seeds(text: str) -> list[int]:
    """Read seeds as numbers and ranges.

    >>> parse_seeds("0,2-4")
    [0, 2, 3, 4]

    Raises UserError for anything else.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdigit() and (last.isdigit() if dash else True)):
            raise UserError(f"--seeds {text}: write numbers and ranges, for example 0,1,2 or 0-2")
        seeds.extend(range(int(first), int(last or first) + 1))
    return seeds


def profiles(path: str | Path) -> list[str]:
    """Return the names of a suite file's profiles, in its order."""
    return read_source(Path(path)).profiles()


def _beside(name: str | None, suite_file: Path) -> str | None:
    """A JSONL file may be named relative to the suite file as well as to this folder."""
    if name and name.endswith(".jsonl") and not Path(name).exists():
        candidate = suite_file.parent / name
        return str(candidate) if candidate.exists() else name
    return name
