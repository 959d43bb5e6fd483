"""Evidence of whole cells: what is recorded, and that recording it changes nothing."""

from __future__ import annotations

import pandas as pd
import pytest
from safetensors.torch import load_file

from compact_bench.execution import cell
from compact_bench.methods.registry import load
from compact_bench.records.cells import CURVE_COLUMNS, LATENT_COLUMNS, read_cell
from compact_bench.suite.matrix import Data, cells
from compact_bench.suite.schema import Suite
from tests.models import save_tiny

EVIDENCE = {"items": 3, "checkpoints": [0.5], "scales": [0.4], "relearn": 2, "probes": 4}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny("llama", tmp_path_factory.mktemp("student"))


@pytest.fixture
def made(tiny, suite_values, data_files):
    """Makes the cell of a method with a student and evidence, by name of method."""

    def make(method, lora=True, evidence=EVIDENCE, **keys):
        old = {"task": "old", "role": "forgetting", "source": str(data_files[1]), "limit": 4}
        values = {k: v for k, v in suite_values.items() if k != "profiles"} | {
            "profile": "mini",
            "methods": [method],
            "seeds": [0],
            "compare_to": "",
            "student": {"id": str(tiny), "lora": {"r": 2} if lora else None},
            "limit": 6,
            "evidence": evidence,
            "evaluation": {
                "marginal_samples": 2,
                "max_new_tokens": 8,
                "majority": bool(evidence),
                "tasks": [{"task": "in_domain", "role": "reasoning"}, old],
            },
        }
        suite = Suite.model_validate(values | keys)
        data = [Data(suite.data.model_dump(mode="json"), "data", ("ada", "bob"))]
        (spec,) = cells(suite, load([]), data, "student", 1)
        return spec

    return make


def done(spec, folder):
    cell.run_cell(spec, folder)
    found = read_cell(folder)
    assert (found.state, found.status["reason"]) == ("done", "")
    return found


@pytest.mark.parametrize("lora", [True, False])
def test_a_trained_cell_leaves_its_evidence(made, tmp_path, lora):
    found = done(made("average", lora), tmp_path / "cell")
    curve = found.frame("curve")
    assert list(curve.columns) == list(CURVE_COLUMNS)
    points = set(zip(curve["kind"], curve["at"], curve["task"], strict=True))
    both = [("checkpoint", 0.5), ("scale", 0.4), ("checkpoint", 1.0)]
    assert points == {(*at, task) for at in both for task in ("in_domain", "old")} | {
        ("relearned", 2.0, "old")
    }
    assert (curve["n"] == 3).all() and curve["value"].between(0, 1).all()
    assert len(curve) == len(points)  # one accuracy each
    latent = found.frame("latent")
    assert list(latent.columns) == list(LATENT_COLUMNS)
    counts = latent.groupby("kind").size().to_dict()
    assert counts == {"student": 3 * 4, "random": 3 * 4, "change": 1}
    assert {len(values) for values in latent[latent["kind"] != "change"]["values"]} == {32}
    metrics = found.eval().set_index(["task", "metric"])
    assert metrics.loc[("in_domain", "kl_from_base"), "value"].item() > 0
    assert metrics.loc[("old", "text_nll"), "value"].item() > 0
    assert metrics.loc[("in_domain", "majority"), "n"].item() == 6
    assert (found.eval()["stage"] == "after").all()
    # Random weights answer nothing: the divergence is found all the same, or all tries are used.
    assert found.status["random_kl"] > 0 and found.status["evidence_seconds"] > 0
    assert [path.name for path in (found.folder / "weights").glob("at-*")] == []


def test_the_last_point_of_the_curve_is_the_final_evaluation(made, tmp_path):
    found = done(made("average"), tmp_path / "cell")
    last = found.frame("curve").query("kind == 'checkpoint' and at == 1").set_index("task")["value"]
    for task, right in found.item_table().to_pandas().groupby("task")["right"]:
        assert last[task] == pytest.approx(right.head(3).astype(float).mean())


def test_recording_changes_nothing_else(made, tmp_path):
    cells_ = [
        done(made("compact", evidence=evidence), tmp_path / str(bool(evidence)))
        for evidence in (None, EVIDENCE)
    ]
    weights = [load_file(one.folder / "weights" / "trained.safetensors") for one in cells_]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    new = ("votes", "majority_right")
    samples = [
        [{k: v for k, v in row.items() if k not in new} for row in one.samples()] for one in cells_
    ]
    assert samples[0] == samples[1]
    counted = ("tokens", "flops", "supervised_tokens", "physical_tokens")
    assert all(cells_[0].status[name] == cells_[1].status[name] for name in counted)
    assert not (cells_[0].folder / "curve.parquet").exists()
    assert not (cells_[0].folder / "latent.parquet").exists()


def test_the_untrained_student_is_where_the_curves_begin(made, tmp_path):
    found = done(made("base"), tmp_path / "cell")
    curve = found.frame("curve")
    assert set(zip(curve["kind"], curve["at"], strict=True)) == {
        ("checkpoint", 0.0), ("relearned", 2.0)
    }  # fmt: skip
    assert set(found.frame("latent")["kind"]) == {"student"}
    assert set(found.eval()["stage"]) == {"before"}
    assert "kl_from_base" not in set(found.eval()["metric"])


def test_a_rule_has_no_weights_to_look_at(made, tmp_path):
    found = done(made("heuristic"), tmp_path / "cell")
    assert found.frame("curve").empty and found.frame("latent").empty


def test_a_cell_that_was_stopped_has_the_same_evidence(made, tmp_path):
    whole = done(made("average"), tmp_path / "whole")

    def stop(event):
        if event.get("phase") == "evidence, scale 0.4":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cell.run_cell(made("average"), tmp_path / "stopped", progress=stop)
    again = done(made("average"), tmp_path / "stopped")
    pd.testing.assert_frame_equal(whole.frame("curve"), again.frame("curve"))
    pd.testing.assert_frame_equal(whole.frame("latent"), again.frame("latent"))


def test_several_stages_are_no_single_way(made, tmp_path):
    found = done(made("adapter_soup"), tmp_path / "cell")
    kinds = set(zip(found.frame("curve")["kind"], found.frame("curve")["at"], strict=True))
    assert kinds == {("scale", 0.4), ("checkpoint", 1.0), ("relearned", 2.0)}


def test_evidence_is_part_of_what_a_cell_is_and_its_absence_is_not(made):
    ids = {made("average", evidence=e).run_id for e in (EVIDENCE, {**EVIDENCE, "items": 2}, None)}
    assert len(ids) == 3
    values = made("average", evidence=None).to_json()
    assert values["evidence"] is None
