"""Records of one control and two worlds with headroom, as a suite of six rows would leave them."""

from __future__ import annotations

from pathlib import Path

from tests import synthetic
from tests.synthetic import Made

CONTROL, SMALL, LARGE = "clean", "filler 20%", "filler 50%"
ROWS = ("base", "average", "oracle", "no floor", "full", "random_weights", "human_sft")
KEYS = {"compare_to": "average", "regret_to": "oracle", "without_faults": "no floor"}
# What oracle and the repaired row ("no floor") have more than the reference row, by condition.
HEADROOM = {CONTROL: (0.0, 0.0), SMALL: (0.25, 0.35), LARGE: (0.4, 0.45)}
_LEVEL = 0.42  # of every row where it gains nothing


def make(
    root: Path, keys: dict[str, str] | None = None, seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
) -> Path:
    """Write the records under `root`; "full" gains most of the headroom, others nothing."""
    gains = {}
    for condition, (truth, repaired) in HEADROOM.items():
        more = {"oracle": truth, "no floor": repaired, "full": 0.9 * truth}
        for label in ROWS[1:]:
            level = _LEVEL - synthetic.after(label)[0]
            gains[label, condition] = level + more.get(label, 0.0)
    conditions = tuple(
        {"name": name, "x": 0, "data": {"corrupt": {"filler": share} if share else {}}}
        for name, share in ((LARGE, 0.5), (CONTROL, 0.0), (SMALL, 0.2))
    )
    made = Made(
        seeds=seeds, items=100, labels=ROWS, conditions=conditions, scored=True, steps=1,
        gains=gains, suite=KEYS if keys is None else keys,
    )  # fmt: skip
    return synthetic.make(root, made)
