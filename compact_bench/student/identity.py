"""What a student is, as a hash, without loading it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from compact_bench.errors import UserError

WEIGHT_AND_TOKENIZER_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")


def is_gguf(student_id: str) -> bool:
    """Whether the id names a GGUF file."""
    return student_id.lower().endswith(".gguf")


def is_local(student_id: str) -> bool:
    """Whether the id is a path rather than the id of a model hub (`owner/name`)."""
    looks_like_path = student_id.startswith((".", "/", "~")) or is_gguf(student_id)
    return looks_like_path or Path(student_id).exists()


def student_path(student_id: str) -> Path | None:
    """The local file or folder that holds the student, None for a hub id.

    Raises UserError where a path does not exist.
    """
    if student_id == "nano":
        from compact_bench.mini.nano import nano_path

        return nano_path()
    if not is_local(student_id):
        return None
    path = Path(student_id).expanduser()
    if not path.exists():
        raise UserError(
            f"student.id: no file or folder {student_id!r}; "
            "allowed: nano, a hub id, a model folder, a .gguf file"
        )
    return path


def student_hash(spec: Any) -> str:
    """SHA-256 over a local student's files; for a hub id, the id and its revision."""
    path = student_path(spec.id)
    if path is None:
        return f"{spec.id}@{spec.revision or 'main'}"
    files = [path]
    if path.is_dir():
        files = sorted(f for pattern in WEIGHT_AND_TOKENIZER_FILES for f in path.glob(pattern))
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]
