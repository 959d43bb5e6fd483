"""The generated data sets: disjoint, the same again, and of words that the student knows."""

from __future__ import annotations

import random
import re
from functools import cache
from itertools import combinations, islice

import pytest
from transformers import AutoTokenizer

from compact_bench.data import splits
from compact_bench.data.corrupt import corrupt
from compact_bench.errors import UserError
from compact_bench.mini import problems
from compact_bench.mini import world as mini
from compact_bench.mini.nano import pretrain
from compact_bench.mini.nano.pretrain import nano_path
from compact_bench.mini.world import ALL_TEACHER_NAMES, TEACHER_NAMES, Teaching
from tests.mini.reading import COMPARISONS, EVERY, SUMS, equations_of, read_story, true_value

generate = cache(mini.generate)  # worlds that are read and not changed

FURTHER = [(problem, task) for problem in SUMS for task in mini.GENERATORS[problem].further]


def anew(make, *arguments, **sizes):
    """What a function makes where nothing is kept of what was generated before."""
    mini._lowest.cache_clear()
    return make(*arguments, **sizes)


@pytest.mark.parametrize(("problem", "task"), FURTHER)
def test_reasoning_out_of_domain_agrees_with_the_text_and_is_asked_of_nobody_else(problem, task):
    table = mini.further(problem, 0)[task]
    assert table.equals(anew(mini.further, problem, 0)[task])
    assert len(table) == mini.POOL == table.question_id.nunique()
    common = set(table.question_id) & set(mini.further(problem, 1)[task].question_id)
    assert len(common) < 0.02 * mini.POOL  # another seed's are others, but for a few by chance
    for row in table.itertuples():
        assert row.answer == str(read_story(row.question)), row.question
    world = generate(problem)
    others = [world.bank.questions, world.dev, world.test, *world.forgetting.values(),
              *(other for name, other in world.further.items() if name != task)]  # fmt: skip
    asked = {splits.normalise(question) for question in table.question}
    for other in others:
        assert not asked & {splits.normalise(question) for question in other.question}
    known = {word.strip() for word in pretrain.words()}
    pieces_of = {piece for q in table.question for piece in re.findall(pretrain.PIECE, q)}
    assert {piece.strip() for piece in pieces_of} - {""} <= known


@pytest.mark.parametrize("problem", ["gsm8k", "svamp"])
def test_a_new_template_shares_no_form_with_what_is_trained_on(problem):
    def forms(questions):
        """Sentences without names, nouns and numbers, but the first: how the story is told."""
        names, nouns = "|".join(problems.NAMES), "|".join(problems.NOUNS)
        bare = (re.sub(rf"\d+|{names}|{nouns}", "_", question) for question in questions)
        return {text.split(".", 1)[1] for text in bare}

    world = generate(problem)
    old = [world.bank.questions, world.dev, world.test, *world.forgetting.values()]
    known = forms(question for table in old for question in table.question if "." in question)
    assert not forms(world.further["mini_new_template"].question) & known


@pytest.mark.parametrize("problem", ["gsm8k", "svamp"])
def test_more_steps_are_one_more_than_the_longest_that_is_trained_on(problem):
    def steps(table):  # an event is a sentence about the person; bags are a step of their own
        return {
            question.count("bags") - 1
            + len(re.findall(rf"{re.search('does ([A-Z][a-z]+)', question)[1]} ", question)) - 1
            for question in table.question
        }  # fmt: skip

    world = generate(problem)
    assert steps(world.further["mini_more_steps"]) == {max(steps(world.bank.questions)) + 1}


@pytest.mark.parametrize("problem", EVERY)
def test_sets_are_disjoint_from_each_other_and_from_the_pretraining(problem):
    world = generate(problem, train=60, dev=40, test=40)
    tables = {"train": world.bank.questions, "dev": world.dev, "test": world.test,
              "one": world.forgetting["mini_one_step"],
              "two": world.forgetting["mini_two_step"]}  # fmt: skip
    normal = {}
    for name, table in tables.items():
        normal[name] = {splits.normalise(question) for question in table.question}
        assert len(normal[name]) == len(table)
    stream = problems.problems(random.Random("nano 0"), "pretraining", (1, 2, 2))
    normal["pretraining"] = {splits.normalise(p.question) for p in islice(stream, 3000)}
    assert sum(map(len, normal.values())) == len(set().union(*normal.values()))


