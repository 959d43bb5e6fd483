"""What Python gets of results, against the records and against what the report prints."""

from __future__ import annotations

import pytest

import compact_bench
from compact_bench.errors import UserError
from compact_bench.report import comparison
from compact_bench.report.contents import FIGURES, TABLES
from compact_bench.report.suite_results import SuiteResults
from tests import synthetic
from tests.synthetic import Made


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = Made(items=30, steps=4, states={("compact", 2): ("failed", "<b>no</b>")})
    return synthetic.make(tmp_path_factory.mktemp("made"), made)


@pytest.fixture(scope="module")
def results(root) -> SuiteResults:
    return compact_bench.load(root)


def test_samples_and_steps_are_those_of_the_done_cells(results: SuiteResults):
    samples = results.samples("compact")
    assert set(samples["row"]) == {"compact"} and set(samples["seed"]) == {0, 1}
    cell = results.named("compact").done[1]
    mine = samples[samples["seed"] == 1]
    assert mine["question_id"].tolist() == [one["question_id"] for one in cell.samples()]
    assert set(results.samples()["row"]) == {row.name for row in results.rows}
    steps = results.steps("compact")
    assert len(steps) == sum(len(one.steps()) for one in results.named("compact").done.values())


def test_weights_are_means_over_the_steps_of_an_epoch(results: SuiteResults):
    line = results.weights().query("row == 'compact' and seed == 1").iloc[0]
    steps = results.named("compact").done[1].steps()
    here = (steps["epoch"] == line["epoch"]) & (steps["teacher"] == line["teacher"])
    assert line["weight"] == pytest.approx(steps["weight"][here].mean())


def test_differences_and_comparison_are_those_of_the_report(results: SuiteResults, root):
    table = results.differences()
    row, measure = results.named("compact"), results.headlines("reasoning")[0]
    line = table[(table["label"] == "compact") & (table["task"] == measure.task)].iloc[0]
    assert line["mean"] == results.difference(row, measure).mean
    assert str(results.compare("compact", "average")) == comparison.text(
        comparison.compare(root, "compact", "average")
    )


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_numbers_or_is_empty(results: SuiteResults, name: str):
    assert results.table(name).empty == (TABLES[name](results) is None)


def test_plot_gives_the_figure_of_the_report(results: SuiteResults, tmp_path):
    results.plot("tradeoff").savefig(tmp_path / "made.png")
    assert (tmp_path / "made.png").stat().st_size > 1000
    empty = next(name for name, make in FIGURES.items() if make(results) is None)
    with pytest.raises(UserError, match=f"no figure '{empty}'"):
        results.plot(empty)
    with pytest.raises(UserError, match=r"no figure 'tradeof' \(did you mean 'tradeoff'"):
        results.plot("tradeof")
    with pytest.raises(UserError, match=r"no table 'mian' \(did you mean 'main'"):
        results.table("mian")


def test_what_a_notebook_shows(results: SuiteResults):
    done = sum(len(row.done) for row in results.rows)
    assert f"{done} of {done + 1} cells done" in repr(results)
    page = results._repr_html_()
    assert "compact" in page and "<b>" not in page and "&lt;b&gt;" in page


def test_nothing_done_is_an_empty_frame(tmp_path):
    states = {("average", 0): ("failed", "x")}
    made = Made(items=4, steps=2, labels=("average",), seeds=(0,), states=states)
    results = compact_bench.load(synthetic.make(tmp_path, made))
    assert results.samples().empty and results.steps().empty and results.weights().empty
