"""A student by its id, a hub id, a local folder, a GGUF file or `nano`: its hash and its model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compact_bench.errors import UserError, quoted
from compact_bench.utils.lazy import torch

# The hash is asked for by commands that never load a model, so torch is loaded with the first one.
if TYPE_CHECKING:
    from compact_bench.student.encode import Encoder
    from compact_bench.student.student import Student

WEIGHT_AND_TOKENIZER_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")


def student_path(student_id: str) -> Path | None:
    """The local file or folder that holds the student, None for a hub id (`owner/name`).

    Raises UserError where a path does not exist.
    """
    if student_id == "nano":
        from compact_bench.mini.nano.pretrain import nano_path

        return nano_path()
    try:
        path = Path(student_id).expanduser()
        if path.exists():
            return path
    except (OSError, RuntimeError, ValueError) as error:  # too long; `~nobody`; a null character
        raise UserError(f"student.id: {quoted(student_id)} is no path: {error}") from error
    if student_id.startswith((".", "/", "~")) or _is_gguf(student_id):
        raise UserError(
            f"student.id: no file or folder {quoted(student_id)}; "
            "allowed: nano, a hub id, a model folder, a .gguf file"
        )
    return None


def _is_gguf(student_id: str) -> bool:
    return student_id.lower().endswith(".gguf")


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


def load_student(spec: Any, *, lora_dropout: float = 0.0, seed: int = 0) -> Student:
    """Loads what a StudentSpec names, ready to be trained.

    `seed` fixes the initial LoRA weights. Raises UserError where the student can't be loaded.
    """
    from transformers import AutoModelForCausalLM

    from compact_bench.student.forward import choose_layout
    from compact_bench.student.student import Student, pad_token

    spec = spec.settled()
    device = spec.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        tokenizer, where, arguments = _tokenizer(spec)
        if "gguf_file" not in arguments:
            arguments["use_safetensors"] = True
        mixed = spec.dtype == "mixed"
        dtype = torch.float32 if mixed else getattr(torch, spec.dtype)
        causal: Any = AutoModelForCausalLM.from_pretrained(
            where, dtype=dtype, attn_implementation="sdpa", **arguments
        )
    except UserError:
        raise
    except Exception as error:  # any of transformers' many: all mean the same to the user
        raise UserError(f"student.id: can't load {spec.id!r}: {_first_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"student.id: the tokenizer of {spec.id!r} has no end-of-sequence token")
    causal.to(device)
    model = causal
    if spec.lora:
        from compact_bench.student.lora import with_adapters

        model = with_adapters(causal, spec.lora, lora_dropout, seed)
    if spec.gradient_checkpointing:
        causal.gradient_checkpointing_enable()
        causal.enable_input_require_grads()
    layout, reason = choose_layout(spec.layout, model, causal, pad_token(tokenizer), device)
    return Student(
        model,
        causal,
        tokenizer,
        layout=layout,
        layout_reason=reason,
        chat=spec.chat,
        device=device,
        mixed=mixed,
    )


def load_encoder(spec: Any) -> Encoder:
    """Tokenises as the student that a StudentSpec names, without its weights.

    Raises UserError where its tokenizer isn't on this machine: nothing is downloaded.
    """
    from compact_bench.student.encode import Encoder

    try:
        return Encoder(_tokenizer(spec, local_files_only=True)[0], spec.chat)
    except Exception as error:  # any of transformers' many: all mean the same here
        raise UserError(f"the tokenizer of {spec.id!r} is not at hand") from error


def same_tokenizer(spec: Any, student_id: str) -> bool:
    """Whether another model has the vocabulary of the student that a StudentSpec names.

    Raises UserError where a tokenizer can't be loaded.
    """
    vocabularies = []
    for model in (spec, spec.model_copy(update={"id": student_id, "revision": None})):
        try:
            vocabularies.append(_tokenizer(model)[0].get_vocab())
        except Exception as error:
            reason = _first_line(error)
            raise UserError(f"can't load the tokenizer of {model.id!r}: {reason}") from error
    return bool(vocabularies[0] == vocabularies[1])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _tokenizer(spec: Any, **how: Any) -> tuple[Any, Any, dict[str, Any]]:
    """The tokenizer, loaded with more arguments (`how`), and from where and how the model is."""
    from transformers import AutoTokenizer

    path = student_path(spec.id)
    where: Any = spec.id if path is None else path
    arguments: dict[str, Any] = {}
    if path is not None and _is_gguf(spec.id):
        where, arguments["gguf_file"] = path.parent, path.name
    elif path is None and spec.revision:
        arguments["revision"] = spec.revision
    if spec.trust_remote_code:
        arguments["trust_remote_code"] = True
    return AutoTokenizer.from_pretrained(where, **arguments, **how), where, arguments
