"""One contender of the measurements in a process of its own, so that its memory is its own.

Reads lines from its parent: "step" has it read the next questions and answer with its processor
seconds a question, "end" with its peak of memory. See `performance`.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from compact_bench.execution.prepare import prepare
from compact_bench.methods.registry import load
from compact_bench.student.encode import EncodedRationale, Example, collate, encode_bank
from compact_bench.student.load import load_student
from compact_bench.student.lora import with_adapters
from compact_bench.student.student import Student
from compact_bench.suite.schema import load_suite
from compact_bench.suite.sections import LoraSpec, StudentSpec
from compact_bench.utils.machine import peak_memory_mb, reset_peak_memory

SUITES = Path(__file__).parent.parent.parent / "suites"
QUESTIONS = 20
TOGETHER = 4  # questions that a contender reads in turn, one after the other or in one batch
ANSWERS = 16  # questions that are answered in a step of the evaluation
STEP_TOKENS = 16  # of a made-up rationale, a reasoning step
PRODUCT = 2048  # rows of the square matrices whose product is the limit


@dataclass
class Work:
    """Steps over some questions; they give the FLOPs of the weights' products, or texts."""

    questions: int
    step: Callable[[], Any]


def real_workload(settings: dict[str, Any]) -> tuple[Student, list[Example], tuple[str, ...]]:
    """A student by its id with SVAMP's rationales, or `nano` with generated problems."""
    name, dtype = settings["student"], settings["dtype"]
    if name == "nano":
        suite = load_suite(SUITES / "gsm8k.yaml", "mini", [f"student.dtype={dtype}"])
    else:
        overrides = [f"student.id={name}", f"student.dtype={dtype}"]
        suite = load_suite(SUITES / "svamp.yaml", "laptop", overrides)
    prepared = prepare(suite, Path(settings["mirror"]) if settings["mirror"] else None)
    student = load_student(suite.student)
    bank = prepared.train.only_teachers(prepared.train.teachers)
    examples, _ = encode_bank(bank, student.encoder, suite.training.max_tokens)
    return student, examples[:QUESTIONS], bank.teachers


def made_up_workload(settings: dict[str, Any]) -> tuple[Student, list[Example], tuple[str, ...]]:
    """A Llama of a given size with random weights, and random tokens of given lengths."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from compact_bench.mini.nano.pretrain import nano_path

    width, layers, length = settings["width"], settings["layers"], settings["length"]
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    causal = LlamaForCausalLM._from_config(config, attn_implementation="sdpa")
    model = with_adapters(causal, LoraSpec(), 0.0, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(nano_path())
    student = Student(model, causal, tokenizer, layout="shared")
    draw = torch.Generator().manual_seed(0)

    def tokens(count: int) -> list[int]:
        return torch.randint(2, len(tokenizer), (count,), generator=draw).tolist()

    teachers = tuple(f"teacher {k}" for k in range(settings["teachers"]))
    ends = list(range(STEP_TOKENS, length + 1, STEP_TOKENS))
    examples = [
        Example(
            str(q),
            "",
            tokens(48),
            tokens(2),
            tuple(
                EncodedRationale(k, 0, tokens(length + 8), length, length + 5, ends, len(ends))
                for k in range(len(teachers))
            ),
        )
        for q in range(8)
    ]
    return student, examples, teachers


def our_step(settings: dict[str, Any]) -> Work:
    """Forward, backward and optimizer of a method."""
    made = real_workload if "student" in settings else made_up_workload
    student, examples, teachers = made(settings)
    method = load().methods[settings["method"]]
    distiller = method()
    if distiller.layout == "padded":
        student.layout = "padded"
    if settings.get("layout"):
        student.layout = settings["layout"]
    size = settings["batch"]
    starts = range(0, len(examples) - size + 1, size)
    batches = cycle([collate(examples[at : at + size], teachers=teachers) for at in starts])
    student.model.train()
    optimizer = torch.optim.AdamW(student.trainable().values(), lr=1e-5, fused=True)

    # Forward and back to the states, and in full training to the weights; once a token that is
    # there, and the head at targets alone.
    head = student.causal.get_output_embeddings().weight.numel()
    layers = student.parameters_passed - head
    passes = 6 if student.full_training else 4

    def step() -> float:
        before = student.cost.physical_tokens, student.cost.supervised_tokens
        for _ in range(TOGETHER // size or 1):
            optimizer.zero_grad(set_to_none=True)
            distiller.backward(student, next(batches))
            optimizer.step()
        read = student.cost.physical_tokens - before[0]
        targets = student.cost.supervised_tokens - before[1]
        # Only average trains on all that it reads, and reads nothing twice.
        known = settings["method"] == "average"
        return float(passes * (layers * read + head * targets)) if known else 0.0

    return Work(max(size, TOGETHER), step)


def trl_step(settings: dict[str, Any]) -> Work:
    """TRL's SFTTrainer on the same tokens, one question's rationales in a padded batch."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    student, examples, _ = real_workload(settings)
    lora = load_suite(SUITES / "svamp.yaml", "laptop", []).student.lora
    plain = load_student(StudentSpec(id=settings["student"], dtype=settings["dtype"])).causal
    plain.set_attn_implementation("sdpa")
    plain.is_quantized = False  # it was read from a GGUF file, as plain weights
    rows = [
        {
            "input_ids": example.prompt_ids + list(rationale.ids),
            "labels": [-100] * len(example.prompt_ids) + list(rationale.ids),
        }
        for example in examples
        for rationale in example.rationales
    ]
    size = len(examples[0].rationales)
    config = SFTConfig(
        output_dir=mkdtemp(),
        per_device_train_batch_size=size,
        use_cpu=True,
        bf16=False,  # the weights are in bfloat16 where that is measured
        gradient_checkpointing=False,
        max_length=None,
        report_to=[],
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
    )
    adapters = lora and LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, target_modules=list(lora.targets), task_type="CAUSAL_LM"
    )
    trainer = SFTTrainer(
        plain,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=student.tokenizer,
        peft_config=adapters,
    )
    del student
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1  # what `train` sets before its first step
    batches = cycle([rows[at : at + size] for at in range(0, len(rows), size)])
    trainer.model.train()

    def step() -> None:
        for _ in range(TOGETHER):
            trainer.optimizer.zero_grad(set_to_none=True)
            trainer.training_step(trainer.model, trainer.data_collator(next(batches)))
            trainer.optimizer.step()

    return Work(TOGETHER, step)


