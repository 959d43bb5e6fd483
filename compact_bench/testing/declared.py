"""Checks of what a method declares: identity, settings, rows, decoding; nothing is trained."""

from __future__ import annotations

from typing import get_args

from pydantic import ValidationError

from compact_bench.student.batch import Decoding, PromptKind
from compact_bench.testing.workbench import Workbench

LAYOUTS = ("any", "padded")
UNKNOWN = "no_method_has_a_setting_of_this_name"


def identity(bench: Workbench) -> None:
    """it has a name, version, docstring and reference, and BibTeX unless the reference is none"""
    method = bench.method
    for name, kind in (("name", str), ("version", int), ("reference", str)):
        value = getattr(method, name, None)
        assert isinstance(value, kind) and value, (
            f"{name}: expected a {kind.__name__} that isn't empty, got {value!r}"
        )
    assert method.version >= 1, f"version: expected 1 or more, got {method.version}"
    assert (method.__doc__ or "").strip(), "docstring: expected the method's formula, got none"
    if method.reference != "none":
        start = method.bibtex.strip()[:20]
        assert start.startswith("@"), (
            f"bibtex: expected an entry that begins with @, as reference is "
            f"{method.reference!r} and not 'none'; got {start!r}"
        )
    assert method.layout in LAYOUTS, f"layout: expected one of {LAYOUTS}, got {method.layout!r}"


def config(bench: Workbench) -> None:
    """its settings are the same once written as JSON and read back; unknown ones are refused"""
    model = bench.method.Config
    for value in bench.configs():
        written = value.model_dump(mode="json")
        again = model.model_validate(written)
        assert again == value, f"Config: expected {value!r} to be read back, got {again!r}"
    try:
        model.model_validate({UNKNOWN: 0})
        refused = False
    except ValidationError as error:
        refused = (UNKNOWN,) in [problem["loc"] for problem in error.errors()]
    assert refused, (
        "Config: expected an unknown setting to be refused, it was taken "
        "(inherit from Distiller.Config, or set extra='forbid')"
    )


def variants(bench: Workbench) -> None:
    """every row that it stands for has a config of its own and a label that no other row has"""
    configs = bench.configs()
    assert configs, "variants: expected at least one config, got none"
    for value in configs:
        assert isinstance(value, bench.method.Config), (
            f"variants: expected instances of Config, got {value!r}"
        )
    labels = [bench.method(value).label for value in configs]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    assert not twice, f"label: expected one for each of {len(labels)} rows, got {twice} twice"
    assert all(labels), f"label: expected text, got {labels}"


def decoding(bench: Workbench) -> None:
    """decoding() returns a Decoding: a known prompt, in one or two passes"""
    for value in bench.configs():
        chosen = bench.method(value).decoding()
        assert isinstance(chosen, Decoding), f"decoding: expected a Decoding, got {chosen!r}"
        prompts = get_args(PromptKind)
        assert chosen.prompt in prompts, (
            f"decoding: expected a prompt among {', '.join(prompts)}, got {chosen.prompt!r}"
        )
        assert chosen.passes in (1, 2), f"decoding: expected 1 or 2 passes, got {chosen.passes}"
