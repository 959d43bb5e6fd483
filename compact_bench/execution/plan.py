"""What a run would do: its cells, which of them are done, and what the rest will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compact_bench.errors import UserError, nearest
from compact_bench.methods import registry as registry_module
from compact_bench.records import learning_rates
from compact_bench.records.cells import read_cell, status_of
from compact_bench.records.learning_rates import Key
from compact_bench.suite.matrix import Data, RunSpec, cells, rows
from compact_bench.suite.schema import Suite
from compact_bench.utils.processes import available_cores

if TYPE_CHECKING:
    from compact_bench.data.rationales import RationaleBank
    from compact_bench.data.tasks import Prepared
    from compact_bench.suite.sections import ConditionSpec

# Beyond this a small student gets slower, not faster; more cores are for more jobs.
MOST_THREADS = 8

KEPT = ("done", "skipped", "diverged")

WAITING = "waiting"  # for its learning rate

Rates = dict[Key, float]


@dataclass(frozen=True)
class Options:
    """The options that decide where a run reads and writes and which cells it takes."""

    results: Path = Path("results")
    mirror: Path | None = None
    plugins: tuple[Path, ...] = ()
    only: tuple[str, ...] = ()
    jobs: int | None = None
    retry: bool = False

    def request(self, spec: RunSpec, folder: Path) -> dict[str, Any]:
        """What a worker is told to train a cell whose records go to `folder`, see worker.py."""
        return {
            "do": "cell",
            "spec": spec.to_json(),
            "folder": str(folder),
            "mirror": str(self.mirror) if self.mirror else None,
            "plugins": [str(one) for one in self.plugins],
        }


@dataclass(frozen=True)
class Plan:
    """A resolved suite: its data, its cells in table order, and where they go.

    ``tries`` are the cells that choose learning rates on the dev split; ``waiting`` the run ids of
    cells whose learning rate is not chosen yet: they have the suite's until then.
    """

    suite: Suite
    root: Path
    all_prepared: tuple[Prepared, ...]  # one for each condition
    cells: tuple[RunSpec, ...]
    selected: tuple[RunSpec, ...]
    jobs: int
    threads: int
    gold: dict[str, bool] = field(default_factory=dict)  # by row
    tries: tuple[RunSpec, ...] = ()
    waiting: frozenset[str] = frozenset()

    @property
    def prepared(self) -> Prepared:
        """The data of the first condition, or the only ones."""
        return self.all_prepared[0]

    @property
    def banks(self) -> dict[str, RationaleBank]:
        """The training rationales by condition; ``""`` where the suite has none."""
        names = [one.name for one in self.suite.conditions] or [""]
        return {n: one.train for n, one in zip(names, self.all_prepared, strict=True)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the captions must say of the data; of many conditions, what all have in common."""
        first, *others = (one.notes for one in self.all_prepared)
        return tuple(note for note in first if all(note in other for other in others))

    def folder(self, spec: RunSpec) -> Path:
        """Return the folder of a cell's records."""
        return self.root / "runs" / spec.run_id

    @property
    def tried_ids(self) -> set[str]:
        """Run ids of the cells that choose learning rates."""
        return {spec.run_id for spec in self.tries}

    def status(self, spec: RunSpec) -> str:
        """Say how a cell stands: one of records.STATES, or that it waits for its learning rate."""
        return WAITING if spec.run_id in self.waiting else status_of(self.folder(spec))

    def pending(self, retry: bool = False) -> list[RunSpec]:
        """Return the selected cells that a run would do, one seed after the other.

        Done and skipped cells are kept; failed ones are tried again; diverged ones would
        diverge again, so they are kept unless ``retry``.
        """
        kept = KEPT[:2] if retry else KEPT
        # Conditions of unlike names may come to the same data, and so to the same cell.
        once = {spec.run_id: spec for spec in reversed(self.selected)}.values()
        left = [spec for spec in once if self.status(spec) not in (*kept, WAITING)]
        # Seed by seed, so that an interrupted run leaves a whole table of the first seeds.
        seeds = [None, *self.suite.seeds]
        every = [*self.tries, *self.cells]
        places = {spec.run_id: place for place, spec in reversed(list(enumerate(every)))}
        return sorted(
            left,
            key=lambda spec: (
                (0, 0, places[spec.run_id])
                if spec.asks_dev and self.tries
                else (1, seeds.index(spec.seed), places[spec.run_id])
            ),
        )


def suite_folder(suite: Suite, results: Path) -> Path:
    """Return where a suite's output lies: ``RESULTS/SUITE/PROFILE``."""
    return results / suite.suite / suite.profile


