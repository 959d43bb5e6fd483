"""The shipped student and its tokenizer: what it knows, and that it can be made again."""

import itertools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.mini import old_skills, problems, teachers, world
from compact_bench.mini.nano.pretrain import (
    PIECE,
    Recipe,
    build_tokenizer,
    encode,
    examples,
    nano_path,
    pretrain,
    words,
)


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(nano_path())


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(nano_path()).eval()


@pytest.fixture(scope="module")
def built():
    """The tokenizer as the code builds it."""
    return build_tokenizer()


def generated_texts():
    """Prompts and rationales of every generator, every teacher and every style."""
    for problem, generator in world.GENERATORS.items():
        stream = generator.questions(random.Random(problem), "train")
        for made in itertools.islice(stream, 60):
            said = [*teachers.teach(made, 0, 0.5), teachers.human_solution(made)]
            for rationale in said:
                yield f"Question: {made.question}\nAnswer:", f" {rationale.text}"
    for fact in old_skills.facts():
        yield f"Question: {fact.question}\nAnswer:", f" {teachers.with_answer('', fact.answer)}"


def test_texts_of_every_generator_survive_as_whole_words(tokenizer):
    for prompt, target in generated_texts():
        together = tokenizer(prompt + target).input_ids
        assert tokenizer.decode(together) == prompt + target
        # Apart and together alike: training joins the two, evaluation continues the prompt.
        assert tokenizer(prompt).input_ids + tokenizer(target).input_ids == together
        assert len(together) == len(re.findall(PIECE, prompt + target))


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_text_survives(built, text):
    assert built.decode(built(text).input_ids) == text


def test_digits_are_single_tokens(tokenizer):
    ids = tokenizer("1450 + 27").input_ids
    assert [tokenizer.decode([i]) for i in ids] == ["1", "4", "5", "0", " +", " 2", "7"]


def test_shipped_tokenizer_is_the_one_that_the_code_builds(tokenizer, built):
    assert tokenizer.get_vocab() == built.get_vocab()
    assert len(words()) == len(set(words()))
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert None not in (tokenizer.pad_token_id, tokenizer.eos_token_id)


def test_student_is_small_and_safe(model, tokenizer):
    assert 1e6 < sum(p.numel() for p in model.parameters()) < 2e6
    assert {path.suffix for path in nano_path().iterdir()} <= {".json", ".safetensors", ".jinja"}
    assert sum(path.stat().st_size for path in nano_path().iterdir()) < 8e6
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def accuracy(model, tokenizer, table):
    """Share of greedy answers that are right, all items in one batch, padded on the left."""
    import torch

    from compact_bench.data.answers import extract_answer

    prompts = [tokenizer(f"Question: {q}\nAnswer:").input_ids for q in table.question]
    width = max(map(len, prompts))
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=48, do_sample=False,
                         pad_token_id=pad, eos_token_id=eos)  # fmt: skip
    said = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
    right = [extract_answer(s, "number") == a for s, a in zip(said, table.answer, strict=True)]
    return sum(right) / len(right)


@pytest.mark.parametrize(
    ("task", "lowest", "highest"),
    [("mini_one_step", 0.9, 1), ("mini_two_step", 0.8, 1), ("mini_facts", 0.9, 1)],
)
def test_student_knows_what_it_may_forget(model, tokenizer, task, lowest, highest):
    table = world.forgetting(0)[task].head(60)
    assert lowest <= accuracy(model, tokenizer, table) <= highest


def test_student_has_three_steps_to_learn(model, tokenizer):
    table = world.generate("gsm8k", train=1, dev=60, test=1).dev
    assert accuracy(model, tokenizer, table) <= 0.2


def test_pretraining_texts_are_short_problems_of_their_own_set():
    batches = examples(Recipe())
    for prompt, target in itertools.chain.from_iterable(itertools.islice(batches, 5)):
        question = prompt.removeprefix("Question: ").removesuffix("\nAnswer:")
        if question in {fact.question for fact in old_skills.facts()}:
            continue
        assert problems.belongs(question, "pretraining")
        assert 1 <= target.count(".") <= 2  # one sentence a step


def test_prompts_and_padding_are_no_targets(tokenizer):
    ids, mask, labels = encode([("Question: a\nAnswer:", " 1"), ("Question:", " 1 2")], tokenizer)
    assert ids.shape == mask.shape == labels.shape == (2, 8)
    eos, ignored = tokenizer.eos_token_id, -100
    assert labels[0].tolist() == [ignored] * 6 + [int(ids[0, 6]), eos]
    assert labels[1].tolist() == [ignored] * 2 + ids[1, 2:4].tolist() + [eos] + [ignored] * 3
    assert mask.sum(1).tolist() == [8, 5]


def test_made_again_from_its_seed_bit_by_bit(tmp_path):
    from safetensors.torch import load_file

    recipe = Recipe(steps=2, problems=4, facts=2, layers=1, hidden=16, heads=2)
    for name in ("first", "second"):
        pretrain(recipe, tmp_path / name, say=lambda line: None)
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("first", "second"))
    assert all(first[key].equal(second[key]) for key in first)
