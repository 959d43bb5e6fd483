"""Tables keep what fits a page and name the rest."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from compact_bench.report.paper import tables
from compact_bench.report.parts.formats import Entry


def lines(entry: Entry) -> list[str]:
    return tables.entry_lines(entry.text)


texts = st.text("abc [],%_&", min_size=1, max_size=30)


@given(st.data(), st.integers(1, 12), st.integers(1, 3))
def test_a_table_keeps_what_fits_and_names_the_rest(data, columns: int, rows: int) -> None:
    heads = data.draw(st.lists(texts, min_size=columns, max_size=columns, unique=True))
    cells = st.lists(texts.map(Entry), min_size=columns, max_size=columns).map(tuple)
    body = tuple(data.draw(st.lists(cells, min_size=rows, max_size=rows)))
    made = tables.fitted(tables.PaperTable("t", "a title", tuple(heads), body))
    kept = len(made.columns)
    assert 1 <= kept <= tables.MOST_COLUMNS and made.columns == tuple(heads[:kept])
    assert all(row[:kept] == new for row, new in zip(body, made.rows, strict=True))
    widths = [
        max(map(len, [*tables.heading_lines(head), *(t for e in column for t in lines(e))]))
        for head, column in zip(made.columns, zip(*made.rows, strict=True), strict=True)
    ]
    assert kept == 1 or sum(widths) <= tables.WIDEST
    assert all(head in made.notes for head in heads[kept:])


def test_a_long_table_breaks_over_pages_and_a_caption_is_short() -> None:
    body = tuple((Entry(f"row {i}"), Entry("1")) for i in range(tables.A_PAGE + 1))
    table = tables.PaperTable("t", "word " * 60, ("method", "value"), body, "A note.")
    text = tables.table_tex(tables.fitted(table))
    assert r"\begin{longtable}" in text and r"\begin{table}" not in text
    caption = re.search(r"\\caption\{(.*?)\}", text)
    assert caption and len(caption[1].split()) <= tables.CAPTION_WORDS
    short = tables.PaperTable("t", "word", ("method", "value"), body[:-1])
    assert r"\begin{longtable}" not in tables.table_tex(short)
