"""States between, at random and as sketches, against the algebra that they stand for."""

from __future__ import annotations

import pytest
import torch

from compact_bench.diagnostics.weights import (
    SKETCH,
    Snapshots,
    at_random,
    changes,
    holding,
    scaled,
    sketch,
)
from compact_bench.student.load import load_student
from compact_bench.suite.sections import StudentSpec
from tests.models import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny("llama", tmp_path_factory.mktemp("student"))


def load(folder, lora):
    return load_student(StudentSpec(id=str(folder), lora={"r": 2} if lora else None))


def moved(student, seed=0, size=0.1):
    draw = torch.Generator().manual_seed(seed)
    return {
        name: tensor + size * torch.randn(tensor.shape, generator=draw)
        for name, tensor in student.state_dict().items()
    }


@pytest.mark.parametrize("lora", [False, True])
def test_the_ends_of_the_scale_are_start_and_end(folder, lora):
    student = load(folder, lora)
    start, end = student.state_dict(), moved(student)
    for change in changes(start, scaled(start, end, 0.0)):
        assert not change.any()
    whole = list(changes(start, scaled(start, end, 1.0)))
    for mine, theirs in zip(whole, changes(start, end), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("lora", [False, True])
def test_a_share_of_the_change_is_that_share_of_every_matrix(folder, lora):
    student = load(folder, lora)
    start, end = student.state_dict(), moved(student)
    half = list(changes(start, scaled(start, end, 0.25)))
    for mine, whole in zip(half, changes(start, end), strict=True):
        torch.testing.assert_close(mine, 0.25 * whole)


@pytest.mark.parametrize("lora", [False, True])
def test_the_change_is_what_the_merged_model_shows(folder, lora):
    """Merging is peft's, and the layers' own weights are compared, so the scale is in it."""
    student = load(folder, lora)
    before = {n: p.detach().clone() for n, p in load(folder, False).causal.named_parameters()}
    start, end = student.state_dict(), moved(student)
    student.load_state_dict(end)
    after = {n: p.detach() for n, p in student.merged().named_parameters()}
    total = sum(float((after[name] - old).norm() ** 2) for name, old in before.items())
    scale = 32 / 2 if lora else 1.0  # alpha over r
    mine = sum(float(change.norm() ** 2) for change in changes(start, end))
    assert scale**2 * mine == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("lora", [False, True])
def test_a_random_state_is_as_far_away_and_points_elsewhere(folder, lora):
    student = load(folder, lora)
    start, end = student.state_dict(), moved(student)
    found = at_random(start, end, seed=3)
    for name, old in start.items():
        if "lora_A" in name:
            assert torch.equal(found[name], old)
        else:
            size = (end[name] - old).norm()
            torch.testing.assert_close((found[name] - old).norm(), size)
    again, other = at_random(start, end, seed=3), at_random(start, end, seed=4)
    assert all(torch.equal(found[name], again[name]) for name in start)
    assert any(not torch.equal(found[name], other[name]) for name in start)
    cosine = torch.nn.functional.cosine_similarity(sketch(start, end), sketch(start, found), dim=0)
    assert abs(float(cosine)) < 0.2


def flat(start, end):
    return torch.cat([change.flatten() for change in changes(start, end)]).double()


def test_sketches_keep_inner_products(folder):
    """Within five standard deviations, |x| |y| / sqrt(SKETCH) at most, for ten pairs."""
    student = load(folder, lora=False)
    start = student.state_dict()
    for seed in range(10):
        first, second = moved(student, seed), moved(student, seed + 100)
        mixed = {n: 0.5 * first[n] + 0.5 * second[n] for n in start}
        x, y = flat(start, first), flat(start, mixed)
        estimate = float(sketch(start, first).double() @ sketch(start, mixed).double())
        assert estimate == pytest.approx(float(x @ y), abs=5 * float(x.norm() * y.norm()) / 64)
    assert len(sketch(start, first)) == SKETCH == 64**2


def test_the_sketch_is_linear(folder):
    student = load(folder, lora=False)
    start, end = student.state_dict(), moved(student)
    part = scaled(start, end, 0.5)
    torch.testing.assert_close(sketch(start, part), 0.5 * sketch(start, end), rtol=1e-3, atol=1e-4)


def test_weights_come_back_bit_for_bit_even_after_a_mistake(folder):
    student = load(folder, lora=True)
    own = student.state_dict()
    other = moved(student)

    def fail():
        with holding(student, other):
            assert all(torch.equal(other[n], p) for n, p in student.state_dict().items())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(torch.equal(own[name], p) for name, p in student.state_dict().items())


def test_snapshots_are_taken_once_at_the_first_step_that_reaches_a_share(folder, tmp_path):
    student = load(folder, lora=True)
    events = []
    shots = Snapshots(student, tmp_path, [0.75, 0.5], "tag")
    progress = shots.watching(events.append)
    seen = {}
    for step in range(1, 5):
        student.load_state_dict(moved(student, seed=step))
        seen[step] = student.state_dict()
        progress({"event": "step", "share": step / 4})
    progress({"event": "phase", "phase": "evaluate"})
    assert [share for share, _ in shots.states()] == [0.5, 0.75]
    for (_, state), step in zip(shots.states(), (2, 3), strict=True):
        assert all(torch.equal(state[name], seen[step][name]) for name in state)
    assert [event["event"] for event in events] == ["step"] * 4 + ["phase"]
    assert list(Snapshots(student, tmp_path, [0.5], "another tag").states()) == []
    shots.remove()
    assert list(shots.states()) == [] and list(tmp_path.iterdir()) == []
