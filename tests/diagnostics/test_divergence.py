"""Divergence and states against forwards of one row without padding, and scipy's entropies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from compact_bench.diagnostics.divergence import Divergence, answers, token_nll
from compact_bench.diagnostics.relearning import old_rows, relearn
from compact_bench.diagnostics.states import WIDEST, kept_layers, last_states, projection
from compact_bench.diagnostics.weights import holding
from compact_bench.student.load import load_student
from compact_bench.suite.sections import StudentSpec
from tests.models import save_tiny

PROMPTS = ["Question: 1 and 2?\nAnswer:", "Question: how many apples?\nAnswer:", "Q", "Why? A:"]


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def student(request, tmp_path_factory):
    folder = save_tiny(request.param, tmp_path_factory.mktemp(request.param))
    found = load_student(StudentSpec(id=str(folder)))
    found.model.eval()
    return found


@pytest.fixture
def prompts(student):
    return [student.encoder.ids(text) for text in PROMPTS]


@pytest.fixture
def other(student):
    draw = torch.Generator().manual_seed(1)
    return {
        name: tensor + 0.05 * torch.randn(tensor.shape, generator=draw)
        for name, tensor in student.state_dict().items()
    }


@torch.no_grad()
def chances(student, prompt, target):
    """(A,V): the distributions at the target tokens, of one row alone."""
    logits = student.causal(torch.tensor([[*prompt, *target]])).logits[0].double()
    return logits.softmax(-1)[len(prompt) - 1 : -1].numpy()


def test_the_divergence_is_scipys_relative_entropy(student, prompts, other):
    divergence = Divergence(student, prompts, longest=6)
    assert [list(row[0]) for row in divergence.rows] == prompts
    assert all(1 <= len(target) <= 7 for _, target in divergence.rows)
    before = [chances(student, *row) for row in divergence.rows]
    with holding(student, other):
        found = divergence.of(student)
        after = [chances(student, *row) for row in divergence.rows]
    expected = [rel_entr(p, q).sum(-1).mean() for p, q in zip(before, after, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert all(value > 0 for value in found)


def test_a_student_does_not_differ_from_itself(student, prompts):
    divergence = Divergence(student, prompts, longest=6)
    np.testing.assert_allclose(divergence.of(student), 0, atol=1e-6)


def test_texts_are_what_the_student_says_first(student, prompts):
    for prompt, target in answers(student, prompts, longest=5):
        best = chances(student, prompt, target).argmax(-1)
        assert best.tolist() == list(target)


def test_token_nll_is_the_models_own_loss(student, prompts):
    rows = [(prompt, student.encoder.ids(" seven.")) for prompt in prompts]
    for found, (prompt, target) in zip(token_nll(student, rows), rows, strict=True):
        ids = torch.tensor([[*prompt, *target]])
        labels = ids.clone()
        labels[:, : len(prompt)] = -100
        with torch.no_grad():
            loss = student.causal(input_ids=ids, labels=labels).loss
        assert np.mean(found) == pytest.approx(float(loss), rel=1e-4)


def test_states_are_those_of_each_prompt_alone(student, prompts):
    found = last_states(student, prompts)
    assert sorted(found) == [0, 1, 2]
    for n, prompt in enumerate(prompts):
        with torch.no_grad():
            hidden = student.decoder(torch.tensor([prompt]), output_hidden_states=True)
        for layer, states in found.items():
            assert states.shape == (len(prompts), student.causal.config.hidden_size)
            expected = hidden.hidden_states[layer][0, -1].float()
            torch.testing.assert_close(states[n], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 4, 7, 8, 12, 30, 80])
def test_kept_layers_go_from_first_to_last_at_even_distances(layers):
    kept = kept_layers(layers)
    assert kept[0] == 0 and kept[-1] == layers and len(set(kept)) == len(kept) <= 8
    distances = np.diff(kept)
    assert distances.max() - distances.min() <= 1


def test_a_wide_state_keeps_its_inner_products():
    assert projection(WIDEST) is None
    matrix = projection(576)
    draw = torch.Generator().manual_seed(5)
    x, y = torch.randn(300, 576, generator=draw), torch.randn(300, 576, generator=draw)
    y = 0.5 * x + y
    exact = (x * y).sum(-1)
    error = ((x @ matrix) * (y @ matrix)).sum(-1) - exact
    size = (x.norm(dim=-1) * y.norm(dim=-1) / WIDEST**0.5).mean()
    assert abs(float(error.mean())) < 0.35 * float(size)  # 300 pairs: unbiased
    assert float(error.std()) < 2 * float(size)
    assert torch.equal(matrix, projection(576))


def test_relearning_lowers_the_loss_of_what_is_relearned(student, prompts):
    rows = [(prompt, student.encoder.ids(" seven.")) for prompt in prompts]
    own = student.state_dict()
    with holding(student, own):
        before = np.concatenate(token_nll(student, rows)).mean()
        relearn(student, rows, rate=1e-2)
        after = np.concatenate(token_nll(student, rows)).mean()
    assert after < before
    assert all(torch.equal(own[name], p) for name, p in student.state_dict().items())
    assert all(p.grad is None for p in student.trainable().values())


def test_old_examples_come_from_questions_that_are_not_asked(student):
    import pandas as pd

    from compact_bench.data.tasks import TaskData

    spare = pd.DataFrame(
        {
            "question_id": ["a", "b", "c"],
            "question": ["Where? Answer choices: (A) here (B) there"] * 3,
            "answer": ["B", "A", "B"],
            "answer_kind": "choice",
            "choices": [["here", "there"]] * 3,
            "gold": [1, 0, 1],
        }
    )
    task = TaskData("old", "choice", "forgetting", spare.head(0), 0.5, spare)
    silent = TaskData("none", "generate", "forgetting", spare.head(0), 0.0)
    rows = old_rows(student.encoder, [task, silent], None, 2)
    texts = [student.tokenizer.decode([*prompt, *target]) for prompt, target in rows]
    assert texts == ["Question: Where?\nAnswer: there", "Question: Where?\nAnswer: here"]
    assert old_rows(student.encoder, [silent], None, 2) == []
