"""A suite file's text: YAML with line numbers, profiles merged, overrides, readable errors."""

from __future__ import annotations

import copy
import math
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from compact_bench.errors import UserError, nearest, quoted, shortened

# Limits that no suite comes near. Beyond them parsing and checking take minutes or memory.
LONGEST_SUITE = 50_000  # bytes of a file, and characters of an option
LONGEST_TEXT = 10_000  # characters of a value
DEEPEST = 30  # mappings and lists within one another
MOST_VALUES = 100_000
_BRACKETS = re.compile(r"(?:[\[{]\s*){40}")
LARGEST = 2**53  # integers beyond it are not the same in JSON everywhere

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
        """Return the option, or ``file:line`` of the key at ``path`` or its nearest parent.

        What an option has set is the option's, all that the file says below it is gone.
        """
        heads = [path[:end] for end in range(len(path), 0, -1)]
        if option := next((self.options[head] for head in heads if head in self.options), ""):
            return option
        for head in heads:
            for place in (("profiles", self.profile, *head), head):
                if place in self.lines:
                    return f"{self.name}:{self.lines[place]}"
        # A problem of the whole may lie in what the options have set.
        given = ", ".join(self.options.values())
        return f"{self.name} with {shortened(given)}" if given else self.name


def parse_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The root node of a YAML text, and its value.

    Raises ValueError, with ``line N: `` before the problem where it is known.
    """
    if len(text) > LONGEST_SUITE:
        raise ValueError(f"{len(text):,} characters")
    if _BRACKETS.search(text):  # the scanner's time grows with the square of their number
        raise ValueError("nested too deeply")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        line = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{line}{shortened(problem)}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    # A date that is none, `0b_`, an integer of 4,300 digits, !!int of a word.
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"a value that can't be read ({shortened(str(error))})") from error


def read_source(path: Path) -> SuiteSource:
    """Read a YAML file as plain data with the line of every key and list item.

    Raises UserError if it can't be read, isn't a mapping, repeats a key, or holds what no suite
    does (`check_values`).
    """
    try:
        content = path.read_bytes()
        if len(content) > LONGEST_SUITE:
            raise UserError(f"{path}: {len(content):,} bytes are no suite file")
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: can't read the suite file: {reason}") from error
    try:
        node, data = parse_yaml(text)
    except ValueError as error:
        line, colon, problem = str(error).partition(": ")
        known = colon and line.startswith("line ")
        place = f"{path}:{line.removeprefix('line ')}" if known else str(path)
        raise UserError(f"{place}: not valid YAML: {problem if known else error}") from error
    if node is None:
        raise UserError(f"{path}: the file is empty; a suite file holds a mapping of keys")
    if not isinstance(data, dict):
        raise UserError(f"{path}: a suite file holds a mapping of keys, got {type(data).__name__}")
    source = SuiteSource(str(path), data)
    _collect_lines(node, source)
    check_values(data, source)
    return source


def check_values(data: Any, source: SuiteSource, place: Location = ()) -> None:
    """Refuse values that JSON hasn't, and sizes that no suite has.

    Raises UserError with the value's place.
    """
    stack: list[tuple[Any, Location]] = [(data, place)]
    for _ in range(MOST_VALUES):
        if not stack:
            return
        value, at = stack.pop()
        if problem := _problem(value, len(at) - len(place)):
            dotted = shortened(".".join(map(str, at)))
            raise UserError(f"{source.where(at)}: {f'{dotted}: ' if dotted else ''}{problem}")
        if isinstance(value, dict):
            stack += [(child, (*at, key)) for key, child in value.items()]
        elif isinstance(value, list | tuple):
            stack += [(child, (*at, index)) for index, child in enumerate(value)]
    raise UserError(f"{source.where(place)}: more than {MOST_VALUES:,} values")


def _problem(value: Any, depth: int) -> str:
    """What is wrong with one value, or ``""``."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            return f"a text of {len(value):,} characters"
        odd = any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value)
        return f"{quoted(value)} holds a character that no text has" if odd else ""
    if isinstance(value, int):
        return "" if abs(value) <= LARGEST else f"an integer beyond {LARGEST:,}"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value} is not a finite number"
    if isinstance(value, dict):
        keys = [key for key in value if not isinstance(key, str)]
        if keys:
            return f"the key {quoted(keys[0])} is not a text: write it in quotes"
        if long := [key for key in value if len(key) > LONGEST_TEXT or _problem(key, 0)]:
            return f"the key {quoted(long[0])} is no name"
    elif not isinstance(value, list | tuple):
        return f"a {type(value).__name__} is no value of a suite: write it in quotes"
    return f"nested in more than {DEEPEST} others" if depth > DEEPEST else ""


