"""The machine that a cell runs on: versions, device, and the memory that it took."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

RECORDED_PACKAGES = (
    *("torch", "transformers", "peft", "lm-eval", "datasets", "numpy", "pandas", "tokenizers"),
    *("safetensors", "compact-bench"),
)


def environment(threads: int) -> dict[str, Any]:
    """Versions and machine, for env.json."""
    versions = {}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "versions": versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": threads,
        "device": gpu or "cpu",
        "git_commit": git_commit(Path(__file__).parents[1]),
    }


def has_bfloat16(device: str) -> bool:
    """Whether the device (auto: the one that a run takes) multiplies bfloat16 in hardware.

    Where it doesn't, PyTorch emulates it, slower than float32.
    """
    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities()
    return any(features.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def git_commit(package: Path) -> str | None:
    """The commit of the checkout that a package's folder lies in, or None.

    ``-dirty`` is added where tracked files were changed since. A package that was installed into
    another project's repository has none: that one's commit says nothing about it.
    """

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(package), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != package.resolve().parent:
        return None
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or None


def peak_memory_mb() -> float:
    """This cell's peak: of the device where there is one, else of the process (Linux)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1024**2
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return float("nan")


def reset_peak_memory() -> None:
    """A worker does one cell after the other: each starts at what is in use, not at the peak."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux, or not allowed: the peak is the process's then
