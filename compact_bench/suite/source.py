"""A suite file's text: YAML with line numbers, profiles merged, overrides, readable errors."""

from __future__ import annotations

import copy
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from compact_bench.errors import UserError, nearest

Location = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


class SuiteSource:
    """Where each value of a suite came from: a line of the file, or an option."""

    def __init__(self, name: str, data: dict[str, Any] | None = None) -> None:
        self.name = name
        self.data: dict[str, Any] = data or {}
        self.lines: dict[Location, int] = {}
        self.options: dict[Location, str] = {}
        self.profile = ""

    def profiles(self) -> list[str]:
        """Return the names of the profiles, in the file's order."""
        given = self.data.get("profiles") or {}
        if not isinstance(given, dict):
            where = self.where(("profiles",))
            raise UserError(f"{where}: profiles is a mapping of names, got {type(given).__name__}")
        return [str(name) for name in given]

    def where(self, path: Location) -> str:
        """Return the option, or ``file:line`` of the key at ``path`` or its nearest parent."""
        for end in range(len(path), -1, -1):
            head = path[:end]
            if head in self.options:
                return self.options[head]
            for place in (("profiles", self.profile, *head), head):
                if end and place in self.lines:
                    return f"{self.name}:{self.lines[place]}"
        return self.name


def read_source(path: Path) -> SuiteSource:
    """Read a YAML file as plain data with the line of every key and list item.

    Raises UserError if it can't be read, isn't a mapping, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: can't read the suite file: {reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
        raise UserError(f"{path}{line}: not valid YAML: {problem}") from error
    except ValueError as error:  # a value that looks like a date but is none
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict) or node is None:
        raise UserError(f"{path}: a suite file holds a mapping of keys, got {type(data).__name__}")
    source = SuiteSource(str(path), data)
    _collect_lines(node, (), source)
    return source


def _collect_lines(node: yaml.Node, path: Location, source: SuiteSource) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, str(key.value))
            line = key.start_mark.line + 1
            if place in source.lines:
                first = source.lines[place]
                raise UserError(
                    f"{source.name}:{line}: key {key.value!r} is already set on line {first}"
                )
            source.lines[place] = line
            _collect_lines(value, place, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            source.lines[(*path, index)] = value.start_mark.line + 1
            _collect_lines(value, (*path, index), source)


def resolve(source: SuiteSource, profile: str, overrides: list[str]) -> dict[str, Any]:
    """Return the file's data with one profile and the ``KEY=VALUE`` overrides applied."""
    source.profiles()  # refuses what isn't a mapping
    data = copy.deepcopy(source.data)
    known = data.pop("profiles", None) or {}
    if known and profile not in known:
        allowed = ", ".join(map(str, known))
        hint = nearest(profile, known)
        raise UserError(f"{source.name}: no profile {profile!r}{hint}; it has: {allowed}")
    source.profile = profile
    over = known.get(profile) or {}
    if not isinstance(over, dict):
        raise UserError(f"{source.where(('profiles', profile))}: a profile is a mapping of keys")
    data = merge(data, over)
    # A file without profiles may say whose values it holds.
    data["profile"] = profile if known else data.get("profile", profile)
    for text in overrides:
        _override(data, text, source)
    return data


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge ``over`` into ``base``: mappings merge, lists and scalars replace.

    >>> merge({"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"y": 3}, "b": [2]})
    {'a': {'x': 1, 'y': 3}, 'b': [2]}
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return result


def _override(data: dict[str, Any], text: str, source: SuiteSource) -> None:
    """Apply one ``a.b=value``; ``a.0.b`` names a list's item."""
    name, equals, raw = text.partition("=")
    keys = [int(part) if part.isdigit() else part for part in name.strip().split(".")]
    if not equals or "" in keys:
        raise UserError(f"--set {text}: write it as KEY=VALUE, for example training.epochs=2")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise UserError(f"--set {text}: the value is not valid YAML") from error
    if isinstance(value, str):
        value = _number(value)
    place: Any = data
    for index, key in enumerate(keys[:-1]):
        if isinstance(place, dict) and place.get(key) is None:
            place[key] = {}
        place = _child(place, key, text, ".".join(map(str, keys[: index + 1])))
    if isinstance(place, list):
        _child(place, keys[-1], text, name)
    elif not isinstance(place, dict):
        raise UserError(f"--set {text}: {name.rpartition('.')[0]} is a single value, not a mapping")
    place[keys[-1]] = value
    source.options[tuple(keys)] = f"--set {text}"


def _child(place: Any, key: str | int, text: str, name: str) -> Any:
    try:
        return place[key]
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(f"--set {text}: there is no {name} to set") from error


def _number(text: str) -> str | float:
    """YAML 1.1 reads ``1e-3`` as a string; a suite's user means the number."""
    try:
        return float(text) if text[:1] in "+-.0123456789" else text
    except ValueError:
        return text


def validated(
    model: type[Model], data: dict[str, Any], source: SuiteSource, place: Location = ()
) -> Model:
    """Build ``model`` from ``data``, or raise UserError with place, value and nearest key.

    place: where the data stand in the file.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # An unknown key is the likeliest cause of a missing one, so it is named first.
        problems = error.errors(include_url=False)
        first = min(problems, key=lambda item: item["type"] != "extra_forbidden")
        raise UserError(_message(model, dict(first), source, place)) from None


def _message(
    model: type[BaseModel], problem: dict[str, Any], source: SuiteSource, prefix: Location
) -> str:
    """One line for one problem of pydantic; ``prefix`` is the model's place in the file."""
    path = tuple(part for part in problem["loc"] if not _is_union_tag(part))
    place = source.where((*prefix, *path))
    key = str(path[-1]) if path else "suite"
    dotted = ".".join(map(str, path))
    parent = ".".join(map(str, path[:-1])) or "the suite"
    if problem["type"] == "extra_forbidden":
        hint = nearest(key, _fields_at(model, path[:-1]))
        return f"{place}: unknown key {key!r} in {parent}{hint}"
    if problem["type"] == "missing":
        return f"{place}: key {key!r} is missing in {parent}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if not path:
        return f"{place}: {message}"
    return f"{place}: {dotted}: {message}, got {problem['input']!r}"


def _is_union_tag(part: str | int) -> bool:
    """Pydantic puts the tried type of a union into the path; it is no key of the file."""
    return isinstance(part, str) and (part in {"str", "int", "float"} or "[" in part)


def _fields_at(model: type[BaseModel], path: Location) -> list[str]:
    """Return the keys that the model at ``path`` below ``model`` allows."""
    current: Any = model
    for part in (part for part in path if isinstance(part, str)):
        info = current.model_fields.get(part) if current else None
        current = _model_in(info.annotation) if info else None
    return list(current.model_fields) if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    models = (_model_in(part) for part in typing.get_args(annotation))
    return next((model for model in models if model), None)
