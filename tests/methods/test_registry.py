"""Finding distillers, and what is said of those that can't be used."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from compact_bench.api import Distiller
from compact_bench.errors import UserError
from compact_bench.methods import registry

METHOD = (Path(__file__).parents[1] / "stubs" / "dummy.py").read_text()


def test_baselines_are_found_and_none_is_broken():
    found = registry.load()
    assert found.broken == {}
    assert {"base", "average", "single_teacher", "compact_authors"} <= set(found.methods)
    assert all(issubclass(method, Distiller) for method in found.methods.values())


def test_plugin_folder_adds_methods(plugins):
    found = registry.load([plugins])
    assert found.get("dummy").name == "dummy"
    assert found.sources["dummy"].endswith("dummy.py")


def test_missing_plugin_folder_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        registry.load([tmp_path / "none"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        (METHOD.replace('name: ClassVar[str] = "dummy"', ""), "has no 'name' of its own"),
        (METHOD.replace("version: ClassVar[int] = 1", "", 1), "needs version: int"),
    ],
)
def test_broken_plugin_is_listed_and_stops_only_when_selected(plugins, text, reason):
    (plugins / "bad.py").write_text(text)
    found = registry.load([plugins])
    source = str(plugins / "bad.py")
    assert reason in found.broken[source]
    assert found.get("dummy")
    with pytest.raises(UserError, match=r"suite\.yaml:3: method 'bad' can't be used: .*bad\.py"):
        found.get("bad", where="suite.yaml:3")


def test_two_methods_of_one_name_name_both_files(plugins):
    (plugins / "zz.py").write_text(METHOD)
    found = registry.load([plugins])
    with pytest.raises(UserError, match=r"zz\.py: method 'dummy' is already .*dummy\.py"):
        found.get("dummy")


def test_a_plugin_cannot_replace_a_baseline(plugins):
    (plugins / "mine.py").write_text(METHOD.replace('"dummy"', '"average"'))
    with pytest.raises(UserError, match=r"mine\.py: method 'average' is already defined in"):
        registry.load([plugins]).get("average")


def test_helpers_and_imported_classes_are_no_methods(plugins):
    text = "from compact_bench.api import Distiller\nclass _Shared(Distiller):\n    pass\n"
    (plugins / "_private.py").write_text("raise ValueError")
    (plugins / "helper.py").write_text(text)
    assert registry.load([plugins]).broken == {}


def test_the_tests_beside_a_plugin_are_no_methods(plugins):
    (plugins / "test_dummy.py").write_text("raise ValueError")
    assert registry.load([plugins]).broken == {}


def test_unknown_method_has_the_nearest_name():
    with pytest.raises(UserError, match=r"f:2: unknown method 'avrage' \(did you mean 'average'"):
        registry.load().get("avrage", where="f:2")


def test_entry_points(monkeypatch, plugins):
    monkeypatch.syspath_prepend(str(plugins))
    points = [
        importlib.metadata.EntryPoint("a", "dummy:Dummy", registry.ENTRY_POINTS),
        importlib.metadata.EntryPoint("b", "nowhere_to_be_found", registry.ENTRY_POINTS),
        importlib.metadata.EntryPoint("c", "dummy:METHODS", registry.ENTRY_POINTS),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    try:
        found = registry.load()
    finally:
        sys.modules.pop("dummy", None)
    assert found.get("dummy").name == "dummy"
    assert "ModuleNotFoundError" in found.broken["entry point b"]
    assert "AttributeError" in found.broken["entry point c"]
