"""What a text may quote by name is what the records say."""

from __future__ import annotations

import re
from pathlib import Path

from compact_bench.report.paper.numbers import number_name
from tests.from_files import by_seed
from tests.report.paper.conftest import compiled


def test_the_text_quotes_numbers_by_name_and_a_wrong_name_stops_it(folder: Path) -> None:
    def document(name: str) -> str:
        text = rf"\documentclass{{article}}\input{{numbers}}\begin{{document}}\result{{{name}}}"
        return text + r"\end{document}"

    for name, works in (("compact/in_domain/difference", True), ("compact/nothing", False)):
        (folder / "paper" / "quote.tex").write_text(document(name))
        assert (compiled(folder / "paper", "quote")[0] == 0) == works


def test_numbers_are_those_of_the_records(folder: Path) -> None:
    text = (folder / "paper" / "numbers.tex").read_text("utf-8")
    values = dict(re.findall(r"\\@namedef\{result@([^}]+)\}\{(.*?)\}% ", text))
    assert len(values) == text.count("@namedef")  # each is named once
    for label in ("average", "compact", "single_teacher[reordered]"):
        mean = by_seed(folder, label, "in_domain").mean()
        assert values[f"{number_name(label)}/in_domain/mean"] == f"{100 * mean:.1f}"
    seeds = by_seed(folder, "compact", "in_domain") - by_seed(folder, "average", "in_domain")
    difference = values["compact/in_domain/difference"].split(r" $\pm$")[0]
    assert difference.replace("$-$", "-") == f"{100 * seeds.mean():+.1f}"
    assert values["seeds"] == "3" and values["items/in_domain"] == "20"
