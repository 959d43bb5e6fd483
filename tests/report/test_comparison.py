"""`compare`, `agree` and `reproduce`: what they say, against numbers made apart from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests

from compact_bench.__main__ import commands
from compact_bench.analysis import statistics
from compact_bench.errors import UserError
from compact_bench.records import cells
from compact_bench.records.published import publish_records
from compact_bench.report import comparison
from tests import synthetic
from tests.from_files import crossed_test
from tests.synthetic import Made

LABELS = (
    *("base", "answer_sft", "single_teacher[terse]", "single_teacher[equations]"),
    *("random_teacher", "average", "compact"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(labels=LABELS, seeds=(0, 1, 2, 3, 4), items=120, steps=2)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(labels=(*LABELS[:-1], "human_sft"), items=50, steps=2, random=3)
    return synthetic.make(tmp_path_factory.mktemp("other"), made)


def run(*arguments: object) -> str:
    done = CliRunner().invoke(commands, [str(one) for one in arguments], standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.output


def values(root: Path, label: str, task: str, column: str = "right") -> np.ndarray:
    rows = {}
    for cell in cells.read_cells(root):
        if cell.spec["label"] == label:
            lines = [x for x in cell.samples() if x["task"] == task]
            ordered = sorted(lines, key=lambda x: x["question_id"])
            rows[cell.spec["seed"]] = [float(x[column]) for x in ordered]
    return np.array([rows[seed] for seed in sorted(rows)])


def test_compare_corrects_for_its_own_table(root: Path) -> None:
    found = json.loads(run("compare", root, "answer_sft", "average", "--json"))
    asked = [("in_domain", "right"), ("in_domain", "marginal_nll"),
             *((task, "right") for task in synthetic.TASKS[1:])]  # fmt: skip
    tests = [
        crossed_test(
            {label: values(root, label, *one) for label in LABELS}, "answer_sft", "average"
        )
        for one in asked
    ]
    adjusted = multipletests([one.p for one in tests], method="holm")[1]
    assert found["comparisons"] == len(asked)
    for line, one, holm in zip(found["measures"], tests, adjusted, strict=True):
        assert (line["mean"], line["p"]) == pytest.approx((one.mean, one.p))
        assert line["p_holm"] == pytest.approx(holm)
        assert line["claim"] == bool(holm < 0.05)
        assert (line.get("mcnemar_p") is None) == (line["metric"] == "marginal_nll")
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("first", "says"), [("answer_sft", "below average"),
                                             ("compact", "above average")])  # fmt: skip
def test_the_paragraph_says_who_how_much_and_whether(root: Path, first: str, says: str) -> None:
    paragraph = run("compare", root, first, "average").split("\n\n")[0]
    got = statistics.crossed(
        values(root, first, "in_domain") - values(root, "average", "in_domain")
    )
    assert says in paragraph and f"{abs(100 * got.mean):.1f} points" in paragraph
    assert "5 seeds x 120 items" in paragraph
    line = comparison.compare(root, first, "average").lines[0]
    assert ("This is a claim" in paragraph) == (line.holm < 0.05)
    assert ("This is no claim" in paragraph) == (line.holm >= 0.05)


def test_the_order_of_the_rows_turns_the_sign(root: Path) -> None:
    one, two = (comparison.compare(root, *names).lines for names in
                (("compact", "average"), ("average", "compact")))  # fmt: skip
    for line, turned in zip(one, two, strict=True):
        assert line.found.mean == pytest.approx(-turned.found.mean)
        assert line.found.p == pytest.approx(turned.found.p)


def test_one_seed_supports_no_claim(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path, Made(labels=("average", "compact"), seeds=(1,), steps=2))
    text = run("compare", root, "compact", "average")
    assert "One seed supports no claim" in text and "1 seed x 60 items" in text
    assert "This is a claim" not in text and "95% interval" not in text.split("\n\n")[0]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("avrage", "compact"), "did you mean 'average'"),
        (("single_teacher", "compact"), "'single_teacher' is 2 rows"),
        (("compact", "compact"), "are the same row"),
    ],
)
def test_unknown_and_unclear_names_are_one_line(
    root: Path, names: tuple[str, str], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        comparison.compare(root, *names)
    assert "\n" not in str(caught.value)


def test_no_results_and_nothing_in_common_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the suite first"):
        comparison.compare(tmp_path, "a", "b")
    states = {("compact", 0): ("failed", "why"), ("compact", 1): ("failed", "why")}
    made = Made(labels=("average", "compact"), seeds=(0, 1), states=states, steps=2)
    root = synthetic.make(tmp_path, made)
    with pytest.raises(UserError, match="no finished seed in common"):
        comparison.compare(root, "compact", "average")
    with pytest.raises(UserError, match="run the suite first"):
        comparison.agree(root, tmp_path / "nowhere")
    lonely = synthetic.make(tmp_path / "b", Made(labels=("base", "human_sft"), steps=2))
    with pytest.raises(UserError, match="no trained row in common"):
        comparison.agree(root, lonely)


def test_tau_is_of_the_trained_rows_that_both_have(root: Path, other: Path) -> None:
    found = json.loads(run("agree", root, other, "--json"))
    assert found["rows"] == list(LABELS[1:-1])
    assert found["untrained"] == ["base"]
    assert (found["only_first"], found["only_second"]) == (["compact"], ["human_sft"])
    for title, column in (("first reasoning headline", "right"), ("answer NLL", "marginal_nll")):
        sides = [[values(side, label, "in_domain", column).mean() for label in LABELS[1:-1]]
                 for side in (root, other)]  # fmt: skip
        got, expected = found["taus"][title], reference.kendalltau(*sides)
        assert (got["value"], got["p"]) == pytest.approx((expected.statistic, expected.pvalue))
        assert got["rows"] == 5
    text = run("agree", root, other)
    assert "1 not trained (base)" in text and "1 only in the first (compact)" in text


def test_results_agree_with_themselves_and_have_no_interval_then(root: Path) -> None:
    found = comparison.agree(root, root).taus["answer NLL"]
    assert found.value == pytest.approx(1.0)
    assert np.isnan(found.low) and "all pairs agree" in found.why
    assert "undefined" in run("agree", root, root)


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ([1.0], [2.0], "fewer than two"),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "same value"),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0], "below 5 rows"),
    ],
)
def test_what_is_undefined_says_why(first: list[float], second: list[float], why: str) -> None:
    found = comparison.tau(first, second)
    assert np.isnan(found.low) and why in found.why


def test_a_tau_of_zero_has_its_interval() -> None:
    found = comparison.tau([1, 2, 3, 4, 5], [3, 1, 5, 2, 4.0])
    zero = comparison.tau([1, 2, 3, 4, 5.0], [2, 5, 1, 4, 3.0])
    assert found.value == pytest.approx(reference.kendalltau(range(5), [3, 1, 5, 2, 4]).statistic)
    assert zero.value == 0.0
    assert zero.high == pytest.approx(np.tanh(1.959964 * np.sqrt(0.437)))
    assert zero.low == -zero.high


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_the_interval_holds_the_true_tau_about_as_often_as_it_says(correlation: float) -> None:
    """Of two normal variables tau is 2/pi arcsin(correlation)."""
    truth = 2 / np.pi * np.arcsin(correlation)
    draw, held = np.random.default_rng(0), []
    for _ in range(600):
        x, noise = draw.normal(size=(2, 14))
        found = comparison.tau(x, correlation * x + np.sqrt(1 - correlation**2) * noise)
        held.append(found.low <= truth <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_old_skill_kept_is_undefined_without_the_untrained_student(root: Path) -> None:
    results = comparison.compare(root, "compact", "average").results
    rows = [row for row in results.rows if row.trained]
    found = comparison.quantities(replace(results, before={}), rows)
    assert np.isnan(found["old skill kept"]).all()


def small(**more: object) -> Made:
    return Made(**{"labels": ("base", "average", "compact"), "items": 30, "steps": 3} | more)  # type: ignore[arg-type]


def test_a_run_reproduces_itself(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path / "new", small())
    publish_records(root, tmp_path / "published")
    rows = comparison.reproduce(root, tmp_path / "published")
    assert len(rows) == 3 * 5
    assert {row["verdict"] for row in rows} == {"same"}
    assert {row["asked"] for row in rows} == {""}
    assert all(row["same"] is True for row in rows)
    # Of one seed, too, there is an interval: over its items.
    assert all("±" in row["difference"] for row in rows if row["metric"] == "accuracy")


def test_other_noise_is_the_same_and_another_skill_is_not(tmp_path: Path) -> None:
    old = synthetic.make(tmp_path / "old", small(items=120))
    noisy = synthetic.make(tmp_path / "noisy", small(items=120, random=1))
    worse = synthetic.make(tmp_path / "worse", small(items=120, shift=-0.35))
    again = [one for one in comparison.reproduce(noisy, old) if one["method"] != "base"]
    assert sum(one["verdict"] == "same" for one in again) >= 0.8 * len(again)
    other = [one for one in comparison.reproduce(worse, old) if one["metric"] == "accuracy"]
    assert sum(one["verdict"] == "different" for one in other) >= 0.8 * len(other)


def test_missing_rows_and_other_settings_are_named(tmp_path: Path) -> None:
    old = synthetic.make(tmp_path / "old", small())
    new = synthetic.make(tmp_path / "new", small(labels=("base", "average")))
    for cell in cells.read_cells(new):
        cells.CellWriter(cell.folder).spec({**cell.spec, "threads": 2, "data_hash": "other"})
    rows = comparison.reproduce(new, old)
    assert {row["verdict"] for row in rows if row["method"] == "compact"} == {"missing"}
    assert not any(row["same"] for row in rows if row["method"] == "compact")
    assert {row["asked"] for row in rows if row["method"] == "average"} == {
        "other data_hash, threads"
    }


def test_without_items_there_is_no_interval(tmp_path: Path) -> None:
    old = synthetic.make(tmp_path / "old", small(seeds=(0,)))
    new = synthetic.make(tmp_path / "new", small(seeds=(0,), random=1))
    for path in new.glob("runs/*/samples.jsonl"):
        path.unlink()
    verdicts = {one["verdict"] for one in comparison.reproduce(new, old)}
    assert "no interval" in verdicts
    assert verdicts <= {"no interval", "same"}


def test_reproduce_needs_both(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path / "new", small())
    with pytest.raises(UserError, match="run the suite first"):
        comparison.reproduce(root, tmp_path / "published")


def test_what_another_processor_adds_is_the_same(tmp_path: Path) -> None:
    """Every answer's NLL higher by 7e-6: a clear difference, and none to a reader."""
    old = synthetic.make(tmp_path / "old", small())
    verdicts = {}
    for shift in (7e-6, 7e-5):
        new = synthetic.make(tmp_path / str(shift), small())
        for cell in cells.read_cells(new):
            table, samples = cell.table("eval").to_pandas(), cell.samples()
            table.loc[table["metric"].eq("marginal_nll"), "value"] += shift
            changed = [
                {k: v + shift if k == "marginal_nll" else v for k, v in sample.items()}
                for sample in samples
            ]
            writer = cells.CellWriter(cell.folder)
            writer.eval(table.to_dict("records"))
            writer.samples(changed)
        rows = [one for one in comparison.reproduce(new, old) if "NLL" in one["metric"]]
        verdicts[shift] = {(one["verdict"], one["same"]) for one in rows}
    assert verdicts == {7e-6: {("same to 1e-5", True)}, 7e-5: {("different", False)}}
