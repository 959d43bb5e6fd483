"""The student before training, asked for its logits beside the student that is trained."""

from __future__ import annotations

import pytest
import torch

from tests.student.test_layouts import make_batch
from tests.training.test_trainer import run, student, trainer

NEEDS = {"logits:target", "teacher_logits"}


def moved(made):
    """The student with other weights."""
    with torch.no_grad():
        for parameter in made.trainable().values():
            parameter.add_(0.05)
    return made


@pytest.mark.parametrize("lora", [False, True])
def test_its_logits_stay_while_the_students_change(lora):
    made = student(lora)
    batch = make_batch(made.tokenizer)
    made.attach_start()
    before = made.forward(batch, needs=NEEDS)
    assert torch.allclose(before.teacher_logits, before.logits, atol=1e-5)
    after = moved(made).forward(batch, needs=NEEDS)
    assert torch.allclose(after.teacher_logits, before.logits, atol=1e-5)
    assert float((after.logits - before.logits).abs().max()) > 1e-2
    assert not after.teacher_logits.requires_grad


@pytest.mark.parametrize("lora", [False, True])
def test_asking_leaves_the_gradient_as_it_is(lora):
    gradients = []
    for needs in (set(), NEEDS):
        made = student(lora)
        made.attach_start()
        moved(made).forward(make_batch(made.tokenizer), needs=needs).nll.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in made.trainable().values()]))
    assert float(gradients[0].abs().max()) > 0
    assert torch.equal(*gradients)


def test_adapters_need_no_copy_and_must_be_fresh():
    full, lora = student(), student(lora=True)
    full.attach_start()
    lora.attach_start()
    assert full.teacher is not full and not full.teacher.trainable()
    assert lora.teacher is lora
    trained = trainer(lora=True)
    run(trained)
    with pytest.raises(ValueError, match="adapters are trained already"):
        trained.student.attach_start()
