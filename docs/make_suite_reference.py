"""Write docs/suite_reference.md: every key of a suite file, from the models that check it.

python docs/make_suite_reference.py
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compact_bench.suite.schema import Suite

PAGE = Path(__file__).parent / "suite_reference.md"

HEAD = """\
# Every key of a suite file

What is allowed, and what is taken where a key is not there. [suites.md](suites.md) says what a
suite is and shows one. Written from the models that check a file by
`python docs/make_suite_reference.py`; a test compares. `profile` is what `--profile` chose of the
section `profiles`, whose keys are merged over the file's.
"""

WHOLE = Suite.model_json_schema()
PATHS: dict[str, str] = {}  # of each model, where it stands in a file; filled by `sections`
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "`true` or `false`",
    "object": "a mapping",
}


def number(value: float) -> str:
    """A bound as a reader takes it in: digits, or a power of ten."""
    return f"{value:,}" if isinstance(value, int) or abs(value) < 1e6 else f"{value:g}"


def allowed(schema: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(allowed(one) for one in schema["anyOf"]))
    if "$ref" in schema:
        path = PATHS[name(schema)]
        return f"[a section](#{path.replace('.', '')})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "null":
        return "nothing"
    if schema.get("type") == "array":
        return f"a list of: {allowed(schema.get('items', {}))}"
    if isinstance(values := schema.get("additionalProperties"), Mapping):
        return f"a mapping to: {allowed(values)}"
    limits = [text.format(number(schema[key])) for key, text in BOUNDS.items() if key in schema]
    return ", ".join([KINDS.get(str(schema.get("type")), "anything"), *limits])


def name(schema: Mapping[str, Any]) -> str:
    """The model that a schema refers to."""
    return str(schema["$ref"]).rpartition("/")[2]


def default(schema: Mapping[str, Any], required: bool) -> str:
    """What is taken where the key is missing."""
    if required:
        return "required"
    value = schema.get("default")
    if value in (None, "", [], {}):
        return "–"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def table(schema: Mapping[str, Any]) -> str:
    """The keys of one model as a table in the order of the model."""
    required = schema.get("required", [])
    lines = ["| key | allowed | default |", "|---|---|---|"]
    for key, one in schema["properties"].items():
        lines.append(f"| `{key}` | {allowed(one)} | {default(one, key in required)} |")
    return "\n".join(lines)


def sections() -> dict[str, Mapping[str, Any]]:
    """The schema of every section by its path in the file, as they are met; "" is the file's."""
    models = {**WHOLE["$defs"]}
    found: dict[str, Mapping[str, Any]] = {}

    def visit(path: str, schema: Any) -> None:
        if isinstance(schema, list):
            for one in schema:
                visit(path, one)
        elif isinstance(schema, Mapping) and "$ref" in schema:
            PATHS[name(schema)] = path
            add(path, models[name(schema)])
        elif isinstance(schema, Mapping):
            for key in schema.keys() & {"anyOf", "items"}:
                visit(path, schema[key])

    def add(path: str, schema: Mapping[str, Any]) -> None:
        found[path] = schema
        for key, one in schema["properties"].items():
            visit(f"{path}.{key}".lstrip("."), one)

    add("", WHOLE)
    return found


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for path, schema in sections().items():
        about = inspect.cleandoc(schema.get("description", "")).replace("``", "`")
        parts.append(f"## {path or 'The file'}\n\n{about}\n\n{table(schema)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
