"""How well a number tells good rationales from bad ones of the same question: arrays alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from compact_bench.analysis.statistics import NAN, resample_counts


@dataclass(frozen=True)
class Auroc:
    """An AUROC (or a difference of two) with its 95% interval and what it was counted over."""

    value: float
    low: float = NAN
    high: float = NAN
    pairs: int = 0
    questions: int = 0  # that have a pair

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Tally:
    """Pairs of a good and a bad rationale by question: how many, and how many are told apart.

    questions: (Q,) ids. wins, pairs: (Q,) float64, summed over passes and seeds.
    """

    questions: np.ndarray
    wins: np.ndarray
    pairs: np.ndarray


def comparisons(values: np.ndarray) -> np.ndarray:
    """1 where the first rationale's value is higher, 1/2 where both are equal, else 0.

    values: (G,R) float, NaN = missing.  Returns (G,R,R) float32; missing ones count as 0.
    """
    first, second = values[:, :, None], values[:, None, :]
    won = (first > second).astype(np.float32)
    won += np.float32(0.5) * (first == second)
    return won


def count(
    won: np.ndarray, known: np.ndarray, good: np.ndarray, bad: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (good i, bad j) of one question that are won, and how many there are.

    wins_g = sum_ij good_gi bad_gj won_gij.  won: (G,R,R) of `comparisons`; known, good, bad: (G,R)
    bool, known where a value is there: pairs without it are left out.  Returns (G,) and (G,).
    """
    left, right = (good & known).astype(np.float32), (bad & known).astype(np.float32)
    wins = np.einsum("gi,gij,gj->g", left, won, right, optimize=True)
    return wins.astype(np.float64), (left.sum(axis=1) * right.sum(axis=1)).astype(np.float64)


def tally(questions: np.ndarray, of_group: np.ndarray, *counted: np.ndarray) -> Tally:
    """Sum wins and pairs of groups (one question in one pass and seed) by question.

    questions: (Q,) ids; of_group: (G,) int, the group's place among them; counted: wins, pairs.
    """
    sums = [np.bincount(of_group, weights=values, minlength=len(questions)) for values in counted]
    return Tally(questions, *sums)


def auroc(tally: Tally) -> Auroc:
    """Within-question AUROC: the mean over pairs of 1[x_i > x_j] + 1/2 [x_i = x_j].

    A pair is a good rationale i and a bad one j of the same question in the same pass and seed.
    The pairs of all questions are pooled, so a question with more pairs weighs more; it isn't the
    mean of the questions' own AUROCs.  0.5 is chance.  The 95% interval is the percentile
    bootstrap over questions: all passes and seeds of a question are drawn together.
    """
    return _summarised(tally.pairs, _ratio, tally.wins, tally.pairs)


def auroc_difference(first: Tally, second: Tally) -> Auroc:
    """first - second, on the questions of both, drawn together in each resample."""
    _, mine, other = np.intersect1d(first.questions, second.questions, return_indices=True)
    columns = (first.wins[mine], first.pairs[mine], second.wins[other], second.pairs[other])
    pairs = np.minimum(columns[1], columns[3])
    return _summarised(pairs, lambda a, b, c, d: _ratio(a, b) - _ratio(c, d), *columns)


def _ratio(wins: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.divide(wins, pairs, out=np.full(np.shape(wins), NAN), where=np.asarray(pairs) > 0)


def _summarised(
    pairs: np.ndarray, statistic: Callable[..., np.ndarray], *columns: np.ndarray
) -> Auroc:
    """The statistic of summed columns (Q,) and its interval over resampled questions."""
    total = np.array([column.sum() for column in columns])
    value = float(statistic(*total[:, None])[0])
    questions = int((pairs > 0).sum())
    if not np.isfinite(value) or questions < 2:
        return Auroc(value, pairs=int(pairs.sum()), questions=questions)
    drawn = statistic(*(resample_counts(len(pairs), 0) @ np.stack(columns, axis=1)).T)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Auroc(value, float(low), float(high), int(pairs.sum()), questions)


def agreement(questions: Sequence[str], answers: Sequence[object]) -> np.ndarray:
    """How many other rationales of the question end in the same answer.

    A rationale without an answer agrees with nobody.  Returns (N,) float64.

    >>> agreement(["a", "a", "a", "b"], ["7", "7", None, "7"])
    array([1., 1., 0., 0.])
    """
    frame = pd.DataFrame({"question": list(questions), "answer": list(answers)}).replace("", None)
    alike = frame.groupby(["question", "answer"])["answer"].transform("size")
    return np.asarray(alike.sub(1).fillna(0), dtype=np.float64)


def effective_number(weights: np.ndarray) -> np.ndarray:
    """exp of the entropy of each question's weights. weights: (G,R), NaN or 0 = not read; (G,)."""
    w = np.nan_to_num(weights)
    w = w / np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
    return np.exp(special.entr(w).sum(axis=1))
