"""What a search found for rows of a suite, for the suite to run them with."""

from __future__ import annotations

from pathlib import Path

from compact_bench.tune import trials
from compact_bench.tune.trials import LEARNING_RATE


def settings_of(root: Path, rate: float) -> dict[str, tuple[dict[str, float], float]]:
    """Settings and learning rate of the best trial by row, of the searches that are over.

    root: the results of the suite. rate: the learning rate where none was searched.
    """
    folder = root / "tune"
    if not (folder / trials.FILE).exists():
        return {}
    found = {}
    for study in trials.read(folder).studies:
        if study.over and (best := study.best):
            values = dict(best.settings)
            own = values.pop(LEARNING_RATE, rate)
            found[study.label] = values, own
    return found
