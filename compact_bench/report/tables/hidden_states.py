"""Results -> tables of hidden states and weight changes: how far, how alike, and whose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from compact_bench.analysis.hidden_states import (
    FEWEST,
    FOLDS,
    NUMBERS,
    SUBSPACE,
    StateStats,
    state_stats,
)
from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.statistics import summarise
from compact_bench.records.parquet import Seed
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Table
from compact_bench.report.parts.numbers import NONE, spread

SAME, OTHER = "same", "other"  # seeds

DIGITS = 5  # in CSV files: what lies behind differs from one machine's linear algebra to another's


def latent(results: Results) -> Table | None:
    """How far training moved the hidden states of the last layer, a row a method; None without."""
    found = state_stats(results)
    if found is None or not any(found.values.values()):
        return None
    last = found.base.layers[-1]
    rows = [row for row in results.rows if found.values.get(row.label)]
    reference = captions.reference(results)
    shown = [
        ("cka", last, "CKA to before", 3),
        ("cka", None, "mean over layers", 3),
        ("cka_random", last, "random change", 3),
        ("cka_reference", last, f"CKA to {reference}, same seed", 3),
        ("cka_reference_other_seeds", last, "other seeds", 3),
        ("cka_seeds", last, "CKA to own other seeds", 3),
        ("drift", last, "drift", 2),
        ("drift_random", last, "drift of the random change", 2),
        ("angle_largest", last, "largest angle, °", 1),
        ("angle_mean", last, "mean angle, °", 1),
        ("probe", last, "probe's AUROC", 2),
    ]
    columns = {"method": [row.label for row in rows]}
    for name, layer, title, digits in shown:
        texts = [spread(found.summary(row.label, name, layer), digits) for row in rows]
        columns |= formats.known({title: texts})
    text = captions.caption(results, *_caption(results, found))
    return formats.table("latent", "Hidden states", text, columns, _numbers(results, found))


def _caption(results: Results, found: StateStats) -> Iterator[str]:
    base, last = found.base, found.base.layers[-1]
    layers = ", ".join(map(str, base.layers))
    yield (
        f"Hidden states at the last token of {len(base.record.probes)} prompts, of the trained "
        f"student against {base.label}, after layer {last} of {layers} (0: embeddings); mean "
        "± standard deviation over seeds. CKA: debiased linear CKA, 1 = equal up to rotation and "
        "scale, 0 = unrelated. Drift: mean distance that a prompt's state moved, over the root "
        "mean squared distance of the untrained states from their mean"
    )
    yield (
        f"Angles are between the spans of the first {SUBSPACE} principal components before and "
        "after. Random change: a random change of the weights that costs the same KL from "
        f"{base.label} as the training did: what moves as far without learning anything"
    )
    if base.probes is None:
        yield (
            f"No probe for correctness: {base.label} has fewer than {FEWEST} right or fewer than "
            f"{FEWEST} wrong answers to these prompts in tasks where it has both"
        )
    else:
        yield (
            f"Probe's AUROC: how well a linear probe for correctness, fitted on {base.label}'s "
            "states and right or wrong answers, tells the trained student's right answers from "
            f"its wrong ones of the same task; on {base.label} itself {base.probes.own[-1]:.2f} "
            f"({FOLDS}-fold cross-validated); 0.5 is chance; – where the student has fewer than "
            f"{FEWEST} right or wrong answers to compare"
        )
    if found.other_probes:
        yield f"{found.other_probes} cells with other prompts or layers are left out"


def _numbers(results: Results, found: StateStats) -> pd.DataFrame:
    """Every row, seed and layer."""
    lines: list[dict[str, Any]] = [
        {**results.key(row), "seed": seed, "layer": layer}
        | {name: values.get(name, {}).get((seed, layer)) for name in NUMBERS}
        for row in results.rows
        if (values := found.values.get(row.label))
        for seed, layer in dict.fromkeys(key for by_layer in values.values() for key in by_layer)
    ]
    frame = pd.DataFrame(lines, columns=[*results.key_columns, "seed", "layer", *NUMBERS])
    types = {"seed": "Int64", "layer": "Int64"} | dict.fromkeys(NUMBERS, float)
    return frame.astype(types).round(DIGITS)


def cosines(
    mine: Mapping[Seed, np.ndarray], other: Mapping[Seed, np.ndarray]
) -> dict[str, dict[Seed, float]]:
    """By seed: the cosine with the other's change of the same seed, and the mean over its others.

    mine, other: seed -> (m,) float64 of length 1.
    """
    found: dict[str, dict[Seed, float]] = {SAME: {}, OTHER: {}}
    if not mine or not other:
        return found
    products = np.stack([*mine.values()]) @ np.stack([*other.values()]).T
    same = np.array([[one == seed for one in other] for seed in mine])
    for seeds, chosen in ((SAME, same), (OTHER, ~same)):
        counts = chosen.sum(axis=1)
        sums = np.where(chosen, products, 0.0).sum(axis=1)
        known = zip(mine, sums, counts, strict=True)
        found[seeds] = {seed: float(total / count) for seed, total, count in known if count}
    return found


def integration(results: Results) -> Table | None:
    """Cosines of each row's change of weights with the single-teacher rows'; None without both."""
    found = state_stats(results)
    rows = [row for row in results.rows if found and row.label in found.changes]
    teachers = [row for row in rows if row.teacher]
    if found is None or not teachers or len(rows) < 2:
        return None
    pairs: list[tuple[Row, Row]] = []
    for row in rows:  # with the rows of its condition, and with itself for its other seeds
        here = [other for other in teachers if other.condition == row.condition]
        others = {o.label: o for o in (*here, results.reference_of(row), row) if o is not None}
        pairs += [(row, other) for other in others.values()]
    values = {
        (row.label, other.label, seeds): summarise(list(by_seed.values()))
        for row, other in pairs
        if other.label in found.changes
        for seeds, by_seed in cosines(found.changes[row.label], found.changes[other.label]).items()
    }

    def cosine(row: Row, name: str) -> str:
        other = results.named(name, row.condition)
        if other is None or other.label == row.label:
            return NONE
        return spread(values.get((row.label, other.label, SAME)), 2)

    columns = {"method": [row.label for row in rows]}
    titles = {name: name for name in dict.fromkeys(row.name for row in teachers)}
    reference = results.reference
    if reference is not None and reference.label in found.changes:
        titles[f"{reference.name} (control)"] = reference.name
    columns |= {title: [cosine(row, name) for row in rows] for title, name in titles.items()}
    own = [spread(values.get((row.label, row.label, OTHER)), 2) for row in rows]
    columns = formats.known(columns | {"own other seeds (control)": own})
    lines = [
        results.key(row) | {"against": other.name, "seeds": seeds} | vars(one)
        for row, other in pairs
        for seeds in (SAME, OTHER)
        if (one := values.get((row.label, other.label, seeds))) is not None and one.n
    ]
    text = captions.caption(results, *_integration_caption(found))
    title = "Whose change of the weights it is"
    return formats.table("integration", title, text, columns, pd.DataFrame(lines).round(DIGITS))


def _integration_caption(found: StateStats) -> Iterator[str]:
    length = len(next(iter(next(iter(found.changes.values())).values())))
    yield (
        "Cosine of the row's change of the weights with that of the student of one teacher alone, "
        "mean ± standard deviation over seeds: a row that integrates its teachers has a part of "
        "each one's change. Both students have the same seed, and so share the order of the data "
        "where they read the same questions: that raises these cosines, and the controls too"
    )
    yield (
        "Controls: the reference row's change of the same seed, and the row's own change under "
        f"its other seeds. Cosines are of sketches of {length} numbers; a sketch adds an error of "
        f"about {1 / math.sqrt(length):.3f} (standard deviation) to each seed's cosine"
    )