@pytest.mark.parametrize("problem", EVERY)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_question_is_one_of_another_set_with_other_numbers(problem, seed):
    """All questions of the default sizes, enumerated: 400, 500 and 1,000, and the other tasks."""
    world = generate(problem, seed=seed)
    tables = {"train": world.bank.questions, "dev": world.dev, "test": world.test}
    tables |= world.further | world.forgetting
    stories = {
        name: {splits.normalise(re.sub(r"\d+", "#", question)) for question in table.question}
        for name, table in tables.items()
    }
    for first, second in combinations(stories, 2):
        old = {first, second} <= world.forgetting.keys()
        assert old or not stories[first] & stories[second], (first, second)


def test_same_arguments_same_world_and_smaller_is_lowest_hashes():
    whole, again = mini.generate("gsm8k"), anew(mini.generate, "gsm8k")
    assert whole.bank.rationales.equals(again.bank.rationales)
    assert whole.test.equals(again.test)
    assert [len(t) for t in (whole.bank.questions, whole.dev, whole.test)] == [400, 500, 1000]
    few = mini.generate("gsm8k", train=25, test=10)
    assert list(few.bank.questions.question_id) == sorted(whole.bank.questions.question_id)[:25]
    assert list(few.test.question_id) == sorted(whole.test.question_id)[:10]
    other = mini.generate("gsm8k", seed=1, train=25)
    assert not set(other.bank.questions.question_id) & set(few.bank.questions.question_id)


def test_bank_has_every_teacher_and_human_on_every_question():
    bank = generate("svamp", train=30).bank
    assert bank.teachers == mini.TEACHER_NAMES
    per_question = bank.rationales.groupby("question_id").teacher.apply(tuple)
    assert set(per_question) == {(*mini.TEACHER_NAMES, "human")}
    humans = bank.rationales[bank.rationales.role == "human"]
    assert humans.right.all()
    assert (humans.corruption == "").all()
    gold = bank.questions.set_index("question_id").answer
    rows = bank.rationales
    assert (rows.right == (rows.answer == rows.question_id.map(gold))).all()


@pytest.mark.parametrize("problem", ["gsm8k", "csqa"])
def test_the_bank_knows_its_faulty_rationales_sound_texts(problem):
    """Faults draw nothing that a sound text depends on: repaired is the world without faults."""
    names = {"teachers": ALL_TEACHER_NAMES, "samples": 2}
    faulty, clean = (bank(50, problem, faults=scale, **names) for scale in (1.0, 0.0))
    assert faulty.faults_known and clean.faults_known
    hit = faulty.rationales.corruption != ""
    assert hit.mean() > 0.2 and len(faulty.sound) == hit.sum() and not len(clean.sound)
    assert faulty.repaired().rationales.equals(clean.rationales)


def test_bad_arguments_are_named():
    with pytest.raises(UserError, match=r"'gsm8kk'.*did you mean 'gsm8k'.*data\.mini\.problem"):
        mini.generate("gsm8kk")
    with pytest.raises(UserError, match=r"'carefull'.*did you mean 'careful'") as error:
        Teaching(["equations", "carefull"])
    assert str(error.value).endswith(f"known: {', '.join(ALL_TEACHER_NAMES)}")


def bank(size=60, problem="gsm8k", teachers=(), **teaching):
    teaching = Teaching(tuple(teachers), **teaching)
    return generate(problem, train=size, dev=1, test=1, teaching=teaching).bank


def taught(rationales):
    return rationales[rationales.role == "teacher"]


@pytest.mark.parametrize("problem", EVERY)
def test_one_teacher_is_better_and_one_worse_than_the_default_ones(problem):
    assert len(TEACHER_NAMES) == 4
    assert ALL_TEACHER_NAMES[:4] == TEACHER_NAMES
    rows = taught(bank(400, problem, teachers=ALL_TEACHER_NAMES).rationales)
    right = rows.groupby("teacher").right.mean()
    default = [right[name] for name in TEACHER_NAMES]
    assert 0.7 < right["careful"] < 0.85
    assert 0.35 < right["hasty"] < 0.55
    assert right["hasty"] < min(default) <= max(default) < right["careful"]


def test_a_teachers_texts_do_not_depend_on_who_else_teaches():
    everyone = bank(teachers=ALL_TEACHER_NAMES, correlation=0.5).rationales
    default = bank(correlation=0.5).rationales
    both = everyone[everyone.teacher.isin([*TEACHER_NAMES, "human"])].reset_index(drop=True)
    assert both.equals(default)
    pair = bank(teachers=["hasty", "labelled"], correlation=0.5)
    assert pair.teachers == ("hasty", "labelled")
    assert list(pair.rationales.teacher[:3]) == ["labelled", "hasty", "human"]
    alone = everyone[everyone.teacher.isin(["hasty", "labelled", "human"])].reset_index(drop=True)
    assert pair.rationales.equals(alone)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_faults_scale_every_teachers_chances(correlation):
    rate = {}
    for scale in (0.0, 0.5, 1.0):
        made = bank(400, teachers=ALL_TEACHER_NAMES, faults=scale, correlation=correlation)
        rows = taught(made.rationales)
        rate[scale] = (rows.corruption != "").groupby(rows.teacher).mean()
        assert scale or (rows.right.all() and (rows.corruption == "").all())
    # Half the chances; of the default teachers one is spared where all four would fail.
    assert (abs(rate[0.5] - rate[1.0] / 2) < 0.08).all()
    assert (rate[0.0] == 0).all()


