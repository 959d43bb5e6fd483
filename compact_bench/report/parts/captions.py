"""What a reader must know to judge a table or figure: profile, data, student, seeds, limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compact_bench.analysis import claims
from compact_bench.analysis.results import Results
from compact_bench.analysis.statistics import Difference
from compact_bench.records.cells import without_paths
from compact_bench.report.parts.numbers import NONE, lowest_to_highest, number
from compact_bench.suite.metrics import METRICS, Measure
from compact_bench.suite.schema import RATE

NLL_APART = "rows that answer at once have without a rationale and others over sampled ones"


def setting(results: Results) -> list[str]:
    """Sentences that hold for every table and figure of these results."""
    suite = results.suite
    names = ", ".join(str(one["name"]) for one in results.conditions)
    parts = [
        *opening(suite, results.teachers),
        f"Conditions of the training data: {names}." if names else "",
        _tasks(results),
        seeds(results),
        at_chance(results),
        training(suite) if suite.get("training") else "",
        *limits(suite, results.splits),
        suite.get("notes", ""),
        *results.plan.notes,
    ]
    return list(dict.fromkeys(sentence(part) for part in parts if str(part).strip()))


def opening(suite: Mapping[str, Any], teachers: tuple[str, ...]) -> list[str]:
    """Say which suite and profile, student and data."""
    name, student, data = suite.get("suite"), suite.get("student", {}), suite.get("data", {})
    lora, train = student.get("lora"), data.get("train")
    how = f"LoRA r {lora['r']}, alpha {lora['alpha']:g}" if lora else "all weights trained"
    revision = f" at {student['revision']}" if student.get("revision") else ""
    # GGUF files hold quantised weights as a rule; the student is not the original model then.
    gguf = str(student.get("id")).lower().endswith(".gguf")
    weights = " (weights de-quantised from the GGUF file)" if gguf else ""
    dtype = student.get("dtype", "float32")
    size = f"{train} training questions" if train else "all training questions"
    names = f"; teachers {', '.join(teachers)}" if teachers else ""
    return [
        f"{suite.get('title') or name} (suite {name}, profile {suite.get('profile')}).",
        f"Student: {student.get('id')}{revision}{weights}, {dtype}, {how}.",
        f"Data: {data.get('source')}, {size}{names}.",
    ]


def sentence(text: str) -> str:
    """One sentence on one line, without folders of the machine that it was run on."""
    text = " ".join(str(without_paths(text)).split())
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _tasks(results: Results) -> str:
    titles = {m: m.task_title for r in ("reasoning", "forgetting") for m in results.headlines(r)}
    known = {m: n for m, n in results.n_items.items() if np.isfinite(n)}
    # The marginal NLL samples rationales, and may be asked of the first items only.
    nll = [m for m in results.measures if m.metric == "marginal_nll" and m in known]
    titles |= {measure: f"{measure.task_title} answer NLL" for measure in nll}
    counts = [f"{title} {known[m]:.0f}" if m in known else title for m, title in titles.items()]
    split = " and ".join(results.splits)
    return f"Items ({split} split): {', '.join(counts)}." if counts else ""


def seeds(results: Results) -> str:
    """Name the seeds; one seed supports no claim, and two give wide intervals."""
    names = ", ".join(str(seed) for seed in results.seeds)
    if len(results.seeds) == 1:
        return f"One seed ({names}): this supports no claim about which method is better."
    if len(results.seeds) == 2:
        return (
            f"Seeds {names}. Two seeds hardly say how much seeds vary: intervals are wide, and "
            "nothing is marked."
        )
    return f"Seeds {names}." if names else "No row was trained with a seed."


def at_chance(results: Results) -> str:
    """Name forgetting tasks that the student did no better than by guessing before training.

    Within two standard errors of chance there is nothing that could be seen to be forgotten.
    """
    blind = []
    for measure in results.headlines("forgetting"):
        before, chance = results.before.get(measure, np.nan), results.chance.get(measure, 0.0)
        if measure.metric == "accuracy" and np.isfinite(before):
            if np.isfinite(results.skill(measure)):
                continue
            blind.append(
                f"{measure.task_title} ({before:.1%} before training, chance {chance:.0%})"
            )
    if not blind:
        return ""
    return f"Within two standard errors of chance, so no sign of forgetting: {', '.join(blind)}."


def training(suite: Mapping[str, Any]) -> str:
    """Say how learning rates were chosen and how long every row trains."""
    training, selection = suite["training"], suite.get("selection")
    epochs = training.get("epochs")
    budget = f"{epochs} epoch{'' if epochs == 1 else 's'}"
    if training.get("max_flops"):
        budget = f"{training['max_flops']:g} FLOPs"
    if training.get("budget") == "flops":
        budget = f"the FLOPs of reading every teacher's rationales in {budget}"
    if selection:
        among = ", ".join(f"{rate:g}" for rate in selection["learning_rates"])
        size = f"{selection['items']} questions of the" if selection.get("items") else "the"
        seeds = ", ".join(map(str, selection["seeds"]))
        return (
            f"Each row has a learning rate of its own, chosen alike among {among}: by "
            f"{METRICS[selection['metric']].title} on {size} dev split, seed {seeds}; {budget} for "
            "every row."
        )
    chosen = str(training.get("selected_on") or "").strip().rstrip(".")
    how = f"chosen: {chosen}" if chosen else "how they were chosen is not recorded"
    rate = training.get("learning_rate")
    if any(isinstance(row, dict) and RATE in row for row in suite.get("methods", [])):
        return f"Learning rates of the rows' own, else {rate:g}; {budget} for every row; {how}."
    return f"Learning rate {rate:g} and {budget} for every row; {how}."


def limits(suite: Mapping[str, Any], splits: tuple[str, ...]) -> list[str]:
    """Say what keeps the numbers from being results: generated data, a cut, the dev split."""
    parts = []
    if suite.get("data", {}).get("source") == "mini" and "generated" not in suite.get("notes", ""):
        parts.append("Generated problems: not the numbers of the data set of that name.")
    if suite.get("limit"):
        parts.append(f"Cut to {suite['limit']} training questions and {suite['limit']} items.")
    if "dev" in splits:
        parts.append("Numbers of the dev split serve to choose settings; they are no results.")
    return parts


def differences(results: Results, measure: Measure | None) -> str:
    """Say what differences are against, by which test, how wide intervals are, what * means."""
    if results.reference is None:
        return f"No row {results.suite.get('compare_to')} to compare to."
    label = reference_of_rows(results)
    measures = [measure] if measure else results.main_measures
    found = {one: [results.difference(row, one) for row in results.rows] for one in measures}
    widths = [d.half_width for ones in found.values() for d in ones if d]
    widths = [width for width in widths if np.isfinite(width)]
    if not widths:
        return f"Differences are to {label}, paired by seed; without intervals they are no claim."
    detectable = []
    for one, ones in found.items():
        if values := claims.detectable(ones):
            answer = " answer NLL" if one.metric == "marginal_nll" else ""
            what = "" if measure else f" for {one.task_title}{answer}"
            detectable.append(f"{_bounds(values, one)}{what}")
    family = claims.family(results)
    rows = len({label for label, _ in family.adjusted})
    tasks = ", ".join(one.task_title for one in claims.primary(results))
    least = claims.MARK_SEEDS
    few = "" if len(results.seeds) >= least else f"; given only from {least} seeds on, not here"
    return (
        f"Differences are to {label}, paired by seed and item; ± is the half-width of the 95% "
        "interval by the crossed test (seeds and items random, what seeds do pooled over rows)"
        f"{f', {_bounds(widths, measure)} for {measure.task_title}' if measure else ''}. "
        "Minimum detectable difference (the true difference that such a test finds in 80% of "
        f"cases): {', '.join(detectable)}. * marks the differences that survive Holm's correction "
        f"at 5% for {family.size} comparisons: {rows} rows, each on its tasks of {tasks}{few}. "
        "Intervals are not corrected, and what isn't marked is no claim."
    )


def reference(results: Results) -> str:
    """The name of the row that others are compared to, as headings have it."""
    return results.reference.name if results.reference else NONE


def reference_of_rows(results: Results) -> str:
    """The same in a sentence: with conditions each row is compared to that of its own."""
    return reference(results) + (" of the same condition" if results.conditions else "")


def bold(results: Results) -> str:
    """Say what is bold, or why nothing is."""
    if len(results.seeds) < 2:
        return "Nothing is bold or marked: one seed supports no claim"
    nll = any(measure.metric == "marginal_nll" for measure in results.main_measures)
    return (
        f"Bold: the best trained row {'of a condition ' if results.conditions else ''}with all "
        "seeds done and every such row that isn't clearly worse (the 95% interval of its paired "
        "difference to the best includes 0); nothing where there are no values by item to test with"
        f"{'; no answer NLL, which ' + NLL_APART if nll else ''}"
    )


def intervals(found: Iterable[Difference | None], number_of: str) -> str:
    """Say by which test intervals are, or that there are none."""
    if not any(one and one.test == "crossed" for one in found):
        return "Differences are paired by seed; without intervals they are no claim"
    return (
        "Differences are paired by seed and item; ± is the half-width of the 95% interval by the "
        "crossed test (seeds and items random), not corrected "
        f"for the number of {number_of}"
    )


def _bounds(values: list[float], measure: Measure) -> str:
    """Lowest to highest, in the measure's unit."""
    ends = [number(bound, measure) for bound in (min(values), max(values))]
    return lowest_to_highest(ends) + (" points" if measure.shown.percent else "")


@dataclass(frozen=True)
class Caption:
    """A caption in two parts: what this table or figure shows, and what holds for all of them."""

    own: str
    setting: str

    def __str__(self) -> str:
        return f"{self.own} {self.setting}".strip()


def caption(results: Results, *own: str) -> Caption:
    """A caption whose own part also names the seeds and says when cells are missing.

    Nobody should read a part as the whole.
    """
    total = sum(len(row.cells) for row in results.rows)
    done = sum(len(row.done) for row in results.rows)
    parts = [*(sentence(text) for text in own if text.strip()), seeds(results)]
    parts += [] if done == total else [f"{done} of {total} planned cells are done."]
    common = [one for one in setting(results) if one not in parts]
    return Caption(" ".join(parts), " ".join(common))
