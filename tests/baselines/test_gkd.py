"""GKD: divergences against scipy, rows on and off policy by hand, and models made in the run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import entropy

from compact_bench.api import Run
from compact_bench.methods.registry import load
from compact_bench_baselines.gkd import divergence
from tests.models import make_batch, make_student, save_tiny
from tests.trainers import assert_resumes, student, trainer

METHOD = load().methods["gkd"]


def make(**settings):
    return METHOD(METHOD.Config(**settings))


def by_definition(p, q, kind, beta):
    """D of two distributions."""
    if kind == "forward":
        return entropy(p, q)
    if kind == "reverse":
        return entropy(q, p)
    m = beta * p + (1 - beta) * q
    return beta * entropy(p, m) + (1 - beta) * entropy(q, m)


KINDS = [("forward", 0.5), ("reverse", 0.5), ("jsd", 0.5), ("jsd", 0.1)]


@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_divergences_are_those_of_their_definitions(kind, beta):
    draw = torch.Generator().manual_seed(0)
    reference, logits = (torch.randn(3, 7, generator=draw) * 3 for _ in range(2))
    expected = [
        by_definition(p.softmax(-1).double().numpy(), q.softmax(-1).double().numpy(), kind, beta)
        for p, q in zip(reference, logits, strict=True)
    ]
    # A vocabulary that is padded has tokens that the other one hasn't.
    wider = torch.cat([reference, torch.randn(3, 2, generator=draw)], -1)
    found = divergence(wider, logits, kind, beta)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert divergence(logits, logits, kind, beta).tolist() == pytest.approx([0.0] * 3, abs=1e-6)


def row_divergence(student, other, prompt, ids, kind, beta):
    """mean_t D of one row, by both models' own forwards."""
    row = torch.tensor([prompt + ids])
    with torch.no_grad():
        p, q = (
            one.causal(row).logits[0, len(prompt) - 1 : -1].double().softmax(-1).numpy()
            for one in (other, student)
        )
    return np.mean([by_definition(a, b, kind, beta) for a, b in zip(p, q, strict=True)])


@pytest.mark.parametrize(("kind", "beta"), KINDS)
@pytest.mark.parametrize("on_policy", [0.0, 1.0])
def test_the_loss_is_the_mean_over_models_and_rows(kind, beta, on_policy):
    student, others = make_student("llama", "shared"), [make_student("qwen2", "padded")]
    others.append(make_student("gemma3", "padded"))
    student.attach_teachers({str(i): other for i, other in enumerate(others)})
    batch = make_batch(student.tokenizer)
    method = make(divergence=kind, beta=beta, on_policy=on_policy, samples=2)
    method.owner = {}
    own = student.sample(batch, 2).batch
    step = method.loss(student, batch)
    rows = own if on_policy else batch
    expected = np.mean(
        [
            np.mean(
                [
                    row_divergence(student, other, batch.prompt_ids[b], ids, kind, beta)
                    for ids in rows.rationale_ids[b]
                ]
            )
            for other in others
            for b in range(2)
        ]
    )
    assert float(step.loss.detach()) == pytest.approx(expected, rel=1e-3)
    assert step.logs["on_policy"] == on_policy


def test_a_model_that_was_made_of_a_teacher_is_asked_about_that_teacher_alone():
    student = make_student("llama", "shared")
    others = {"b": make_student("qwen2", "padded"), "c": make_student("gemma3", "padded")}
    student.attach_teachers(others)
    batch = make_batch(student.tokenizer)
    method = make(divergence="forward", on_policy=0.0)
    method.owner = {"b": 1, "c": 2}
    cells = [("b", 0, 1), ("b", 1, 1), ("c", 0, 2)]
    parts = [
        row_divergence(
            student, others[k], batch.prompt_ids[b], batch.rationale_ids[b][r], "forward", 0.5
        )
        for k, b, r in cells
    ]
    expected = np.mean([(parts[0] + parts[1]) / 2, parts[2] / 2])
    found = float(method.loss(student, batch).loss.detach())
    assert found == pytest.approx(expected, rel=1e-3)


def test_lambda_is_the_share_of_batches_on_policy():
    student = make_student("llama", "shared")
    student.attach_teachers({"copy": student.frozen_copy()})
    batch, method = make_batch(student.tokenizer), make(on_policy=0.3)
    method.owner = {}
    asked = []
    student.sample = lambda *a: asked.append(1) or SimpleNamespace(batch=batch)
    student.forward = lambda *a, **k: SimpleNamespace(
        logits=torch.zeros(2, 3, 1, 4, requires_grad=True), lengths=torch.ones(2, 3)
    )
    student.teacher_forward = lambda *a, **k: student.forward()
    for _ in range(400):
        method.loss(student, batch)
    assert 0.3 * 400 - 5 * 9.2 < len(asked) < 0.3 * 400 + 5 * 9.2  # sd: sqrt(400 * 0.3 * 0.7)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("budget", ["matched", "own"])
def test_models_are_copies_trained_on_one_teacher_and_the_student_begins_anew(lora, budget):
    made = trainer(make(budget=budget), lora=lora, epochs=2)
    states, run = [], made.run
    made.run = lambda *a, **k: states.append(made.student.state_dict()) or run(*a, **k)
    made.distiller.fit(made)
    start = student(lora).state_dict()
    for state in states:
        assert all(torch.equal(state[name], start[name]) for name in start)
    frame = pd.DataFrame(made.records)
    steps = {"matched": (2, 2, 4), "own": (8, 8, 8)}[budget]
    assert frame["step"].max() == sum(steps)
    first = frame[frame["step"] <= steps[0]]
    assert set(first["teacher"]) == {"a"} and set(first["weight"]) == {1.0}
    alone = trainer(lora=lora)
    part = (0.0, 0.25) if budget == "matched" else (0.0, 1.0)
    alone.run(alone.distiller, part=part, teacher=0)
    batch = next(made.batches())
    model = made.student.teachers["a"]
    with torch.no_grad():
        assert torch.allclose(model.forward(batch).nll, alone.student.forward(batch).nll, atol=1e-5)
    cost = made.student.cost
    assert 0 < cost.selection_tokens < cost.tokens and cost.sampled_tokens > 0


def test_named_models_are_loaded(tmp_path):
    made = trainer(make(models=[str(save_tiny("llama", tmp_path))]), epochs=1)
    made.distiller.fit(made)
    assert [*made.student.teachers] == [str(tmp_path)]
    assert len(made.stages) == 1


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    assert_resumes(
        lambda folder: trainer(make(), folder=folder),
        lambda made: made.distiller.fit(made),
        tmp_path,
        stop_at=6,
    )


def test_it_skips_where_models_can_not_be_had():
    few = SimpleNamespace(epochs=1, batch_size=4, accumulate=1, max_flops=None, budget="steps")
    bank = SimpleNamespace(questions=range(8))
    run = Run(bank, ("a", "b", "c"), None, few, lambda name: name == "good")
    assert "'bad' is not the student's" in make(models=["good", "bad"]).skip(run)
    assert make(models=["good"]).skip(run) is None
    assert "3 models to make in 2 optimizer steps" in make().skip(run)
    assert make(budget="own").skip(run) is None


def test_settings_that_do_nothing_are_not_searched():
    config = METHOD.Config
    assert config(divergence="reverse").idle() == {"beta"}
    assert config(on_policy=0, models=["m"]).idle() == {"samples", "first", "budget"}
    assert config().idle() == set()
