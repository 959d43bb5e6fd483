"""What a run would do: its cells, which of them are done, and what the rest will take."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compact_bench.errors import UserError, nearest
from compact_bench.execution.checks import check_tasks, readable_characters, too_long
from compact_bench.methods import registry as registry_module
from compact_bench.records import learning_rates
from compact_bench.records.cells import Cell, CellWriter, cell_reader
from compact_bench.records.learning_rates import Key
from compact_bench.suite.matrix import Data, RunSpec, cells, rows, weights_source
from compact_bench.suite.schema import Suite
from compact_bench.utils import files
from compact_bench.utils.processes import available_cores

if TYPE_CHECKING:
    from compact_bench.data.rationales import RationaleBank
    from compact_bench.data.tasks import Prepared
    from compact_bench.suite.sections import ConditionSpec

# Beyond this a small student gets slower, not faster; more cores are for more jobs.
MOST_THREADS = 8

ENDED_WELL = ("done", "skipped")

WAITING = "waiting"  # for its learning rate

STALL_MINUTES = 120.0  # of a large student a step takes seconds, and the longest phases minutes

COSTS = ("seconds", "flops", "tokens")

CHARACTERS_A_TOKEN = 4

# Measured: nano and SmolLM2-135M both train at about 1e11 FLOP/s on two cores.
FLOPS_A_SECOND_AND_THREAD = 5e10


@dataclass(frozen=True)
class Options:
    """The options that decide where a run reads and writes, which cells it takes, and how long.

    cell_minutes: a cell that takes longer is ended; stall_minutes: one without an event for so
    long. trust_remote_code: whether a suite may have code of a model hub run. threads: of a cell,
    if not this machine's cores shared out to the jobs. shard: "2/3" for the second of three parts.
    executor: one of executors.EXECUTORS; resources: KEY=VALUE of its jobs.
    """

    results: Path = Path("results")
    mirror: Path | None = None
    plugins: tuple[Path, ...] = ()
    only: tuple[str, ...] = ()
    jobs: int | None = None
    retry: bool = False
    cell_minutes: float = math.inf
    stall_minutes: float = STALL_MINUTES
    trust_remote_code: bool = False
    threads: int | None = None
    shard: str = ""
    executor: str = "local"
    resources: tuple[str, ...] = ()

    def request(self, spec: RunSpec, folder: Path) -> dict[str, Any]:
        """Begin a cell's records with its spec.json; return the request to a worker to train it.

        What an earlier try left of a status must not pass for this one's result. Paths are
        absolute: a method of an earlier cell may have left the worker's directory.
        """
        folder = folder.absolute()
        files.remove(folder / "status.json")
        files.remove_leftovers(folder, deep=True)
        CellWriter(folder).spec(spec.to_json())
        return {
            "do": "cell",
            "spec": spec.to_json(),
            "folder": str(folder),
            "mirror": str(self.mirror.absolute()) if self.mirror else None,
            "plugins": [str(plugin.absolute()) for plugin in self.plugins],
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
    too_long: tuple[str, ...] = ()  # what training.max_tokens leaves out

    @property
    def prepared(self) -> Prepared:
        """The data of the first condition, or the only ones."""
        return self.all_prepared[0]

    @property
    def banks(self) -> dict[str, RationaleBank]:
        """The training rationales by condition; ``""`` where the suite has none."""
        names = [condition.name for condition in self.suite.conditions] or [""]
        return {n: data.train for n, data in zip(names, self.all_prepared, strict=True)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the captions must say of the data; of many conditions, what all have in common."""
        first, *others = (data.notes for data in self.all_prepared)
        common = tuple(note for note in first if all(note in other for other in others))
        return (*common, *self.too_long)

    def folder(self, spec: RunSpec) -> Path:
        """Return the folder of a cell's records."""
        return self.root / "runs" / spec.run_id

    @cached_property
    def tried_ids(self) -> set[str]:
        """Run ids of the cells that choose learning rates."""
        return {spec.run_id for spec in self.tries}

    def records(self) -> dict[str, Cell]:
        """What is recorded now of every cell, by run id; each is read once."""
        read = cell_reader(self.root)
        every = dict.fromkeys(spec.run_id for spec in (*self.tries, *self.cells))
        return {run_id: read(run_id) for run_id in every}

    def states(self, records: Mapping[str, Cell] | None = None) -> dict[str, str]:
        """By run id each selected cell's state: one of records.STATES, or WAITING for its learning
        rate. records: what `records` returned; without it they are read."""
        records = self.records() if records is None else records
        return {
            spec.run_id: WAITING if spec.run_id in self.waiting else records[spec.run_id].state
            for spec in self.selected
        }

    def pending(
        self, retry: bool = False, states: Mapping[str, str] | None = None
    ) -> list[RunSpec]:
        """Return the selected cells that a run would do, one seed after the other.

        Done and skipped cells are kept; failed ones are tried again; diverged ones would
        diverge again, so they are kept unless ``retry``. states: what `states` returned.
        """
        states = self.states() if states is None else states
        kept = {*ENDED_WELL, WAITING} | (set() if retry else {"diverged"})
        # Conditions of unlike names may come to the same data, and so to the same cell.
        once = {spec.run_id: spec for spec in reversed(self.selected)}.values()
        left = [spec for spec in once if states[spec.run_id] not in kept]
        # Seed by seed, so that an interrupted run leaves a whole table of the first seeds; in
        # a seed, condition by condition, so that neighbours share their data (see `prepare_once`).
        seeds = {seed: place for place, seed in enumerate([None, *self.suite.seeds])}
        names = ["", *(condition.name for condition in self.suite.conditions)]
        conditions = {name: place for place, name in enumerate(names)}
        every = [*self.tries, *self.cells]
        places = {spec.run_id: place for place, spec in reversed(list(enumerate(every)))}

        def order(spec: RunSpec) -> tuple[int, ...]:
            if self.tries and spec.on_dev:
                return 0, places[spec.run_id]
            return 1, seeds[spec.seed], conditions[spec.condition], places[spec.run_id]

        return sorted(left, key=order)

    def summary(self, retry: bool = False) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        records = self.records()
        states = self.states(records)
        pending = self.pending(retry, states)
        pending_ids = {spec.run_id for spec in pending}
        listed = []
        for spec in self.selected:
            status = states[spec.run_id]
            known = status != WAITING
            listed.append(
                {
                    "run_id": spec.run_id if known else None,
                    "label": spec.label,
                    "method": spec.method,
                    "condition": spec.condition,
                    "seed": spec.seed,
                    "learning_rate": spec.training["learning_rate"] if known else None,
                    "split": "dev" if spec.on_dev else "test",
                    "status": status,
                    "pending": spec.run_id in pending_ids,
                }
            )
        return {
            "suite": self.suite.suite,
            "profile": self.suite.profile,
            "results": str(self.root),
            "jobs": self.jobs,
            "threads": self.threads,
            "cells": listed,
            "notes": [*self.prepared.notes, *self.too_long],
            "seeds": list(self.suite.seeds),
            "compare_to": self.suite.compare_to,
            "tasks": [
                {"task": task.name, "role": task.role, "items": len(task.items)}
                for task in self.prepared.tasks
            ],
            "estimate": _estimate(self, pending, records),
        }


