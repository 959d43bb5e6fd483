"""A report lists every table and figure that there is, each by the name of its files."""

from __future__ import annotations

import pkgutil
from types import ModuleType

import pytest

from compact_bench.analysis.results import Results, read
from compact_bench.report import figures, tables
from compact_bench.report.contents import FIGURES, TABLES
from tests import synthetic
from tests.synthetic import Made


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    labels = ("base", "single_teacher[equations]", "average", "full")
    suite = {
        "ladder": ["average", "full"],
        "ablation": {"of": "full", "changes": {}},
    }
    made = Made(evidence=True, latent=True, scored=True, items=8, steps=2, labels=labels,
                suite=suite)  # fmt: skip
    return read(synthetic.make(tmp_path_factory.mktemp("results"), made))


def test_tables_and_figures_have_the_names_of_the_list(results: Results) -> None:
    for makers, least in ((TABLES, 10), (FIGURES, 6)):
        made = {name: found for name, make in makers.items() if (found := make(results))}
        assert len(made) >= least
        assert [found.name for found in made.values()] == [*made]


@pytest.mark.parametrize(("folder", "makers"), [(tables, TABLES), (figures, FIGURES)])
def test_every_file_of_tables_and_figures_is_in_the_report(folder: ModuleType, makers) -> None:
    files = {f"{folder.__name__}.{module.name}" for module in pkgutil.iter_modules(folder.__path__)}
    assert {make.__module__ for make in makers.values()} == files


def test_the_main_table_comes_first() -> None:
    assert next(iter(TABLES)) == "main"
