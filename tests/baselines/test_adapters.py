"""Every method trains a student through adapters: a Llama of two layers with LoRA."""

from __future__ import annotations

import copy

import pytest
import torch

from compact_bench.methods.registry import load
from compact_bench.student.lora import with_adapters
from compact_bench.student.student import Student
from compact_bench.suite.sections import LoraSpec
from compact_bench.testing import workbench
from tests.baselines.test_every_method import MORE, NEEDED

METHODS = load().methods
SETTINGS = {name: MORE.get(name, {}) | NEEDED.get(name, {}) for name in METHODS}


def adapted(layout: str) -> Student:
    """The students of the conformance checks, their weights frozen under adapters."""
    causal = copy.deepcopy(workbench.nano().causal)
    model = with_adapters(causal, LoraSpec(r=2), 0.0, seed=0)
    return Student(model, causal, workbench.nano().tokenizer, layout=layout)


@pytest.mark.parametrize("name", [n for n, method in sorted(METHODS.items()) if method.seeded])
def test_adapters_are_trained_and_the_weights_below_are_not(name, monkeypatch):
    made = []
    monkeypatch.setattr(
        workbench, "fresh_student", lambda layout: made.append(adapted(layout)) or made[-1]
    )
    bench = workbench.Workbench(METHODS[name], SETTINGS[name])
    trainer = bench.run(bench.make(), spec=workbench.TRAINING)
    (student,) = {id(one): one for one in made if one is trainer.student}.values()
    state = student.state_dict()
    assert state and all("lora_" in parameter for parameter in state)
    assert all(bool(value.isfinite().all()) for value in state.values())
    learnt = [value for parameter, value in state.items() if "lora_B" in parameter]
    assert any(bool(value.any()) for value in learnt)  # B is 0 at the start
    base = workbench.nano().causal.state_dict()
    for parameter, value in student.causal.state_dict().items():
        if "lora_" not in parameter:
            assert torch.equal(value, base[parameter.replace(".base_layer", "")]), parameter
