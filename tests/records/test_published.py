"""Publishing leaves weights, machine paths and other people's text behind."""

from __future__ import annotations

import json
from pathlib import Path

import filelock
import pandas as pd
import pytest

from compact_bench.errors import UserError
from compact_bench.records import cells, parquet, published
from compact_bench.records.published import publish_records
from tests import synthetic
from tests.synthetic import Made

LABELS = ("base", "average", "compact")
SECRETS = ("Secret stem", "Secret words", "Test question")


def made(**more: object) -> Made:
    return Made(**{"labels": LABELS, "items": 30, "steps": 3} | more)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def texts(folder: Path) -> str:
    """Everything that a reader of the folder can get at, parquet tables included."""
    parts = []
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            parts.append(pd.read_parquet(path).to_csv())
        elif path.suffix in (".json", ".jsonl", ".md", ".csv", ".tex", ".html"):
            parts.append(path.read_text(encoding="utf-8"))
    return "\n".join(parts)


def test_weights_logs_and_stale_cells_stay_behind(tmp_path: Path) -> None:
    root, target = synthetic.make(tmp_path / "new", made()), tmp_path / "published"
    cell = next((root / "runs").iterdir())
    (cell / "weights").mkdir()
    (cell / "weights" / "trained.safetensors").write_bytes(b"weights")
    (cell / "checkpoint.pt").write_bytes(b"weights")
    (root / "logs").mkdir()
    (root / "logs" / "worker.log").write_text("log", encoding="utf-8")
    synthetic.write_cell(root / "runs" / "stale0000000", "average", 0, made())
    publish_records(root, target)
    names = {path.name for path in target.rglob("*") if path.is_file()}
    assert not names & {"trained.safetensors", "checkpoint.pt", "worker.log"}
    published_cells = [cell.run_id for cell in cells.read_cells(target)]
    assert "stale0000000" not in published_cells and len(published_cells) == 7