def answering(settings: dict[str, Any]) -> Work:
    """Greedy answers by our model of lm-eval, or by lm-eval's own."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from compact_bench.evaluation.lm import StudentLM

    student, examples, _ = real_workload(settings)
    student.merged()
    size = settings["batch"]
    ours = settings["kind"] == "answers"
    lm = (
        StudentLM(student, size)
        if ours
        else HFLM(pretrained=student.causal, tokenizer=student.tokenizer, batch_size=size)
    )
    kwargs = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 64}
    requests = [
        Instance(
            "generate_until",
            {"question_id": example.question_id},
            (student.tokenizer.decode(example.prompt_ids), kwargs),
            0,
        )
        for example in examples[:ANSWERS]
    ]
    return Work(len(requests), partial(lm.generate_until, requests, disable_tqdm=True))


def product(settings: dict[str, Any]) -> Work:
    """The product of two large matrices: what the processor can do."""
    a, b = torch.randn(2, PRODUCT, PRODUCT, dtype=getattr(torch, settings["dtype"]))
    return Work(1, partial(torch.mm, a, b))


KINDS = {
    "ours": our_step,
    "trl": trl_step,
    "answers": answering,
    "lm_eval": answering,
    "product": product,
}


def answers_of(settings: dict[str, Any], lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """What the parent is told: FLOPs, seconds a question for each step, at last the peak."""
    torch.set_num_threads(settings.get("threads", 1))
    work = KINDS[settings["kind"]](settings)
    gc.collect()
    reset_peak_memory()
    first = work.step()  # also warms up
    texts = first if isinstance(first, list) else []
    yield {"texts": texts}
    for line in lines:
        if line.strip() == "end":
            break
        began = time.process_time()
        done = work.step()
        seconds = time.process_time() - began
        flops = done if isinstance(done, float) else 0.0
        yield {"seconds": seconds / work.questions, "rate": flops / seconds}
    yield {"peak_mb": peak_memory_mb()}


if __name__ == "__main__":
    answer = sys.stdout
    with redirect_stdout(sys.stderr):  # libraries may talk
        for found in answers_of(json.loads(sys.argv[1]), iter(sys.stdin)):
            print(json.dumps(found), file=answer, flush=True)