@pytest.mark.parametrize("problem", SUMS)
def test_further_samples_leave_the_first_and_differ_from_it(problem):
    names = ALL_TEACHER_NAMES
    clean = taught(bank(60, problem, teachers=names, faults=0.0, samples=4).rationales)
    per_question = clean.groupby(["question_id", "teacher"])
    assert (per_question["sample"].apply(list).map(tuple) == (0, 1, 2, 3)).all()
    distinct = per_question.text.nunique()
    for key, texts in per_question.text:  # "15 - 3 = 12. 12 / 2 = 6." can't be said otherwise
        swappable = any(s in "+*" and a != b for a, s, b, _ in equations_of(texts.iloc[0]))
        assert distinct[key] > 1 or not swappable
    if problem == "gsm8k":  # two orders, each with its sums and products swapped
        assert distinct.median() == 4
    gold = bank(60, problem).questions.set_index("question_id").answer
    for row in clean.itertuples():
        written = equations_of(row.text)
        assert all(true_value(a, sign, b) == v for a, sign, b, v in written), row.text
        assert str(written[-1][-1]) == row.answer == gold[row.question_id]
    faulty = bank(60, problem, samples=3).rationales
    first = faulty[faulty["sample"] == 0].reset_index(drop=True)
    assert first.equals(bank(60, problem).rationales)


def test_samples_have_independent_faults():
    rows = taught(bank(400, samples=2).rationales)
    wrong = (~rows.right).groupby([rows.teacher, rows["sample"], rows.question_id]).first()
    for name in TEACHER_NAMES:
        first, second = (wrong[name, sample].to_numpy() for sample in (0, 1))
        together = (first & second).mean()
        assert abs(together - first.mean() * second.mean()) < 0.08  # 4 standard errors at most


def test_every_text_is_of_the_words_that_the_shipped_student_knows():
    known = {word.strip() for word in pretrain.words()}
    groups = [("filler", "wrong_step", "wrong_answer", "skipped_steps"),
              ("long_winded", "misread", "one_expression", "other_order")]  # fmt: skip
    for problem in EVERY:
        teaching = Teaching(ALL_TEACHER_NAMES, samples=4)
        world = generate(problem, train=60, dev=1, test=1, teaching=teaching)
        texts = [*world.bank.rationales.text]
        for names in groups:
            shares = dict.fromkeys(names, 0.25)
            texts += [*corrupt(world.bank, shares, 0, False, world.rewritten).rationales.text]
        pieces_used = {p.strip() for text in texts for p in re.findall(pretrain.PIECE, text)}
        assert pieces_used - {""} <= known


@pytest.mark.parametrize("problem", COMPARISONS)
def test_sets_are_disjoint_and_made_again_the_same(problem):
    world = generate(problem, train=60, dev=40, test=60)
    again = anew(mini.generate, problem, train=60, dev=40, test=60)
    assert world.bank.rationales.equals(again.bank.rationales)
    sets = {"train": world.bank.questions, "dev": world.dev, "test": world.test, **world.further,
            **world.forgetting}  # fmt: skip
    assert {*world.further} == {mini.NEW_TEMPLATE, mini.MORE_STEPS}
    for task, table in world.further.items():
        assert table.equals(again.further[task])
    asked = [
        splits.normalise(question) for table in sets.values() for question in table["question"]
    ]
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("problem", COMPARISONS)
def test_every_word_is_one_token_of_the_shipped_student(problem):
    """No word is spelt in bytes; a line break is a byte, and one token."""
    tokenizer = AutoTokenizer.from_pretrained(nano_path())
    world = generate(problem, train=60, dev=1, test=60)
    tables = [world.bank.questions, world.test, *world.further.values()]
    texts = [q for table in tables for q in table["question"]] + list(world.bank.rationales.text)
    for text in texts:
        pieces = re.findall(r" ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]|\s", text)
        assert "".join(pieces) == text
        assert len(tokenizer(text).input_ids) == len(pieces), text
