"""Results -> the table of what each row forgot."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from compact_bench import captions, formats
from compact_bench import forgetting as numbers_of
from compact_bench.forgetting import (
    FORGOTTEN,
    GAINED,
    KL,
    LEARNED,
    LOST,
    PERPLEXITY,
    RELEARNT,
    RETENTION,
    SAME_ITEMS,
    Forgetting,
    forgetting,
)
from compact_bench.formats import Entry, Table
from compact_bench.outcomes import Results
from compact_bench.printing import NONE, points, share
from compact_bench.retention_paths import evidence_recorded


def table(results: Results) -> Table | None:
    """Forgetting by row, mean over tasks; None for records that hold none of what it needs."""
    frame = pd.DataFrame(numbers_of.numbers(results)) if evidence_recorded(results) else None
    if frame is None or frame.empty or not results.headlines("forgetting"):
        return None
    # A rule instead of a student forgets nothing, and has no line.
    ones = [one for one in forgetting(results).values() if one.told]
    columns: dict[str, list[Entry]] = {"method": [Entry(one.row.label) for one in ones]}
    for title, texts in _columns(results, ones):
        if any(text != NONE for text in texts):
            columns[title] = [Entry(text) for text in texts]
    text = captions.caption(results, *_caption(results, ones))
    frame = frame.astype({"seed": "Int64"})
    return formats.table("forgetting", "What was forgotten", text, columns, frame)


def _columns(results: Results, ones: list[Forgetting]) -> Iterator[tuple[str, list[str]]]:
    name = results.reference.name if results.reference else NONE
    yield "kept, % ↑", [_share(one, RETENTION) for one in ones]
    yield (
        f"Δ kept to {name}",
        [points(numbers_of.difference(results, one.row, RETENTION)) for one in ones],
    )
    yield "right → wrong, % ↓", [_share(one, LOST) for one in ones]
    if _guessed(results):
        yield "forgotten, % ↓", [_share(one, FORGOTTEN) for one in ones]
    yield (
        f"Δ forgotten to {name}",
        [points(numbers_of.difference(results, one.row, FORGOTTEN)) for one in ones],
    )
    yield "wrong → right, %", [_share(one, GAINED) for one in ones]
    if _guessed(results):
        yield "learned, %", [_share(one, LEARNED) for one in ones]
    yield "perplexity × ↓", [_plain(one, PERPLEXITY, 2) for one in ones]
    yield "KL from the base, nats", [_plain(one, KL, 3) for one in ones]
    yield "kept on the few items, %", [_share(one, SAME_ITEMS) for one in ones]
    yield "and once relearned, %", [_share(one, RELEARNT) for one in ones]


def _guessed(results: Results) -> bool:
    """Whether guessing helps in any forgetting task: else corrected and observed are the same."""
    return any(results.chance.get(m, 0.0) > 0 for m in results.headlines("forgetting"))


def _share(one: Forgetting, quantity: str) -> str:
    found = one.summary(quantity)
    spread = f" ± {share(found.sd)}" if found.n > 1 else ""
    return (share(found.mean) + spread).replace("-", "−")


def _plain(one: Forgetting, quantity: str, digits: int) -> str:
    found = one.summary(quantity)
    if not found.n:
        return NONE
    spread = f" ± {found.sd:.{digits}f}" if found.n > 1 else ""
    return f"{found.mean:.{digits}f}{spread}".replace("-", "−")


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
        number = " to ".join(f"{count:g}" for count in dict.fromkeys([examples[0], examples[-1]]))
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
        for name, one in numbers_of.covariates(results).items()
        if math.isfinite(one[0]) and math.isfinite(one[2])
    }
    if "KL from the base" not in found:
        return
    told = "; ".join(
        f"{name} {cells:+.2f} over {n} trained cells, {rows:+.2f} over {m} rows' means"
        for name, (cells, n, rows, m) in found.items()
    )
    yield (
        f"Spearman's rank correlation of kept with {told}; cells of one row are not independent, "
        "so no p value is given"
    ).replace(" -", " −")
