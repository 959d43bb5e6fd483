"""The generated problems and teachers, checked by a reader of the texts of its own."""

import random
import re
from functools import cache
from itertools import islice

import pytest

from compact_bench.data import splits
from compact_bench.data.answers import extract_answer, pieces, split_steps, strip_answer_sentence
from compact_bench.data.corrupt import corrupt
from compact_bench.errors import UserError
from compact_bench.mini import problems, styles, teachers
from compact_bench.mini import world as mini
from compact_bench.mini.nano import pretrain
from compact_bench.mini.world import Teaching, all_teacher_names, teacher_names

EVERY = sorted(mini.GENERATORS)
PROBLEMS = ["gsm8k", "svamp"]  # how many one person has; test_mini_comparisons.py has the others
EQUATION = re.compile(
    r"(\d+) ?(\+|-|\*|/|plus|minus|times|divided by) ?(\d+) ?(?:=|makes|and get) ?(\d+)"
)
STYLES = styles.STYLES | styles.MORE_STYLES
HUMAN = {
    "+": re.compile(r"Add (?P<b>\d+) to (?P<a>\d+) to get (?P<v>\d+)\."),
    "-": re.compile(r"Take (?P<b>\d+) from (?P<a>\d+) to get (?P<v>\d+)\."),
    "*": re.compile(r"Multiply (?P<a>\d+) by (?P<b>\d+) to get (?P<v>\d+)\."),
    "/": re.compile(r"Divide (?P<a>\d+) by (?P<b>\d+) to get (?P<v>\d+)\."),
}
SIGN = {"plus": "+", "minus": "-", "times": "*", "divided by": "/"}


def equations_of(text):
    """(left, sign, right, stated value) of every step that a rationale writes."""
    found = []
    for step in split_steps(strip_answer_sentence(text)):
        if match := EQUATION.search(step):
            a, sign, b, v = match.groups()
            found.append((int(a), SIGN.get(sign, sign), int(b), int(v)))
        for sign, pattern in HUMAN.items():
            if match := pattern.fullmatch(step):
                found.append((int(match["a"]), sign, int(match["b"]), int(match["v"])))
    return found


def true_value(a, sign, b):
    return {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign]


def read_story(question):
    """The answer, from the text alone: what happens to the person who is asked about."""
    name = re.search(r"does (\w+) have\?|Now (\w+) has how many", question)
    name = name[1] or name[2]
    now = None
    for sentence in re.findall(r"[^.?]+[.?]", question):
        numbers = [int(n) for n in re.findall(r"\d+", sentence)]
        if name not in sentence or not numbers:
            continue
        amount = numbers[0] * numbers[1] if "bags" in sentence else numbers[0]
        if now is None:
            now = amount
        elif "times as many" in sentence:
            now *= amount
        elif "equal parts" in sentence:
            assert now % amount == 0
            now //= amount
        else:
            now += -amount if re.search("gives|loses", sentence) else amount
    return now


@cache
def sample(problem, size=300, seed=5):
    return tuple(islice(mini.GENERATORS[problem].questions(random.Random(seed), "train"), size))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_answers_agree_with_the_text(problem):
    for made in sample(problem):
        assert made.answer == read_story(made.question), made.question


FURTHER = [(problem, task) for problem in PROBLEMS for task in mini.GENERATORS[problem].further]


@pytest.mark.parametrize(("problem", "task"), FURTHER)
def test_reasoning_out_of_domain_agrees_with_the_text_and_is_asked_of_nobody_else(problem, task):
    table = mini.further(problem, 0)[task]
    assert table.equals(mini.further(problem, 0)[task])
    assert len(table) == mini.FURTHER_SIZE == table.question_id.nunique()
    assert not set(table.question_id) & set(mini.further(problem, 1)[task].question_id)
    for row in table.itertuples():
        assert row.answer == str(read_story(row.question)), row.question
    world = mini.generate(problem)
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

    world = mini.generate(problem)
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

    world = mini.generate(problem)
    assert steps(world.further["mini_more_steps"]) == {max(steps(world.bank.questions)) + 1}


@pytest.mark.parametrize("order", ["steps", "other_order"])
@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize("problem", PROBLEMS)
def test_clean_rationales_compute_every_value(problem, style, order):
    for made in sample(problem, 100):
        steps = getattr(made, order)
        values = problems.evaluate(steps)
        body = STYLES[style](made, styles.lines(steps, values, values))
        written = equations_of(body)
        assert len(written) == len(steps)
        known = [int(n) for n in re.findall(r"\d+", made.question)]
        for a, sign, b, v in written:
            assert true_value(a, sign, b) == v, body
            for operand in (a, b):  # each number is read once, from the question or a result
                known.remove(operand)
            known.append(v)
            assert 1 <= v <= problems.LARGEST
        assert written[-1][-1] == read_story(made.question)


