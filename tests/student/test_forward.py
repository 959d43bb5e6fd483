"""Both layouts give the numbers that each row gives alone."""

from __future__ import annotations

import pytest
import torch

from compact_bench.student.forward import choose_layout
from tests.models import (
    KINDS,
    make_batch,
    make_student,
    row_alone,
    tiny_model,
)


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


@pytest.mark.parametrize("frozen", [False, True])
def test_chunked_head_gives_the_same_gradient(frozen, monkeypatch):
    gradients = []
    for size in (2**24, 2048):
        monkeypatch.setattr("compact_bench.student.forward.CHUNK_LOGITS", size)
        student = make_student("llama", "shared")
        student.causal.get_output_embeddings().requires_grad_(not frozen)
        nll = student.forward(make_batch(student.tokenizer)).nll
        (nll * torch.arange(1.0, 1 + nll.numel()).view_as(nll)).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in student.trainable().values()]))
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)


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


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_here_takes_the_shared_prefix(kind):
    model = tiny_model(kind)
    assert choose_layout("auto", model, model, pad_id=0) == ("shared", "")


def test_a_model_that_does_its_attention_in_its_own_way_falls_back(monkeypatch):
    model = tiny_model("llama")
    decoder = model.get_decoder().forward

    def ignores_segments(*args, segments=None, **kwargs):
        return decoder(*args, **kwargs)

    monkeypatch.setattr(model.get_decoder(), "forward", ignores_segments)
    layout, reason = choose_layout("auto", model, model, pad_id=0)
    assert layout == "padded" and "other numbers" in reason
