"""How often tests call equal methods different, and find what is there: simulated suites.

    python docs/simulate_tests.py

prints the tables of docs/statistics.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

from compact_bench.analysis import claims, descriptive, results, statistics


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


ROWS = 5  # that are compared to the same one


def differences(world: World, suites: int, rng: np.random.Generator) -> np.ndarray:
    """Paired differences of answers, ROWS rows to one that is as good; (C,R,S,n) of -1, 0 and 1.

    right ~ Bernoulli(logistic(sum of effects)); every effect has mean 0 and the same spread for
    all methods, so that none is better.
    """

    def effect(spread: float, *shape: int) -> np.ndarray:
        return np.float32(spread) * rng.standard_normal(shape, dtype=np.float32)

    c, s, n = suites, world.seeds, world.items
    every = world.mean + effect(world.item, c, 1, n) + effect(world.shared_seed, c, s, 1)
    right = []
    for _ in range(ROWS + 1):
        own = effect(world.item_by_method, c, 1, n) + effect(world.own_seed, c, s, 1)
        logit = every + own + effect(world.seed_by_item, c, s, n)
        right.append(rng.random((c, s, n), dtype=np.float32) < 1 / (1 + np.exp(-logit)))
    reference, *rows = right
    return np.stack([np.subtract(row, reference, dtype=np.float64) for row in rows], axis=1)


def components(values: np.ndarray) -> dict[str, float]:
    """Standard deviations of seeds, items and what is left in paired differences.

    From E MS_s = n sd_s^2 + sd_e^2, E MS_i = S sd_i^2 + sd_e^2, E MS_e = sd_e^2, averaged over
    comparisons before the root.  values: (...,S,n).
    """
    seeds, items = values.shape[-2:]
    tables = values.reshape(-1, seeds, items)
    by_seed, by_item, error = np.mean([*map(statistics.mean_squares, tables)], axis=0)
    return {
        "seed": float(np.sqrt(max(by_seed - error, 0.0) / items)),
        "item": float(np.sqrt(max(by_item - error, 0.0) / seeds)),
        "error": float(np.sqrt(error)),
    }


def significant_shares(values: np.ndarray, level: float = 0.05) -> dict[str, float]:
    """Share of the comparisons that each test calls significant. values: (C,R,S,n)."""
    crossed = [
        statistics.crossed(row, peers=suite.mean(axis=2)).p < level
        for suite in values
        for row in suite
    ]
    values = values.reshape(-1, *values.shape[2:])  # (C R,S,n)
    gained, lost = ((sign * values > 0).sum(axis=(1, 2)) for sign in (1, -1))
    intervals = np.array([descriptive.bootstrap(paired, 1 - level) for paired in values])
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


@dataclass(frozen=True)
class Noise:
    """A suite whose rows differ from their reference row by noise and `gain`, in shares right.

    seed: what a seed does to each row, and `reference` to the row that they are compared to; item
    and error: of a difference, as in docs/statistics.md.  Sds of a difference are sqrt(2) times
    those of one row.
    """

    seeds: int
    items: int = 1000
    seed: Sequence[float] = (0.016 / 2**0.5,) * 12
    reference: float = 0.016 / 2**0.5
    item: float = 0.19
    error: float = 0.40
    gain: float = 0.0

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Paired differences of one suite, (R,S,n) float64."""
        rows = len(self.seed) + 1
        seed = rng.standard_normal((rows, self.seeds, 1)) * self._seeds[:, None, None]
        item = rng.standard_normal((rows, 1, self.items)) * self.item / 2**0.5
        error = rng.standard_normal((rows, self.seeds, self.items)) * self.error / 2**0.5
        values = seed + item + error
        return np.asarray(values[1:] - values[0] + self.gain)

    @property
    def _seeds(self) -> np.ndarray:
        return np.array([self.reference, *self.seed])

    @property
    def variance(self) -> np.ndarray:
        """The true variance of each row's mean difference, (R,)."""
        seed = self._seeds[1:] ** 2 + self.reference**2
        items = self.item**2 / self.items + self.error**2 / (self.items * self.seeds)
        return np.asarray(seed / self.seeds + items)


def satterthwaite(values: np.ndarray) -> statistics.Difference:
    """The test that was rejected: a row alone, and items add degrees of freedom. values: (S,n)."""
    ms_seeds, ms_items, ms_error = statistics.mean_squares(values)
    df_seeds, df_items = values.shape[0] - 1.0, values.shape[1] - 1.0
    seeds, items = max(ms_seeds, ms_error), max(ms_items, ms_error)
    total = seeds + items - ms_error
    parts = [(ms_error, df_seeds * df_items)]
    parts += [(ms_seeds, df_seeds)] if ms_seeds > ms_error else []
    parts += [(ms_items, df_items)] if ms_items > ms_error else []
    df = max(total**2 / sum(ms**2 / df for ms, df in parts), 1.0)
    if len(parts) < 3:  # what is left of one mean square
        df = {ms_seeds: df_seeds, ms_items: df_items}.get(total, df_seeds * df_items)
    half_width = special.stdtrit(df, 0.975) * np.sqrt(total / values.size)
    return statistics.Difference(float(values.mean()), float(half_width), df=df)


