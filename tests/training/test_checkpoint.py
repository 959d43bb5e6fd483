"""A checkpoint gives back what was saved, and is ignored where the method's code is another."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open

from compact_bench.training import checkpoint
from compact_bench_baselines.average import Average
from tests.trainers import Stateful, run, student, trainer

ROWS = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}, {"step": 3, "loss": 1.0}]


def parts(method=None):
    """A student with an optimizer that has made a step, and a method."""
    made, method = student(), method or Stateful()
    parameters = [*made.trainable().values(), *method.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {"student": made, "optimizer": optimizer, "distiller": method}


def save(folder, saved, steps: int) -> None:
    position = {"step": steps, "epoch": 0, "earlier": 0, "seconds": 1.0, "flops": 0.0}
    checkpoint.save(folder, **saved, position=position, records={"steps": ROWS, "gains": []})


def test_all_parts_come_back_and_records_up_to_the_step(tmp_path):
    saved = parts()
    saved["distiller"].seen = torch.tensor(7.0)
    saved["student"].cost.count(5, 6, 2.5)
    save(tmp_path, saved, steps=2)
    torch.manual_seed(1)
    loaded = {**parts(), "student": student()}
    loaded["optimizer"] = torch.optim.AdamW(
        [*loaded["student"].trainable().values(), *loaded["distiller"].parameters()], lr=0.1
    )
    position, records = checkpoint.load(tmp_path, **loaded)
    assert position["step"] == 2 and records == {"steps": ROWS[:2], "gains": []}
    for name, tensor in saved["student"].state_dict().items():
        assert torch.equal(loaded["student"].state_dict()[name], tensor)
    assert torch.equal(loaded["distiller"].scale, saved["distiller"].scale)
    assert float(loaded["distiller"].seen) == 7.0
    assert loaded["student"].cost == saved["student"].cost
    states = [part["optimizer"].state_dict()["state"] for part in (saved, loaded)]
    assert states[0].keys() == states[1].keys()
    for index, state in states[0].items():
        assert all(torch.equal(state[name], states[1][index][name]) for name in state)


def test_there_may_be_none_or_one_of_another_method(tmp_path):
    assert checkpoint.load(None, **parts()) is None
    assert checkpoint.load(tmp_path, **parts()) is None
    save(tmp_path, parts(), steps=1)
    assert checkpoint.load(tmp_path, **parts(Average())) is None


def test_all_stages_are_removed(tmp_path):
    made = trainer(folder=tmp_path, epochs=1)
    run(made)
    made.run(made.distiller, stage="second", epochs=1)
    files = {*tmp_path.rglob("*.safetensors"), *tmp_path.rglob("*.parquet")}
    assert {file.parent for file in files} == {tmp_path, tmp_path / "second"}
    (tmp_path / "trained.safetensors").write_bytes(b"")
    checkpoint.remove(tmp_path)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["trained.safetensors"]


@pytest.mark.parametrize("steps", [0, 1])
def test_records_of_later_steps_are_cut(tmp_path, steps):
    save(tmp_path, parts(), steps)
    _, records = checkpoint.load(tmp_path, **parts())
    assert records["steps"] == ROWS[:steps]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "text", "no steps", "cut gains"])
def test_a_damaged_checkpoint_is_dropped_and_nothing_of_it_put_back(tmp_path, capsys, damage):
    saved = parts()
    save(tmp_path, saved, steps=2)
    path = tmp_path / checkpoint.FILE
    content = path.read_bytes()
    if damage == "no steps":
        (tmp_path / checkpoint.RECORDS["steps"]).unlink()
    elif damage == "cut gains":
        gains = tmp_path / checkpoint.RECORDS["gains"]
        gains.write_bytes(gains.read_bytes()[:-9])
    else:
        middle = len(content) - 99  # within a tensor: safetensors alone doesn't notice
        flipped = bytes([content[middle] ^ 1])
        path.write_bytes(
            {
                "cut": content[:-99],
                "changed": content[:middle] + flipped + content[middle + 1 :],
                "empty": b"",
                "text": b"{}" * 99,
            }[damage]
        )
    fresh = {**parts(), "student": student()}
    before = {name: tensor.clone() for name, tensor in fresh["student"].state_dict().items()}
    state = torch.get_rng_state()
    assert checkpoint.load(tmp_path, **fresh) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "is damaged, and the stage starts afresh" in line
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in fresh["student"].state_dict().items():
        assert torch.equal(before[name], tensor)
    assert list(tmp_path.iterdir()) == []
    save(tmp_path, saved, steps=2)  # the next one is whole
    assert checkpoint.load(tmp_path, **fresh) is not None


def test_a_checkpoint_of_an_older_version_has_no_digest_and_is_gone_on_from(tmp_path):
    save(tmp_path, parts(), steps=2)
    with safe_open(tmp_path / checkpoint.FILE, framework="pt") as file:
        meta = {key: value for key, value in file.metadata().items() if key != "sha256"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    checkpoint.save_tensors(tmp_path / checkpoint.FILE, tensors, meta)
    assert checkpoint.load(tmp_path, **parts()) is not None


def test_a_training_goes_on_afresh_after_its_checkpoint_was_damaged(tmp_path):
    """The cell ends with the numbers of one that was never interrupted."""
    whole = trainer(epochs=2)
    run(whole)
    first = trainer(folder=tmp_path, epochs=1)
    run(first)
    (tmp_path / checkpoint.FILE).write_bytes(b"damaged")
    again = trainer(folder=tmp_path, epochs=2)
    run(again)
    assert [row["loss"] for row in again.records] == [row["loss"] for row in whole.records]
