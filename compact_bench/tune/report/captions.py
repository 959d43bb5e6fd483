"""What a reader must know of a search to judge its tables and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from compact_bench.report.parts.captions import Caption, limits, opening, sentence
from compact_bench.tune.trials import COMPLETE, OBJECTIVES, Search, Study


def caption(search: Search, studies: Sequence[Study], text: str) -> Caption:
    """A caption whose own part also has the objectives and how many trials the studies had."""
    names = dict.fromkeys(name for study in studies for name in study.objectives)
    ways = [
        f"{one.title} ({'more is better' if one.better > 0 else 'less is better'})"
        for one in (OBJECTIVES[name] for name in names)
    ]
    objectives = f"Objective{'s' if len(ways) > 1 else ''} on the dev split: {' and '.join(ways)}"
    parts = [sentence(part) for part in (text, objectives, counts(studies))]
    common = [part for part in setting(search, studies) if part not in parts]
    return Caption(" ".join(parts), " ".join(common))


def setting(search: Search, studies: Sequence[Study]) -> list[str]:
    """Sentences on the suite, on how the studies were searched, and on what the numbers aren't."""
    suite = search.suite
    used = dict.fromkeys(study.seeds for study in studies)
    seeds = " or ".join(", ".join(map(str, one)) for one in used)
    parts = [
        *opening(suite, tuple(suite.get("data", {}).get("teachers") or ())),
        samplers(studies),
        f"One training seed a trial ({seeds}): trials differ by its chance too"
        if all(len(one) == 1 for one in used)
        else f"A trial's value is the mean over training seeds {seeds}",
        *limits(suite, ("dev",)),
        suite.get("notes", ""),
        *search.notes,
    ]
    return list(dict.fromkeys(sentence(part) for part in parts if str(part).strip()))


def counts(studies: Sequence[Study]) -> str:
    """Count each study's trials by state, so that no failure is lost."""
    parts = []
    for study in studies:
        by_state = Counter(trial.state for trial in study.trials)
        by_state.setdefault(COMPLETE, 0)
        states = ", ".join(f"{n} {state}" for state, n in sorted(by_state.items()))
        unfinished = "" if study.over else ", not over"
        parts.append(f"{study.label} {len(study.trials)} ({states}{unfinished})")
    return f"Trials: {'; '.join(parts)}"


def samplers(studies: Sequence[Study]) -> str:
    """Name sampler, pruner and the sampler's seed, of each study where they differ."""
    labels: dict[str, list[str]] = {}
    for study in studies:
        way = f"sampler {study.sampler}, pruner {study.pruner}, seed {study.seed}"
        labels.setdefault(way, []).append(study.label)
    if len(labels) == 1:
        return f"Searched with {next(iter(labels))}"
    parts = (f"{way} ({', '.join(names)})" for way, names in labels.items())
    return f"Searched with {'; '.join(parts)}"
