"""The training loop: budget, schedule, resume, repeatability, divergence."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from compact_bench.api import Distiller, Step
from compact_bench.errors import CellError, Diverged
from compact_bench.training.trainer import Trainer
from compact_bench_baselines.average import Average
from compact_bench_baselines.random_teacher import RandomTeacher
from compact_bench_baselines.replay import Replay
from tests.models import save_tiny
from tests.trainers import (
    Stateful,
    assert_resumes,
    examples,
    run,
    same,
    spec,
    student,
    trainer,
)


def test_the_loss_falls_and_every_step_is_recorded():
    made = trainer(epochs=6)
    run(made)
    frame = pd.DataFrame(made.records)
    assert made.position.step == made.total_steps == 6 * 4
    by_epoch = frame.groupby("epoch")["loss"].mean()
    assert by_epoch.iloc[-1] < 0.7 * by_epoch.iloc[0]
    assert len(frame) == 6 * 7 * 2
    assert set(frame["teacher"]) == {"a", "b"}
    assert (frame["weight"] == 0.5).all()
    assert frame["tokens"].is_monotonic_increasing


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    assert same(run(trainer()), run(trainer()))


@pytest.mark.parametrize("method", [Average, RandomTeacher, Stateful])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(method, tmp_path):
    assert_resumes(lambda folder: trainer(method(), folder=folder), run, tmp_path, stop_at=5)


def test_dropout_resumes_bit_for_bit_too(tmp_path):
    torch.manual_seed(0)
    expected = run(trainer(lora=True, dropout=0.3))
    torch.manual_seed(0)
    first = trainer(lora=True, dropout=0.3, folder=tmp_path)
    first.progress = lambda event: (
        (_ for _ in ()).throw(KeyboardInterrupt) if event["step"] == 6 else None
    )
    with pytest.raises(KeyboardInterrupt):
        run(first)
    torch.manual_seed(99)
    assert same(run(trainer(lora=True, dropout=0.3, folder=tmp_path)), expected)


def test_accumulated_micro_batches_equal_one_batch():
    one = run(trainer(count=8, batch_size=4, clip=1e9))
    two = run(trainer(count=8, batch_size=2, accumulate=2, clip=1e9))
    assert all(torch.allclose(one[n], two[n], atol=2e-4) for n in one)


def test_schedule_follows_the_share_spent():
    made = trainer(warmup=0.25, schedule="linear", epochs=5)
    rates = []
    made.progress = lambda event: rates.append(made.optimizer.param_groups[0]["lr"])
    run(made)
    assert len(rates) == 20
    assert rates[0] > 0
    assert max(rates) == pytest.approx(1e-2)
    assert rates.index(max(rates)) == 5  # a quarter of 20 steps is spent then
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(1e-2 * (1 - (0.95 - 0.25) / 0.75))


def test_a_budget_in_flops_ends_training():
    probe = trainer()
    run(probe)
    budget = probe.student.cost.flops * 0.6
    made = trainer(max_flops=budget)
    run(made)
    a_step = probe.student.cost.flops / probe.position.step
    assert budget <= made.student.cost.flops < budget + 1.5 * a_step
    longer = trainer(max_flops=probe.student.cost.flops * 1.5)
    run(longer)
    assert longer.position.step > probe.position.step


def test_lora_trains_the_adapters_alone():
    made = trainer(lora=True)
    before = {n: p.detach().clone() for n, p in made.student.model.named_parameters()}
    run(made)
    changed = {n for n, p in made.student.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed and all("lora_" in name for name in changed)
    # 4 FLOPs a parameter and token: forward, and backward through frozen weights.
    cost = made.student.cost
    assert cost.flops == 4.0 * made.student.parameters_passed * cost.tokens


def test_a_nan_loss_stops_the_run_with_its_step():
    class Breaks(Distiller):
        name, version, reference = "breaks", 1, "none"

        def loss(self, student, batch):
            out = student.forward(batch)
            factor = float("nan") if batch.step == 2 else 1.0
            return Step(loss=out.nll.mean() * factor)

    made = trainer(Breaks())
    with pytest.raises(Diverged, match="the loss is nan at step 3"):
        run(made)


def test_random_teacher_reads_one_rationale_a_question():
    made = trainer(RandomTeacher(), epochs=8)
    run(made)
    frame = pd.DataFrame(made.records)
    assert len(frame) == 8 * 7
    assert (frame["weight"] == 1.0).all()
    assert 0.2 < (frame["teacher"] == "a").mean() < 0.8
    assert made.student.cost.tokens < 0.7 * _tokens_of_average()


def _tokens_of_average() -> int:
    made = trainer(epochs=8)
    run(made)
    return made.student.cost.tokens


def test_progress_says_step_and_loss():
    events = []
    made = trainer()
    made.progress = events.append
    run(made)
    assert [e["step"] for e in events] == list(range(1, 9))
    assert all(e["steps"] == 8 and e["loss"] > 0 for e in events)
    assert events[-1]["share"] == 1.0


def test_spec_is_all_the_trainer_needs():
    """A plain namespace does, so that methods can train with settings of their own."""
    values = SimpleNamespace(**spec().model_dump())
    made = Trainer(student(), Average(), examples(2), values, seed=0, teachers=("a", "b"))
    assert made.total_steps == 2


def test_recorded_weights_are_replayed(tmp_path):
    """A run with the weights of a weighting method ends with the same student."""

    class FirstTwoThirds(Distiller):
        name, version, reference = "two_thirds", 1, "none"

        def weights(self, out, batch):
            return torch.tensor([[2 / 3, 1 / 3]]).expand(len(batch.questions), 2)

    source = trainer(FirstTwoThirds())
    expected = run(source)
    (tmp_path / "runs" / "abc").mkdir(parents=True)
    pd.DataFrame(source.records).to_parquet(tmp_path / "runs" / "abc" / "steps.parquet")
    folder = tmp_path / "runs" / "new" / "weights"
    made = trainer(Replay(Replay.Config(weights_from="abc")), folder=folder)
    made.distiller.fit(made)
    result = made.student.state_dict()
    assert all(torch.allclose(result[n], expected[n], atol=1e-6) for n in expected)
    for name, message in (("gone", "no run 'gone'"), ("abc", "no weights for step 9")):
        other = trainer(Replay(Replay.Config(weights_from=name)), folder=tmp_path / name / "w")
        other.folder = tmp_path / "runs" / "other" / "weights"
        other.spec = spec(epochs=3)
        with pytest.raises(CellError, match=message):
            other.distiller.fit(other)


class Branches(Distiller):
    """Two branches from the same start, their weights averaged: what branch-and-merge needs."""

    name, version, reference = "branches", 1, "none"

    def fit(self, trainer):
        start = trainer.student.state_dict()
        ends = []
        for stage in ("one", "two"):
            trainer.student.load_state_dict(start)
            trainer.run(self, stage=stage, epochs=2)
            ends.append(trainer.student.state_dict())
        trainer.student.load_state_dict({n: (ends[0][n] + ends[1][n]) / 2 for n in start})


def test_a_method_may_train_in_stages(tmp_path):
    made = trainer(Branches())
    made.distiller.fit(made)
    frame = pd.DataFrame(made.records)
    assert sorted(frame["step"].unique()) == list(range(1, 17))  # two epochs of four steps each
    assert made.student.cost.tokens == frame["tokens"].max()
    with pytest.raises(ValueError, match="stage 'two' was run before"):
        made.run(made.distiller, stage="two")


@pytest.mark.parametrize("stop_at", [2, 6, 10, 14])  # before and after each stage's checkpoint
def test_stages_resume_where_they_were(tmp_path, stop_at):
    def fit(made):
        made.distiller.fit(made)

    assert_resumes(lambda folder: trainer(Branches(), folder=folder), fit, tmp_path, stop_at)


def test_a_short_last_micro_batch_counts_by_its_questions():
    one = run(trainer(count=7, batch_size=7, clip=1e9))
    two = run(trainer(count=7, batch_size=3, accumulate=3, clip=1e9))
    assert all(torch.allclose(one[n], two[n], atol=2e-4) for n in one)


def test_the_methods_own_parameters_are_clipped_and_averaged():
    gradients = []
    for sizes in ({"batch_size": 4}, {"batch_size": 2, "accumulate": 2}):
        made = trainer(Stateful(), count=4, epochs=1, clip=1e9, **sizes)
        made.distiller.seen = made.distiller.seen * 0
        run(made)
        gradients.append(float(made.distiller.scale.grad))
    # The remembered part differs by the number of batches seen: a hundredth of an NLL.
    assert gradients[0] == pytest.approx(gradients[1], rel=0.02)
    made = trainer(Stateful(), count=4, epochs=1, clip=1e-3)
    run(made)
    assert abs(float(made.distiller.scale.grad)) <= 1e-3


def test_a_gradient_that_is_not_finite_stops_the_run():
    class Breaks(Distiller):
        name, version, reference = "breaks", 1, "none"

        def backward(self, student, batch):
            step = self.loss(student, batch)
            step.loss.backward()
            next(iter(student.trainable().values())).grad.fill_(float("inf"))
            return step

    made = trainer(Breaks(), epochs=1, count=2)
    with pytest.raises(Diverged, match="the gradient's norm is"):
        run(made)


def test_rows_that_lack_questions_read_the_others_in_the_same_order():
    whole = trainer(epochs=1)
    run(whole)
    part = Trainer(
        student(),
        Average(),
        [e for e in examples() if e.question_id not in ("q1", "q4")],
        spec(epochs=1),
        seed=3,
        teachers=("a", "b"),
        questions=[e.question_id for e in examples()],
    )
    run(part)
    orders = [list(dict.fromkeys(r["question_id"] for r in made.records)) for made in (whole, part)]
    assert orders[1] == [q for q in orders[0] if q not in ("q1", "q4")]


def test_a_checkpoint_of_other_code_is_not_gone_on_from(tmp_path, monkeypatch):
    run(trainer(folder=tmp_path))
    again = trainer(folder=tmp_path)
    run(again)
    assert len(again.records) == 2 * 7 * 2  # nothing was trained anew: the records were read
    monkeypatch.setattr(
        "compact_bench.training.checkpoint.source_hash", lambda distiller: "other code"
    )
    steps = []
    changed = trainer(folder=tmp_path)
    changed.progress = steps.append
    run(changed)
    assert len(steps) == changed.total_steps


# --- parts of a row's budget ----------------------------------------------------------------------


def in_parts(made: Trainer, *parts, **arguments) -> list[tuple[str, ...]]:
    """The questions of each step of stages with these parts, the rates beside them."""
    seen: list[tuple[str, ...]] = []
    for number, part in enumerate(parts):
        made.run(made.distiller, stage=str(number), part=part, **arguments)
    frame = pd.DataFrame(made.records)
    for _, rows in frame.groupby("step", sort=True):
        seen.append(tuple(dict.fromkeys(rows["question_id"])))
    return seen


@pytest.mark.parametrize("cuts", [(0.5,), (1 / 3, 2 / 3), (0.1, 0.15, 0.9)])
def test_parts_that_join_read_what_one_run_reads_in_its_order(cuts):
    whole = in_parts(trainer(epochs=3), (0.0, 1.0))
    made = trainer(epochs=3)
    parts = in_parts(made, *zip((0.0, *cuts), (*cuts, 1.0), strict=True))
    assert len(whole) == 3 * 4
    assert parts == whole
    assert made.position.run == 12


def test_each_part_has_a_schedule_of_its_own():
    made = trainer(epochs=3, warmup=0.25, schedule="linear")
    in_parts(made, (0.0, 1 / 3), (1 / 3, 1.0))
    rates = pd.DataFrame(made.records).groupby("step")["lr"].first().tolist()
    assert rates.index(max(rates)) == 1  # a quarter of 4 steps
    assert rates[3] < 0.5 * max(rates) < rates[6]  # down at the end, up again in the next
    assert rates[-1] == pytest.approx(1e-2 * (1 - (7 / 8 - 0.25) / 0.75))


def test_a_part_of_a_budget_in_flops_spends_that_part():
    probe = trainer()
    run(probe)
    flops, a_step = probe.student.cost.flops, probe.student.cost.flops / 8
    made = trainer(max_flops=flops)
    spent = []
    for stage, part in (("a", (0.0, 0.25)), ("b", (0.25, 1.0)), ("c", (0.25, 1.0))):
        before = made.student.cost.flops
        made.run(made.distiller, stage=stage, part=part)
        spent.append(made.student.cost.flops - before)
    for value, share in zip(spent, (0.25, 0.75, 0.75), strict=True):
        assert share * flops <= value < share * flops + 1.5 * a_step


def test_a_stage_of_one_teacher_reads_its_rationales_alone():
    made = trainer(epochs=1)
    lacking = made.examples[2]
    made.examples[2] = replace(lacking, rationales=lacking.rationales[:1])
    in_parts(made, (0.0, 1.0), teacher=1)
    frame = pd.DataFrame(made.records)
    assert set(frame["teacher"]) == {"b"}
    assert set(frame["question_id"]) == {f"q{i}" for i in range(7)} - {"q2"}
    assert made.position.step == 3  # six questions, two a step
    assert len(list(made.batches())) == 4  # passes that train nothing still see all
    with pytest.raises(CellError, match="no rationale of teacher 2"):
        made.run(made.distiller, stage="none", teacher=2)


def test_a_part_that_is_none_is_refused():
    made = trainer()
    for part in ((0.5, 0.5), (0.5, 0.2), (-0.1, 0.5), (0.5, 1.1)):
        with pytest.raises(ValueError, match="two shares of the budget"):
            made.run(made.distiller, part=part)


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_parts_resume_where_they_were(tmp_path, stop_at):
    def fit(made):
        in_parts(made, (0.0, 0.4), (0.4, 1.0))

    assert_resumes(lambda folder: trainer(folder=folder), fit, tmp_path, stop_at)


class LeavesOut(Distiller):
    """Reads a question in steps that it is due in."""

    name, version, reference = "leaves_out", 1, "none"

    def rows(self, batch):
        due = torch.tensor([self.due(int(name[1:]), batch.epoch) for name in batch.question_id])
        return batch.present & due[:, None]

    def due(self, question, epoch):
        return (question + epoch) % 2 == 0


def test_a_question_without_rows_is_left_out_and_adds_nothing():
    made = trainer(LeavesOut(), batch_size=4, clip=1e9)
    run(made)
    frame = pd.DataFrame(made.records)
    read = frame[frame["teacher"] != ""]
    assert {
        (int(q[1:]) + e) % 2 for q, e in zip(read["question_id"], read["epoch"], strict=True)
    } == {0}
    left_out = frame[frame["teacher"] == ""]
    assert len(left_out) == 7 and left_out["weight"].isna().all()
    # It counts in the mean over questions, so that micro-batches add up to the batch.
    two = trainer(LeavesOut(), batch_size=1, accumulate=4, clip=1e9)
    assert all(
        torch.allclose(p, made.student.state_dict()[n], atol=2e-4) for n, p in run(two).items()
    )


def test_steps_without_any_row_change_nothing_and_a_run_of_them_ends():
    class Never(LeavesOut):
        def due(self, question, epoch):
            return False

    made = trainer(Never())
    before = made.student.state_dict()
    assert same(run(made), before)
    assert made.position.step == made.total_steps and made.student.cost.tokens == 0
    with pytest.raises(CellError, match="leaves_out: nothing is read in an epoch"):
        run(trainer(Never(), max_flops=1e9))


@pytest.mark.parametrize(
    ("value", "found"), [(0.4, "sum to 0.8"), (float("nan"), "sum to nan"), (-0.5, "sum to -1")]
)
def test_weights_that_are_no_shares_end_the_run_with_method_step_and_question(value, found):
    class Wrong(Distiller):
        name, version, reference = "wrong_weights", 1, "none"

        def weights(self, out, batch):
            return torch.full_like(out.nll, value if batch.step == 1 else 0.5)

    with pytest.raises(
        CellError, match=rf"wrong_weights: step 2: the weights of question q\d {found}"
    ):
        run(trainer(Wrong()))


def test_an_order_of_the_method_s_own_is_read_in_every_epoch():
    class LastFirst(Distiller):
        name, version, reference = "last_first", 1, "none"

        def order(self, examples, epoch):
            places = sorted(range(len(examples)), key=lambda i: examples[i].question_id)
            return places if epoch else places[::-1]

    made = trainer(LastFirst(), batch_size=1)
    run(made)
    read = pd.DataFrame(made.records).drop_duplicates(["step", "question_id"])["question_id"]
    assert read.tolist() == [f"q{i}" for i in (*reversed(range(7)), *range(7))]

    class Forgets(LastFirst):
        def order(self, examples, epoch):
            return [0, 0, 1]

    with pytest.raises(CellError, match="order gave 3 places in epoch 0; expected each of 0 to 6"):
        run(trainer(Forgets()))


def test_rationales_that_are_added_are_read_from_the_next_stage_on():
    made = trainer()
    made.run(made.distiller, stage="first", part=(0.0, 0.5))
    with pytest.raises(ValueError, match="there is a teacher 'b' already"):
        made.add_rationales("b", {})
    made.add_rationales("own", {"q1": ["Twice 1. The answer is 2", "It is 3."], "q9": ["never"]})
    made.run(made.distiller, stage="second", part=(0.5, 1.0))
    frame = pd.DataFrame(made.records)
    own = frame[frame["teacher"] == "own"]
    assert set(own["question_id"]) == {"q1"} and set(own["sample"]) == {0, 1}
    assert own["weight"].tolist() == [0.25, 0.25]
    (batch,) = [b for b in made.batches() if "q1" in b.question_id]
    assert batch.right[batch.question_id.index("q1")].tolist() == [True, True, True, False]
    assert made.teachers == ("a", "b", "own")
    long = trainer()
    long.student.max_tokens = 65
    long.add_rationales("own", {"q1": ["Twice 1.", "It is " * 9]})
    assert [r.sample for r in long.examples[1].rationales if r.teacher == 2] == [0]


def test_dev_questions_are_laid_open_with_their_answers_and_counted():
    made = trainer()
    with pytest.raises(CellError, match="there is no dev question to choose by"):
        next(made.dev_batches())
    items = pd.DataFrame(
        {
            "question_id": [f"d{i}" for i in range(3)],
            "question": [f"{i} and 1?" for i in range(3)],
            "answer": [str(i + 1) for i in range(3)],
            "answer_kind": "number",
        }
    )
    made.dev = SimpleNamespace(task=SimpleNamespace(items=items))
    names = []
    for batch in made.dev_batches(size=2):
        names += batch.question_id
        assert not batch.present.any()
        loss = made.student.forward(batch, target="answer").nll.mean()
        loss.backward()
    assert names == ["d0", "d1", "d2"] and made.dev_questions == 3
    assert any(p.grad.any() for p in made.student.trainable().values())
    cost = made.student.cost
    assert cost.selection_tokens == cost.tokens > 0
    run(made)
    assert cost.selection_tokens < cost.tokens


def test_several_models_are_loaded_by_name(tmp_path):
    made = trainer()
    made.load_teachers({"one": str(save_tiny("llama", tmp_path / "a"))})
    (batch, *_) = made.batches()
    # Both are made with the same weights.
    expected = made.student.forward(batch).nll
    assert torch.allclose(made.student.teacher_forward("one", batch).nll, expected, atol=1e-5)
