"""What the timings share: a student, real or nano, with rationales of four teachers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compact_bench.execution.prepare import prepare
from compact_bench.student.encode import collate, encode_bank
from compact_bench.student.load import load_student
from compact_bench.suite.schema import load_suite

SUITES = Path(__file__).parent.parent.parent / "suites"
BATCHES = 3


@pytest.fixture(scope="session", params=["nano", "real"])
def workload(request):
    """A student and three batches of four questions x four teachers.

    nano: generated problems. real: SVAMP with the student that COMPACT_BENCH_STUDENT names
    (SmolLM2-135M as a GGUF file, say) and the rationales under COMPACT_BENCH_MIRROR.
    """
    if request.param == "nano":
        suite = load_suite(SUITES / "gsm8k.yaml", "mini")
        mirror = None
    else:
        student = os.environ.get("COMPACT_BENCH_STUDENT")
        if not student:
            pytest.skip("COMPACT_BENCH_STUDENT names no student: the real one is 135M parameters")
        suite = load_suite(SUITES / "svamp.yaml", "laptop", [f"student.id={student}"])
        mirror = os.environ.get("COMPACT_BENCH_MIRROR")
    prepared = prepare(suite, Path(mirror) if mirror else None)
    student = load_student(suite.student)
    student.model.train()
    bank = prepared.train.only_teachers(prepared.train.teachers)
    examples, _ = encode_bank(bank, student.encoder, suite.training.max_tokens)
    fours = [examples[4 * i : 4 * i + 4] for i in range(BATCHES)]
    batches = [collate(four, teachers=bank.teachers) for four in fours]
    return student, batches
