"""What each row forgot: in all, and where it gains as much as the reference row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from compact_bench.analysis import forgetting as numbers_of
from compact_bench.analysis import statistics
from compact_bench.analysis.forgetting import (
    FORGOTTEN,
    GAINED,
    KL,
    LEARNED,
    LOST,
    PERPLEXITY,
    RELEARNT,
    RETENTION,
    SAME_ITEMS,
    SCALE,
    Forgetting,
    Point,
    diagnostics_recorded,
    forgetting,
    path,
    retention_at_gain,
)
from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.statistics import Difference, Summary
from compact_bench.records.joining import Seed
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Table
from compact_bench.report.parts.numbers import decimals, lowest_to_highest, points, spread


def table(results: Results) -> Table | None:
    """Forgetting by row, mean over tasks; None for records that hold none of what it needs."""
    frame = pd.DataFrame(numbers_of.numbers(results)) if diagnostics_recorded(results) else None
    if frame is None or frame.empty or not results.headlines("forgetting"):
        return None
    # A rule instead of a student forgets nothing, and has no line.
    ones = [one for one in forgetting(results).values() if one.has_values]
    columns = {"method": [one.row.label for one in ones]}
    columns |= formats.known(dict(_columns(results, ones)))
    text = captions.caption(results, *_caption(results, ones))
    frame = frame.astype({"seed": "Int64"})
    return formats.table("forgetting", "What was forgotten", text, columns, frame)


def _columns(results: Results, ones: list[Forgetting]) -> Iterator[tuple[str, list[str]]]:
    name, guessed = captions.reference(results), _guessed(results)

    def shares(quantity: str) -> list[str]:
        return [spread(one.summary(quantity), scale=100) for one in ones]

    def differences(quantity: str) -> list[str]:
        return [points(numbers_of.difference(results, one.row, quantity)) for one in ones]

    yield "kept, % ↑", shares(RETENTION)
    yield f"Δ kept to {name}", differences(RETENTION)
    yield "right → wrong, % ↓", shares(LOST)
    if guessed:
        yield "forgotten, % ↓", shares(FORGOTTEN)
    yield f"Δ forgotten to {name}", differences(FORGOTTEN)
    yield "wrong → right, %", shares(GAINED)
    if guessed:
        yield "learned, %", shares(LEARNED)
    yield "perplexity × ↓", [spread(one.summary(PERPLEXITY), 2) for one in ones]
    yield "KL from the base, nats", [spread(one.summary(KL), 3) for one in ones]
    yield "kept on the few items, %", shares(SAME_ITEMS)
    yield "and once relearned, %", shares(RELEARNT)


def _guessed(results: Results) -> bool:
    """Whether guessing helps in any forgetting task: else corrected and observed are the same."""
    return any(results.chance.get(m, 0.0) > 0 for m in results.headlines("forgetting"))


def _caption(results: Results, ones: list[Forgetting]) -> Iterator[str]:
    yield (
        "Mean over the forgetting tasks, then mean ± standard deviation over seeds. Kept: (after − "
        "chance) / (before − chance); single tasks are in the CSV file. Right → wrong: items right "
        "before training and wrong after"
    )
    if _guessed(results):
        yield (
            "Forgotten: the share of items known before and not after, which is right → wrong less "
            "what guessing alone would turn over (told from the items that are wrong both times), "
            "over 1 − chance; learned is the reverse. A student that repeats its guesses turns "
            "over fewer, so small shares may be negative: read them beside the observed flips"
        )
    yield captions.intervals(
        (numbers_of.difference(results, one.row, RETENTION) for one in ones), "rows"
    )
    yield "Differences take the untrained student's own accuracy as known"
    if any(one.summary(PERPLEXITY).n for one in ones):
        yield (
            "Perplexity: of what the untrained student writes to the old questions (of a choice: "
            "of the right one), after over before, geometric mean over tasks"
        )
    if any(one.summary(KL).n for one in ones):
        yield "KL(base, student) a token, over answers that the base writes to in-domain prompts"
    examples = sorted({one.examples for one in ones if math.isfinite(one.examples)})
    if examples:
        number = lowest_to_highest([f"{examples[0]:g}", f"{examples[-1]:g}"])
        yield (
            f"Once relearned: after a few steps on {number} examples of the old task, on fewer "
            "items (kept on the few items: the same ones before). What comes back was hidden by "
            "the new task's format; what doesn't was lost, or needs more examples. The untrained "
            "student's row says what the examples alone do"
        )
    yield from _covariates(results)


def _covariates(results: Results) -> Iterator[str]:
    found = {
        name: one
        for name, one in numbers_of.rank_correlations(results).items()
        if math.isfinite(one[0]) and math.isfinite(one[2])
    }
    if "KL from the base" not in found:
        return
    correlations = "; ".join(
        f"{name} {decimals(cells, 2, signed=True)} over {n} trained cells, "
        f"{decimals(rows, 2, signed=True)} over {m} rows' means"
        for name, (cells, n, rows, m) in found.items()
    )
    yield (
        f"Spearman's rank correlation of kept with {correlations}; cells of one row are not "
        "independent, so no p value is given"
    )


SHARES = {0.5: "half", 1.0: "all"}  # of what the reference row gains when it is trained


@dataclass(frozen=True)
class Matched:
    """A row at a share of the reference row's gain: retention by seed, None where not reached."""

    row: Row
    share: float
    kept: Mapping[Seed, float | None]
    reference: Mapping[Seed, float | None]

    @property
    def reached(self) -> list[float]:
        """Retention at the seeds that reach the gain."""
        return [value for value in self.kept.values() if value is not None]

    @property
    def difference(self) -> Difference:
        """Minus the reference row's retention at this gain: paired t test over seeds."""
        pairs = [(value, self.reference.get(seed)) for seed, value in self.kept.items()]
        return over_seeds([a - b for a, b in pairs if a is not None and b is not None])


