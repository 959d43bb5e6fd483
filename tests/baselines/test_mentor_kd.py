"""Mentor-KD: the mentor's distributions, where it skips, which rationales it reads."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from compact_bench.api import Run
from compact_bench.data.rationales import RationaleBank, question_table, rationale_table
from compact_bench.methods.registry import load
from compact_bench_baselines.average import Average
from tests.models import make_batch, make_student, save_tiny, tiny_model
from tests.trainers import trainer

MENTOR = load().methods["mentor_kd"]


def make(**settings):
    return MENTOR(MENTOR.Config(**settings))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_the_loss_is_the_one_of_the_paper(layout, temperature):
    student, mentor = make_student("llama", layout), make_student("qwen2", "padded")
    student.attach_teacher(mentor)
    batch = make_batch(student.tokenizer)
    step = make(temperature=temperature).loss(student, batch)
    questions = []
    for b, present in enumerate(batch.present.tolist()):
        rows = []
        for r in (r for r, here in enumerate(present) if here):
            target = torch.tensor(batch.rationale_ids[b][r])
            ids = torch.tensor([batch.prompt_ids[b] + target.tolist()])
            own, other = (
                one.causal(ids).logits[0, len(batch.prompt_ids[b]) - 1 : -1]
                for one in (student, mentor)
            )
            # KL = cross-entropy with soft targets - their entropy.
            soft = (other / temperature).softmax(-1)
            entropy = -(soft * log_softmax(other / temperature, -1)).sum(-1).mean()
            kl = cross_entropy(own / temperature, soft) - entropy
            rows.append(0.7 * cross_entropy(own, target) + 0.3 * kl)
        questions.append(torch.stack(rows).mean())
    expected = torch.stack(questions).mean()
    assert float(step.loss.detach()) == pytest.approx(float(expected), rel=1e-4)
    assert step.weights[1].tolist() == pytest.approx([0.5, 0.5, 0])


def test_without_a_mix_it_is_the_average():
    student = make_student("llama", "shared")
    student.attach_teacher(make_student("qwen2", "padded"))
    batch = make_batch(student.tokenizer)
    found, plain = make(mix=0.0).loss(student, batch), Average().loss(student, batch)
    assert float(found.loss.detach()) == pytest.approx(float(plain.loss.detach()), abs=1e-6)


def test_it_trains_with_a_mentor_from_a_folder(tmp_path):
    mentor = tiny_model("llama")
    with torch.no_grad():
        for parameter in mentor.parameters():
            parameter.mul_(1.5)
    mentor.save_pretrained(save_tiny("llama", tmp_path))
    made = trainer(make(mentor=str(tmp_path)), epochs=1)
    before = made.student.state_dict()
    made.distiller.fit(made)
    after = made.student.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in before)
    assert made.records[0]["log_kl_to_mentor"] > 0
    assert {p.device for p in made.student.teacher.model.parameters()} == {made.student.device}


def test_it_skips_without_a_mentor_that_can_be_compared(tmp_path):
    asked = []
    run = Run(None, ("a",), None, None, lambda name: asked.append(name) or name == "good")
    assert "no mentor is named" in make().skip(run)
    assert "'bad' is not the student's" in make(mentor="bad").skip(run)
    assert make(mentor="good").skip(run) is None
    assert asked == ["bad", "good"]


def test_right_rationales_of_all_teachers_are_read():
    questions = [{"question_id": q, "question": q, "answer": "1", "kind": "number"} for q in "xy"]
    rows = [
        ("x", "a", "1", True),
        ("x", "b", "2", False),
        ("y", "a", "2", False),
        ("y", "b", None, False),
    ]
    table = rationale_table(
        {
            "question_id": q,
            "teacher": teacher,
            "sample": 0,
            "role": "teacher",
            "text": "",
            "answer": answer,
            "right": right,
            "corruption": "",
        }
        for q, teacher, answer, right in rows
    )
    bank = RationaleBank(question_table(questions), table, ("a", "b"))
    left = make().select(bank, None).rationales
    assert left[["question_id", "teacher"]].to_numpy().tolist() == [["x", "a"]]
