"""A suite's data: read, joined, split, checked for leaks; once for neighbouring cells."""

from __future__ import annotations

import copy
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from compact_bench.data.banks import catalog_source, held_out
from compact_bench.data.corrupt import Rewriter, corrupt, corruption_notes, hit_teachers
from compact_bench.data.own_files import (
    SUFFIXES,
    more_teachers,
    own_questions,
    own_source,
    with_more,
)
from compact_bench.data.rationales import HUMAN, RationaleBank, digest, question_table, table_rows
from compact_bench.data.sources import catalog, dataset
from compact_bench.data.splits import check_leaks, is_dev, lowest
from compact_bench.data.tasks import (
    GENERATED_ITEMS,
    SPARE,
    Prepared,
    TaskData,
    items_of,
    with_choices,
)
from compact_bench.errors import UserError, unknown
from compact_bench.suite.schema import IN_DOMAIN, Suite
from compact_bench.suite.sections import DataSpec
from compact_bench.utils.files import is_file

if TYPE_CHECKING:
    from compact_bench.mini.world import MiniWorld, Teaching
    from compact_bench.suite.sections import TaskSpec


@dataclass(frozen=True)
class _Split:
    """A source's sets, cut to size."""

    train: RationaleBank
    dev: pd.DataFrame
    test: pd.DataFrame | None
    others: Mapping[str, pd.DataFrame]  # question tables of the generated tasks, by name
    notes: tuple[str, ...]
    rewriter: Rewriter | None = None  # where the solutions are known


MOST_RECENT = 2  # data sets that a worker holds: those of the suite, or of neighbouring conditions

_recent: OrderedDict[str, Prepared] = OrderedDict()


def prepare_once(suite: Suite, data_hash: str, mirror: Path | None = None) -> Prepared:
    """`prepare`, but the last `MOST_RECENT` data sets of this process are made once.

    data_hash: of the plan, so that a file that has changed since is another data set. Every call
    gets a copy of its own: what a cell does to it, the next cell doesn't see.
    """
    values = suite.model_dump(mode="json", include={"suite", "data", "evaluation", "limit"})
    key = digest([values, data_hash, str(mirror)])
    if key not in _recent:
        _recent[key] = prepare(suite, mirror)
    _recent.move_to_end(key)
    while len(_recent) > MOST_RECENT:
        _recent.popitem(last=False)
    return copy.deepcopy(_recent[key])


def prepare(suite: Suite, mirror: Path | None = None) -> Prepared:
    """Read, join, split and check a suite's data; the same suite gives the same data.

    mirror: folder to read the catalog's files from instead of downloading them.

    Raises: UserError for an unknown source, teacher or task, a bad row, a wrong checksum, an
    empty training set, or a test question that is trained or selected on.
    """
    source = suite.data.source
    if suite.data.test_source and not is_own_file(source):
        made = "is generated" if source == "mini" else f"is {dataset(source).title} of the catalog"
        raise UserError(
            f"data.test_source goes with a file of your own as data.source; {source} {made}"
        )
    split = _split(suite, mirror)
    if split.train.questions.empty or split.train.rationales.empty:
        raise UserError(
            f"{source}: no training question is left with the teachers "
            f"{', '.join(split.train.teachers) or '(none)'}; {'; '.join(split.notes)}"
        )
    if shares := suite.data.corrupt:
        # The seed is that of the generated data, for every source: a suite's data has one seed.
        seed, persistent = suite.data.mini.seed, suite.data.corrupt_persistent
        train = corrupt(split.train, shares, seed, persistent, split.rewriter)
        hit = hit_teachers(split.train, shares, seed) if persistent else None
        notes = (*split.notes, *corruption_notes(split.train, train, shares, hit))
        split = replace(split, train=train, notes=notes)
    of_tasks: list[str] = []
    tasks = tuple(_task(spec, suite, split, mirror, of_tasks) for spec in suite.evaluation.tasks)
    # With select the in-domain task is the dev split itself.
    held_out_tasks = [t for t in tasks if not (suite.evaluation.select and t.name == IN_DOMAIN)]
    check_leaks(
        split.train.questions["question"],
        split.dev["question"],
        {task.name: task.items["question"] for task in held_out_tasks if task.kind != "lm_eval"},
    )
    content = [
        split.train.fingerprint(),
        table_rows(split.dev),
        [[t.name, t.kind, t.role, t.chance, table_rows(t.items)] for t in tasks],
    ]
    notes = (*split.notes, *of_tasks, *_coverage(split.train))
    return Prepared(split.train, split.dev, tasks, digest(content), notes)