def test_gsm8k_problems_have_three_steps_and_two_orders():
    for made in sample("gsm8k"):
        assert len(made.steps) == len(made.other_order) == 3
        assert made.steps != made.other_order


def test_svamp_problems_have_a_number_that_does_not_matter():
    lengths = set()
    for made in sample("svamp"):
        lengths.add(len(made.steps))
        numbers = len(re.findall(r"\d+", made.question))
        assert numbers == len(made.steps) + 2  # n steps read n + 1 numbers
    assert lengths == {2, 3}


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("problem", EVERY)
def test_no_teacher_is_best_and_one_is_right(problem, correlation):
    written = [teachers.teach(made, 0, correlation) for made in sample(problem, 600)]
    for k, teacher in enumerate(teachers.TEACHERS):
        right = sum(row[k].right for row in written) / len(written)
        assert 0.5 < right <= 0.75, teacher.name
        # No teacher is the only clean one all the time, nor hardly ever.
        alone = [row[k].corruption == "" for row in written
                 if sum(said.corruption == "" for said in row) == 1]  # fmt: skip
        assert 0.1 < sum(alone) / len(alone) < 0.45, teacher.name
    assert all(any(said.right and not said.corruption for said in row) for row in written)


def test_competence_differs_by_operation():
    rate = {}
    for op in problems.SYMBOL:
        chosen = [made for made in sample("gsm8k", 1500) if op in {s.op for s in made.steps}]
        written = [teachers.teach(made, 0, 0.0) for made in chosen]
        rate[op] = [sum(row[k].right for row in written) / len(written) for k in range(4)]
    best = {max(range(4), key=lambda k: rate[op][k]) for op in rate}
    assert len(best) >= 2
    assert rate["div"][2] < rate["div"][0] - 0.15


def test_correlation_makes_errors_coincide_and_agree():
    together, agree = {}, {}
    for correlation in (0.0, 0.5, 1.0):
        written = [teachers.teach(made, 0, correlation) for made in sample("gsm8k", 500)]
        wrong = [[said.answer for said in row if not said.right] for row in written]
        several = [answers for answers in wrong if len(answers) > 1]
        together[correlation] = sum(len(answers) == 3 for answers in wrong)
        agree[correlation] = sum(len(set(answers)) == 1 for answers in several) / len(several)
    assert together[0.0] < together[0.5] < together[1.0]
    assert agree[0.0] < agree[0.5] < agree[1.0]
    assert agree[1.0] > 0.9


@pytest.mark.parametrize("problem", PROBLEMS)
def test_faults_are_what_they_are_called(problem):
    seen = set()
    for made in sample(problem):
        truth = read_story(made.question)
        for said in teachers.teach(made, 0, 0.0, teachers.ALL_TEACHERS):
            seen.add(said.corruption)
            written = equations_of(said.text)
            wrong = [v != int(true_value(a, sign, b)) for a, sign, b, v in written]
            assert said.right == (said.answer == truth)
            assert extract_answer(said.text, "number") == str(said.answer)
            if said.corruption == "slip":
                assert not said.right
                assert sum(wrong) == 1
                assert written[-1][-1] == said.answer
            elif said.corruption == "wrong_step":
                assert said.right
                assert sum(wrong) == 1
                assert not wrong[-1]
            elif said.corruption == "filler":
                assert said.right
                assert not written
            else:
                assert said.right
                assert not any(wrong)
                assert written
    assert seen == {"", "slip", "wrong_step", "filler"}


def test_length_does_not_tell_filler():
    lengths = {"": [], "filler": []}
    for made in sample("gsm8k", 600):
        for said in teachers.teach(made, 0, 0.0):
            if said.teacher == "equations" and said.corruption in lengths:
                lengths[said.corruption].append(pieces(said.text))
    mean = {name: sum(values) / len(values) for name, values in lengths.items()}
    assert abs(mean["filler"] / mean[""] - 1) < 0.15


@pytest.mark.parametrize("problem", EVERY)
def test_sets_are_disjoint_buckets(problem):
    world = mini.generate(problem, train=60, dev=40, test=40)
    tables = {"train": world.bank.questions, "dev": world.dev, "test": world.test,
              "one": world.forgetting["mini_one_step"],
              "two": world.forgetting["mini_two_step"]}  # fmt: skip
    digits = {"train": (3, 4, 5, 6), "dev": (0,), "test": (1,), "one": (2,), "two": (2,)}
    normal = {}
    for name, table in tables.items():
        normal[name] = {splits.normalise(question) for question in table.question}
        assert len(normal[name]) == len(table)
        for question in table.question:
            assert int(splits.question_hash(question), 16) % 10 in digits[name]
    stream = problems.problems(random.Random("nano 0"), (1, 2, 2), "pretraining")
    normal["pretraining"] = {splits.normalise(p.question) for p in islice(stream, 3000)}
    assert sum(map(len, normal.values())) == len(set().union(*normal.values()))


