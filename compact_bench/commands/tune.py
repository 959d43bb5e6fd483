"""`tune`: the options of a search as values of the suite's `tune` section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from compact_bench.commands.options import LIMITS, TUNING, given, suite_of
from compact_bench.errors import UserError


@click.command()
@TUNING
@LIMITS
def tune(
    file: Path,
    profile: str | None,
    results: Path,
    methods: tuple[str, ...],
    more: str | None,
    ablation: bool,
    storage: str | None,
    study: str,
    no_test: bool,
    overrides: tuple[str, ...],
    seeds: str | None,
    limit: str | None,
    jobs: int | None,
    mirror: Path | None,
    plugins: tuple[Path, ...],
    cell_minutes: float | None,
    stall_minutes: float | None,
    trust_remote_code: bool,
    **section: Any,
) -> int:
    """Search the settings of rows of the suite FILE on the dev split, and test the best once.

    Each row's own settings are the first trial. The same command again goes on where it was; with
    --storage many processes and machines work on one search. Exit code as of run.
    """
    from compact_bench.execution.plan import Options
    from compact_bench.tune import search

    names = (*methods, *(name.strip() for name in (more or "").split(",") if name.strip()))
    suite = suite_of(file, profile, [*overrides, *_overrides(**section)], seeds, limit)
    if ablation and suite.ablation is None:
        raise UserError(f"{file}: --ablation, but the suite has none")
    if not (names or ablation):
        raise UserError("say what to tune: --method ROW, --methods A,B,C or --ablation")
    if ablation and names:
        raise UserError(
            "--ablation tunes its rows alike; --method beside it would be another search"
        )
    if not re.fullmatch(r"[A-Za-z0-9_.-]*", study):
        raise UserError(f"--study {study}: letters, digits, dots, dashes and underscores")
    limits = {
        "cell_minutes": cell_minutes,
        "stall_minutes": stall_minutes,
        "trust_remote_code": trust_remote_code,
    }
    options = Options(results, mirror, plugins, (), jobs, False, **given(limits))
    chosen = search.TuneOptions(names, storage, study, not no_test)
    return search.tune(suite, options, chosen, say=click.echo)


def _overrides(objective: tuple[str, ...], trial_seeds: str | None, **section: Any) -> list[str]:
    """The options that are keys of `tune`, as overrides of the suite."""
    from compact_bench.suite.schema import parse_seeds

    section["objective"] = list(objective) or None
    section["seeds"] = None if trial_seeds is None else parse_seeds(trial_seeds)
    return [f"tune.{key}={value}" for key, value in section.items() if value is not None]
