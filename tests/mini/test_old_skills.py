"""What may be rehearsed: of the pre-training, and nothing that any task asks."""

from __future__ import annotations

import itertools

import pytest

from compact_bench.data.splits import normalise
from compact_bench.errors import UserError
from compact_bench.mini import old_skills, problems
from compact_bench.mini.nano.pretrain import Recipe, examples, nano_path
from compact_bench.mini.old_skills import SIZE, old_bank, old_examples
from compact_bench.mini.world import GENERATORS, forgetting, generate
from compact_bench.student.encode import Encoder
from compact_bench.suite.schema import Suite


@pytest.fixture(scope="module")
def bank():
    return old_bank({})


def test_it_is_what_the_student_was_made_of(bank):
    """Prompt and target of each, token for token, are among the first batches of the recipe."""
    from transformers import AutoTokenizer

    encoder = Encoder(AutoTokenizer.from_pretrained(nano_path()))
    batches = itertools.islice(examples(Recipe()), 2 * SIZE // Recipe().problems)
    seen = set(itertools.chain.from_iterable(batches))
    assert len(bank.questions) == len(bank.rationales) == SIZE
    rows = bank.rationales.merge(bank.questions, on="question_id", suffixes=("", "_gold"))
    for row in rows.itertuples():
        assert row.answer == row.answer_gold
        prompt, target = f"Question: {row.question}\nAnswer:", f" {row.text}"
        assert (prompt, target) in seen
        encoded = encoder.rationale(row.text, row.answer)
        assert encoder.prompt(row.question) == encoder.ids(prompt)
        assert encoded.ids == [*encoder.ids(target), encoder.tokenizer.eos_token_id]


def test_no_question_of_any_set_is_in_it(bank):
    old = {normalise(question) for question in bank.questions["question"]}
    assert all(problems.belongs(one, "pretraining") for one in bank.questions["question"])
    sets = [table["question"] for seed in (0, 1) for table in forgetting(seed).values()]
    sets.append([fact.question for fact in old_skills.facts()])
    for problem in GENERATORS:
        world = generate(problem)
        sets += [world.dev["question"], world.test["question"], world.bank.questions["question"]]
    for questions in sets:
        assert len(questions) > 0 and not old & {normalise(question) for question in questions}


def test_a_task_that_asks_one_of_them_is_refused(bank):
    asked = [bank.questions["question"].iloc[7].upper()]
    with pytest.raises(UserError, match="1 of the 1 test questions of 'own' are in the training"):
        old_bank({"own": asked})


def test_the_same_call_gives_the_same_texts(bank):
    assert old_bank({}).fingerprint() == bank.fingerprint()


@pytest.mark.parametrize(
    ("source", "student", "size"),
    [("mini", "nano", SIZE), ("mini", "some/hub-model", 0), ("svamp", "nano", 0)],
)
def test_only_the_nano_student_has_any(source, student, size):
    values = {
        **{"suite": "gsm8k", "title": "", "profile": "mini", "methods": ["x"], "seeds": [0]},
        **{"student": {"id": student}, "data": {"source": source}},
        "training": {"learning_rate": 1e-3, "epochs": 1, "batch_size": 2},
        "evaluation": {"tasks": [{"task": "in_domain", "role": "reasoning"}]},
    }
    assert old_examples(Suite.model_validate(values)) == size
