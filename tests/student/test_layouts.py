"""Both layouts give the numbers that each row gives alone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.api import Batch
from compact_bench.student.encode import Encoder, Example, collate
from compact_bench.student.layouts import TokenRow, common_prefix, place
from compact_bench.student.load import choose_layout
from compact_bench.student.student import Student
from tests.models import KINDS, tiny_model, tiny_tokenizer

QUESTIONS = {
    "Ann has 7 apples. Ann buys 5 more. How many?": [
        ("7 + 5 = 12. So Ann has 12.", "12"),
        ("First there are 7. Then 5 more come.", "13"),
        ("Ann starts with 7 apples and adds 5 to them, which gives 12 apples in all.", "12"),
    ],
    "Bob had 3 pens and lost 1. How many are left?": [
        ("3 - 1 = 2.", "2"),
        ("He lost 1 of 3. That leaves 2.", "2"),
    ],
}


def make_batch(tokenizer) -> Batch:
    encoder = Encoder(tokenizer)
    examples = [
        Example(
            question_id=str(i),
            question=question,
            prompt_ids=encoder.prompt(question),
            answer_ids=encoder.answer(rationales[0][1]),
            rationales=tuple(
                encoder.rationale(text, answer, teacher=k)
                for k, (text, answer) in enumerate(rationales)
            ),
        )
        for i, (question, rationales) in enumerate(QUESTIONS.items())
    ]
    return collate(examples, teachers=("a", "b", "c"))


def make_student(kind: str, layout: str, dtype=torch.float32) -> Student:
    model = tiny_model(kind, dtype)
    return Student(model, model, tiny_tokenizer(), layout=layout)


def row_alone(student: Student, prefix: list[int], target: list[int]) -> float:
    """The mean NLL of a target by the model's own forward on this row and nothing else."""
    ids = torch.tensor([prefix + target])
    with torch.no_grad():
        log_p = torch.log_softmax(student.causal(ids).logits[0].double(), -1)
    picks = [log_p[len(prefix) - 1 + i, token] for i, token in enumerate(target)]
    return -float(torch.stack(picks).mean())


@pytest.mark.parametrize("layout", ["padded", "shared"])
@pytest.mark.parametrize("kind", KINDS)
def test_nll_is_that_of_each_row_alone(kind, layout):
    student = make_student(kind, layout)
    batch = make_batch(student.tokenizer)
    nll = student.forward(batch).nll
    assert nll.shape == (2, 3)
    for b in range(2):
        for r in range(3):
            if not batch.present[b, r]:
                assert nll[b, r] == 0
                continue
            alone = row_alone(student, batch.prompt_ids[b], batch.rationale_ids[b][r])
            assert float(nll[b, r].detach()) == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_layouts_agree_on_losses_and_gradients(kind):
    gradients, losses = {}, {}
    for layout in ("padded", "shared"):
        student = make_student(kind, layout)
        batch = make_batch(student.tokenizer)
        weights = torch.tensor([[0.2, 0.3, 0.5], [0.9, 0.1, 0.0]])
        losses[layout] = student.forward(batch).nll
        (losses[layout] * weights).sum().backward()
        gradients[layout] = torch.cat([p.grad.flatten() for p in student.trainable().values()])
    assert float((losses["padded"] - losses["shared"]).abs().max()) < 1e-5
    difference = (gradients["padded"] - gradients["shared"]).norm()
    assert float(difference / gradients["padded"].norm()) < 1e-4


@pytest.mark.parametrize("kind", ["qwen2_window", "gemma3"])
def test_the_window_matters_in_these_rows(kind):
    """Else the tests above would pass with a mask that ignores the window."""
    student = make_student(kind, "padded")
    batch = make_batch(student.tokenizer)
    narrow = student.forward(batch).nll
    student.causal.config.sliding_window = 10_000
    for layer in student.decoder.layers:
        if getattr(layer.self_attn, "sliding_window", None):
            layer.self_attn.sliding_window = 10_000
    wide = student.forward(batch).nll
    assert float((narrow - wide).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_answer_gain_is_that_of_separate_forwards(kind):
    """Probes on the cache equal the answer's log-probability after a text written out."""
    gains = {}
    for layout in ("padded", "shared"):
        student = make_student(kind, layout)
        batch = make_batch(student.tokenizer)
        gains[layout] = student.forward(batch, needs={"answer_gain"}).answer_gain
    assert torch.allclose(gains["padded"], gains["shared"], atol=1e-4, equal_nan=True)
    cue, gold = student.encoder.cue, batch.answer_ids[0]
    # Question 0, teacher 1: both steps are open, neither holds "12" or "13".
    ids, (first, second) = batch.rationale_ids[0][1], batch.step_ends[0][1][:2]
    value = [
        -row_alone(student, batch.prompt_ids[0] + ids[:end] + cue, gold)
        for end in (0, first, second)
    ]
    expected = [value[1] - value[0], value[2] - value[1]]
    assert gains["shared"][0, 1, :2].tolist() == pytest.approx(expected, abs=1e-4)
    # Teacher 0 says 12 in its first step: nothing is open.
    assert gains["shared"][0, 0].isnan().all()


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


def test_token_values_and_ranks():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    out = student.forward(batch, needs={"token_nll", "token_rank", "logits:answer"})
    assert out.token_nll.shape == out.token_rank.shape == (2, 3, int(out.lengths.max()))
    assert torch.allclose(out.token_nll.sum(-1) / out.lengths.clamp_min(1), out.nll)
    ids = torch.tensor([batch.prompt_ids[1] + batch.rationale_ids[1][0]])
    logits = student.causal(ids).logits[0, len(batch.prompt_ids[1]) - 1 : -1]
    target = torch.tensor(batch.rationale_ids[1][0])
    order = logits.argsort(-1, descending=True)
    rank = (order == target[:, None]).nonzero()[:, 1] + 1
    assert out.token_rank[1, 0, : len(target)].tolist() == rank.tolist()
    start = batch.answer_start[1][0]
    width = len(target) - start
    assert torch.allclose(out.logits[1, 0, :width], logits[start:], atol=1e-5)


def test_chunked_head_gives_the_same_gradient(monkeypatch):
    gradients = []
    for size in (2**24, 2048):
        monkeypatch.setattr("compact_bench.student.outputs.CHUNK_LOGITS", size)
        student = make_student("llama", "shared")
        student.forward(make_batch(student.tokenizer)).nll.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in student.trainable().values()]))
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)


