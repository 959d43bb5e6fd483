"""How often tests call two equal methods different: simulated comparisons with seed effects.

    python docs/simulate_tests.py

prints the table of docs/statistics.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compact_bench.analysis import descriptive, statistics


@dataclass(frozen=True)
class World:
    """Two methods that are equally good; all but counts are standard deviations of logits.

    The defaults give differences the spreads that those of published records have on average:
    docs/statistics.md.
    """

    seeds: int = 3
    items: int = 200
    mean: float = -2.0  # logit of a right answer; about 28% of answers are right
    item: float = 2.8  # how hard an item is, for both methods alike
    item_by_method: float = 1.1  # items that one method happens to suit
    shared_seed: float = 0.2  # what a seed does to both methods (order of data, initial weights)
    own_seed: float = 0.22  # what it does to one of them
    seed_by_item: float = 0.4  # an item that one training happens to learn


def differences(world: World, comparisons: int, rng: np.random.Generator) -> np.ndarray:
    """Paired differences of the answers of two equal methods; (C,S,n) float64 of -1, 0 and 1.

    right ~ Bernoulli(logistic(sum of effects)); every effect has mean 0 and the same spread for
    both methods, so that neither is better.
    """

    def effect(spread: float, *shape: int) -> np.ndarray:
        return np.float32(spread) * rng.standard_normal(shape, dtype=np.float32)

    c, s, n = comparisons, world.seeds, world.items
    both = world.mean + effect(world.item, c, 1, n) + effect(world.shared_seed, c, s, 1)
    right = []
    for _ in range(2):
        own = effect(world.item_by_method, c, 1, n) + effect(world.own_seed, c, s, 1)
        logit = both + own + effect(world.seed_by_item, c, s, n)
        right.append(rng.random((c, s, n), dtype=np.float32) < 1 / (1 + np.exp(-logit)))
    return np.subtract(*right, dtype=np.float64)


def components(values: np.ndarray) -> dict[str, float]:
    """Standard deviations of seeds, items and what is left in paired differences.

    From E MS_s = n sd_s^2 + sd_e^2, E MS_i = S sd_i^2 + sd_e^2, E MS_e = sd_e^2, averaged over
    comparisons before the root.  values: (C,S,n).
    """
    seeds, items = values.shape[1:]
    by_seed, by_item, error = np.mean([*map(statistics.mean_squares, values)], axis=0)
    return {
        "seed": float(np.sqrt(max(by_seed - error, 0.0) / items)),
        "item": float(np.sqrt(max(by_item - error, 0.0) / seeds)),
        "error": float(np.sqrt(error)),
    }


def significant_shares(values: np.ndarray, level: float = 0.05) -> dict[str, float]:
    """Share of the comparisons that each test calls significant. values: (C,S,n)."""
    gained, lost = ((sign * values > 0).sum(axis=(1, 2)) for sign in (1, -1))
    crossed = [statistics.crossed(paired).p < level for paired in values]
    intervals = np.array([descriptive.bootstrap(paired, 1 - level) for paired in values])  # (C,2,2)
    over_items, over_both = ((intervals[..., 0] > 0) | (intervals[..., 1] < 0)).mean(axis=0)
    return {
        "crossed": float(np.mean(crossed)),
        "bootstrap over items": float(over_items),
        "bootstrap over both": float(over_both),
        "McNemar": float((descriptive.mcnemar(gained, lost) < level).mean()),
    }


# The worlds of the table; the first three are like our records, the rest extremes.
SETTINGS: Mapping[str, Mapping[str, float]] = {
    "100 items": {"items": 100},
    "200 items": {},
    "300 items": {"items": 300},
    "seeds matter more": {"own_seed": 0.6},
    "seeds don't matter": {"own_seed": 0.0},
    "no item suits a method": {"item_by_method": 0.0},
}


def main() -> None:
    """Print the shares for every setting and number of seeds as a Markdown table."""
    parser = argparse.ArgumentParser(description="Share of null differences called significant.")
    parser.add_argument("--comparisons", type=int, default=3000)
    comparisons = parser.parse_args().comparisons
    titles: list[str] = []
    for name, changed in SETTINGS.items():
        for seeds in (3, 5, 10):
            world = World(**{"seeds": seeds, **changed})  # type: ignore[arg-type]
            values = differences(world, comparisons, np.random.default_rng(seeds))
            shares = significant_shares(values)
            if not titles:
                titles = ["setting", "seeds", "seed sd", "item sd", "error sd", *shares]
                print("| " + " | ".join(titles) + " |\n|---" + "|---:" * (len(titles) - 1) + "|")
            spreads = [f"{sd:.3f}" for sd in components(values).values()]
            cells = [name, str(seeds), *spreads, *(f"{100 * x:.1f}" for x in shares.values())]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
