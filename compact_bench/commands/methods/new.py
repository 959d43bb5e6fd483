"""`new`: write a new method and its test, which pass as written."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from pathlib import Path

import click

from compact_bench.commands.options import FOLDER, PLUGINS
from compact_bench.errors import UserError
from compact_bench.utils.files import write_text

TEMPLATES = Path(__file__).parent / "templates"
CHECKOUT = (Path("baselines"), Path("tests/baselines"))
LONGEST = 28

NEXT = """\
wrote {method} and {test}
edit   {method}: `weights` is one of the hooks; override the narrowest that does it
check  python -m compact_bench test {name}{plugins}
       python -m pytest {test}
run    python -m compact_bench run suites/gsm8k.yaml --limit 8 --seeds 0{plugins} \\
           --set 'methods=[{name}]' --set compare_to={name}
table  a method in baselines/ also has a row in suites/baselines.yaml
guide  docs/adding_a_baseline.md"""


def write(name: str, to: Path | None = None, plugins: Sequence[Path] = ()) -> str:
    """Write the files of the method `name`; return what to do next.

    to: a folder for both files, which is made; None for the two folders of a checkout.
    Raises UserError, with nothing written, for a name that can't be one or that a method has,
    and for files that exist.
    """
    folders = CHECKOUT if to is None else (to, to)
    if to is None and not all(folder.is_dir() for folder in CHECKOUT):
        raise UserError(
            "no folders baselines/ and tests/baselines/ here: name a folder with --to DIR"
        )
    if to and to.exists() and not to.is_dir():
        raise UserError(f"--to {to}: is no folder")
    _check_name(name, [*plugins, *([to] if to and to.is_dir() else [])])
    files = folders[0] / f"{name}.py", folders[1] / f"test_{name}.py"
    for file in files:
        if file.exists():
            raise UserError(f"{file} exists; nothing was written")
    for file, text in zip(files, render(name, own_folder=to is not None), strict=True):
        write_text(file, text)
    option = f" --plugins {to}" if to else ""
    return NEXT.format(name=name, method=files[0], test=files[1], plugins=option)


def render(name: str, own_folder: bool) -> list[str]:
    """The texts of the method's file and of its test."""
    import jinja2

    from compact_bench.methods import registry

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # it is Python that is written
    )
    values = {
        "name": name,
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "own_folder": own_folder,
        "baselines": registry.BASELINES,
    }
    templates = ("method.py.j2", "test_method.py.j2")
    return [environment.get_template(template).render(values) for template in templates]


def _check_name(name: str, plugins: Sequence[Path]) -> None:
    from compact_bench.methods import registry

    known = registry.load(plugins).sources
    reasons = {
        "expected lower-case letters, digits and single underscores": not re.fullmatch(
            r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name
        ),
        f"has {len(name)} characters, at most {LONGEST} fit a table": len(name) > LONGEST,
        "is a keyword of Python": keyword.iskeyword(name),
        "files that begin with test_ are tests, not methods": name.startswith("test_"),
        f"there is a method of that name in {known.get(name)}": name in known,
    }
    for reason, applies in reasons.items():
        if applies:
            raise UserError(f"name {name!r}: {reason}")


@click.command()
@click.argument("name")
@click.option("--to", type=FOLDER, help="Folder for the files [default: baselines/ of a checkout].")
@PLUGINS
def new(name: str, to: Path | None, plugins: tuple[Path, ...]) -> None:
    """Write a method NAME and its test, which pass as written; say what to edit."""
    click.echo(write(name, to, plugins))
