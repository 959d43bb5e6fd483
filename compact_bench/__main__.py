"""The command line, ``python -m compact_bench``; a command is imported when it is asked for."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

INTERRUPTED = 130
SCRIPT = "compact-bench"
LONGEST_LINE = 2000  # characters of an error; a message quotes what was given
# In the order of the help. Each is MODULE:FUNCTION below commands/.
COMMANDS = {
    "run": "run:run",
    "merge": "merge:merge",
    "plan": "plan:plan",
    "audit": "plan:audit",
    "generate": "generate:generate",
    "tune": "tune:tune",
    "list": "list:list_",
    "validate": "validate:validate",
    "test": "methods.test:test",
    "new": "methods.new:new",
    "report": "report:report",
    "paper": "report:paper",
    "publish": "publish:publish",
    "reproduce": "publish:reproduce",
    "export": "publish:export",
    "verify": "verify:verify",
    "compare": "report:compare",
    "agree": "report:agree",
}


class Commands(click.Group):
    """Imports a command when it is asked for, and turns our UserError into click's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name].partition(":")
        return getattr(importlib.import_module(f"compact_bench.commands.{module}"), function)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; bad input has exit code 2, a failing machine 1, none a traceback."""
        from compact_bench.errors import MachineError, UserError

        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.UsageError(str(error)) from None
        except MachineError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="compact-bench", prog_name="compact_bench")
def commands() -> None:
    """Distil the chain-of-thought rationales of several teachers into one small student,
    by many methods, and compare them."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    # A shell completes the script by the name that it has; `python -m` has none to complete.
    name = SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "compact_bench"
    sys.exit(code_of(lambda: commands.main(arguments, name, standalone_mode=False)))


def code_of(command: Callable[[], Any]) -> int:
    """The exit code of a command; every error of the user's is one line on stderr.

    Ctrl-C is known by the signal and not by KeyboardInterrupt alone: libraries in C, pydantic
    among them, make another error of one that is raised within them.
    """
    interrupted = False

    def interrupt(*_: Any) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # a shell has background jobs ignore it
        signal.signal(signal.SIGINT, interrupt)
    try:
        code = command()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:  # no command: the help, line by line
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"Error: {_one_line(error.format_message())}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception:
        if not interrupted:
            raise
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)


def _one_line(message: str) -> str:
    """A message on one line that any terminal shows: an argument may hold what is no text."""
    from compact_bench.errors import shortened

    text = shortened(" ".join(message.split()), LONGEST_LINE)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


if __name__ == "__main__":
    main()
