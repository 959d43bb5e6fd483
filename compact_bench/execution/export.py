"""A cell's trained student as a folder that transformers and PEFT load."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from compact_bench.errors import UserError
from compact_bench.records.cells import Cell
from compact_bench.student.load import load_student, student_hash
from compact_bench.student.student import Student
from compact_bench.suite.sections import StudentSpec
from compact_bench.utils.files import writable

WEIGHTS = Path("weights", "trained.safetensors")


def export(
    cell: Cell,
    folder: Path,
    merge: bool = False,
    student: str = "",
    complete: Callable[[Path], None] = lambda draft: None,
) -> None:
    """Save the trained student of a cell with its tokenizer in `folder`, whole or not at all.

    A student that was trained with adapters is saved as adapters, or with `merge` as one model.
    student: where the student from before training is now, if not where the cell found it.
    complete: adds files to the folder before it gets its name.
    Raises UserError where there are no trained weights, where the student is another one, for
    adapters of nano or a GGUF file without `merge`, and where `folder` holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already: name a new folder")
    trained = trained_student(cell, student)
    spec = cell.spec["student"]
    if spec.get("lora") and not merge:
        if spec["id"] == "nano" or str(spec["id"]).lower().endswith(".gguf"):
            raise UserError(f"PEFT can't load adapters beside {spec['id']}: add --merge")
        trained.model.peft_config["default"].base_model_name_or_path = student or spec["id"]
    model = trained.merged() if merge else trained.model
    with writable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            model.save_pretrained(draft)
            trained.tokenizer.save_pretrained(draft)
            complete(draft)
            if folder.exists():
                folder.rmdir()  # empty
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def trained_student(cell: Cell, student: str = "") -> Student:
    """The student of a cell with the weights that training left.

    student: where it is now, if not where the cell found it. Raises UserError where there are no
    weights, and where the student is not the one that was trained.
    """
    path = cell.folder / WEIGHTS
    if not path.exists():
        raise UserError(
            f"no trained weights in {cell.folder}: published results hold none, and a row such as "
            "base trains nothing"
        )
    values: dict[str, Any] = dict(cell.spec["student"])
    spec = StudentSpec.model_validate(values | ({"id": student} if student else {}))
    if not cell.spec["student_hash"] == student_hash(spec):
        raise UserError(f"{spec.id} is not the student that this cell trained: its files differ")
    loaded = load_student(spec, seed=cell.spec["seed"] or 0)
    loaded.load_state_dict(load_file(path))
    return loaded
