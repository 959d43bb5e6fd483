"""From scores of any kind to weights, and the running statistics that scale them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.analysis import detection
from compact_bench.api import Axes, Compatibility, consensus
from compact_bench.data.corrupt import corrupt
from compact_bench.mini.world import Teaching, generate
from compact_bench.student.encode import encode_bank
from compact_bench.student.load import load_student
from compact_bench.suite.sections import StudentSpec, TrainingSpec
from compact_bench.training.trainer import Trainer
from compact_bench_baselines.average import Average
from tests.methods.scores.graphs import random_states
from tests.models import make_batch, make_student, row_alone

SCORES = ("adaptability", "consensus", "difficulty")

VALUES = st.one_of(st.floats(-3, 3), st.just(float("nan")))


def ready(seen: float = 1.0) -> Compatibility:
    """One that has seen enough, with a spread of `seen` for every score."""
    found = Compatibility(Axes())
    found.spread = dict.fromkeys(SCORES, (seen**2, 50, 100))
    return found


@st.composite
def scored(draw, smallest: int = 1, largest: int = 6):
    size = draw(st.integers(smallest, largest))
    lists = {name: draw(st.lists(VALUES, min_size=size, max_size=size)) for name in SCORES}
    return {name: torch.tensor([values]) for name, values in lists.items()}


@given(scored())
def test_weights_sum_to_one_and_respect_the_floor(scores):
    present = torch.ones_like(scores["consensus"], dtype=torch.bool)
    weights = ready().weights(scores, present)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
    assert float(weights.min()) >= 0.1 / present.shape[1] - 1e-6


@given(scored(2), st.randoms(use_true_random=False))
def test_a_permutation_of_rationales_permutes_the_weights(scores, random):
    size = scores["consensus"].shape[1]
    present = torch.ones(1, size, dtype=torch.bool)
    order = random.sample(range(size), size)
    weights = ready().weights(scores, present)
    moved = ready().weights({name: score[:, order] for name, score in scores.items()}, present)
    assert torch.allclose(moved, weights[:, order], atol=1e-6)


@given(scored(), st.integers(1, 3))
def test_absent_rationales_change_nothing(scores, absent):
    size = scores["consensus"].shape[1]
    wider = {n: torch.cat([s, torch.full((1, absent), 2.5)], -1) for n, s in scores.items()}
    present = (torch.arange(size + absent) < size)[None]
    weights = ready().weights(scores, torch.ones(1, size, dtype=torch.bool))
    found = ready().weights(wider, present)
    assert torch.allclose(found[:, :size], weights, atol=1e-6)
    assert (found[:, size:] == 0).all()


@given(scored(1, 1))
def test_one_rationale_has_all_the_weight(scores):
    assert ready().weights(scores, torch.ones(1, 1, dtype=torch.bool)).tolist() == [[1.0]]


@given(st.integers(2, 6), st.floats(-3, 3))
def test_ties_are_equal_weights(size, value):
    scores = {name: torch.full((1, size), value) for name in SCORES}
    weights = ready().weights(scores, torch.ones(1, size, dtype=torch.bool))
    assert weights[0].tolist() == pytest.approx([1 / size] * size, abs=1e-6)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_two_rationales_make_consensus_uninformative(seed):
    states, present = random_states(2, seed), torch.ones(1, 2, dtype=torch.bool)
    answers = torch.tensor([[0, seed % 2]])
    graph = consensus.agreement_graph(states, answers, present, torch.zeros(8))
    for backend in ("strength", "pagerank", "eigenvector"):
        score = {"consensus": consensus.centrality(graph, present, backend)}
        found = Compatibility(Axes(scores=["consensus"]))
        found.spread = {"consensus": (1e-6, 50, 100)}
        assert found.weights(score, present)[0].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize("bad", [float("inf"), -float("inf")])
def test_infinite_scores_are_refused(bad):
    scores = {name: torch.tensor([[0.0, bad]]) for name in SCORES}
    with pytest.raises(ValueError, match="infinite"):
        ready().weights(scores, torch.ones(1, 2, dtype=torch.bool))


def test_the_running_spread_is_the_mean_variance_within_questions():
    found = Compatibility(Axes(scores=["consensus"]))
    draw = torch.Generator().manual_seed(0)
    every = []
    for _ in range(7):
        score = torch.rand(4, 3, generator=draw) + 10 * torch.rand(4, 1, generator=draw)
        every.append(score)
        found.observe_spread({"consensus": score}, torch.ones(4, 3, dtype=torch.bool))
    mean, questions, values = found.spread["consensus"]
    expected = torch.cat(every).double().var(-1).mean()
    assert mean == pytest.approx(float(expected), rel=1e-5)
    assert (questions, values) == (28, 84)


def test_the_centre_is_the_mean_of_all_states_and_the_window_the_last_losses():
    student = make_student("llama", "shared")
    batch, found = make_batch(student.tokenizer), Compatibility(Axes(window=8))
    passed = [student.forward(batch, needs=found.needs(student)) for _ in range(3)]
    for out in passed:
        found.observe(batch, out)
    states = torch.cat([out.states[batch.present] for out in passed]).double()
    assert torch.allclose(found.centre, states.mean(0), atol=1e-6)
    losses = torch.cat([out.nll.detach()[batch.present] for out in passed])
    assert torch.equal(found.losses, losses[-8:])


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_mutual_information_is_that_of_separate_forwards(layout):
    """Each rationale after its own question, and after the one before it in the batch."""
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    found = Compatibility(Axes(scores=["adaptability"], discount=0.3))
    with torch.no_grad():
        score = found.scores(student, batch, student.forward(batch))["adaptability"]
    for b, r in batch.present.nonzero().tolist():
        own, other = (
            row_alone(student, batch.prompt_ids[at], batch.rationale_ids[b][r]) for at in (b, 1 - b)
        )
        assert float(score[b, r]) == pytest.approx(0.3 * other - own, abs=1e-4)
    assert score[~batch.present].isnan().all()


def test_a_question_alone_is_compared_with_the_one_before_it():
    student = make_student("llama", "shared")
    both = make_batch(student.tokenizer)
    alone = [both.single(b) for b in (0, 1)]
    axes = Axes(scores=["adaptability"])
    together = Compatibility(axes).scores(student, both, student.forward(both))["adaptability"]
    found = Compatibility(axes)
    first = found.scores(student, alone[0], student.forward(alone[0]))["adaptability"]
    assert first.isnan().all()  # there was none before it
    resumed = Compatibility(axes)
    resumed.load_state_dict(found.state_dict())
    second = resumed.scores(student, alone[1], student.forward(alone[1]))["adaptability"]
    assert torch.allclose(second[0], together[1], atol=1e-4, equal_nan=True)


def auroc(fault: str, epochs: int, **axes) -> detection.Auroc:
    """How well adaptability tells the fault from sound rationales of the same question."""
    world = generate("gsm8k", train=48, dev=1, test=1, teaching=Teaching(faults=0.0))
    bank = corrupt(world.bank.only_teachers(world.bank.teachers), {fault: 0.25}, 0)
    student = load_student(StudentSpec(device="cpu"))
    examples, _ = encode_bank(bank, student.encoder, 1000)
    trainer = Trainer(
        student,
        Average(),
        examples,
        TrainingSpec(learning_rate=5e-4, epochs=max(1, epochs), batch_size=4),
        seed=0,
        teachers=bank.teachers,
    )
    if epochs:
        trainer.run(trainer.distiller)
    surveyed = Compatibility(Axes(scores=["adaptability"], **axes)).survey(
        student, trainer.batches()
    )
    corrupted = bank.rationales.set_index(["question_id", "teacher", "sample"])["corruption"] != ""
    score = torch.cat([scores["adaptability"] for _, _, scores in surveyed]).numpy()
    bad = np.concatenate(
        [batch.from_rationale(corrupted.astype(float)).numpy() > 0 for batch, _, _ in surveyed]
    )
    won, known = detection.comparisons(score), ~np.isnan(score)
    questions = np.arange(len(score))
    counted = detection.count(won, known, ~bad, bad)
    return detection.auroc(detection.tally(questions, questions, *counted))


@pytest.mark.parametrize("epochs", [0, 1])
@pytest.mark.parametrize("fault", ["wrong_step", "filler"])
def test_adaptability_tells_faults_before_and_while_the_student_learns(fault, epochs):
    found = auroc(fault, epochs)
    assert found.questions > 40 and found.value > 0.65 and found.low > 0.55


def test_the_gain_of_the_gold_answer_prefers_filler():
    """Why it is no longer the default: a student that copies the last number that it has read is
    misled by every step but the last."""
    assert auroc("filler", 1, adaptability="net_gain").high < 0.5
