"""COMPACT as mended: what each setting does, and the degenerate cases of its weights."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from compact_bench.api import fusion
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
        {"adaptability": "net_gain"},
        {"adaptability": "positive_gains"},
        {"adaptability": "logit_rises"},
        {"adaptability": "net_gain", "cut": False},
        {"discount": 1.0},
        {"difficulty": "easier"},
        {"difficulty": "readiness", "half_life": None},
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


def test_only_gains_of_the_gold_answer_see_it():
    assert not make().uses_gold
    assert make(adaptability="net_gain").uses_gold and make(adaptability="logit_rises").uses_gold
    assert not make(scores=["consensus", "difficulty"], adaptability="net_gain").uses_gold
    assert not make(beta_adaptability=0.0, adaptability="net_gain").uses_gold


def test_settings_out_of_range_are_refused():
    for bad in (
        {"temperature": 0},
        {"floor": 1},
        {"mix": 2},
        {"half_life": 0},
        {"discount": 2},
        {"scores": ["confidence"]},
    ):
        with pytest.raises(ValueError, match=next(iter(bad))):
            COMPACT.Config(**bad)


def test_the_effective_number_of_teachers_is_logged(student, batch):
    step = warm(make(), student, batch)
    expected = float(fusion.effective_number(step.weights).mean())
    assert step.logs["effective_teachers"] == pytest.approx(expected)


PAGE = (Path(__file__).parents[2] / "docs" / "compact.md").read_text("utf-8")
LADDER = PAGE.split("## From the release to `compact`, one setting at a time")[1]


def rungs() -> list[dict]:
    """The settings of each rung of the ladder that the page writes out."""
    (text,) = re.findall(r"```yaml\n(.*?)```", LADDER.split("\n## ")[0], re.DOTALL)
    return list(yaml.safe_load(text)["ablation"]["changes"].values())


def test_the_page_s_ladder_changes_one_setting_a_rung():
    table = re.findall(r"^\| (\w+) \| (\S+) \| (\S+) \|$", LADDER, re.MULTILINE)
    released = {name: value for name, _, value in table if name != "setting"}
    assert rungs()[0] == {name: yaml.safe_load(value) for name, value in released.items()}
    default = COMPACT.Config().model_dump()
    assert all(str(default[name]) in (value, f"{value}.0") for name, value, _ in table[1:])
    full = [default | rung for rung in [*rungs(), {}]]
    for lower, upper in pairwise(full):
        assert sum(lower[name] != upper[name] for name in default) == 1


def test_the_lowest_rung_is_the_release_where_nothing_is_padded(student, batch):
    """Rows of one length, so that the release has no padding to score."""
    shortest = min(len(ids) for ids in batch.rationale_ids[0])
    alike = batch.single(0)
    alike.rationale_ids = [[ids[:shortest] for ids in alike.rationale_ids[0]]]
    authors = METHODS["compact_authors"]().loss(student, alike)
    lowest = make(**rungs()[0])
    assert lowest.lora_dropout == METHODS["compact_authors"].lora_dropout
    step = lowest.loss(student, alike)
    assert torch.allclose(step.weights, authors.weights, atol=1e-5)
    assert float(step.loss.detach()) == pytest.approx(float(authors.loss.detach()), abs=1e-5)