def suite_folder(suite: Suite, results: Path) -> Path:
    """Return where a suite's output lies: ``RESULTS/SUITE/PROFILE``."""
    return results / suite.suite / suite.profile


def make_plan(suite: Suite, options: Options) -> Plan:
    """Read the data and lay out the cells; nothing is written or trained.

    Rows of an ablation that wait for a search, see ``Suite.with_tuned``, have no cells to do.
    Raises UserError for anything in the suite that can't work: an unknown method, teacher or
    data set, a student that is not there, a test question in the training set.
    """
    root = suite_folder(suite, options.results)
    registry = registry_module.load(options.plugins)
    for name, _, place, *_ in suite.rows():
        registry.get(name, where=suite.where(place))
    identity = student_identity(suite)
    check_tasks(suite)
    jobs, threads = jobs_and_threads(suite, options)
    all_prepared, data = read_data(suite, options)

    tries = _tries(suite, options, registry, identity, threads)
    chosen: dict[Key, float] = {}  # learning rates that are known already
    if suite.selection is not None:
        tried = learning_rates.rate_trials(map(tried_entry, tries), cell_reader(root))
        default = suite.training.learning_rate
        chosen = learning_rates.chosen(tried, suite.selection.metric, default)
    every = cells(suite, registry, data, identity, threads, chosen)
    undecided = {(spec.label, spec.condition) for spec in tries} - set(chosen)
    searched = untuned(suite)
    undecided |= {(spec.label, spec.condition) for spec in every if spec.label in searched}
    waiting = _with_dependents(every, undecided)
    laid_out = rows(suite, registry, all_prepared[0].train.teachers)
    # A row that trains with another's weights sees what that one saw.
    by_label = {row.label: row for row in laid_out}
    sources = {row.label: weights_source(row, by_label) for row in laid_out}
    gold = {
        label: row.method(row.method.Config.model_validate(row.config)).uses_gold
        for label, row in sources.items()
    }
    selected = select([*tries, *every], options.only)
    if options.shard:
        sizes = {
            d.condition: readable_characters(p) for d, p in zip(data, all_prepared, strict=True)
        }
        selected = shard_of(selected, options.shard, sizes, suite.selection is not None)
    return Plan(
        suite=suite,
        root=root,
        all_prepared=all_prepared,
        cells=every,
        selected=selected,
        jobs=jobs,
        threads=threads,
        gold=gold,
        tries=tuple(tries),
        waiting=frozenset(waiting),
        too_long=too_long(suite, all_prepared),
    )


