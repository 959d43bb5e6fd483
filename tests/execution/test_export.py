"""An exported student, loaded by transformers and PEFT alone, answers as its cell did."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

import compact_bench
from compact_bench.errors import UserError
from compact_bench.execution.export import export
from compact_bench.mini.nano.pretrain import nano_path
from compact_bench.records.cells import Cell, read_cells

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Cell]:
    """Two students of a few steps: all weights of nano, and adapters of a folder."""
    values = yaml.safe_load((ROOT / "suites" / "gsm8k.yaml").read_text("utf-8"))
    cells = {}
    for name, student in {
        "full": {"id": "nano"},
        "adapters": {"id": str(nano_path()), "lora": {"r": 4, "alpha": 8}},
    }.items():
        results = tmp_path_factory.mktemp(name)
        changes = [
            *("data.train=8", "data.test=6", "data.dev=4", "selection=null", "methods=[average]"),
            *("training.learning_rate=0.01", f"student={json.dumps(student)}"),
            "evaluation.tasks=[{task: in_domain, role: reasoning}]",
        ]
        made = compact_bench.run(values, results=results, seeds=[0], jobs=1, overrides=changes)
        assert not made.rows[0].problems()
        (cells[name],) = read_cells(results / "gsm8k" / "mini")
    return cells


def answers(model, folder: Path, cell: Cell) -> dict[str, str]:
    """Greedy answers to the cell's test questions by plain transformers, by question id."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    items = pd.read_parquet(cell.folder.parent.parent / "items.parquet")
    said = {}
    for row in items.itertuples():
        prompt = tokenizer(f"Question: {row.question}\nAnswer:", return_tensors="pt")
        prompt.pop("token_type_ids", None)
        made = model.generate(**prompt, max_new_tokens=64, do_sample=False)
        text = tokenizer.decode(made[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
        said[row.question_id] = text
    return said


def outputs(cell: Cell) -> dict[str, str]:
    return {one["question_id"]: one["output"] for one in cell.samples() if one["stage"] == "after"}


@pytest.mark.parametrize(
    ("name", "merge", "loader"),
    [
        ("full", False, AutoModelForCausalLM),
        ("adapters", False, AutoPeftModelForCausalLM),
        ("adapters", True, AutoModelForCausalLM),
    ],
)
def test_the_exported_student_gives_the_cells_answers(trained, tmp_path, name, merge, loader):
    folder = tmp_path / "student"
    export(trained[name], folder, merge=merge)
    assert (folder / "adapter_config.json").exists() == (name == "adapters" and not merge)
    assert not [*tmp_path.glob(".*")] and not [*folder.glob("*.bin")]
    model = loader.from_pretrained(folder).eval()
    assert answers(model, folder, trained[name]) == outputs(trained[name])
    with pytest.raises(UserError, match="exists already"):
        export(trained[name], folder)


def test_another_student_in_its_place_is_refused(trained, tmp_path):
    other = tmp_path / "other"
    export(trained["full"], other)
    with pytest.raises(UserError, match="is not the student that this cell trained"):
        export(trained["full"], tmp_path / "new", student=str(other))
    assert not (tmp_path / "new").exists()


def test_without_weights_nothing_is_written(trained, tmp_path):
    empty = Cell("0" * 12, tmp_path / "runs" / ("0" * 12), trained["full"].spec)
    with pytest.raises(UserError, match="no trained weights"):
        export(empty, tmp_path / "new")
    assert not (tmp_path / "new").exists()
