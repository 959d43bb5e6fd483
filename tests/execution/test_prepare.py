"""From a suite to its data: splits, sizes, tasks, leaks and bad input, on small JSONL files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compact_bench.data.splits import is_dev, question_id
from compact_bench.errors import UserError
from compact_bench.execution import prepare as prepare_module
from compact_bench.execution.prepare import MOST_RECENT, prepare, prepare_once, training_questions
from compact_bench.suite.schema import Suite

IN_DOMAIN = {"task": "in_domain", "role": "reasoning"}


def suite(
    source: object, tasks: list[dict[str, Any]] | None = None, limit: int | None = None,
    select: bool = False, **data: Any,
) -> Suite:  # fmt: skip
    return Suite.model_validate(
        {
            "suite": "gsm8k",
            "title": "t",
            "profile": "p",
            "methods": ["average"],
            "seeds": [0],
            "data": {"source": str(source), **data},
            "training": {"learning_rate": 1e-3, "epochs": 1, "batch_size": 1},
            "evaluation": {"tasks": tasks or [IN_DOMAIN], "select": select},
            "limit": limit,
        }
    )


def row(number: int, teachers: tuple[str, ...] = ("ada", "bob", "human")) -> dict[str, Any]:
    texts = dict.fromkeys(teachers, f"{number} + 1 = {number + 1}. The answer is {number + 1}")
    if "bob" in texts:
        texts["bob"] = [f"The answer is {number}", "I can't say."]
    question = f"Ann has {number} apples and buys one. How many?"
    return {"question": question, "answer": number + 1, "rationales": texts}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """60 questions with ada, bob (two samples) and a human; 10 with ada alone."""
    rows = [row(n) for n in range(60)] + [row(n, ("ada",)) for n in range(60, 70)]
    return write(tmp_path / "train.jsonl", rows)


@pytest.fixture
def test_file(tmp_path: Path) -> str:
    rows = [{"question": f"Bob has {n} pears?", "answer": n} for n in range(20)]
    return str(write(tmp_path / "test.jsonl", rows))


def test_a_users_file(train: Path, test_file: str) -> None:
    prepared = prepare(suite(train, test_source=test_file))
    bank = prepared.train
    assert bank.teachers == ("ada", "bob")
    questions = bank.questions["question"]
    assert not questions.map(is_dev).any()
    assert prepared.dev["question"].map(is_dev).all()
    assert len(questions) + len(prepared.dev) >= 60
    assert list(bank.questions["question_id"]) == sorted(map(question_id, questions))
    rows = bank.rationales.set_index(["teacher", "sample"])
    assert rows.loc["ada", "right"].all()
    assert not rows.loc["bob", "right"].any()
    assert rows.loc[("bob", 1), "answer"].isna().all()
    assert (rows.loc["human", "role"] == "human").all()
    (task,) = prepared.tasks
    assert list(task.items.columns) == ["question_id", "question", "answer", "answer_kind"]
    assert (task.name, task.kind, len(task.items)) == ("in_domain", "generate", 20)


def test_incomplete_questions_on_request(train: Path, test_file: str) -> None:
    some = prepare(suite(train, test_source=test_file, complete=False))
    every = prepare(suite(train, test_source=test_file))
    assert len(some.train.questions) > len(every.train.questions)
    alone = prepare(suite(train, test_source=test_file, teachers=["ada"]))
    assert alone.train.teachers == ("ada",)
    assert set(alone.train.rationales["teacher"]) == {"ada", "human"}
    assert set(alone.train.questions["question_id"]) == set(some.train.questions["question_id"])


def test_sizes_and_limit(train: Path, test_file: str) -> None:
    full = prepare(suite(train, test_source=test_file))
    cut = prepare(suite(train, test_source=test_file, train=9, dev=2, test=5))
    assert list(cut.train.questions["question_id"]) == list(full.train.questions["question_id"][:9])
    assert (len(cut.dev), len(cut.tasks[0].items)) == (2, 5)
    limited = prepare(suite(train, test_source=test_file, train=9, test=5, limit=3))
    assert (len(limited.train.questions), len(limited.tasks[0].items)) == (3, 3)
    short = prepare(suite(train, test_source=test_file, train=1000))
    assert any("instead of the 1000 asked for" in note for note in short.notes)


def test_further_teachers_of_any_source(train: Path, test_file: str, tmp_path: Path) -> None:
    def written_by(teacher: str, questions: list[str]) -> str:
        rows = [{"question": q, "answer": 1, "teacher": teacher, "rationale": "is 1"}
                for q in questions]  # fmt: skip
        return str(write(tmp_path / f"{teacher}.jsonl", rows))

    own = list(prepare(suite(train, test_source=test_file)).train.questions["question"])
    more = [written_by("carl", own[:9])]
    joined = prepare(suite(train, test_source=test_file, more=more))
    assert joined.train.teachers == ("ada", "bob", "carl")
    assert set(joined.train.questions["question"]) == set(own[:9])  # data.complete
    alone = prepare(suite(train, test_source=test_file, more=more, teachers=["carl", "ada"]))
    assert alone.train.teachers == ("carl", "ada")
    assert set(alone.train.rationales["teacher"]) == {"carl", "ada", "human"}
    with pytest.raises(UserError, match=r"has the teacher 'dora'"):
        prepare(suite(train, test_source=test_file, more=more, teachers=["carl", "dora"]))
    with pytest.raises(UserError, match=r"data.more: .*the teacher 'ada' is there already"):
        prepare(suite(train, test_source=test_file, more=[written_by("ada", own)]))

    sizes = {"train": 4, "dev": 2, "test": 2}
    mini = prepare(suite("mini", **sizes)).train
    more = [written_by("carl", list(mini.questions["question"]))]
    joined = prepare(suite("mini", **sizes, more=more, corrupt={"wrong_answer": 1.0}))
    assert joined.train.teachers == (*mini.teachers, "carl")
    assert set(joined.train.questions["question"]) == set(mini.questions["question"])


def test_a_source_without_teachers_has_questions_to_ask_and_nothing_to_train(
    test_file: str, tmp_path: Path
) -> None:
    rows = [{key: row(n)[key] for key in ("question", "answer")} for n in range(30)]
    alone = suite(write(tmp_path / "q.jsonl", rows), test_source=test_file)
    questions = training_questions(alone)["question"]
    assert len(questions) > 20 and not questions.map(is_dev).any()
    with pytest.raises(UserError, match=r"no training question is left with the teachers \(none\)"):
        prepare(alone)


def test_the_fingerprint_follows_data_and_tasks(train: Path, test_file: str) -> None:
    suites = [
        suite(train, test_source=test_file),
        suite(train, test_source=test_file, teachers=["bob", "ada"]),
        suite(train, test_source=test_file, train=5),
        suite(train, test_source=test_file, test=5),
    ]
    assert len({prepare(s).fingerprint for s in suites}) == 4
    assert prepare(suites[0]).fingerprint == prepare(suites[0]).fingerprint


def test_select_asks_the_dev_split(train: Path) -> None:
    prepared = prepare(suite(train, select=True))
    items = prepared.tasks[0].items
    assert list(items["question_id"]) == list(prepared.dev["question_id"])
    with pytest.raises(UserError, match=r"no test questions; set data.test_source"):
        prepare(suite(train))


def test_a_test_question_in_the_training_set_stops(train: Path, tmp_path: Path) -> None:
    known = row(3)["question"].upper().replace(".", " !")
    leaky = write(tmp_path / "leak.jsonl", [{"question": known, "answer": 4}])
    with pytest.raises(UserError, match="1 of the 1 test questions of 'in_domain' are in the"):
        prepare(suite(train, test_source=str(leaky)))
    task = {"task": "other", "role": "forgetting", "source": str(leaky)}
    with pytest.raises(UserError, match="test questions of 'other' are in the"):
        prepare(suite(train, [IN_DOMAIN, task], select=True))


def test_kinds_are_inferred_or_set(tmp_path: Path) -> None:
    def made(*answers: object) -> Path:
        rows = [row(n) | {"answer": answer} for n, answer in enumerate(answers)]
        return write(tmp_path / "kinds.jsonl", rows)

    for answers, kind in (
        ([1, "2.5", "$3"], "number"),
        ([True, "no", "false"], "boolean"),
        (["A", "(b)", "E"], "choice"),
    ):
        questions = prepare(suite(made(*answers), select=True)).train.questions
        assert set(questions["kind"]) == {kind}
    path = made(1, 2, "green")
    with pytest.raises(UserError, match=r"kinds.jsonl:3: the answers are not all .*'green'"):
        prepare(suite(path, select=True))
    with pytest.raises(UserError, match=r"kinds.jsonl:1: the answer '1' is not a choice"):
        prepare(suite(path, select=True, answer="choice"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"teachers": ["adda"]}, r"has the teacher 'adda' \(did you mean 'ada'\?\); known: ada"),
        ({"teachers": ["human"]}, "has the teacher 'human'"),
        ({"test_source": "nowhere.jsonl"}, "nowhere.jsonl: can't be read"),
    ],
)
def test_bad_input_of_a_users_file(train: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(suite(train, **data))


def test_unknown_names() -> None:
    with pytest.raises(UserError, match=r"unknown data source 'gsm9k'.*did you mean 'gsm8k'"):
        prepare(suite("gsm9k"))
    with pytest.raises(UserError, match="has the teacher 'gpt-5'"):
        prepare(suite("svamp", teachers=["gpt-5"]))
    with pytest.raises(UserError, match="names a teacher twice: gpt-4o, gpt-4o/level1"):
        prepare(suite("svamp", teachers=["gpt-4o", "gpt-4o/level1"]))
    task = {"task": "mini_two_stp", "role": "forgetting"}
    with pytest.raises(UserError, match=r"unknown task 'mini_two_stp' \(did you mean 'mini_two_s"):
        prepare(suite("mini", [task], train=4, dev=4, test=4))


def test_no_question_is_left(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(1, ("ada",)), row(2, ("bob",))])
    with pytest.raises(UserError, match="no training question is left with the teachers ada, bob"):
        prepare(suite(path, select=True))


def test_choice_tasks(tmp_path: Path, train: Path) -> None:
    rows = [{"question": "Where to? Answer choices: A: bank, B: mall", "answer": "B"}]
    task = {"task": "c", "role": "forgetting", "kind": "choice"}
    task["source"] = str(write(tmp_path / "c.jsonl", rows))
    choice = [{**r, "answer": "B"} for r in (row(n) for n in range(9))]
    path = write(tmp_path / "choice.jsonl", choice)
    prepared = prepare(suite(path, [IN_DOMAIN, task], select=True))
    assert prepared.tasks[1].items[["choices", "gold"]].to_dict("list") == {
        "choices": [("bank", "mall")],
        "gold": [1],
    }
    assert prepared.tasks[1].chance == pytest.approx(0.5)
    with pytest.raises(UserError, match=r"task in_domain: no choices .* or not the right one"):
        prepare(suite(path, [IN_DOMAIN | {"kind": "choice"}], select=True))


def test_an_lm_eval_task_has_no_items_here(train: Path) -> None:
    task = {"task": "arc_easy", "role": "forgetting", "kind": "lm_eval", "chance": 0.25}
    prepared = prepare(suite(train, [IN_DOMAIN, task], select=True))
    assert prepared.tasks[1].items.empty
    assert prepared.tasks[1].chance == 0.25


def test_mini_needs_no_file() -> None:
    forgetting = {"task": "mini_one_step", "role": "forgetting", "limit": 7}
    prepared = prepare(suite("mini", [IN_DOMAIN, forgetting], train=12, dev=6, test=8))
    assert [len(task.items) for task in prepared.tasks] == [8, 7]
    assert len(prepared.train.questions) == 12
    assert len(prepared.dev) == 6
    assert "human" in set(prepared.train.rationales["teacher"])
    assert "generated problems" in prepared.notes[0]
    one = prepared.train.teachers[0]
    alone = prepare(suite("mini", train=12, dev=6, test=8, teachers=[one]))
    assert alone.train.teachers == (one,)


def test_corruption_is_of_the_training_rationales_alone(train: Path, test_file: str) -> None:
    clean = prepare(suite(train, test_source=test_file))
    none = prepare(suite(train, test_source=test_file, corrupt={}))
    assert none.fingerprint == clean.fingerprint and none.notes == clean.notes
    corrupted = prepare(suite(train, test_source=test_file, corrupt={"wrong_answer": 0.5}))
    assert corrupted.fingerprint != clean.fingerprint
    assert corrupted.dev.equals(clean.dev)
    assert corrupted.tasks[0].items.equals(clean.tasks[0].items)
    assert corrupted.train.questions.equals(clean.train.questions)
    rows = corrupted.train.rationales
    hit = rows["corruption"] == "wrong_answer"
    total = 3 * len(clean.train.questions)  # ada once, bob twice
    assert abs(hit.sum() - total / 2) <= 0.5
    assert rows[~hit].equals(clean.train.rationales[~hit])
    assert not hit[rows["teacher"] == "human"].any()
    note, coverage = corrupted.notes[len(clean.notes) - 2 : -1]
    share = f"{hit.sum() / total:.1%} ({hit.sum()} of {total} rationales)"
    assert note == f"corrupted on purpose: wrong_answer {share}"
    right = rows.loc[rows["teacher"] == "ada", "right"].mean()
    assert right < 1
    assert coverage.endswith(f"ada {right:.1%}, bob 0.0%")
    with pytest.raises(UserError, match=r"unknown fault 'wrong_anser' \(did you mean"):
        prepare(suite(train, test_source=test_file, corrupt={"wrong_anser": 0.5}))


def test_mini_teachers_by_name_samples_faults_and_corruption() -> None:
    sizes = {"train": 20, "dev": 6, "test": 8}
    plain = prepare(suite("mini", **sizes))
    named = prepare(suite("mini", **sizes, teachers=["careful", "equations"]))
    assert named.train.teachers == ("careful", "equations")
    assert set(named.train.rationales["teacher"]) == {"careful", "equations", "human"}
    with pytest.raises(UserError, match=r"'hastey' \(did you mean 'hasty'\?\); known: equations, "):
        prepare(suite("mini", **sizes, teachers=["hastey"]))
    several = prepare(suite("mini", **sizes, mini={"faults": 0, "samples": 3}))
    rows = several.train.rationales
    assert len(rows) == 20 * (4 * 3 + 1)
    assert rows["right"].all()
    corrupted = prepare(suite("mini", **sizes, mini={"faults": 0}, corrupt={"wrong_answer": 0.25}))
    teachers = corrupted.train.rationales[corrupted.train.rationales["role"] == "teacher"]
    assert (teachers.groupby("question_id")["right"].sum() == 3).all()
    assert corrupted.notes[1] == "corrupted on purpose: wrong_answer 25.0% (20 of 80 rationales)"
    for other in (named, several, corrupted):
        assert other.dev.equals(plain.dev)
        assert other.tasks[0].items.equals(plain.tasks[0].items)
        assert other.fingerprint != plain.fingerprint


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Suite]:
    """The suites whose data were made, in order, from a process that holds none."""
    made: list[Suite] = []
    monkeypatch.setattr(prepare_module, "_recent", type(prepare_module._recent)())

    def counting(suite: Suite, mirror: Path | None = None) -> Any:
        made.append(suite)
        return prepare(suite, mirror)

    monkeypatch.setattr(prepare_module, "prepare", counting)
    return made


def test_cells_of_the_same_data_prepare_them_once(
    train: Path, test_file: str, counted: list[Suite]
) -> None:
    whole, few = (suite(train, test_source=test_file, train=size) for size in (None, 9))
    for _ in range(3):
        for one in (whole, whole.model_copy(update={"seeds": [7]}), few):
            prepare_once(one, "hash")
    assert counted == [whole, few]
    prepare_once(whole, "hash of a file that has changed")
    assert len(counted) == 3 and len(prepare_module._recent) == MOST_RECENT
    prepare_once(few, "hash")  # the latest two are held: few was asked for after whole
    assert len(counted) == 3
    prepare_once(whole, "hash")
    assert len(counted) == 4


def test_what_a_cell_does_to_its_data_the_next_cell_does_not_see(
    tmp_path: Path, counted: list[Suite]
) -> None:
    rows = [{"question": "Where to? Answer choices: A: bank, B: mall", "answer": "B"}]
    task = {"task": "c", "role": "forgetting", "kind": "choice"}
    task["source"] = str(write(tmp_path / "c.jsonl", rows))
    choice = write(tmp_path / "choice.jsonl", [row(n) | {"answer": "B"} for n in range(9)])
    own = suite(choice, [IN_DOMAIN, task], select=True)
    first = prepare_once(own, "hash")
    tables = (first.train.rationales, first.train.questions, first.dev, first.tasks[1].items)
    for table in tables:
        for column in table:
            table[column] = None
        table.index += 1
    second, fresh = prepare_once(own, "hash"), prepare(own)
    assert counted == [own]
    assert second.train.fingerprint() == fresh.train.fingerprint()
    assert second.dev.equals(fresh.dev) and second.notes == fresh.notes
    for one, other in zip(second.tasks, fresh.tasks, strict=True):
        assert one.items.equals(other.items) and len(one.items)
    assert all(isinstance(listed, tuple) for listed in second.tasks[1].items["choices"])


def test_questions_that_lack_a_teacher_are_said_with_the_key(train: Path, test_file: str) -> None:
    notes = prepare(suite(train, test_source=test_file)).notes
    assert any("60 of 70 questions have all of the 2 teachers" in note for note in notes)
    assert any("data.complete: false keeps" in note for note in notes)
    notes = prepare(suite(train, test_source=test_file, complete=False)).notes
    assert not any("data.complete" in note for note in notes)


def test_what_a_task_s_own_file_loses_is_noted(train: Path, tmp_path: Path) -> None:
    rows = [{"question": "Who?", "answer": 1}, {"question": "who", "answer": 1}]
    other = {"task": "other", "role": "reasoning", "source": str(write(tmp_path / "o.jsonl", rows))}
    notes = prepare(suite(train, [other])).notes
    assert "task other, test questions: 1 row has the question of an earlier one, merged" in notes


def test_choices_without_letters_are_one_line(tmp_path: Path, test_file: str) -> None:
    question = "Where? Answer choices: bank, library"
    rows = [{"question": question, "answer": "A", "rationales": {"ada": "The answer is A"}}]
    source = write(tmp_path / "a.jsonl", rows)
    task = IN_DOMAIN | {"kind": "choice"}
    with pytest.raises(UserError, match="task in_domain: no choices"):
        prepare(suite(source, [task], test_source=str(write(tmp_path / "t.jsonl", [
            {"question": "What? Answer choices: x, y", "answer": "A"}
        ]))))  # fmt: skip
