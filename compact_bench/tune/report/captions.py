"""What a reader must know of a search to judge its tables and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from compact_bench.report.parts.captions import Caption, limits, opening, sentence
from compact_bench.tune.trials import COMPLETE, OBJECTIVES, Search, Study


def caption(search: Search, studies: Sequence[Study], *own: str) -> Caption:
    """A caption whose own part also has the objectives and how many trials the studies had."""
    parts = [sentence(text) for text in (*own, objectives(studies), counts(studies)) if text]
    common = [one for one in setting(search, studies) if one not in parts]
    return Caption(" ".join(parts), " ".join(common))


def setting(search: Search, studies: Sequence[Study]) -> list[str]:
    """Sentences on the suite, on how the studies were searched, and on what the numbers aren't."""
    suite = search.suite
    parts = [
        *opening(suite, tuple(suite.get("data", {}).get("teachers") or ())),
        searched(studies),
        seeds(studies),
        *limits(suite, ("dev",)),
        suite.get("notes", ""),
        *search.notes,
    ]
    return list(dict.fromkeys(sentence(part) for part in parts if str(part).strip()))


def left_out(search: Search, studies: Sequence[Study], why: str) -> str:
    """Name the studies that aren't shown and why."""
    shown = {study.label for study in studies}
    missing = [study.label for study in search.studies if study.label not in shown]
    return f"Not shown, {why}: {', '.join(missing)}" if missing else ""


def objectives(studies: Sequence[Study]) -> str:
    """Name what was searched for and which way is better."""
    names = dict.fromkeys(name for study in studies for name in study.objectives)
    told = [
        f"{OBJECTIVES[name].title} ({'more' if OBJECTIVES[name].better > 0 else 'less'} is better)"
        for name in names
    ]
    return f"Objective{'s' if len(told) > 1 else ''} on the dev split: {' and '.join(told)}"


def counts(studies: Sequence[Study]) -> str:
    """Count each study's trials by state, so that no failure is lost."""
    told = []
    for study in studies:
        by_state = Counter(trial.state for trial in study.trials)
        by_state.setdefault(COMPLETE, 0)
        states = ", ".join(f"{n} {state}" for state, n in sorted(by_state.items()))
        going = "" if study.over else ", not over"
        told.append(f"{study.label} {len(study.trials)} ({states}{going})")
    return f"Trials: {'; '.join(told)}"


def searched(studies: Sequence[Study]) -> str:
    """Name sampler, pruner and the sampler's seed, of each study where they differ."""
    by_way: dict[str, list[str]] = {}
    for study in studies:
        way = f"sampler {study.sampler}, pruner {study.pruner}, seed {study.seed}"
        by_way.setdefault(way, []).append(study.label)
    if len(by_way) == 1:
        return f"Searched with {next(iter(by_way))}"
    told = (f"{way} ({', '.join(labels)})" for way, labels in by_way.items())
    return f"Searched with {'; '.join(told)}"


def seeds(studies: Sequence[Study]) -> str:
    """Name the seeds that a trial is a mean over."""
    used = dict.fromkeys(study.seeds for study in studies)
    told = " or ".join(", ".join(map(str, one)) for one in used)
    if all(len(one) == 1 for one in used):
        return f"One training seed a trial ({told}): trials differ by its chance too"
    return f"A trial's value is the mean over training seeds {told}"
