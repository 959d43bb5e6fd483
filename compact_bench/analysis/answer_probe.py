"""Does a student's hidden state tell whether its answer will be right? A linear probe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compact_bench.analysis.statistics import NAN

FOLDS, FEWEST = 5, 5  # of cross-validation; right and wrong answers that it needs

STRENGTH = 0.1  # C of scikit-learn: the inverse weight of the squared length


@dataclass(frozen=True)
class Probes:
    """A direction of the base's states for each layer; `own`: cross-validated AUROC on the base."""

    directions: np.ndarray  # (L,d)
    own: np.ndarray  # (L,)

    def auroc(self, states: np.ndarray, right: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """AUROC within tasks on other states and their labels. (L,n,d), (n,) bool, (n,) int."""
        return within((states @ self.directions[..., None])[..., 0], right, groups)


def within(scores: np.ndarray, right: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """AUROC over pairs of a right and a wrong answer of the same task, ties as half.

    Pairs across tasks would reward a probe that only tells an easy task from a hard one.  NaN with
    fewer than FEWEST right or wrong answers in tasks that have both.

    scores: (...,n) float, right: (n,) bool, groups: (n,) int, the task.  Returns (...).
    """
    pairs = right[:, None] & ~right[None, :] & (groups[:, None] == groups[None, :])
    if min(pairs.any(axis=1).sum(), pairs.any(axis=0).sum()) < FEWEST:
        return np.full(scores.shape[:-1], NAN)
    first, second = np.nonzero(pairs)
    won = scores[..., first] - scores[..., second]
    return ((won > 0) + 0.5 * (won == 0)).mean(axis=-1)


def without_task(states: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """States less the mean of their task's. states: (...,n,d) float; groups: (n,) int."""
    found = states.astype(np.float64)
    for group in np.unique(groups):
        chosen = groups == group
        found[..., chosen, :] -= found[..., chosen, :].mean(axis=-2, keepdims=True)
    return found


def fit(states: np.ndarray, right: np.ndarray, groups: np.ndarray) -> Probes | None:
    """Fit a probe a layer on the base: logistic regression with an L2 penalty, standardised states.

    Each task's mean is taken off first, so that the task itself tells nothing.  Its own AUROC is of
    scores from FOLDS-fold cross-validation (seed 0), each fold's probe fitted without the fold.
    None with fewer than FEWEST right or wrong answers in tasks that have both.

    states: (L,n,d) float; right: (n,) bool; groups: (n,) int.  Source: Alain and Bengio 2017.
    """
    from sklearn.model_selection import StratifiedKFold

    if np.isnan(within(np.zeros(len(right)), right, groups)):
        return None
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(right, right))
    directions, own = [], []
    for layer in without_task(states, groups):
        scores = np.zeros(len(right))
        for train, test in folds:
            scores[test] = layer[test] @ _direction(layer[train], right[train])
        own.append(within(scores, right, groups))
        directions.append(_direction(layer, right))
    return Probes(np.stack(directions), np.stack(own))


def _direction(states: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The probe's direction in the units of the states; its constant tells nothing of order."""
    from sklearn.linear_model import LogisticRegression

    scale = states.std(axis=0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(C=STRENGTH, solver="newton-cholesky", tol=1e-8).fit(
        states / scale, right
    )
    return np.asarray(model.coef_[0] / scale, dtype=np.float64)
