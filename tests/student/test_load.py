"""Loading students: folders, GGUF files, and what is said when it doesn't work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from compact_bench.errors import UserError
from compact_bench.student.load import load_student, same_tokenizer, student_hash
from compact_bench.suite.sections import LoraSpec, StudentSpec
from tests.models import make_batch, save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("students") / "tiny")


@pytest.mark.parametrize("lora", [None, LoraSpec(r=2)])
@pytest.mark.parametrize("hardware", [False, True])
def test_auto_is_bfloat16_where_the_device_has_it(lora, hardware, monkeypatch):
    monkeypatch.setattr("compact_bench.utils.machine.has_bfloat16", lambda device: hardware)
    spec = StudentSpec(dtype="auto", lora=lora)
    in_hardware = "bfloat16" if lora else "mixed"
    assert spec.settled().dtype == (in_hardware if hardware else "float32")
    assert StudentSpec(dtype="float32").settled().dtype == "float32"


def test_mixed_multiplies_in_bfloat16_and_keeps_float32_weights_losses_and_gradients():
    exact, mixed = (load_student(StudentSpec(dtype=dtype)) for dtype in ("float32", "mixed"))
    batch = make_batch(exact.tokenizer)
    losses, gradients = [], []
    for student in (exact, mixed):
        nll = student.forward(batch, needs={"answer_gain"}).nll
        nll.sum().backward()
        losses.append(nll.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in student.trainable().values()]))
        assert {t.dtype for t in (nll, *student.trainable().values())} == {torch.float32}
    assert 0 < float((losses[0] - losses[1]).abs().max()) < 0.1  # 8 bits of some nats
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99


def test_a_folder_is_loaded_for_full_training(folder):
    student = load_student(StudentSpec(id=str(folder)))
    assert student.layout == "shared" and student.layout_reason == ""
    assert student.full_training
    assert student.network.pad_id == 0 and student.encoder.eos == [1]


def test_bf16_and_a_layout_that_was_asked_for(folder):
    student = load_student(StudentSpec(id=str(folder), dtype="bfloat16", layout="padded"))
    assert student.causal.dtype == torch.bfloat16
    assert (student.layout, student.layout_reason) == ("padded", "asked for")


def test_lora_starts_as_the_base_student_and_is_fixed_by_the_seed(folder):
    spec = StudentSpec(id=str(folder), lora=LoraSpec(r=2))
    one, same, other = (load_student(spec, seed=s) for s in (1, 1, 2))
    assert not one.full_training
    a, b, c = (s.state_dict() for s in (one, same, other))
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert any(not torch.equal(a[n], c[n]) for n in a)
    base = load_student(StudentSpec(id=str(folder)))
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.allclose(one.merged()(ids).logits, base.causal(ids).logits, atol=1e-6)


def test_merging_adapters_keeps_the_trained_outputs(folder):
    student = load_student(StudentSpec(id=str(folder), lora=LoraSpec(r=2)))
    with torch.no_grad():
        for parameter in student.trainable().values():
            parameter.add_(0.05)
    student.model.eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    trained = student.model(ids).logits
    base = load_student(StudentSpec(id=str(folder))).causal(ids).logits
    assert not torch.allclose(trained, base, atol=1e-2)
    assert torch.allclose(student.merged()(ids).logits, trained, atol=1e-4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"id": "./no/such/folder"}, "no file or folder"),
        ({"id": "missing.gguf"}, "no file or folder"),
        ({"id": "~nosuchuser/model"}, "is no path"),
        ({"id": "./" + "x" * 900}, "is no path"),
        ({"id": "nobody/nothing-here"}, "can't load 'nobody/nothing-here'"),
    ],
)
def test_a_student_that_is_not_there(spec, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=message) as error:
        load_student(StudentSpec(**spec))
    assert "\n" not in str(error.value)


def test_broken_weights_and_wrong_lora_targets(folder, tmp_path):
    with pytest.raises(UserError, match=r"student\.lora\.targets"):
        load_student(StudentSpec(id=str(folder), lora=LoraSpec(targets=["no_such_layer"])))
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(UserError, match="can't load"):
        load_student(StudentSpec(id=str(broken)))


def test_pickled_weights_are_refused(folder, tmp_path):
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    (pickled / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match="can't load"):
        load_student(StudentSpec(id=str(pickled)))


def test_the_hash_follows_the_content(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert student_hash(StudentSpec(id=str(copy))) == student_hash(StudentSpec(id=str(folder)))
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert student_hash(StudentSpec(id=str(copy))) != student_hash(StudentSpec(id=str(folder)))
    assert student_hash(StudentSpec(id="a/b", revision="r1")) == "a/b@r1"


def write_gguf(path: Path, source: Path) -> None:
    """The tiny Llama as a GGUF file, with a byte-level vocabulary as such files have."""
    import gguf
    from safetensors.numpy import load_file
    from transformers import AutoConfig, AutoTokenizer

    config, tokenizer = AutoConfig.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    tokens[-1] = "ab"  # the format wants at least one merge
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(1)
    writer.add_pad_token_id(0)
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    parts = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for i in range(config.num_hidden_layers):
        names |= {f"model.layers.{i}.{a}.weight": f"blk.{i}.{b}.weight" for a, b in parts.items()}
    for name, tensor in load_file(source / "model.safetensors").items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        for part, count in heads.items():
            if part in name:  # GGUF interleaves the rotary halves
                half = tensor.reshape(count, 2, -1, tensor.shape[1])
                tensor = half.swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(names[name], np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_loaded_and_trainable(folder, tmp_path):
    path = tmp_path / "tiny.gguf"
    write_gguf(path, folder)
    student = load_student(StudentSpec(id=str(path), lora=LoraSpec(r=2)))
    assert student.layout == "shared"
    assert all(p.requires_grad for p in student.trainable().values())
    plain = load_student(StudentSpec(id=str(folder)))
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    student.model.eval()
    assert torch.allclose(student.model(ids).logits, plain.causal(ids).logits, atol=1e-4)
    assert len(student_hash(StudentSpec(id=str(path)))) == 16


def test_tokenizers_are_compared_by_vocabulary(tmp_path):
    tiny = str(save_tiny("llama", tmp_path / "one"))
    other = str(save_tiny("llama", tmp_path / "two"))
    assert same_tokenizer(StudentSpec(id=tiny), other)
    assert not same_tokenizer(StudentSpec(id="nano"), tiny)
    with pytest.raises(UserError, match="can't load the tokenizer of"):
        same_tokenizer(StudentSpec(id=tiny), str(tmp_path / "nothing"))
