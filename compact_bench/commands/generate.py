"""`generate`: ask one more teacher for rationales of a suite's training questions."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compact_bench.commands.options import FOLDER, MIRROR, OVERRIDES, suite_of
from compact_bench.errors import UserError, shortened

if TYPE_CHECKING:
    from compact_bench.teachers.answers import AnswerFile, Request, TeacherAnswer

_NAME = r"(?P<name>[A-Za-z0-9][\w.-]{0,99})"
_TEACHER = re.compile(_NAME + r"=(?P<model>\S+)@(?P<url>https?://\S+)")
_LOCAL = re.compile(_NAME + r"=(?P<model>.+)")
MILLION = 1e6  # tokens that a price is of
SHOWN = 3  # questions that stay unanswered, of each reason
MOST_REASONS = 5
SERVER = ("key_variable", "concurrency", "retries", "timeout")  # options of a server


class Price(click.ParamType):
    """Two prices, of a million tokens read and written."""

    name = "price"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, float]:
        """The two numbers; a line for the user where they are none."""
        try:
            read, written = map(float, str(value).split(","))
            if 0 <= read < math.inf and 0 <= written < math.inf:
                return read, written
        except ValueError:
            pass
        self.fail(f"{value!r}: write IN,OUT, of a million tokens each, for example 0.5,1.5")


def _finite(context: Any, parameter: Any, value: float) -> float:
    """The number; a line for the user for what a range lets through."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is no finite number")
    return value


def _teacher(teacher: str | None, local: str | None) -> tuple[str, str, str]:
    """Name, model and address ("" = on this machine). Raises UserError for what is none."""
    if (teacher is None) == (local is None):
        raise UserError("name one teacher: --teacher NAME=MODEL@URL or --local NAME=MODEL")
    if local is not None:
        if match := _LOCAL.fullmatch(local):
            return match["name"], match["model"], ""
        raise UserError(f"--local {shortened(local)}: write NAME=MODEL, a hub id, folder or .gguf")
    match = _TEACHER.fullmatch(str(teacher))
    # An address with a user or a query may hold a key, and the address is in messages.
    if match is None or re.search(r"[@?#]", match["url"]):
        raise UserError(
            "--teacher: write NAME=MODEL@URL, such as gpt=gpt-4o-mini@https://api.openai.com/v1; "
            "the URL has neither a user nor a query, the key is in the environment"
        )
    return match["name"], match["model"], match["url"]


@click.command()
@click.argument("file", type=FOLDER)
@click.option("--teacher", metavar="NAME=MODEL@URL", help="Ask a server of OpenAI's protocol.")
@click.option("--local", metavar="NAME=MODEL", help="Ask a model on this machine.")
@click.option("--to", type=FOLDER, help="File of the answers [NAME.jsonl].")
@click.option("--samples", type=click.IntRange(1, 1000), default=1, help="Of each question [1].")
@click.option("--accept", type=click.Choice(["all", "right"]), default="all",
              help="Keep all rationales, or those with the right answer [all].")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(0, 10), default=0.7, callback=_finite,
              help="[0.7]")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="[0]")
@click.option("--max-tokens", type=click.IntRange(1, 10**6), default=1024, help="Of each [1024].")
@click.option("--instruction", help="What follows the question [to reason step by step].")
@click.option("--price", type=Price(), metavar="IN,OUT", help="Of a million tokens, to be summed.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=8, help="At a time [8].")
@click.option("--retries", type=click.IntRange(0, 100), default=6, help="Of one request [6].")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=600.0, callback=_finite,
              help="Seconds of one try [600].")  # fmt: skip
@click.option("--key-variable", default="OPENAI_API_KEY", show_default=True, metavar="NAME",
              help="Environment variable that holds the server's key.")  # fmt: skip