def training_questions(suite: Suite, mirror: Path | None = None) -> pd.DataFrame:
    """Question table of a suite's training set: of all that are not dev questions where the source
    has no teacher yet."""
    return _split(suite, mirror).train.questions


def _split(suite: Suite, mirror: Path | None) -> _Split:
    return _mini(suite) if suite.data.source == "mini" else _real(suite, mirror)


def _least(*sizes: int | None) -> int | None:
    """The smallest size that is given."""
    return min((size for size in sizes if size is not None), default=None)


@lru_cache(maxsize=2)
def _world(problem: str, seed: int, teaching: Teaching, **sizes: int | None) -> MiniWorld:
    """A generated world: a plan asks for one and the same once a condition, and again for the
    cells that choose learning rates."""
    from compact_bench.mini.world import generate

    return generate(problem, seed=seed, teaching=teaching, **sizes)


def _mini(suite: Suite) -> _Split:
    from compact_bench.mini.world import Teaching

    data = suite.data
    mini = data.mini
    problem = mini.problem or suite.suite
    teaching = Teaching(tuple(_own_teachers(data)), mini.correlation, mini.faults, mini.samples)
    sizes = {name: _least(getattr(data, name), suite.limit) for name in ("train", "dev", "test")}
    world = copy.deepcopy(_world(problem, mini.seed, teaching, **sizes))
    others = {**world.forgetting, **world.further}
    bank, notes = _with_more(world.bank, data)
    notes = (f"generated problems (mini {problem})", *notes)
    return _Split(
        _chosen(bank, data.complete), world.dev, world.test, others, notes, world.rewritten
    )


def _own_teachers(data: DataSpec) -> list[str]:
    """Those of data.teachers that the source itself has, not `more`."""
    others = more_teachers(data)
    return [name for name in data.teachers if name not in others]


def _with_more(bank: RationaleBank, data: DataSpec) -> tuple[RationaleBank, tuple[str, ...]]:
    """The bank with the teachers of data.more, of all then those that data.teachers names."""
    if not data.more:
        return bank, ()
    bank, notes = with_more(bank, data)
    if data.teachers:
        names = tuple(dict.fromkeys(data.teachers))
        read = bank.rationales["teacher"].isin([*names, HUMAN])
        bank = replace(bank, teachers=names, rationales=bank.rationales[read])
    return bank, tuple(notes)


def _real(suite: Suite, mirror: Path | None) -> _Split:
    data = suite.data
    teachers = _own_teachers(data)
    if is_own_file(data.source):
        source = own_source(data.model_copy(update={"teachers": teachers}))
    else:
        source = catalog_source(dataset(data.source), teachers, mirror)
    bank, more_notes = _with_more(source.bank, data)
    everything = replace(bank, questions=lowest(bank.questions, None))
    chosen = _chosen(everything, data.complete)
    dev_mask = everything.questions["question"].map(is_dev).astype(bool)
    dev_ids = set(everything.questions.loc[dev_mask, "question_id"])
    ids = [key for key in chosen.questions["question_id"] if key not in dev_ids]
    size = _least(data.train, suite.limit)
    have = f"{len(chosen.questions)} of {len(everything.questions)} questions have"
    if data.complete:
        have = f"{have} all of the {len(chosen.teachers)} teachers"
        if len(chosen.questions) < len(everything.questions):
            have += ", the others are left out (data.complete: false keeps those that have some)"
    else:
        have = f"{have} at least one of the {len(chosen.teachers)} teachers"
    notes = [*source.notes, *more_notes, have]
    if size is not None and size > len(ids):
        notes.append(f"{len(ids)} training questions instead of the {size} asked for")
    dev = lowest(everything.questions[dev_mask], _least(data.dev, suite.limit))
    return _Split(chosen.keep(ids[:size]), dev, source.test, {}, tuple(notes))