def _collect_lines(root: yaml.Node, source: SuiteSource) -> None:
    """The line of every key and list item, as far as `check_values` looks.

    Aliases (``*name``) make a tree of billions out of a few lines, or one without an end.
    """
    stack: list[tuple[yaml.Node, Location]] = [(root, ())]
    while stack and len(source.lines) < MOST_VALUES:
        node, path = stack.pop()
        if len(path) > DEEPEST:
            continue
        children: list[tuple[yaml.Node, Location]] = []
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                place, line = (*path, str(key.value)), key.start_mark.line + 1
                if place in source.lines:
                    first, name = source.lines[place], quoted(key.value)
                    raise UserError(
                        f"{source.name}:{line}: key {name} is already set on line {first}"
                    )
                source.lines[place] = line
                children.append((value, place))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                source.lines[(*path, index)] = value.start_mark.line + 1
                children.append((value, (*path, index)))
        stack += reversed(children)


def resolve(source: SuiteSource, profile: str, overrides: list[str]) -> dict[str, Any]:
    """Return the file's data with one profile and the ``KEY=VALUE`` overrides applied."""
    source.profiles()  # refuses what isn't a mapping
    data = copy.deepcopy(source.data)
    known = data.pop("profiles", None) or {}
    if known and profile not in known:
        allowed = ", ".join(map(str, known))
        hint = nearest(profile, known)
        raise UserError(f"{source.name}: no profile {quoted(profile)}{hint}; it has: {allowed}")
    source.profile = profile
    over = known.get(profile) or {}
    if not isinstance(over, dict):
        raise UserError(f"{source.where(('profiles', profile))}: a profile is a mapping of keys")
    data = merge(data, over)
    # A file without profiles may say whose values it holds.
    data["profile"] = profile if known else data.get("profile", profile)
    for text in overrides:
        _override(data, text, source)
    check_values(data, source)
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
    parts = name.strip().split(".")
    keys: list[str | int] = [int(part) if _is_index(part) else part for part in parts]
    if not equals or "" in keys or len(keys) > DEEPEST:
        given = shortened(text)
        raise UserError(f"--set {given}: write it as KEY=VALUE, for example training.epochs=2")
    value = option_value(f"--set {text}", raw)
    if isinstance(value, str):
        value = _number(value)
    place: Any = data
    for index, key in enumerate(keys):
        if isinstance(place, dict):
            keys[index] = key = str(key)
        if index + 1 == len(keys):
            break
        if isinstance(place, dict) and place.get(key) is None:
            place[key] = {}
        place = _child(place, key, text, ".".join(map(str, keys[: index + 1])))
    if isinstance(place, list):
        _child(place, keys[-1], text, name)
    elif not isinstance(place, dict):
        parent = shortened(name.rpartition(".")[0])
        raise UserError(f"--set {shortened(text)}: {parent} is a single value, not a mapping")
    place[keys[-1]] = value
    source.options[tuple(keys)] = f"--set {shortened(text)}"


def option_value(option: str, raw: str) -> Any:
    """The YAML value of an option ``KEY=VALUE``. Raises UserError, with the option, for none."""
    try:
        return parse_yaml(raw)[1]
    except ValueError as error:
        problem = str(error).removeprefix("line 1: ")
        raise UserError(f"{shortened(option)}: the value is not valid YAML: {problem}") from error


def _is_index(part: str) -> bool:
    """Whether a part of a key is a place in a list; `str.isdigit` accepts what int refuses."""
    return part.isascii() and part.isdigit() and len(part) < 9


def _child(place: Any, key: str | int, text: str, name: str) -> Any:
    try:
        return place[key]
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(f"--set {shortened(text)}: there is no {shortened(name)} to set") from error


def _number(text: str) -> str | float:
    """YAML 1.1 reads ``1e-3`` as a string; a suite's user means the number."""
    try:
        return float(text) if text[:1] in "+-.0123456789" else text
    except ValueError:
        return text


def validated(
    model: type[Model],
    data: dict[str, Any],
    source: SuiteSource,
    place: Location = (),
    owner: str = "the suite",
) -> Model:
    """Build ``model`` from ``data``, or raise UserError with place, value and nearest key.

    place: where the data stand in the file. owner: whose keys they are, for the message.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # An unknown key is the likeliest cause of a missing one, so it is named first.
        problems = error.errors(include_url=False)
        first = min(problems, key=lambda item: item["type"] != "extra_forbidden")
        raise UserError(_message(model, dict(first), source, place, owner)) from None


def _message(
    model: type[BaseModel],
    problem: dict[str, Any],
    source: SuiteSource,
    prefix: Location,
    owner: str,
) -> str:
    """One line for one problem of pydantic; ``prefix`` is the model's place in the file."""
    path = tuple(part for part in problem["loc"] if not _is_union_tag(part))
    place = source.where((*prefix, *path))
    key = str(path[-1]) if path else "suite"
    dotted = shortened(".".join(map(str, path)))
    parent = shortened(".".join(map(str, path[:-1]))) or owner
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, path[:-1])
        listed = f"; known: {', '.join(known)}" if known else ""
        return f"{place}: unknown key {quoted(key)} in {parent}{nearest(key, known)}{listed}"
    if problem["type"] == "missing":
        return f"{place}: key {key!r} is missing in {parent}"
    message = shortened(problem["msg"].removeprefix("Value error, "), 500)
    message = message[:1].lower() + message[1:]
    if not path:
        return f"{place}: {message}"
    return f"{place}: {dotted}: {message}, got {quoted(problem['input'])}"


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
