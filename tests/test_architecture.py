"""The arrows of import, what may be heavy, and that the core knows no baseline."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from compact_bench import registry

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "compact_bench").rglob("*.py"))
BASELINES = sorted((ROOT / "baselines").glob("*.py"))

# What a part may import of the package, itself included. A part that isn't here may import
# anything that makes no cycle.
MAY_IMPORT = {
    "errors": set(),
    "lazy": set(),
    "atomic": {"errors"},
    "suite_file": {"errors"},
    "suite_sections": set(),
    "suite": {"errors", "suite_file", "suite_sections"},
    "scores": {"errors", "lazy", "scores"},
    "fusion": {"errors", "lazy"},
    "batch": {"lazy"},
    "min_norm": {"lazy"},
    "tunable": set(),
    "compatibility": {"batch", "fusion", "lazy", "scores", "tunable"},
    "api": {
        *("errors", "lazy", "scores", "fusion", "batch", "compatibility", "tunable"),
        "min_norm",
    },
    "registry": {"errors", "api"},
    "matrix": {"errors", "suite", "suite_file", "suite_sections"},
    "records": {"errors", "atomic"},
    "data": {"errors", "lazy", "atomic", "suite", "suite_sections", "data"},
    "student": {
        "errors",
        "lazy",
        "api",
        "batch",
        "data",
        "student",
        "suite_sections",
        "atomic",
        "scores",
        "fusion",
    },
}
# Nothing below may import these: they stand at the top.
TOP = {
    **{"cli": {"__main__"}, "runner": {"cli", "tune"}, "worker": {"pool"}, "cell": set()},
    "tune": {"cli", "runner", "plan", "publish"},
    **{"testing": {"conformance"}, "conformance": {"cli"}, "scaffold": {"cli"}},
}
# Imported before a command is chosen, or by commands that need no student.
LIGHT = (
    *("errors", "lazy", "atomic", "api", "fusion", "min_norm", "scores", "matrix"),
    *("suite", "suite_file", "suite_sections"),
    *("registry", "plan", "runner", "pool", "progress", "worker", "listing", "validation", "cli"),
    *("records", "stats", "tables", "figures", "report", "publish", "data.prepare"),
    *("conformance", "scaffold", "student.identity"),
    *("comparison", "agreement", "simulation", "options"),
    *("tune.arguments", "tune.command", "tune.page", "tune.figures"),
)
HEAVY = {"torch", "transformers", "lm_eval", "peft", "datasets"}


def _part(path: Path) -> str:
    """The module of the package, or its first folder: ``compact_bench/data/x.py`` -> ``data``."""
    return path.relative_to(ROOT / "compact_bench").parts[0].removesuffix(".py")


def _imports(path: Path, inside_functions: bool = True) -> Iterator[str]:
    """Yield the modules that a file imports; what only a type checker reads is left out."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not inside_functions:
                continue
            yield child
            yield from walk(child)

    for node in walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _parts_imported(path: Path, inside_functions: bool = True) -> set[str]:
    parts = {_part(file) for file in CORE}
    names = (name.split(".") for name in _imports(path, inside_functions))
    return {name[1] for name in names if name[0] == "compact_bench" and len(name) > 1} & parts


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_arrows_point_one_way(part):
    files = [path for path in CORE if _part(path) == part]
    assert files
    for path in files:
        assert _parts_imported(path) <= MAY_IMPORT[part] | {"__init__"}, path


@pytest.mark.parametrize("part", TOP)
def test_the_top_is_imported_by_nothing_below(part):
    found = {_part(path) for path in CORE if part in _parts_imported(path)}
    assert found - {part} <= TOP[part]


def test_imports_make_no_cycle():
    graph: dict[str, set[str]] = {}
    for path in CORE:
        part = _part(path)
        graph.setdefault(part, set()).update(_parts_imported(path, False) - {part, "__init__"})
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_baselines_import_only_the_api(path):
    own = {name for name in _imports(path) if name.split(".")[0].startswith("compact_bench")}
    assert all(name == "compact_bench.api" or name.startswith("compact_bench.api.") for name in own)
    assert not {name for name in _imports(path) if name.split(".")[0] == "baselines"}


def test_the_core_never_names_a_baseline():
    names = set(registry.load().methods)
    assert names
    found = [
        f"{path.name}:{node.lineno} {node.value!r}"
        for path in CORE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
    ]
    assert found == []


def test_the_command_line_imports_only_click():
    for part, more in (("cli", {"compact_bench.options"}), ("options", set())):
        path = ROOT / "compact_bench" / f"{part}.py"
        found = set(_imports(path, inside_functions=False))
        found = {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}
        assert {name for name in found if not name.startswith("compact_bench.options.")} == {
            "click", *more,
        }  # fmt: skip


def test_light_modules_load_nothing_heavy():
    modules = [f"compact_bench.{name}" for name in LIGHT]
    modules += [f"{registry.BASELINES}.{path.stem}" for path in BASELINES]
    code = f"import {', '.join(modules)}, sys; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_package_and_data_file_is_in_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {path.parent for path in CORE if path.name == "__init__.py"}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(settings["packages"]) == packages | {registry.BASELINES}
    for package in packages:
        folder = ROOT / Path(*package.split("."))
        patterns = settings["package-data"].get(package, [])
        shipped = {file for pattern in patterns for file in folder.glob(pattern)}
        inside = [f for f in folder.iterdir() if f.is_file() and f.suffix not in {".py", ".pyc"}]
        assert set(inside) <= shipped, package


@pytest.mark.parametrize("path", [*CORE, *BASELINES], ids=lambda path: path.name)
def test_files_and_functions_stay_short(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
