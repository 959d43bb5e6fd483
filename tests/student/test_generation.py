"""Decoding and likelihoods against forwards of one row without a cache."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    DynamicCache,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.cache_utils import DynamicLayer

from compact_bench.student import generation
from compact_bench.student.encode import NEXT_QUESTION, Encoder
from compact_bench.student.generation import (
    Generated,
    RoomyLayer,
    Stops,
    batches,
    continue_with,
    decode,
    end_ids,
    generate,
    own_noise,
    own_rationales,
    prefill,
    shared_beginnings,
)
from tests.models import make_batch, tiny_model, tiny_tokenizer
from tests.tiny_student import GOLD, LIMIT, byte_tokenizer, taught_student


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture(scope="module")
def student(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return taught_student(tokenizer)


def test_limits_do_not_depend_on_the_batch(student, tokenizer):
    prompts = [tokenizer(f"Question: {q}\nAnswer:")["input_ids"] for q in GOLD]
    stops = Stops(tokenizer, ("Question:",), end_ids(student, tokenizer))
    alone = generate(student, prompts, stops, max_new_tokens=LIMIT, batch_size=1)
    assert generate(student, prompts, stops, max_new_tokens=LIMIT, batch_size=5) == alone


def test_generation_settings_of_the_model_do_not_count(student, tokenizer):
    prompts = [tokenizer("Question: 6 and 1 ?\nAnswer:")["input_ids"]]
    stops = Stops(tokenizer, (), end_ids(student, tokenizer))
    before = generate(student, prompts, stops, max_new_tokens=9, batch_size=1)
    student.generation_config.repetition_penalty = 3.0
    try:
        after = generate(student, prompts, stops, max_new_tokens=9, batch_size=1)
    finally:
        student.generation_config.repetition_penalty = None
    assert after == before


def windowed_student() -> Gemma3ForCausalLM:
    """A Gemma with a window shorter than the rows."""
    torch.manual_seed(3)
    config = Gemma3TextConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        eos_token_id=59,
        pad_token_id=0,
    )
    model = Gemma3ForCausalLM(config).eval()
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=1.0)
    return model


PROMPTS = [list(range(1, 20)), [5, 6, 7], [40, 2, 9, 9, 31, 8, 7, 1, 50]]


@torch.no_grad()
def test_sliding_window_decoding():
    model = windowed_student()
    rows = decode(model, prefill(model, PROMPTS), Stops(byte_tokenizer()), 12)
    for prompt, row in zip(PROMPTS, rows, strict=True):
        text = list(prompt)
        for _ in range(12):
            text.append(int(model(torch.tensor([text])).logits[0, -1].argmax()))
        assert list(row.ids) == text[len(prompt) :]


@torch.no_grad()
def test_sliding_window_branches():
    """Several continuations of one prompt, of unlike lengths, longer than the window or not."""
    model = windowed_student()
    owners = [0, 0, 1, 2, 2]
    rows = [[3], list(range(20, 32)), [8, 9], [11] * 9, [7, 30, 2]]
    starts = [0, 10, 1, 0, 0]
    found = continue_with(model, prefill(model, PROMPTS).taken(owners), rows, starts)
    for owner, row, start, (value, _) in zip(owners, rows, starts, found, strict=True):
        before = PROMPTS[owner]
        logits = model(torch.tensor([before + row])).logits[0].log_softmax(-1)
        at = len(before) - 1
        expected = sum(float(logits[at + t, row[t]]) for t in range(start, len(row)))
        assert value == pytest.approx(expected, abs=1e-4)


def test_batches_are_sorted_and_complete():
    assert list(batches([3, 9, 5, 9], 2)) == [[1, 3], [2, 0]]


def test_stop_strings_and_partial_characters(tokenizer):
    stops = Stops(tokenizer, ("é!", "Question:"))
    ids = tokenizer("caf\u00e9!")["input_ids"]
    assert not any(stops.hit(ids[: i + 1]) for i in range(len(ids) - 1))
    assert stops.hit(ids)
    assert stops.cut("abQuestion: cé!d") == "ab"


EXAMPLES = [7, 3, 9, 4, 8, 2, 6, 5] * 3  # a beginning that prompts share
TAILS = st.lists(st.lists(st.integers(2, 40), min_size=1, max_size=9), min_size=1, max_size=6)


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def exact_model(request):
    """In float64, where the batch can't decide between two tokens."""
    return tiny_model(request.param, torch.float64).eval()


def alone(model, prompt: list[int], limit: int, ends: frozenset[int]) -> tuple[int, ...]:
    """Greedy tokens by the model's own forward on one row, without a cache."""
    row = list(prompt)
    with torch.no_grad():
        while len(row) < len(prompt) + limit:
            token = int(model(torch.tensor([row])).logits[0, -1].argmax())
            if token in ends:
                break
            row.append(token)
    return tuple(row[len(prompt) :])


