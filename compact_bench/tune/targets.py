"""The rows of a suite that are tuned, each with its space, and the cells that its trials train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compact_bench.errors import UserError, nearest
from compact_bench.execution.plan import Options, read_data, student_identity, threads_of
from compact_bench.methods import registry as registry_module
from compact_bench.suite import matrix
from compact_bench.suite.matrix import Data, ResolvedRow, RunSpec
from compact_bench.suite.schema import IN_DOMAIN, LABEL, RATE, MethodRow, Suite
from compact_bench.suite.sections import DevMetric, ReportsSpec, TuneSpec
from compact_bench.tune.space import Space, make_space
from compact_bench.tune.trials import LEARNING_RATE, OLD_ACCURACY
from compact_bench.utils.processes import available_cores

if TYPE_CHECKING:
    from compact_bench.data.tasks import Prepared

TIMES = (0.5, 1.0, 2.0)  # the suite's learning rate, where no grid is given


@dataclass(frozen=True)
class Target:
    """One row to be tuned. settings: those that the suite sets, which are not searched."""

    label: str
    method: str
    version: int
    settings: dict[str, Any]
    space: Space

    def entry(self, label: str, chosen: Mapping[str, float], rate: float) -> dict[str, Any]:
        """The row as a suite lists it, with settings that were chosen; rate: where none was."""
        settings = {name: value for name, value in chosen.items() if name != LEARNING_RATE}
        rate = chosen.get(LEARNING_RATE, rate)
        return {self.method: {**self.settings, **settings}, LABEL: label, RATE: rate}


@dataclass(frozen=True)
class Bench:
    """All that trials have in common: the suite, its data, the student, threads."""

    suite: Suite
    spec: TuneSpec
    trial: Suite  # the suite that one trial is run by, but for its row
    registry: registry_module.Registry
    prepared: Prepared
    data: Data
    student: str
    jobs: int
    threads: int

    def cells(self, target: Target, settings: Mapping[str, float]) -> list[RunSpec]:
        """The cells of a trial, one a seed."""
        row = target.entry(target.label, settings, self.suite.training.learning_rate)
        suite = self.trial.model_copy(update={"methods": [row]})
        return list(matrix.cells(suite, self.registry, [self.data], self.student, self.threads))

    def meaning(self, target: Target) -> dict[str, Any]:
        """All that decides what the values of a target's trials mean."""
        cell = self.cells(target, {})[0]
        method = {"name": target.method, "version": target.version, "settings": target.settings}
        search = {"trials", "tokens", "space", "split"}  # which leave it as it is
        return {
            "engine": matrix.ENGINE_VERSION,
            "method": method,
            "space": {one.name: asdict(one) for one in target.space},
            "search": self.spec.model_dump(mode="json", exclude=search),
            "student": {**cell.student, "id": Path(cell.student["id"]).name, "hash": self.student},
            "data": {"hash": self.data.fingerprint},
            "training": self.trial.training.model_dump(mode="json", exclude={"selected_on"}),
            "evaluation": cell.evaluation,
            "limit": self.suite.limit,
        }

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """The grid of learning rates, the same for every row."""
        own, selection = self.spec.learning_rates, self.suite.selection
        if own:
            return tuple(own)
        if selection is not None:
            return tuple(selection.learning_rates)
        return tuple(self.suite.training.learning_rate * times for times in TIMES)


def make_bench(suite: Suite, options: Options) -> Bench:
    """Read data and student. Raises UserError for whatever can't be tuned on."""
    spec = suite.tune or TuneSpec()
    trial = trial_suite(suite, spec)
    student = student_identity(suite)
    (prepared, *_), (data, *_) = read_data(trial, options)
    if prepared.dev.empty:
        where = suite.where(("data",))
        raise UserError(f"{where}: the dev split is empty: there is nothing to tune on")
    jobs = options.jobs or suite.jobs or 1
    threads = threads_of(jobs, available_cores())
    registry = registry_module.load(options.plugins)
    return Bench(suite, spec, trial, registry, prepared, data, student, jobs, threads)


