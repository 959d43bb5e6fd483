"""The student: targets and prompts, gradients by teacher, and another model's logits beside it."""

from __future__ import annotations

import pytest
import torch

from compact_bench.api import TeacherGradients
from tests.baselines.banks import layout_bank
from tests.models import make_batch, make_student, row_alone
from tests.trainers import run, trainer
from tests.trainers import student as trainers_student

NEEDS = {"logits:target", "teacher_logits"}


def moved(made):
    """The student with other weights."""
    with torch.no_grad():
        for parameter in made.trainable().values():
            parameter.add_(0.05)
    return made


@pytest.mark.parametrize("lora", [False, True])
def test_its_logits_stay_while_the_students_change(lora):
    made = trainers_student(lora)
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
        made = trainers_student(lora)
        made.attach_start()
        moved(made).forward(make_batch(made.tokenizer), needs=needs).nll.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in made.trainable().values()]))
    assert float(gradients[0].abs().max()) > 0
    assert torch.equal(*gradients)


def test_adapters_need_no_copy_and_must_be_fresh():
    full, lora = trainers_student(), trainers_student(lora=True)
    full.attach_start()
    lora.attach_start()
    assert full.teacher is not full and not full.teacher.trainable()
    assert lora.teacher is lora
    trained = trainer(lora=True)
    run(trained)
    with pytest.raises(ValueError, match="adapters are trained already"):
        trained.student.attach_start()


def test_other_targets_and_contexts():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    cue, eos = student.encoder.cue, student.encoder.eos
    answer = student.forward(batch, target="answer").nll
    assert answer.shape == (2, 1)
    alone = row_alone(student, batch.prompt_ids[0], cue + batch.answer_ids[0] + eos)
    assert float(answer[0, 0].detach()) == pytest.approx(alone, abs=1e-5)
    after = student.forward(batch, target="answer", context="question+rationale").nll
    body = batch.rationale_ids[0][1][: batch.body_end[0][1]]
    alone = row_alone(student, batch.prompt_ids[0] + body + cue, batch.answer_ids[0] + eos)
    assert float(after[0, 1].detach()) == pytest.approx(alone, abs=1e-5)
    marked = student.forward(batch, target="rationale", prompt="teacher").nll
    prompt = student.encoder.prompt(batch.questions[0], "teacher", "[b] ")
    alone = row_alone(student, prompt, body + eos)
    assert float(marked[0, 1].detach()) == pytest.approx(alone, abs=1e-5)


def test_an_empty_batch_is_refused():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    with pytest.raises(ValueError, match="no rationale is present"):
        student.forward(batch.restrict(torch.zeros(2, 3, dtype=torch.bool)))
    with pytest.raises(ValueError, match="unknown needs"):
        student.forward(batch, needs={"token_nil"})
    assert student.forward(batch).nll.isfinite().all()


def test_teacher_logits_are_the_teachers_own():
    student, teacher = make_student("llama", "shared"), make_student("qwen2", "padded")
    batch = make_batch(student.tokenizer)
    with pytest.raises(ValueError, match="no teacher model is attached"):
        student.forward(batch, needs={"teacher_logits"})
    student.attach_teacher(teacher)
    logits = student.forward(batch, needs={"teacher_logits"}).teacher_logits
    ids = torch.tensor([batch.prompt_ids[1] + batch.rationale_ids[1][0]])
    expected = teacher.causal(ids).logits[0, len(batch.prompt_ids[1]) - 1 : -1]
    assert torch.allclose(logits[1, 0, : len(expected)], expected, atol=1e-5)
    assert not logits.requires_grad
    assert teacher.cost.flops == 0 and student.cost.flops > 0


def test_gradients_by_slot_add_up():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    gradient, out = student.gradients(batch)
    assert gradient.shape == (3, sum(p.numel() for p in student.trainable().values()))
    counts = batch.present.sum(0)
    (out_nll := student.forward(batch).nll).sum().backward()
    whole = torch.cat([p.grad.flatten() for p in student.trainable().values()])
    assert torch.allclose((gradient * counts[:, None]).sum(0), whole, rtol=1e-3, atol=1e-5)
    assert torch.allclose(out.nll, out_nll)


def flat(student):
    return torch.cat([p.grad.flatten() for p in student.trainable().values()])


@pytest.fixture(scope="module", params=["padded", "shared"])
def student(request):
    return make_student("llama", request.param)


@pytest.fixture
def batch(student):
    student.model.zero_grad(set_to_none=True)
    return make_batch(student.tokenizer)


def two_samples(batch):
    """Question 0 with two rationales of teacher a and one of c, question 1 with one of b."""
    batch.teacher = torch.tensor([[0, 0, 2], [-1, 1, -1]])
    return batch


