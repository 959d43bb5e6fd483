"""COMPACT as mended: what each setting does, and the degenerate cases of its weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.api import Axes, Compatibility, fusion
from compact_bench.methods.registry import load
from tests.models import make_batch, make_student

METHODS = load().methods
COMPACT = METHODS["compact"]
AVERAGE = METHODS["average"]
SCORES = ("adaptability", "consensus", "difficulty")


def make(**settings):
    return COMPACT(COMPACT.Config(**settings))


def warm(method, student, batch, steps: int = 5):
    """The step after some others: before 20 rationales are seen a score says nothing."""
    for _ in range(steps):
        step = method.loss(student, batch)
    return step


@pytest.fixture(scope="module", params=["padded", "shared"])
def student(request):
    return make_student("llama", request.param)


@pytest.fixture
def batch(student):
    return make_batch(student.tokenizer)


def test_no_scores_are_the_average_bit_for_bit(student, batch):
    step, average = make(scores=[]).loss(student, batch), AVERAGE().loss(student, batch)
    assert torch.equal(step.weights, average.weights)
    assert torch.equal(step.loss, average.loss)
    assert step.scores == {}


@pytest.mark.parametrize("left_out", SCORES)
def test_a_score_left_out_is_a_beta_of_0(student, batch, left_out):
    kept = [name for name in SCORES if name != left_out]
    without = warm(make(scores=kept), student, batch)
    zero = warm(make(**{f"beta_{left_out}": 0.0}), student, batch)
    assert torch.equal(without.weights, zero.weights)
    assert set(without.scores) == set(zero.scores) == set(kept)


def test_before_twenty_values_weights_are_equal_and_after_them_not(student, batch):
    method = make()
    first = method.loss(student, batch).weights  # five rationales seen
    assert torch.allclose(first, AVERAGE().loss(student, batch).weights)
    later = warm(method, student, batch).weights
    assert not torch.allclose(later, first, atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"consensus": "pagerank"},
        {"consensus": "eigenvector"},
        {"consensus": "attention"},
        {"adaptability": "positive_gains"},
        {"adaptability": "logit_rises"},
        {"cut": False},
        {"difficulty": "easier"},
        {"normalise": "within_question"},
        {"placebo": ["consensus"]},
        {"consistency": "answer"},
        {"consistency": "sequence"},
    ],
    ids=str,
)
def test_every_level_gives_the_same_numbers_in_both_layouts(settings):
    steps = []
    for layout in ("padded", "shared"):
        other = make_student("qwen2", layout)
        steps.append(warm(make(**settings), other, make_batch(other.tokenizer)))
    padded, shared = steps
    assert torch.allclose(padded.weights, shared.weights, atol=1e-4)
    assert float(padded.loss.detach()) == pytest.approx(float(shared.loss.detach()), abs=1e-4)
    for name, score in padded.scores.items():
        assert torch.allclose(score, shared.scores[name], atol=1e-4, equal_nan=True), name


def test_the_attention_level_is_the_released_score(batch, student):
    released = METHODS["compact_authors"]
    step = released(released.Config(consistency=0.0)).loss(student, batch.single(0))
    mended = make(scores=["consensus"], consensus="attention").loss(student, batch.single(0))
    assert torch.allclose(mended.scores["consensus"], step.scores["consensus"], atol=1e-5)


def test_absent_rationales_have_no_weight_and_change_nothing(student, batch):
    rows = torch.tensor([[True, False, True], [True, True, False]])
    less = warm(make(), student, batch.restrict(rows))
    assert torch.equal(less.weights > 0, rows & batch.present)
    assert torch.allclose(less.weights.sum(-1), torch.ones(2))


def test_consistency_of_equal_rows_is_nothing_and_else_more(student, batch):
    plain = make().loss(student, batch).loss
    for span in ("answer", "sequence"):
        term = make(consistency=span).loss(student, batch).loss - plain
        assert float(term.detach()) > 0


def test_the_statistics_survive_a_checkpoint(student, batch):
    method = make()
    warm(method, student, batch)
    other = make()
    other.load_state_dict(method.state_dict())
    assert torch.equal(method.loss(student, batch).weights, other.loss(student, batch).weights)


def test_a_loss_that_is_no_number_is_left_to_the_trainer(batch):
    student = make_student("llama", "padded")
    with torch.no_grad():
        next(iter(student.trainable().values())).fill_(float("nan"))
    step = make().loss(student, batch)
    assert step.loss.isnan()
    assert step.scores == {}


def test_gains_of_a_batch_of_one_question_can_t_be_compared(student, batch):
    step = make(adaptability="positive_gains", scores=["adaptability"]).loss(
        student, batch.single(0)
    )
    assert step.scores["adaptability"].isnan().all()


# --- the fusion, on scores of any kind -----------------------------------------------------------

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
    from compact_bench.methods.scores import consensus
    from tests.methods.scores.graphs import random_states

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


def test_the_centre_is_the_mean_of_all_states_and_the_window_the_last_losses(student, batch):
    method = make(window=8)
    passed = [student.forward(batch, needs=method.compatibility.needs(student)) for _ in range(3)]
    for out in passed:
        method.compatibility.observe(batch, out)
    states = torch.cat([out.states[batch.present] for out in passed]).double()
    assert torch.allclose(method.compatibility.centre, states.mean(0), atol=1e-6)
    losses = torch.cat([out.nll.detach()[batch.present] for out in passed])
    assert torch.equal(method.compatibility.losses, losses[-8:])


def test_settings_that_can_t_work_are_a_reason_to_skip():
    def run(batch_size):
        return SimpleNamespace(training=SimpleNamespace(batch_size=batch_size))

    for name in ("compact", "compact_frozen"):
        method = METHODS[name](METHODS[name].Config(adaptability="positive_gains"))
        assert "batch_size of 2" in method.skip(run(1)) and method.skip(run(2)) is None
    scores = METHODS["compact_scores"]
    assert scores().skip(run(4)) is None
    for bad in ({"scores": ["adaptability"]}, {"consensus": "attention"}):
        assert "consensus" in scores(scores.Config(**bad)).skip(run(4))


def test_dropout_reaches_the_adapters_of_every_row_that_has_it():
    for name in ("compact", "compact_frozen"):
        assert METHODS[name](METHODS[name].Config(dropout=0.1)).lora_dropout == 0.1


def test_only_adaptability_sees_the_gold_answer():
    assert make().uses_gold and make(scores=["adaptability"]).uses_gold
    assert not make(scores=["consensus", "difficulty"]).uses_gold
    assert not make(beta_adaptability=0.0).uses_gold


def test_settings_out_of_range_are_refused():
    for bad in ({"temperature": 0}, {"floor": 1}, {"mix": 2}, {"scores": ["confidence"]}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            COMPACT.Config(**bad)


def test_the_effective_number_of_teachers_is_logged(student, batch):
    step = warm(make(), student, batch)
    expected = float(fusion.effective_number(step.weights).mean())
    assert step.logs["effective_teachers"] == pytest.approx(expected)