def test_same_arguments_same_world_and_smaller_is_lowest_hashes():
    whole, again = mini.generate("gsm8k"), mini.generate("gsm8k")
    assert whole.bank.rationales.equals(again.bank.rationales)
    assert whole.test.equals(again.test)
    assert len(whole.bank.questions) == 400
    assert len(whole.dev) == len(whole.test) == 200
    few = mini.generate("gsm8k", train=25, test=10)
    assert list(few.bank.questions.question_id) == sorted(whole.bank.questions.question_id)[:25]
    assert list(few.test.question_id) == sorted(whole.test.question_id)[:10]
    other = mini.generate("gsm8k", seed=1, train=25)
    assert not set(other.bank.questions.question_id) & set(few.bank.questions.question_id)


def test_bank_has_every_teacher_and_human_on_every_question():
    bank = mini.generate("svamp", train=30).bank
    assert bank.teachers == mini.teacher_names()
    per_question = bank.rationales.groupby("question_id").teacher.apply(tuple)
    assert set(per_question) == {(*mini.teacher_names(), "human")}
    humans = bank.rationales[bank.rationales.role == "human"]
    assert humans.right.all()
    assert (humans.corruption == "").all()
    gold = bank.questions.set_index("question_id").answer
    rows = bank.rationales
    assert (rows.right == (rows.answer == rows.question_id.map(gold))).all()


def test_bad_arguments_are_named():
    with pytest.raises(UserError, match=r"'gsm8kk'.*did you mean 'gsm8k'"):
        mini.generate("gsm8kk")
    for wrong in ({"correlation": 1.5}, {"faults": -0.1}):
        with pytest.raises(UserError, match=r"mini (correlation|faults) is .*between 0 and 1"):
            Teaching(**wrong)
    with pytest.raises(UserError, match="mini samples is 0"):
        Teaching(samples=0)
    with pytest.raises(UserError, match=r"'carefull'.*did you mean 'careful'") as error:
        Teaching(["equations", "carefull"])
    assert str(error.value).endswith(f"known: {', '.join(all_teacher_names())}")


def bank(size=60, problem="gsm8k", **teaching):
    return mini.generate(problem, train=size, dev=1, test=1, teaching=Teaching(**teaching)).bank


def taught(rationales):
    return rationales[rationales.role == "teacher"]


@pytest.mark.parametrize("problem", EVERY)
def test_one_teacher_is_better_and_one_worse_than_the_default_ones(problem):
    assert len(teacher_names()) == 4
    assert all_teacher_names()[:4] == teacher_names()
    rows = taught(bank(400, problem, teachers=all_teacher_names()).rationales)
    right = rows.groupby("teacher").right.mean()
    default = [right[name] for name in teacher_names()]
    assert 0.7 < right["careful"] < 0.85
    assert 0.35 < right["hasty"] < 0.55
    assert right["hasty"] < min(default) <= max(default) < right["careful"]


def test_a_teachers_texts_do_not_depend_on_who_else_teaches():
    everyone = bank(teachers=all_teacher_names(), correlation=0.5).rationales
    default = bank(correlation=0.5).rationales
    both = everyone[everyone.teacher.isin([*teacher_names(), "human"])].reset_index(drop=True)
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
        made = bank(400, teachers=all_teacher_names(), faults=scale, correlation=correlation)
        rows = taught(made.rationales)
        rate[scale] = (rows.corruption != "").groupby(rows.teacher).mean()
        assert scale or (rows.right.all() and (rows.corruption == "").all())
    # Half the chances; of the default teachers one is spared where all four would fail.
    assert (abs(rate[0.5] - rate[1.0] / 2) < 0.08).all()
    assert (rate[0.0] == 0).all()


@pytest.mark.parametrize("problem", PROBLEMS)
def test_further_samples_leave_the_first_and_differ_from_it(problem):
    names = all_teacher_names()
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
    for name in teacher_names():
        first, second = (wrong[name, sample].to_numpy() for sample in (0, 1))
        together = (first & second).mean()
        assert abs(together - first.mean() * second.mean()) < 0.08  # 4 standard errors at most


def test_every_text_is_of_the_words_that_the_shipped_student_knows():
    known = {word.strip() for word in pretrain.words()}
    shares = {"filler": 0.4, "wrong_step": 0.3, "wrong_answer": 0.3}
    for problem in EVERY:
        made = bank(60, problem, teachers=all_teacher_names(), samples=4)
        texts = [*made.rationales.text, *corrupt(made, shares, 0).rationales.text]
        pieces_used = {p.strip() for text in texts for p in re.findall(pretrain.PIECE, text)}
        assert pieces_used - {""} <= known
