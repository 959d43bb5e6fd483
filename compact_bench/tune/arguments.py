"""The options of the command `tune` as values of the suite's `tune` section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from compact_bench.errors import UserError
from compact_bench.plan import Options
from compact_bench.suite import load_suite, parse_seeds, suite_path
from compact_bench.tune.command import Asked, tune


def run(
    *,
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
    **section: Any,
) -> int:
    """Load the suite with the options, and tune."""
    names = (
        (*methods, *(part.strip() for part in more.split(",") if part.strip())) if more else methods
    )
    suite = load_suite(
        suite_path(file),
        profile,
        [*overrides, *_overrides(**section)],
        {"seeds": parse_seeds(seeds) if seeds else None, "limit": limit},
    )
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
    options = Options(results, mirror, plugins, (), jobs, False)
    return tune(suite, options, Asked(names, storage, study, not no_test), say=click.echo)


def _overrides(
    trials: int | None,
    objective: tuple[str, ...],
    sampler: str | None,
    pruner: str | None,
    seed: int | None,
    trial_seeds: str | None,
    tokens: float | None,
) -> list[str]:
    given: dict[str, Any] = {
        "trials": trials,
        "objective": list(objective) or None,
        "sampler": sampler,
        "pruner": pruner,
        "seed": seed,
        "seeds": parse_seeds(trial_seeds) if trial_seeds else None,
        "tokens": tokens,
    }
    return [f"tune.{key}={value}" for key, value in given.items() if value is not None]
