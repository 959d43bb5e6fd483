"""Commands with a fault at many moments, then the same command: the same files, bit for bit.

python -m tests.chaos --points 20 --seed 0 [run tune sqlite report publish]

Cells are stubs that train nothing. For every command, faults are drawn among all moments at which
it, or its worker, changes something on disk, and among moments of the clock: SIGKILL, SIGTERM,
SIGINT, a disk that is full from there on, a clock that jumps back by a day; or the same command
runs beside it. Then the same command is given again. It must end with exit code 0 and leave what a
command leaves that nothing befell: no file more, none less, none that differs, but for logs, times
and the numbers of trials that died. What was done before the fault must not be done again, and no
process may be left.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.storages.journal import JournalFileBackend

from compact_bench.__main__ import code_of
from compact_bench.commands.publish import publish_folder
from compact_bench.commands.run import run_suite
from compact_bench.errors import MachineError, UserError
from compact_bench.execution.plan import Options
from compact_bench.execution.pool import WorkerEntry
from compact_bench.report import page
from compact_bench.suite.schema import load_suite
from compact_bench.tune import search
from tests.conftest import plugins_in

ROOT = Path(__file__).parents[2]
STUBS = ROOT / "tests" / "stubs"
sys.path.insert(0, str(STUBS))

from kill_points import FAULTS, SIGNALS, Moments  # noqa: E402 - a stub's folder is no package

SUITE: dict[str, Any] = {
    "suite": "tiny",
    "title": "A tiny suite",
    "compare_to": "knobs",
    "methods": ["still", "knobs", {"knobs": {"x": 0.5}, "label": "half"}],
    "seeds": [0, 1],
    "data": {"source": "mini", "train": 4, "dev": 3, "test": 3, "mini": {"problem": "gsm8k"}},
    "training": {"learning_rate": 0.002, "epochs": 1, "batch_size": 2},
    "evaluation": {
        "marginal_samples": 2,
        "tasks": [{"task": "in_domain", "role": "reasoning"}],
    },
    "tune": {"trials": 5, "reports": [0.5, 0.9], "objective": ["marginal_nll"]},
}
COMMANDS = ("run", "tune", "sqlite", "report", "publish")
WORKERS = ("run", "tune", "sqlite")  # those that have a worker
TWO = (
    "a second one beside it"  # not of a search, which two processes share, and then draw otherwise
)
# Done in spite of it, a failed cell, a full disk, Ctrl-C, or dead.
EXPECTED = (0, 1, 2, 130, -signal.SIGTERM, -signal.SIGKILL)
SECONDS = 300.0  # after which a command counts as hung
# Times, logs, and what counts the trials that died; `_finished` compares the others.
VOLATILE = ("log.txt", "tries", "studies.journal", "trials.json", "study.db")
LOCKS = (".lock", ".flock", ".lease")
DIED = ("tune/report.html", "tune/tables/trials", "tune/tables/tuning_cost", "tune/tables/settings")


@dataclass(frozen=True)
class Fault:
    """What befalls whom: at a moment of theirs, or of the runner after so many seconds."""

    kind: str = ""
    who: str = "runner"
    at: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.kind == TWO:
            return self.kind
        when = f"after {self.seconds:.2f} s" if self.seconds else f"at moment {self.at}"
        return f"{self.kind} of the {self.who} {when}"


NOTHING = Fault()


def do(command: str, folder: Path) -> int:
    """Run a command in this process; return its exit code."""
    options = Options(folder / "results", None, (folder / "plugins",), (), 1)
    entry = WorkerEntry(1, "chaos_cells:cell", "chaos_cells:check")
    root = folder / "results" / "tiny" / "mini"
    try:
        suite = load_suite(folder / "tiny.yaml")
        if command == "run":
            return run_suite(suite, options, print, entry)
        if command in ("tune", "sqlite"):
            url = f"sqlite:///{folder / 'study.db'}" if command == "sqlite" else None
            return search.tune(suite, options, search.TuneOptions(("knobs",), url), print, entry)
        if command == "report":
            page.show(root)
        else:
            publish_folder(root, folder / "results" / "published" / "tiny" / "mini")
    except UserError as error:
        print(f"Error: {error}")
        return 2
    except MachineError as error:
        print(f"Error: {error}")
        return 1
    return 0


def begin(command: str, folder: Path, fault: Fault) -> int:
    """Fork a process that runs a command in which a fault happens; return its id."""
    if (pid := os.fork()) != 0:
        return pid
    code = 99
    try:
        with (folder / "log").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        os.chdir(folder)  # by which `left_behind` knows its processes
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ["CHAOS_FOLDER"] = str(folder)
        for name, value in (
            ("AT", fault.at if fault.who == "worker" else 0),
            ("FAULT", fault.kind),
        ):
            os.environ[f"CHAOS_{name}"] = str(value)
        at = fault.at if fault.who == "runner" else 0
        moments = Moments(folder, "runner", at, fault.kind)
        moments.install()
        JournalFileBackend.append_logs = moments.around(JournalFileBackend.append_logs)
        code = code_of(lambda: do(command, folder))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int, fault: Fault = NOTHING) -> int:
    """The exit code of a process, or minus its signal; of one that hangs, -SIGALRM."""
    began, sent = time.monotonic(), False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        now = time.monotonic() - began
        if fault.seconds and not sent and now > fault.seconds:
            os.kill(pid, SIGNALS[fault.kind])
            sent = True
        if now > SECONDS:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -signal.SIGALRM
        time.sleep(0.005)


def left_behind(folder: Path) -> list[str]:
    """Processes of a command, its workers and their forks, that still run after some seconds.

    Only Linux says which they are.
    """
    found: list[str] = []
    for _ in range(100):
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cwd").readlink() == folder:
                    found.append(process.name)
        if not found:
            break
        time.sleep(0.1)
    return found


def contents(folder: Path) -> dict[str, bytes | str]:
    """What a command left, but for what differs from one time to the next."""
    found: dict[str, bytes | str] = {}
    for path in sorted((folder / "results").rglob("*")):
        name = path.relative_to(folder / "results").as_posix()
        own = name.removeprefix("tiny/mini/")
        if not path.is_file() or path.name in VOLATILE or path.name.endswith(LOCKS):
            continue
        if "/logs/" in f"/{own}" or own.startswith(DIED):
            continue
        found[name] = path.read_bytes()
    for path in (folder / "results").rglob("trials.json"):
        found["finished trials"] = _finished(path)
    return found


def _finished(path: Path) -> str:
    """The trials that count, without their numbers and times."""
    studies = json.loads(path.read_text())["studies"]
    kept = ("state", "settings", "values", "reports", "tokens", "flops")
    return json.dumps(
        [
            [
                {key: trial[key] for key in kept}
                for trial in study["trials"]
                if trial["state"] != "failed"
            ]
            for study in studies
        ],
        sort_keys=True,
    )


def done_cells(folder: Path) -> dict[Path, int]:
    """When the status of each cell was written that is done."""
    return {
        path: path.stat().st_mtime_ns
        for path in (folder / "results").rglob("status.json")
        if json.loads(path.read_text())["state"] == "done"
    }


def wrong(command: str, folder: Path, fault: Fault, whole: dict[str, bytes | str]) -> Iterator[str]:
    """Have the fault happen, give the command again, and yield what isn't as it should be."""
    others = [begin(command, folder, NOTHING)] if fault.kind == TWO else []
    code = ended(begin(command, folder, fault), fault)
    others = [ended(pid) for pid in others]
    if -signal.SIGALRM in (code, *others):
        yield "hung after the fault"
    elif code not in EXPECTED:
        yield f"ended with {code} after the fault"
    if fault.kind == TWO and command == "run":  # which share the cells
        if (code, *others) != (0, 0):
            yield f"two runs ended with {code} and {others}"
        tries = {path: path.read_text() for path in (folder / "results").rglob("tries")}
        if again := [path.parent.name for path, each in tries.items() if each != "x"]:
            yield f"cells were done twice by two runs: {', '.join(again)}"
    before = done_cells(folder)
    code = ended(begin(command, folder, NOTHING))
    if processes := left_behind(folder):
        yield f"left processes behind: {', '.join(processes)}"
    log = (folder / "log").read_text()
    if code != 0:
        yield f"the second command ended with {code}"
    # Python itself ignores a Ctrl-C that meets its hooks of a fork, and prints that.
    if log.count("Traceback") > log.count("Exception ignored in"):
        yield "a traceback"
    after = done_cells(folder)
    if any(after.get(path) != when for path, when in before.items()):
        yield "a finished cell was lost or done again"
    found = contents(folder)
    for name in sorted({*found, *whole}):
        if found.get(name) != whole.get(name):
            there = [
                where for where, files in (("only after", found), ("lost", whole)) if name in files
            ]
            yield f"{name}: {'differs' if len(there) == 2 else there[0]}"


