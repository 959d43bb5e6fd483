"""Files are written whole or not at all; what can't be written is one line for the user."""

from __future__ import annotations

import io
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compact_bench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LEFTOVER = ".part"  # how the name of a file ends that is not written to its end


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn a full disk or an unwritable folder into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all: a temporary file beside it, fsync, rename.

    Its permissions are those that the user's umask gives. A process that is killed meanwhile
    leaves the temporary file to `remove_leftovers`, and one that tidies up just then has it written
    again. Raises UserError where the folder can't be written or the disk is full.
    """
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for last in (False, False, True):
            part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{LEFTOVER}")
            try:
                with open(part, "xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, path)
                break
            except BaseException as error:
                part.unlink(missing_ok=True)
                if last or not isinstance(error, FileNotFoundError):
                    raise
    return path


def remove_leftovers(folder: Path, name: str = "*", deep: bool = False) -> None:
    """Remove what a write that was killed left in a folder, of files of this name (a pattern).

    deep: in the folders below it, too. Whoever calls it must know that nobody else writes there.
    """
    pattern = f".{name}.*{LEFTOVER}"
    for path in Path(folder).rglob(pattern) if deep else Path(folder).glob(pattern):
        path.unlink(missing_ok=True)


def checksum(path: Path) -> dict[str, Any]:
    """A file's size and SHA-256: {"bytes": ..., "sha256": ...}."""
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": file_digest(file, "sha256").hexdigest()}


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text, atomically; half a surrogate pair, as a student may emit, becomes "?"."""
    return write_bytes(path, text.encode("utf-8", errors="replace"))


def write_json(path: Path, value: Any) -> Path:
    """Write JSON with sorted keys, atomically; NaN and infinity become null."""
    text = json.dumps(plain(value), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")


def write_parquet(path: Path, table: pd.DataFrame | pa.Table, level: int = 3) -> Path:
    """Write a table without its index, atomically, compressed by zstd at a level from 1 to 22.

    The bytes of numbers are split into streams (the first of all, the second of all, ...), which
    makes records a third smaller; texts repeat themselves and go through dictionaries.
    """
    import pyarrow as pa  # not at the top: the other writers are used without it
    import pyarrow.parquet

    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, preserve_index=False)
    numbers: list[str] = []
    others: list[str] = []
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        if pa.types.is_list(kind):
            name, kind = f"{name}.list.element", kind.value_type
        number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
        (numbers if number else others).append(name)
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(
        table,
        buffer,
        compression="zstd",
        compression_level=level,
        use_dictionary=others or False,
        use_byte_stream_split=numbers or False,
    )
    return write_bytes(path, buffer.getvalue())


def plain(value: Any) -> Any:
    """Reduce numpy scalars, paths and tuples to what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [plain(item) for item in items]
    if hasattr(value, "item") and callable(value.item) and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


@contextmanager
def locked(path: Path, problem: str) -> Iterator[None]:
    """Hold a lock file, which the system releases when the process ends.

    Raises UserError, with the problem, where another process holds it.
    """
    import filelock  # not at the top: the help of the commands does without

    lock = filelock.FileLock(path)
    with writable(path):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:  # an OSError, too
            raise UserError(problem) from error
    try:
        yield
    finally:
        lock.release()


def remove(path: Path) -> None:
    """Remove a file or folder of ours, if it is there."""
    with writable(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for what no path can be, and never an error."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a null character
        return False
