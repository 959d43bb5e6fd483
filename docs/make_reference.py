"""Write docs/method_reference.md: what a method is given and may call, from the docstrings.

python docs/make_reference.py
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from compact_bench.api import (
    Batch,
    Decoding,
    Distiller,
    FullStates,
    MethodTrainer,
    Output,
    OwnRationales,
    Run,
    Step,
    TeacherGradients,
)
from compact_bench.data.rationales import RationaleBank
from compact_bench.student.student import Student
from compact_bench.training.trainer import Trainer

PAGE = Path(__file__).parent / "method_reference.md"

HEAD = """\
# What a method is given

All that a method overrides, is handed, or calls, with shapes and units: B questions, R rationales a
question, K teachers, T tokens, A answer tokens, S steps, D hidden size, V vocabulary, P trainable
parameters. [adding_a_baseline.md](adding_a_baseline.md) says which hook is for what. Written from
the docstrings by `python docs/make_reference.py`; a test compares.
"""

# The heading of each class, and what it is to a method.
CLASSES = {
    Distiller: ("Distiller", "What a method derives from: attributes that it sets, and its hooks."),
    Run: ("Run", "What `skip` looks at."),
    RationaleBank: ("The bank", "What `select` is given and returns."),
    Batch: ("Batch", "What hooks are given at a step."),
    Student: ("Student", "What hooks are given beside the batch."),
    Output: ("Output", "What `weights` is given as `out`, and `student.forward` returns."),
    FullStates: ("FullStates", "What `out.full` is."),
    OwnRationales: ("OwnRationales", "What `student.sample` returns."),
    TeacherGradients: ("TeacherGradients", "What `student.teacher_gradients` returns."),
    Step: ("Step", "What `loss` and `backward` return."),
    MethodTrainer: ("The trainer", "What `fit` is given; a method may use no more of it."),
    Decoding: ("Decoding", "What `decoding` returns."),
}


def signature(name: str, function: Any) -> str:
    """``name(argument: type = default) -> type`` as it is written, without self."""
    found = inspect.signature(function)
    parts = []
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        text = f"{parameter.name}: {parameter.annotation}"
        empty = parameter.default is inspect.Parameter.empty
        parts.append(text if empty else f"{text} = {parameter.default!r}")
    returned = found.return_annotation
    return f"{name}({', '.join(parts)}) -> {returned}"


def fields(kind: type) -> str:
    """The fields of a dataclass, in the order of its constructor."""
    lines = []
    for one in dataclasses.fields(kind):
        default = "" if one.default is dataclasses.MISSING else f" = {one.default!r}"
        if one.default_factory is not dataclasses.MISSING:
            default = f" = {one.default_factory()!r}"
        shown = default if "<function" not in default else " = a function"
        lines.append(f"{one.name}: {one.type}{shown}")
    return "```text\n" + "\n".join(lines) + "\n```"


def attributes(kind: type) -> str:
    """The attributes of a class that is none, with what they are unless a method sets them."""
    given = [f" = {vars(kind)[name]!r}" if name in vars(kind) else "" for name in annotated(kind)]
    lines = [f"{name}: {one}" for name, one in annotated(kind).items()]
    return "```text\n" + "\n".join(map("".join, zip(lines, given, strict=True))) + "\n```"


def annotated(kind: type) -> dict[str, str]:
    """The public annotated names of a class itself."""
    names = vars(kind).get("__annotations__", {})
    return {name: one for name, one in names.items() if not name.startswith("_")}


def members(kind: type) -> list[str]:
    """Every public method and property, with its docstring."""
    sections = []
    for name, value in vars(kind).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if name.startswith("_"):
            continue
        if isinstance(function, property):
            returned = inspect.signature(function.fget).return_annotation
            heading = f"{name}: {returned}"
        elif inspect.isfunction(function):
            heading = signature(name, inspect.unwrap(function))
        else:
            continue
        # The protocol says which; what each does, the trainer itself.
        documented = getattr(Trainer, name) if kind is MethodTrainer else function
        sections.append(f"### `{heading}`\n\n{inspect.getdoc(documented)}\n")
    return sections


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for kind, (title, role) in CLASSES.items():
        parts.append(f"## {title}\n\n{role} {inspect.getdoc(kind)}\n")
        if dataclasses.is_dataclass(kind):
            parts.append(f"{fields(kind)}\n")
        elif kind in (Distiller, MethodTrainer):
            parts.append(f"{attributes(kind)}\n")
        parts += members(kind)
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
