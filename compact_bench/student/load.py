"""Loading a student: hub id, local folder, GGUF file or the nano student that ships along."""

from __future__ import annotations

from typing import Any

import torch

from compact_bench.errors import UserError
from compact_bench.student.identity import is_gguf, student_path
from compact_bench.student.layouts import TokenRow
from compact_bench.student.student import Student

LAYOUT_TOLERANCE = 1e-3  # of a mean NLL of some nats; wrong masks are off by 1e-2 and more


def pick_device(wanted: str) -> str:
    """The device for "auto": a GPU where there is one."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_student(spec: Any, *, lora_dropout: float = 0.0, seed: int = 0) -> Student:
    """Loads what a StudentSpec names, ready to be trained.

    `seed` fixes the initial LoRA weights. Raises UserError where the student can't be loaded.
    """
    device = pick_device(spec.device)
    try:
        causal, tokenizer = _from_pretrained(spec)
    except UserError:
        raise
    except Exception as error:  # any of transformers' many: all mean the same to the user
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"student.id: can't load {spec.id!r}: {reason[:200]}") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"student.id: the tokenizer of {spec.id!r} has no end-of-sequence token")
    causal.to(device)
    model: Any = causal
    if spec.lora is not None:
        model = _with_lora(causal, spec.lora, lora_dropout, seed)
    if spec.gradient_checkpointing:
        causal.gradient_checkpointing_enable()
        causal.enable_input_require_grads()
    layout, reason = choose_layout(spec.layout, model, causal, tokenizer, device)
    return Student(
        model,
        causal,
        tokenizer,
        layout=layout,
        layout_reason=reason,
        chat=spec.chat,
        device=device,
    )


def same_tokenizer(spec: Any, student_id: str) -> bool:
    """Whether another model has the vocabulary of the student that a StudentSpec names.

    Raises UserError where a tokenizer can't be loaded.
    """
    vocabularies = []
    for one in (spec, spec.model_copy(update={"id": student_id, "revision": None})):
        try:
            vocabularies.append(_tokenizer(one)[0].get_vocab())
        except Exception as error:
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise UserError(f"can't load the tokenizer of {one.id!r}: {reason[0][:200]}") from error
    return bool(vocabularies[0] == vocabularies[1])


def _tokenizer(spec: Any) -> tuple[Any, Any, dict[str, Any]]:
    """The tokenizer, and from where and how the model is loaded."""
    from transformers import AutoTokenizer

    path = student_path(spec.id)
    where: Any = spec.id if path is None else path
    arguments: dict[str, Any] = {}
    if path is not None and is_gguf(spec.id):
        where, arguments["gguf_file"] = path.parent, path.name
    elif path is None and spec.revision:
        arguments["revision"] = spec.revision
    if spec.trust_remote_code:
        arguments["trust_remote_code"] = True
    return AutoTokenizer.from_pretrained(where, **arguments), where, arguments


def _from_pretrained(spec: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM

    tokenizer, where, arguments = _tokenizer(spec)
    if "gguf_file" not in arguments:
        arguments["use_safetensors"] = True
    causal = AutoModelForCausalLM.from_pretrained(
        where, dtype=getattr(torch, spec.dtype), attn_implementation="sdpa", **arguments
    )
    return causal, tokenizer


def _with_lora(causal: Any, lora: Any, dropout: float, seed: int) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=max(dropout, lora.dropout),
        target_modules=list(lora.targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return get_peft_model(causal, config)
        except ValueError as error:
            raise UserError(f"student.lora.targets: {str(error).splitlines()[0]}") from error


def choose_layout(
    wanted: str, model: Any, causal: Any, tokenizer: Any, device: str
) -> tuple[str, str]:
    """The layout to use and, where that is not the shared prefix, why.

    The shared prefix is tried on a few tokens, since an architecture may ignore or misread a
    block mask without a word.
    """
    if wanted == "padded":
        return "padded", "asked for"
    if causal.config._attn_implementation != "sdpa":
        return "padded", f"attention is {causal.config._attn_implementation}, not sdpa"
    student = Student(model, causal, tokenizer, device=device)
    vocabulary = causal.get_input_embeddings().weight.shape[0]
    window = getattr(causal.config, "sliding_window", None) or 8
    draw = torch.Generator().manual_seed(0)

    def tokens(count: int) -> list[int]:
        return torch.randint(0, vocabulary, (count,), generator=draw).tolist()

    prefix = tokens(min(window, 24) + 3)
    rows = [TokenRow(0, 0, prefix, tokens(5)), TokenRow(0, 1, prefix, tokens(9))]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            nll = [
                student.pass_rows(rows, (1, 2), name).losses(student.head, ()).nll
                for name in ("padded", "shared")
            ]
    except Exception as error:  # an architecture that refuses the mask falls back, with the reason
        return "padded", f"shared prefix failed: {type(error).__name__}: {error}"[:200]
    finally:
        model.train(training)
    gap = float((nll[0] - nll[1]).abs().max())
    tolerance = LAYOUT_TOLERANCE if causal.dtype != torch.bfloat16 else 0.1
    if gap < tolerance:
        return "shared", ""
    return "padded", f"shared prefix gives other numbers (NLL off by {gap:.1e})"
