"""Rows compared at equal gain: what is kept where a path first gains as much as the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from compact_bench import captions, formats, stats
from compact_bench.formats import Entry, Table
from compact_bench.outcomes import Results, Row, Seed
from compact_bench.printing import NONE, share
from compact_bench.retention_paths import SCALE, Point, at_gain, path
from compact_bench.stats import Difference

SHARES = (0.5, 1.0)  # of what the reference row gains when it is trained


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
    found = stats.over_items(pd.Series(differences, dtype=float).to_numpy())
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
            found.append(
                Matched(row, part, _kept(paths, gains), _kept(others, gains))
            )  # fmt: skip
    return found


def _kept(
    paths: Mapping[Seed, tuple[Point, ...]], gains: Mapping[Seed, float]
) -> dict[Seed, float | None]:
    return {seed: at_gain(paths[seed], gain) for seed, gain in gains.items()}


def table(results: Results) -> Table | None:
    """Retention at matched gain; None without records of scaled changes."""
    every = matched(results)
    if not every:
        return None
    rows = list({one.row.label: one.row for one in every}.values())
    by_key = {(one.row.label, one.share): one for one in every}
    name = results.reference.name if results.reference else NONE
    columns: dict[str, list[Entry]] = {"method": [Entry(row.label) for row in rows]}
    columns["gain, points"] = [Entry(_gain(results, row)) for row in rows]
    for part in SHARES:
        ones = [by_key[row.label, part] for row in rows]
        where = f"{_words(part)} of {name}'s gain"
        columns[f"kept at {where}, % ↑"] = [Entry(_reached(one)) for one in ones]
        columns[f"Δ to {name} at {_words(part)}"] = [Entry(_change(results, one)) for one in ones]
    text = captions.caption(results, *_caption(results))
    frame = pd.DataFrame(_numbers(results, every)).astype({"seed": "Int64"})
    return formats.table("matched_gain", "Retention at matched gain", text, columns, frame)


def _words(part: float) -> str:
    return "all" if part == 1 else "half" if part == 0.5 else f"{part:g}"


def _gain(results: Results, row: Row) -> str:
    """What the trained students gain on the items of the curve."""
    gains = [points[-1].gain for points in path(results, row, SCALE).values()]
    found = stats.summarise(gains)
    spread = f" ± {share(found.sd)}" if found.n > 1 else ""
    return f"{100 * found.mean:+.1f}{spread}".replace("-", "−")


def _reached(one: Matched) -> str:
    found = stats.summarise(one.reached)
    if not found.n:
        return "doesn't reach"
    spread = f" ± {share(found.sd)}" if found.n > 1 else ""
    few = "" if found.n == len(one.kept) else f" ({found.n}/{len(one.kept)} seeds)"
    return f"{share(found.mean)}{spread}{few}".replace("-", "−")


def _change(results: Results, one: Matched) -> str:
    reference, found = results.reference_of(one.row), one.difference
    if reference is None or reference.label == one.row.label or not math.isfinite(found.mean):
        return NONE
    spread = f" ± {share(found.half_width)}" if math.isfinite(found.half_width) else ""
    return f"{100 * found.mean:+.1f}{spread}".replace("-", "−")


def _numbers(results: Results, every: list[Matched]) -> Iterator[dict[str, Any]]:
    """A line a row and share over its seeds, then a line each of its seeds."""
    names = ("mean", "half_width", "p", "df", "seeds", "test")
    for one in every:
        key = results.key(one.row) | {"share_of_gain": one.share}
        found = stats.summarise(one.reached)
        reference = results.reference_of(one.row)
        own = reference is not None and reference.label == one.row.label
        against = vars(Difference(math.nan) if own else one.difference)
        yield (
            key
            | {"seed": None, "kept": found.mean, "sd": found.sd}
            | {"reached": found.n, "asked": len(one.kept)}
            | {f"difference.{name}": against[name] for name in names}
        )
        for seed, value in one.kept.items():
            yield key | {"seed": seed, "kept": value}


def _caption(results: Results) -> Iterator[str]:
    name = results.reference.name if results.reference else NONE
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