@settings(deadline=None, max_examples=25)
@given(tails=TAILS, sharing=st.integers(0, 6), size=st.integers(1, 6), random=st.randoms())
def test_rows_do_not_depend_on_their_batch(exact_model, tails, sharing, size, random):
    """Together, apart and in any order, with a beginning read once or not: the same tokens."""
    prompts = [EXAMPLES * (n < sharing) + tail for n, tail in enumerate(tails)]
    # Half of the tokens end a row, so that rows leave the batch at unlike steps.
    stops = Stops(byte_tokenizer(), (), frozenset(range(0, exact_model.config.vocab_size, 5)))
    random.shuffle(prompts)
    found = generate(exact_model, prompts, stops, max_new_tokens=6, batch_size=size)
    for prompt, row in zip(prompts, found, strict=True):
        assert row.ids == alone(exact_model, prompt, 6, stops.end_ids)
        assert row.ended == (len(row.ids) < 6)


@torch.no_grad()
def test_a_shared_beginning_is_read_once_and_changes_nothing(monkeypatch):
    model = tiny_model("llama", torch.float64).eval()
    prompts = [EXAMPLES + [11, 12, 13], [30, 31], EXAMPLES + [14]]
    read: list[int] = []

    def count(module, args, inputs):
        read.append(int(inputs["attention_mask"][:, -inputs["input_ids"].shape[1] :].sum()))

    handle = model.register_forward_pre_hook(count, with_kwargs=True)
    once = prefill(model, prompts, 4)
    assert sum(read) == len(EXAMPLES) + 3 + 2 + 1
    read.clear()
    monkeypatch.setattr(generation, "shared_beginnings", lambda rows: ([None] * len(rows), []))
    apart = prefill(model, prompts, 4)
    assert sum(read) == sum(map(len, prompts))
    handle.remove()
    torch.testing.assert_close(once.logits, apart.logits)
    rows = [[3, 4], [5], [6, 7, 8]]
    values = [continue_with(model, prefix, rows, [0, 0, 1]) for prefix in (once, apart)]
    assert [v for v, _ in values[0]] == pytest.approx([v for v, _ in values[1]], abs=1e-9)


@given(tails=TAILS, sharing=st.integers(0, 6))
def test_beginnings_are_shared_and_pay(tails, sharing):
    prompts = [EXAMPLES * (n < sharing) + tail for n, tail in enumerate(tails)]
    owners, beginnings = shared_beginnings(prompts)
    for prompt, owner in zip(prompts, owners, strict=True):
        if owner is not None:
            length = len(beginnings[owner])
            assert prompt[:length] == list(beginnings[owner]) and length < len(prompt)
            assert owners.count(owner) > 1 and length >= generation.SHORTEST_SHARED
    read = sum(map(len, beginnings)) + sum(
        len(p) - (0 if o is None else len(beginnings[o]))
        for p, o in zip(prompts, owners, strict=True)
    )
    total = sum(map(len, prompts))
    assert read == total or read <= (1 - generation.LEAST_SAVED) * total


