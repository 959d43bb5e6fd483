"""Writes what lm-eval reads for one task: the items, and a task file that includes ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NEXT_QUESTION = "Question:"  # a student that writes this has gone on to a question of its own


def write_task(
    folder: Path, name: str, kind: str, docs: Sequence[dict[str, Any]], max_new_tokens: int
) -> Path:
    """Makes `folder` with items.jsonl and task.yaml (JSON is YAML), for TaskManager's path.

    kind: "generate" or "choice", the file of that name in this package.
    """
    folder.mkdir()
    items = folder / "items.jsonl"
    items.write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
    config: dict[str, Any] = {
        "include": str(Path(__file__).with_name(f"{kind}.yaml")),
        "task": name,
        "dataset_kwargs": {"path": str(items)},
    }
    if kind == "generate":
        config["generation_kwargs"] = {
            "until": [NEXT_QUESTION],
            "do_sample": False,
            "max_gen_toks": max_new_tokens,
        }
    (folder / "task.yaml").write_text(json.dumps(config), encoding="utf-8")
    return folder
