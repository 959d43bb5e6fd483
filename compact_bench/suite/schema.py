"""The suite file as pydantic models: one YAML file for one question, with its profiles.

Shared keys stand at the top; ``profiles: {mini: {...}, laptop: {...}}`` is merged over them
(mappings merge, lists and scalars replace), then ``--set`` and the other options.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, Field, PrivateAttr, model_validator

from compact_bench.errors import UserError, quoted, shortened
from compact_bench.suite.sections import (
    DATA_SUFFIXES,
    AblationSpec,
    ConditionSpec,
    DataSpec,
    EvaluationSpec,
    EvidenceSpec,
    FolderName,
    Jobs,
    Positive,
    Seeds,
    SelectionSpec,
    Strict,
    StudentSpec,
    TaskSpec,
    TrainingSpec,
    TuneSpec,
    refuse_repeats,
)
from compact_bench.suite.source import (
    Location,
    SuiteSource,
    check_values,
    merge,
    read_source,
    resolve,
    validated,
)
from compact_bench.utils.files import is_file

Model = TypeVar("Model", bound=BaseModel)
DEFAULT_PROFILE = "mini"
LABEL, RATE = "label", "learning_rate"
ROW_KEYS = {LABEL, RATE}  # what may stand beside a method's name and settings
MOST_SEEDS = 10_000
IN_DOMAIN = "in_domain"  # the task that asks the questions of the training data's own kind


class MethodRow(NamedTuple):
    """One row of a suite: a method, its settings, its place in the file, its label.

    rate: its own learning rate, or None for the one of `training`.
    """

    method: str
    settings: dict[str, Any]
    place: Location
    label: str = ""  # "" = the method says
    rate: float | None = None


class Suite(Strict):
    """A suite file with one profile applied: everything that the cells are made from.

    ``ladder`` names rows from the plainest to the fullest: neighbours are compared. ``regret_to``
    names the row that knows the truth, ``without_faults`` the one whose teachers make no faults.
    ``axis`` is what the conditions' ``x`` counts.
    ``selection`` chooses each row's learning rate; without it all have the one of ``training``.
    ``evidence`` says what is recorded beside the answers, ``tune`` how settings are searched.
    """

    _later = ("ablation", "conditions", "axis", "ladder", "regret_to", "without_faults",
              "selection", "evidence", "tune")  # fmt: skip

    suite: FolderName
    title: str
    compare_to: str = ""  # the row that differences are taken to; "" = none
    profile: FolderName
    methods: Annotated[list[str | dict[str, Any]], Field(min_length=1)]
    ablation: AblationSpec | None = None
    conditions: list[ConditionSpec] = Field(default_factory=list)
    axis: str = ""
    ladder: list[str] = Field(default_factory=list)
    regret_to: str = ""
    without_faults: str = ""
    selection: SelectionSpec | None = None
    evidence: EvidenceSpec | None = None
    tune: TuneSpec | None = None
    seeds: Seeds
    student: StudentSpec = Field(default_factory=StudentSpec)
    data: DataSpec = Field(default_factory=DataSpec)
    training: TrainingSpec
    evaluation: EvaluationSpec
    limit: Positive | None = None
    jobs: Jobs | None = None
    notes: str = ""

    _source: SuiteSource = PrivateAttr(default_factory=lambda: SuiteSource("suite"))
    _tuned: dict[str, tuple[dict[str, float], float]] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Suite:
        if not self.data.mini.problem:
            self.data.mini.problem = self.suite
        tasks = [task.task for task in self.evaluation.tasks]
        conditions = [condition.name for condition in self.conditions]
        refuse_repeats({"seeds": self.seeds, "evaluation.tasks": tasks, "conditions": conditions})
        for row in (*self.methods, *([self.ablation.of] if self.ablation else [])):
            _check_row(row)
        if self.selection is not None:
            self._check_selection(self.selection)
        return self

    def _check_selection(self, spec: SelectionSpec) -> None:
        if self.training.learning_rate not in spec.learning_rates:
            raise ValueError(
                f"training.learning_rate {self.training.learning_rate:g} is none of "
                f"selection.learning_rates: {spec.learning_rates}"
            )
        task = self.in_domain
        if task is None:
            raise ValueError("selection asks the dev split of the task in_domain, which is not set")
        if self.evaluation.select:
            raise ValueError("evaluation.select reads the dev split, which selection needs itself")
        if any(isinstance(row, dict) and RATE in row for row in self.methods):
            raise ValueError("selection chooses every row's learning rate; a row has its own")
        if self.ablation is not None and self.ablation.tuned:
            raise ValueError("selection and ablation.tuned both choose learning rates; keep one")
        if spec.metric == "marginal_nll":
            if not self.evaluation.marginal_samples:
                raise ValueError("selection.metric marginal_nll needs evaluation.marginal_samples")
            if task.kind != "generate":
                raise ValueError(
                    f"in_domain of kind {task.kind} has no marginal_nll: selection.metric accuracy"
                )

    @property
    def in_domain(self) -> TaskSpec | None:
        """The task that asks questions of the training data's own kind; None where none does."""
        return next((task for task in self.evaluation.tasks if task.task == IN_DOMAIN), None)

    def where(self, path: Location) -> str:
        """Return ``file:line`` of the key at ``path``, or the option that set it."""
        return self._source.where(path)

    def validated(
        self, model: type[Model], data: dict[str, Any], place: Location, owner: str
    ) -> Model:
        """Build a model of what stands at ``place``; UserError names the line of what is wrong."""
        return validated(model, data, self._source, place, owner)

    def rows(self) -> list[MethodRow]:
        """Return the rows of methods, those of the ablation last."""
        listed = [_row(row, ("methods", index)) for index, row in enumerate(self.methods)]
        if self.ablation is None:
            return listed
        base = _row(self.ablation.of, ("ablation", "of"))
        base = base._replace(label=base.label or base.method)
        ablated = [base]
        for label, changes in self.ablation.changes.items():
            place, settings = ("ablation", "changes", label), {**base.settings, **changes}
            ablated.append(base._replace(settings=settings, place=place, label=label))
        for row in ablated:
            settings, rate = self._tuned.get(row.label, ({}, row.rate))
            listed.append(row._replace(settings={**row.settings, **settings}, rate=rate))
        return listed

    def with_tuned(self, tuned: Mapping[str, tuple[dict[str, float], float]]) -> Suite:
        """The suite with settings and learning rates that were searched for rows of its ablation,
        by label."""
        suite = self.model_copy()
        suite._tuned = dict(tuned)
        return suite

    def trying(self, rate: float) -> Suite:
        """Return the suite that tries a learning rate: trained alike, evaluated on dev."""
        spec, task = self.selection, self.in_domain
        if spec is None or task is None:
            raise ValueError("this suite selects nothing")
        tasks = [task.model_copy(update={"limit": spec.items})]
        evaluation = {"select": True, "tasks": tasks, "marginal_items": spec.items}
        changed = {
            "seeds": spec.seeds,
            "training": self.training.model_copy(update={"learning_rate": rate}),
            "evaluation": self.evaluation.model_copy(update=evaluation),
            "selection": None,
            "evidence": None,
        }
        return self.model_copy(update=changed)

    def under(self, condition: ConditionSpec | None) -> Suite:
        """Return the suite with a condition's data. Raises UserError for a key that isn't one."""
        if condition is None:
            return self
        place = ("conditions", self.conditions.index(condition), "data")
        data = merge(self.data.model_dump(), condition.data)
        return self.model_copy(update={"data": self.validated(DataSpec, data, place, "data")})