def is_own_file(source: str) -> bool:
    """Whether a data source is a user's own, a file or of the hub, by the way it is written."""
    if source == "mini" or source in catalog().datasets:
        return False
    return source.endswith(SUFFIXES) or os.sep in source or is_file(Path(source))


def _chosen(bank: RationaleBank, complete: bool) -> RationaleBank:
    """The questions that all teachers of the bank have, or any of them; without teachers all."""
    if not bank.teachers:
        return bank
    rows = bank.rationales[bank.rationales["teacher"].isin(bank.teachers)]
    counts = rows.groupby("question_id")["teacher"].nunique()
    return bank.keep(counts[counts >= (len(bank.teachers) if complete else 1)].index)


def _task(
    spec: TaskSpec, suite: Suite, split: _Split, mirror: Path | None, notes: list[str]
) -> TaskData:
    """A task's items; what was left out of a file of the user's own is added to `notes`."""
    if spec.kind == "lm_eval":
        return TaskData(spec.task, spec.kind, spec.role, items_of(question_table([])), spec.chance)
    table, size = _questions(spec, suite, split, mirror, notes)
    every = items_of(lowest(table, None))
    count = _least(size, spec.limit, suite.limit)
    items, spare = every[:count], every[len(every[:count]) :].head(SPARE)
    if suite.evaluation.spare and spec.task != IN_DOMAIN:
        # Who chooses by a task must not see what the report asks: the questions after those.
        items, spare = spare.head(count), spare.iloc[0:0]
        if items.empty:
            raise UserError(
                f"task {spec.task}: all its questions are asked by the report; none is left to "
                "choose settings by"
            )
    chance = spec.chance
    if spec.kind == "choice":
        items, spare = (with_choices(part, spec.task) for part in (items, spare))
        chance = chance or round(float((1 / items["choices"].map(len)).mean()), 9)
    items, spare = items.reset_index(drop=True), spare.reset_index(drop=True)
    return TaskData(spec.task, spec.kind, spec.role, items, chance, spare)


def _questions(
    spec: TaskSpec, suite: Suite, split: _Split, mirror: Path | None, notes: list[str]
) -> tuple[pd.DataFrame, int | None]:
    """Question table of a task, and the size that the suite's data section gives it."""
    data = suite.data
    if spec.task == IN_DOMAIN:
        if suite.evaluation.select:
            return split.dev, data.dev
        if split.test is None:
            raise UserError(
                f"task in_domain: {data.source} has no test questions; "
                "set data.test_source to a file of {question, answer}"
            )
        return split.test, data.test
    if spec.task in split.others:
        return split.others[spec.task], GENERATED_ITEMS
    name = spec.source or spec.task
    if is_own_file(name):
        kind = data.answer or split.train.questions["kind"].iloc[0]
        own, left_out = own_questions(name, kind, data)
        notes += [f"task {spec.task}, {note}" for note in left_out]
        return own, None
    known = [IN_DOMAIN, *split.others, *catalog().datasets]
    if name not in known:
        others = ", or any task of lm-eval with kind: lm_eval"
        raise unknown(f"data.source {data.source}: unknown task", name, known, others)
    return held_out(dataset(name), mirror), None


def _coverage(bank: RationaleBank) -> tuple[str, ...]:
    """Facts on the training set for the captions: size, and each teacher's share of right ones."""
    rows = bank.rationales[bank.rationales["teacher"].isin(bank.teachers)]
    right = rows.groupby("teacher")["right"].mean()
    shares = ", ".join(f"{name} {right.get(name, 0.0):.1%}" for name in bank.teachers)
    none = int(rows["answer"].isna().sum())
    notes = [f"{len(bank.questions)} training questions, teachers right on: {shares}"]
    return (*notes, *([f"{none} rationales without an answer"] if none else []))
