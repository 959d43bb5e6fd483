"""How metrics are shown, and what their columns are called."""

from __future__ import annotations

from compact_bench.suite.metrics import FILTERS, HEADLINES, METRICS, Measure


def test_a_measure_is_shown_by_its_metric():
    measure = Measure("mini_one_step", "accuracy", "strict", "forgetting")
    assert measure.shown is METRICS["accuracy"]
    assert measure.task_title == "mini one step"


def test_an_unknown_metric_has_a_title_and_no_direction():
    shown = Measure("arc", "f1_macro", "none", "forgetting").shown
    assert (shown.title, shown.better, shown.percent) == ("f1 macro", 0, False)


def test_columns_name_the_filter_only_where_there_are_two():
    keys = [Measure("svamp", "accuracy", name, "reasoning").key for name in FILTERS]
    assert keys == ["svamp.accuracy", "svamp.accuracy", "svamp.accuracy.flexible"]


def test_headlines_are_metrics_that_have_a_direction():
    assert all(METRICS[name].better in (1, -1) for name in HEADLINES)
