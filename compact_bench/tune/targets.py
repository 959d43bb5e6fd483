"""What is tuned: rows of a suite, each with its space, and the cells that a trial of one trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compact_bench.errors import UserError, nearest
from compact_bench.execution.plan import Options, read_data, threads_of
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

    def entry(self, label: str, found: Mapping[str, float], rate: float) -> dict[str, Any]:
        """The row as a suite lists it, with settings that were found and a learning rate."""
        more = {name: value for name, value in found.items() if name != LEARNING_RATE}
        own = {LABEL: label, RATE: found.get(LEARNING_RATE, rate)}
        return {self.method: {**self.settings, **more}, **own}


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
    from compact_bench.student.load import student_hash

    spec = suite.tune or TuneSpec()
    trial = trial_suite(suite, spec)
    try:
        identity = student_hash(suite.student)
    except UserError as error:
        raise UserError(f"{suite.where(('student', 'id'))}: {error}") from None
    (prepared, *_), (data, *_) = read_data(trial, options)
    if prepared.dev.empty:
        raise UserError(
            f"{suite.where(('data',))}: the dev split is empty: there is nothing to tune on"
        )
    jobs = options.jobs or suite.jobs or 1
    return Bench(
        suite,
        spec,
        trial,
        registry_module.load(options.plugins),
        prepared,
        data,
        identity,
        jobs,
        threads_of(jobs, available_cores()),
    )


def trial_suite(suite: Suite, spec: TuneSpec) -> Suite:
    """The suite with what a trial asks: the dev split, and old questions where they are wanted.

    Raises UserError where the suite can't be tuned.
    """
    where = suite.where(("tune",))
    if suite.conditions:
        raise UserError(f"{suite.where(('conditions',))}: a suite of one condition can be tuned")
    if suite.evaluation.select:
        raise UserError(f"{suite.where(('evaluation', 'select'))}: tune reads the dev split itself")
    asked = next((task for task in suite.evaluation.tasks if task.task == IN_DOMAIN), None)
    if asked is None:
        raise UserError(f"{where}: tune asks the dev split of the task in_domain, which is not set")
    if twice := set(suite.seeds) & set(spec.seeds):
        raise UserError(
            f"{suite.where(('seeds',))}: seed {min(twice)} is one of the search's own; what was "
            "searched with a seed can't be tested with it"
        )
    nll = "marginal_nll" in spec.objective
    if nll and asked.kind != "generate":
        raise UserError(f"{where}: in_domain of kind {asked.kind} has no marginal_nll: accuracy")
    if nll and not suite.evaluation.marginal_samples:
        raise UserError(f"{where}: marginal_nll needs evaluation.marginal_samples")
    tasks = [asked.model_copy(update={"limit": spec.items})]
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
    changed = {
        **{"seeds": spec.seeds, "compare_to": "", "ladder": [], "regret_to": ""},
        **{"ablation": None, "selection": None, "evidence": None, "tune": None},
        "evaluation": suite.evaluation.model_copy(update=evaluation),
    }
    found = suite.model_copy(update=changed)
    found._source = suite._source
    return found


def untrained(bench: Bench) -> list[str | dict[str, Any]]:
    """The suite's rows that train nothing: what is forgotten is measured against such a row."""
    found = []
    for row, entry in zip(bench.suite.rows(), bench.suite.methods, strict=False):
        method = bench.registry.methods.get(row.method)
        if method is not None and not method.seeded and not method.reads_data:
            found.append(entry)
    return found


def find(bench: Bench, names: Iterable[str]) -> list[Target]:
    """The rows of these labels or methods; a method that the suite doesn't list has no settings.

    Raises UserError for a name that is neither, that stands for several rows, or for a row that
    can't be tuned.
    """
    names = list(names)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{twice!r} is to be tuned twice")
    return [_target(bench, name) for name in names]


def ablated(bench: Bench) -> list[Target]:
    """The rows of the suite's ablation, whatever has settings to search."""
    ablation = bench.suite.ablation
    assert ablation is not None
    rows = bench.suite.rows()[len(bench.suite.methods) :]
    return [_target_of(bench, row, _only(bench, row, row.label)) for row in rows]


def _target(bench: Bench, name: str) -> Target:
    listed = bench.suite.rows()
    labelled = [row for row in listed if row.label == name]
    for row in labelled:
        return _target_of(bench, row, _only(bench, row, name))
    found = [
        (row, one)
        for row in listed
        if row.method in bench.registry.methods
        for one in _rows(bench, row)
        if name in (one.label, one.method.name)
    ]
    exact = [pair for pair in found if pair[1].label == name] or found
    if len(exact) > 1:
        labels = ", ".join(repr(one.label) for _, one in exact)
        raise UserError(f"{name!r} stands for {len(exact)} rows: name one of {labels}")
    if exact:
        return _target_of(bench, *exact[0])
    if name not in bench.registry.methods:
        known = [*dict.fromkeys(row.label or row.method for row in listed), *bench.registry.methods]
        raise UserError(
            f"no row or method {name!r} to tune{nearest(name, known)}; this suite has: "
            f"{', '.join(dict.fromkeys(row.label or row.method for row in listed))}"
        )
    row = MethodRow(name, {}, ("methods",))
    return _target_of(bench, row, _only(bench, row, name))


def _rows(bench: Bench, row: MethodRow) -> Sequence[ResolvedRow]:
    entry = {row.method: row.settings} | ({LABEL: row.label} if row.label else {})
    suite = bench.trial.model_copy(update={"methods": [entry]})
    return matrix.rows(suite, bench.registry, bench.data.teachers)


def _only(bench: Bench, row: MethodRow, name: str) -> ResolvedRow:
    found = _rows(bench, row)
    if len(found) != 1:
        labels = ", ".join(repr(one.label) for one in found)
        raise UserError(f"{name!r} stands for {len(found)} rows: name one of {labels}")
    return found[0]


def _target_of(bench: Bench, asked: MethodRow, row: ResolvedRow) -> Target:
    """Raises UserError where nothing is trained, or nothing is to be chosen."""
    method = row.method
    if not method.seeded:
        raise UserError(f"{row.label} trains nothing: there is nothing to tune")
    if row.config.get(matrix.WEIGHTS_FROM):
        raise UserError(f"{row.label} reads another row's weights: tune that row")
    plain = method.Config().model_dump(mode="json")
    fixed = {name: v for name, v in row.config.items()
             if name in asked.settings or v != plain.get(name)}  # fmt: skip
    config = method.Config.model_validate(row.config)
    ranges = bench.spec.space.get(row.label, bench.spec.space.get(method.name))
    where = bench.suite.where(("tune", "space", row.label if row.label in bench.spec.space
                               else method.name))  # fmt: skip
    rate = bench.suite.training.learning_rate
    try:
        space = make_space(config, fixed, ranges, bench.rates, rate)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if not space:
        raise UserError(
            f"{row.label} has nothing to tune: none of its settings is marked Tunable or left "
            "open, and there is one learning rate"
        )
    return Target(row.label, method.name, method.version, fixed, space)


def check_names(bench: Bench, targets: Sequence[Target]) -> None:
    """Raise UserError where tune.space names a row that nothing tunes."""
    known = {name for target in targets for name in (target.label, target.method)}
    known |= set(bench.registry.methods) | {row.label for row in bench.suite.rows()}
    for name in bench.spec.space:
        if name not in known:
            where = bench.suite.where(("tune", "space", name))
            raise UserError(f"{where}: tune.space names no row or method{nearest(name, known)}")