def make_plan(suite: Suite, options: Options) -> Plan:
    """Read the data and lay out the cells; nothing is written or trained.

    Rows of an ablation that wait for a search, see ``Suite.with_tuned``, have no cells to do.
    Raises UserError for anything in the suite that can't work: an unknown method, teacher or
    data set, a student that is not there, a test question in the training set.
    """
    from compact_bench.student.load import student_hash

    root = suite_folder(suite, options.results)
    registry = registry_module.load(options.plugins)
    for name, _, place, *_ in suite.rows():
        registry.get(name, where=suite.where(place))
    try:
        identity = student_hash(suite.student)
    except UserError as error:
        raise UserError(f"{suite.where(('student', 'id'))}: {error}") from None
    jobs = options.jobs or suite.jobs or 1
    threads = threads_of(jobs, available_cores())
    all_prepared, data = read_data(suite, options)

    tries = _tries(suite, options, registry, identity, threads)
    chosen = _chosen_rates(suite, tries, root)
    every = cells(suite, registry, data, identity, threads, chosen)
    undecided = {(spec.label, spec.condition) for spec in tries} - set(chosen)
    undecided |= {(s.label, s.condition) for s in every if s.label in _untuned(suite)}
    waiting = _with_dependents(every, undecided)
    laid_out = rows(suite, registry, all_prepared[0].train.teachers)
    gold = {r.label: r.method(r.method.Config.model_validate(r.config)).uses_gold for r in laid_out}
    return Plan(
        suite=suite,
        root=root,
        all_prepared=all_prepared,
        cells=every,
        selected=select([*tries, *every], options.only),
        jobs=jobs,
        threads=threads,
        gold=gold,
        tries=tuple(tries),
        waiting=frozenset(waiting),
    )


def _untuned(suite: Suite) -> set[str]:
    """Labels of ablation rows whose search is not over."""
    if suite.ablation is None or not suite.ablation.tuned:
        return set()
    return {row.label for row in suite.rows()[len(suite.methods) :]} - set(suite._tuned)


def _tries(
    suite: Suite, options: Options, registry: registry_module.Registry, student: str, threads: int
) -> list[RunSpec]:
    """The cells that choose learning rates: of every row but those that have another's.

    A row that reads another's weights has that one's rate, so that nothing else differs.
    Raises UserError where there is no dev question to choose by.
    """
    if suite.selection is None:
        return []
    trials = [suite.trying(rate) for rate in suite.selection.learning_rates]
    prepared, data = read_data(trials[0], options)  # the same for every learning rate
    if any(one.dev.empty for one in prepared):
        raise UserError(f"{suite.where(('selection',))}: there is no dev question to choose by")
    found = [spec for one in trials for spec in cells(one, registry, data, student, threads)]
    return [spec for spec in found if spec.seed is not None and not spec.after]


def read_data(suite: Suite, options: Options) -> tuple[tuple[Prepared, ...], list[Data]]:
    """Read the data of every condition."""
    from compact_bench.execution.prepare import prepare

    conditions: list[ConditionSpec | None] = [*suite.conditions] or [None]
    suites = [suite.under(condition) for condition in conditions]
    all_prepared = tuple(prepare(one, options.mirror) for one in suites)
    data = [
        Data(
            one.data.model_dump(mode="json"),
            prepared.fingerprint,
            prepared.train.teachers,
            condition.name if condition else "",
            condition.rows if condition else (),
        )
        for one, prepared, condition in zip(suites, all_prepared, conditions, strict=True)
    ]
    return all_prepared, data


def _chosen_rates(suite: Suite, tries: Sequence[RunSpec], root: Path) -> Rates:
    """The learning rates that are chosen already, by row and condition."""
    if suite.selection is None:
        return {}
    found = learning_rates.tried(
        map(tried_entry, tries), lambda run_id: read_cell(root / "runs" / run_id)
    )
    return learning_rates.rates(found, suite.selection.metric, suite.training.learning_rate)


def tried_entry(spec: RunSpec) -> dict[str, Any]:
    """What suite.json says of a cell that tries a learning rate."""
    where = {"condition": spec.condition} if spec.condition else {}
    found = {"run_id": spec.run_id, "label": spec.label, "seed": spec.seed}
    return found | where | {"learning_rate": spec.training["learning_rate"]}


def _with_dependents(found: Sequence[RunSpec], undecided: set[Key]) -> set[str]:
    """The run ids of undecided rows, and of those that read the weights of one of them."""
    waiting = {s.run_id for s in found if (s.label, s.condition) in undecided}
    while more := {s.run_id for s in found if s.after in waiting} - waiting:
        waiting |= more
    return waiting


def threads_of(jobs: int, cores: int) -> int:
    """Threads of each of so many cells at the same time."""
    return max(1, min(MOST_THREADS, cores // jobs))


def select(found: Sequence[RunSpec], only: Sequence[str]) -> tuple[RunSpec, ...]:
    """Keep the cells whose row or method is named; no name keeps all.

    Raises UserError for a name that is no row's.
    """
    known = dict.fromkeys([spec.label for spec in found] + [spec.method for spec in found])
    for name in only:
        if name not in known:
            allowed = ", ".join(known)
            raise UserError(f"--only {name}: no such row{nearest(name, known)}; it has: {allowed}")
    chosen = [s for s in found if not only or s.label in only or s.method in only]
    # A cell that reads another's weights can't do without it.
    wanted = {spec.run_id for spec in chosen}
    after = {spec.run_id: spec.after for spec in found if spec.after}
    while more := {after[run_id] for run_id in wanted & set(after)} - wanted:
        wanted |= more
    return tuple(spec for spec in found if spec.run_id in wanted)