@torch.no_grad()
def test_sampled_rows_have_the_model_s_frequencies_and_their_own_noise():
    """Drawn by inversion: as often as the model says, whatever else is in the batch."""
    model = tiny_model("llama", torch.float64).eval()
    stops = Stops(byte_tokenizer(), (), frozenset({1}))
    prompts = [[5, 6, 7], [8, 9]]
    count = 3000
    noise = torch.rand(count, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    owners = [n % 2 for n in range(count)]

    def drawn(rows: list[int]) -> list:
        prefix = prefill(model, prompts, 3).taken([owners[n] for n in rows])
        return decode(model, prefix, stops, 3, noise[rows])

    together = drawn(list(range(count)))
    assert drawn(list(range(count))) == together
    for rows in ([0], [5, 4, 77], [301, 17]):
        assert drawn(rows) == [together[n] for n in rows]
    for owner, prompt in enumerate(prompts):
        chances = model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
        first = [row.ids[0] if row.ids else 1 for row in together[owner::2]]
        shares = torch.bincount(torch.tensor(first), minlength=len(chances)) / len(first)
        # A share's standard deviation is sqrt(p (1 - p) / n); five of them.
        allowed = 5 * (chances * (1 - chances) / len(first)).sqrt() + 1 / len(first)
        assert bool(((shares - chances).abs() <= allowed).all())


HEADS, WIDTH, OTHER = 2, 3, 5  # of keys and of values: some architectures' differ


def states(rows: int, tokens: int, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    shape = rows, HEADS, tokens
    return torch.randn(*shape, WIDTH, generator=draw), torch.randn(*shape, OTHER, generator=draw)


# What is done to a cache: so many tokens appended, or rows chosen by their places.
MOVES = st.lists(
    st.one_of(st.integers(1, 4), st.lists(st.integers(0, 1), min_size=2, max_size=4)), max_size=6
)


@settings(deadline=None)
@given(moves=MOVES, further=st.integers(0, 5))
def test_holds_what_the_copying_layer_holds(moves, further):
    ours, theirs = RoomyLayer(further), DynamicLayer()
    draw = torch.Generator().manual_seed(0)
    rows = 2
    for move in [1, *moves]:
        if isinstance(move, int):
            new = states(rows, move, draw)
            pairs = zip(ours.update(*new), theirs.update(*new), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
        else:
            chosen = torch.tensor(move)
            ours.batch_select_indices(chosen), theirs.batch_select_indices(chosen)
            rows = len(move)
        assert torch.equal(ours.keys, theirs.keys) and torch.equal(ours.values, theirs.values)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(1) == theirs.get_mask_sizes(1)


def test_no_copy_while_there_is_room():
    draw = torch.Generator().manual_seed(0)
    layer = RoomyLayer(further=3)
    layer.update(*states(2, 4, draw))
    place = layer.keys.data_ptr()
    for _ in range(3):
        layer.update(*states(2, 1, draw))
        assert layer.keys.data_ptr() == place
    layer.update(*states(2, 1, draw))  # more than there is room for
    assert layer.keys.data_ptr() != place and layer.get_seq_length() == 8


def test_chosen_rows_of_a_copy_leave_the_others_as_they_are():
    draw = torch.Generator().manual_seed(0)
    layer = RoomyLayer(further=2)
    keys, _ = layer.update(*states(2, 4, draw))
    before = keys.clone()
    other = copy.copy(layer)
    other.batch_select_indices(torch.tensor([1, 1, 0]))
    other.update(*states(3, 1, draw))
    layer.update(*states(2, 1, draw))
    assert torch.equal(layer.keys[:, :, :4], before)
    assert torch.equal(other.keys[:, :, :4], before[[1, 1, 0]])


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen2_window", "gemma3"])
@torch.no_grad()
def test_a_model_gives_the_same_logits_on_either(kind):
    """Sliding layers too, which see no more than their window in a cache that keeps everything."""
    model = tiny_model(kind, torch.float64).eval()
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(2, model.config.vocab_size, (2, 40), generator=draw)
    theirs, ours = DynamicCache(config=model.config), DynamicCache()
    ours.layers = [RoomyLayer(9) for _ in theirs.layers]
    for part in ids.split([30, 1, 1, 6, 2], dim=1):
        logits = [
            model(part, past_key_values=cache, use_cache=True).logits for cache in (ours, theirs)
        ]
        torch.testing.assert_close(*logits)


def test_a_rationale_as_it_was_written_knows_its_answer_and_its_steps():
    tokenizer = tiny_tokenizer()
    encoder, batch = Encoder(tokenizer), make_batch(tokenizer)
    end = tokenizer.eos_token_id
    texts = [
        [" 7 + 5 = 12. The answer is 12", " 7 + 5 = 13. The answer is 13"],
        [" 3 - 1 = 2.", " 3 - 1 = 2. The answer is 2 Question: 9?"],
    ]
    written = [
        [Generated(tuple(encoder.ids(text)), True, end, (-1.0,) * 5) for text in row]
        for row in texts
    ]
    written[1][1] = replace(written[1][1], end=None)  # by the stop string
    own = own_rationales(batch, written, Stops(tokenizer, (NEXT_QUESTION,)), encoder)
    assert own.batch.answer_texts == [["12", "13"], [None, "2"]]
    assert own.batch.right.tolist() == [[True, False], [False, True]]
    assert own.texts[1] == [" 3 - 1 = 2.", " 3 - 1 = 2. The answer is 2 "]
    # As the template has it, so its marks are known; the others have none.
    same = encoder.rationale("7 + 5 = 12.", "12", gold="12")
    assert own.batch.rationale_ids[0][0] == same.ids
    assert own.batch.answer_start[0][0] == same.answer_start
    assert own.batch.step_ends[0][0] == same.step_ends
    ids = [encoder.ids(text) for text in texts[1]]
    assert own.batch.rationale_ids[1] == [[*ids[0], end], ids[1]]
    assert own.batch.step_ends[1] == [encoder.rationale("3 - 1 = 2.", None).step_ends, []]
    assert own.log_p.shape == (2, 2, len(ids[1]))
    assert own.log_p.sum(-1).tolist() == [[-5.0] * 2] * 2


@given(st.integers(0, 2**40), st.lists(st.integers(0, 999)), st.integers(1, 40), st.integers(0, 40))
def test_noise_does_not_depend_on_how_much_of_it_is_drawn(seed, prompt, count, more):
    some = own_noise(seed, 3, prompt, 1, count)
    assert torch.equal(own_noise(seed, 3, prompt, 1, count + more)[:count], some)
    assert bool(((some >= 0) & (some < 1)).all())
    for other in ((seed + 1, 3, prompt, 1), (seed, 4, prompt, 1), (seed, 3, prompt, 0)):
        assert not torch.equal(own_noise(*other, count), some)
    assert not torch.equal(own_noise(seed, 3, [*prompt, 1], 1, count), some)