def start(parent: Path) -> Path:
    """A folder with the suite and its methods."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SUITE, sort_keys=False))
    plugins_in(folder)
    return folder


def prepared(command: str, parent: Path) -> Path:
    """What the command begins with: for report and publish, results; for publish, older ones."""
    folder = start(parent)
    if command not in WORKERS:
        assert ended(begin("run", folder, NOTHING)) == 0, (folder / "log").read_text()
        if command == "publish":
            assert ended(begin("publish", folder, NOTHING)) == 0
            table = folder / "results" / "published" / "tiny" / "mini" / "tables" / "main.md"
            table.write_text("an older one")
        for path in folder.glob("moments-*"):
            path.unlink()
    return folder


def faults(
    command: str, moments: dict[str, int], seconds: float, count: int, draw: random.Random
) -> list[Fault]:
    """Draw faults: three quarters at moments; of the others every second is a second command."""
    drawn = []
    for number in range(count):
        if number % 8 == 7 and command not in ("tune", "sqlite"):
            drawn.append(Fault(TWO))
            continue
        if number % 4 == 3:
            kind = draw.choice([*SIGNALS])
            drawn.append(Fault(kind, seconds=draw.uniform(0.01, seconds)))
            continue
        who = draw.choice([*moments])
        drawn.append(Fault(draw.choice(FAULTS), who, draw.randint(1, moments[who])))
    return drawn


def trial(command: str, parent: Path, count: int, draw: random.Random) -> tuple[int, list[str]]:
    """Try one command; return how many faults happened and what went wrong."""
    template = prepared(command, parent)
    reference = Path(shutil.copytree(template, parent / f"{command}-whole"))
    began = time.monotonic()
    assert ended(begin(command, reference, NOTHING)) == 0, (reference / "log").read_text()
    seconds = time.monotonic() - began
    whole = contents(reference)
    moments = {
        path.name.removeprefix("moments-"): path.stat().st_size
        for path in reference.glob("moments-*")
    }
    happened, problems, kinds = 0, [], Counter[str]()
    for number, fault in enumerate(faults(command, moments, seconds, count, draw)):
        folder = Path(shutil.copytree(template, parent / f"{command}-{number}"))
        found = list(wrong(command, folder, fault, whole))
        happened += bool(fault.seconds or fault.kind == TWO) or (folder / "fault").exists()
        kinds[f"{fault.kind}, {fault.who}"] += 1
        problems += [f"{command}, {fault}: {problem} ({folder})" for problem in found]
        if not found:
            shutil.rmtree(folder)
    each = ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items()))
    shown = ", ".join(f"{n} of the {who}" for who, n in moments.items())
    print(f"{command}: moments: {shown}; faults: {each}", flush=True)
    return happened, problems


def import_all(parent: Path) -> None:
    """Run and tune once in this process, so that its forks need not import what a command does."""
    folder = start(parent)
    with contextlib.redirect_stdout(io.StringIO()):
        assert do("run", folder) == do("tune", folder) == 0
    assert threading.active_count() == 1, "a fork would lose the other threads"


def main() -> int:
    """Try the commands; print what went wrong; exit code 1 if anything did."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commands", nargs="*", default=COMMANDS, help=", ".join(COMMANDS))
    parser.add_argument("--points", type=int, default=4, help="faults of each command")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of faults")
    parser.add_argument("--keep", action="store_true", help="keep the folders of what went wrong")
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (STUBS, ROOT)))
    page.build_figures = lambda results: []  # drawing takes longer than all else
    search.page.figures.build = lambda search: []
    parent = Path(tempfile.mkdtemp(prefix="chaos-")).resolve()
    import_all(parent)
    happened, problems = 0, []
    for command in asked.commands:
        count, found = trial(
            command, parent, asked.points, random.Random(f"{asked.seed} {command}")
        )
        happened, problems = happened + count, problems + found
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{happened} faults, {len(problems)} problems")
    if not (problems and asked.keep):
        shutil.rmtree(parent)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
