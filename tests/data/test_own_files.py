"""A user's own files: every key is read or refused, nothing is lost without a note."""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.data import own_files
from compact_bench.data.banks import SourceData
from compact_bench.data.importers import FileRow
from compact_bench.data.own_files import with_more
from compact_bench.errors import UserError
from compact_bench.suite.sections import DataSpec

PAGE = Path(__file__).parents[2] / "docs" / "own_data.md"
BLOCK = re.compile(r'^```jsonl title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
EXAMPLES = dict(BLOCK.findall(PAGE.read_text("utf-8")))
GOOD = '{"question": "Q?", "answer": "5", "rationales": {"a": "x"}}'


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def own_source(path: Path, **data: Any) -> SourceData:
    return own_files.own_source(DataSpec.model_validate({"source": str(path), **data}))


def own_rows(path: Path, rationales: bool = True) -> list[FileRow]:
    data = DataSpec(source=str(path))
    rows = [*own_files.own_rows(data.source, data, rationales=rationales)]
    return [row for row in rows if isinstance(row, FileRow)]


def own_questions(path: Path, kind: str) -> tuple[pd.DataFrame, list[str]]:
    return own_files.own_questions(str(path), kind, DataSpec())


def asked(question: str, answer: object = 5, **rationales: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, "rationales": rationales or {"a": "is 5"}}


def test_the_rows_of_a_file(tmp_path: Path) -> None:
    row = asked("Q?", a=["x", "y"], b=None, human="z")
    rows = own_rows(written(tmp_path / "a.jsonl", [row]))
    assert [(r.teacher, r.text) for r in rows] == [("", ""), ("a", "x"), ("a", "y"), ("human", "z")]
    assert rows[0].gold == "5"
    assert len(own_rows(tmp_path / "a.jsonl", rationales=False)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": ', "not JSON"),
        ("[1]", "list instead of an object"),
        ('{"answer": "5", "rationales": {"a": "x"}}', "no 'question'; the row has 'answer', 'rat"),
        ('{"question": " ", "answer": "5", "rationales": {"a": "x"}}', "'question' is empty"),
        ('{"question": ["Q"], "answer": "5", "rationales": {}}', "'question' is list instead"),
        ('{"question": "Q", "rationales": {"a": "x"}}', "no 'answer'"),
        ('{"question": "Q", "answer": "5", "rationales": "x"}', "'rationales' must be an object"),
        ('{"question": "Q", "answer": "5", "rationales": {"a": 3}}', "of 'a' is not a text: 3"),
        ('{"question": "Q", "answer": "5", "rationales": {"a": ["x", ""]}}', "of 'a' is not a te"),
        ('{"question": "Q", "answer": "5", "rational": {"a": "x"}}', "unknown key 'rational'"),
        ('{"question": "Q", "answer": "5", "teacher": 3, "rationale": {"a": 1}}', "is not a text"),
        ('{"question": "Q", "answer": "5", "teacher": null}', "'teacher' is NoneType instead"),
        (
            '{"question": "Q", "answer": "5", "rationales": {"a": "<think>x</think>y"}}',
            "think tags",
        ),
        ('{"question": "Q", "answer": "5", "id": 7, "rationales": {"a": "x"}}', "key 'id'"),
        ('{"question": "Q", "answer": "5", "rationales": {" ": "x"}}', "a teacher's name is 1 to"),
        ('{"question": "Q", "answer": "5", "rationales": {"a": "\\ud83d"}}', "is not a text"),
        ('{"question": "Q", "answer": "5", "rationales": {"\\ud83d": "x"}}', "teacher's name is"),
        ('{"question": "Q", "answer": "5", "\\ud83d": 1}', "unknown key"),
        ('{"question": "Q", "answer": ' + "9" * 5000 + "}", "too many digits"),
        ('{"question": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"question": "Q", "answer": "A", "choices": ["a"]}', "is a list of 2 to 5 texts"),
        ('{"question": "Q", "answer": "A", "choices": ["a", " "]}', "'a choice' is empty"),
        ('{"question": "Q", "answer": "C", "choices": ["a", "b"]}', "neither a letter A to B"),
        ('{"question": "Q", "answer": "A", "choices": ["x (B) y", "z"]}', "can't be told apart"),
        (
            '{"question": "Q Answer choices: A: x, B: y", "answer": "A", "choices": ["a", "b"]}',
            "the question lists some as well",
        ),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n")
    with pytest.raises(UserError) as error:
        list(own_rows(path))
    assert str(error.value).startswith(f"{path}:3: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_values_are_quoted_in_part(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [asked("Q?", "x" * 100_000)])
    with pytest.raises(UserError, match=r"a.jsonl:1: .*more characters") as error:
        own_source(path, answer="number")
    assert len(str(error.value)) < 600


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("none.jsonl", "x" * 900 + ".jsonl", "a\0b.jsonl"):
        with pytest.raises(UserError, match="can't be read"):
            list(own_rows(tmp_path / name))
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        list(own_rows(tmp_path / "a.jsonl"))
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())  # as Windows writes it
    assert len(own_rows(tmp_path / "a.jsonl")) == 2


def test_another_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    pd.DataFrame({"question": ["Q?"], "answer": [5]}).to_parquet(tmp_path / "a.txt")
    (tmp_path / "a.json").write_text(f"[{GOOD}]")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(GOOD.encode()))
    ways = {"a.txt": "ends in .parquet", "a.json": "read_json", "a.jsonl.gz": "gunzip"}
    for name, way in ways.items():
        with pytest.raises(UserError, match=rf"read are .jsonl .*{way}"):
            list(own_rows(tmp_path / name))


def test_choices_become_part_of_the_question(tmp_path: Path) -> None:
    rows = [{**asked("Where?", "a bank", a="is A"), "choices": ["a river", "a  bank"]}]
    rows += [{**asked("What?", "b", a="is A"), "choices": ["a", "c"]}]
    source = own_source(written(tmp_path / "a.jsonl", rows))
    questions = source.bank.questions
    assert list(questions["question"]) == [
        "Where?\nAnswer choices: (A) a river (B) a bank", "What?\nAnswer choices: (A) a (B) c",
    ]  # fmt: skip
    assert list(questions["answer"]) == ["B", "B"]
    assert set(questions["kind"]) == {"choice"}


def test_rows_of_one_question_are_merged_and_a_teacher_s_texts_are_its_samples(tmp_path: Path):
    rows = [asked("How many?", a="is 5"), asked("how many", a="is 6", b="5"),
            asked("How many?", a="is 5")]  # fmt: skip
    source = own_source(written(tmp_path / "a.jsonl", rows))
    found = source.bank.rationales[["teacher", "sample", "text"]].values.tolist()
    assert found == [["a", 0, "is 5"], ["a", 1, "is 6"], ["b", 0, "5"]]
    assert source.notes == (
        "questions: 2 rows have the question of an earlier one, merged",
        "left out: 1 row (a: repeated): 3",
    )


def test_two_questions_of_the_same_words_are_not_taken_for_one(tmp_path: Path) -> None:
    rows = [asked("3 + 4 = ?", 7, a="is 7"), asked("3 - 4 = ?", -1, a="is -1")]
    source = own_source(written(tmp_path / "a.jsonl", rows))
    assert list(source.bank.rationales["text"]) == ["is 7"]
    (note,) = source.notes
    assert note.startswith("left out: 1 row of questions with the words of an earlier")
    assert note.endswith("the first a.jsonl:2") and str(tmp_path) not in note
    _, notes = own_questions(tmp_path / "a.jsonl", "number")
    assert "of test questions" in notes[0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_s_files_are_read(tmp_path: Path, name: str) -> None:
    assert len(EXAMPLES) == 3
    path = tmp_path / name
    path.write_text(EXAMPLES[name])
    if name == "test.jsonl":
        assert list(own_questions(path, "number")[0]["answer"]) == ["11"]
        return
    bank = own_source(path).bank
    assert bank.teachers == ("gpt", "llama")
    right = bank.rationales.groupby("teacher")["right"].mean().to_dict()
    if name == "train.jsonl":
        assert right == {"gpt": 1.0, "llama": 0.5, "human": 1.0}
    else:
        assert list(bank.questions["answer"]) == ["A", "A"]
        assert right == {"gpt": 1.0, "llama": 0.5}


# The same content in every form: two teachers, one of whom lacks a question, and a person.
WIDE = [
    {"q": "3 + 4?", "gold": "7", "one": "is 7", "two": "The answer is 8", "me": None},
    {"q": 'Say "2,\n5"?', "gold": "2.5", "one": "is\n2.5", "two": None, "me": "2.5"},
]
COLUMNS = {
    "question": "q",
    "answer": "gold",
    "rationales": {"a": "one", "b": "two", "human": "me"},
}


def forms(folder: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """A table as JSONL, Parquet, both kinds of Arrow, CSV and TSV."""
    import pyarrow as pa
    import pyarrow.ipc

    table = pa.Table.from_pylist(rows)
    paths = [written(folder / "a.jsonl", rows), folder / "a.parquet"]
    table.to_pandas().to_parquet(paths[1])
    for name, write in (("file", pyarrow.ipc.new_file), ("stream", pyarrow.ipc.new_stream)):
        paths.append(folder / f"{name}.arrow")
        with write(paths[-1], table.schema) as sink:
            sink.write_table(table)
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        paths.append(folder / name)
        with paths[-1].open("w", newline="", encoding="utf-8") as file:
            lines = csv.DictWriter(file, rows[0], delimiter=delimiter)
            lines.writeheader()
            lines.writerows(rows)
    return paths


def test_the_same_content_in_any_form_is_the_same_bank(tmp_path: Path) -> None:
    columns = {
        "q": "question",
        "gold": "answer",
        "one": "a",
        "two": "b",
        "me": "human",
    }
    plain = []
    for row in WIDE:
        named = {columns[key]: value for key, value in row.items()}
        texts = {name: named.pop(name) for name in ("a", "b", "human")}
        plain.append({**named, "rationales": texts})
    expected = own_source(written(tmp_path / "plain.jsonl", plain)).bank
    assert list(expected.rationales["right"]) == [True, True, False, True]
    for path in forms(tmp_path, WIDE):
        assert own_source(path, columns=COLUMNS).bank.fingerprint() == expected.fingerprint(), path
    nested = tmp_path / "nested.parquet"
    pd.DataFrame(plain).to_parquet(nested)  # {teacher: text} in a column of structs
    assert own_source(nested).bank.fingerprint() == expected.fingerprint()


def test_a_row_a_rationale(tmp_path: Path) -> None:
    rows = [
        {"q": "3 + 4?", "gold": 7, "who": who, "text": text}
        for who, text in [("a", "is 7"), ("b", "is 8"), ("a", "so 7"), ("b", None)]
    ]
    columns = {"question": "q", "answer": "gold", "teacher": "who", "rationales": "text"}
    for path in forms(tmp_path, rows):
        bank = own_source(path, columns=columns).bank
        found = bank.rationales[["teacher", "sample", "text"]].values.tolist()
        assert found == [["a", 0, "is 7"], ["a", 1, "so 7"], ["b", 0, "is 8"]]


@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
def test_chats(tmp_path: Path, keys: tuple[str, str]) -> None:
    turns = [("system", "Be brief."), ("user", "3 + 4?"), ("assistant", "is 7")]
    if keys[0] == "from":
        turns = [(who.replace("user", "human").replace("assistant", "gpt"), t) for who, t in turns]
    chat = [dict(zip(keys, turn, strict=True)) for turn in turns]
    columns = {"question": "chat", "rationales": {"a": "chat"}}
    path = written(tmp_path / "a.jsonl", [{"chat": chat, "answer": 7, "id": 1}])
    bank = own_source(path, columns=columns).bank
    assert list(bank.questions["question"]) == ["3 + 4?"]
    assert list(bank.rationales["text"]) == ["is 7"]
    written(path, [{"chat": [*chat, *chat], "answer": 7}])
    with pytest.raises(UserError, match=r"a.jsonl:1: a chat has one message of the user, this one"):
        own_source(path, columns=columns)


def test_think_tags(tmp_path: Path) -> None:
    texts = ["<think>\nAdd.\n</think>\n\nis 7", "Add.</think>is 7", "is 7"]
    path = written(tmp_path / "a.jsonl", [asked("3 + 4?", 7, a=texts)])
    cut, read = (own_source(path, thinking=how).bank.rationales["text"] for how in ("cut", "read"))
    assert set(cut) == {"is 7"} and set(read) == {"Add.\nis 7", "is 7"}
    for text in ("<think>Add", "<think>Add</think> ", "<think>a</think><think>b"):
        written(path, [asked("3 + 4?", 7, a=text)])
        with pytest.raises(UserError, match="ends before its thinking does, or with it"):
            own_source(path, thinking="cut")


def test_rows_that_cannot_be_read_end_the_run_or_are_counted(tmp_path: Path) -> None:
    rows = [asked("3 + 4?", 7), asked("1 + 1?", "green"), asked("2 + 2?", 4, a=""), asked("5?", 5)]
    path = written(tmp_path / "a.jsonl", rows)
    with pytest.raises(UserError, match=r"a.jsonl:3: the rationale of 'a' is not a text: ''"):
        own_source(path, answer="number")
    source = own_source(path, answer="number", bad_rows="drop")
    assert list(source.bank.questions["question"]) == ["3 + 4?", "5?"]
    assert source.notes[:2] == (
        "left out: 1 row that can't be read, the first a.jsonl:3: the rationale of 'a' is not a "
        "text: ''",
        "left out: 1 row (the answer of questions is not a number): 2",
    )
    written(path, [asked("3 + 4?", "green")])
    with pytest.raises(UserError, match="the answers are not all numbers"):
        own_source(path, bad_rows="drop")


def test_rationales_without_an_answer_are_counted_by_teacher_with_their_rows(tmp_path: Path):
    rows = [asked("3 + 4?", 7, a="is 7", b="Je ne sais pas."), asked("5?", 5, a="is 5", b="?")]
    source = own_source(written(tmp_path / "a.jsonl", rows))
    assert source.notes == ("b: 2 rationales state no answer: 1, 2",)


def test_more_teachers_are_joined_to_the_bank_s_questions(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [asked("3 + 4?", 7, a="is 7"), asked("5?", 5, a="is 5")])
    more = written(tmp_path / "more.jsonl", [
        {"question": "3 + 4?", "answer": 7, "teacher": "c", "rationale": "is 7", "generated": {}},
        {"question": "3 + 4?", "answer": 7, "teacher": "c", "rationale": None, "generated": {}},
        {"question": "of nobody", "answer": 7, "teacher": "c", "rationale": "is 7"},
    ])  # fmt: skip
    bank = own_source(path).bank
    joined, notes = with_more(bank, DataSpec(more=[str(more)]))
    assert joined.teachers == ("a", "c")
    assert joined.rationales["teacher"].tolist() == ["a", "a", "c"]
    assert notes == ["left out: 1 row (c: not a training question): 3"]
    with pytest.raises(UserError, match=r"more.jsonl: the teacher 'c' is there already"):
        with_more(joined, DataSpec(more=[str(more)]))


@settings(max_examples=12)
@given(st.data())
def test_any_text_survives_every_form(tmp_path_factory: Any, data: Any) -> None:
    alphabet = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
    texts = st.text(alphabet, min_size=1, max_size=20).filter(
        lambda text: text.strip() and "think>" not in text
    )
    rows = [
        {"question": "Q?", "answer": 5, "text": t} for t in data.draw(st.lists(texts, min_size=4))
    ]
    columns = {"rationales": {"a": "text"}}
    banks = [own_source(p, columns=columns).bank for p in forms(tmp_path_factory.mktemp("f"), rows)]
    assert {bank.fingerprint() for bank in banks} == {banks[0].fingerprint()}
