"""What each row forgot: in all, and where it gains as much as the reference row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
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
    diagnostics_recorded,
    forgetting,
    path,
    retention_at_gain,
)
from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.statistics import Difference, Summary
from compact_bench.records.parquet import Seed
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
    # Where guessing helps in no task, corrected and observed are the same.
    guessed = any(results.chance.get(m, 0.0) > 0 for m in results.headlines("forgetting"))
    columns = {"method": [one.row.label for one in ones]}
    columns |= formats.known(dict(_columns(results, ones, guessed)))
    text = captions.caption(results, *_caption(results, ones, guessed))
    frame = frame.astype({"seed": "Int64"})
    return formats.table("forgetting", "What was forgotten", text, columns, frame)


def _columns(
    results: Results, ones: list[Forgetting], guessed: bool
) -> Iterator[tuple[str, list[str]]]:
    name = captions.reference(results)

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


def _caption(results: Results, ones: list[Forgetting], guessed: bool) -> Iterator[str]:
    yield (
        "Mean over the forgetting tasks, then mean ± standard deviation over seeds. Kept: (after − "
        "chance) / (before − chance); single tasks are in the CSV file. Right → wrong: items right "
        "before training and wrong after"
    )
    if guessed:
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
    found = {
        name: f"{name} {decimals(cells, 2, signed=True)} over {n} trained cells, "
        f"{decimals(rows, 2, signed=True)} over {m} rows' means"
        for name, (cells, n, rows, m) in numbers_of.rank_correlations(results).items()
        if math.isfinite(cells) and math.isfinite(rows)
    }
    if "KL from the base" in found:
        yield (
            f"Spearman's rank correlation of kept with {'; '.join(found.values())}; cells of one "
            "row are not independent, so no p value is given"
        )


SHARES = {0.5: "half", 1.0: "all"}  # of what the reference row gains when it is trained


@dataclass(frozen=True)
class Matched:
    """A row at a share of the reference row's gain: retention by seed, None where not reached.

    difference: to the reference row's retention at this gain; NaN for the reference row itself.
    """

    row: Row
    share: float
    kept: Mapping[Seed, float | None]
    difference: Difference

    @property
    def reached(self) -> Summary:
        """Retention over the seeds that reach the gain."""
        return statistics.summarise([*self.kept.values()])


def over_seeds(differences: list[float]) -> Difference:
    """Paired t test over seeds, for values that no items stand behind. NaN for none."""
    found = statistics.over_items(np.array(differences, dtype=float))
    test = "seeds" if found.test == "items" else found.test
    return replace(found, seeds=len(differences), items=0, test=test)


def matched(results: Results) -> Iterator[Matched]:
    """Every trained row with a path over the scale of the change, at each of SHARES.

    The gain to match is that of the reference row of the same seed, so that the reference reaches
    it by construction; seeds where the reference gains nothing have none.
    """
    for row in results.rows:
        reference = results.reference_of(row)
        paths = path(results, row, SCALE)
        if reference is None or not paths:
            continue
        others = path(results, reference, SCALE)
        seeds = [seed for seed in paths if seed in others and others[seed][-1].gain > 0]
        for part in SHARES if seeds else ():
            gains = {seed: part * others[seed][-1].gain for seed in seeds}
            kept, expected = (
                {seed: retention_at_gain(curves[seed], gain) for seed, gain in gains.items()}
                for curves in (paths, others)
            )
            pairs = [(kept[seed], expected[seed]) for seed in seeds]
            change = over_seeds([a - b for a, b in pairs if a is not None and b is not None])
            compared = results.compared_to(row)
            yield Matched(row, part, kept, change if compared else Difference(math.nan))


def matched_gain(results: Results) -> Table | None:
    """Retention at matched gain; None without records of scaled changes."""
    every = list(matched(results))
    if not every:
        return None
    rows = [one.row for one in every if one.share == 1.0]
    name = captions.reference(results)
    columns = {"method": [row.label for row in rows]}
    gains = [[curve[-1].gain for curve in path(results, row, SCALE).values()] for row in rows]
    columns["gain, points"] = [points(statistics.summarise(gained)) for gained in gains]
    for part, words in SHARES.items():
        ones = [one for one in every if one.share == part]
        columns[f"kept at {words} of {name}'s gain, % ↑"] = [_reached(one) for one in ones]
        columns[f"Δ to {name} at {words}"] = [points(one.difference) for one in ones]
    text = captions.caption(results, *_gain_caption(results))
    frame = pd.DataFrame(_numbers(results, every)).astype({"seed": "Int64"})
    return formats.table("matched_gain", "Retention at matched gain", text, columns, frame)


def _reached(one: Matched) -> str:
    found = one.reached
    if not found.n:
        return "doesn't reach"
    few = "" if found.n == len(one.kept) else f" ({found.n}/{len(one.kept)} seeds)"
    return spread(found, scale=100) + few


def _numbers(results: Results, every: list[Matched]) -> Iterator[dict[str, Any]]:
    """A line a row and share over its seeds, then a line each of its seeds."""
    names = ("mean", "half_width", "p", "df", "seeds", "test")
    for one in every:
        key = results.key(one.row) | {"share_of_gain": one.share}
        yield (
            key
            | {"seed": None, "kept": one.reached.mean, "sd": one.reached.sd}
            | {"reached": one.reached.n, "asked": len(one.kept)}
            | {f"difference.{name}": getattr(one.difference, name) for name in names}
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
