"""The house: rooms and arrows of import, what may be heavy, and that the core knows no baseline."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from compact_bench.methods import registry

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "compact_bench").rglob("*.py"))
BASELINES = sorted((ROOT / "baselines").glob("*.py"))

# From the ground up: a room imports itself and rooms before it. docs/design.md draws it.
ROOMS = (
    *("errors", "utils", "suite", "records", "data", "mini", "student", "methods"),
    *("evaluation", "training", "diagnostics", "execution", "teachers", "analysis"),
    *("report", "tune"),
    *("testing", "commands", "__main__"),
)
# What a user of Python or the author of a method imports; the core imports neither.
DOORS = ("__init__", "api")
LARGEST_FOLDER = 11
LONGEST_FILE = 500  # one role, whatever its length up to this
# Rooms that a command without a student may load whole; of others, the named modules.
LIGHT = (
    *("errors", "utils", "suite", "records", "methods", "analysis", "report", "tune", "commands"),
    *("teachers", "api", "__main__", "student.load", "student.batch", "data.tasks"),
    *("execution.plan", "execution.prepare", "execution.run", "execution.pool"),
    *("execution.worker", "execution.progress"),
)
HEAVY = {"torch", "transformers", "lm_eval", "peft", "datasets"}
# Tests in a room's folder that are of no single module of it, and why.
OF_NO_MODULE = {
    "data/test_mirror.py": "the data sets themselves, where there is a copy of them",
    "execution/test_full_profile.py": "the `full` profile, on tiny stand-ins for its student",
    "report/test_in_chromium.py": "the pages as a browser shows them",
    "report/test_many_cells.py": "commands over many cells: no torch, the same bytes whoever works",
    "report/test_published.py": "the pages in results/published",
    "testing/test_checks.py": "the list of checks, which the package's own file holds",
    "tune/test_postgresql.py": "processes that share a study in PostgreSQL",
}
USES_TORCH = ("methods.recorded", "utils.machine")  # of light rooms: imported by a cell alone


def module_of(path: Path) -> str:
    """``compact_bench/data/x.py`` -> ``compact_bench.data.x``; a package's file is the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in CORE}


def room_of(module: str) -> str:
    """The first name below the package: ``compact_bench.data.x`` -> ``data``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file as (line, module or module.name): in functions and for types, too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def own_imports(path: Path) -> Iterator[tuple[int, str]]:
    """The modules of the package that a file imports, with the line."""
    for line, name in imports(path):
        found = name if name in MODULES else name.rpartition(".")[0]
        if found in MODULES and found != module_of(path):
            yield line, found


def test_every_file_is_in_a_room():
    assert {room_of(module) for module in MODULES} == {*ROOMS, *DOORS}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_above_it(room):
    allowed = ROOMS[: ROOMS.index(room) + 1]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for module, path in MODULES.items()
        if room_of(module) == room
        for line, imported in own_imports(path)
        if room_of(imported) not in allowed
    ]
    assert wrong == []


def test_imports_make_no_circle():
    graph = {module: {name for _, name in own_imports(path)} for module, path in MODULES.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_baselines_import_only_the_api(path):
    own = [name for _, name in imports(path) if name.startswith(("compact_bench", "baselines"))]
    assert all(name.startswith("compact_bench.api.") for name in own), own


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


def test_a_class_name_has_one_meaning():
    places: dict[str, list[str]] = defaultdict(list)
    for path in CORE:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_folders_hold_few_files():
    counts: dict[Path, int] = defaultdict(int)
    for path in CORE:
        counts[path.parent] += path.name != "__init__.py"
    full = {str(f.relative_to(ROOT)): n for f, n in counts.items() if n > LARGEST_FOLDER}
    assert full == {}


def test_tests_mirror_the_package():
    tests, package = ROOT / "tests", ROOT / "compact_bench"
    paths = (path.relative_to(package) for path in CORE if path.name != "__init__.py")
    expected = {path.with_name(f"test_{path.stem.strip('_')}.py").as_posix() for path in paths}
    every = {path.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")}
    assert expected - every == set(), "modules without a test file"
    in_rooms = {name for name in every if name.partition("/")[0] in ROOMS}
    assert in_rooms - expected == set(OF_NO_MODULE), "test files of no module"


@pytest.mark.parametrize("path", [*CORE, *BASELINES], ids=lambda path: path.name)
def test_a_file_has_one_role_and_short_functions(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def loaded_by(modules: list[str]) -> set[str]:
    """The heavy libraries that a new process has loaded after importing these modules."""
    code = f"import {', '.join(modules)}, sys; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_light_modules_load_nothing_heavy():
    modules = [
        module
        for module in MODULES
        if any(f"{module}.".startswith(f"compact_bench.{name}.") for name in LIGHT)
        and module.removeprefix("compact_bench.") not in USES_TORCH
    ]
    modules = [name for name in modules if name != "compact_bench.__main__"]
    modules += [f"{registry.BASELINES}.{path.stem}" for path in BASELINES]
    assert loaded_by(modules) == set()


def test_analysis_and_report_never_import_torch():
    found = {
        str(path.relative_to(ROOT))
        for module, path in MODULES.items()
        if room_of(module) in ("analysis", "report")
        for _, name in imports(path)
        if name.split(".")[0] in HEAVY
    }
    assert found == set()


def test_the_command_line_imports_only_click():
    found = {name.split(".")[0] for _, name in imports(ROOT / "compact_bench" / "__main__.py")}
    assert found - sys.stdlib_module_names == {"click", "compact_bench"}  # errors, in a function


def test_every_package_and_data_file_is_in_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {path.parent for path in CORE if path.name == "__init__.py"}
    assert folders == {path.parent for path in CORE}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(settings["packages"]) == packages | {registry.BASELINES}
    data = [file for file in (ROOT / "compact_bench").rglob("*") if file.is_file()]
    shipped = {
        file
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for file in (ROOT / Path(*package.split("."))).glob(pattern)
    }
    assert {file for file in data if file.suffix not in (".py", ".pyc")} == shipped
