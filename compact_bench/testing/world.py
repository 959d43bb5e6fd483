"""What methods are checked on: the nano student, three questions, and guarded random states."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch

from compact_bench.data.mini import Teaching, generate
from compact_bench.data.mini_old import old_bank
from compact_bench.data.prepare import TaskData
from compact_bench.data.rationales import RationaleBank
from compact_bench.dev_score import DevScore
from compact_bench.student.load import load_student
from compact_bench.student.student import Student
from compact_bench.suite import IN_DOMAIN
from compact_bench.suite_sections import EvaluationSpec, StudentSpec, TaskSpec

SEED = 0
QUESTIONS = 3
LAYERS = 2
STUDENT = StudentSpec(id="nano", dtype="float32", device="cpu")


@lru_cache(maxsize=1)
def nano() -> Student:
    """The student, loaded once; `fresh_student` copies it.

    Its first layers alone: what is checked holds for any student, and half of it takes half the
    time.
    """
    student = load_student(STUDENT)
    student.decoder.layers = student.decoder.layers[:LAYERS]
    student.causal.config.num_hidden_layers = LAYERS
    return student


def fresh_student(layout: str) -> Student:
    """A student as it was before any training."""
    causal = copy.deepcopy(nano().causal)
    return Student(causal, causal, nano().tokenizer, layout=layout, layout_reason="conformance")


@lru_cache(maxsize=1)
def bank() -> RationaleBank:
    """Three questions, each with some of four teachers, and a human rationale each.

    Question i lacks teacher i; the last teacher wrote two samples of the last question. Every
    question has a sound rationale and a faulty one, so that a filter leaves and removes some.
    """
    world = generate("gsm8k", seed=SEED, dev=1, test=1, teaching=Teaching(samples=2))
    names = world.bank.teachers
    chosen: list[str] = []
    kept = []
    rows = world.bank.rationales
    for question, group in rows.groupby("question_id", sort=False):
        place = len(chosen)
        last = (place == QUESTIONS - 1) & (group["teacher"] == names[-1])
        own = group[(group["teacher"] != names[place]) & ((group["sample"] == 0) | last)]
        sound = (own["right"] & (own["corruption"] == ""))[own["role"] == "teacher"]
        if sound.any() and not sound.all():
            chosen.append(str(question))
            kept += own.index.tolist()
        if len(chosen) == QUESTIONS:
            break
    return world.bank.keep(rows.index.isin(kept)).keep(chosen)


@lru_cache(maxsize=1)
def dev() -> DevScore:
    """Two dev questions, for methods that choose by the dev score; short answers will do."""
    items = generate("gsm8k", seed=SEED, train=1, dev=2, test=1).dev
    task = TaskData(
        IN_DOMAIN, "generate", "reasoning", items.rename(columns={"kind": "answer_kind"}), 0.0
    )
    asked = [TaskSpec(task=IN_DOMAIN, role="reasoning")]
    spec = EvaluationSpec(tasks=asked, max_new_tokens=8, marginal_samples=1, select=True)
    return DevScore(task, spec, SEED)


@lru_cache(maxsize=1)
def old() -> RationaleBank:
    """Examples of what the student knew, for methods that rehearse them."""
    return old_bank({})


def random_states() -> dict[str, bytes]:
    """The global random states by library."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": np.asarray(keys).tobytes() + repr(rest).encode(),
        "python": repr(random.getstate()).encode(),
    }


@contextmanager
def apart() -> Iterator[None]:
    """What happens inside draws as a cell does, and nothing outside changes what it draws.

    On one thread: how a sum is split among several is not the same each time, which would be
    taken for a method that doesn't repeat itself.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