def check_trust(suite: Suite, options: Options) -> None:
    """Raise UserError where a suite has code of a hub run that the command doesn't allow."""
    if suite.student.trust_remote_code and not options.trust_remote_code:
        where = suite.where(("student", "trust_remote_code"))
        raise UserError(
            f"{where}: student.trust_remote_code: runs Python code that comes with "
            f"{suite.student.id!r} on this machine; if you trust it, add --trust-remote-code"
        )


def student_identity(suite: Suite) -> str:
    """Hash of the student's files. Raises UserError, with the suite's line, where it has none."""
    from compact_bench.student.load import student_hash

    try:
        return student_hash(suite.student)
    except UserError as error:
        raise UserError(f"{suite.where(('student', 'id'))}: {error}") from None


def untuned(suite: Suite) -> set[str]:
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
    suites = [suite.trying(rate) for rate in suite.selection.learning_rates]
    prepared, data = read_data(suites[0], options)  # the same for every learning rate
    if any(condition.dev.empty for condition in prepared):
        raise UserError(f"{suite.where(('selection',))}: there is no dev question to choose by")
    every = [spec for trial in suites for spec in cells(trial, registry, data, student, threads)]
    return [spec for spec in every if spec.seed is not None and not spec.after]


def read_data(suite: Suite, options: Options) -> tuple[tuple[Prepared, ...], list[Data]]:
    """Read the data of every condition."""
    from compact_bench.execution.prepare import prepare

    conditions: list[ConditionSpec | None] = [*suite.conditions] or [None]
    all_prepared, data = [], []
    for condition in conditions:
        own = _pinned(suite.under(condition))
        prepared = prepare(own, options.mirror)
        all_prepared.append(prepared)
        data.append(
            Data(
                own.data.model_dump(mode="json"),
                prepared.fingerprint,
                prepared.train.teachers,
                condition.name if condition else "",
                condition.rows if condition else (),
            )
        )
    return tuple(all_prepared), data


def _pinned(suite: Suite) -> Suite:
    """The suite with the commits of what it reads of the hub, so that all cells read the same."""
    from compact_bench.data.readers import pinned

    places = {key: getattr(suite.data, key) for key in ("source", "test_source")}
    update = {key: pinned(place) for key, place in places.items() if place}
    return suite.model_copy(update={"data": suite.data.model_copy(update=update)})


def tried_entry(spec: RunSpec) -> dict[str, Any]:
    """The entry of suite.json for a cell that tries a learning rate."""
    return {
        "run_id": spec.run_id,
        "label": spec.label,
        "seed": spec.seed,
        **({"condition": spec.condition} if spec.condition else {}),
        "learning_rate": spec.training["learning_rate"],
    }


def _with_dependents(every: Sequence[RunSpec], undecided: set[Key]) -> set[str]:
    """The run ids of undecided rows, and of those that read the weights of one of them."""
    waiting = {spec.run_id for spec in every if (spec.label, spec.condition) in undecided}
    while more := {spec.run_id for spec in every if spec.after in waiting} - waiting:
        waiting |= more
    return waiting


def jobs_and_threads(suite: Suite, options: Options) -> tuple[int, int]:
    """How many cells run at the same time, and the threads of each."""
    jobs = options.jobs or suite.jobs or 1
    return jobs, options.threads or threads_of(jobs, available_cores())