def over_seeds(differences: list[float]) -> Difference:
    """Paired t test over seeds, for values that no items stand behind. NaN for none."""
    found = statistics.over_items(pd.Series(differences, dtype=float).to_numpy())
    test = "seeds" if found.test == "items" else found.test
    return replace(found, seeds=len(differences), items=0, test=test)


def matched(results: Results) -> list[Matched]:
    """Every trained row with a path over the scale of the change, at each of SHARES.

    The gain to match is that of the reference row of the same seed, so that the reference reaches
    it by construction; seeds where the reference gains nothing have none.
    """
    found = []
    for row in results.rows:
        reference = results.reference_of(row)
        paths = path(results, row, SCALE)
        if reference is None or not paths:
            continue
        others = path(results, reference, SCALE)
        seeds = [seed for seed in paths if seed in others and others[seed][-1].gain > 0]
        for part in SHARES if seeds else ():
            gains = {seed: part * others[seed][-1].gain for seed in seeds}
            found.append(Matched(row, part, _kept(paths, gains), _kept(others, gains)))
    return found


def _kept(
    paths: Mapping[Seed, tuple[Point, ...]], gains: Mapping[Seed, float]
) -> dict[Seed, float | None]:
    return {seed: retention_at_gain(paths[seed], gain) for seed, gain in gains.items()}


def matched_gain(results: Results) -> Table | None:
    """Retention at matched gain; None without records of scaled changes."""
    every = matched(results)
    if not every:
        return None
    rows = list({one.row.label: one.row for one in every}.values())
    by_key = {(one.row.label, one.share): one for one in every}
    name = captions.reference(results)
    columns = {"method": [row.label for row in rows]}
    columns["gain, points"] = [points(_gain(results, row)) for row in rows]
    for part, words in SHARES.items():
        ones = [by_key[row.label, part] for row in rows]
        columns[f"kept at {words} of {name}'s gain, % ↑"] = [_reached(one) for one in ones]
        columns[f"Δ to {name} at {words}"] = [points(_change(results, one)) for one in ones]
    text = captions.caption(results, *_gain_caption(results))
    frame = pd.DataFrame(_numbers(results, every)).astype({"seed": "Int64"})
    return formats.table("matched_gain", "Retention at matched gain", text, columns, frame)


def _gain(results: Results, row: Row) -> Summary:
    """What the trained students gain on the items of the curve."""
    paths = path(results, row, SCALE).values()
    return statistics.summarise([trained.gain for *_, trained in paths])


def _reached(one: Matched) -> str:
    found = statistics.summarise(one.reached)
    if not found.n:
        return "doesn't reach"
    few = "" if found.n == len(one.kept) else f" ({found.n}/{len(one.kept)} seeds)"
    return spread(found, scale=100) + few


def _change(results: Results, one: Matched) -> Difference:
    return one.difference if results.compared_to(one.row) else Difference(math.nan)


def _numbers(results: Results, every: list[Matched]) -> Iterator[dict[str, Any]]:
    """A line a row and share over its seeds, then a line each of its seeds."""
    names = ("mean", "half_width", "p", "df", "seeds", "test")
    for one in every:
        key = results.key(one.row) | {"share_of_gain": one.share}
        found = statistics.summarise(one.reached)
        against = vars(_change(results, one))
        yield (
            key
            | {"seed": None, "kept": found.mean, "sd": found.sd}
            | {"reached": found.n, "asked": len(one.kept)}
            | {f"difference.{name}": against[name] for name in names}
        )
        for seed, value in one.kept.items():
            yield key | {"seed": seed, "kept": value}


def _gain_caption(results: Results) -> Iterator[str]:
    name = captions.reference(results)
    yield (
        "Old skill kept where a row gains as much in domain as half and all of what "
        f"{name} of the same seed gains when it is trained, which {name} reaches by construction. "
        "Each trained student's change of the weights is scaled between 0 (the untrained student) "
        "and 1; its path of gain and retention is taken as straight between the scales that were "
        "asked, and read where it first reaches the gain. Doesn't reach: no scale gives the gain. "
        "Where only some seeds reach it, they are the luckier ones, and are counted"
    )
    yield (
        "Mean ± standard deviation over seeds, retention being the mean over forgetting tasks. "
        f"Differences to {name} are paired by seed, ± the half-width of the 95% t interval over "
        "seeds only: points between scales have no items, so items are not taken as random here"
    )
    yield "Gain: accuracy in domain over the untrained student's, on the items of the curve"
