"""The nano student: a small Llama that is shipped with the package and can be made again."""

from __future__ import annotations

from pathlib import Path


def nano_path() -> Path:
    """Folder of the shipped student, for AutoModelForCausalLM and AutoTokenizer."""
    return Path(__file__).parent / "weights"
