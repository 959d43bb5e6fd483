"""Files are written whole or not at all; what can't be written is one line for the user."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compact_bench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn a full disk or an unwritable folder into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all: a temporary file beside it, fsync, rename.

    Raises UserError where the folder can't be written or the disk is full.
    """
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)  # mkstemp's 0600 would hide the results from a group
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    return path


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


def remove(path: Path) -> None:
    """Remove a file or folder of ours, if it is there."""
    with writable(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