LEVELS = (0.05, 0.05 / 30, 0.05 / 150)  # 5%, and what Holm asks of the smallest p of so many
Test = Callable[[np.ndarray, np.ndarray], statistics.Difference]  # of (S,n) and all rows' (R,S)


def rejected(noise: Noise, test: Test, suites: int, gain: float = 0.0) -> list[float]:
    """Share of comparisons that a test calls significant at each of LEVELS.

    The mean of a difference is normal and independent of its mean squares, so the share is
    computed from each interval instead of counted: P(|N(gain, variance)| > t SE).
    """
    rng = np.random.default_rng(noise.seeds)
    shares = np.zeros(len(LEVELS))
    for _ in range(suites):
        values = noise.draw(rng)
        means = values.mean(axis=2)
        for row, variance in zip(values, noise.variance, strict=True):
            found = test(row, means)
            error = found.half_width / special.stdtrit(found.df, 0.975)
            limits = special.stdtrit(found.df, 1 - np.array(LEVELS) / 2) * error
            ends = np.array([-limits - gain, -limits + gain]) / np.sqrt(variance)
            shares += special.ndtr(ends).sum(axis=0)
    return (shares / (suites * len(noise.seed))).tolist()


TESTS: Mapping[str, Test] = {
    "pooled": lambda row, means: statistics.crossed(row, peers=means),
    "alone": lambda row, means: statistics.crossed(row),
    "rejected": lambda row, means: satterthwaite(row),
}
# Sds of what a seed does to the reference row and to 12 others.
NOISES: Mapping[str, tuple[float, Sequence[float]]] = {
    "typical": (0.016 / 2**0.5, (0.016 / 2**0.5,) * 12),
    "facts": (0.08 / 2**0.5, (0.08 / 2**0.5,) * 12),
    "rows unlike": (0.05 / 2**0.5, tuple(np.linspace(0, 0.1, 12) / 2**0.5)),
    "only the reference": (0.08, (0.01,) * 12),
}
GAIN = 0.03


def sizes(suites: int) -> None:
    """Print size over level for each test, and the power of the pooled one for GAIN."""
    titles = ["noise", "items", "seeds", *TESTS, f"power for {100 * GAIN:.0f} points"]
    print("| " + " | ".join(titles) + " |\n|---" + "|---:" * (len(titles) - 1) + "|")
    for name, (reference, seed) in NOISES.items():
        for items in (100, 300, 1000) if name in ("typical", "facts") else (1000,):
            for seeds in (2, 3, 5, 10):
                noise = Noise(seeds, items, seed, reference)
                found = [rejected(noise, test, suites) for test in TESTS.values()]
                cells = [
                    " / ".join(
                        f"{share / level:.1f}" for share, level in zip(one, LEVELS, strict=True)
                    )
                    for one in found
                ]
                power = rejected(noise, TESTS["pooled"], suites, GAIN)
                cells += [" / ".join(f"{share:.0%}" for share in power)]
                print("| " + " | ".join([name, str(items), str(seeds), *cells]) + " |", flush=True)


def published_components(root: Path) -> dict[str, dict[str, float]]:
    """Spreads of the differences of trained rows in published suites of three seeds or more.

    By role of the task; mean squares are turned into components, and averaged before the root.
    """
    found: dict[str, list[tuple[float, float, float]]] = {}
    for record in sorted(root.glob("*/*/suite.json")):
        suite = results.read(record.parent)
        for measure in claims.primary(suite):
            for row in suite.rows:
                other = suite.compared_to(row)
                values = other and results.item_differences(row, other, measure)
                if not row.trained or values is None or len(values) < 3:
                    continue
                by_seed, by_item, error = statistics.mean_squares(values)
                seeds, items = values.shape
                parts = (by_seed - error) / items, (by_item - error) / seeds, error
                found.setdefault(measure.role, []).append(parts)
    spreads = {}
    for role, parts in found.items():
        seed, item, error = np.sqrt(np.maximum(np.mean(parts, axis=0), 0.0))
        spreads[role] = {"seed": seed, "item": item, "error": error, "comparisons": len(parts)}
    return spreads


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description="Share of null differences called significant.")
    parser.add_argument("--suites", type=int, default=600)
    parser.add_argument("--components", type=Path, help="print those of published suites only")
    arguments = parser.parse_args()
    if arguments.components:
        for role, found in published_components(arguments.components).items():
            print(role, {name: round(float(value), 3) for name, value in found.items()})
        return
    suites = arguments.suites
    sizes(suites // 4)
    print()
    titles: list[str] = []
    for name, changed in SETTINGS.items():
        for seeds in (3, 5, 10):
            world = World(**{"seeds": seeds, **changed})  # type: ignore[arg-type]
            values = differences(world, suites, np.random.default_rng(seeds))
            shares = significant_shares(values)
            if not titles:
                titles = ["setting", "seeds", "seed sd", "item sd", "error sd", *shares]
                print("| " + " | ".join(titles) + " |\n|---" + "|---:" * (len(titles) - 1) + "|")
            spreads = [f"{sd:.3f}" for sd in components(values).values()]
            cells = [name, str(seeds), *spreads, *(f"{100 * x:.1f}" for x in shares.values())]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
