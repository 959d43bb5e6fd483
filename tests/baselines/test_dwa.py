"""Weights by the rate of descent, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from scipy.special import softmax

from compact_bench.methods.registry import load
from compact_bench.student.batch import Output
from tests.baselines.banks import layout_bank, run_of
from tests.baselines.test_random_weights import batch_of
from tests.trainers import run, same, trainer

METHOD = load().methods["dwa"]
# Mean NLL of teachers a, b, c in each epoch.
LOSSES = [[2.0, 4.0, 1.0], [1.0, 3.0, 1.0], [0.5, 3.0, 0.8], [0.4, 1.0, 0.4]]


def make(**settings):
    return METHOD(METHOD.Config(**settings))


def read(method, teacher, nll, epoch: int = 0, step: int = 0):
    nll = torch.tensor(nll)
    batch = replace(batch_of(teacher), epoch=epoch, step=step)
    return method.weights(Output(nll=nll, lengths=torch.ones_like(nll)), batch)


def test_the_formula_over_epochs():
    method = make(temperature=2.0)
    for epoch, losses in enumerate(LOSSES):
        # Two batches whose mean is the epoch's loss, in other orders of teachers.
        low, high = [x - 0.1 for x in losses], [x + 0.1 for x in losses]
        weights = read(method, [[0, 1, 2]], [low], epoch)
        again = read(method, [[2, 0, 1]], [[high[2], high[0], high[1]]], epoch)
        if epoch < 2:
            expected = [1 / 3] * 3
        else:
            before, last = LOSSES[epoch - 2], LOSSES[epoch - 1]
            rho = [x / y for x, y in zip(last, before, strict=True)]
            expected = softmax([value / 2.0 for value in rho])
        assert weights[0].numpy() == pytest.approx(expected, abs=1e-6)
        assert again[0].numpy() == pytest.approx([expected[2], expected[0], expected[1]], abs=1e-6)


def test_the_slow_teacher_gains_and_the_temperature_evens_out():
    weights = {}
    for temperature in (0.5, 5.0):
        method = make(temperature=temperature)
        for epoch in range(2):
            read(method, [[0, 1]], [[4.0 / (epoch + 1), 4.0]], epoch)
        weights[temperature] = read(method, [[0, 1]], [[1.0, 1.0]], 2)[0]
    assert weights[0.5][1] > weights[5.0][1] > 0.5


def test_absent_rationales_count_nothing_and_get_nothing():
    method = make()
    for epoch in range(2):
        read(method, [[0, -1], [0, 1]], [[2.0 - epoch, 99.0], [2.0 - epoch, 1.0]], epoch)
    weights = read(method, [[1, -1], [0, 1]], [[1.0, 0.0], [1.0, 1.0]], 2)
    assert weights[0].tolist() == [1.0, 0.0]
    assert weights[1].numpy() == pytest.approx(softmax([0.5 / 2, 1.0 / 2]), abs=1e-6)


def test_a_teacher_that_a_period_lacks_is_neutral():
    method = make()
    read(method, [[0, 1]], [[2.0, 2.0]], 0)
    read(method, [[0, -1]], [[1.0, 0.0]], 1)
    weights = read(method, [[0, 1]], [[1.0, 1.0]], 2)
    assert weights[0].numpy() == pytest.approx(softmax([0.5 / 2, 1.0 / 2]), abs=1e-6)


def test_periods_of_steps():
    method = make(steps=2)
    found = [read(method, [[0, 1]], [[2.0 ** -(s // 2), 1.0]], 0, s)[0] for s in range(6)]
    for step in range(4):
        assert found[step].tolist() == [0.5, 0.5]
    for step in (4, 5):
        assert found[step].numpy() == pytest.approx(softmax([0.5 / 2, 1.0 / 2]), abs=1e-6)


def test_a_checkpoint_keeps_what_it_remembers():
    method, other = make(), make()
    for epoch in range(3):
        read(method, [[0, 1, 2]], [LOSSES[epoch]], epoch)
    other.load_state_dict({name: value.clone() for name, value in method.state_dict().items()})
    found = [read(m, [[0, 1, 2]], [LOSSES[3]], 3) for m in (method, other)]
    assert torch.equal(*found)
    assert not torch.allclose(found[0], torch.full((1, 3), 1 / 3))


def test_too_few_epochs_are_a_reason_to_skip():
    def training(epochs, max_flops=None):
        spec = SimpleNamespace(epochs=epochs, max_flops=max_flops, budget="steps")
        return run_of(layout_bank(), spec)

    assert "third epoch" in make().skip(training(2))
    assert make().skip(training(3)) is None
    assert make().skip(training(1, max_flops=1e9)) is None
    assert make(steps=5).skip(training(1)) is None


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    whole = trainer(make(temperature=0.1), epochs=4)
    expected = run(whole)
    last = {row["weight"] for row in whole.records if row["epoch"] == 3}
    assert max(last) > 0.51  # the weights that are to be gone on from are not all equal
    first = trainer(make(temperature=0.1), folder=tmp_path, epochs=4)
    first.progress = lambda event: (
        (_ for _ in ()).throw(KeyboardInterrupt) if event["step"] == 14 else None
    )
    with pytest.raises(KeyboardInterrupt):
        run(first)
    assert same(run(trainer(make(temperature=0.1), folder=tmp_path, epochs=4)), expected)