def threads_of(jobs: int, cores: int) -> int:
    """Threads of each of so many cells at the same time."""
    return max(1, min(MOST_THREADS, cores // jobs))


def select(every: Sequence[RunSpec], only: Sequence[str]) -> tuple[RunSpec, ...]:
    """Keep the cells whose row or method is named; no name keeps all.

    Raises UserError for a name that is no row's.
    """
    known = dict.fromkeys([spec.label for spec in every] + [spec.method for spec in every])
    for name in only:
        if name not in known:
            allowed = ", ".join(known)
            raise UserError(f"--only {name}: no such row{nearest(name, known)}; it has: {allowed}")
    if not only:
        return tuple(every)
    wanted = {spec.run_id for spec in every if spec.label in only or spec.method in only}
    # A cell that reads another's weights can't do without it.
    after = {spec.run_id: spec.after for spec in every if spec.after}
    while more := {after[run_id] for run_id in wanted & set(after)} - wanted:
        wanted |= more
    return tuple(spec for spec in every if spec.run_id in wanted)


def shard_of(
    selected: Sequence[RunSpec], shard: str, sizes: Mapping[str, float], by_row: bool
) -> tuple[RunSpec, ...]:
    """The part ``"i/n"`` of the cells; the n parts hold each cell once, on any machine the same.

    Cells stay together where one reads another's weights, or (by_row) where a row's cells choose
    its learning rate. sizes: what a cell of a condition costs, by its name; nothing that was
    measured, of which another machine knows something else. The dearest go first, each to the
    part that has the least. Raises UserError for what is no part.
    """
    numbers = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", shard)
    part, parts = map(int, numbers.groups()) if numbers else (0, 0)
    if not 1 <= part <= parts:
        raise UserError(f"--shard {shard}: allowed: I/N with I from 1 to N, as 2/3")
    by_id = {spec.run_id: spec for spec in selected}
    groups: dict[str | Key, list[RunSpec]] = {}
    for spec in selected:
        source = spec
        while source.after in by_id:
            source = by_id[source.after]
        key = (source.label, source.condition) if by_row else source.run_id
        groups.setdefault(key, []).append(spec)

    def cost(group: Sequence[RunSpec]) -> float:
        return math.fsum(sizes.get(spec.condition, 0.0) for spec in group)

    loads, chosen = [0.0] * parts, set[str]()
    for group in sorted(groups.values(), key=cost, reverse=True):  # stable
        lightest = loads.index(min(loads))
        loads[lightest] += cost(group)
        if lightest == part - 1:
            chosen |= {spec.run_id for spec in group}
    return tuple(spec for spec in selected if spec.run_id in chosen)


def _estimate(
    plan: Plan, pending: Sequence[RunSpec], records: Mapping[str, Cell]
) -> dict[str, Any]:
    """Estimate what the pending cells take: seconds of wall time, FLOPs and tokens.

    ``source`` says what it rests on: cells of this suite that are done, or token counts.
    """
    pending = [*pending, *(spec for spec in plan.selected if spec.run_id in plan.waiting)]
    statuses = [(s.label, records[s.run_id].status) for s in (*plan.tries, *plan.cells)]
    measured = [
        (label, {key: float(status.get(key) or 0) for key in COSTS})
        for label, status in statuses
        if status.get("state") == "done"
    ]
    if measured:
        by_row = dict(measured)
        mean = {key: math.fsum(cost[key] for cost in by_row.values()) / len(by_row)
                for key in COSTS}  # fmt: skip
        costs = [by_row.get(spec.label, mean) for spec in pending]
        source = f"{len(measured)} cells of this suite that are done"
    else:
        cost, source = _counted_cost(plan)
        costs = [cost for _ in pending]
    total = {key: math.fsum(cost[key] for cost in costs) for key in COSTS}
    seconds = total["seconds"] / max(1, min(plan.jobs, len(pending)))
    return {"cells": len(pending), **total, "seconds": seconds, "source": source}


def _counted_cost(plan: Plan) -> tuple[dict[str, float], str]:
    """The cost of a cell by its characters, as if every row read every rationale; and its source.

    FLOPs = parameters (4 or 6 x trained tokens + 2 x generated tokens): 4 for adapters.
    """
    trained = readable_characters(plan.prepared) / CHARACTERS_A_TOKEN * plan.suite.training.epochs
    evaluation = plan.suite.evaluation
    texts = 0  # that an evaluation generates: answers, and the marginal NLL's rationales
    for items, role in ((t.items, t.role) for t in plan.prepared.tasks if t.kind == "generate"):
        sampled = min(len(items), evaluation.marginal_items or len(items))
        texts += len(items) + (sampled * evaluation.marginal_samples if role == "reasoning" else 0)
    generated = texts * evaluation.max_new_tokens / 2
    parameters, guess = _parameters(plan.suite.student.id)
    per_token = 4 if plan.suite.student.lora else 6
    flops = parameters * (per_token * trained + 2 * generated)
    seconds = flops / (FLOPS_A_SECOND_AND_THREAD * plan.threads)
    source = (
        f"token counts ({CHARACTERS_A_TOKEN} characters a token, {guess}, every rationale read, "
        f"{FLOPS_A_SECOND_AND_THREAD:.0e} FLOP/s a thread, no GPU): rough"
    )
    return {"seconds": seconds, "flops": flops, "tokens": trained}, source


def _parameters(student: str) -> tuple[float, str]:
    """Read the number of parameters off a student's name: ``SmolLM2-135M``, ``Qwen2.5-1.5B``."""
    sizes = re.findall(r"(\d+(?:\.\d+)?)([MB])(?![a-z])", student)
    if sizes:
        number, unit = sizes[-1]
        return float(number) * (1e6 if unit == "M" else 1e9), f"{number}{unit} parameters"
    return 1.5e6 if student == "nano" else 1e9, "parameters guessed"
