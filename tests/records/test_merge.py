"""Parts of a suite that were run apart, put together: the records of one run, or one clear line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from compact_bench.errors import UserError
from compact_bench.execution import run as execution
from compact_bench.execution.plan import Options, make_plan
from compact_bench.execution.pool import WorkerEntry
from compact_bench.records.cells import CellWriter
from compact_bench.records.merge import merge
from compact_bench.suite.schema import load_suite
from tests.conftest import data_files_in, plugins_in, tiny_suite
from tests.stub_pool import HerePool

ROWS = [
    {"dummy": {"weights_from": "source"}, "label": "reader"},
    *({"dummy": {}, "label": label} for label in ("source", "other")),
]


def begin(home: Path, **options):
    """Run the suite of a folder in a results folder of a name; return that of the suite."""

    def run(name, **more):
        suite = load_suite(home / "tiny.yaml")
        chosen = Options(home / name, None, (home / "plugins",), threads=1)
        execution.run(suite, replace(chosen, **more), lambda line: None, WorkerEntry(1))
        return home / name / "tiny" / "mini"

    return run


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The folders of one run, of its first and of its second half."""
    home = tmp_path_factory.mktemp("home")
    values = tiny_suite(*data_files_in(home)) | {"methods": ["still", *ROWS]}
    values |= {"selection": {"learning_rates": [0.001, 0.002], "seeds": [0], "items": 3}}
    values["evaluation"] |= {"marginal_samples": 2}
    values["data"] = {"source": "mini", "train": 4, "dev": 3, "test": 3}
    values["data"] |= {"mini": {"problem": "gsm8k"}}
    (home / "tiny.yaml").write_text(yaml.safe_dump(values))
    plugins_in(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "Pool", HerePool)
        run = begin(home)
        yield run("whole"), *(run(f"part{n}", shard=f"{n}/2") for n in (1, 2))


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_parts_together_are_one_run_bit_for_bit(parts, tmp_path):
    whole, *halves = parts
    ids = [{path.name for path in (root / "runs").iterdir()} for root in parts]
    assert ids[0] == ids[1] | ids[2] and not ids[1] & ids[2] and ids[1] and ids[2]
    known = [json.loads((root / "suite.json").read_text())["cells"] for root in halves]
    assert all("" in [cell["run_id"] for cell in cells] for cells in known)
    merge(halves, tmp_path / "all")
    assert contents(tmp_path / "all") == contents(whole)
    # The same again, and into a folder that is one of them, changes nothing.
    merge(halves, tmp_path / "all")
    shutil.copytree(halves[1], tmp_path / "second")
    merge([halves[0]], tmp_path / "second")
    for name in ("all", "second"):
        assert contents(tmp_path / name) == contents(whole)


def test_what_is_missing_is_done_by_the_next_run(parts, tmp_path, monkeypatch):
    whole, half, _ = parts
    merge([half], tmp_path / "results" / "tiny" / "mini")
    home = whole.parents[2]
    options = Options(tmp_path / "results", None, (home / "plugins",), threads=1)
    suite = load_suite(home / "tiny.yaml")
    assert len(make_plan(suite, options).pending()) > 0
    assert execution.run(suite, options, lambda line: None, WorkerEntry(1)) == 0
    assert contents(tmp_path / "results" / "tiny" / "mini") == contents(whole)


def test_a_cell_that_is_done_replaces_one_that_failed(parts, tmp_path):
    whole, half, other = parts
    broken = shutil.copytree(half, tmp_path / "broken")
    cell = next(path for path in (broken / "runs").iterdir())
    CellWriter(cell).status("failed", "a node was lost")
    merge([broken, other, half], tmp_path / "all")
    assert contents(tmp_path / "all") == contents(whole)
    merge([half], broken)
    assert contents(broken) == contents(half)


def test_what_does_not_fit_is_one_line_and_nothing_is_written(parts, tmp_path):
    whole, half, _ = parts
    run, into = begin(whole.parents[2]), tmp_path / "into"

    def refused(folder) -> str:
        with pytest.raises(UserError) as caught:
            merge([half, folder], into)
        assert not into.exists()
        return str(caught.value)

    changed = Path(shutil.copytree(half, tmp_path / "changed"))
    cell = next(path for path in sorted((changed / "runs").iterdir()))
    samples = (cell / "samples.jsonl").read_text().replace('"output": "1"', '"output": "2"')
    (cell / "samples.jsonl").write_text(samples)
    status = json.loads((cell / "status.json").read_text())
    status["records"] = CellWriter(cell).checksums()
    (cell / "status.json").write_text(json.dumps(status))
    assert "has other answers in" in refused(changed)
    plan = json.loads((changed / "suite.json").read_text())
    plan["suite"]["training"]["epochs"] = 7
    (changed / "suite.json").write_text(json.dumps(plan))
    assert "are of unlike suites: training.epochs differs" in refused(changed)
    assert "planned unlike cells: threads 1 and 2" in refused(run("threads", threads=2))
    (plain := Path(shutil.copytree(half, tmp_path / "plain")) / "items.parquet").write_bytes(b"")
    assert "have unlike data: items.parquet differs" in refused(plain.parent)
    shutil.rmtree(plain.parent / "runs")
    assert "published results can't be merged" in refused(plain.parent)
    assert "no results in" in refused(tmp_path / "nowhere")
