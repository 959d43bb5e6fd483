"""The student: targets and prompts, gradients by teacher, and another model's logits beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from compact_bench.api import Distiller, TeacherGradients
from compact_bench.student import forward
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


def test_fresh_adapters_need_no_copy():
    full, lora = trainers_student(), trainers_student(lora=True)
    full.attach_start()
    lora.attach_start()
    assert full.teacher is not full and not full.teacher.trainable()
    assert lora.teacher is lora


def test_adapters_that_have_learned_are_copied():
    made = trainer(lora=True)
    run(made)
    batch = make_batch(made.student.tokenizer)
    made.student.attach_start()
    assert made.student.start is not made.student
    before = made.student.forward(batch, needs={"token_nll", "start_token_nll"})
    assert torch.allclose(before.start_token_nll, before.token_nll, atol=1e-5)
    after = moved(made.student).forward(batch, needs={"token_nll", "start_token_nll"})
    assert torch.allclose(after.start_token_nll, before.token_nll, atol=1e-5)
    assert float((after.token_nll - before.token_nll).abs().max()) > 1e-2


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


def test_right_is_by_value_and_false_where_absent_or_without_an_answer():
    batch = make_batch(make_student("llama", "padded").tokenizer)
    assert batch.right.tolist() == [[True, False, True], [True, True, False]]
    absent = batch.restrict(torch.tensor([[False, True, True], [True, True, True]]))
    assert absent.right.tolist() == [[False, False, True], [True, True, False]]
    batch.answer_texts[0][2], batch.gold[1] = None, "2.0"
    assert batch.right.tolist() == [[True, False, False], [True, True, False]]
    batch.gold[0] = "2"  # which the other question's rationales end in
    assert batch.mismatched().right.tolist() == [[True, True, False], [False, False, False]]


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_a_batch_of_given_texts_is_written_by_the_template(layout):
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    given = student.batch_of(batch, [["So it is 7 + 5 = 12."], ["2.", "Hm. The answer is 9."]])
    assert given.right.tolist() == [[True, False], [True, False]]
    assert (given.teachers, given.taught) == (("student",), False)
    assert given.prompt_ids == batch.prompt_ids and given.teacher[0].tolist() == [0, -1]
    target = student.encoder.ids(" Hm. The answer is 9") + student.encoder.eos
    assert given.rationale_ids[1][1] == target
    nll = student.forward(given).nll
    alone = row_alone(student, batch.prompt_ids[1], target)
    assert float(nll[1, 1].detach()) == pytest.approx(alone, abs=1e-5)
    assert student.cost.teacher_tokens == 0 and student.cost.supervised_tokens > 0
    for wrong in ([["one"]], [[], []]):
        with pytest.raises(ValueError, match="batch_of: texts for"):
            student.batch_of(batch, wrong)


@pytest.fixture(scope="module", params=[False, True], ids=["full", "lora"])
def writer(request):
    """A student in float64, where a batch's shape can't decide between two tokens."""
    made = trainers_student(request.param)
    made.model.double()
    if request.param:
        moved(made)
    return made


def ids_of(own):
    return own.batch.rationale_ids


def test_samples_follow_from_run_step_prompt_and_number_alone(writer):
    batch = make_batch(writer.tokenizer)
    state = torch.get_rng_state()
    own = writer.sample(batch, n=3, max_new_tokens=12)
    assert torch.equal(torch.get_rng_state(), state)
    assert ids_of(writer.sample(batch, n=3, max_new_tokens=12, size=1)) == ids_of(own)
    assert ids_of(writer.sample(batch.single(1), n=3, max_new_tokens=12)) == ids_of(own)[1:]
    fewer = ids_of(writer.sample(batch, n=1, max_new_tokens=7))
    assert [row[0] for row in fewer] == [row[0][:7] for row in ids_of(own)]
    every = [tuple(ids) for row in ids_of(own) for ids in row]
    for other in (replace(batch, step=1), batch):
        writer.seed = 1 if other is batch else 0
        again = [tuple(ids) for row in ids_of(writer.sample(other, 3, 1.0, 12)) for ids in row]
        assert set(again).isdisjoint(every)
    writer.seed = 0
    assert len(set(every)) == 6


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_what_a_sample_was_drawn_with_is_the_model_s_own(writer, temperature):
    batch = make_batch(writer.tokenizer)
    own = writer.sample(batch, n=2, temperature=temperature, max_new_tokens=9)
    for b, prompt in enumerate(batch.prompt_ids):
        for m, ids in enumerate(ids_of(own)[b]):
            with torch.no_grad():
                logits = writer.causal(torch.tensor([prompt + ids])).logits[0].double()
            log_p = (logits / temperature).log_softmax(-1)[len(prompt) - 1 : -1]
            expected = log_p.gather(-1, torch.tensor(ids)[:, None])[:, 0]
            assert own.log_p[b, m, : len(ids)].tolist() == pytest.approx(
                expected.tolist(), abs=1e-4
            )
            assert not own.log_p[b, m, len(ids) :].any()
            assert bool(own.ended[b, m]) == (ids[-1] == writer.tokenizer.eos_token_id)
    nll = writer.forward(own.batch, needs={"token_nll"}).token_nll
    if temperature == 1:
        assert torch.allclose(-nll.float(), own.log_p, atol=1e-4)


def test_at_temperature_0_the_likeliest_token_is_taken(writer):
    batch = make_batch(writer.tokenizer)
    own = writer.sample(batch, temperature=0, max_new_tokens=6)
    for prompt, (ids,) in zip(batch.prompt_ids, ids_of(own), strict=True):
        with torch.no_grad():
            logits = writer.causal(torch.tensor([prompt + ids])).logits[0]
        assert logits[len(prompt) - 1 : -1].argmax(-1).tolist() == ids
    assert not own.log_p.any()


def test_sampling_is_counted_and_leaves_the_student_as_it_is(writer):
    batch = make_batch(writer.tokenizer)
    writer.model.train()
    before = writer.cost.as_dict()
    own = writer.sample(batch, n=2, max_new_tokens=5)
    after = writer.cost.as_dict()
    spent = {name: after[name] - before[name] for name in after}
    written = [len(ids) for row in ids_of(own) for ids in row]
    # A prompt is read once, and of what is written all but the last token.
    assert spent["tokens"] == sum(map(len, batch.prompt_ids)) + sum(written) - len(written)
    assert spent["sampled_tokens"] == sum(written)
    assert spent["flops"] == writer.flops(spent["tokens"], trained=False)
    assert spent["teacher_tokens"] == spent["supervised_tokens"] == spent["selection_tokens"] == 0
    assert writer.model.training and all(m.training for m in writer.model.modules())
    writer.model.eval()
    with writer.cost.selecting():
        writer.sample(batch, max_new_tokens=2)
    assert writer.cost.selection_tokens > before["selection_tokens"]


def test_samples_are_as_long_as_the_longest_rationale_unless_it_is_said(writer):
    batch = make_batch(writer.tokenizer)
    batch = batch.restrict(torch.tensor([[False, False, False], [True, True, False]]))
    longest = max(map(len, batch.rationale_ids[1]))
    lengths = [len(ids) for row in ids_of(writer.sample(batch, n=4)) for ids in row]
    assert max(lengths) <= longest
    for wrong in ({"n": 0}, {"max_new_tokens": 0}, {"temperature": -1.0}):
        with pytest.raises(ValueError, match="allowed: n and max_new_tokens from 1"):
            writer.sample(batch, **wrong)


def test_other_models_are_asked_by_name_and_counted_here():
    student, other = make_student("llama", "shared"), make_student("qwen2", "padded")
    batch = make_batch(student.tokenizer)
    student.attach_teachers({"q": other})
    out = student.teacher_forward("q", batch, needs={"token_nll", "top:3"})
    tokens = sum(
        len(batch.prompt_ids[b]) + len(batch.rationale_ids[b][r])
        for b, r in batch.present.nonzero().tolist()
    )
    cost = student.cost
    assert (cost.tokens, cost.teacher_tokens, cost.supervised_tokens) == (tokens, 0, 0)
    assert cost.flops == 2.0 * other.parameters_passed * tokens
    whole = other.forward(batch, needs={"token_nll", "logits:target"})
    assert torch.equal(out.token_nll, whole.token_nll.detach()) and not out.nll.requires_grad
    values, tokens_ = whole.logits.detach().log_softmax(-1).topk(3, -1)
    real = torch.arange(values.shape[2]) < whole.lengths[..., None]
    assert torch.equal(out.top_tokens[real], tokens_[real])
    assert torch.allclose(out.top_log_p[real], values[real], atol=1e-5)
    with pytest.raises(ValueError, match="no teacher model 'x'; known: q"):
        student.teacher_forward("x", batch)
    with pytest.raises(ValueError, match="top:0; allowed: top:K"):
        student.forward(batch, needs={"top:0"})


@pytest.mark.parametrize("chunk", [forward.CHUNK_LOGITS, 1000])
def test_log_probabilities_of_given_tokens_are_those_of_the_whole_distribution(monkeypatch, chunk):
    monkeypatch.setattr(forward, "CHUNK_LOGITS", chunk)
    gradients, values = [], []
    draw = torch.Generator().manual_seed(0)
    for sparse in (True, False):
        student = make_student("llama", "shared")
        batch = make_batch(student.tokenizer)
        shape = (*batch.teacher.shape, batch.longest_rationale, 4)
        if sparse:
            tokens = torch.randint(0, len(student.tokenizer), shape, generator=draw)
            log_p = student.forward(batch, tokens=tokens).log_p_of
        else:
            out = student.forward(batch, needs={"logits:target"})
            real = torch.arange(shape[2]) < out.lengths[..., None]
            log_p = out.logits.log_softmax(-1).gather(-1, tokens) * real[..., None]
        log_p.sum().backward()
        values.append(log_p.detach())
        gradients.append(flat(student))
    assert torch.allclose(*values, atol=1e-5)
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_method_may_need_the_untrained_student_s_losses(lora):
    class Ratio(Distiller):
        name, version, reference = "ratio", 1, "none"
        needs = frozenset({"token_nll", "start_token_nll"})
        seen: ClassVar[list] = []

        def weights(self, out, batch):
            self.seen.append((out.token_nll.detach(), out.start_token_nll))
            return super().weights(out, batch)

    made = trainer(Ratio(), lora=lora)
    start = trainers_student(lora)
    run(made)
    (first, reference), (last, other) = Ratio.seen[0], Ratio.seen[-1]
    assert torch.allclose(first, reference, atol=1e-5)
    assert float((last - other).abs().max()) > 1e-2
    expected = start.forward(made._batch(made.reading[:2], 0), needs={"token_nll"}).token_nll
    again = made.student.forward(made._batch(made.reading[:2], 0), needs=Ratio.needs)
    assert torch.allclose(again.start_token_nll, expected.detach(), atol=1e-5)