def _check_row(row: str | dict[str, Any]) -> None:
    """Raise ValueError unless a row is a name, or one name with settings and what may be beside."""
    if isinstance(row, str):
        return
    names = [key for key in row if key not in ROW_KEYS]
    if len(names) != 1 or not isinstance(row[names[0]] or {}, dict):
        raise ValueError(
            "a method with settings is written '- NAME: {setting: value}', with 'label: TEXT' "
            "below NAME where the row is to be called something else, and 'learning_rate: X' "
            "where it has its own"
        )
    if LABEL in row and not (isinstance(row[LABEL], str) and row[LABEL].strip()):
        raise ValueError(f"label of a row is a text, got {quoted(row[LABEL])}")
    rate = row.get(RATE)
    if rate is not None and (
        isinstance(rate, bool) or not (isinstance(rate, float | int) and 0 < rate < math.inf)
    ):
        raise ValueError(f"learning_rate of a row is a number above 0, got {quoted(rate)}")


def _row(row: str | dict[str, Any], place: Location) -> MethodRow:
    if isinstance(row, str):
        return MethodRow(row, {}, (*place, row))
    name = next(key for key in row if key not in ROW_KEYS)
    label, rate = str(row.get(LABEL, "")), row.get(RATE)
    return MethodRow(name, row[name] or {}, (*place, name), label, rate)