def test_gradients_by_teacher_add_up():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    gradient, out = student.gradients(batch)
    assert gradient.shape == (3, sum(p.numel() for p in student.trainable().values()))
    counts = batch.present.sum(0)
    (out_nll := student.forward(batch).nll).sum().backward()
    whole = torch.cat([p.grad.flatten() for p in student.trainable().values()])
    assert torch.allclose((gradient * counts[:, None]).sum(0), whole, rtol=1e-3, atol=1e-5)
    assert torch.allclose(out.nll, out_nll)


def test_cost_is_the_same_in_both_layouts():
    costs = {}
    for layout in ("padded", "shared"):
        student = make_student("llama", layout)
        student.forward(make_batch(student.tokenizer))
        costs[layout] = student.cost.as_dict()
    physical = {layout: cost.pop("physical_tokens") for layout, cost in costs.items()}
    assert costs["padded"] == costs["shared"]
    assert physical["shared"] < physical["padded"]
    batch = make_batch(student.tokenizer)
    rows = [len(batch.prompt_ids[b]) + len(ids) for b in range(2) for ids in batch.rationale_ids[b]]
    assert costs["shared"]["tokens"] == sum(rows)
    passed = sum(p.numel() for p in student.causal.parameters())
    passed -= student.causal.get_input_embeddings().weight.numel()
    assert costs["shared"]["flops"] == 6.0 * passed * sum(rows)


def test_unread_rationales_cost_nothing():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    rows = torch.tensor([[True, False, False], [False, True, False]])
    out = student.forward(batch.restrict(rows))
    assert (out.nll != 0).tolist() == rows.tolist()
    read = len(batch.rationale_ids[0][0]) + len(batch.rationale_ids[1][1])
    assert student.cost.supervised_tokens == read


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_here_takes_the_shared_prefix(kind):
    model = tiny_model(kind)
    assert choose_layout("auto", model, model, tiny_tokenizer(), "cpu") == ("shared", "")


def test_a_model_that_misreads_the_mask_falls_back(monkeypatch):
    model = tiny_model("llama")
    decoder = model.get_decoder().forward

    def ignores_mask(*args, attention_mask=None, **kwargs):
        return decoder(*args, attention_mask=None, **kwargs)

    monkeypatch.setattr(model.get_decoder(), "forward", ignores_mask)
    layout, reason = choose_layout("auto", model, model, tiny_tokenizer(), "cpu")
    assert layout == "padded" and "other numbers" in reason


TOKENS = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4))
def test_every_row_lies_whole_in_its_sequence(rows):
    rows = [TokenRow(0, i, prefix, target) for i, (prefix, target) in enumerate(rows)]
    for shared in (True, False):
        placement = place(rows, shared, 9, torch.device("cpu"))
        assert placement.target.tolist() == [t for row in rows for t in row.target]
        for number, row in enumerate(rows):
            line = placement.input_ids[placement.sequence[number]]
            places = placement.places[number]
            assert line[places].tolist() == row.ids
            positions = placement.position_ids[placement.sequence[number], places]
            assert positions.tolist() == list(range(len(row.ids)))
        count = sum(len(row.ids) for row in rows)
        trunk = common_prefix([row.prefix for row in rows]) if len(rows) > 1 else 0
        expected = count - trunk * (len(rows) - 1) if shared else count
        assert int(placement.real.sum()) == expected


def test_an_empty_batch_is_refused():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    with pytest.raises(ValueError, match="no rationale is present"):
        student.forward(batch.restrict(torch.zeros(2, 3, dtype=torch.bool)))
    with pytest.raises(ValueError, match="unknown needs"):
        student.forward(batch, needs={"token_nil"})
    assert math.isfinite(float(student.forward(batch).nll.sum().detach()))


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


def test_states_are_those_of_the_row_alone():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    ids = torch.tensor([batch.prompt_ids[0] + batch.rationale_ids[0][2]])
    own = student.causal(ids, output_hidden_states=True).hidden_states[1][0]
    start = len(batch.prompt_ids[0])
    mean = student.forward(batch, needs={"states:mean:1"}).states
    last = student.forward(batch, needs={"states:last:1"}).states
    assert torch.allclose(mean[0, 2], own[start:].mean(0), atol=1e-5)
    assert torch.allclose(last[0, 2], own[-1], atol=1e-5)
    assert not mean.requires_grad
