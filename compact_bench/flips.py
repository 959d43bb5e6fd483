"""What was forgotten and what was learned, item by item, with luck taken out."""

from __future__ import annotations

import numpy as np


def forgotten(before: np.ndarray, after: np.ndarray, chance: float) -> np.ndarray:
    """Per item, an estimate whose mean is the share of items known before and not known after.

    F = ([right, then wrong] - c / (1 - c) [wrong, then wrong]) / (1 - c), c the chance of a guess.

    An item is known (always answered right) or guessed (right with chance c, anew each time).
    Let f be the share known before only, u the share known neither time.  Then
    P(right, wrong) = f (1 - c) + u c (1 - c) and P(wrong, wrong) = u (1 - c)^2, since an item
    known after is never wrong then.  The second gives what guessing alone turns over,
    u c (1 - c) = c / (1 - c) P(wrong, wrong); the rest over 1 - c is f.  Where nothing is learned
    this equals what the accuracy before says, c (1 - accuracy); where something is, that would
    take off too much.  With c = 0 it is the observed share.

    before, after: bool or 0/1 of one broadcast shape.  Returns float64 of that shape; single
    values and means of few items may be negative.  ValueError unless 0 <= c < 1.
    Source: Harmon et al. 2025 (arXiv 2510.17776) count such transitions and take off guessing;
    Cor and Sood 2018, "Guessing and Forgetting", have the latent classes.

    >>> forgotten(np.array([1, 0, 1, 1]), np.array([0, 0, 1, 1]), 0.5).tolist()
    [2.0, -2.0, 0.0, 0.0]
    """
    if not 0 <= chance < 1:
        raise ValueError(f"chance is {chance}; it must be at least 0 and below 1")
    was, is_now = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    lost, never = was * (1 - is_now), (1 - was) * (1 - is_now)
    return np.asarray((lost - chance / (1 - chance) * never) / (1 - chance))


def learned(before: np.ndarray, after: np.ndarray, chance: float) -> np.ndarray:
    """The reverse: the share of items not known before and known after, by the same estimate.

    Its mean and that of `forgotten` differ by (accuracy after - accuracy before) / (1 - c).
    """
    return forgotten(after, before, chance)