def load_suite(
    suite: str | Path | Mapping[str, Any],
    profile: str | None = None,
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Suite:
    """Read a suite file (or its values), apply a profile, overrides and options, and check it.

    ``options`` holds values of top keys that have a command-line option of their own, such as
    ``{"limit": 8}``; None stands for an option that was not given. Raises UserError with file,
    line and the nearest known key where the file is wrong.
    """
    path = Path() if isinstance(suite, Mapping) else Path(suite)
    source = SuiteSource("suite", {**suite}) if isinstance(suite, Mapping) else read_source(path)
    check_values(source.data, source)
    data = resolve(source, profile or DEFAULT_PROFILE, list(overrides))
    for key, value in (options or {}).items():
        if value is not None:
            data[key] = value
            source.options[(key,)] = f"--{key} {value}"
    checked = validated(Suite, data, source)
    checked._source = source
    for key in ("source", "test_source"):
        setattr(checked.data, key, _beside(getattr(checked.data, key), path))
    checked.data.more = [str(_beside(name, path)) for name in checked.data.more]
    return checked


def parse_seeds(text: str) -> list[int]:
    """Read seeds as numbers and ranges.

    >>> parse_seeds("0,2-4")
    [0, 2, 3, 4]

    Raises UserError for anything else.
    """
    option = f"--seeds {shortened(text)}" if text else "--seeds ''"
    seeds: list[int] = []
    for part in text.split(","):
        # ASCII digits, few of them: int refuses some that `str.isdigit` accepts, and very many.
        match = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", part.strip())
        if match is None:
            raise UserError(f"{option}: write numbers and ranges, for example 0,1,2 or 0-2")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"{option}: {part.strip()} counts down; write {last}-{first}")
        if len(seeds) + last - first >= MOST_SEEDS:
            raise UserError(f"{option}: more than {MOST_SEEDS:,} seeds")
        seeds.extend(range(first, last + 1))
    return seeds


def suite_path(file: Path) -> Path:
    """``gsm8k`` stands for ``suites/gsm8k.yaml``."""
    named = Path("suites") / f"{file}.yaml"
    return named if not is_file(file) and not file.suffix and is_file(named) else file


def profiles(path: str | Path) -> list[str]:
    """Return the names of a suite file's profiles, in its order."""
    return read_source(Path(path)).profiles()


def _beside(name: str | None, suite_file: Path) -> str | None:
    """A file may be named relative to the suite file as well as to this folder, and from a home."""
    if not name or (not name.startswith("~") and is_file(Path(name))):
        return name
    if name.startswith("~"):
        try:
            return str(Path(name).expanduser())
        except RuntimeError as error:
            raise UserError(f"{name}: there is no such user's folder") from error
    candidate = suite_file.parent / name
    return str(candidate) if name.endswith(DATA_SUFFIXES) and is_file(candidate) else name