def trial_suite(suite: Suite, spec: TuneSpec) -> Suite:
    """The suite with what a trial asks: the dev split, and old questions where they are wanted.

    Raises UserError where the suite can't be tuned.
    """
    where = suite.where(("tune",))
    if suite.conditions:
        raise UserError(f"{suite.where(('conditions',))}: a suite of one condition can be tuned")
    if suite.evaluation.select:
        where = suite.where(("evaluation", "select"))
        raise UserError(f"{where}: tune reads the dev split itself")
    in_domain = next((task for task in suite.evaluation.tasks if task.task == IN_DOMAIN), None)
    if in_domain is None:
        raise UserError(f"{where}: tune asks the dev split of the task in_domain, which is not set")
    if twice := set(suite.seeds) & set(spec.seeds):
        raise UserError(
            f"{suite.where(('seeds',))}: seed {min(twice)} is one of the search's own; what was "
            "searched with a seed can't be tested with it"
        )
    nll = "marginal_nll" in spec.objective
    if nll and in_domain.kind != "generate":
        raise UserError(
            f"{where}: in_domain of kind {in_domain.kind} has no marginal_nll: accuracy"
        )
    if nll and not suite.evaluation.marginal_samples:
        raise UserError(f"{where}: marginal_nll needs evaluation.marginal_samples")
    tasks = [in_domain.model_copy(update={"limit": spec.items})]
    if OLD_ACCURACY in spec.objective:
        old = [task for task in suite.evaluation.tasks if task.role == "forgetting"]
        if not old or any(task.kind == "lm_eval" for task in old):
            raise UserError(f"{where}: old_accuracy needs forgetting tasks, and none of lm-eval's")
        tasks += old
    metric: DevMetric = "marginal_nll" if spec.objective[0] == "marginal_nll" else "accuracy"
    evaluation = {
        "select": True,
        "spare": True,
        "tasks": tasks,
        "marginal_items": spec.items,
        "marginal_samples": suite.evaluation.marginal_samples if nll else 0,
        "majority": False,
        "reports": None if spec.pruner == "none" else ReportsSpec(at=spec.reports, metric=metric),
    }
    changes = {
        **{"seeds": spec.seeds, "compare_to": "", "ladder": []},
        **{"regret_to": "", "without_faults": ""},
        **{"ablation": None, "selection": None, "evidence": None, "tune": None},
        "evaluation": suite.evaluation.model_copy(update=evaluation),
    }
    trial = suite.model_copy(update=changes)
    trial._source = suite._source
    return trial


def untrained(bench: Bench) -> list[str | dict[str, Any]]:
    """The suite's rows that train nothing: what is forgotten is measured against such a row."""
    methods = bench.registry.methods
    return [
        entry
        for row, entry in zip(bench.suite.rows(), bench.suite.methods, strict=False)
        if (method := methods.get(row.method)) and not method.seeded and not method.reads_data
    ]


def find(bench: Bench, names: Iterable[str]) -> list[Target]:
    """The rows of these labels or methods; a method that the suite doesn't list has no settings.

    Raises UserError for a name that is neither, that stands for several rows, or for a row that
    can't be tuned.
    """
    names = list(names)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{twice!r} is to be tuned twice")
    return [_target(bench, *_find(bench, name)) for name in names]


def _find(bench: Bench, name: str) -> tuple[MethodRow, ResolvedRow]:
    """The row of this name as it is listed, or else of this method, and as it is resolved."""
    listed, methods = bench.suite.rows(), bench.registry.methods
    own = MethodRow(name, {}, ("methods",))
    pairs = [pair for row in listed if row.method in methods for pair in _resolved(bench, row)]
    found = (
        [pair for pair in pairs if pair[0].label == name]
        or [pair for pair in pairs if pair[1].label == name]
        or [pair for pair in pairs if pair[1].method.name == name]
        or (_resolved(bench, own) if name in methods else [])
    )
    if not found:
        labels = list(dict.fromkeys(row.label or row.method for row in listed))
        raise UserError(
            f"no row or method {name!r} to tune{nearest(name, [*labels, *methods])}; "
            f"this suite has: {', '.join(labels)}"
        )
    if len(found) > 1:
        labels = [repr(row.label) for _, row in found]
        raise UserError(f"{name!r} stands for {len(found)} rows: name one of {', '.join(labels)}")
    return found[0]


def _resolved(bench: Bench, row: MethodRow) -> list[tuple[MethodRow, ResolvedRow]]:
    entry = {row.method: row.settings} | ({LABEL: row.label} if row.label else {})
    suite = bench.trial.model_copy(update={"methods": [entry]})
    return [(row, one) for one in matrix.rows(suite, bench.registry, bench.data.teachers)]


def _target(bench: Bench, listed: MethodRow, row: ResolvedRow) -> Target:
    """Raises UserError where nothing is trained, or nothing is to be chosen."""
    method = row.method
    if not method.seeded:
        raise UserError(f"{row.label} trains nothing: there is nothing to tune")
    if row.config.get(matrix.WEIGHTS_FROM):
        raise UserError(f"{row.label} reads another row's weights: tune that row")
    plain = method.Config().model_dump(mode="json")
    fixed = {
        name: value
        for name, value in row.config.items()
        if name in listed.settings or value != plain.get(name)
    }
    config = method.Config.model_validate(row.config)
    key = row.label if row.label in bench.spec.space else method.name
    rate = bench.suite.training.learning_rate
    try:
        space = make_space(config, fixed, bench.spec.space.get(key), bench.rates, rate)
    except UserError as error:
        raise UserError(f"{bench.suite.where(('tune', 'space', key))}: {error}") from None
    if not space:
        raise UserError(
            f"{row.label} has nothing to tune: none of its settings is marked Tunable or left "
            "open, and there is one learning rate"
        )
    return Target(row.label, method.name, method.version, fixed, space)


def check_names(bench: Bench, targets: Sequence[Target]) -> None:
    """Raise UserError where tune.space names a row that nothing tunes."""
    names = {name for target in targets for name in (target.label, target.method)}
    names |= set(bench.registry.methods) | {row.label for row in bench.suite.rows()}
    if unknown := next((name for name in bench.spec.space if name not in names), None):
        where = bench.suite.where(("tune", "space", unknown))
        raise UserError(f"{where}: tune.space names no row or method{nearest(unknown, names)}")
