"""All methods by name: of the package of baselines, ``--plugins`` folders, entry points."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from compact_bench.errors import UserError, nearest, quoted
from compact_bench.methods.base import Distiller

BASELINES = "compact_bench_baselines"
ENTRY_POINTS = "compact_bench.distillers"


@dataclass
class Registry:
    """The methods by name, and the sources that could not be read with the reason."""

    methods: dict[str, type[Distiller]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def get(self, name: str, where: str = "") -> type[Distiller]:
        """Return the method called ``name``; ``where`` is the place that asks, for the message.

        Raises UserError for an unknown name, a broken plugin, or a name defined twice.
        """
        if name in self.methods:
            return self.methods[name]
        place = f"{where}: " if where else ""
        for source, reason in self.broken.items():
            if Path(source).stem == name or f"method {name!r} " in reason:
                raise UserError(f"{place}method {name!r} can't be used: {source}: {reason}")
        hint = nearest(name, self.methods)
        known = ", ".join(sorted(self.methods)) or "none"
        own = "a file of your own is found with --plugins FOLDER"
        raise UserError(f"{place}unknown method {quoted(name)}{hint}; {own}; known: {known}")

    def add(self, module: ModuleType, source: str) -> None:
        """Add the distillers that ``module`` defines itself, not those that it imports."""
        for value in list(vars(module).values()):
            if isinstance(value, type) and issubclass(value, Distiller):
                if value.__module__ == module.__name__ and not value.__name__.startswith("_"):
                    self.add_class(value, source)

    def add_class(self, method: type[Distiller], source: str) -> None:
        """Add one distiller, or note why it can't be used."""
        problem = _problem(method)
        if problem:
            self.refuse(source, f"class {method.__name__} {problem}")
            return
        name = method.name
        if name in self.sources:
            # Neither of the two may run: which one was meant, only the user knows.
            self.methods.pop(name, None)
            self.refuse(source, f"method {name!r} is already defined in {self.sources[name]}")
            return
        self.methods[name] = method
        self.sources[name] = source

    def refuse(self, source: str, reason: str) -> None:
        """Note why a source, or a part of it, can't be used."""
        earlier = f"{self.broken[source]}; " if source in self.broken else ""
        self.broken[source] = earlier + reason


def _problem(method: type[Distiller]) -> str:
    """Return what a subclass lacks to be a method, or ``""``."""
    if "name" not in vars(method):
        return "has no 'name' of its own (helpers start with an underscore)"
    for attribute, kind in (("name", str), ("version", int), ("reference", str)):
        value: Any = getattr(method, attribute, None)
        if not isinstance(value, kind):
            return f"needs {attribute}: {kind.__name__}, got {value!r}"
    config = getattr(method, "Config", None)
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        return "needs Config to be a pydantic model"
    return ""


def load(plugins: Sequence[Path] = ()) -> Registry:
    """Import every source of distillers; one that fails is listed with its reason.

    A plugin folder's files that begin with ``_`` or ``test_`` are no sources.

    Raises UserError if a plugin folder does not exist.
    """
    registry = Registry()
    for name, source in _baselines():
        _import(registry, source, partial(importlib.import_module, name))
    for folder in plugins:
        if not folder.is_dir():
            raise UserError(f"--plugins {folder}: no such folder")
        for file in sorted(folder.glob("*.py")):
            if not file.name.startswith(("_", "test_")):  # a method's tests lie beside it
                _import(registry, str(file), partial(_import_file, file))
    for point in entry_points(group=ENTRY_POINTS):
        source = f"entry point {point.name}"
        _import(registry, source, point.load)
    return registry


def _baselines() -> Iterator[tuple[str, str]]:
    """Yield (module name, file) of the package of baselines; a checkout needs no installation."""
    try:
        package = importlib.import_module(BASELINES)
    except ModuleNotFoundError:
        init = Path(__file__).resolve().parents[2] / "baselines" / "__init__.py"
        if not init.exists():
            return
        package = _import_file(init, BASELINES)
    for info in pkgutil.iter_modules(package.__path__):
        spec = importlib.util.find_spec(f"{BASELINES}.{info.name}")
        if not info.name.startswith("_"):
            yield f"{BASELINES}.{info.name}", str(spec.origin if spec else info.name)


def _import_file(file: Path, name: str | None = None) -> ModuleType:
    """Import a file under a name that no installed module has."""
    name = name or f"compact_bench_plugin_{file.resolve().parent.name}_{file.stem}"
    search = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=search)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks the module up to resolve annotations
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _import(registry: Registry, source: str, import_source: Callable[[], Any]) -> None:
    """Import one source; whatever a plugin raises is its own fault and only its reason is noted."""
    try:
        source_object = import_source()
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        registry.refuse(source, f"{type(error).__name__}: {text}" if text else repr(error))
        return
    if isinstance(source_object, ModuleType):
        registry.add(source_object, source)
    elif isinstance(source_object, type) and issubclass(source_object, Distiller):
        registry.add_class(source_object, source)
    else:
        registry.refuse(source, f"is neither a module nor a Distiller: {source_object!r}")