@click.option("--profile", help="Profile of the suite file [default: mini].")
@OVERRIDES
@click.option("--limit", metavar="N", help="N training questions.")
@MIRROR
def generate(
    file: Path,
    teacher: str | None,
    local: str | None,
    to: Path | None,
    samples: int,
    price: tuple[float, float] | None,
    profile: str | None,
    overrides: tuple[str, ...],
    limit: str | None,
    mirror: Path | None,
    **options: Any,
) -> int:
    """Ask a teacher for rationales of the training questions of the suite FILE.

    Every answer is on the disk before the next, and the same command again asks only for what is
    missing. A suite reads the file as data.more, beside its own teachers. Exit code 1 where
    questions stay unanswered.
    """
    from compact_bench.execution.prepare import training_questions
    from compact_bench.teachers.answers import AnswerFile, Settings, requests
    from compact_bench.utils.files import locked, writable

    name, model, url = _teacher(teacher, local)
    path = to or Path(f"{name}.jsonl")
    suite = suite_of(file, profile, overrides, None, limit)
    more = [other for other in suite.data.more if os.path.abspath(other) != os.path.abspath(path)]
    suite.data.more = more
    wanted = requests(training_questions(suite, mirror), samples)
    server = {key: options.pop(key) for key in SERVER}
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    busy = f"{path} is being written by another process; wait for it or stop it"
    with locked(path.with_name(f".{path.name}.lock"), busy):
        given = {key: value for key, value in options.items() if value is not None}
        answers = AnswerFile(path, Settings(name, model, **given))
        missing = [*answers.missing(wanted)]
        click.echo(f"{len(wanted)} rationales, {len(wanted) - len(missing)} of them asked before")
        failures: dict[str, list[Request]] = {}
        try:
            if missing:
                _ask(answers, missing, failures, url, server)
        finally:
            click.echo("\n".join(_report(answers, failures, price)))
    files = ", ".join([*more, str(path)])
    click.echo(f"next: python -m compact_bench audit {file} --set 'data.more=[{files}]'")
    return int(bool(failures))


def _ask(
    answers: AnswerFile,
    missing: list[Request],
    failures: dict[str, list[Request]],
    url: str,
    server: dict[str, Any],
) -> None:
    """Ask the server, or without an address the model on this machine; failures get the reasons."""
    from tqdm import tqdm

    from compact_bench.teachers import local
    from compact_bench.teachers import server as servers

    with tqdm(total=len(missing), unit="rationale", disable=None) as bar:

        def add(request: Request, answer: TeacherAnswer) -> None:
            answers.add(request, answer)
            bar.update()

        def failed(request: Request, reason: str) -> None:
            failures.setdefault(reason, []).append(request)

        if url:
            servers.Server(url, **server).ask(missing, answers.settings, add, failed)
        else:
            local.ask(missing, answers.settings, add)


def _report(
    answers: AnswerFile, failures: dict[str, list[Request]], price: tuple[float, float] | None
) -> list[str]:
    """What the file holds, what it cost, and what stays unanswered."""
    counts = Counter(answers.counts)
    read, written = counts.pop("prompt_tokens", 0), counts.pop("completion_tokens", 0)
    kept = counts.pop("", 0)
    rejected = ", ".join(f"{count} {why}" for why, count in sorted(counts.items())) or "none"
    cost = ""
    if price:
        cost = f", {(read * price[0] + written * price[1]) / MILLION:.4f} at the given price"
    lines = [
        f"{answers.path}: {kept} rationales; rejected: {rejected}",
        f"tokens: {read:,} read, {written:,} written{cost}",
    ]
    for why, unanswered in [*failures.items()][:MOST_REASONS]:
        some = "; ".join(shortened(request.question, 60) for request in unanswered[:SHOWN])
        lines.append(f"unanswered: {len(unanswered)} ({why}): {some}")
    if failures:
        total = sum(map(len, failures.values()))
        lines.append(f"{total} unanswered in all; the same command asks for them again")
    return lines