@pytest.mark.parametrize("change", [lambda b: b, two_samples], ids=["missing", "two samples"])
def test_shares_of_the_gradients_are_the_averages(student, batch, change):
    batch = change(batch)
    found = student.teacher_gradients(batch)
    assert found.gradient.shape == (3, sum(p.numel() for p in student.trainable().values()))
    out = student.forward(batch)
    counts = batch.present.sum(-1, keepdim=True)
    loss = (out.nll * batch.present / counts).sum(-1).mean()
    loss.backward()
    assert torch.allclose(found.share @ found.gradient, flat(student), rtol=1e-3, atol=1e-5)
    assert float(found.share @ found.loss) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert float(found.share.sum()) == pytest.approx(1)
    assert torch.allclose(found.nll, out.nll.detach(), atol=1e-5)


def test_a_teachers_gradient_is_of_its_own_rationales(student, batch):
    found = student.teacher_gradients(batch)
    assert found.teacher.tolist() == [0, 1, 2]
    assert found.share.tolist() == pytest.approx([5 / 12, 5 / 12, 1 / 6])
    nll = student.forward(batch).nll
    (nll[0, 0] * 0.4 + nll[1, 0] * 0.6).backward()  # 1/3 and 1/2 of the average, to the sum 1
    assert torch.allclose(found.gradient[0], flat(student), rtol=1e-3, atol=1e-5)


def test_teachers_are_told_apart_by_index_and_not_by_place(student, batch):
    batch = two_samples(batch)
    found = student.teacher_gradients(batch)
    assert found.share.tolist() == pytest.approx([1 / 3, 1 / 2, 1 / 6])
    nll = student.forward(batch).nll
    nll[0, :2].mean().backward()
    assert torch.allclose(found.gradient[0], flat(student), rtol=1e-3, atol=1e-5)


def test_they_cost_what_one_pass_costs(student, batch):
    totals = []
    for call in (student.forward, student.teacher_gradients):
        before = student.cost.as_dict()
        call(batch)
        after = student.cost.as_dict()
        spent = {name: after[name] - before[name] for name in after}
        spent.pop("physical_tokens")  # a question's prompt is written once a teacher
        totals.append(spent)
    assert totals[0] == totals[1]
    assert totals[0]["flops"] > 0


def test_gradients_are_added_to_what_is_there(student, batch):
    size = sum(p.numel() for p in student.trainable().values())
    gradient = torch.arange(size, dtype=torch.float32)
    student.add_gradient(gradient)
    student.add_gradient(2 * gradient)
    assert torch.equal(flat(student), 3 * gradient)


def test_the_gram_matrix_is_of_inner_products(student, batch):
    found = student.teacher_gradients(batch)
    gram = found.gram()
    assert torch.equal(gram, gram.T)
    for i in range(3):
        for j in range(3):
            expected = float(found.gradient[i].double() @ found.gradient[j].double())
            assert float(gram[i, j]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_recorded_weights_are_the_teachers_within_a_question(student, batch):
    found = student.teacher_gradients(batch)
    step = found.step(found.share * torch.tensor([1.0, 3.0, 2.0]))
    assert step.weights[0].tolist() == pytest.approx([1 / 6, 3 / 6, 2 / 6])
    assert step.weights[1].tolist() == pytest.approx([1 / 4, 3 / 4, 0])
    assert step.logs["weight_b"] == pytest.approx(3 * 5 / 12)
    assert not step.loss.requires_grad


def test_a_question_whose_teachers_weigh_nothing_has_no_weights(student, batch):
    found = student.teacher_gradients(batch)
    step = found.step(torch.tensor([0.0, 0.0, 1.0]))
    assert step.weights.tolist() == [[0, 0, 1], [0, 0, 0]]


def test_an_empty_batch_has_no_gradients(student, batch):
    with pytest.raises(ValueError, match="no rationale is present"):
        student.teacher_gradients(batch.restrict(torch.zeros(2, 3, dtype=torch.bool)))


def test_teachers_without_names_are_called_by_index():
    batch = make_batch(make_student("llama", "padded").tokenizer)
    batch.teachers = ()
    ones = torch.ones(3)
    found = TeacherGradients(
        batch, torch.arange(3), ones / 3, ones, torch.eye(3), ones.expand(2, 3)
    )
    assert found.step(ones / 3).logs.keys() == {"weight_0", "weight_1", "weight_2"}


def test_scores_name_each_rationale_of_a_bank_without_gradient():
    student = make_student("llama", "padded")
    bank = layout_bank()
    tracked = []

    def nll(batch):
        out = student.forward(batch).nll
        tracked.append(out.requires_grad)
        return out

    scores = student.scores(bank, nll, size=1)
    (batch,) = student.batches(bank)
    assert scores == pytest.approx(batch.by_rationale(student.forward(batch).nll), abs=1e-5)
    assert tracked == [False, False]  # two questions, one at a time
