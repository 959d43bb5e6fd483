"""Whether a folder of results still holds what was recorded, and tables are what records give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compact_bench.analysis import results as analysis
from compact_bench.errors import UserError
from compact_bench.records.archive import TABLES
from compact_bench.records.cells import DAMAGED, Cell, read_cells
from compact_bench.records.suite_record import read_suite_record
from compact_bench.report import contents
from compact_bench.report.page import build_tables
from compact_bench.report.parts.formats import WRITERS, Table
from compact_bench.utils import processes


@dataclass(frozen=True)
class Verification:
    """What was found: planned cells by how much is known of them, tables, and what doesn't match.

    same: cells whose records have the checksums that they were recorded with; readable: those
    without checksums, as older and published ones, whose records can be read; missing: those that
    weren't run. tables: files that are what the records give.
    """

    same: int
    readable: int
    missing: int
    tables: int
    problems: tuple[str, ...]


def verify(folder: Path) -> Verification:
    """Check the records of results/<suite>/<profile>, live or published, and its tables.

    Raises UserError where no suite was run there.
    """
    folder = Path(folder)
    plan = read_suite_record(folder)
    cells = {cell.run_id: cell for cell in read_cells(folder)}
    planned = {one["run_id"]: one for one in (*plan.tries, *plan.cells)}
    same = readable = missing = 0
    problems = []
    for run_id, one in planned.items():
        cell = cells.get(run_id)
        if cell is None or cell.state == "missing":
            missing += 1
        elif reason := _problem(cell):
            seed = "" if one.get("seed") is None else f", seed {one['seed']}"
            problems.append(f"{analysis.row_label(one)}{seed} ({run_id}): {reason}")
        elif cell.status.get("records"):
            same += 1
        else:
            readable += 1
    tables, wrong = _tables(folder)
    return Verification(same, readable, missing, tables, (*problems, *wrong))


def _problem(cell: Cell) -> str:
    """Why a cell's records can't be trusted, or ""; that it failed is no problem of its records."""
    if cell.status.get(DAMAGED):
        return str(cell.status["reason"])
    try:
        cell.check()
        for kind in TABLES:
            cell.table(kind)
    except UserError as error:
        return str(error)
    return ""


def _tables(folder: Path) -> tuple[int, list[str]]:
    """How many files in tables/ are what the records give, and which aren't."""
    files = [path for path in sorted((folder / "tables").glob("*.*")) if path.suffix[1:] in WRITERS]
    if not files:
        return 0, []
    try:
        with processes.one_thread():
            made = {table.name: table for table in build_tables(analysis.read(folder))}
    except UserError as error:
        return 0, [f"tables: {error}"]
    endings = sorted({path.suffix[1:] for path in files})
    wrong = [
        f"tables/{name}.{ending} is missing: this version makes it of the records"
        for name in made
        for ending in endings
        if not (folder / "tables" / f"{name}.{ending}").exists()
    ]
    same = 0
    for path in files:
        if path.stem in made and path.read_bytes() == _content(made[path.stem], path.suffix[1:]):
            same += 1
        elif path.stem in contents.TABLES:
            wrong.append(f"tables/{path.name} is not what this version makes of the records")
    return same, wrong


def _content(table: Table, ending: str) -> bytes:
    return WRITERS[ending](table).encode("utf-8", errors="replace")
