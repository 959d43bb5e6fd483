"""The choice of a teacher: what is kept, what is spent, and going on after an interruption."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from compact_bench.api import Run
from compact_bench.errors import CellError
from compact_bench.methods.registry import load
from tests.baselines.test_adapter_soup import alone
from tests.trainers import run, same, spec, trainer

METHOD = load().methods["best_teacher"]
READ = 1000  # tokens of a dev score


class Dev:
    """Dev scores by hand, in the order in which they are asked for."""

    def __init__(self, *scores: float) -> None:
        self.scores = list(scores)
        self.asked = []

    def of(self, student, decoding, by, questions) -> float:
        self.asked.append((by, questions, student.state_dict()))
        with student.cost.selecting():
            student.cost.count(READ, READ, 2.0 * student.parameters_passed * READ)
        return self.scores[len(self.asked) - 1]


def make(budget: str = "matched", **config):
    return METHOD(METHOD.Config(budget=budget, **config))


def fitted(method, *scores, folder=None, stop_at=None, **arguments):
    made = trainer(method, folder=folder, **arguments)
    made.dev = Dev(*scores)
    seen = []

    def stop(event):
        seen.append(event)
        if len(seen) == stop_at:
            raise KeyboardInterrupt

    made.progress = stop
    method.fit(made)
    return made


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize(("scores", "best"), [((-2.0, -1.0), 1), ((0.5, 0.2), 0), ((0.3, 0.3), 0)])
def test_at_its_own_budget_the_best_teachers_row_is_kept(scores, best, lora):
    made = fitted(make("own"), *scores, lora=lora)
    assert same(made.student.state_dict(), alone(best, lora=lora))
    assert made.dev_scores == list(scores)
    for k, (by, questions, scored) in enumerate(made.dev.asked):
        assert (by, questions) == ("marginal_nll", 50)
        assert same(scored, alone(k, lora=lora))
    assert made.position.run == 2 * 8


def test_the_measure_and_the_number_of_questions_are_passed_on():
    made = fitted(make(by="accuracy", questions=7), 0.0, 1.0)
    assert [asked[:2] for asked in made.dev.asked] == [("accuracy", 7)] * 2


@pytest.mark.parametrize("best", [0, 1])
def test_at_the_matched_budget_the_winner_is_trained_from_the_start_for_the_other_half(best):
    made = fitted(make(), *((-1.0, -2.0) if best == 0 else (-2.0, -1.0)))
    other = trainer()
    run(other)
    assert made.position.run == other.position.run == 8
    orders, frames = [], [pd.DataFrame(one.records) for one in (made, other)]
    for frame in frames:
        orders.append(frame.groupby("step")["question_id"].unique().map(tuple).tolist())
    assert orders[0] == orders[1]  # parts that join read the row's questions in its order
    teachers = frames[0].groupby("step")["teacher"].unique().map(tuple).tolist()
    assert teachers == [("a",)] * 2 + [("b",)] * 2 + [("ab"[best],)] * 4
    winner = trainer(make())
    winner.run(winner.distiller, stage="alone", part=(0.5, 1.0), teacher=best)
    assert same(made.student.state_dict(), winner.student.state_dict())


@pytest.mark.parametrize(
    ("budget", "kept"), [("own", range(9, 17)), ("matched", range(5, 9))], ids=["own", "matched"]
)
def test_all_that_does_not_train_the_kept_weights_is_selection(budget, kept):
    """Of own, teacher b's branch is kept; of matched, the winner's stage."""
    made = fitted(make(budget), -2.0, -1.0)
    read = pd.DataFrame(made.records).drop_duplicates(["step", "question_id"])
    prompts = {e.question_id: e.prompt_ids for e in made.examples}
    rows = read["question_id"].map(lambda name: len(prompts[name])) + read["rationale_tokens"]
    cost = made.student.cost
    assert cost.tokens == rows.sum() + 2 * READ
    assert cost.selection_tokens == rows[~read["step"].isin(kept)].sum() + 2 * READ


@pytest.mark.parametrize("budget", ["matched", "own"])
@pytest.mark.parametrize("stop_at", range(1, 9))
def test_an_interrupted_choice_ends_as_an_uninterrupted_one(tmp_path, budget, stop_at):
    scores = (-2.0, -1.0)
    whole = fitted(make(budget), *scores)
    with pytest.raises(KeyboardInterrupt):
        fitted(make(budget), *scores, folder=tmp_path, stop_at=stop_at)
    second = fitted(make(budget), *scores, folder=tmp_path)
    assert same(second.student.state_dict(), whole.student.state_dict())
    assert second.student.cost == whole.student.cost
    assert second.dev_scores == whole.dev_scores


def test_the_winner_pays_for_the_dev_scores_where_flops_are_the_budget():
    probe = trainer()
    run(probe)
    flops = probe.student.cost.flops
    step = flops / 8
    made = fitted(make(), -2.0, -1.0, max_flops=flops)
    scoring = 2 * 2.0 * made.student.parameters_passed * READ
    assert scoring > 2 * step
    # Each of three stages may end within a step of one teacher, which is half a step of both.
    assert flops <= made.student.cost.flops < flops + 3 * step
    with pytest.raises(CellError, match="in FLOPs is left to train stage 'winner'"):
        fitted(make(), -2.0, -1.0, max_flops=2 * scoring * 0.9)


def test_it_skips_where_it_can_not_choose():
    bank = SimpleNamespace(questions=range(10))
    few = Run(bank, ("a", "b", "c"), None, spec(epochs=1, batch_size=2), dev=4)
    assert few.steps == 5
    assert make().skip(few) == "choosing among 3 branches takes 6 optimizer steps, there are 5"
    assert make("own").skip(few) is None
    assert make().skip(replace(few, training=spec(epochs=2, batch_size=2))) is None
    assert make().skip(replace(few, training=spec(epochs=1, batch_size=2, max_flops=1e9))) is None
    assert make("own").skip(replace(few, dev=0)) == "no dev question to choose by"


def test_without_dev_questions_the_trainer_says_so():
    made = trainer(make())
    with pytest.raises(CellError, match="no dev question"):
        made.distiller.fit(made)