@pytest.mark.parametrize("source", ["mini", "svamp", "/home/me/data/mine.jsonl"])
def test_text_is_published_only_if_it_is_ours(tmp_path: Path, source: str) -> None:
    data = {"source": source, "teachers": list(synthetic.TEACHERS)}
    root = synthetic.make(tmp_path / "new", made(suite={"data": data}))
    cell = next((root / "runs").iterdir())
    extra = {"task": "in_domain", "question_id": "a", "output": "ours", "right": True,
             "prompt": "Secret words in a prompt", "logprob": -1.5}  # fmt: skip
    with (cell / "samples.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(extra) + "\n")
    cells.CellWriter(cell).table(
        "epiphany",
        [{"question_id": "a", "teacher": "terse", "step": 1, "gain": 0.2, "text": "Secret words"}],
    )
    publish_records(root, tmp_path / "published")
    found = texts(tmp_path / "published")
    assert [secret for secret in SECRETS if secret in found] == (
        list(SECRETS) if source == "mini" else []
    )
    assert "/home/me" not in found
    published_cell = cells.read_cell(tmp_path / "published" / "runs" / cell.name)
    epiphany = published_cell.table("epiphany")
    assert {"question_id", "teacher", "step", "gain"} <= set(epiphany.column_names)
    bank = parquet.read_table(tmp_path / "published" / "bank.parquet")
    assert len(bank) == 20 * 4
    if source != "mini":
        assert {"text_sha256", "text_characters", "question_sha256", "gold"} <= set(bank.columns)
        assert published_cell.samples()[-1]["logprob"] == -1.5
    assert "The answer is" in found  # our students' outputs


def test_paths_of_the_machine_are_cut(tmp_path: Path) -> None:
    student = {"id": "/home/me/models/tiny", "dtype": "float32"}
    states = {("compact", 1): ("failed", "no such file: /home/me/models/tiny/config.json")}
    root = synthetic.make(tmp_path / "new", made(suite={"student": student}, states=states))
    publish_records(root, tmp_path / "published")
    found = texts(tmp_path / "published")
    assert "/home/me" not in found
    assert "no such file: config.json" in found


def test_publishing_again_replaces_and_failing_leaves_the_old(tmp_path: Path) -> None:
    root, target = synthetic.make(tmp_path / "new", made()), tmp_path / "published"
    publish_records(root, target)
    (target / "NOTES.md").write_text("by hand", encoding="utf-8")
    before = contents(target)
    states = {(label, seed): ("failed", "x") for label in LABELS for seed in (None, 0, 1, 2)}
    worse = synthetic.make(tmp_path / "worse", made(states=states))
    with pytest.raises(UserError, match="nothing to publish"):
        publish_records(worse, target)
    assert contents(target) == before
    smaller = synthetic.make(tmp_path / "smaller", made(labels=("base", "average")))
    publish_records(smaller, target)
    assert len(cells.read_cells(target)) == 4
    assert (target / "NOTES.md").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("renames", [1, 2])
def test_a_kill_while_the_new_takes_the_old_s_place_is_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    root, target = synthetic.make(tmp_path / "new", made()), tmp_path / "published"
    publish_records(root, target)
    before = contents(target)
    smaller = synthetic.make(tmp_path / "smaller", made(labels=("base", "average")))
    rename, done = Path.rename, []

    def dying(self: Path, name: Path) -> Path:
        done.append(name)
        if len(done) == renames:
            raise SystemExit("killed")
        return rename(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying)
        patch.setattr(published.shutil, "rmtree", lambda *folder, **how: None)
        with pytest.raises(SystemExit):
            publish_records(smaller, target)
    # The old one is whole: in its place, or beside it for the next command.
    assert contents(target if renames == 1 else tmp_path / ".published.old") == before
    states = {(label, seed): ("failed", "x") for label in LABELS for seed in (None, 0, 1, 2)}
    worse = synthetic.make(tmp_path / "worse", made(states=states))
    with pytest.raises(UserError, match="nothing to publish"):
        publish_records(worse, target)
    assert contents(target) == before
    publish_records(smaller, target)
    assert len(cells.read_cells(target)) == 4
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_two_at_a_time_are_refused_and_what_was_killed_leaves_no_lock(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path / "new", made())
    with filelock.FileLock(root / ".publish.lock"):
        with pytest.raises(UserError, match="being published by another process"):
            publish_records(root, tmp_path / "published")
    publish_records(root, tmp_path / "published")


def test_a_damaged_cell_is_published_as_a_failure_that_says_why(tmp_path: Path) -> None:
    root, target = synthetic.make(tmp_path / "new", made()), tmp_path / "published"
    found = {cell.run_id: cell for cell in cells.read_cells(root)}
    for cell in found.values():
        writer = cells.CellWriter(cell.folder)
        writer.status(**cell.status | {"records": writer.checksums()})
    (cell.folder / "eval.parquet").write_bytes(b"PAR1")
    publish_records(root, target)
    after = {cell.run_id: cell for cell in cells.read_cells(target)}
    assert after[cell.run_id].state == "failed"
    assert "eval.parquet is not what was recorded" in after[cell.run_id].status["reason"]
    others = [one for one in after.values() if one.run_id != cell.run_id]
    assert {one.state for one in others} == {"done"}
    # Of files that aren't published as they were, checksums say nothing.
    assert not any("records" in one.status for one in others)


@pytest.mark.parametrize("name", ["eval", "steps", "samples"])
def test_a_record_of_other_types_keeps_its_cell_out_and_no_other(tmp_path: Path, name: str) -> None:
    root, target = synthetic.make(tmp_path / "new", made()), tmp_path / "published"
    folder = next(cell.folder for cell in cells.read_cells(root) if cell.spec["label"] == "average")
    if name == "samples":
        (folder / "samples.jsonl").write_text("[1]\n", encoding="utf-8")
    else:
        wrong = {"task": [3.5], "value": ["high"], "step": ["one"]}
        pd.DataFrame(wrong).to_parquet(folder / f"{name}.parquet")
    publish_records(root, target)
    states = {cell.run_id: cell.status for cell in cells.read_cells(target)}
    assert f"{name}." in states.pop(folder.name)["reason"]
    assert {status["state"] for status in states.values()} == {"done"}


def test_records_that_fit_no_common_table_are_one_line(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path / "new", made())
    first, second, *_ = (c.folder for c in cells.read_cells(root) if c.spec["seed"] is not None)
    for folder, value in ((first, "text"), (second, 1.5)):
        cells.CellWriter(folder).table("epiphany", [{"of_a_plugin": value}])
    with pytest.raises(UserError, match="epiphany records don't fit together") as caught:
        publish_records(root, tmp_path / "published")
    assert "\n" not in str(caught.value)


def test_publishing_onto_itself_or_into_a_file_is_one_line(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path / "new", made())
    with pytest.raises(UserError, match="is the published folder itself"):
        publish_records(root, root)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write"):
        publish_records(root, tmp_path / "file" / "mini")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"limit": 8}, "--limit"), ({"evaluation": {"select": True}}, "dev split")],
)
def test_a_quick_look_is_not_published(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    root = synthetic.make(tmp_path / "new", made())
    path = root / "suite.json"
    content = json.loads(path.read_text())
    content["suite"] |= changes
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=expected):
        publish_records(root, tmp_path / "published")


def test_whole_solutions_in_samples_stay_behind(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path / "new", made(suite={"data": {"source": "gsm8k"}}))
    for path in root.glob("runs/*/samples.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["answer"] = "Janet sells 16 - 3 - 4 eggs, a whole human solution. #### 18"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    publish_records(root, tmp_path / "published")
    assert "human solution" not in texts(tmp_path / "published")


@pytest.mark.parametrize(
    "path", ["../../home/jane/tiny.gguf", "~/models/tiny.gguf", "/home/my user/models/tiny.gguf"]
)
def test_folders_of_files_are_not_published(path: str) -> None:
    suite = {"suite": {"student": {"id": path}, "evaluation": {"tasks": [{"source": path}]}}}
    assert published.without_folders(suite) == {
        "suite": {
            "student": {"id": "tiny.gguf"},
            "evaluation": {"tasks": [{"source": "tiny.gguf"}]},
        }
    }


def test_names_of_conditions_stay_and_texts_do_not() -> None:
    frame = pd.DataFrame(
        {"condition": ["wrong step 0.3"], "series": ["wrong step"], "corruption": ["wrong_step"],
         "answer": ["7"], "right": [True], "gain": [0.2], "epiphany": [True], "text": ["Secret"]}
    )  # fmt: skip
    kept = published.without_text(frame)
    names = ["condition", "series", "corruption", "answer", "right", "gain", "epiphany"]
    pd.testing.assert_frame_equal(kept[names], frame[names])
    assert set(kept.columns) - set(names) == {"text_sha256", "text_characters"}
