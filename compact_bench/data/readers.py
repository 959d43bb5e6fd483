"""The rows of a user's data: JSONL, CSV, Parquet, Arrow, and data sets of the model hub."""

from __future__ import annotations

import csv
import os.path
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from compact_bench.data.importers import numbered_rows
from compact_bench.errors import UserError, shortened, unknown
from compact_bench.suite.sections import DATA_SUFFIXES
from compact_bench.utils.files import is_file

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[str, dict[str, Any]]  # "file:line" or "file: row N", and the values by column

HUB = "hf://datasets/"
_ADDRESS = re.compile(
    r"(?P<name>[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95})(?:@(?P<revision>[\w.%-]+))?(?:/(?P<path>.+))?"
)
_WHOLE_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubAddress:
    """A data set of the hub, or one file of it: ``owner/name@revision``, ``hf://datasets/...``."""

    name: str
    revision: str = ""
    path: str = ""

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{HUB}{self.name}{at}/{self.path}" if self.path else f"{self.name}{at}"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return bool(_WHOLE_COMMIT.fullmatch(self.revision))


def hub_address(source: str) -> HubAddress | None:
    """What a source names on the hub; None for a file or folder of this machine.

    >>> hub_address("openai/gsm8k@main")
    HubAddress(name='openai/gsm8k', revision='main', path='')
    """
    match = _ADDRESS.fullmatch(source.removeprefix(HUB))
    if match is None:
        return None
    if not source.startswith(HUB):
        own = source.endswith(DATA_SUFFIXES) or is_file(Path(source)) or os.path.isdir(source)
        if own or match["path"]:
            return None
    return HubAddress(match["name"], unquote(match["revision"] or ""), match["path"] or "")


def pinned(source: str) -> str:
    """A source of the hub with the commit that its revision stands for now; any other as it is.

    As it is, too, where the hub can't be asked: what lies on this machine is read then.
    """
    address = hub_address(source)
    if address is None or address.pinned:
        return source
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(address.name, revision=address.revision or None, timeout=20)
    except Exception:  # of the hub and of the network, many; reading the data says what is wrong
        return source
    return str(HubAddress(address.name, info.sha or address.revision, address.path))


def user_rows(
    source: str, columns: Sequence[str] | None, config: str | None, split: str
) -> Iterator[Row]:
    """The rows of a file, of a data set's folder, or of a data set of the hub.

    columns: those that are wanted, which must be there; None for all. config, split: of a data set.

    Raises: UserError where it can't be read, lacks a column, or has a row of another length.
    """
    address = hub_address(source)
    if address and address.path:
        yield from _file_rows(_downloaded(source, address), columns, source)
    elif address:
        yield from _data_set(source, address.name, address.revision, columns, config, split)
    elif os.path.isdir(source):
        yield from _data_set(source, source, "", columns, config, split)
    else:
        yield from _file_rows(Path(source), columns, source)


def _file_rows(path: Path, columns: Sequence[str] | None, name: str) -> Iterator[Row]:
    """name: what messages call the file."""
    if not is_file(path) or path.suffix not in (".parquet", ".arrow", ".csv", ".tsv"):
        for where, row in numbered_rows(path, lines=True):
            yield f"{name}{where.removeprefix(str(path))}", row
    elif path.suffix in (".csv", ".tsv"):
        yield from _csv_rows(path, columns, name)
    else:
        import pyarrow as pa

        try:
            for number, row in enumerate(_batches(path, columns, name), 1):
                yield f"{name}: row {number}", row
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{name}: can't be read: {shortened(str(error))}") from error


def _batches(path: Path, columns: Sequence[str] | None, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, or an Arrow one of either kind (file or stream)."""
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    batches: Iterable[pa.RecordBatch]
    if path.suffix == ".parquet":
        file = pyarrow.parquet.ParquetFile(path)
        _check_columns(columns, file.schema_arrow.names, name)
        batches = file.iter_batches(1000, columns=columns)
    else:
        try:
            table = pyarrow.ipc.open_file(path).read_all()
        except pa.ArrowInvalid:
            table = pyarrow.ipc.open_stream(path).read_all()
        _check_columns(columns, table.column_names, name)
        batches = (table.select(columns) if columns else table).to_batches(1000)
    for batch in batches:
        yield from batch.to_pylist(maps_as_pydicts="strict")


def _csv_rows(path: Path, columns: Sequence[str] | None, name: str) -> Iterator[Row]:
    """The rows of a table in text; an empty cell is none."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # of rationales 128 KiB may be too little
    delimiter = "\t" if path.suffix == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(lines, [])
            if len(set(header)) < len(header):
                raise UserError(f"{name}:1: a column's name is there twice: {', '.join(header)}")
            _check_columns(columns, header, name)
            line = lines.line_num + 1
            for cells in lines:
                where, line = f"{name}:{line}", lines.line_num + 1
                if len(cells) not in (0, len(header)):
                    named = f"{len(header)} in the first line"
                    raise UserError(f"{where}: {len(cells)} cells instead of {named}")
                values = dict(zip(header, cells, strict=False))
                if cells:
                    yield where, {key: values[key] or None for key in columns or header}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name}: can't be read: {shortened(str(error))}") from error


def _data_set(
    source: str,
    name: str,
    revision: str,
    columns: Sequence[str] | None,
    config: str | None,
    split: str,
) -> Iterator[Row]:
    """The rows of a data set as the hub's own library reads them, from its cache if it is there."""
    import datasets

    datasets.disable_progress_bars()
    try:
        data = datasets.load_dataset(name, config, split=split, revision=revision or None)
    except Exception as error:  # any of the library's many: all mean the same to the user
        reason = shortened(str(error) or type(error).__name__)
        asked = f"config {config}, " if config else ""
        raise UserError(f"{source} ({asked}split {split}): can't be read: {reason}") from error
    _check_columns(columns, data.column_names, source)
    rows = data.select_columns(list(columns)) if columns else data
    for number, row in enumerate(rows, 1):
        yield f"{source} ({split}): row {number}", row


def _downloaded(source: str, address: HubAddress) -> Path:
    """Where a file of the hub lies on this machine, once it is there."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(
            hf_hub_download(
                address.name, address.path, repo_type="dataset", revision=address.revision or None
            )
        )
    except Exception as error:  # any of the library's many: all mean the same to the user
        reason = shortened(str(error) or type(error).__name__)
        raise UserError(f"{source}: can't be read: {reason}") from error


def _check_columns(wanted: Sequence[str] | None, known: Sequence[str], name: str) -> None:
    for column in wanted or ():
        if column not in known:
            raise unknown(f"{name}: no column", column, known)
