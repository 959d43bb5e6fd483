"""numbers.tex: every number that a text may quote, by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from compact_bench.analysis import claims
from compact_bench.analysis.results import Results, Row
from compact_bench.report.parts.formats import escape_latex
from compact_bench.report.parts.numbers import (
    compact,
    interval,
    number,
    p_value,
    share,
    with_spread,
)
from compact_bench.report.tables.main import marked_differences, old_skill_kept

# A name that isn't there stops the document: a text can't quote a number that nobody measured.
COMMAND = r"""% \result{ROW/TASK} and so on; needs no package. Comments say what each number is.
\makeatletter
\newcommand{\result}[1]{\@ifundefined{result@#1}%
  {\errmessage{numbers.tex has no result "#1"}}{\csname result@#1\endcsname}}
"""


def number_name(*parts: str) -> str:
    r"""The name of a number from its parts, of letters that \csname takes.

    >>> number_name("single_teacher[terse]", "in_domain", "difference")
    'single_teacher-terse/in_domain/difference'
    """
    return "/".join(re.sub(r"[^A-Za-z0-9_.+]+", "-", part).strip("-") for part in parts)


def numbers_tex(results: Results) -> str:
    r"""The definitions of `\result{NAME}`, one a line, with what it is as a comment."""
    lines = [COMMAND]
    for name, text, meaning in [*_of_suite(results), *_of_rows(results)]:
        lines.append(rf"\@namedef{{result@{name}}}{{{escape_latex(text)}}}% {meaning}" + "\n")
    return "".join([*lines, r"\makeatother" + "\n"])


def _of_suite(results: Results) -> Iterator[tuple[str, str, str]]:
    yield "seeds", str(len(results.seeds)), "seeds of a row"
    yield "comparisons", str(claims.family(results).size), "comparisons that Holm corrects for"
    for measure in claims.primary(results):
        count = results.n_items.get(measure, math.nan)
        if math.isfinite(count):
            yield number_name("items", measure.task), f"{count:.0f}", "items"
        found = [results.difference(row, measure) for row in results.rows]
        if known := claims.detectable(found):
            worst = number(max(known), measure)
            meaning = "the largest minimum detectable difference, 80% power, uncorrected"
            yield number_name("detectable", measure.task), worst, meaning


def _of_rows(results: Results) -> Iterator[tuple[str, str, str]]:
    for row in results.rows:
        yield from _of_measures(results, row)
        if results.headlines("forgetting"):
            kept = old_skill_kept(results, row)
            yield number_name(row.label, "kept"), kept, "old skill kept, %, mean ± sd over seeds"
            alone = share(results.retention_summary(row).mean)
            yield number_name(row.label, "kept", "mean"), alone, "old skill kept, %"
        for name, meaning in (("tokens", "tokens"), ("flops", "FLOPs")):
            value = compact(row.cost(name).mean)
            yield number_name(row.label, name), value, f"{meaning} of training a cell"


def _of_measures(results: Results, row: Row) -> Iterator[tuple[str, str, str]]:
    family = claims.family(results)
    for measure in results.main_measures:
        headline = measure in claims.primary(results)
        stem = (row.label, measure.task, *([] if headline else [measure.metric]))
        summary, found = row.summary(measure), results.difference(row, measure)
        title = f"{measure.shown.title}{', %' if measure.shown.percent else ''}"
        yield number_name(*stem), with_spread(summary, measure), f"{title}, mean ± sd over seeds"
        yield number_name(*stem, "mean"), number(summary.mean, measure), title
        if found is None:
            continue
        marked = marked_differences(results, [row], measure)[0]
        meaning = "difference to the reference ± half-width of its 95% interval, * marked"
        yield number_name(*stem, "difference"), marked, meaning
        low, high = found.mean - found.half_width, found.mean + found.half_width
        ends = interval(low, high, measure)
        yield number_name(*stem, "interval"), ends, "95% interval of that difference"
        if headline:
            yield number_name(*stem, "p"), p_value(family.p(row, measure)), "p after Holm"
