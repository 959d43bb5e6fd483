"""What a change of the code's shape must leave as it is: ``python -m tests.compare_with COMMIT``.

Checks the commit out beside this tree and compares, tree against tree:

- the run ids of every suite and profile that can be planned here (``plan --json``),
- the bytes of every table that ``report`` makes of every published suite,
- one cell of `compact`, trained by both: evaluation, samples, and step records without seconds.

COMPACT_BENCH_MIRROR names a folder with the data sets' files; suites without theirs are named as
not compared. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parent.parent
TIMES = ("seconds",)  # columns of step records that no two runs share


def main() -> int:
    """Compare this tree with a commit; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("commit")
    parser.add_argument("--only", choices=[*CHECKS], action="append", help="Only this comparison.")
    options = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder, "old"), Path(folder, "new")
        check_out(options.commit, old)
        link_tree(new)
        for name in options.only or CHECKS:
            for line in CHECKS[name](old, new):
                different += line.startswith("DIFFERENT")
                print(f"{name}: {line}", flush=True)
    print("the same" if not different else f"{different} differences")
    return 1 if different else 0


def check_out(commit: str, folder: Path) -> None:
    """Unpack a commit, with its baselines importable under the name that they are installed as."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    (folder / "compact_bench_baselines").symlink_to(folder / "baselines")


def link_tree(folder: Path) -> None:
    """This working tree, laid out as `check_out` lays out a commit."""
    folder.mkdir()
    for part in ("compact_bench", "baselines", "suites", "results"):
        (folder / part).symlink_to(ROOT / part)
    (folder / "compact_bench_baselines").symlink_to(ROOT / "baselines")


def command(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the package in a tree, whatever is installed."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "compact_bench", *arguments]
    return subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True)


def run_ids(old: Path, new: Path) -> Iterator[str]:
    """Compare the ids of all cells of every suite and profile."""
    for file in sorted((old / "suites").glob("*.yaml")):
        for profile in yaml.safe_load(file.read_text("utf-8"))["profiles"]:
            name = f"{file.stem} {profile}"
            plans = [
                command(tree, "plan", f"suites/{file.name}", "--profile", profile, "--json")
                for tree in (old, new)
            ]
            if plans[0].returncode:
                reason = plans[0].stderr.strip().splitlines()[-1:]
                yield f"not compared: {name}: {' '.join(reason)}"
                continue
            ids = [cell_ids(plan) for plan in plans]
            yield f"{'same' if ids[0] == ids[1] else 'DIFFERENT'}: {name}, {len(ids[0])} cells"


def cell_ids(plan: subprocess.CompletedProcess[str]) -> list[tuple[Any, ...]]:
    """The cells of a plan as (run id, row, seed); none where it could not be made."""
    if plan.returncode:
        return []
    cells = json.loads(plan.stdout)["cells"]
    return [(cell["run_id"], cell.get("label"), cell.get("seed")) for cell in cells]


def tables(old: Path, new: Path) -> Iterator[str]:
    """Compare the bytes of the tables that both trees make of their published records."""
    for page in sorted((old / "results" / "published").glob("*/*/report.html")):
        suite, profile = page.parent.parts[-2:]
        made = []
        for tree in (old, new):
            results = tree.parent / f"results-{tree.name}"
            shutil.copytree(
                tree / "results" / "published" / suite / profile, results / suite / profile
            )
            file = f"suites/{suite}.yaml"
            words = ("--profile", profile, "--results", str(results))
            done = command(tree, "report", file, *words)
            if done.returncode:
                yield f"DIFFERENT: {suite} {profile}: report of {tree.name} failed: {done.stderr}"
            files = results.rglob("tables/*")
            made.append({str(f.relative_to(results)): f.read_bytes() for f in files})
            shutil.rmtree(results)
        yield from differing(f"{suite} {profile}", *made)


def differing(name: str, old: dict[str, bytes], new: dict[str, bytes]) -> Iterator[str]:
    """A line for each file that is not the same, or one that says that all are."""
    found = sorted(file for file in {*old, *new} if old.get(file) != new.get(file))
    yield from (f"DIFFERENT: {name}: {file}" for file in found)
    if not found:
        yield f"same: {name}, {len(old)} tables"


def trained_cell(old: Path, new: Path) -> Iterator[str]:
    """Compare the records of one cell that both trees train."""
    records = []
    for tree in (old, new):
        results = tree.parent / f"trained-{tree.name}"
        words = ("--only", "compact", "--seeds", "0", "--limit", "24", "--results", str(results))
        done = command(tree, "run", "suites/gsm8k.yaml", *words)
        if done.returncode:
            yield f"DIFFERENT: run of {tree.name} failed: {done.stdout[-500:]}{done.stderr[-500:]}"
            return
        records.append(cell_records(results))
    same = records[0].keys() == records[1].keys()
    for name in records[0]:
        same = same and records[0][name].equals(records[1][name])
        yield f"{'same' if same else 'DIFFERENT'}: {name}, {len(records[0][name])} rows"


def cell_records(results: Path) -> dict[str, pd.DataFrame]:
    """What the trained cell recorded, without times."""
    steps = next(results.rglob("steps.parquet"))
    found = {
        name: pd.read_parquet(steps.with_name(f"{name}.parquet"))
        for name in ("steps", "eval", "epiphany")
    }
    found["steps"] = found["steps"].drop(columns=list(TIMES))
    samples = steps.with_name("samples.jsonl").read_text("utf-8").splitlines()
    return found | {"samples": pd.DataFrame({"line": samples})}


CHECKS = {"run ids": run_ids, "tables": tables, "trained cell": trained_cell}

if __name__ == "__main__":
    sys.exit(main())
