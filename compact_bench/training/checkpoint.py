"""Checkpoints without pickle: tensors as safetensors, step records as Parquet.

The records are written first and cut to the checkpoint's step when read, so that a process
killed between the two files loses nothing and repeats nothing.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from compact_bench.methods.base import Distiller
from compact_bench.student.student import Student
from compact_bench.utils.files import write_bytes, write_parquet

FILE = "checkpoint.safetensors"
RECORDS = {"steps": "steps-so-far.parquet", "gains": "gains-so-far.parquet"}


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> None:
    """Writes a safetensors file whole or not at all."""
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_bytes(path, to_bytes(contiguous, metadata=dict(meta)))


def save(
    folder: Path,
    *,
    student: Student,
    optimizer: torch.optim.Optimizer,
    distiller: Distiller,
    position: Mapping[str, Any],
    records: Mapping[str, list[dict[str, Any]]],
) -> None:
    """Writes everything that going on from here needs."""
    tensors: dict[str, Tensor] = {f"student/{n}": t for n, t in student.trainable().items()}
    tensors |= {f"distiller/{n}": t for n, t in distiller.state_dict().items()}
    tensors |= {f"own/{i}": t for i, t in enumerate(distiller.parameters())}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": t for name, t in state.items()}
    tensors["rng"] = torch.get_rng_state()
    if student.device.type == "cuda":
        tensors["rng_cuda"] = torch.cuda.get_rng_state(student.device)
    meta = {
        "method": source_hash(distiller),
        "position": json.dumps(position),
        "cost": json.dumps(student.cost.as_dict()),
        "sha256": _digest(tensors),
    }
    for name, file in RECORDS.items():
        write_parquet(folder / file, pd.DataFrame(records[name]))
    save_tensors(folder / FILE, tensors, meta)


def load(
    folder: Path | None,
    *,
    student: Student,
    optimizer: torch.optim.Optimizer,
    distiller: Distiller,
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]] | None:
    """Puts a checkpoint back in place; its position and records, or None where there is none.

    One that another version of the method's code left is ignored: half a run of each is neither.
    One that is damaged is removed, with a line on stderr, before anything is put in place.
    """
    if folder is None or not (folder / FILE).exists():
        return None
    try:
        meta, tensors, records = _read(folder, str(student.device))
    except Exception as error:  # safetensors, Arrow and JSON each have their own
        reason = " ".join(str(error).split())
        line = f"the checkpoint in {folder} is damaged, and the stage starts afresh: {reason}"
        print(line, file=sys.stderr)
        for name in (FILE, *RECORDS.values()):
            (folder / name).unlink(missing_ok=True)
        return None
    if meta.get("method") != source_hash(distiller):
        return None
    _put_back(tensors, student, optimizer, distiller)
    student.cost.load(json.loads(meta["cost"]))
    return json.loads(meta["position"]), records


def _read(
    folder: Path, device: str
) -> tuple[dict[str, str], dict[str, Tensor], dict[str, list[dict[str, Any]]]]:
    """A checkpoint's facts, tensors and records; raises whatever a damaged one makes it raise."""
    with safe_open(folder / FILE, framework="pt", device=device) as file:
        meta = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if meta.get("sha256", "") not in ("", _digest(tensors)):  # older ones have none
        raise ValueError("its tensors are not those that were saved")
    position, _ = json.loads(meta["position"]), json.loads(meta["cost"])
    last = position["earlier"] + position["step"]
    records = {}
    for name, records_file in RECORDS.items():
        frame = pd.read_parquet(folder / records_file)
        records[name] = (frame[frame["step"] <= last] if len(frame) else frame).to_dict("records")
    return meta, tensors, records


def _put_back(
    tensors: Mapping[str, Tensor],
    student: Student,
    optimizer: torch.optim.Optimizer,
    distiller: Distiller,
) -> None:
    parts: dict[str, dict[str, Tensor]] = {"student": {}, "distiller": {}, "own": {}}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        if kind == "optimizer":
            index, _, moment = name.partition("/")
            moments.setdefault(int(index), {})[moment] = tensor
        elif kind == "rng":
            torch.set_rng_state(tensor.cpu())
        elif kind == "rng_cuda":
            torch.cuda.set_rng_state(tensor.cpu(), student.device)
        else:
            parts[kind][name] = tensor
    student.load_state_dict(parts["student"])
    distiller.load_state_dict(parts["distiller"])
    with torch.no_grad():
        for place, parameter in enumerate(distiller.parameters()):
            parameter.copy_(parts["own"][str(place)])
    state = optimizer.state_dict()
    state["state"] = moments
    optimizer.load_state_dict(state)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and bytes: safetensors itself would not notice a changed number."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def source_hash(distiller: Distiller) -> str:
    """A hash of the method's code, as far as it can be read."""
    try:
        source = inspect.getsource(type(distiller))
    except (OSError, TypeError):
        source = type(distiller).__qualname__
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def remove(folder: Path) -> None:
    """Removes the checkpoints of all stages, which are no longer needed."""
    for name in (FILE, *RECORDS.values()):
        for path in folder.rglob(name):
            path.unlink()
