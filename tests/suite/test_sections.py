"""Sections of a suite file: repeated values, defaults that are not hashed, searches."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from compact_bench.suite.sections import (
    DataSpec,
    EvaluationSpec,
    MiniSpec,
    ReportsSpec,
    SelectionSpec,
    TrainingSpec,
    TuneSpec,
)


def test_later_keys_are_written_only_where_they_are_set():
    assert set(MiniSpec().model_dump()) == {"seed", "correlation", "problem"}
    assert MiniSpec(faults=0, samples=2).model_dump() == {
        "seed": 0, "correlation": 0.0, "problem": "", "faults": 0.0, "samples": 2,
    }  # fmt: skip


def test_the_columns_of_a_source_are_in_one_form():
    assert not {"columns", "split", "test_split", "more"} & set(DataSpec().model_dump())
    columns = {"question": "q", "rationales": {"a": "x"}}
    assert DataSpec(columns=columns).model_dump()["columns"]["rationales"] == {"a": "x"}
    for wrong, message in [
        ({"columns": columns | {"teacher": "t"}}, "is then the name of its column"),
        ({"columns": {"rationales": {}}}, "at least 1 item"),
        ({"columns": {"questions": "q"}}, "Extra inputs"),
        ({"more": ["a.jsonl", "a.jsonl"]}, "more holds a value twice"),
        ({"thinking": "no"}, "'read' or 'cut'"),
        ({"bad_rows": "keep"}, "'refuse' or 'drop'"),
    ]:
        with pytest.raises(ValidationError, match=message):
            DataSpec.model_validate(wrong)


def test_a_value_outside_of_its_range_is_refused():
    for values in ({"correlation": 1.5}, {"faults": -0.1}, {"samples": 0}):
        with pytest.raises(ValidationError):
            MiniSpec.model_validate(values)


def test_a_budget_of_flops_is_computed_and_not_given():
    training = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 1, "max_flops": 1e9}
    assert TrainingSpec.model_validate(training).budget == "steps"
    with pytest.raises(ValidationError, match="give one of them"):
        TrainingSpec.model_validate(training | {"budget": "flops"})


def test_repeated_values_are_named():
    with pytest.raises(ValidationError, match=r"learning_rates holds a value twice: 0\.1, 0\.1"):
        SelectionSpec(learning_rates=[0.1, 0.1])
    with pytest.raises(ValidationError, match="seeds holds a value twice: 1, 1"):
        TuneSpec(seeds=[1, 1])


def test_a_search_prunes_by_the_median_where_it_has_one_objective_and_reports():
    assert TuneSpec().pruner == "median"
    assert TuneSpec(reports=[]).pruner == "none"
    assert TuneSpec(objective=["accuracy", "old_accuracy"]).pruner == "none"
    assert TuneSpec(reports=[0.6, 0.2]).reports == [0.2, 0.6]


def test_choices_are_by_dev_accuracy_and_the_marginal_nll_has_32_samples():
    assert SelectionSpec(learning_rates=[0.1, 0.2]).metric == "accuracy"
    assert TuneSpec().objective == ["accuracy"] and TuneSpec().items == 500
    assert ReportsSpec(at=[0.5]).metric == "accuracy"
    tasks = [{"task": "in_domain", "role": "reasoning"}]
    assert EvaluationSpec.model_validate({"tasks": tasks}).marginal_samples == 32
